"""What a method is: a weight side, an input side and a loss; the settings of the sides, checked.

Units: every input radius (`epsilon`, `sigma`, `step_size`) is in units of the pixel range [0, 1];
`rho` is a distance between weight vectors in l2, `gamma` a fraction of a layer's norm.

Each class declares its side once, beside the settings: its kind, the passes that it costs, and how
its settings become the numbers of a step. `trainers.step` adds the function, and nothing else has
to know a side by its name. Losses are declared alike in `losses.py`.
"""

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from trainers.config.checks import ConfigError, check, check_choice, check_count, check_number
from trainers.config.losses import CrossEntropy, Loss, loss_name
from trainers.config.own import OwnInputs, OwnWeights

Norm = Literal["linf", "l2"]
NORMS: tuple[Norm, ...] = ("linf", "l2")
LARGEST_RHO = 10.0
LARGEST_EPSILON_LINF = 0.5
"""Beyond half the pixel range a grey image is within reach of every image: wrong units."""

BALL_NUMBERS = ("epsilon", "step_size", "warmup_epochs")
"""Settings of a ball around an image that are numbers of a step."""

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

    def __post_init__(self) -> None:
        """Check the radius."""
        _check_rho(self.rho)

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

    def __post_init__(self) -> None:
        """Check both numbers."""
        _check_rho(self.rho)
        check_number(self.eta, "eta", "must be ≥ 0", lambda eta: eta >= 0)

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

    def __post_init__(self) -> None:
        """Check all numbers."""
        _check_rho(self.rho)
        rule = f"must lie in [0, rho], where rho is {self.rho:g}"
        check_number(self.rho_min, "rho_min", rule, lambda rho: 0 <= rho <= self.rho)
        check_number(self.alpha, "alpha", "must be ≥ 0", lambda alpha: alpha >= 0)

    def numbers(self, factors: Any, epochs: Any) -> dict[str, Any]:
        """Return the numbers of each step."""
        return {"rho": self.rho_min + (self.rho - self.rho_min) * factors, "alpha": self.alpha}


@dataclass(frozen=True, kw_only=True)
class LookSam:
    """The weight side LookSAM: SAM's gradient on every k-th step, and part of it in between.

    Liu et al. (2022), Towards efficient and scalable sharpness-aware minimization, algorithm 1. A
    step in between adds α ‖g‖ / ‖g_v‖ g_v to the gradient g at the weights. Here g_v is the part of
    SAM's last gradient that was orthogonal to the gradient at the weights of that step.
    """

    kind: ClassVar[Kind] = "sharpness"
    tabulated: ClassVar[tuple[str, ...]] = ("rho", "alpha", "every", "active_from")

    rho: float
    """Radius, l2 over all weights together, in [0, 10]; 0 is standard training, bit for bit."""
    every: int = 5
    """Steps from one SAM gradient to the next (the paper's k), ≥ 1; 1 is SAM, bit for bit."""
    alpha: float = 0.7
    """≥ 0; length of the remembered part, relative to ‖g‖, on the steps in between."""
    active_from: float = 0.0
    """Share of the steps, in [0, 1), that are standard training before LookSAM begins; the last
    step never is."""

    def __post_init__(self) -> None:
        """Check all numbers."""
        _check_rho(self.rho)
        check_count(self.every, "every", 1)
        check_number(self.alpha, "alpha", "must be ≥ 0", lambda alpha: alpha >= 0)
        rule = "must lie in [0, 1)"
        check_number(self.active_from, "active_from", rule, lambda share: 0 <= share < 1)

    @property
    def gradients(self) -> float:
        """Return the gradients per step, on average over a training."""
        return 1 + (1 - self.active_from) / self.every

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
    """Epochs before γ applies; until then it is 0."""

    def __post_init__(self) -> None:
        """Check both numbers."""
        check_number(self.gamma, "gamma", "must lie in [0, 1]", lambda gamma: 0 <= gamma <= 1)
        check_count(self.warmup_epochs, "warmup_epochs", 0)

    def numbers(self, factors: Any, epochs: Any) -> dict[str, Any]:
        """Return the numbers of each step."""
        return {"rho": self.gamma * (epochs >= self.warmup_epochs)}


@dataclass(frozen=True, kw_only=True)
class NoInputs:
    """The input side none: images are trained on as they are."""

    kind: ClassVar[Kind] = "none"
    attack_steps: ClassVar[int] = 0
    tabulated: ClassVar[tuple[str, ...]] = ()

    def numbers(self, epochs: Any) -> dict[str, Any]:
        """Return the numbers of each step."""
        return {}


@dataclass(frozen=True, kw_only=True)
class Pgd:
    """The input side PGD (Madry et al. 2018): projected gradient steps from a random start."""

    kind: ClassVar[Kind] = "adversarial"
    tabulated: ClassVar[tuple[str, ...]] = BALL_NUMBERS

    norm: Norm
    epsilon: float
    """Radius, in units of the pixel range [0, 1]; 0 is standard training, bit for bit."""
    steps: int
    step_size: float | Literal["auto"] = "auto"
    """In units of the pixel range; `auto` is 2.5 epsilon / steps."""
    warmup_epochs: int = 0
    """Epochs over which radius and step size rise linearly from 0, step by step."""

    def __post_init__(self) -> None:
        """Check radius, steps and step size."""
        _check_ball(self)
        check_count(self.steps, "steps", 1)

    @property
    def step_length(self) -> float:
        """Return the step size, with `auto` resolved."""
        return 2.5 * self.epsilon / self.steps if self.step_size == "auto" else self.step_size

    @property
    def attack_steps(self) -> int:
        """Return the number of gradient steps that craft an image."""
        return self.steps

    def numbers(self, epochs: Any) -> dict[str, Any]:
        """Return the numbers of each step."""
        return _ball_numbers(self, epochs)


@dataclass(frozen=True, kw_only=True)
class FgsmRs:
    """The input side FGSM-RS: one projected step from a random start (Wong et al. 2020, alg. 3)."""

    kind: ClassVar[Kind] = "adversarial"
    attack_steps: ClassVar[int] = 1
    tabulated: ClassVar[tuple[str, ...]] = BALL_NUMBERS

    norm: Norm
    epsilon: float
    """Radius, in units of the pixel range [0, 1]; 0 is standard training, bit for bit."""
    step_size: float | Literal["auto"] = "auto"
    """In units of the pixel range; `auto` is 1.25 epsilon."""
    warmup_epochs: int = 0
    """Epochs over which radius and step size rise linearly from 0, step by step."""

    def __post_init__(self) -> None:
        """Check radius and step size."""
        _check_ball(self)

    @property
    def step_length(self) -> float:
        """Return the step size, with `auto` resolved."""
        return 1.25 * self.epsilon if self.step_size == "auto" else self.step_size

    def numbers(self, epochs: Any) -> dict[str, Any]:
        """Return the numbers of each step."""
        return _ball_numbers(self, epochs)


@dataclass(frozen=True, kw_only=True)
class NFgsm:
    """The input side N-FGSM: one step from a wider random start, not projected.

    De Jorge et al. (2022), Make some noise, algorithm 1. An image moves by up to
    (noise_scale + 1) epsilon.
    """

    kind: ClassVar[Kind] = "adversarial"
    attack_steps: ClassVar[int] = 1
    tabulated: ClassVar[tuple[str, ...]] = BALL_NUMBERS

    norm: Norm
    epsilon: float
    """Radius, in units of the pixel range [0, 1]; 0 is standard training, bit for bit."""
    step_size: float | Literal["auto"] = "auto"
    """In units of the pixel range; `auto` is epsilon."""
    noise_scale: float = 2.0
    """Radius of the start, in units of epsilon, ≥ 0."""
    warmup_epochs: int = 0
    """Epochs over which radius and step size rise linearly from 0, step by step."""

    def __post_init__(self) -> None:
        """Check radius, step size and the start's scale."""
        _check_ball(self)
        check_number(self.noise_scale, "noise_scale", "must be ≥ 0", lambda scale: scale >= 0)
        rule = "must be auto where epsilon is 0, as no projection undoes the step"
        check(self.epsilon > 0 or self.step_size == "auto", "step_size", rule, self.step_size)

    @property
    def step_length(self) -> float:
        """Return the step size, with `auto` resolved."""
        return self.epsilon if self.step_size == "auto" else self.step_size

    def numbers(self, epochs: Any) -> dict[str, Any]:
        """Return the numbers of each step."""
        return _ball_numbers(self, epochs)


@dataclass(frozen=True, kw_only=True)
class Noise:
    """The input side noise: Gaussian noise, the control without an adversary."""

    kind: ClassVar[Kind] = "other"
    attack_steps: ClassVar[int] = 0
    tabulated: ClassVar[tuple[str, ...]] = ("sigma",)

    sigma: float
    """Standard deviation of each value, in units of the pixel range, in [0, 1]; 0 is standard
    training, bit for bit."""

    def __post_init__(self) -> None:
        """Check the deviation."""
        rule = "must lie in [0, 1] of the pixel range"
        check_number(self.sigma, "sigma", rule, lambda sigma: 0 <= sigma <= 1)

    def numbers(self, epochs: Any) -> dict[str, Any]:
        """Return the numbers of each step."""
        return {"epsilon": self.sigma}


WeightSide = NoWeights | Sam | Asam | Gsam | LookSam | Awp | OwnWeights
InputSide = NoInputs | Pgd | FgsmRs | NFgsm | Noise | OwnInputs

WEIGHT_SIDES: dict[str, type[Any]] = {
    "none": NoWeights,
    "sam": Sam,
    "asam": Asam,
    "gsam": Gsam,
    "look_sam": LookSam,
    "awp": Awp,
}
INPUT_SIDES: dict[str, type[Any]] = {
    "none": NoInputs,
    "pgd": Pgd,
    "fgsm_rs": FgsmRs,
    "n_fgsm": NFgsm,
    "noise": Noise,
}


@dataclass(frozen=True, kw_only=True)
class Method:
    """A weight side, an input side and a loss; the defaults together are standard training."""

    weights: WeightSide = NoWeights()
    inputs: InputSide = NoInputs()
    loss: Loss = field(default=CrossEntropy())

    def __post_init__(self) -> None:
        """Raise `ConfigError` for a loss on clean and crafted images where none are crafted."""
        if self.loss.images > 1 and self.inputs.kind == "none":
            sides = ", ".join(list(INPUT_SIDES)[1:])
            name = loss_name(self.loss)
            rule = f"{name} compares clean with crafted images and needs an input side ({sides})"
            raise ConfigError("loss", rule, "inputs: none")

    @property
    def is_single_step(self) -> bool:
        """Return whether one gradient step crafts images; such training may overfit suddenly."""
        return self.inputs.attack_steps == 1

    @property
    def warmup_epochs(self) -> int:
        """Return the epochs until both sides have their full radius."""
        return max(getattr(side, "warmup_epochs", 0) for side in (self.weights, self.inputs))


def _check_rho(rho: float) -> None:
    rule = f"must lie in [0, {LARGEST_RHO:g}]"
    check_number(rho, "rho", rule, lambda rho: 0 <= rho <= LARGEST_RHO)


def _check_ball(side: Pgd | FgsmRs | NFgsm) -> None:
    """Check radius and step size of a ball. An l2 radius has no bound: it grows with the image."""
    check_choice(side.norm, "norm", NORMS)
    top = LARGEST_EPSILON_LINF if side.norm == "linf" else math.inf
    rule = f"must lie in [0, {top:g}] of the pixel range for linf" if top < 1 else "must be ≥ 0"
    check_number(side.epsilon, "epsilon", rule, lambda epsilon: 0 <= epsilon <= top)
    if side.step_size != "auto":
        rule = "must be auto or a number > 0"
        check_number(side.step_size, "step_size", rule, lambda size: size > 0)
    check_count(side.warmup_epochs, "warmup_epochs", 0)


def _ball_numbers(side: Pgd | FgsmRs | NFgsm, epochs: Any) -> dict[str, Any]:
    """Return radius and step size of each step. epochs: (steps,), passed when the step ends."""
    is_warm = side.warmup_epochs == 0
    ramp = 1.0 if is_warm else (epochs / side.warmup_epochs).clamp(max=1)
    return {"epsilon": side.epsilon * ramp, "step_length": side.step_length * ramp}
