"""Detectors of trainings that went wrong: pure functions of the epochs so far.

What is found in a history is found in every longer one, at the same epoch. Accuracies and falls
are fractions; points are hundredths. `EpochMetrics` is what they see of an epoch.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainers.config import TrainConfig, is_active_epoch, passes, segments


@dataclass(frozen=True, kw_only=True)
class EpochMetrics:
    """What is known at the end of an epoch. Validation is nan where training diverged."""

    epoch: int
    """From 1."""
    learning_rate: float
    """Of the epoch's first step."""
    train_loss: float
    """Mean over the samples, each before its step."""
    train_accuracy: float
    """On the crafted images, each before its step."""
    validation_clean: float
    validation_robust: float
    """PGD-10 at the objective radius, one start, the same noise in every epoch."""
    forward_passes: int
    """Samples that went forward through the network in this epoch's training."""
    input_backward_passes: int
    """Samples whose gradient with respect to the image was taken."""
    weight_backward_passes: int
    """Samples whose gradient with respect to the weights was taken."""
    seconds: float
    """Wall time of the epoch's training."""
    validation_seconds: float
    is_best: bool
    """Whether the mean of both validation accuracies is above that of every epoch before."""
    diverged: bool
    """A loss or weight was not finite, or the loss was above 3 ln K after the first epoch."""


DIVERGED_LOSS = 3.0
"""In units of ln K, the loss of a uniform guess: a mean loss above it is a divergence (ours)."""
STUCK_LOSS = 0.98
"""In units of ln K: a network above it has learnt nothing (ours)."""
STUCK_SHARE = 0.2
"""Fraction of the epochs after which a training must have begun to learn (ours)."""
LEAST_STUCK_EPOCH = 5
"""A training of fewer epochs is never called stuck: it ends as soon by itself (ours)."""
STUCK_ERRORS = 3.0
"""Standard errors by which a network must beat the guess of the largest class (ours)."""
CATASTROPHIC_FALL = 0.2
"""Fall of robust accuracy within an epoch: the early stop of Wong et al. (2020), in their code,
where it is measured on training images."""
FOLLOWING_SHARE = 0.5
"""Share of a fall in robust accuracy. If training accuracy falls by this much of it, the network
lost its own images too, and the cause is not overfitting (ours)."""
OVERFITTED_GAP = 0.02
"""Best minus present robust accuracy. Rice et al. (2020) report gaps of 5 to 10 points (ours)."""
OVERFITTED_ERRORS = 2.0
"""The gap's standard errors, of two accuracies on samples taken as independent (ours)."""
LASTING_SHARE, LASTING_EPOCHS = 0.1, 5
"""How long the gap must last: a fraction of the epochs, and at least this many (ours)."""

HEADLINES = {
    "diverged": "diverged",
    "stuck": "stuck at chance",
    "catastrophic_overfitting": "overfitted catastrophically",
    "robust_overfitting": "overfitted its adversarial examples",
}
"""How the reason of an ended training begins."""

Sign = tuple[EpochMetrics, str]
"""An epoch at whose end a detector's rule holds, and the text with the numbers that show it."""


@dataclass(frozen=True, kw_only=True)
class Detection:
    """The first epoch at whose end a detector's rule held."""

    name: str
    """`diverged`, or one of `trainers.config.DETECTORS`."""
    epoch: int
    """From 1."""
    text: str
    """The numbers that show it."""
    ends: bool
    """Whether it ends the training, as failed."""

    @property
    def reason(self) -> str:
        """Return why the training ended."""
        return f"{HEADLINES[self.name]} in epoch {self.epoch}: {self.text}"


def detect(
    config: TrainConfig,
    num_classes: int,
    num_validation: int,
    largest_class_share: float,
    history: Sequence[EpochMetrics],
) -> tuple[Detection, ...]:
    """Return what has gone wrong in the epochs so far, each detector once, in order of epochs.

    `diverged` always ends a training, the others where `config.training.end_on` names them.
    largest_class_share: the share of validation images that the best constant guess gets right.
    """
    chance = num_classes, num_validation, largest_class_share
    signs = {
        "diverged": _diverged(history),
        "stuck": _stuck(config, *chance, history),
        "catastrophic_overfitting": _overfitted_catastrophically(config, history),
        "robust_overfitting": _overfitted_robustly(config, num_validation, history),
    }
    ending = {"diverged", *config.training.end_on}
    found = [
        Detection(name=name, epoch=epoch.epoch, text=text, ends=name in ending)
        for name, held in signs.items()
        for epoch, text in [*held][:1]
    ]
    return tuple(sorted(found, key=lambda detection: detection.epoch))


def largest_share(labels: NDArray[np.int64]) -> float:
    """Return the fraction of samples, (n,) labels, that belong to the largest class.

    >>> largest_share(np.array([0, 1, 1, 2]))
    0.5
    """
    return float(np.bincount(labels).max() / len(labels))


def largest_fall(history: Sequence[EpochMetrics]) -> float:
    """Return the largest fall of robust validation accuracy within one epoch, ≥ 0."""
    return max((fall for _, _, fall in _falls(history)), default=0.0)


def best_minus_last(history: Sequence[EpochMetrics]) -> float:
    """Return the highest robust validation accuracy of all epochs minus the last one's, ≥ 0.

    Epochs in which training diverged have none, and are left out. Returns 0 if none is left.
    """
    known = [epoch.validation_robust for epoch in history]
    known = [accuracy for accuracy in known if math.isfinite(accuracy)]
    return max(known) - known[-1] if known else 0.0


def _diverged(history: Sequence[EpochMetrics]) -> Iterator[Sign]:
    for epoch in history:
        if epoch.diverged:
            yield epoch, f"training loss {epoch.train_loss:.4g}"


def _stuck(
    config: TrainConfig,
    num_classes: int,
    num_validation: int,
    largest_class_share: float,
    history: Sequence[EpochMetrics],
) -> Iterator[Sign]:
    """Find epochs at chance level: the loss of a uniform guess, and an accuracy no better.

    The rule applies from a fifth of the epochs on, and after all warm-ups. It takes the best
    accuracy so far: strong adversarial training begins with the loss of a uniform guess too, and
    with accuracies that come and go, yet learns in the end.
    """
    share = math.ceil(STUCK_SHARE * config.training.epochs)
    warm = math.ceil(config.method.warm_epoch(config.training.epochs))
    first = max(LEAST_STUCK_EPOCH, share, warm + 1)
    loss_limit = STUCK_LOSS * math.log(num_classes)
    error = _standard_error(largest_class_share, num_validation)
    accuracy_limit = largest_class_share + STUCK_ERRORS * error
    best = 0.0
    for epoch in history:
        best = max(best, epoch.validation_clean)
        is_late = epoch.epoch >= first
        if is_late and epoch.train_loss > loss_limit and best <= accuracy_limit:
            yield (
                epoch,
                f"training loss {epoch.train_loss:.4g} is above {STUCK_LOSS:g} ln {num_classes} = "
                f"{loss_limit:.4g}, and validation accuracy, at best {best:.1%}, was never above "
                f"the largest class's {largest_class_share:.1%} by {STUCK_ERRORS:g} standard "
                f"errors of {error:.1%}",
            )


def _overfitted_catastrophically(
    config: TrainConfig, history: Sequence[EpochMetrics]
) -> Iterator[Sign]:
    """Find epochs in which single-step training lost robust accuracy but not its own images.

    Wong et al. (2020), Fast is better than free: revisiting adversarial training. Only where images
    were crafted in both epochs: after the last of them, robust accuracy falls without overfitting.
    """
    ends = [last for last, part in segments(config) if part.method.is_single_step]
    if not ends:
        return
    # Fewer steps come first, so all epochs up to the last such one took a single step.
    history = [metrics for metrics in history if metrics.epoch <= ends[-1]]
    for before, now, fall in _falls(_attacked(config, history)):
        crafted = before.train_accuracy - now.train_accuracy
        if fall > CATASTROPHIC_FALL and crafted < FOLLOWING_SHARE * fall:
            yield (
                now,
                f"robust validation accuracy fell from {before.validation_robust:.1%} to "
                f"{now.validation_robust:.1%}, while accuracy on the crafted training images went "
                f"from {before.train_accuracy:.1%} to {now.train_accuracy:.1%}",
            )


def _overfitted_robustly(
    config: TrainConfig, num_validation: int, history: Sequence[EpochMetrics]
) -> Iterator[Sign]:
    """Find epochs at which adversarial training has long been worse than at its best epoch.

    Rice et al. (2020), Overfitting in adversarially robust deep learning. Only in epochs whose
    images gradients craft: in others, training accuracy says nothing about adversarial examples.
    """
    history = _attacked(config, history)
    if not history or passes(config.method).input_backward == 0:
        return
    needed = max(LASTING_EPOCHS, math.ceil(LASTING_SHARE * config.training.epochs))
    best, lasted = history[0], 0
    for now in history:
        if now.validation_robust > best.validation_robust:
            best = now
        gap = best.validation_robust - now.validation_robust
        errors = [_standard_error(e.validation_robust, num_validation) for e in (best, now)]
        limit = max(OVERFITTED_GAP, OVERFITTED_ERRORS * math.hypot(*errors))
        is_ahead = now.train_accuracy > best.train_accuracy
        lasted = lasted + 1 if gap > limit and is_ahead else 0
        if lasted >= needed:
            yield (
                now,
                f"robust validation accuracy {now.validation_robust:.1%} is {100 * gap:.1f} points "
                f"below epoch {best.epoch}'s, for {lasted} epochs by more than {100 * limit:.1f}, "
                f"while accuracy on the crafted training images rose from "
                f"{best.train_accuracy:.1%} to {now.train_accuracy:.1%}",
            )


def _attacked(config: TrainConfig, history: Sequence[EpochMetrics]) -> list[EpochMetrics]:
    """Return the epochs in which the input side acted throughout."""
    side, epochs = config.method.inputs, config.training.epochs
    return [metrics for metrics in history if is_active_epoch(side, metrics.epoch, epochs)]


def _falls(
    history: Sequence[EpochMetrics],
) -> Iterator[tuple[EpochMetrics, EpochMetrics, float]]:
    """Yield each epoch with the one before it, and how far robust validation accuracy fell.

    A rise counts as a fall of 0. Epochs in which training diverged are left out.
    """
    for before, now in itertools.pairwise(history):
        fall = before.validation_robust - now.validation_robust
        if math.isfinite(fall):
            yield before, now, max(0.0, fall)


def _standard_error(accuracy: float, count: int) -> float:
    """Return the standard error of an accuracy measured on `count` samples."""
    return math.sqrt(accuracy * (1 - accuracy) / count)
