"""Fronts under noise: memberships, attainment surfaces and attainable robustness of replicates.

A grid that was fully run chooses nothing, so all its configurations stand for the method. For a
free search only the members chosen on validation data stand for it, as their test numbers took no
part in the choice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.fronts.areas import attainable_intervals
from analysis.fronts.choice import Choice
from analysis.fronts.pareto import (
    attained,
    attainment_surfaces,
    concave_hull,
    corners,
    mean_attainable_robustness,
    mean_attained,
    on_front,
)
from analysis.inference.bootstrap import Replicates
from analysis.inference.claims import TAILS, Estimand, Interval
from analysis.inference.intervals import intervals
from analysis.results.configurations import ConfigurationResult
from analysis.results.results import Results
from analysis.results.trials import Array

Corners = tuple[tuple[float, float], ...]
"""(clean, robust) corners of steps, fractions, from the clean to the robust end."""

OPTIMISTIC, MEDIAN, PESSIMISTIC = TAILS[0] / 100, 0.5, TAILS[1] / 100
"""Shares of replicates that attain a surface."""
GRID = 36
"""Surfaces are drawn from twice this many clean accuracies: exact there, never above elsewhere."""
DECIMALS = 6
"""Decimals of the corners: a ten-thousandth of a point, which no figure shows."""


@dataclass(frozen=True, kw_only=True)
class Membership:
    """One configuration: where it lies, how surely, and how often it is on a front."""

    row: int
    """Its position in `configurations(results)`."""
    method: str
    clean: Interval
    robust: Interval
    """At the radius of the fronts."""
    covariance: tuple[tuple[float, float], tuple[float, float]]
    """Covariance of (clean, robust) over the replicates; its ellipse is the mean's 95% region."""
    on_study_front: float
    """P: the share of replicates in which no configuration of any method dominates it."""
    on_method_front: float
    """P: the same among the configurations of its method."""
    cleanest: float
    """P: the share of replicates in which no configuration is cleaner. A tie counts for each."""
    most_robust: float
    """P: the share in which no configuration is more robust. A tie counts for each."""


@dataclass(frozen=True, kw_only=True)
class FrontSurface:
    """One method: what its configurations attain, surely and perhaps. The band is pointwise."""

    method: str
    rows: tuple[int, ...]
    """The configurations that stand for the method; never empty."""
    which: str
    """Their description: `all its configurations`, `the members chosen on validation`."""
    median: Corners
    """What half of the replicates attain at each clean accuracy, read on a grid."""
    optimistic: Corners
    """What 2.5% of the replicates attain."""
    pessimistic: Corners
    """What 97.5% of the replicates attain."""
    hull: Corners
    """Reachable by randomising between networks: the concave hull of the means that enter."""
    attainable: Interval
    """Mean attainable robust accuracy over required clean accuracies from `clean_floor` to 1."""


@dataclass(frozen=True, kw_only=True)
class Fronts:
    """All fronts at one radius under one estimand."""

    radius: float
    estimand: Estimand
    configurations: tuple[Membership, ...]
    """(N,) by row."""
    methods: tuple[FrontSurface, ...]
    """Methods with results, in the order of the study."""

    def method(self, name: str) -> FrontSurface | None:
        """Return the surface of this method; None if it has no result."""
        return next((one for one in self.methods if one.method == name), None)


def measure_fronts(
    results: Results,
    found: tuple[ConfigurationResult, ...],
    choice: Choice,
    replicates: Replicates,
    radius: float,
    estimand: Estimand,
) -> Fronts:
    """Measure memberships and attainment surfaces at one radius under one estimand."""
    means, drawn = points_at(results, replicates, radius, estimand)
    lifted = lifted_at(results, replicates, radius, estimand)
    return Fronts(
        radius=radius,
        estimand=estimand,
        configurations=_memberships(found, means, drawn),
        methods=tuple(
            _surface(results, name, rows, which, means, drawn, lifted)
            for name, (rows, which) in entering(results, found, choice).items()
        ),
    )


def points_at(
    results: Results, replicates: Replicates, radius: float, estimand: Estimand
) -> tuple[Array, Array]:
    """Return the means (N, 2) and replicates (B, N, 2) of clean and robust accuracy at a radius."""
    columns = [0, 1 + results.threat.radii.index(radius)]
    return replicates.means[:, columns], replicates.of(estimand)[:, :, columns]


def entering(
    results: Results, found: Sequence[ConfigurationResult], choice: Choice
) -> Mapping[str, tuple[tuple[int, ...], str]]:
    """Return for each method with results the rows that stand for it, and their description.

    All rows of a grid, also those that lack a seed: to drop a failed one would be a bias. Of a
    search the members chosen on validation data, or all rows where there are none.
    """
    rows_of = {c.key: row for row, c in enumerate(found)}
    entered = {}
    for front in choice.fronts:
        own = tuple(row for row, c in enumerate(found) if c.method == front.note.name)
        which = "all its configurations"
        if front.note.searched and choice.on_validation:
            own = tuple(sorted(rows_of[c.key] for c in front.members))
            which = "the members chosen on validation"
        if own:
            entered[front.note.name] = own, which
    return entered


def lifted_at(results: Results, replicates: Replicates, radius: float, estimand: Estimand) -> Array:
    """Return the replicates (B, N, 2) at a radius from which the lift of a front is computed."""
    return replicates.lifted(estimand)[:, :, [0, 1 + results.threat.radii.index(radius)]]


def _memberships(
    found: tuple[ConfigurationResult, ...], means: Array, drawn: Array
) -> tuple[Membership, ...]:
    if not found:
        return ()
    study = on_front(drawn).mean(axis=0)
    own = np.empty(len(found))
    methods = np.array([c.method for c in found])
    for name in dict.fromkeys(methods.tolist()):
        rows = np.flatnonzero(methods == name)
        own[rows] = on_front(drawn[:, rows]).mean(axis=0)
    highest = np.mean(drawn >= drawn.max(axis=1, keepdims=True), axis=0)
    centred = drawn - drawn.mean(axis=0)
    covariances = np.einsum("bnx,bny->nxy", centred, centred) / max(len(drawn) - 1, 1)
    clean, robust = (intervals(means[:, at], drawn[:, :, at]) for at in (0, 1))
    return tuple(
        Membership(
            row=row,
            method=c.method,
            clean=clean[row],
            robust=robust[row],
            covariance=((a[0], a[1]), (b[0], b[1])),
            on_study_front=float(study[row]),
            on_method_front=float(own[row]),
            cleanest=float(highest[row, 0]),
            most_robust=float(highest[row, 1]),
        )
        for row, (c, (a, b)) in enumerate(zip(found, covariances.tolist(), strict=True))
    )


def _surface(
    results: Results,
    name: str,
    rows: tuple[int, ...],
    which: str,
    means: Array,
    drawn: Array,
    lifted: Array,
) -> FrontSurface:
    own, own_lifted = drawn[:, list(rows)], lifted[:, list(rows)]
    grid = surface_grid(own)
    shares = (MEDIAN, OPTIMISTIC, PESSIMISTIC)
    median, optimistic, pessimistic = attainment_surfaces(own, shares, grid)
    optimistic, pessimistic = extended_edges(
        optimistic, pessimistic, grid, edge_lifts(means[list(rows)], own_lifted, grid)
    )
    estimate = mean_attainable_robustness(means[list(rows)], results.clean_floor)
    by_replicate = mean_attainable_robustness(own, results.clean_floor)
    by_lifted = mean_attainable_robustness(own_lifted, results.clean_floor)
    (attainable,) = attainable_intervals(
        np.array([estimate]), by_replicate[:, np.newaxis], by_lifted[:, np.newaxis]
    )
    return FrontSurface(
        method=name,
        rows=rows,
        which=which,
        median=_written(median),
        optimistic=_written(optimistic),
        pessimistic=_written(pessimistic),
        hull=_written(concave_hull(means[list(rows)])),
        attainable=attainable,
    )


def edge_lifts(means: Array, lifted: Array, grid: Array) -> Array:
    """Return by how much noise lifts the staircase of the means at each clean accuracy (G,).

    Twice the mean over replicates of the staircase R_b(c), minus that of the means, as for areas.
    """
    return 2 * (mean_attained(lifted, grid) - attained(means, grid))


def extended_edges(
    optimistic: Array, pessimistic: Array, grid: Array, lifts: Array
) -> tuple[Array, Array]:
    """Extend the edges of a band against the lift of a maximum, and keep them falling.

    A true front falls, so what bounds it at one clean accuracy bounds it from above at every
    greater and from below at every smaller one. This undoes extensions beside a step, where
    replicates differ from the staircase of the means because the step moves.
    """
    above = attained(optimistic, grid) + np.maximum(-lifts, 0.0)
    below = attained(pessimistic, grid) - np.maximum(lifts, 0.0)
    above = np.minimum(np.minimum.accumulate(above), 1.0)
    below = np.maximum(np.maximum.accumulate(below[::-1])[::-1], 0.0)
    return _reaching(grid, above, optimistic), _reaching(grid, below, pessimistic)


def _reaching(grid: Array, heights: Array, edge: Array) -> Array:
    """Return the corners of heights up to an edge's clean end: none is not a height of 0."""
    kept = grid <= edge[0, 0] if len(edge) else np.zeros(len(grid), dtype=np.bool_)
    return corners(grid[kept], heights[kept])


def surface_grid(replicates: Array) -> Array:
    """Choose rising clean accuracies at which surfaces are read, dense where their steps are.

    Quantiles of the clean accuracies on the replicates' staircases, even steps between their ends,
    and the exact clean ends of the three surfaces. replicates: (B, N, 2), N >= 1; returns (G,),
    G <= 2 `GRID` + 3.
    """
    steps = replicates[on_front(replicates)][:, 0]
    levels = np.quantile(steps, np.linspace(0.0, 1.0, GRID), method="lower")
    even = np.linspace(levels[0], levels[-1], GRID)
    ends = np.sort(replicates[:, :, 0].max(axis=1))[::-1]
    ranks = np.ceil(np.round(len(ends) * np.array([OPTIMISTIC, MEDIAN, PESSIMISTIC]), 9))
    return np.unique(np.concatenate([levels, even, ends[ranks.astype(np.intp) - 1]]))


def _written(corners: Array) -> Corners:
    return tuple((clean, robust) for clean, robust in np.round(corners, DECIMALS).tolist())
