"""Cures: what a refused curve, gap at equal clean accuracy, or slope of the equivalent ε lacks.

Three conditions have a cure that is known: enough distinct configurations, enough seeds, and a
range that is wide against the noise. So has a gap of two curves without a shared range of clean
accuracy, and a slope of too few values of ρ. What else a refused curve lacks is named in the
findings, as a way out.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from analysis.advice.entries import (
    Advice,
    Kind,
    NewTrials,
    Study,
    further_seeds,
    new_seconds,
    new_trials,
)
from analysis.advice.values import SWEPT, is_possible, own_rows
from analysis.curves.fits import FrontFit
from analysis.curves.gaps import Gap
from analysis.curves.gate import (
    APART,
    LEAST_CONFIGURATIONS,
    LEAST_RESIDUALS,
    LEAST_SEEDS,
    LEAST_SPAN,
    distinct_rows,
)
from analysis.responses.equivalence import FEWEST, SPREAD, Equivalence
from analysis.responses.strength import BEYOND, Response, halfway
from analysis.results.trials import Array
from analysis.results.words import method_text, percent

MOST_SEEDS = 10
"""A cure by more seeds of a configuration than this is none."""
ROOM = 1.2
"""A new end lies so much further than would just be wide enough."""
MOST_WIDER = 8.0
"""A range is not widened by more than this factor: accuracies there cannot be foretold."""


def curve_cures(
    study: Study,
    responses: Sequence[Response],
    fits: Sequence[FrontFit],
    gaps: Sequence[Gap],
) -> list[Advice]:
    """Return what lets the refused curves of compared methods be drawn, where that is known."""
    by_method = {one.method: one for one in responses if one.name in SWEPT}
    refused = [gap for gap in gaps if gap.status == "refused"]
    asked = {name for gap in refused for name in (gap.first, gap.second)}
    found = []
    for fit in fits:
        response = by_method.get(fit.method)
        failed = next((row for row in fit.gate if not row.passed), None)
        if fit.chosen is not None or fit.method not in asked or failed is None or not fit.points:
            continue
        made = _cure(study, fit, response, failed.number)
        if made and all(is_possible(study, new) for new in made):
            need = f"{failed.measured}; required: {failed.threshold}"
            found.append(_advice(study, fit, made, need))
    chosen = {fit.method: fit for fit in fits if fit.chosen is not None}
    for gap in refused:
        if {gap.first, gap.second} <= set(chosen):
            found += _overlap(study, by_method, chosen[gap.first], chosen[gap.second], gap)
    return found


def slope_cures(study: Study, equivalences: Sequence[Equivalence]) -> list[Advice]:
    """Return the values of ρ that slopes lack: between those that are worth a known ε."""
    found = []
    for one in equivalences:
        known = [v for v in one.values if v.rho and v.epsilon is not None]
        missing = FEWEST - len(known)
        rhos = [v.rho for v in one.values if v.rho]
        # Beside a ρ whose ε lies outside the levels, levels are lacking first.
        steps = [
            (high / low, low, high)
            for low, high in pairwise(rhos)
            if {low, high} <= {v.rho for v in known}
        ]
        if one.slope is not None or missing <= 0 or not steps:
            continue
        if max(high for *_, high in steps) < SPREAD * min(low for _, low, _ in steps):
            continue
        values = []
        for _ in range(missing):
            wide, low, high = max(steps)
            middle = halfway(low, high)
            steps.remove((wide, low, high))
            steps += [(middle / low, low, middle), (high / middle, middle, high)]
            values.append(middle)
        rows = [v.row for v in known]
        made = tuple(new_trials(study, rows[0], "rho", value) for value in sorted(values))
        hours = study.hours(new_seconds(study, rows, made))
        names = one.sam, one.adversarial
        found.append(_refused("slope", names, made, hours, one.refusal))
    return found


def _cure(
    study: Study, fit: FrontFit, response: Response | None, number: int
) -> tuple[NewTrials, ...]:
    """Return the trials that cure the failure of a row of the gate; none where none is known."""
    if number == 2:
        return _seeds(study, fit)
    if response is None:
        return ()
    if number == 1:
        return _distinct(study, fit, response)
    return _wider(study, fit, response)


def _advice(study: Study, fit: FrontFit, made: Sequence[NewTrials], need: str) -> Advice:
    seconds = 0.0
    for new in made:
        alike = [row for row, c in enumerate(study.found) if c.method == new.method]
        seconds += new_seconds(study, alike, [new])
    return _refused("curve", (fit.method,), tuple(made), study.hours(seconds), need)


def _refused(
    kind: Kind,
    methods: tuple[str, ...],
    made: tuple[NewTrials, ...],
    hours: float | None,
    need: str,
) -> Advice:
    return Advice(
        kind=kind,
        methods=methods,
        values=(),
        trials=made,
        images=None,
        hours=hours,
        before=None,
        after=None,
        even=None,
        gain=1.0,
        need=need,
    )


def _seeds(study: Study, fit: FrontFit) -> tuple[NewTrials, ...]:
    """Return seeds for all points alike, until there are enough of each and in all."""
    counts = study.counts[list(fit.points)]
    wanted = LEAST_SEEDS
    while np.sum(np.maximum(counts, wanted) - 1) < LEAST_RESIDUALS:
        wanted += 1
    return further_seeds(study, fit.points, np.maximum(wanted - counts, 0))


def _distinct(study: Study, fit: FrontFit, response: Response) -> tuple[NewTrials, ...]:
    """Return values that split the steps whose ends are furthest apart, as many as are lacking.

    A point in the middle of a step is distinct from both ends if they are twice as far apart as
    distinct points. Where no step is so wide, values beyond the ends take its place.
    """
    points = list(fit.points)
    missing = LEAST_CONFIGURATIONS - len(
        distinct_rows(study.means[points], study.covariances[points])
    )
    rows = own_rows(study, response)
    strengths = [float(study.found[row].values[response.name]) for row in rows]
    apart = _apart(study.means[rows], study.covariances[rows])
    splits = [
        (float(apart[at]), strengths[at], strengths[at + 1]) for at in range(len(strengths) - 1)
    ]
    values, ends = [], [strengths[0], strengths[-1]]
    for _ in range(missing):
        wide, low, high = max(splits, default=(0.0, 0.0, 0.0))
        if wide >= 2 * APART:
            value = halfway(low, high)
            splits.remove((wide, low, high))
            splits += [(wide / 2, low, value), (wide / 2, value, high)]
        else:
            ends[1] *= BEYOND
            value = ends[1]
        values.append(value)
    return tuple(new_trials(study, rows[-1], response.name, value) for value in sorted(values))


def _apart(points: Array, covariances: Array) -> Array:
    """Return how far neighbours (L, 2) are apart, in standard errors, (L - 1,)."""
    variances = np.diagonal(covariances, axis1=1, axis2=2)
    errors = np.sqrt(variances[1:] + variances[:-1])
    distances: Array = (np.abs(np.diff(points, axis=0)) / errors).max(axis=1)
    return distances


def _wider(study: Study, fit: FrontFit, response: Response) -> tuple[NewTrials, ...]:
    """Return seeds that make the noise small against the spans, or else a value beyond the range.

    Accuracies are continued in proportion to the strength.
    """
    points = list(fit.points)
    means, covariances = study.means[points], study.covariances[points]
    spans = np.ptp(means, axis=0)
    errors = np.median(np.sqrt(np.diagonal(covariances, axis1=1, axis2=2)), axis=0)
    if (spans <= 0).any():
        return ()
    short = float(np.max(LEAST_SPAN * errors / spans))
    rows = own_rows(study, response)
    counts = study.counts[points]
    wanted = np.ceil(counts * short**2).astype(np.intp)
    if wanted.max() <= MOST_SEEDS:
        return further_seeds(study, points, wanted - counts)
    if ROOM * short > MOST_WIDER:
        return ()
    strengths = [float(study.found[row].values[response.name]) for row in rows]
    end = strengths[-1] + (ROOM * short - 1) * (strengths[-1] - strengths[0])
    return (new_trials(study, rows[-1], response.name, end),)


def _overlap(
    study: Study, by_method: dict[str, Response], one: FrontFit, other: FrontFit, gap: Gap
) -> list[Advice]:
    """Advise a weaker value of the method whose clean accuracies all lie below the other's."""
    ends = {fit.method: study.means[list(fit.points), 0] for fit in (one, other) if len(fit.points)}
    lower, upper = sorted((one, other), key=lambda fit: float(ends[fit.method].max()))
    response = by_method.get(lower.method)
    if response is None:
        return []
    rows = own_rows(study, response)
    first = float(study.found[rows[0]].values[response.name])
    wanted = float(ends[upper.method].min())
    value = 0.5 * first
    zero = [row for row, s in zip(response.rows, response.strengths, strict=True) if s == 0]
    if zero and first > 0:
        top, here = float(study.means[zero[0], 0]), float(study.means[rows[0], 0])
        if top > wanted > here:
            value = first * (top - wanted) / (top - here) / ROOM
    made = (new_trials(study, rows[-1], response.name, value),)
    need = (
        f"its clean accuracies end at {percent(float(ends[lower.method].max()))}%, below the "
        f"{percent(wanted)}% at which those of {method_text(upper.method)} begin"
    )
    return [_advice(study, lower, made, need)] if math.isfinite(value) and value > 0 else []
