"""What decides a training: `TrainConfig` and its parts, with their units, checked at construction.

Units: every input radius (`epsilon`, `radii`, `step_size`) is a fraction of the pixel range [0, 1],
whatever the stored range of the data set. Accuracies are fractions. A required field has no
default; "off" is a side or a word none, never `None`. Each check raises `ConfigError`, whose
`field` names the offending field of the part.
"""

import itertools
import math
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from trainers.config.checks import ConfigError, check, check_choice, check_count, check_number
from trainers.config.data import DataConfig
from trainers.config.losses import Loss, Mart, Trades
from trainers.config.methods import NORMS, Method, Norm
from trainers.config.own import NO_SETTINGS, Own, OwnAttack
from trainers.config.parts import OwnPart
from trainers.config.weights import Msam

NUMERICS_VERSION = 2
"""Raised by every change that alters the numbers of a training; part of each cell's key."""
LOSS_NUMERICS: dict[type[Loss], int] = {Trades: 1, Mart: 1}
"""Raised instead by a change that alters the numbers of one loss alone; part of its cells' keys."""

OPTIMIZERS = ("sgd", "adamw")
SCHEDULES = ("cosine", "step", "one_cycle")
PRECISIONS = ("float32", "bfloat16")
DETECTORS = ("stuck", "catastrophic_overfitting", "robust_overfitting")
DEFAULT_WIDTHS = {
    "small_cnn": 16,
    "preact_resnet18": 64,
    "wide_resnet": 10,
    "resnet18": 64,
    "vit": 192,
}
DEFAULT_DEPTHS = {"wide_resnet": 28, "vit": 6}
"""Of the networks whose depth can be chosen."""
MODELS = tuple(DEFAULT_WIDTHS)
ROUNDED_MODELS = ("preact_resnet18", "wide_resnet")
"""Networks whose body may be trained in bfloat16."""
NORM_LAYERS = ("batch", "group")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A network; its input normalisation belongs to it."""

    name: str
    width: int
    """Channels of the first stage; of `wide_resnet` the widening factor, of `vit` the values of a
    token. `DEFAULT_WIDTHS` has the usual one of each network."""
    depth: int = 0
    """Layers of `wide_resnet` (6n + 4), blocks of `vit`; 0 for a network of fixed depth."""
    norm_layer: str = "batch"
    """`batch` normalisation, or `group` normalisation, which treats each image by itself."""
    settings: Own = NO_SETTINGS
    """Of a network of one's own, which has no other settings."""

    def __post_init__(self) -> None:
        """Check name, width and depth, and that `norm_layer` has an effect."""
        if self.is_own:
            self._check_own()
            return
        check_choice(self.name, "name", MODELS)
        check_count(self.width, "width", 1)
        check_count(self.depth, "depth", 0)
        has_depth = self.name in DEFAULT_DEPTHS
        rule = (
            f"must be ≥ 1 for {self.name}" if has_depth else f"{self.name} has one depth; drop it"
        )
        check((self.depth > 0) == has_depth, "depth", rule, self.depth)
        if self.name == "wide_resnet":
            rule = "must be 6n + 4, such as 16, 28 or 34"
            check(self.depth >= 10 and self.depth % 6 == 4, "depth", rule, self.depth)
        if self.name == "resnet18":
            check(self.width == 64, "width", "must be 64 for torchvision's resnet18", self.width)
        if self.name == "vit":
            rule = "must be a multiple of 64, the width of an attention head"
            check(self.width % 64 == 0, "width", rule, self.width)
        check_choice(self.norm_layer, "norm_layer", NORM_LAYERS)
        has_norms = self.name != "vit" or self.norm_layer == "batch"
        rule = "has no effect for vit, which normalises each token; drop it"
        check(has_norms, "norm_layer", rule, self.norm_layer)

    @property
    def is_own(self) -> bool:
        """Return whether the network is an own part."""
        return type(self.settings) is not Own

    def _check_own(self) -> None:
        """Check that an own network has no settings but its own."""
        rule = "is not for a network of your own; declare it among its parameters, under settings"
        check(self.width == 0, "width", rule, self.width)
        check(self.depth == 0, "depth", rule, self.depth)
        check(self.norm_layer == "batch", "norm_layer", rule, self.norm_layer)


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """The base optimiser, its schedule, and what ends a training early."""

    epochs: int
    batch_size: int
    learning_rate: float
    momentum: float
    """Of SGD; AdamW's β₁, whose β₂ is 0.999."""
    weight_decay: float
    """Of SGD it enters the gradient; AdamW's is decoupled."""
    schedule: str
    """Over all steps: `cosine`, half a cosine to 0; `step`, × 0.1 at each of `milestones`;
    `one_cycle`, up from 0 in two fifths of them and down to 0, both linearly."""
    precision: str = "float32"
    """Of a deep network's body, between its stem and its last layer, in training. Weights, inputs,
    their gradients, losses and every evaluation are float32 whatever this is."""
    optimizer: str | Own = "sgd"
    """`sgd`, `adamw`, or an own part with its settings."""
    nesterov: bool = False
    """Whether SGD looks ahead along its momentum (Sutskever et al. 2013), as torch does."""
    milestones: tuple[float, ...] = (0.75, 0.9)
    """Fractions of the training at which the schedule `step` drops, increasing, in (0, 1)."""
    ema_decay: float | Literal["none"] = "none"
    """Decay per step, in [0, 1), of a moving average of weights and batch statistics, which is then
    validated, kept and evaluated instead. It rises to this value as (1 + t) / (10 + t)."""
    gradient_clip: float | Literal["none"] = "none"
    """Largest l2 norm, over all weights, of the gradient that the base optimiser gets."""
    end_on: tuple[str, ...] = ("stuck",)
    """Detectors that end a training as failed, in any order; a divergence always does."""

    def __post_init__(self) -> None:
        """Check every number against its range, and that no setting is without effect."""
        check_count(self.epochs, "epochs", 1)
        check_count(self.batch_size, "batch_size", 1)
        check_number(self.learning_rate, "learning_rate", "must be ≥ 0", lambda x: x >= 0)
        check_number(self.momentum, "momentum", "must lie in [0, 1)", lambda x: 0 <= x < 1)
        check_number(self.weight_decay, "weight_decay", "must be ≥ 0", lambda x: x >= 0)
        check_choice(self.schedule, "schedule", SCHEDULES)
        check_choice(self.precision, "precision", PRECISIONS)
        if not isinstance(self.optimizer, Own):
            check_choice(self.optimizer, "optimizer", OPTIMIZERS)
        may_look = self.optimizer == "sgd" and self.momentum > 0
        rule = "needs the optimizer sgd with momentum > 0"
        check(may_look or not self.nesterov, "nesterov", rule, self.nesterov)
        self._check_milestones()
        if self.ema_decay != "none":
            rule = "must be none or lie in [0, 1)"
            check_number(self.ema_decay, "ema_decay", rule, lambda x: 0 <= x < 1)
        if self.gradient_clip != "none":
            rule = "must be none or a number > 0"
            check_number(self.gradient_clip, "gradient_clip", rule, lambda x: x > 0)
        for name in self.end_on:
            check(name in DETECTORS, "end_on", f"each must be one of {', '.join(DETECTORS)}", name)
        is_once = len(set(self.end_on)) == len(self.end_on)
        check(is_once, "end_on", "must name each once", self.end_on)
        in_order = tuple(name for name in DETECTORS if name in self.end_on)
        object.__setattr__(self, "end_on", in_order)  # an order decides nothing, so no key either

    def _check_milestones(self) -> None:
        given = self.milestones
        for fraction in given:
            rule = "each must lie in (0, 1), a fraction of the training"
            check_number(fraction, "milestones", rule, lambda x: 0 < x < 1)
        increases = all(a < b for a, b in itertools.pairwise(given))
        check(increases and len(given) > 0, "milestones", "must increase strictly", given)
        applies = self.schedule == "step" or given == (0.75, 0.9)
        check(applies, "milestones", f"has no effect with schedule {self.schedule}", given)


@dataclass(frozen=True, kw_only=True)
class PgdAttack:
    """The evaluation attack PGD from uniform starts; any start or iterate may break a sample."""

    steps: int
    restarts: int

    def __post_init__(self) -> None:
        """Check the counts."""
        check_count(self.steps, "steps", 1)
        check_count(self.restarts, "restarts", 1)

    @property
    def relative_step_size(self) -> float:
        """Return the step size by the radius: 1/4 from 10 steps on, 2.5 / steps below."""
        return max(0.25, 2.5 / self.steps)

    @property
    def title(self) -> str:
        """Return the name of the attack as reports print it, say `PGD-20, 1 restart`."""
        return f"PGD-{self.steps}, {self.restarts} restart" + ("s" if self.restarts > 1 else "")


EvaluationAttack = PgdAttack | OwnAttack
ATTACKS: dict[str, type[Any]] = {"pgd": PgdAttack}
"""By the name in a study. `trainers.evaluation.pgd` has the function of each."""
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
    attack: EvaluationAttack
    checkpoint: Literal["best", "last"] = "best"
    """Which of the two evaluated checkpoints a study's numbers are read from."""
    other_norm_radii: tuple[float, ...] = ()
    """As `radii`, of the other norm: l2 where `norm` is linf, linf where it is l2. Evaluated on
    test beside them; nothing is chosen by them."""

    def __post_init__(self) -> None:
        """Check the radii."""
        check_choice(self.norm, "norm", NORMS)
        check(len(self.radii) > 0, "radii", "needs at least one radius", self.radii)
        _check_radii(self.radii, "radii", self.norm)
        _check_radii(self.other_norm_radii, "other_norm_radii", self.other_norm)
        listed = ", ".join(f"{radius:g}" for radius in self.radii)
        rule = f"must be one of the evaluated radii ({listed})"
        check(self.objective_radius in self.radii, "objective_radius", rule, self.objective_radius)
        rule = "must be best or last"
        check(self.checkpoint in ("best", "last"), "checkpoint", rule, self.checkpoint)

    @property
    def other_norm(self) -> Norm:
        """Return the norm of `other_norm_radii`."""
        return "l2" if self.norm == "linf" else "linf"

    @property
    def threats(self) -> tuple[tuple[Norm, tuple[float, ...]], ...]:
        """Return the norms that are evaluated, each with its radii; the study's own first."""
        other = ((self.other_norm, self.other_norm_radii),) if self.other_norm_radii else ()
        return ((self.norm, self.radii), *other)


def _check_radii(radii: tuple[float, ...], field: str, norm: Norm) -> None:
    rule = "must lie in (0, 1] of the pixel range" if norm == "linf" else "must be > 0"
    top = 1.0 if norm == "linf" else math.inf
    for radius in radii:
        check_number(radius, field, f"each {rule}", lambda radius: 0 < radius <= top)
    increases = all(a < b for a, b in itertools.pairwise(radii))
    check(increases, field, "must increase strictly", radii)
    for low, high in itertools.pairwise(radii):
        name = f"{low:.6g}"
        rule = f"must differ in 6 digits, as these name a radius; keep one {name}"
        check(name != f"{high:.6g}", field, rule, radii)


@dataclass(frozen=True, kw_only=True)
class StartConfig:
    """The weights that a training starts from, in place of fresh ones."""

    weights: str
    """SHA-256 of the file that holds them."""
    origin: str
    """Hash of what decided them besides a seed; of a file the same as `weights`."""


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """With how many steps the input side crafts images in the first epochs of a training."""

    until: tuple[int, ...]
    """Epochs, rising. After the last one the method has its own number of steps."""
    steps: tuple[int, ...]
    """Up to each of these epochs."""

    def __post_init__(self) -> None:
        """Check that there is a number of steps for each epoch, and that epochs rise."""
        rule = "needs one number of steps for each epoch"
        check(len(self.until) == len(self.steps) > 0, "steps", rule, self.steps)
        for epoch, steps in zip(self.until, self.steps, strict=True):
            check_count(epoch, "until", 1)
            check_count(steps, "steps", 1)
        rises = all(a < b for a, b in itertools.pairwise(self.until))
        check(rises, "until", "must increase strictly", self.until)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that decides the numbers of one trained network: one cell."""

    data: DataConfig
    model: ModelConfig
    training: TrainingConfig
    method: Method
    evaluation: EvaluationConfig
    seed: int
    """≥ 0. Decides initial weights, batch order, augmentation and the input side's noise."""
    start: StartConfig | Literal["none"] = "none"
    """What the weights start from; `none`: all of them are drawn from the seed."""
    fidelity: Fidelity | Literal["none"] = "none"
    """Fewer steps of the input side in the first epochs; `none`: its own number in all of them."""

    def __post_init__(self) -> None:
        """Check the seed, and that precision, warm-ups and fewer steps apply."""
        check_count(self.seed, "seed", 0)
        known = ", ".join(ROUNDED_MODELS)
        rule = f"must be float32 for {self.model.name}; bfloat16 is for the bodies of {known}"
        precision = self.training.precision
        may_round = self.model.name in ROUNDED_MODELS
        check(may_round or precision == "float32", "precision", rule, precision)
        self.method.warm_epoch(self.training.epochs)
        if isinstance(self.method.weights, Msam):
            has_momentum = self.training.optimizer == "sgd" and self.training.momentum > 0
            rule = "msam moves weights along momentum and needs the optimizer sgd with momentum > 0"
            got = f"{self.training.optimizer} with momentum {self.training.momentum:g}"
            check(has_momentum, "weights", rule, got)
        if self.data.extra != "none":
            size = self.training.batch_size
            count = self.data.extra.count(size)
            rule = f"extra.share must leave an image of each source in a batch of {size}"
            check(0 < count < size, "data", rule, self.data.extra.share)
        if self.fidelity != "none":
            rule = "needs an input side with steps, such as pgd"
            check(has_steps(type(self.method.inputs)), "fidelity", rule, self.fidelity.steps)
            rule = f"must be below the {self.training.epochs} epochs of the training"
            until = self.fidelity.until
            check(until[-1] < self.training.epochs, "fidelity", rule, until)


def has_steps(side: type[Any]) -> bool:
    """Return whether an input side of ours takes a number of steps that is a setting."""
    return not issubclass(side, Own) and "steps" in {item.name for item in fields(side)}


def segments(config: TrainConfig) -> tuple[tuple[int, TrainConfig], ...]:
    """Return the parts of a training that differ in steps, each as its last epoch and its method.

    There is one, the training itself, unless its fidelity says otherwise. A step size `auto` is
    that of the part's own number of steps.
    """
    if config.fidelity == "none":
        return ((config.training.epochs, config),)
    whole = replace(config, fidelity="none")
    side: Any = config.method.inputs  # of one of the classes with steps
    found = []
    for until, steps in zip(config.fidelity.until, config.fidelity.steps, strict=True):
        method = replace(config.method, inputs=replace(side, steps=steps))
        found.append((until, replace(whole, method=method)))
    return (*found, (config.training.epochs, whole))


def own_parts(config: TrainConfig) -> tuple[OwnPart, ...]:
    """List the own parts that decide a training, in the order network, optimiser, sides, loss."""
    parts = (one.part for one in own_settings(config))
    return tuple(part for part in parts if part.kind != "attacks")


def own_settings(config: TrainConfig) -> tuple[Own, ...]:
    """List the settings of all own parts of a configuration, the evaluation attack's last."""
    method = config.method
    chosen = (config.model.settings, config.data.transform, config.training.optimizer)
    sides = (method.weights, method.inputs, method.loss, config.evaluation.attack)
    return tuple(one for one in (*chosen, *sides) if isinstance(one, Own) and one != NO_SETTINGS)


def check_image(model: ModelConfig, image_shape: tuple[int, int, int]) -> None:
    """Check that images are large enough for a network. image_shape: (C, H, W).

    Raises `ConfigError`. Each network takes any number of channels and classes.
    """
    _, height, width = image_shape
    if model.name == "small_cnn" and min(height, width) < 2:
        rule = "small_cnn halves its images, which must be at least 2 × 2 pixels"
        raise ConfigError("name", rule, f"{height} × {width}")


def check_batches(model: ModelConfig, batch_size: int, num_train: int) -> None:
    """Check that no last batch has one sample: batch normalisation has no variance there.

    Raises `ConfigError`. num_train: training images.
    """
    is_normalised = model.norm_layer == "batch" and model.name != "vit"
    if is_normalised and (batch_size == 1 or num_train % batch_size == 1):
        rule = f"must not leave a last batch of one of the {num_train} training images"
        raise ConfigError("batch_size", rule, batch_size)
