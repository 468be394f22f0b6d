"""What a method is: a weight side, an input side and a loss, each with its settings, checked.

Units: every input radius (`epsilon`, `sigma`, `step_size`) is in units of the pixel range [0, 1];
`rho` is a distance between weight vectors in l2, `gamma` a fraction of a layer's norm.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

from trainers.config.checks import ConfigError, check, check_choice, check_count, check_number

Norm = Literal["linf", "l2"]
NORMS: tuple[Norm, ...] = ("linf", "l2")
LARGEST_RHO = 10.0
LARGEST_EPSILON_LINF = 0.5
"""Beyond half the pixel range a grey image is within reach of every image: wrong units."""


@dataclass(frozen=True, kw_only=True)
class NoWeights:
    """The weight side none: the gradient is taken at the weights themselves."""


@dataclass(frozen=True, kw_only=True)
class Sam:
    """The weight side SAM: the gradient is taken at w + ρ g / ‖g‖ (Foret et al. 2021, eq. 2)."""

    rho: float
    """Radius, l2 over all weights together, in [0, 10]; 0 is standard training, bit for bit."""

    def __post_init__(self) -> None:
        """Check the radius."""
        _check_rho(self.rho)


@dataclass(frozen=True, kw_only=True)
class Asam:
    """The weight side ASAM, official form: at w + ρ T² g / ‖T g‖ (Kwon et al. 2021, eq. 6).

    T = |w| + η for tensors whose name contains `weight`, also a normalisation's scale; else 1.
    """

    rho: float
    """Radius relative to the weights, in [0, 10]; 0.5 for CIFAR-10 and 1.0 for CIFAR-100 there."""
    eta: float = 0.01
    """≥ 0; added to |w|, so that a weight of zero may move."""

    def __post_init__(self) -> None:
        """Check both numbers."""
        _check_rho(self.rho)
        check_number(self.eta, "eta", "must be ≥ 0", lambda eta: eta >= 0)


@dataclass(frozen=True, kw_only=True)
class Gsam:
    """The weight side GSAM: SAM's gradient less α times what of g is orthogonal to it.

    Zhuang et al. (2022), Surrogate gap minimization improves sharpness-aware training, algorithm 1.
    """

    rho: float
    """Radius at the highest learning rate, in [0, 10]."""
    rho_min: float = 0.0
    """Radius at learning rate 0, in [0, rho]: between them it is linear in the learning rate."""
    alpha: float = 0.4
    """≥ 0."""

    def __post_init__(self) -> None:
        """Check all numbers."""
        _check_rho(self.rho)
        rule = f"must lie in [0, rho], where rho is {self.rho:g}"
        check_number(self.rho_min, "rho_min", rule, lambda rho: 0 <= rho <= self.rho)
        check_number(self.alpha, "alpha", "must be ≥ 0", lambda alpha: alpha >= 0)


@dataclass(frozen=True, kw_only=True)
class Awp:
    """The weight side AWP: each layer moves by γ ‖w_l‖ along its gradient (Wu et al. 2020, eq. 10).

    Layers are tensors of two or more dimensions whose name contains `weight`. The base optimiser
    steps from w, as with SAM; the official code lets it step at the moved weights and moves them
    back.
    """

    gamma: float
    """Radius of each layer relative to its norm, in [0, 1]; 0 is standard training, bit for bit."""
    warmup_epochs: int = 0
    """Epochs before γ applies; until then it is 0."""

    def __post_init__(self) -> None:
        """Check both numbers."""
        check_number(self.gamma, "gamma", "must lie in [0, 1]", lambda gamma: 0 <= gamma <= 1)
        check_count(self.warmup_epochs, "warmup_epochs", 0)


@dataclass(frozen=True, kw_only=True)
class NoInputs:
    """The input side none: images are trained on as they are."""


@dataclass(frozen=True, kw_only=True)
class Pgd:
    """The input side PGD (Madry et al. 2018): projected gradient steps from a random start."""

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
        """The step size with `auto` resolved."""
        return 2.5 * self.epsilon / self.steps if self.step_size == "auto" else self.step_size


@dataclass(frozen=True, kw_only=True)
class FgsmRs:
    """The input side FGSM-RS: one projected step from a random start (Wong et al. 2020, alg. 3)."""

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
        """The step size with `auto` resolved."""
        return 1.25 * self.epsilon if self.step_size == "auto" else self.step_size


@dataclass(frozen=True, kw_only=True)
class NFgsm:
    """The input side N-FGSM: one step from a wider random start, not projected.

    De Jorge et al. (2022), Make some noise, algorithm 1. An image moves by up to
    (noise_scale + 1) epsilon.
    """

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
        """The step size with `auto` resolved."""
        return self.epsilon if self.step_size == "auto" else self.step_size


@dataclass(frozen=True, kw_only=True)
class Noise:
    """The input side noise: Gaussian noise, the control without an adversary."""

    sigma: float
    """Standard deviation of each value, in units of the pixel range, in [0, 1]; 0 is standard
    training, bit for bit."""

    def __post_init__(self) -> None:
        """Check the deviation."""
        rule = "must lie in [0, 1] of the pixel range"
        check_number(self.sigma, "sigma", rule, lambda sigma: 0 <= sigma <= 1)


@dataclass(frozen=True, kw_only=True)
class CrossEntropy:
    """The loss cross-entropy, on the crafted images."""

    label_smoothing: float = 0.0
    """Share of the target that is spread over all classes, in [0, 1); attacks see none of it."""

    def __post_init__(self) -> None:
        """Check the share."""
        rule = "must lie in [0, 1)"
        check_number(self.label_smoothing, "label_smoothing", rule, lambda share: 0 <= share < 1)


@dataclass(frozen=True, kw_only=True)
class Trades:
    """The loss TRADES: cross-entropy on clean images, and β times KL to the crafted ones.

    Zhang et al. (2019), Theoretically principled trade-off between robustness and accuracy, eq. 5.
    """

    beta: float = 6.0
    """≥ 0; published values lie in 1 … 10."""

    def __post_init__(self) -> None:
        """Check β."""
        check_number(self.beta, "beta", "must be ≥ 0", lambda beta: beta >= 0)


@dataclass(frozen=True, kw_only=True)
class Mart:
    """The loss MART: boosted cross-entropy on crafted images, and β times a weighted KL.

    Wang et al. (2020), Improving adversarial robustness requires revisiting misclassified examples,
    equation 10.
    """

    beta: float = 5.0
    """≥ 0; 5 in the published script, 6 in its function."""

    def __post_init__(self) -> None:
        """Check β."""
        check_number(self.beta, "beta", "must be ≥ 0", lambda beta: beta >= 0)


WeightSide = NoWeights | Sam | Asam | Gsam | Awp
InputSide = NoInputs | Pgd | FgsmRs | NFgsm | Noise
Loss = CrossEntropy | Trades | Mart

WEIGHT_SIDES: dict[str, type[Any]] = {
    "none": NoWeights,
    "sam": Sam,
    "asam": Asam,
    "gsam": Gsam,
    "awp": Awp,
}
INPUT_SIDES: dict[str, type[Any]] = {
    "none": NoInputs,
    "pgd": Pgd,
    "fgsm_rs": FgsmRs,
    "n_fgsm": NFgsm,
    "noise": Noise,
}
LOSSES: dict[str, type[Any]] = {"cross_entropy": CrossEntropy, "trades": Trades, "mart": Mart}


@dataclass(frozen=True, kw_only=True)
class Method:
    """A weight side, an input side and a loss; the defaults together are standard training."""

    weights: WeightSide = NoWeights()
    inputs: InputSide = NoInputs()
    loss: Loss = CrossEntropy()

    def __post_init__(self) -> None:
        """Refuse a loss that compares clean with crafted images where none are crafted."""
        if isinstance(self.loss, Trades | Mart) and isinstance(self.inputs, NoInputs):
            name = next(name for name, cls in LOSSES.items() if cls is type(self.loss))
            sides = ", ".join(list(INPUT_SIDES)[1:])
            rule = f"{name} compares clean with crafted images and needs an input side ({sides})"
            raise ConfigError("loss", rule, "inputs: none")

    @property
    def is_single_step(self) -> bool:
        """Whether images are crafted by one gradient step: what may overfit catastrophically."""
        inputs = self.inputs
        return isinstance(inputs, FgsmRs | NFgsm) or (isinstance(inputs, Pgd) and inputs.steps == 1)

    @property
    def warmup_epochs(self) -> int:
        """Epochs until both sides have their full radius."""
        return max(getattr(side, "warmup_epochs", 0) for side in (self.weights, self.inputs))


@dataclass(frozen=True, kw_only=True)
class Passes:
    """How often one training sample goes through the network in one step."""

    forward: int
    input_backward: int
    weight_backward: int

    @property
    def cost(self) -> int:
        """In forward passes: a backward pass to inputs is one, one to inputs and weights two."""
        return self.forward + self.input_backward + 2 * self.weight_backward


def passes(method: Method) -> Passes:
    """Count a step's passes: standard training costs 3, SAM 6, AT-K 2K + 3, TRADES-K 2K + 7."""
    gradients = 1 if isinstance(method.weights, NoWeights) else 2
    images = 1 if isinstance(method.loss, CrossEntropy) else 2  # clean ones beside crafted ones
    inputs = method.inputs
    steps = inputs.steps if isinstance(inputs, Pgd) else int(isinstance(inputs, FgsmRs | NFgsm))
    clean = int(isinstance(method.loss, Trades) and steps > 0)  # the attack's fixed target
    return Passes(
        forward=steps + clean + gradients * images,
        input_backward=steps,
        weight_backward=gradients * images,
    )


def _check_rho(rho: float) -> None:
    rule = f"must lie in [0, {LARGEST_RHO:g}]"
    check_number(rho, "rho", rule, lambda rho: 0 <= rho <= LARGEST_RHO)


def _check_ball(side: Pgd | FgsmRs | NFgsm) -> None:
    """Check what crafting in a ball has. An l2 radius has no bound, as it grows with the image."""
    check_choice(side.norm, "norm", NORMS)
    top = LARGEST_EPSILON_LINF if side.norm == "linf" else math.inf
    rule = f"must lie in [0, {top:g}] of the pixel range for linf" if top < 1 else "must be ≥ 0"
    check_number(side.epsilon, "epsilon", rule, lambda epsilon: 0 <= epsilon <= top)
    if side.step_size != "auto":
        rule = "must be auto or a number > 0"
        check_number(side.step_size, "step_size", rule, lambda size: size > 0)
    check_count(side.warmup_epochs, "warmup_epochs", 0)
