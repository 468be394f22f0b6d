"""Evaluate a trained network: a correctness bit for every sample at every radius.

Evaluating leaves the network's mode, buffers and gradients, and the global random state, as they
were. Letters: R radii, R2 radii of the other norm, n samples.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainers.config import EvaluationAttack, EvaluationConfig, Norm
from trainers.config.own import OwnAttack
from trainers.data.subset import Split
from trainers.engine.engine import Classify, Engine, classifier, generator, repeatable
from trainers.evaluation.pgd import Attacked, attacking, classified_right
from trainers.step.inputs import BALLS

Bits = NDArray[np.bool_]
BATCH_SIZE = 500
"""Samples per evaluation batch."""
STREAM = "test attack"
OTHER_STREAM = "test attack of the other norm"
"""The random streams of the two norms, so that the noise of one does not depend on the other."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What an evaluation found."""

    bits: Bits
    """(1 + R, n): row 0 without an attack, row 1 + i under the attack at radius i, raw: each row
    by itself, so that a row may be right where a smaller radius was not."""
    clean: float
    """Accuracy without an attack."""
    robust: tuple[float, ...]
    """(R,) accuracy at each radius, nested: right there, at all smaller radii and unattacked."""
    other_bits: Bits
    """(R2, n): as the attacked rows of `bits`, at the radii of the other norm, raw."""
    other_robust: tuple[float, ...]
    """(R2,) accuracy at each of these, nested: right there, at all smaller ones, and unattacked."""


@dataclass(frozen=True, kw_only=True)
class Examples:
    """A few samples beside what the attack made of them, for a picture."""

    clean: NDArray[np.float32]
    """(E, C, H, W) in [0, 1]."""
    adversarial: NDArray[np.float32]
    """(E, C, H, W) in [0, 1]."""
    labels: NDArray[np.int64]
    clean_predictions: NDArray[np.int64]
    adversarial_predictions: NDArray[np.int64]
    radius: float


@repeatable()
def evaluate(
    model: nn.Module,
    split: Split,
    divisor: int,
    evaluation: EvaluationConfig,
    seed: int,
    device: torch.device,
    engine: Engine | None = None,
) -> Evaluation:
    """Evaluate `model` on all samples of `split`, without an attack and at every radius.

    If `evaluation` has radii of the other norm, the same attack runs there too, from noise of its
    own.
    """
    view = classifier(model, split.images.shape[1:], device, engine or Engine())

    def right(norm: Norm, radius: float, stream: str) -> Bits:
        batches = attacked_batches(
            view,
            split,
            divisor,
            norm=norm,
            radius=radius,
            attack=evaluation.attack,
            stream=(seed, stream),
            device=device,
        )
        return torch.cat([batch.is_right for batch in batches]).cpu().numpy()

    unattacked = clean_bits(view, split, divisor, device)
    own = [right(evaluation.norm, radius, STREAM) for radius in evaluation.radii]
    radii = evaluation.other_norm_radii
    other = [right(evaluation.other_norm, radius, OTHER_STREAM) for radius in radii]
    bits, with_other = np.stack([unattacked, *own]), np.stack([unattacked, *other])
    clean, robust = accuracies(bits)
    _, other_robust = accuracies(with_other)
    return Evaluation(
        bits=bits,
        clean=clean,
        robust=robust,
        other_bits=with_other[1:],
        other_robust=other_robust,
    )


def nested(bits: Bits) -> Bits:
    """Count a sample as right at a radius only if it is right at all smaller radii and unattacked.

    >>> nested(np.array([[True, True], [False, True], [True, True]])).tolist()
    [[True, True], [False, True], [False, True]]
    """
    return np.logical_and.accumulate(bits, axis=0)


def accuracies(bits: Bits) -> tuple[float, tuple[float, ...]]:
    """Return clean accuracy and nested robust accuracy at each radius. bits: (1 + R, n), raw."""
    clean, *robust = nested(bits).mean(axis=1).tolist()
    return clean, tuple(robust)


@repeatable()
def adversarial_examples(
    model: nn.Module,
    split: Split,
    divisor: int,
    evaluation: EvaluationConfig,
    seed: int,
    device: torch.device,
    engine: Engine | None = None,
    count: int = 8,
) -> Examples:
    """Attack `count` samples, spread evenly over `split`, at the objective radius."""
    view = classifier(model, split.images.shape[1:], device, engine or Engine())
    few = spread(split, count)
    ((images, labels),) = image_batches(few, divisor, device, len(few.labels))
    (attacked,) = attacked_batches(
        view,
        few,
        divisor,
        norm=evaluation.norm,
        radius=evaluation.objective_radius,
        attack=evaluation.attack,
        stream=(seed, "examples"),
        device=device,
    )
    with torch.no_grad():
        clean_predictions = view(images).argmax(1)
        adversarial_predictions = view(attacked.images).argmax(1)
    return Examples(
        clean=images.cpu().numpy(),
        adversarial=attacked.images.cpu().numpy(),
        labels=labels.cpu().numpy(),
        clean_predictions=clean_predictions.cpu().numpy(),
        adversarial_predictions=adversarial_predictions.cpu().numpy(),
        radius=evaluation.objective_radius,
    )


def spread(split: Split, count: int) -> Split:
    """Return at most `count` samples at even distances: of all classes if these are in order."""
    return take(split, even(count, len(split.labels)))


def even(count: int, total: int) -> NDArray[np.int64]:
    """Choose at most `count` of `total` positions, at even distances.

    >>> even(3, 5).tolist(), even(9, 2).tolist()
    ([0, 2, 4], [0, 1])
    """
    return np.linspace(0, total - 1, min(count, total)).round().astype(np.int64)


def take(split: Split, index: NDArray[np.int64]) -> Split:
    """Keep the samples at these positions."""
    return Split(images=split.images[index], labels=split.labels[index])


def clean_bits(view: Classify, split: Split, divisor: int, device: torch.device) -> Bits:
    """Classify every sample without an attack; `view` is in evaluation mode. (n,)."""
    with torch.no_grad():
        batches = image_batches(split, divisor, device, BATCH_SIZE)
        bits = [classified_right(view(images), labels) for images, labels in batches]
    return torch.cat(bits).cpu().numpy()


def attacked_batches(
    view: Classify,
    split: Split,
    divisor: int,
    *,
    norm: Norm,
    radius: float,
    attack: EvaluationAttack,
    stream: tuple[int, str],
    device: torch.device,
) -> Iterator[Attacked]:
    """Attack every sample, batch by batch; `view` is in evaluation mode.

    The noise of a sample is decided by stream, restart and position: the same at every radius, and
    whatever the number of restarts.
    """
    run = attacking(attack)
    for number, (images, labels) in enumerate(image_batches(split, divisor, device, BATCH_SIZE)):

        def draw(restart: int, number: int = number, shape: torch.Size = images.shape) -> Tensor:
            fresh = generator(*stream, restart, number, device=device)
            return BALLS[norm].draw(tuple(shape), fresh)

        with _seeded(attack, (*stream, number), device):
            found = run(view, images, labels, norm=norm, radius=radius, attack=attack, draw=draw)
        yield found


@contextmanager
def _seeded(
    attack: EvaluationAttack, stream: tuple[object, ...], device: torch.device
) -> Iterator[None]:
    """Seed torch's global generators for an own attack, which may draw from them."""
    if not isinstance(attack, OwnAttack):
        yield
        return
    seed, *names = stream
    assert isinstance(seed, int)
    fresh = generator(seed, *names, device=torch.device("cpu"))
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(fresh.initial_seed())
        yield


def image_batches(
    split: Split, divisor: int, device: torch.device, batch_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield images in [0, 1], (B, C, H, W) float32, and labels (B,), in the order of the split."""
    for start in range(0, len(split.labels), batch_size):
        stored = np.asarray(split.images[start : start + batch_size])
        images = torch.tensor(stored, device=device)
        labels = torch.tensor(split.labels[start : start + batch_size], device=device)
        yield images.to(torch.float32) / divisor, labels
