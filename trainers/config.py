"""What decides a training: `TrainConfig` and its parts, with their units, checked at construction.

Units: every input radius (`epsilon`, `radii`, `step_size`) is a fraction of the pixel range [0, 1],
whatever the stored range of the data set; `rho` is a distance between weight vectors in l2.
Accuracies are fractions. A required field has no default; "off" is a side named none, never `None`.
Each check raises `ConfigError`, whose `field` names the offending field of the part.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

NUMERICS_VERSION = 2
"""Raised by every change that alters the numbers of a training; part of each cell's key."""

Norm = Literal["linf", "l2"]
NORMS: tuple[Norm, ...] = ("linf", "l2")
SCHEDULES = ("cosine", "step")
PRECISIONS = ("float32", "bfloat16")
DEFAULT_WIDTHS = {"small_cnn": 16, "preact_resnet18": 64}
MODELS = tuple(DEFAULT_WIDTHS)
LARGEST_RHO = 10.0
LARGEST_EPSILON_LINF = 0.5
"""Beyond half the pixel range a grey image is within reach of every image: wrong units."""


class ConfigError(ValueError):
    """A value that no training can use. `field` is its name inside the part that refused it."""

    def __init__(self, field: str, rule: str, value: object) -> None:
        super().__init__(f"{field}: {rule}, got {value!r}")
        self.field = field
        self.rule = rule
        self.value = value


def _check(holds: bool, field: str, rule: str, value: object) -> None:
    if not holds:
        raise ConfigError(field, rule, value)


def _check_number(value: float, field: str, rule: str, holds: Callable[[float], bool]) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    _check(is_number and math.isfinite(value) and holds(value), field, rule, value)


def _check_count(value: int, field: str, least: int) -> None:
    is_count = isinstance(value, int) and not isinstance(value, bool)
    _check(is_count and value >= least, field, f"must be a whole number ≥ {least}", value)


def _check_epsilon(value: float, norm: Norm) -> None:
    """Check a training radius. An l2 radius has no natural bound, as it grows with the image."""
    if norm == "linf":
        rule = f"must lie in [0, {LARGEST_EPSILON_LINF}] of the pixel range for linf"
        _check_number(value, "epsilon", rule, lambda e: 0 <= e <= LARGEST_EPSILON_LINF)
    else:
        _check_number(value, "epsilon", "must be ≥ 0", lambda e: e >= 0)


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
        rule = f"must lie in [0, {LARGEST_RHO:g}]"
        _check_number(self.rho, "rho", rule, lambda rho: 0 <= rho <= LARGEST_RHO)


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

    def __post_init__(self) -> None:
        """Check radius, steps and step size."""
        _check(self.norm in NORMS, "norm", f"must be one of {', '.join(NORMS)}", self.norm)
        _check_epsilon(self.epsilon, self.norm)
        _check_count(self.steps, "steps", 1)
        if self.step_size != "auto":
            rule = "must be auto or a number > 0"
            _check_number(self.step_size, "step_size", rule, lambda size: size > 0)

    @property
    def step_length(self) -> float:
        """The step size with `auto` resolved."""
        return 2.5 * self.epsilon / self.steps if self.step_size == "auto" else self.step_size


@dataclass(frozen=True, kw_only=True)
class CrossEntropy:
    """The loss cross-entropy, on the crafted images."""


WeightSide = NoWeights | Sam
InputSide = NoInputs | Pgd
Loss = CrossEntropy

WEIGHT_SIDES: dict[str, type[Any]] = {"none": NoWeights, "sam": Sam}
INPUT_SIDES: dict[str, type[Any]] = {"none": NoInputs, "pgd": Pgd}
LOSSES: dict[str, type[Any]] = {"cross_entropy": CrossEntropy}


@dataclass(frozen=True, kw_only=True)
class Method:
    """A weight side, an input side and a loss; the defaults together are standard training."""

    weights: WeightSide = NoWeights()
    inputs: InputSide = NoInputs()
    loss: Loss = CrossEntropy()


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A network; its input normalisation belongs to it."""

    name: str
    width: int
    """Channels of the first stage; `DEFAULT_WIDTHS` has the usual one of each network."""

    def __post_init__(self) -> None:
        """Check name and width."""
        _check(self.name in MODELS, "name", f"must be one of {', '.join(MODELS)}", self.name)
        _check_count(self.width, "width", 1)


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """The base optimiser (SGD with momentum) and its schedule."""

    epochs: int
    batch_size: int
    learning_rate: float
    momentum: float
    weight_decay: float
    schedule: str
    """`cosine`: half a cosine to 0 over all steps; `step`: × 0.1 after 75 % and 90 % of them."""
    precision: str = "float32"
    """Of a deep network's body in training: between its stem and its last layer. Weights, inputs,
    their gradients, losses and every evaluation are float32 in both."""

    def __post_init__(self) -> None:
        """Check every number against its range."""
        _check_count(self.epochs, "epochs", 1)
        _check_count(self.batch_size, "batch_size", 1)
        _check_number(self.learning_rate, "learning_rate", "must be ≥ 0", lambda x: x >= 0)
        _check_number(self.momentum, "momentum", "must lie in [0, 1)", lambda x: 0 <= x < 1)
        _check_number(self.weight_decay, "weight_decay", "must be ≥ 0", lambda x: x >= 0)
        rule = f"must be one of {', '.join(SCHEDULES)}"
        _check(self.schedule in SCHEDULES, "schedule", rule, self.schedule)
        rule = f"must be one of {', '.join(PRECISIONS)}"
        _check(self.precision in PRECISIONS, "precision", rule, self.precision)


@dataclass(frozen=True, kw_only=True)
class PgdAttack:
    """The evaluation attack PGD from uniform starts; any start or iterate may break a sample."""

    steps: int
    restarts: int

    def __post_init__(self) -> None:
        """Check the counts."""
        _check_count(self.steps, "steps", 1)
        _check_count(self.restarts, "restarts", 1)

    @property
    def relative_step_size(self) -> float:
        """Step size as a fraction of the radius: 1/4 from 10 steps on, 2.5 / steps below."""
        return max(0.25, 2.5 / self.steps)


ATTACKS: dict[str, type[Any]] = {"pgd": PgdAttack}
VALIDATION_ATTACK = PgdAttack(steps=10, restarts=1)
"""Judges the whole validation part after every epoch of a training."""


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """The threat model that a trained network is judged by."""

    norm: Norm
    radii: tuple[float, ...]
    """Strictly increasing, each > 0, in units of the pixel range [0, 1]."""
    objective_radius: float
    """One of `radii`: the radius of the validation attack, and of the second objective."""
    attack: PgdAttack
    checkpoint: Literal["best", "last"] = "best"
    """Which of the two evaluated checkpoints a study's numbers are read from."""

    def __post_init__(self) -> None:
        """Check the radii."""
        _check(self.norm in NORMS, "norm", f"must be one of {', '.join(NORMS)}", self.norm)
        _check(len(self.radii) > 0, "radii", "needs at least one radius", self.radii)
        for radius in self.radii:
            rule = "must lie in (0, 1] of the pixel range" if self.norm == "linf" else "must be > 0"
            top = 1.0 if self.norm == "linf" else math.inf
            _check_number(radius, "radii", f"each {rule}", lambda r, top=top: 0 < r <= top)  # type: ignore[misc]
        increases = all(a < b for a, b in zip(self.radii, self.radii[1:], strict=False))
        _check(increases, "radii", "must increase strictly", self.radii)
        listed = ", ".join(f"{radius:g}" for radius in self.radii)
        rule = f"must be one of the evaluated radii ({listed})"
        _check(self.objective_radius in self.radii, "objective_radius", rule, self.objective_radius)
        rule = "must be best or last"
        _check(self.checkpoint in ("best", "last"), "checkpoint", rule, self.checkpoint)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that decides the numbers of one trained network: one cell."""

    data: str
    """`digits`, or `folder:PATH` with `train/<class>/*` and `test/<class>/*` below PATH."""
    model: ModelConfig
    training: TrainingConfig
    method: Method
    evaluation: EvaluationConfig
    seed: int
    """≥ 0. Decides initial weights, batch order, augmentation and the input side's noise."""

    def __post_init__(self) -> None:
        """Check the seed, the data set's name, and that the precision applies."""
        _check_count(self.seed, "seed", 0)
        known = self.data == "digits" or (self.data.startswith("folder:") and len(self.data) > 7)
        _check(known, "data", "must be digits or folder:PATH", self.data)
        rule = f"must be float32 for {self.model.name}, whose layers are too few to be rounded"
        precision = self.training.precision
        may_round = self.model.name != "small_cnn"
        _check(may_round or precision == "float32", "precision", rule, precision)
