"""The weight sides: their settings, checked, what they cost, and the numbers of their steps.

`rho` is a distance between weight vectors in l2, `gamma` a fraction of a layer's norm. Every side
but none has `active`, the shares of the training between which it acts, and `every`, the steps from
one on which it acts to the next; on the others the plain gradient is taken.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from trainers.config.activity import ALWAYS, Active, Phase, check_steps
from trainers.config.checks import check_count, check_number

LARGEST_RHO = 10.0

Kind = Literal["none", "sharpness", "adversarial", "other"]
"""The purpose of a side: `sharpness` moves weights as SAM does, `adversarial` moves inputs against
the network. Analyses compare methods of these two kinds with each other."""


@dataclass(frozen=True, kw_only=True)
class NoWeights:
    """The weight side none: the gradient is taken at the weights themselves."""

    kind: ClassVar[Kind] = "none"
    gradients: ClassVar[float] = 1
    tabulated: ClassVar[tuple[str, ...]] = ()

    def numbers(self, factors: Any, epochs: Any) -> dict[str, Any]:
        """Return the numbers of each step."""
        return {}


@dataclass(frozen=True, kw_only=True)
class Sam:
    """The weight side SAM: the gradient is taken at w + ρ g / ‖g‖ (Foret et al. 2021, eq. 2)."""

    kind: ClassVar[Kind] = "sharpness"
    gradients: ClassVar[float] = 2
    tabulated: ClassVar[tuple[str, ...]] = ("rho",)

    rho: float
    """Radius, l2 over all weights together, in [0, 10]; 0 is standard training, bit for bit."""
    active: Active = ALWAYS
    every: int = 1

    def __post_init__(self) -> None:
        """Check the radius, and on which steps the side acts."""
        _check_rho(self.rho)
        check_steps(self.active, self.every)

    def numbers(self, factors: Any, epochs: Any) -> dict[str, Any]:
        """Return the numbers of each step."""
        return {"rho": self.rho}


@dataclass(frozen=True, kw_only=True)
class Asam:
    """The weight side ASAM, official form: at w + ρ T² g / ‖T g‖ (Kwon et al. 2021, eq. 6).

    T is |w| + η for tensors whose name contains `weight`, a normalisation's scale too, else 1.
    """

    kind: ClassVar[Kind] = "sharpness"
    gradients: ClassVar[float] = 2
    tabulated: ClassVar[tuple[str, ...]] = ("rho", "eta")

    rho: float
    """Relative to the weights, in [0, 10]; the paper has 0.5 (CIFAR-10) and 1.0 (CIFAR-100)."""
    eta: float = 0.01
    """≥ 0; added to |w|, so that a weight of zero can move."""
    active: Active = ALWAYS
    every: int = 1

    def __post_init__(self) -> None:
        """Check all settings."""
        _check_rho(self.rho)
        check_number(self.eta, "eta", "must be ≥ 0", lambda eta: eta >= 0)
        check_steps(self.active, self.every)

    def numbers(self, factors: Any, epochs: Any) -> dict[str, Any]:
        """Return the numbers of each step."""
        return {"rho": self.rho, "eta": self.eta}


@dataclass(frozen=True, kw_only=True)
class Gsam:
    """The weight side GSAM: SAM's gradient minus α times the part of g orthogonal to it.

    Zhuang et al. (2022), Surrogate gap minimization improves sharpness-aware training, algorithm 1.
    """

    kind: ClassVar[Kind] = "sharpness"
    gradients: ClassVar[float] = 2
    tabulated: ClassVar[tuple[str, ...]] = ("rho", "rho_min", "alpha")

    rho: float
    """Radius at the highest learning rate, in [0, 10]."""
    rho_min: float = 0.0
    """Radius at learning rate 0, in [0, rho]; in between it is linear in the learning rate."""
    alpha: float = 0.4
    """≥ 0."""
    active: Active = ALWAYS
    every: int = 1

    def __post_init__(self) -> None:
        """Check all settings."""
        _check_rho(self.rho)
        rule = f"must lie in [0, rho], where rho is {self.rho:g}"
        check_number(self.rho_min, "rho_min", rule, lambda rho: 0 <= rho <= self.rho)
        check_number(self.alpha, "alpha", "must be ≥ 0", lambda alpha: alpha >= 0)
        check_steps(self.active, self.every)

    def numbers(self, factors: Any, epochs: Any) -> dict[str, Any]:
        """Return the numbers of each step."""
        return {"rho": self.rho_min + (self.rho - self.rho_min) * factors, "alpha": self.alpha}


@dataclass(frozen=True, kw_only=True)
class AdaptiveGsam:
    """The weight side GSAM with ASAM's scaling: GSAM's gradient, taken at ASAM's place.

    Kwon et al. (2021), eq. 6, in algorithm 1 of Zhuang et al. (2022): the switch `adaptive` of the
    GSAM in pytorch-optimizer, whose T is |w| for every tensor. Ours is T of our ASAM.
    """

    kind: ClassVar[Kind] = "sharpness"
    gradients: ClassVar[float] = 2
    tabulated: ClassVar[tuple[str, ...]] = ("rho", "rho_min", "alpha", "eta")

    rho: float
    """As ASAM's, at the highest learning rate, in [0, 10]."""
    rho_min: float = 0.0
    """Radius at learning rate 0, in [0, rho]; in between it is linear in the learning rate."""
    alpha: float = 0.4
    """≥ 0."""
    eta: float = 0.01
    """≥ 0; added to |w|, so that a weight of zero can move."""
    active: Active = ALWAYS
    every: int = 1

    def __post_init__(self) -> None:
        """Check all settings."""
        Gsam(rho=self.rho, rho_min=self.rho_min, alpha=self.alpha)
        Asam(rho=self.rho, eta=self.eta, active=self.active, every=self.every)

    def numbers(self, factors: Any, epochs: Any) -> dict[str, Any]:
        """Return the numbers of each step."""
        rho = self.rho_min + (self.rho - self.rho_min) * factors
        return {"rho": rho, "alpha": self.alpha, "eta": self.eta}


@dataclass(frozen=True, kw_only=True)
class LookSam:
    """The weight side LookSAM: SAM's gradient on every k-th step, and part of it in between.

    Liu et al. (2022), Towards efficient and scalable sharpness-aware minimization, algorithm 1. A
    step in between adds α ‖g‖ / ‖g_v‖ g_v to the gradient g at the weights. Here g_v is the part of
    SAM's last gradient that was orthogonal to the gradient at the weights of that step.
    """

    kind: ClassVar[Kind] = "sharpness"
    gradients: ClassVar[float] = 2
    tabulated: ClassVar[tuple[str, ...]] = ("rho", "alpha")
    between: ClassVar[Phase] = "reuse"

    rho: float
    """Radius, l2 over all weights together, in [0, 10]; 0 is standard training, bit for bit."""
    every: int = 5
    """Steps from one SAM gradient to the next (the paper's k), ≥ 1; 1 is SAM, bit for bit."""
    alpha: float = 0.7
    """≥ 0; length of the remembered part, relative to ‖g‖, on the steps in between."""
    active: Active = ALWAYS

    def __post_init__(self) -> None:
        """Check all settings."""
        _check_rho(self.rho)
        check_number(self.alpha, "alpha", "must be ≥ 0", lambda alpha: alpha >= 0)
        check_steps(self.active, self.every)

    def numbers(self, factors: Any, epochs: Any) -> dict[str, Any]:
        """Return the numbers of each step."""
        return {"rho": self.rho, "alpha": self.alpha}


@dataclass(frozen=True, kw_only=True)
class Esam:
    """The weight side ESAM: SAM with an offset of some tensors and a gradient of some samples.

    Du et al. (2022), Efficient sharpness-aware minimization, algorithm 1. A tensor is left out of
    the offset with probability 1 - β, and the offset is divided by β. The gradient at the moved
    weights is that of the share γ of the batch whose cross-entropy rose most, two samples at least.
    As its selection is one more pass forward, it costs less than SAM for γ below 2/3 only; on the
    small network of the digits, γ 0.5 took 1.1 times as long as SAM.
    """

    kind: ClassVar[Kind] = "sharpness"
    tabulated: ClassVar[tuple[str, ...]] = ("rho", "beta")

    rho: float
    """Radius, l2 over the moved weights together, in [0, 10]; 0 and γ 1 is standard training."""
    beta: float = 0.5
    """Probability that a tensor is moved, in (0, 1]."""
    gamma: float = 0.5
    """Share of the samples, in (0, 1]; 1 selects none, and with β 1 is SAM, bit for bit."""
    active: Active = ALWAYS
    every: int = 1

    def __post_init__(self) -> None:
        """Check all settings."""
        _check_rho(self.rho)
        check_number(self.beta, "beta", "must lie in (0, 1]", lambda beta: 0 < beta <= 1)
        check_number(self.gamma, "gamma", "must lie in (0, 1]", lambda gamma: 0 < gamma <= 1)
        check_steps(self.active, self.every)

    @property
    def gradients(self) -> float:
        """Return the gradients per sample: one of all samples, and one of those selected."""
        return 1 + self.gamma

    @property
    def extra_forwards(self) -> float:
        """Return the passes forward that no gradient follows: the selection's."""
        return float(self.gamma < 1)

    def numbers(self, factors: Any, epochs: Any) -> dict[str, Any]:
        """Return the numbers of each step."""
        return {"rho": self.rho, "moved_share": self.beta}


@dataclass(frozen=True, kw_only=True)
class FSam:
    """The weight side F-SAM: SAM along g - σ m, where m is a running mean of the gradients at w.

    Li et al. (2024), Friendly sharpness-aware minimization, algorithm 1: without the mean, the
    offset follows the noise of the batch. m becomes λ m + (1 - λ) g, and is g at first. Only steps
    on which the side acts enter it.
    """

    kind: ClassVar[Kind] = "sharpness"
    gradients: ClassVar[float] = 2
    tabulated: ClassVar[tuple[str, ...]] = ("rho", "sigma", "decay")

    rho: float
    """Radius, l2 over all weights together, in [0, 10]; 0 is standard training, bit for bit."""
    sigma: float = 1.0
    """≥ 0; how much of the mean is left out of the offset. 0 is SAM, bit for bit."""
    decay: float = 0.9
    """The paper's λ, in [0, 1)."""
    active: Active = ALWAYS
    every: int = 1

    def __post_init__(self) -> None:
        """Check all settings."""
        _check_rho(self.rho)
        check_number(self.sigma, "sigma", "must be ≥ 0", lambda sigma: sigma >= 0)
        check_number(self.decay, "decay", "must lie in [0, 1)", lambda decay: 0 <= decay < 1)
        check_steps(self.active, self.every)

    def numbers(self, factors: Any, epochs: Any) -> dict[str, Any]:
        """Return the numbers of each step."""
        return {"rho": self.rho, "mean_share": self.sigma, "mean_decay": self.decay}


@dataclass(frozen=True, kw_only=True)
class Msam:
    """The weight side MSAM: the one gradient of a step is taken at w - ρ v / ‖v‖; v is momentum.

    Becker et al. (2024), Momentum-SAM, algorithm 1: as cheap as standard training. v is the base
    optimiser's momentum of the steps before, so it needs SGD with momentum. The batch statistics,
    the loss and the accuracy of training are those at the moved weights; w itself is validated and
    saved, and decays. In their code the moved weights decay.
    """

    kind: ClassVar[Kind] = "sharpness"
    gradients: ClassVar[float] = 1
    tabulated: ClassVar[tuple[str, ...]] = ("rho",)

    rho: float
    """Radius, l2 over all weights together, in [0, 10]; the paper has 3 on CIFAR-100. 0 is standard
    training, bit for bit."""
    active: Active = ALWAYS
    every: int = 1

    def __post_init__(self) -> None:
        """Check all settings."""
        _check_rho(self.rho)
        check_steps(self.active, self.every)

    def numbers(self, factors: Any, epochs: Any) -> dict[str, Any]:
        """Return the numbers of each step."""
        return {"rho": self.rho}


@dataclass(frozen=True, kw_only=True)
class EigenSam:
    """The weight side Eigen-SAM: SAM's direction, turned towards the Hessian's top eigenvector v.

    Luo et al. (2025), Explicit eigenvalue regularization improves sharpness-aware minimization: at
    w + ρ (u + α sign⟨u, v⟩ v⊥), where u = g / ‖g‖, and v⊥ is the part of v orthogonal to u.
    Power iterations renew v from what it was, at first from g where their code begins at random.
    The Hessian is that of the batch's loss, whose statistics normalise; theirs has running ones.
    """

    kind: ClassVar[Kind] = "sharpness"
    gradients: ClassVar[float] = 2
    tabulated: ClassVar[tuple[str, ...]] = ("rho", "alpha")

    rho: float
    """Radius along u, in [0, 10]; the offset is longer by v⊥. 0 is standard training."""
    alpha: float = 0.2
    """≥ 0; 0 is SAM but for rounding."""
    refresh_every: int = 100
    """Steps on which the side acts from one renewal of v to the next, ≥ 1."""
    power_steps: int = 5
    """Power iterations of a renewal, each a Hessian-vector product, ≥ 1."""
    active: Active = ALWAYS
    every: int = 1

    def __post_init__(self) -> None:
        """Check all settings."""
        _check_rho(self.rho)
        check_number(self.alpha, "alpha", "must be ≥ 0", lambda alpha: alpha >= 0)
        check_count(self.refresh_every, "refresh_every", 1)
        check_count(self.power_steps, "power_steps", 1)
        check_steps(self.active, self.every)

    @property
    def refresh_gradients(self) -> float:
        """Return what a renewal costs: one gradient, and products that each go back twice.

        On a CPU a product took twice as long as that, as no fused operators serve it.
        """
        return 1 + 2 * self.power_steps

    def numbers(self, factors: Any, epochs: Any) -> dict[str, Any]:
        """Return the numbers of each step."""
        return {"rho": self.rho, "alpha": self.alpha}


@dataclass(frozen=True, kw_only=True)
class Awp:
    """The weight side AWP: each layer moves by γ ‖w_l‖ along its gradient (Wu et al. 2020, eq. 10).

    Layers are tensors of two or more dimensions whose name contains `weight`. The base optimiser
    steps from w, as with SAM. In the official code it steps from the moved weights, which are then
    moved back.
    """

    kind: ClassVar[Kind] = "other"
    gradients: ClassVar[float] = 2
    tabulated: ClassVar[tuple[str, ...]] = ("gamma", "warmup_epochs")

    gamma: float
    """Radius of each layer relative to its norm, in [0, 1]; 0 is standard training, bit for bit."""
    warmup_epochs: int = 0
    """Epochs from its first step on before γ applies; until then it is 0."""
    active: Active = ALWAYS
    every: int = 1

    def __post_init__(self) -> None:
        """Check all settings."""
        check_number(self.gamma, "gamma", "must lie in [0, 1]", lambda gamma: 0 <= gamma <= 1)
        check_count(self.warmup_epochs, "warmup_epochs", 0)
        check_steps(self.active, self.every)

    def numbers(self, factors: Any, epochs: Any) -> dict[str, Any]:
        """Return the numbers of each step."""
        return {"rho": self.gamma * (epochs >= self.warmup_epochs)}


def _check_rho(rho: float) -> None:
    rule = f"must lie in [0, {LARGEST_RHO:g}]"
    check_number(rho, "rho", rule, lambda rho: 0 <= rho <= LARGEST_RHO)
