"""Equivalence: the training ε at which adversarial training is as robust as SAM with some ρ.

Both are measured at the same attack radius. Per replicate: adversarial training's robust accuracies
at ε₀ = 0 (standard training) < ε₁ < …, cut after the greatest of the point estimates, made
non-decreasing, joined, and inverted at SAM's robust accuracy of the same replicate.

Slope: of the logarithm of an equivalent training ε on that of ρ.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from analysis.inference.bootstrap import Replicates
from analysis.inference.claims import TAILS, Estimand, Interval, Status
from analysis.inference.intervals import interval, intervals
from analysis.inference.monotone import Join, invert, isotonic
from analysis.responses.strength import strength_name, strength_of
from analysis.results.configurations import ConfigurationResult
from analysis.results.methods import is_adversarial_training, is_sam, is_standard
from analysis.results.results import Results
from analysis.results.trials import Array

TRUE_SLOPE = 2.0
"""For small ρ, in the linear model: a hypothesis for networks."""
NARROW = 1.0
"""An interval of the slope as wide as this, or wider, confirms nothing."""
FEWEST, SPREAD = 3, 2.0
"""A slope needs so many values, over so large a factor in ρ."""
ROOM = 1e-9
"""Relative: 0.1 and 0.05 still have a ratio of 2."""

Verdict = Literal["consistent with 2", "differs from 2", "cannot tell"]


@dataclass(frozen=True, kw_only=True)
class Slope:
    """The slope of ln ε on ln ρ."""

    value: Interval
    """Ends: the union over both ways to join the levels; estimate: of the monotone cubic."""
    rows: tuple[int, ...]
    """The SAM configurations behind it, up to the most robust one."""
    range: tuple[float, float]
    """Of ρ."""
    verdict: Verdict


def fit_slope(
    rhos: Array, epsilons: Mapping[Join, Array], limits: Array, rows: tuple[int, ...]
) -> tuple[Slope | None, str]:
    """Fit ln ε on ln ρ in every replicate, each value weighted by 1/variance; or say why not.

    rhos: (T,); epsilons: (1 + B, T), point estimates first, for each way to join the levels;
    limits: (T, 2), the run of levels that each value lies in: the few replicates outside are put at
    its end, as 0 and ∞ have no logarithm.
    """
    if len(rhos) < FEWEST:
        noun = "value" if len(rhos) == 1 else "values"
        return None, f"{len(rhos)} {noun} of ε up to the most robust ρ, and a slope needs {FEWEST}"
    low, high = float(rhos.min()), float(rhos.max())
    if high < SPREAD * low * (1 - ROOM):
        return None, f"ρ spans a factor {high / low:.1f}, and a slope needs {SPREAD:g}"
    x = np.log(rhos)
    slopes = {}
    for join, drawn in epsilons.items():
        y = np.log(np.clip(drawn, limits[:, 0], limits[:, 1]))
        weights = 1.0 / np.maximum(np.var(y[1:], axis=0), 1e-12)
        centred = weights * (x - np.sum(weights * x) / np.sum(weights))
        slopes[join] = y @ centred / np.sum(centred * x)
    estimate = float(slopes["pchip"][0])
    ends = [(estimate, estimate), *(order_interval(slope[1:]) for slope in slopes.values())]
    value = Interval(
        estimate=estimate, low=min(end[0] for end in ends), high=max(end[1] for end in ends)
    )
    return Slope(value=value, rows=rows, range=(low, high), verdict=_verdict(value)), ""


def order_interval(draws: Array) -> tuple[float, float]:
    """Give the 95% interval of draws (B,) as two of them, so that 0 and ∞ may end it."""
    ordered = np.sort(draws)
    places = [percentile / 100 * (len(draws) - 1) for percentile in TAILS]
    return float(ordered[math.floor(places[0])]), float(ordered[math.ceil(places[1])])


def _verdict(value: Interval) -> Verdict:
    if not value.low <= TRUE_SLOPE <= value.high:
        return "differs from 2"
    return "consistent with 2" if value.high - value.low < NARROW else "cannot tell"


JOINS: tuple[Join, ...] = ("pchip", "linear")
"""An interval is the union of both: which one is nearer to the truth is not noise. On three true
curves the union covered 92 to 98%, the monotone cubic 90 to 96, the linear one down to 28."""
INSIDE = 0.95
"""So large a share of the replicates must lie within one run for a value to be given."""
RATIO = 2.0
"""Neighbouring levels of a run differ by no more than this factor: a wider step hides the curve."""

Place = Literal["value", "below", "between", "above"]


@dataclass(frozen=True, kw_only=True)
class Equivalent:
    """The training ε that one SAM configuration is worth."""

    row: int
    """Of `configurations(results)`."""
    rho: float | None
    """None if the values of the configuration do not tell it."""
    robust: Interval
    """Its robust accuracy at the radius."""
    status: Status
    """`claimed`: `epsilon` is given; `bracketed`: only the levels that it lies between."""
    place: Place
    """`below` the first positive level, `above` every level, or `between` two."""
    epsilon: Interval | None
    """Ends: the union over both ways to join the levels; estimate: of the monotone cubic."""
    floor: float | None
    """The greatest positive level below the whole interval; None if there is none."""
    ceiling: float | None
    """The least level above the whole interval; None if there is none."""
    next_level: float | None
    """The ε to train next, for a value; None where none would help."""
    inside: float
    """Greatest share of replicates within one run of positive levels."""


@dataclass(frozen=True, kw_only=True)
class Equivalence:
    """One SAM method against one adversarial training, at one radius under one estimand."""

    sam: str
    adversarial: str
    radius: float
    estimand: Estimand
    seed_noise: bool
    """False where no configuration has two seeds: then nothing is said of other networks."""
    rows: tuple[int, ...]
    """The configurations at `levels`."""
    levels: tuple[float, ...]
    """The ε that the curve goes through, rising; 0 is a network trained without perturbation."""
    robust: tuple[Interval, ...]
    """Robust accuracy at each level, and"""
    fitted: tuple[float, ...]
    """the same made non-decreasing."""
    left_out: tuple[float, ...]
    """Levels above the most robust one, where the accuracy falls again."""
    values: tuple[Equivalent, ...]
    """By ρ."""
    slope: Slope | None
    refusal: str
    """Why there is no slope; empty if there is one."""


@dataclass(frozen=True, kw_only=True)
class _Curve:
    """Adversarial training's curve in all replicates, and the point estimates as row 0."""

    levels: Array
    """(L,)"""
    heights: Array
    """(1 + B, L)"""
    runs: tuple[tuple[float, float], ...]
    peaked: bool


def measure_equivalences(
    results: Results,
    found: tuple[ConfigurationResult, ...],
    replicates: Replicates,
    radius: float,
    estimand: Estimand,
) -> tuple[Equivalence, ...]:
    """Compare every SAM method with every adversarial training that varies ε alone."""
    column = 1 + results.threat.radii.index(radius)
    means = replicates.means[:, column]
    drawn = replicates.of(estimand)[:, :, column]
    accuracies = np.vstack([means, drawn])
    present = [note for note in results.methods if any(c.method == note.name for c in found)]
    ladders = {
        note.name: _levels(results, found, note.name)
        for note in present
        if is_adversarial_training(note)
    }
    return tuple(
        Equivalence(
            sam=note.name,
            adversarial=name,
            radius=radius,
            estimand=estimand,
            seed_noise=replicates.freedom > 0,
            **_compare(found, accuracies, note.name, ladder),
        )
        for note in present
        if is_sam(note)
        for name, ladder in ladders.items()
        if any(level > 0 for level in ladder)
    )


def runs_of(levels: Sequence[float]) -> tuple[tuple[float, float], ...]:
    """List the ends of the runs of positive levels whose neighbours differ by a factor 2 at most.

    A run has at least two levels.

    >>> runs_of([0.0, 1.0, 2.0, 4.0, 16.0, 20.0, 50.0])
    ((1.0, 4.0), (16.0, 20.0))
    """
    runs: list[tuple[float, float]] = []
    for low, high in pairwise(level for level in levels if level > 0):
        if high > RATIO * low * (1 + ROOM):
            continue
        if runs and runs[-1][1] == low:
            runs[-1] = runs[-1][0], high
        else:
            runs.append((low, high))
    return tuple(runs)


def _levels(
    results: Results, found: tuple[ConfigurationResult, ...], method: str
) -> dict[float, int]:
    """Give the rows of a method by their ε, with standard training as 0; empty if more varies."""
    own = [row for row, c in enumerate(found) if c.method == method]
    if strength_name([found[row] for row in own]) != "epsilon":
        return {}
    levels = {strength_of(found[row], "epsilon"): row for row in own}
    names = {note.name for note in results.methods if is_standard(note)}
    standard = [row for row, c in enumerate(found) if c.method in names]
    if len(standard) == 1:
        levels.setdefault(0.0, standard[0])
    return dict(sorted(levels.items()))


def _compare(
    found: tuple[ConfigurationResult, ...], accuracies: Array, sam: str, ladder: dict[float, int]
) -> dict[str, Any]:
    """Give the measured fields of `Equivalence`; accuracies: (1 + B, N), point estimates first."""
    every, rows = np.array(list(ladder)), np.array(list(ladder.values()))
    kept = int(np.argmax(accuracies[0, rows])) + 1
    variances = np.maximum(np.var(accuracies[1:, rows[:kept]], axis=0), 1e-12)
    curve = _Curve(
        levels=every[:kept],
        heights=isotonic(accuracies[:, rows[:kept]], 1.0 / variances),
        runs=runs_of(every[:kept].tolist()),
        peaked=kept < len(every),
    )
    rhos = {row: _rho(c) for row, c in enumerate(found) if c.method == sam}
    asked = sorted((row for row in rhos if rhos[row] != 0), key=lambda row: rhos[row] or 0.0)
    targets = accuracies[:, asked]
    found_at = {join: invert(curve.levels, curve.heights, targets, join) for join in JOINS}
    values = tuple(
        _equivalent(
            row, rhos[row], targets[:, at], [found_at[join][:, at] for join in JOINS], curve
        )
        for at, row in enumerate(asked)
    )
    slope, refusal = _slope(values, found_at, curve.runs)
    return {
        "rows": tuple(rows[:kept].tolist()),
        "levels": tuple(curve.levels.tolist()),
        "robust": intervals(accuracies[0, rows[:kept]], accuracies[1:, rows[:kept]]),
        "fitted": tuple(curve.heights[0].tolist()),
        "left_out": tuple(every[kept:].tolist()),
        "values": values,
        "slope": slope,
        "refusal": refusal,
    }


def _rho(c: ConfigurationResult) -> float | None:
    value = c.values.get("rho")
    return float(value) if isinstance(value, int | float) else None


def _equivalent(
    row: int, rho: float | None, target: Array, epsilons: list[Array], curve: _Curve
) -> Equivalent:
    """target: (1 + B,); epsilons: (1 + B,) for each way to join the levels."""
    estimate = float(epsilons[0][0])
    ends = [(estimate, estimate), *(order_interval(epsilon[1:]) for epsilon in epsilons)]
    low, high = min(end[0] for end in ends), max(end[1] for end in ends)
    shares = [
        float(np.mean((epsilons[0][1:] >= first) & (epsilons[0][1:] <= last)))
        for first, last in curve.runs
    ]
    inside = max(shares, default=0.0)
    is_inside = any(first <= estimate <= last for first, last in curve.runs)
    # The order statistics reach one draw further than the share: 0 and ∞ end no value.
    claimed = inside >= INSIDE and is_inside and low > 0 and math.isfinite(high)
    floor = max((level for level in curve.levels.tolist() if 0 < level <= low), default=None)
    ceiling = min((level for level in curve.levels.tolist() if level >= high), default=None)
    positive = [level for level in curve.levels.tolist() if level > 0]
    place: Place = "between"
    if claimed:
        place = "value"
    elif ceiling is not None and positive and low < positive[0] >= ceiling:
        place, ceiling = "below", positive[0]
    elif ceiling is None and low > curve.levels[-1]:
        place, floor = "above", float(curve.levels[-1])
    return Equivalent(
        row=row,
        rho=rho,
        robust=interval(target[0], target[1:]),
        status="claimed" if claimed else "bracketed",
        place=place,
        epsilon=Interval(estimate=estimate, low=low, high=high) if claimed else None,
        floor=floor,
        ceiling=ceiling,
        next_level=None if claimed else _next_level(low, high, positive, curve.peaked),
        inside=inside,
    )


def _next_level(low: float, high: float, positive: list[float], peaked: bool) -> float | None:
    """Choose the ε to train: half the first level, between the widest two, or beyond the last."""
    if not positive:
        return None
    if low < positive[0]:
        return 0.5 * positive[0]
    if not math.isfinite(high):
        return None if peaked else 2.0 * positive[-1]
    gaps = [(b / a, math.sqrt(a * b)) for a, b in pairwise(positive) if a < high and low < b]
    return max(gaps)[1] if gaps else None


def _slope(
    values: tuple[Equivalent, ...],
    found_at: dict[Join, Array],
    runs: tuple[tuple[float, float], ...],
) -> tuple[Slope | None, str]:
    """Fit ln ε on ln ρ over the values up to the most robust ρ; or say why not.

    Beyond it more ρ makes less robust, and no power of ρ can follow.
    """
    highest = max((v.robust.estimate for v in values), default=0.0)
    peak = min((v.rho for v in values if v.rho and v.robust.estimate == highest), default=0.0)
    used, rhos, limits = [], [], []
    for at, value in enumerate(values):
        if value.epsilon is not None and value.rho is not None and value.rho <= peak:
            used.append(at)
            rhos.append(value.rho)
            estimate = value.epsilon.estimate
            limits.append(next(run for run in runs if run[0] <= estimate <= run[1]))
    return fit_slope(
        np.array(rhos),
        {join: found_at[join][:, used] for join in JOINS},
        np.array(limits).reshape(-1, 2),
        tuple(values[at].row for at in used),
    )
