"""Evidence: what else is known of a trial: another norm, a stronger attack, checks, detections.

Accuracies are fractions in [0, 1]. Letters: R radii, m test samples attacked, A attacks.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from analysis.history import ResultsError

Bits = NDArray[np.bool_]
Norm = Literal["linf", "l2"]
Verdict = Literal["pass", "warn", "fail", "not run"]

TOLERANCE = 1e-6
"""Accuracies that differ by less are the same number."""
VOIDING = 6
"""A fail of a check up to this number voids the robust accuracies of its trial."""


@dataclass(frozen=True, kw_only=True)
class OtherNorm:
    """Accuracies of a trial under the evaluation attack in another norm; nothing is chosen by it.

    The worst case within the same tier as the study's own norm, and never put together with it.
    """

    norm: Norm
    radii: tuple[float, ...]
    """(R,), strictly increasing."""
    robust: tuple[float, ...]
    """(R,) nested: right without an attack, at this radius and at all smaller ones."""
    bits: Bits | None = None
    """(R, n) raw, on all test samples."""


@dataclass(frozen=True, kw_only=True)
class StrongResult:
    """What a stronger attack left of a trial: a tier of its own, beside the evaluation attack."""

    attack: str
    """As it is printed, say `AutoAttack`."""
    norm: Norm
    radii: tuple[float, ...]
    """(R,), strictly increasing, some of those of the evaluation attack in this norm."""
    samples: int
    """m, the first so many test samples were attacked."""
    parts: tuple[str, ...]
    """The A attacks it is made of, in the order in which they ran."""
    clean: float
    """On these samples, without an attack."""
    robust: tuple[float, ...]
    """(R,) worst case over all parts, nested over the radii."""
    survivors: tuple[tuple[float, ...], ...]
    """(R, A) share of the samples that are still right after each part, at each radius alone."""
    bits: Bits | None = None
    """(1 + R, m) raw: without an attack, then the worst case over all parts at each radius."""
    sample_hash: str | None = None
    """Names the samples attacked; equal for equal samples."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One line of the checklist on a trial, which asks if its evaluation can be trusted."""

    number: int
    """From 1; a fail up to `VOIDING` voids the robust accuracies. Parts of a row share it."""
    name: str
    verdict: Verdict
    text: str
    """The sentence, with what was measured and the threshold."""


@dataclass(frozen=True, kw_only=True)
class Detection:
    """Something that went wrong while a trial trained; its numbers stand."""

    name: str
    """Say `catastrophic overfitting`."""
    text: str
    """The sentence, with the epoch and the numbers."""


def strong_text(attack: str, samples: int, num_test: int) -> str:
    """Name a stronger attack with the images it saw, as every number of it is named.

    >>> strong_text("AutoAttack", 100, 500), strong_text("AutoAttack", 500, 500)
    ('AutoAttack on the first 100 of 500 images', 'AutoAttack')
    """
    return (
        attack if samples == num_test else f"{attack} on the first {samples} of {num_test} images"
    )


def strong_key(attack: str, norm: str, radius: float, samples: int, num_test: int) -> str:
    """Name a column of a stronger attack's accuracies.

    >>> strong_key("AutoAttack", "linf", 0.1, 100, 500)
    'autoattack_linf_0.1_first_100'
    """
    words = re.sub(r"[^a-z0-9]+", "_", attack.lower())
    first = "" if samples == num_test else f"_first_{samples}"
    return f"{words}_{norm}_{radius:g}{first}"


def check_other_norm(cell: str, other: OtherNorm, norm: str, clean: float, num_test: int) -> None:
    """Refuse accuracies of another norm that do not fit their trial; raises `ResultsError`."""
    place = f"{cell}, {other.norm}"
    if other.norm == norm:
        raise ResultsError(f"{place}: the other norm must be another one than the study's {norm}")
    _check_radii(place, other.radii)
    _check_nested(place, clean, other.robust, len(other.radii))
    _check_shape(place, other.bits, (len(other.radii), num_test))


def check_strong(
    cell: str, strong: StrongResult, evaluated: Mapping[Norm, tuple[float, ...]], num_test: int
) -> None:
    """Refuse results of a stronger attack that do not fit the study; raises `ResultsError`.

    evaluated: the radii of the evaluation attack, by norm.
    """
    place = f"{cell}, {strong.attack}"
    _check_radii(place, strong.radii)
    if not set(strong.radii) <= set(evaluated.get(strong.norm, ())):
        known = "; ".join(f"{norm} {radii}" for norm, radii in evaluated.items())
        raise ResultsError(
            f"{place}: needs a norm and radii of the evaluation attack ({known}), "
            f"got {strong.norm} {strong.radii}"
        )
    if not 1 <= strong.samples <= num_test:
        raise ResultsError(f"{place}: samples must lie in 1 to {num_test}, got {strong.samples}")
    shape = (len(strong.radii), len(strong.parts))
    if {len(row) for row in strong.survivors} - {shape[1]} or len(strong.survivors) != shape[0]:
        raise ResultsError(f"{place}: survivors must be of shape {shape}, got {strong.survivors}")
    _check_nested(place, strong.clean, strong.robust, len(strong.radii))
    for row in strong.survivors:
        _check_nested(place, strong.clean, row, len(strong.parts))
    _check_shape(place, strong.bits, (1 + len(strong.radii), strong.samples))
    if strong.bits is not None:
        counted = np.logical_and.accumulate(strong.bits, axis=0).mean(axis=1, dtype=np.float64)
        if np.abs(counted - np.array([strong.clean, *strong.robust])).max() > TOLERANCE:
            raise ResultsError(
                f"{place}: accuracies {[strong.clean, *strong.robust]} are not those of the "
                f"bits, {counted.tolist()}"
            )


def check_checks(cell: str, checks: tuple[Check, ...]) -> None:
    """Refuse two verdicts of one check, and numbers below 1; raises `ResultsError`."""
    named = [(check.number, check.name) for check in checks]
    if len(set(named)) < len(named) or min(named, default=(1, ""))[0] < 1:
        raise ResultsError(f"{cell}: each check stands once, numbered from 1 on, got {named}")


def _check_radii(place: str, radii: tuple[float, ...]) -> None:
    rising = all(a < b for a, b in pairwise(radii))
    if not (radii and rising and radii[0] > 0 and math.isfinite(radii[-1])):
        raise ResultsError(f"{place}: radii must be positive and strictly increasing, got {radii}")


def _check_nested(place: str, clean: float, robust: tuple[float, ...], count: int) -> None:
    nested = (clean, *robust)
    falls = all(later <= earlier + TOLERANCE for earlier, later in pairwise(nested))
    if len(robust) != count or not falls or not all(0 <= one <= 1 for one in nested):
        raise ResultsError(
            f"{place}: needs {count} accuracies in [0, 1] that do not rise from the clean one on, "
            f"got {list(nested)}"
        )


def _check_shape(place: str, bits: Bits | None, shape: tuple[int, int]) -> None:
    if bits is not None and (bits.shape != shape or bits.dtype != np.bool_):
        raise ResultsError(
            f"{place}: bits must be bool of shape {shape}, got {bits.dtype} of shape {bits.shape}"
        )
