"""Equivalence: the training ε at which adversarial training is as robust as SAM with some ρ.

Both are measured at the same attack radius. In each replicate, adversarial training's robust
accuracies at ε₀ = 0 (standard training) < ε₁ < … are cut after the greatest of the point estimates,
made non-decreasing, joined, and inverted at SAM's robust accuracy of the same replicate. The slope
of the logarithm of this ε on that of ρ says how the equivalent ε grows with ρ.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from analysis.inference.bootstrap import Replicates
from analysis.inference.claims import TAILS, Estimand, Interval, Status
from analysis.inference.intervals import interval, intervals
from analysis.inference.monotone import Join, invert, isotonic
from analysis.responses.strength import BEYOND, halfway, standard_row, strength_name, strength_of
from analysis.results.configurations import ConfigurationResult
from analysis.results.results import Results
from analysis.results.trials import Array

JOINS: tuple[Join, ...] = ("pchip", "linear")
"""An interval is the union over both, as the error of interpolation is not noise. On three true
curves the union covered 92 to 98%, the monotone cubic 90 to 96% and the linear one down to 28%."""
INSIDE = 0.95
"""A value is given if at least this share of the replicates lies within one run."""
RATIO = 2.0
"""Neighbouring levels of a run differ by no more than this factor: a wider step hides the curve."""
TRUE_SLOPE = 2.0
"""The slope in the linear model at small ρ: a hypothesis for networks."""
NARROW = 1.0
"""An interval of the slope that is this wide, or wider, confirms nothing."""
FEWEST, SPREAD = 3, 2.0
"""A slope needs at least this many values, over at least this factor in ρ."""
ROOM = 1e-9
"""Relative tolerance: 0.1 and 0.05 still have a ratio of 2."""

Place = Literal["value", "below", "between", "above"]
Verdict = Literal["consistent with 2", "differs from 2", "cannot tell"]


@dataclass(frozen=True, kw_only=True)
class Slope:
    """The slope of ln ε on ln ρ."""

    value: Interval
    """Ends: the union over both ways to join the levels; estimate: of the monotone cubic."""
    rows: tuple[int, ...]
    """The SAM configurations behind it, up to the most robust one."""
    range: tuple[float, float]
    """The least and the greatest of their ρ."""
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class Equivalent:
    """The training ε that one SAM configuration is worth."""

    row: int
    """Its position in `configurations(results)`."""
    rho: float | None
    """None if the configuration has no such value."""
    robust: Interval
    """Its robust accuracy at the radius."""
    status: Status
    """`claimed`: `epsilon` is given; `bracketed`: only the levels around it are known."""
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
    """False if no configuration has two seeds: then nothing is known of other networks."""
    rows: tuple[int, ...]
    """The configurations at `levels`."""
    levels: tuple[float, ...]
    """The ε that the curve goes through, rising; 0 is a network trained without perturbation."""
    robust: tuple[Interval, ...]
    """Robust accuracy at each level."""
    fitted: tuple[float, ...]
    """The estimates of `robust`, made non-decreasing."""
    left_out: tuple[float, ...]
    """Levels above the most robust one, where the accuracy falls again."""
    values: tuple[Equivalent, ...]
    """By ρ."""
    slope: Slope | None
    refusal: str
    """Why there is no slope; empty if there is one."""


@dataclass(frozen=True, kw_only=True)
class _Curve:
    """Adversarial training's curve: the point estimates as row 0, then all replicates."""

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
    accuracies = np.vstack([replicates.means[:, column], replicates.of(estimand)[:, :, column]])
    present = [note for note in results.methods if any(c.method == note.name for c in found)]
    ladders = {
        note.name: levels_of(results, found, note.name)
        for note in present
        if note.kind == "adversarial"
    }
    return tuple(
        compare(
            found, accuracies, note.name, name, ladder, radius, estimand, replicates.freedom > 0
        )
        for note in present
        if note.kind == "sharpness"
        for name, ladder in ladders.items()
        if any(level > 0 for level in ladder)
    )


def runs_of(levels: Sequence[float]) -> tuple[tuple[float, float], ...]:
    """List the ends of the runs of positive levels whose neighbours differ by at most a factor 2.

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


def levels_of(
    results: Results, found: tuple[ConfigurationResult, ...], method: str
) -> dict[float, int]:
    """Map each ε of a method, with standard training as 0, to its row; empty if more varies."""
    own = [row for row, c in enumerate(found) if c.method == method]
    if strength_name([found[row] for row in own]) != "epsilon":
        return {}
    levels = {strength_of(found[row], "epsilon"): row for row in own}
    standard = standard_row(results, found)
    if standard is not None:
        levels.setdefault(0.0, standard)
    return dict(sorted(levels.items()))


def compare(
    found: tuple[ConfigurationResult, ...],
    accuracies: Array,
    sam: str,
    adversarial: str,
    ladder: dict[float, int],
    radius: float,
    estimand: Estimand,
    seed_noise: bool,
) -> Equivalence:
    """Compare one SAM method with one ladder of ε; accuracies: (1 + B, N), estimates first."""
    every, rows = np.array(list(ladder)), np.array(list(ladder.values()))
    # Beyond the most robust ε the curve falls, and one accuracy would have two ε.
    kept = int(np.argmax(accuracies[0, rows])) + 1
    # A level whose replicates do not vary keeps a finite weight.
    variances = np.maximum(np.var(accuracies[1:, rows[:kept]], axis=0), 1e-12)
    curve = _Curve(
        levels=every[:kept],
        heights=isotonic(accuracies[:, rows[:kept]], 1.0 / variances),
        runs=runs_of(every[:kept].tolist()),
        peaked=kept < len(every),
    )
    rhos = {row: _rho(c) for row, c in enumerate(found) if c.method == sam}
    # ρ = 0 is standard training, the level 0 of the curve itself.
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
    return Equivalence(
        sam=sam,
        adversarial=adversarial,
        radius=radius,
        estimand=estimand,
        seed_noise=seed_noise,
        rows=tuple(rows[:kept].tolist()),
        levels=tuple(curve.levels.tolist()),
        robust=intervals(accuracies[0, rows[:kept]], accuracies[1:, rows[:kept]]),
        fitted=tuple(curve.heights[0].tolist()),
        left_out=tuple(every[kept:].tolist()),
        values=values,
        slope=slope,
        refusal=refusal,
    )


def _rho(c: ConfigurationResult) -> float | None:
    value = c.values.get("rho")
    return float(value) if isinstance(value, int | float) else None


def _equivalent(
    row: int, rho: float | None, target: Array, epsilons: list[Array], curve: _Curve
) -> Equivalent:
    """Locate one configuration; target: (1 + B,); epsilons: (1 + B,) for each of `JOINS`."""
    union = _union(epsilons)
    estimate, low, high = union.estimate, union.low, union.high
    shares = [
        float(np.mean((epsilons[0][1:] >= first) & (epsilons[0][1:] <= last)))
        for first, last in curve.runs
    ]
    inside = max(shares, default=0.0)
    is_inside = any(first <= estimate <= last for first, last in curve.runs)
    # The order statistics reach one draw further than the share: 0 and ∞ end no value.
    claimed = inside >= INSIDE and is_inside and low > 0 and math.isfinite(high)
    levels = curve.levels.tolist()
    positive = [level for level in levels if level > 0]
    floor = max((level for level in positive if level <= low), default=None)
    ceiling = min((level for level in levels if level >= high), default=None)
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
        epsilon=union if claimed else None,
        floor=floor,
        ceiling=ceiling,
        next_level=None if claimed else _next_level(low, high, positive, curve.peaked),
        inside=inside,
    )


def _next_level(low: float, high: float, positive: list[float], peaked: bool) -> float | None:
    """Choose the ε to train: half the first level, between the two widest, or beyond the last."""
    if not positive:
        return None
    if low < positive[0]:
        return halfway(0.0, positive[0])
    if not math.isfinite(high):
        return None if peaked else BEYOND * positive[-1]
    gaps = [(b / a, halfway(a, b)) for a, b in pairwise(positive) if a < high and low < b]
    return max(gaps)[1] if gaps else None


def _slope(
    values: tuple[Equivalent, ...],
    found_at: dict[Join, Array],
    runs: tuple[tuple[float, float], ...],
) -> tuple[Slope | None, str]:
    """Fit the slope over the values up to the most robust ρ, or return the reason not to.

    Beyond that ρ robustness falls again, which no power of ρ can follow.
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


def fit_slope(
    rhos: Array, epsilons: Mapping[Join, Array], limits: Array, rows: tuple[int, ...]
) -> tuple[Slope | None, str]:
    """Fit ln ε on ln ρ in every replicate, weighted by 1/variance, or return the reason not to.

    rhos: (T,); epsilons: (1 + B, T), point estimates first, for each way to join the levels;
    limits: (T, 2), the run of levels around each value. The few replicates outside are clipped to
    it, as 0 and ∞ have no logarithm.
    """
    if len(rhos) < FEWEST:
        noun = "value" if len(rhos) == 1 else "values"
        return (
            None,
            f"only {len(rhos)} {noun} of ε up to the most robust ρ, and a slope needs {FEWEST}",
        )
    low, high = float(rhos.min()), float(rhos.max())
    if high < SPREAD * low * (1 - ROOM):
        return None, f"ρ spans only a factor {high / low:.1f}, and a slope needs {SPREAD:g}"
    x = np.log(rhos)
    slopes = {}
    for join, drawn in epsilons.items():
        y = np.log(np.clip(drawn, limits[:, 0], limits[:, 1]))
        weights = 1.0 / np.maximum(np.var(y[1:], axis=0), 1e-12)
        # Weighted least squares for all replicates at once: Σ w (x - x̄) y / Σ w (x - x̄) x.
        centred = weights * (x - np.sum(weights * x) / np.sum(weights))
        slopes[join] = y @ centred / np.sum(centred * x)
    value = _union([slopes[join] for join in JOINS])
    return Slope(value=value, rows=rows, range=(low, high), verdict=_verdict(value)), ""


def _union(drawn: list[Array]) -> Interval:
    """Return the first estimate with the union of the 95% intervals over both ways to join.

    drawn: (1 + B,) for each of `JOINS`, the point estimate first.
    """
    estimate = float(drawn[0][0])
    ends = [order_interval(draws[1:]) for draws in drawn]
    return Interval(
        estimate=estimate,
        low=min(estimate, *(low for low, _ in ends)),
        high=max(estimate, *(high for _, high in ends)),
    )


def order_interval(draws: Array) -> tuple[float, float]:
    """Return the 95% interval of draws (B,) as two of them, so that 0 and ∞ may end it."""
    ordered = np.sort(draws)
    places = [percentile / 100 * (len(draws) - 1) for percentile in TAILS]
    return float(ordered[math.floor(places[0])]), float(ordered[math.ceil(places[1])])


def _verdict(value: Interval) -> Verdict:
    if not value.low <= TRUE_SLOPE <= value.high:
        return "differs from 2"
    return "consistent with 2" if value.high - value.low < NARROW else "cannot tell"
