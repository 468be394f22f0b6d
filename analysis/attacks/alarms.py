"""Alarms: signs in the correctness bits that an attack failed, so that robustness is overstated.

A warning calls for a closer look. A failure voids the robust accuracies of its trials.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from analysis.inference.survival import FAMILIES, fit_survival, survival
from analysis.results.configurations import configurations
from analysis.results.results import Results
from analysis.results.trials import (
    VOIDING,
    AbsentTrial,
    Array,
    Bits,
    Key,
    TrialResult,
    nested_bits,
    trial_key,
)
from analysis.results.words import count_text, method_text, percent, value_text, values_text

WARN_ERRORS, FAIL_ERRORS = 1.0, 3.0
"""Standard errors of the paired difference above which a rise of raw accuracy warns, and fails."""
UNLUCKY_WARN, UNLUCKY_FAIL = 0.01, 0.03
"""Attacks at smaller radii act as further restarts of a larger one. They may not lower its accuracy
by more than this."""
GREY_RADIUS = 0.5
"""At this linf radius every image can become uniformly grey."""
GREY_WARN, GREY_FAIL = 0.02, 0.10
"""Accuracy above which a warning, and a failure, is raised where a grey image is in reach."""
TAIL_WARN, TAIL_FAIL = 0.02, 0.10
"""Accuracy at the largest radius in excess of what survival curves of the smaller ones leave."""
TAIL_ERRORS = 3.0
"""Standard errors that the excess must reach, too: a curve through few points predicts roughly."""
TAIL_RADII = 4
"""Fewest radii: with three, a curve of two parameters would be fitted to two."""

Severity = Literal["failure", "warning", "unchecked"]
Kind = Literal[
    "accuracy rises with the radius",
    "robust above clean",
    "a smaller radius breaks more",
    "accuracy where none should be left",
    "a tail that no curve follows",
    "a check fails",
    "no bits",
]
Subject = tuple[Key, int | None]
"""A trial, by its configuration and its seed; None stands for all seeds of the configuration."""
ORDER: tuple[Severity, ...] = ("failure", "warning", "unchecked")


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """One sign of a failing attack, over all the trials that show it with this severity."""

    kind: Kind
    text: str
    """The sentence: how many trials, the strongest case with its numbers, the threshold."""
    cells: tuple[str, ...]
    """The trials, printed as method, values and seed; the strongest comes first."""
    subjects: tuple[Subject, ...]
    """The same trials by their keys, in the same order: two may be printed alike."""
    severity: Severity
    check: str = ""
    """The check that failed, such as `check 5 (zero gradients)`; empty for another kind."""

    @property
    def reason(self) -> str:
        """The alarm in a few words."""
        return f"{self.check} fails" if self.check else self.kind


@dataclass(frozen=True, kw_only=True)
class _Cell:
    """The trial or configuration in which a sign was seen."""

    subject: Subject
    text: str


@dataclass(frozen=True, kw_only=True)
class _Sign:
    """One sign in one cell, before the signs of a kind are joined to an alarm."""

    kind: Kind
    severity: Severity
    cell: _Cell
    strength: float
    """Orders the signs of a kind."""
    text: str
    check: str = ""


def find_alarms(results: Results) -> tuple[Alarm, ...]:
    """Find the signs of a failing attack in every trial; failures come first."""
    signs = [sign for trial in results.trials for sign in _signs_of_trial(results, trial)]
    signs += _tail_signs(results)
    groups: dict[tuple[Severity, Kind, str], list[_Sign]] = {}
    # Sorted first, so that each group begins with its strongest sign.
    for sign in sorted(signs, key=lambda sign: -sign.strength):
        groups.setdefault((sign.severity, sign.kind, sign.check), []).append(sign)
    order = sorted(groups, key=lambda group: ORDER.index(group[0]))
    return tuple(_alarm(results, groups[group]) for group in order)


def cell_text(trial: TrialResult | AbsentTrial, *, seed: bool = True) -> str:
    """Format a trial as alarms print it; without its seed, its configuration."""
    which = f"seed {trial.seed}" if seed else ""
    return " ".join(
        part for part in (method_text(trial.method), values_text(trial.values), which) if part
    )


def _alarm(results: Results, signs: list[_Sign]) -> Alarm:
    cells = {sign.cell.subject: sign.cell.text for sign in signs}
    first, strongest = signs[0], signs[0].cell.text
    among = f"{len(cells)} of {count_text(len(results.trials), 'trial')}"
    if first.kind == "no bits":
        text = f"{among} carry no bits: whether accuracy rises with the radius was not checked."
    elif first.kind == "a check fails":
        checked = count_text(sum(bool(trial.checks) for trial in results.trials), "checked trial")
        among = f"{len(cells)} of {checked}"
        text = f"{first.check.capitalize()} fails, in {among}; {strongest}: {first.text}"
    else:
        if first.kind == "a tail that no curve follows":
            among = count_text(len(cells), "configuration")
        text = f"{first.kind.capitalize()}, in {among}; the strongest, {strongest}: {first.text}."
    return Alarm(
        kind=first.kind,
        text=text,
        cells=tuple(cells.values()),
        subjects=tuple(cells),
        severity=first.severity,
        check=first.check,
    )


def _signs_of_trial(results: Results, trial: TrialResult) -> list[_Sign]:
    cell = _Cell(subject=trial_key(trial), text=cell_text(trial))
    failed = _failed_checks(cell, trial)
    if trial.bits is None:
        # Without bits, only the accuracies themselves can be checked.
        sign = _Sign(kind="no bits", severity="unchecked", cell=cell, strength=0.0, text="")
        nested = np.array([trial.clean, *trial.robust])
        return [*failed, sign, *_grey_signs(results, cell, nested)]
    # Raw bits, as nested ones cannot rise with the radius.
    raw: Array = trial.bits.mean(axis=1, dtype=np.float64)
    return [
        *failed,
        *_rising_signs(results, cell, trial.bits),
        *_unlucky_signs(results, cell, trial.bits),
        *_grey_signs(results, cell, raw),
    ]


def _failed_checks(cell: _Cell, trial: TrialResult) -> list[_Sign]:
    """Return the checks that failed as signs: the first checks void the robust accuracies."""
    return [
        _Sign(
            kind="a check fails",
            severity="failure" if check.number <= VOIDING else "warning",
            cell=cell,
            strength=float(-check.number),
            text=check.text,
            check=f"check {check.number} ({check.name})",
        )
        for check in trial.checks
        if check.verdict == "fail"
    ]


def _rising_signs(results: Results, cell: _Cell, bits: Bits) -> list[_Sign]:
    """Compare each radius with the one below it and with no attack; keep the worst pair of each."""
    pairs = [(row, row + 1) for row in range(1, len(bits) - 1)]
    against_clean = [(0, row) for row in range(1, len(bits))]
    signs: list[_Sign] = []
    asked: tuple[tuple[Kind, list[tuple[int, int]]], ...] = (
        ("accuracy rises with the radius", pairs),
        ("robust above clean", against_clean),
    )
    for kind, compared in asked:
        found = [_rise(results, kind, cell, bits, pair) for pair in compared]
        signs += sorted(
            (sign for sign in found if sign is not None), key=lambda sign: -sign.strength
        )[:1]
    return signs


def _rise(
    results: Results, kind: Kind, cell: _Cell, bits: Bits, pair: tuple[int, int]
) -> _Sign | None:
    """Return a sign if raw accuracy is higher in the second row of bits than in the first."""
    smaller, larger = bits[pair[0]], bits[pair[1]]
    samples = len(smaller)
    gained, lost = int(np.sum(~smaller & larger)), int(np.sum(smaller & ~larger))
    # As in McNemar's test: the standard error of the difference if both rows were equally right.
    errors = (gained - lost) / math.sqrt(max(gained + lost, 1))
    if errors <= WARN_ERRORS:
        return None
    radii = ("no attack", *(f"radius {value_text(r)}" for r in results.threat.radii))
    return _Sign(
        kind=kind,
        severity="failure" if errors > FAIL_ERRORS else "warning",
        cell=cell,
        strength=(gained - lost) / samples,
        text=f"{percent(float(smaller.mean()))}% at {radii[pair[0]]} and "
        f"{percent(float(larger.mean()))}% at {radii[pair[1]]}, {gained} of "
        f"{count_text(samples, 'image')} ({percent(gained / samples)}%) wrong at the first and "
        f"right at the second ({errors:.1f} standard errors)",
    )


def _unlucky_signs(results: Results, cell: _Cell, bits: Bits) -> list[_Sign]:
    """Count the images that are right at a radius and wrong at a smaller one."""
    unlucky = np.sum(bits & ~nested_bits(bits), axis=1)
    row = int(np.argmax(unlucky))
    share = float(unlucky[row]) / bits.shape[1]
    if share <= UNLUCKY_WARN:
        return []
    return [
        _Sign(
            kind="a smaller radius breaks more",
            severity="failure" if share > UNLUCKY_FAIL else "warning",
            cell=cell,
            strength=share,
            text=f"{int(unlucky[row])} of {count_text(bits.shape[1], 'image')} "
            f"({percent(share)}%) right at radius {value_text(results.threat.radii[row - 1])} are "
            f"wrong at a smaller one; up to {percent(UNLUCKY_WARN)}% may be",
        )
    ]


def _grey_signs(results: Results, cell: _Cell, raw: Array) -> list[_Sign]:
    """Check the accuracy where a grey image is in reach; raw: (1 + R,)."""
    # Only in linf does one radius put a uniformly grey image within reach of every image.
    if results.threat.norm != "linf":
        return []
    left = [
        (float(accuracy), radius)
        for accuracy, radius in zip(raw[1:], results.threat.radii, strict=True)
        if radius >= GREY_RADIUS
    ]
    if not left or max(left)[0] <= GREY_WARN:
        return []
    accuracy, radius = max(left)
    return [
        _Sign(
            kind="accuracy where none should be left",
            severity="failure" if accuracy > GREY_FAIL else "warning",
            cell=cell,
            strength=accuracy,
            text=f"{percent(accuracy)}% at linf {value_text(radius)}, where every image can become "
            f"uniformly grey; up to {percent(GREY_WARN)}% may be left",
        )
    ]


def _tail_signs(results: Results) -> list[_Sign]:
    """Predict the accuracy at the largest radius from the smaller ones, by each survival curve.

    The curves are fitted to the means over the seeds without the largest radius. The one that
    leaves more accuracy there counts.
    """
    radii = np.array(results.threat.radii)
    found = [c for c in configurations(results) if c.clean.mean > 0]
    if len(radii) < TAIL_RADII or not found:
        return []
    means = np.array([[c.clean.mean, *(spread.mean for spread in c.robust)] for c in found])
    # A survival curve never rises, while the means of raw accuracies may.
    means = np.minimum.accumulate(means, axis=1)
    fits = [fit_survival(family, radii[:-1], means[:, :-1]) for family in FAMILIES]
    left = means[:, 0] * np.max(
        [survival(fit.family, radii[-1:], fit.scale, fit.shape)[:, 0] for fit in fits], axis=0
    )
    last = means[:, -1]
    excess = last - left
    errors = np.sqrt(last * (1.0 - last) / results.num_test)
    is_fitted = np.any([fit.converged for fit in fits], axis=0)
    odd = is_fitted & (excess > np.maximum(TAIL_WARN, TAIL_ERRORS * errors))
    radius = value_text(results.threat.radii[-1])
    return [
        _Sign(
            kind="a tail that no curve follows",
            severity="failure" if excess[row] > TAIL_FAIL else "warning",
            cell=_Cell(
                subject=(found[row].key, None), text=cell_text(found[row].trials[0], seed=False)
            ),
            strength=float(excess[row]),
            text=f"{percent(float(last[row]))}% at radius {radius}, where survival curves through "
            f"the smaller radii leave at most {percent(float(left[row]))}%",
        )
        for row in np.flatnonzero(odd)
    ]
