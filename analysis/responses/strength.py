"""Responses: accuracy against the one strength that a method varies, or against ρ and ε."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from analysis.fronts.pareto import on_front
from analysis.inference.bootstrap import Replicates
from analysis.inference.claims import Estimand, Interval
from analysis.inference.intervals import interval, intervals
from analysis.inference.monotone import falling
from analysis.results.configurations import ConfigurationResult
from analysis.results.results import Results
from analysis.results.trials import Array

FEWEST_LEVELS = 5
"""Fewest positive levels for a peak: a parabola through three or four always fits."""
SURE = 0.95
"""Share of replicates that must agree on the shape of a response."""

BEYOND = 2.0
"""A value beyond the largest is this many times as large."""

Shape = Literal["peak", "still rising", "cannot tell"]


@dataclass(frozen=True, kw_only=True)
class Peak:
    """The shape of robust accuracy along the strength, by a parabola in the log of the strength."""

    shape: Shape
    at: Interval | None
    """The strength of the peak, where one is named."""
    best: float
    """The positive strength of the highest mean."""
    share: float | None
    """Share of replicates with a peak inside the range, or still rising; None if not computed."""
    reason: str
    """Why no more is known, with the numbers; empty for a peak."""


@dataclass(frozen=True, kw_only=True)
class Response:
    """Accuracies of one method against its strength, at one radius under one estimand."""

    method: str
    name: str
    """The name of the strength, as in `values`."""
    radius: float
    estimand: Estimand
    seed_noise: bool
    """False where no configuration has two seeds: intervals then hold for these networks alone."""
    rows: tuple[int, ...]
    """The configurations at `strengths`."""
    strengths: tuple[float, ...]
    """Rising; 0 is a network trained without this perturbation."""
    zero_is_standard: bool
    """True if the configuration at 0 is the study's standard training."""
    clean: tuple[Interval, ...]
    robust: tuple[Interval, ...]
    clean_fit: tuple[Interval, ...]
    """The same clean accuracies made non-increasing, against ε; empty against other strengths."""
    peak: Peak | None
    """The peak of robust accuracy; None without a positive strength."""


@dataclass(frozen=True, kw_only=True)
class HeatCell:
    """One configuration of a heat map."""

    row: int
    rho: float
    epsilon: float
    clean: float
    clean_error: float
    """Standard error, over the replicates."""
    robust: float
    robust_error: float
    on_front: float
    """Share of replicates in which no configuration of the study dominates it."""


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """One method that varies ρ and ε, at one radius under one estimand."""

    method: str
    radius: float
    estimand: Estimand
    is_grid: bool
    """True if most pairs of its ρ and its ε were run; a search tries each value once."""
    cells: tuple[HeatCell, ...]


def measure_responses(
    results: Results,
    found: tuple[ConfigurationResult, ...],
    replicates: Replicates,
    radius: float,
    estimand: Estimand,
) -> tuple[Response, ...]:
    """Measure each method that varies one strength alone, in the order of the study."""
    column = 1 + results.threat.radii.index(radius)
    standard = standard_row(results, found)
    responses = []
    for note in results.methods:
        own = [row for row, c in enumerate(found) if c.method == note.name]
        name = strength_name([found[row] for row in own])
        if name is None or name in note.setup:
            continue
        levels = {strength_of(found[row], name): row for row in own}
        # Standard training is strength 0, unless the method itself was run at 0.
        joined = standard is not None and 0.0 not in levels
        if standard is not None and joined:
            levels[0.0] = standard
        levels = dict(sorted(levels.items()))
        rows, strengths = np.array(list(levels.values())), np.array(list(levels))
        drawn, means = replicates.of(estimand)[:, rows], replicates.means[rows]
        responses.append(
            Response(
                method=note.name,
                name=name,
                radius=radius,
                estimand=estimand,
                seed_noise=replicates.freedom > 0,
                rows=tuple(rows.tolist()),
                strengths=tuple(strengths.tolist()),
                zero_is_standard=joined,
                clean=intervals(means[:, 0], drawn[..., 0]),
                robust=intervals(means[:, column], drawn[..., column]),
                clean_fit=_falling(means[:, 0], drawn[..., 0]) if name == "epsilon" else (),
                peak=find_peak(strengths, means[:, column], drawn[..., column]),
            )
        )
    return tuple(responses)


def measure_heat_maps(
    results: Results,
    found: tuple[ConfigurationResult, ...],
    replicates: Replicates,
    radius: float,
    estimand: Estimand,
) -> tuple[HeatMap, ...]:
    """Measure each method whose ρ and ε both vary."""
    column = 1 + results.threat.radii.index(radius)
    maps = []
    drawn: Array | None = None
    for note in results.methods:
        own = [row for row, c in enumerate(found) if c.method == note.name]
        pairs = [_rho_epsilon(found[row].values) for row in own]
        if any(pair is None for pair in pairs):
            continue
        levels = [sorted({pair[at] for pair in pairs if pair is not None}) for at in (0, 1)]
        if min(len(level) for level in levels) < 2:
            continue
        if drawn is None:
            # Against all configurations of the study, so the same for every map.
            drawn = replicates.of(estimand)[..., [0, column]]
            shares = on_front(drawn).mean(axis=0)
        errors = drawn[:, own].std(axis=0, ddof=1)
        means = replicates.means[own][:, [0, column]]
        cells = tuple(
            HeatCell(
                row=row,
                rho=pair[0],
                epsilon=pair[1],
                clean=float(means[at, 0]),
                clean_error=float(errors[at, 0]),
                robust=float(means[at, 1]),
                robust_error=float(errors[at, 1]),
                on_front=float(shares[row]),
            )
            for at, (row, pair) in enumerate(zip(own, pairs, strict=True))
            if pair is not None
        )
        # Configurations that differ in a third value share a place, and a cell has room for one.
        one_each = len({(cell.rho, cell.epsilon) for cell in cells}) == len(cells)
        is_grid = one_each and len(cells) >= 0.5 * len(levels[0]) * len(levels[1])
        maps.append(
            HeatMap(
                method=note.name, radius=radius, estimand=estimand, is_grid=is_grid, cells=cells
            )
        )
    return tuple(maps)


def strength_name(found: Sequence[ConfigurationResult]) -> str | None:
    """Return the name of the only strength that varies among configurations; None otherwise."""
    names = {name for c in found for name in c.values}
    if len(names) != 1 or len(found) < 2:
        return None
    name = names.pop()
    strengths = [c.values.get(name) for c in found]
    numbers = [value for value in strengths if isinstance(value, int | float) and value >= 0]
    return name if len(numbers) == len(strengths) and max(numbers) > 0 else None


def strength_of(c: ConfigurationResult, name: str) -> float:
    """Return the strength of a configuration as a number."""
    return float(c.values[name])


def halfway(low: float, high: float) -> float:
    """Return the strength that splits a step into two of equal ratio; from 0 on, half the end.

    >>> halfway(0.1, 0.4), halfway(0.0, 0.4)
    (0.2, 0.2)
    """
    return math.sqrt(low * high) if low > 0 else 0.5 * high


def standard_row(results: Results, found: tuple[ConfigurationResult, ...]) -> int | None:
    """Return the row of the study's standard training; None if it has none, or several."""
    names = {note.name for note in results.methods if note.kind == "standard"}
    rows = [row for row, c in enumerate(found) if c.method in names]
    return rows[0] if len(rows) == 1 else None


def find_peak(strengths: Array, means: Array, drawn: Array) -> Peak | None:
    """Find the peak along the positive strengths; None if no strength is positive.

    strengths: (L,), rising; means: (L,); drawn: (B, L). A parabola in the log of the strength,
    weighted by 1/variance, is fitted to every replicate. The peak is named if at least five levels
    are positive, if the parabola is concave with its top inside the range in 95% of the replicates,
    and if the top lies beside the highest mean: a parabola that misses it does not fit.
    """
    positive = np.flatnonzero(strengths > 0)
    if not positive.size:
        return None
    strengths, means, drawn = strengths[positive], means[positive], drawn[:, positive]
    highest = int(np.argmax(means))
    best = float(strengths[highest])
    rises = float(np.mean(drawn[:, -1] > drawn[:, -2])) if len(means) > 1 else 0.0
    if highest == len(means) - 1 and rises >= SURE:
        reason = f"the highest mean is at the largest value tried, and {100 * rises:.0f}% of the "
        reason += "replicates rise up to it; larger values would show where the peak is"
        return Peak(shape="still rising", at=None, best=best, share=rises, reason=reason)
    if len(means) < FEWEST_LEVELS:
        reason = f"{len(means)} positive values, and a peak needs {FEWEST_LEVELS}"
        return Peak(shape="cannot tell", at=None, best=best, share=None, reason=reason)
    tops, inside = _tops(np.log(strengths), np.vstack([means, drawn]))
    share = float(np.mean(inside[1:]))
    if share < SURE or not inside[0]:
        reason = f"a peak lies inside the range in {100 * share:.0f}% of the replicates, and "
        reason += f"{100 * SURE:.0f}% are needed; more seeds or a wider range would help"
        return Peak(shape="cannot tell", at=None, best=best, share=share, reason=reason)
    top = interval(float(np.exp(tops[0])), np.exp(tops[1:]))
    # A parabola through noise has a top, too: it must lie beside the highest mean.
    beside = strengths[max(highest - 1, 0)], strengths[min(highest + 1, len(means) - 1)]
    if not beside[0] <= top.estimate <= beside[1]:
        reason = f"the parabola has its top at {top.estimate:.3g}, away from the highest mean at "
        reason += f"{best:.3g}, so it does not fit; values around the highest mean would help"
        return Peak(shape="cannot tell", at=None, best=best, share=share, reason=reason)
    return Peak(shape="peak", at=top, best=best, share=share, reason="")


def _falling(means: Array, drawn: Array) -> tuple[Interval, ...]:
    """Return the intervals of accuracies that are made non-increasing, weighted by 1/variance."""
    weights = 1.0 / np.maximum(drawn.var(axis=0), 1e-12)
    return intervals(falling(means, weights), falling(drawn, weights))


def _tops(x: Array, y: Array) -> tuple[Array, Array]:
    """Return the top (1 + B,) of the weighted parabola through each row, and whether it is inside.

    x: (L,); y: (1 + B, L), replicates from row 1 on. Where no top is inside, it is the better end
    of the range.
    """
    middle, width = 0.5 * (x[0] + x[-1]), 0.5 * (x[-1] - x[0])
    # On [-1, 1] the powers of x are well conditioned, and a top is inside if |b| < -2a.
    at = (x - middle) / width
    roots = 1.0 / np.sqrt(np.maximum(y[1:].var(axis=0), 1e-12))
    basis = np.vander(at, 3)
    a, b, _ = np.linalg.lstsq(basis * roots[:, np.newaxis], (y * roots).T, rcond=None)[0]
    inside = (a < 0) & (np.abs(b) < -2.0 * a)
    top = np.where(inside, -b / np.where(inside, 2.0 * a, 1.0), np.where(b >= 0, 1.0, -1.0))
    return middle + width * top, inside


def _rho_epsilon(values: Mapping[str, object]) -> tuple[float, float] | None:
    pair = values.get("rho"), values.get("epsilon")
    if isinstance(pair[0], int | float) and isinstance(pair[1], int | float):
        return float(pair[0]), float(pair[1])
    return None
