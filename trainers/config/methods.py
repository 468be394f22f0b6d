"""What a method is: a weight side, an input side and a loss; the settings of the input sides.

Units: every input radius (`epsilon`, `sigma`, `step_size`) is in units of the pixel range [0, 1].
Every side but none has `active`: the shares of the training between which it crafts images. Outside
them it costs nothing, and the loss sees the clean images in place of the crafted ones.

Each class declares its side once, beside the settings: its kind, the passes that it costs, and how
its settings become the numbers of a step. `trainers.step` adds the function, and nothing else has
to know a side by its name. Weight sides are declared alike in `weights.py`, losses in `losses.py`.
"""

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from trainers.config.activity import (
    ALWAYS,
    Active,
    Phases,
    active_of,
    check_active,
    phase_of,
    share_of,
)
from trainers.config.checks import ConfigError, check, check_choice, check_count, check_number
from trainers.config.losses import CrossEntropy, Loss, loss_name
from trainers.config.own import OwnInputs, OwnWeights
from trainers.config.weights import (
    AdaptiveGsam,
    Asam,
    Awp,
    EigenSam,
    Esam,
    FSam,
    Gsam,
    Kind,
    LookSam,
    Msam,
    NoWeights,
    Sam,
)

Norm = Literal["linf", "l2"]
NORMS: tuple[Norm, ...] = ("linf", "l2")
"""Of an evaluation, and of every input side that has a norm."""
InputNorm = Literal["linf", "l2", "l1"]
INPUT_NORMS: tuple[InputNorm, ...] = ("linf", "l2", "l1")
"""Of the input side PGD."""
LARGEST_EPSILON_LINF = 0.5
"""Beyond half the pixel range a grey image is within reach of every image: wrong units."""

BALL_NUMBERS = ("epsilon", "step_size", "warmup_epochs")
"""Settings of a ball around an image that are numbers of a step."""


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

    norm: InputNorm
    """In l1 a step moves a twentieth of the values (`trainers.step.l1`)."""
    epsilon: float
    """Radius, in units of the pixel range [0, 1]; 0 is standard training, bit for bit."""
    steps: int
    step_size: float | Literal["auto"] = "auto"
    """In units of the pixel range; `auto` is 2.5 epsilon / steps."""
    warmup_epochs: int = 0
    """Epochs from its first step on in which radius and step size rise linearly from 0."""
    active: Active = ALWAYS

    def __post_init__(self) -> None:
        """Check radius, steps and step size."""
        _check_ball(self, INPUT_NORMS)
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

    norm: InputNorm
    """linf or l2."""
    epsilon: float
    """Radius, in units of the pixel range [0, 1]; 0 is standard training, bit for bit."""
    step_size: float | Literal["auto"] = "auto"
    """In units of the pixel range; `auto` is 1.25 epsilon."""
    warmup_epochs: int = 0
    """Epochs from its first step on in which radius and step size rise linearly from 0."""
    active: Active = ALWAYS

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

    norm: InputNorm
    """linf or l2."""
    epsilon: float
    """Radius, in units of the pixel range [0, 1]; 0 is standard training, bit for bit."""
    step_size: float | Literal["auto"] = "auto"
    """In units of the pixel range; `auto` is epsilon."""
    noise_scale: float = 2.0
    """Radius of the start, in units of epsilon, ≥ 0."""
    warmup_epochs: int = 0
    """Epochs from its first step on in which radius and step size rise linearly from 0."""
    active: Active = ALWAYS

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
    active: Active = ALWAYS

    def __post_init__(self) -> None:
        """Check the deviation."""
        rule = "must lie in [0, 1] of the pixel range"
        check_number(self.sigma, "sigma", rule, lambda sigma: 0 <= sigma <= 1)
        check_active(self.active)

    def numbers(self, epochs: Any) -> dict[str, Any]:
        """Return the numbers of each step."""
        return {"epsilon": self.sigma}


@dataclass(frozen=True, kw_only=True)
class EAt:
    """The input side E-AT: PGD in linf or in l1, drawn for each batch (Croce and Hein 2022).

    The norm under which the network is less robust so far is drawn more often. A step costs as much
    as one of PGD, and one pass forward that judges the crafted images.
    """

    kind: ClassVar[Kind] = "adversarial"
    judging_passes: ClassVar[int] = 1
    tabulated: ClassVar[tuple[str, ...]] = (
        *("epsilon_linf", "epsilon_l1", "step_size_linf", "step_size_l1", "warmup_epochs"),
    )

    epsilon_linf: float
    """Radius in linf, in units of the pixel range [0, 1]; the paper has 8/255."""
    epsilon_l1: float
    """Radius in l1, in these units; the paper has 12 for images of 3 × 32 × 32. Both 0 are standard
    training, bit for bit."""
    steps: int
    """In either norm."""
    step_size_linf: float | Literal["auto"] = "auto"
    """In units of the pixel range; `auto` is 2.5 epsilon_linf / steps."""
    step_size_l1: float | Literal["auto"] = "auto"
    """In units of the pixel range; `auto` is 2.5 epsilon_l1 / steps."""
    warmup_epochs: int = 0
    """Epochs from its first step on in which radii and step sizes rise linearly from 0."""
    active: Active = ALWAYS

    def __post_init__(self) -> None:
        """Check radii, steps and step sizes."""
        for norm in ("linf", "l1"):
            _check_radius(getattr(self, f"epsilon_{norm}"), f"epsilon_{norm}", norm)
            _check_step_size(getattr(self, f"step_size_{norm}"), f"step_size_{norm}")
        check_count(self.steps, "steps", 1)
        check_count(self.warmup_epochs, "warmup_epochs", 0)
        check_active(self.active)

    @property
    def attack_steps(self) -> int:
        """Return the number of gradient steps that craft an image."""
        return self.steps

    def numbers(self, epochs: Any) -> dict[str, Any]:
        """Return the numbers of each step."""
        both = [(self.epsilon_linf, self.step_size_linf), (self.epsilon_l1, self.step_size_l1)]
        first, second = (
            (epsilon, 2.5 * epsilon / self.steps if size == "auto" else size)
            for epsilon, size in both
        )
        ramp = _ramp(self.warmup_epochs, epochs)
        return {
            "epsilon": first[0] * ramp,
            "step_length": first[1] * ramp,
            "other_epsilon": second[0] * ramp,
            "other_step_length": second[1] * ramp,
        }


WeightSide = (
    NoWeights
    | Sam
    | Asam
    | Gsam
    | AdaptiveGsam
    | LookSam
    | Esam
    | FSam
    | Msam
    | EigenSam
    | Awp
    | OwnWeights
)
InputSide = NoInputs | Pgd | FgsmRs | NFgsm | Noise | EAt | OwnInputs

WEIGHT_SIDES: dict[str, type[Any]] = {
    "none": NoWeights,
    "sam": Sam,
    "asam": Asam,
    "gsam": Gsam,
    "adaptive_gsam": AdaptiveGsam,
    "look_sam": LookSam,
    "esam": Esam,
    "f_sam": FSam,
    "msam": Msam,
    "eigen_sam": EigenSam,
    "awp": Awp,
}
INPUT_SIDES: dict[str, type[Any]] = {
    "none": NoInputs,
    "pgd": Pgd,
    "fgsm_rs": FgsmRs,
    "n_fgsm": NFgsm,
    "noise": Noise,
    "e_at": EAt,
}


@dataclass(frozen=True, kw_only=True)
class Method:
    """A weight side, an input side and a loss; the defaults together are standard training."""

    weights: WeightSide = field(default=NoWeights())
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

    def phases(self, step: int, total: int) -> Phases:
        """Return what both sides do at a step, counted from 0, of a training of `total` steps."""
        return Phases(phase_of(self.weights, step, total), phase_of(self.inputs, step, total))

    def warm_epoch(self, epochs: int) -> float:
        """Return after how many of the epochs both sides have their full radius.

        Raises `ConfigError` for a warm-up that would last as long as its side acts.
        """
        last = 0.0
        for side in (self.weights, self.inputs):
            warmup, share = getattr(side, "warmup_epochs", 0), share_of(side)
            if warmup == 0 or share == 0:
                continue
            of = "of the training" if share == 1 else "in which the side acts"
            rule = f"warmup_epochs must be below the {share * epochs:g} epochs {of}"
            check(warmup < share * epochs, "warmup_epochs", rule, warmup)
            last = max(last, active_of(side)[0] * epochs + warmup)
        return last


def _check_ball(side: Pgd | FgsmRs | NFgsm, norms: tuple[InputNorm, ...] = NORMS) -> None:
    """Check norm, radius, step size and warm-up of a ball."""
    is_known = side.norm in norms or side.norm not in INPUT_NORMS
    rule = f"must be {' or '.join(norms)}: one step in l1 is not a published method; use pgd for l1"
    check(is_known, "norm", rule, side.norm)
    check_choice(side.norm, "norm", norms)
    _check_radius(side.epsilon, "epsilon", side.norm)
    _check_step_size(side.step_size, "step_size")
    check_count(side.warmup_epochs, "warmup_epochs", 0)
    check_active(side.active)


def _check_radius(epsilon: float, field: str, norm: str) -> None:
    """Check a radius. In l2 and l1 it has no bound: it grows with the image."""
    top = LARGEST_EPSILON_LINF if norm == "linf" else math.inf
    rule = f"must lie in [0, {top:g}] of the pixel range for linf" if top < 1 else "must be ≥ 0"
    check_number(epsilon, field, rule, lambda epsilon: 0 <= epsilon <= top)


def _check_step_size(size: float | Literal["auto"], field: str) -> None:
    if size != "auto":
        check_number(size, field, "must be auto or a number > 0", lambda size: size > 0)


def _ball_numbers(side: Pgd | FgsmRs | NFgsm, epochs: Any) -> dict[str, Any]:
    """Return radius and step size of each step. epochs: (steps,), passed when the step ends."""
    ramp = _ramp(side.warmup_epochs, epochs)
    return {"epsilon": side.epsilon * ramp, "step_length": side.step_length * ramp}


def _ramp(warmup_epochs: int, epochs: Any) -> Any:
    """Return the share of a radius at each step. epochs: (steps,), passed when the step ends."""
    return 1.0 if warmup_epochs == 0 else (epochs / warmup_epochs).clamp(max=1)
