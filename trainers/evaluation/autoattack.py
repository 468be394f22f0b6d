"""AutoAttack: which samples stay right under a standard sequence of attacks without settings.

Croce and Hein (2020), Reliable evaluation of adversarial robustness with an ensemble of diverse
parameter-free attacks, ICML, as pyautoattack runs it. Slower and stronger than the evaluation by
PGD: it is for the few networks that a study's conclusions rest on. Letters: A attacks, n samples.
"""

import io
import logging
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainers.config import NORMS, Norm, check, check_count, check_number
from trainers.data.subset import Split
from trainers.engine.engine import Classify, Engine, classifier, repeatable
from trainers.evaluation.evaluate import BATCH_SIZE, Bits, image_batches
from trainers.evaluation.pgd import classified_right

LEAST_CLASSES = {"apgd-ce": 2, "apgd-dlr": 3, "apgd-t": 4, "fab": 2, "fab-t": 2, "square": 2}
"""The attacks by AutoAttack's names, and how many classes each needs."""
STANDARD = ("apgd-ce", "apgd-t", "fab-t", "square")
OF_FEW_CLASSES = ("apgd-ce", "fab", "square")
"""Replaces `STANDARD`, whose second attack compares four logits."""
PIXEL_ROUNDING = 2.0**-24
"""How far float32 may round a value in [0, 1] or its difference from another."""


class AttackError(RuntimeError):
    """An attack returned what its threat model excludes, so that its numbers mean nothing."""


@dataclass(frozen=True, kw_only=True)
class AutoAttacked:
    """What the sequence of attacks found."""

    attacks: tuple[str, ...]
    """(A,) in the order they ran, by AutoAttack's names."""
    bits: Bits
    """(1 + A, n): row 0 without an attack, row 1 + a right after attacks 0 … a. An attack runs only
    on the samples that are still right, as in AutoAttack; the last row is the worst case."""
    images: NDArray[np.float32]
    """(n, C, H, W) in [0, 1]: what broke a sample; the sample itself where nothing did. The last
    row of `bits` is how the evaluated network classifies these."""
    log: str
    """What pyautoattack logged, warnings included, under a heading for each attack that ran; its
    fractions are of the samples that this attack saw."""


def attack_name(num_classes: int) -> str:
    """Return the name of the sequence of `attacks_for`: AutoAttack, or its part that is defined.

    >>> attack_name(10), attack_name(3)
    ('AutoAttack', 'APGD-CE, FAB, Square')
    """
    return "AutoAttack" if attacks_for(num_classes) == STANDARD else "APGD-CE, FAB, Square"


def attacks_for(num_classes: int) -> tuple[str, ...]:
    """Return the attacks that are run on networks of so many classes, at least 2."""
    check_count(num_classes, "num_classes", 2)
    return STANDARD if num_classes >= LEAST_CLASSES["apgd-t"] else OF_FEW_CLASSES


@repeatable()
def autoattack(
    model: nn.Module,
    split: Split,
    divisor: int,
    *,
    norm: Norm,
    radius: float,
    seed: int,
    device: torch.device,
    attacks: Sequence[str] | None = None,
    batch_size: int = BATCH_SIZE,
    engine: Engine | None = None,
) -> AutoAttacked:
    """Attack all samples of `split` within `radius`, in units of the pixel range [0, 1].

    attacks: some of `LEAST_CLASSES` in place of those of `attacks_for`, with the same settings:
    of the standard version from four classes on, with as many target classes as there are; of
    pyautoattack's own defaults (five restarts) below. Every batch draws the same noise, decided by
    the seed: bits depend on the batch size. A sample is broken if `model`, in evaluation mode and
    float32, misclassifies the returned image, whatever pyautoattack reports of it. The network and
    the global random state are left as they were.

    Raises ConfigError for an attack, radius or batch size that cannot be, and AttackError where a
    returned image is not finite, not in [0, 1] or outside the ball.
    """
    _check_threat(norm, radius, batch_size)
    view = classifier(model, split.images.shape[1:], device, engine or Engine())
    batches = image_batches(split, divisor, device, batch_size)
    clean = torch.cat([images.cpu() for images, _ in batches])
    labels = torch.tensor(split.labels)
    with torch.no_grad():
        num_classes = view(clean[:1].to(device)).shape[1]
    names = attacks_for(num_classes) if attacks is None else tuple(attacks)
    _check_attacks(names, num_classes)
    found, rows = clean.clone(), [_is_right(view, clean, labels, batch_size, device)]
    with _contained() as (logger, log):
        for name in names:
            rows.append(rows[-1].clone())
            if len(index := rows[-1].nonzero().squeeze(1)) == 0:
                continue
            logger.info("%s on the %d of %d samples that are right", name, len(index), len(clean))
            adversary = _adversary(view, name, num_classes, norm, radius, seed, device, logger)
            images, answers = clean[index], labels[index]
            tried, _ = adversary.run_standard_evaluation(images, answers, batch_size=batch_size)
            check_images(tried, images, norm, radius, name)
            kept = _is_right(view, tried, answers, batch_size, device)
            found[index[~kept]] = tried[~kept]
            rows[-1][index] = kept
    bits = torch.stack(rows).numpy()
    return AutoAttacked(attacks=names, bits=bits, images=found.numpy(), log=log.getvalue())


def _check_threat(norm: str, radius: float, batch_size: int) -> None:
    check(norm in NORMS, "norm", f"must be one of {', '.join(NORMS)}", norm)
    check_number(radius, "radius", "must be > 0", lambda radius: radius > 0)
    check_count(batch_size, "batch_size", 1)


def check_images(found: Tensor, clean: Tensor, norm: Norm, radius: float, name: str) -> None:
    """Raise `AttackError` unless images are finite, in [0, 1] and within the radius of clean ones.

    Both (B, C, H, W); name: of the attack that found them. The radius may be exceeded by 1e-5 of
    itself, and by the rounding of float32 in [0, 1], which is more at small radii (measured: 5e-5
    of a radius of 0.0005).
    """

    def refuse(is_wrong: Tensor, rule: str, worst: float) -> None:
        if is_wrong.any():
            raise AttackError(
                f"{name}: {int(is_wrong.sum())} of {len(found)} returned images: {rule}, "
                f"got {worst:.9g}; do not use its numbers, and check "
                "whether logits and gradients are finite"
            )

    values = found.flatten(1)
    refuse(~values.isfinite().all(1), "every value must be finite", math.nan)
    refuse((values.amin(1) < 0), "no value may lie below 0", values.min().item())
    refuse((values.amax(1) > 1), "no value may lie above 1", values.max().item())
    offsets = values.double() - clean.flatten(1).double()
    order, num_rounded = (math.inf, 1) if norm == "linf" else (2, values.shape[1])
    sizes = torch.linalg.vector_norm(offsets, ord=order, dim=1)
    most = radius * (1 + 1e-5) + PIXEL_ROUNDING * math.sqrt(num_rounded)
    refuse(sizes > most, f"must lie within {radius:g} in {norm}", sizes.max().item())


def _check_attacks(names: tuple[str, ...], num_classes: int) -> None:
    check(len(names) > 0, "attacks", "needs at least one attack", names)
    check(len(set(names)) == len(names), "attacks", "must name each once", names)
    for name in names:
        known = ", ".join(LEAST_CLASSES)
        check(name in LEAST_CLASSES, "attacks", f"each must be one of {known}", name)
        rule = f"{name} needs at least {LEAST_CLASSES[name]} classes; leave it out"
        check(num_classes >= LEAST_CLASSES[name], "attacks", rule, num_classes)


def _adversary(
    view: Classify,
    name: str,
    num_classes: int,
    norm: Norm,
    radius: float,
    seed: int,
    device: torch.device,
    logger: logging.Logger,
) -> Any:
    """Build AutoAttack for one of its attacks, with its own settings."""
    from pyautoattack import AutoAttack  # slow to import, and only evaluations need it

    common = {
        "norm": {"linf": "Linf", "l2": "L2"}[norm],
        "eps": radius,
        "seed": seed,
        "device": device,
    }
    if num_classes >= LEAST_CLASSES["apgd-t"]:
        adversary = AutoAttack(view, version="standard", **common)
        adversary.attacks_to_run = [name]
    else:
        adversary = AutoAttack(view, version="custom", attacks=[name], **common)
    num_targets = min(9, num_classes - 1)  # its own 9 ends in an IndexError below ten classes
    adversary.apgd_targeted.n_target_classes = adversary.fab.n_target_classes = num_targets
    adversary.logger = adversary.apgd.logger = adversary.apgd_targeted.logger = logger
    return adversary


@contextmanager
def _contained() -> Iterator[tuple[logging.Logger, io.StringIO]]:
    """Undo what pyautoattack does to the process; yield a logger and the text it collects.

    It seeds torch's global generators, of every CUDA device too, and ends the thread's tracing,
    which a debugger or the measurement of coverage may be doing.
    """
    log = io.StringIO()
    logger = logging.Logger("auto-attack", logging.DEBUG)
    logger.addHandler(logging.StreamHandler(log))
    trace = sys.gettrace()
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            yield logger, log
    finally:
        sys.settrace(trace)


def _is_right(
    view: Classify, images: Tensor, labels: Tensor, batch_size: int, device: torch.device
) -> Tensor:
    """Return which images (n, C, H, W) are classified as labels (n,), all on the CPU."""
    with torch.no_grad():
        starts = range(0, len(images), batch_size)
        batches = [view(images[start : start + batch_size].to(device)) for start in starts]
    return classified_right(torch.cat(batches).cpu(), labels)
