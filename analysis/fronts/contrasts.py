"""Contrasts: methods against each other, without a fitted curve.

The hypervolume above (clean floor, 0), divided by 1 - clean floor, is the robust accuracy that a
method attains on average over all required clean accuracies. One difference of two methods is
primary. It was declared before the data, and its interval is not adjusted; the others are adjusted
together. Methods are also compared at equal training cost: each with the configurations a budget
allows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from analysis.fronts.areas import Areas, Noisy, matched_rows
from analysis.fronts.attainment import entering, lifted_at, points_at
from analysis.fronts.choice import Choice
from analysis.fronts.dominance import MethodDominance, measure_dominance
from analysis.inference.bootstrap import Replicates
from analysis.inference.claims import Estimand, Interval
from analysis.results.configurations import ConfigurationResult
from analysis.results.results import Results, compared, primary_pair

UNEQUAL = 1.5
"""If one method has this many times the configurations, a claim must hold at equal numbers."""
MOST_BUDGETS = 8
"""At most this many training costs are compared, spread over those that occur."""


@dataclass(frozen=True, kw_only=True)
class CostPoint:
    """Two methods, each with only the configurations that cost at most a budget to train."""

    budget: float
    """In forward passes per training sample and epoch."""
    first_rows: tuple[int, ...]
    """Configurations that cost at most this much, of each method."""
    second_rows: tuple[int, ...]
    first: Interval
    """Mean attainable robust accuracy of each method."""
    second: Interval
    difference: Interval
    """first - second; its interval is not adjusted."""
    adjusted_low: float
    """Ends of the difference that hold for all budgets of the pair together."""
    adjusted_high: float


@dataclass(frozen=True, kw_only=True)
class CostContrast:
    """Two methods at equal training cost."""

    first: str
    second: str
    radius: float
    estimand: Estimand
    first_costs: tuple[float, float] | None
    """The least and the greatest cost of a configuration; None if a cost is unknown."""
    second_costs: tuple[float, float] | None
    points: tuple[CostPoint, ...]
    """By rising budget, from the least at which both have configurations; empty without costs."""


def measure_cost_contrast(
    results: Results,
    found: tuple[ConfigurationResult, ...],
    rows: Mapping[str, tuple[int, ...]],
    noisy: Noisy,
    pair: tuple[str, str],
    radius: float,
    estimand: Estimand,
) -> CostContrast:
    """Compare two methods at equal training cost; `rows`: those that stand for each method."""
    costs = [training_costs(found, rows[name]) for name in pair]
    known = [None if one is None else (min(one), max(one)) for one in costs]
    points: tuple[CostPoint, ...] = ()
    if costs[0] is not None and costs[1] is not None:
        affordable = [
            dict(zip(rows[n], c, strict=True)) for n, c in zip(pair, costs, strict=True) if c
        ]
        points = _cost_points(results, affordable, noisy)
    return CostContrast(
        first=pair[0],
        second=pair[1],
        radius=radius,
        estimand=estimand,
        first_costs=known[0],
        second_costs=known[1],
        points=points,
    )


def training_costs(
    found: Sequence[ConfigurationResult], rows: Sequence[int]
) -> tuple[float, ...] | None:
    """Return the training cost of each row, the mean over its seeds; None if one is unknown."""
    costs = []
    for row in rows:
        known = [trial.cost for trial in found[row].trials if trial.cost is not None]
        if not known:
            return None
        costs.append(round(sum(known) / len(known), 9))
    return tuple(costs)


def _cost_points(
    results: Results, costs: Sequence[Mapping[int, float]], noisy: Noisy
) -> tuple[CostPoint, ...]:
    """Compare at each budget; costs: by row, of the first and of the second method."""
    least = max(min(one.values()) for one in costs)
    occurring = sorted({cost for one in costs for cost in one.values() if cost >= least})
    kept = np.linspace(0, len(occurring) - 1, min(len(occurring), MOST_BUDGETS)).round()
    budgets = [occurring[at] for at in kept.astype(int)]
    within = [
        [[row for row, cost in one.items() if cost <= budget] for one in costs]
        for budget in budgets
    ]
    first, second = (
        noisy.areas([both[at] for both in within], results.clean_floor) for at in (0, 1)
    )
    columns = first.attainable(), second.attainable(), (first - second).intervals()
    together = (first - second).together()
    return tuple(
        CostPoint(
            budget=budget,
            first_rows=tuple(both[0]),
            second_rows=tuple(both[1]),
            first=columns[0][at],
            second=columns[1][at],
            difference=columns[2][at],
            adjusted_low=float(together.low[at]),
            adjusted_high=float(together.high[at]),
        )
        for at, (budget, both) in enumerate(zip(budgets, within, strict=True))
    )


Rows = Mapping[str, tuple[int, ...]]
"""The rows of `configurations(results)` that stand for each method."""


@dataclass(frozen=True, kw_only=True)
class Hypervolume:
    """Mean attainable robust accuracy of one method over required clean accuracies c₀ to 1."""

    method: str
    radius: float
    estimand: Estimand
    rows: tuple[int, ...]
    """Configurations that enter."""
    which: str
    """Their description: `all its configurations`, `the members chosen on validation`."""
    value: Interval


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """Difference of two methods' hypervolumes: first - second."""

    first: str
    second: str
    radius: float
    estimand: Estimand
    difference: Interval
    """Not adjusted: of this contrast alone."""
    adjusted_low: float
    """Ends of the interval that holds for all contrasts of this radius and estimand together."""
    adjusted_high: float
    lift: float
    """By how much replicates lie above the estimate: noise lifts the front of more, or closer,
    configurations by more. The intervals are extended against it by twice as much."""
    primary: bool
    """The one that was declared (or follows from the methods) before the data: the objective
    radius, the default estimand."""
    matched: "Matched | None" = None
    """The same at equal numbers of configurations; None where the numbers are equal."""

    @property
    def is_claimed(self) -> bool:
        """Return whether the difference is claimed: also at equal numbers, where they differ."""
        sides = [_side(self.ends)]
        if self.matched is not None and self.matched.needed:
            matched = self.matched
            alone = matched.difference.low, matched.difference.high
            sides.append(
                _side(alone if self.primary else (matched.adjusted_low, matched.adjusted_high))
            )
        return sides[0] != 0 and len(set(sides)) == 1

    @property
    def ends(self) -> tuple[float, float]:
        """Return the interval that may be claimed: the primary contrast is not adjusted."""
        if self.primary:
            return self.difference.low, self.difference.high
        return self.adjusted_low, self.adjusted_high


@dataclass(frozen=True, kw_only=True)
class Matched:
    """A contrast in which the larger method has only the configurations nearest to the smaller's.

    A finer grid attains more on the same true curve, as its staircase has smaller steps. For each
    configuration of the smaller method the larger keeps the one nearest in clean accuracy.
    """

    method: str
    """The larger one."""
    rows: tuple[int, ...]
    """Those of its configurations that are kept."""
    of: int
    """How many it has."""
    against: int
    """How many the smaller one has."""
    difference: Interval
    """first - second, not adjusted."""
    adjusted_low: float
    """Ends of the interval that holds for all matched contrasts together."""
    adjusted_high: float

    @property
    def needed(self) -> bool:
        """Return whether numbers differ by so much that a claim must hold here, too."""
        return self.of >= UNEQUAL * self.against


def _side(ends: tuple[float, float]) -> int:
    """Return on which side of 0 an interval lies, or 0 if it holds 0."""
    return int(ends[0] > 0) - int(ends[1] < 0)


@dataclass(frozen=True, kw_only=True)
class Contrasts:
    """All that is compared at one radius under one estimand."""

    radius: float
    estimand: Estimand
    seed_noise: bool
    """False if no configuration has two seeds: no interval then holds the noise of training."""
    hypervolumes: tuple[Hypervolume, ...]
    """Methods with results, in the order of the study."""
    contrasts: tuple[Contrast, ...]
    """Every two methods with results, the primary pair first."""
    costs: tuple[CostContrast, ...]
    """One for each pair that the study compares."""
    dominances: tuple[MethodDominance, ...]
    """One for each pair that the study compares."""

    @property
    def primary(self) -> Contrast | None:
        """Return the primary contrast; None at other radii, and with fewer than two methods."""
        return next((contrast for contrast in self.contrasts if contrast.primary), None)


def measure_contrasts(
    results: Results,
    found: tuple[ConfigurationResult, ...],
    choice: Choice,
    replicates: Replicates,
    radius: float,
    estimand: Estimand,
) -> Contrasts:
    """Compare the methods at one radius under one estimand."""
    entered = entering(results, found, choice)
    rows = {name: own for name, (own, _) in entered.items()}
    noisy = noisy_at(results, replicates, radius, estimand)
    areas = noisy.areas(list(rows.values()), results.clean_floor)
    at_objective = radius == results.threat.objective_radius and estimand == replicates.default
    chief = primary_pair(results, tuple(rows))
    listed = compared_pairs(results, tuple(rows))
    return Contrasts(
        radius=radius,
        estimand=estimand,
        seed_noise=replicates.freedom > 0,
        hypervolumes=tuple(
            Hypervolume(
                method=name,
                radius=radius,
                estimand=estimand,
                rows=own,
                which=which,
                value=value,
            )
            for (name, (own, which)), value in zip(entered.items(), areas.attainable(), strict=True)
        ),
        contrasts=_contrasts(
            all_pairs(results, tuple(rows)),
            rows,
            areas,
            _matched(results, all_pairs(results, tuple(rows)), rows, noisy),
            radius,
            estimand,
            chief if at_objective else None,
        ),
        costs=tuple(
            measure_cost_contrast(results, found, rows, noisy, pair, radius, estimand)
            for pair in listed
        ),
        dominances=tuple(
            measure_dominance(found, choice, noisy.means, noisy.drawn, pair, results.clean_margin)
            for pair in listed
        ),
    )


def all_pairs(results: Results, present: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """List every two methods with results once: the primary pair, those compared, the others."""
    listed = compared_pairs(results, present)
    named = {frozenset(pair) for pair in listed}
    others = (p for p in combinations(present, 2) if frozenset(p) not in named)
    return (*listed, *others)


def compared_pairs(results: Results, present: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """List the pairs that a study compares among the methods present, the primary pair first."""
    pairs, chief = compared(results, tuple(present)), primary_pair(results, tuple(present))
    if chief is None:
        return pairs
    return (chief, *(pair for pair in pairs if set(pair) != set(chief)))


def noisy_at(results: Results, replicates: Replicates, radius: float, estimand: Estimand) -> Noisy:
    """Return the accuracies of all configurations at one radius, with their replicates."""
    means, drawn = points_at(results, replicates, radius, estimand)
    is_shrunk = replicates.lifted(estimand) is not replicates.of(estimand)
    lifted = lifted_at(results, replicates, radius, estimand) if is_shrunk else drawn
    return Noisy(means=means, drawn=drawn, lifted=lifted)


def _contrasts(
    pairs: Sequence[tuple[str, str]],
    rows: Rows,
    areas: Areas,
    matched: Mapping[tuple[str, str], Matched],
    radius: float,
    estimand: Estimand,
    chief: tuple[str, str] | None,
) -> tuple[Contrast, ...]:
    """Compare every pair; areas: of the methods of `rows`."""
    if not pairs:
        return ()
    names = list(rows)
    first, second = (areas.columns([names.index(pair[at]) for pair in pairs]) for at in (0, 1))
    gaps = first - second
    together = gaps.together()
    return tuple(
        Contrast(
            first=one,
            second=other,
            radius=radius,
            estimand=estimand,
            difference=difference,
            adjusted_low=low,
            adjusted_high=high,
            lift=lift,
            primary=(one, other) == chief,
            matched=matched.get((one, other)),
        )
        for (one, other), difference, low, high, lift in zip(
            pairs,
            gaps.intervals(),
            together.low.tolist(),
            together.high.tolist(),
            (gaps.lifted.mean(axis=0) - gaps.estimates).tolist(),
            strict=True,
        )
    )


def _matched(
    results: Results, pairs: Sequence[tuple[str, str]], rows: Rows, noisy: Noisy
) -> dict[tuple[str, str], Matched]:
    """Compare the pairs with unequal numbers of configurations at equal numbers."""
    unequal = [pair for pair in pairs if len(rows[pair[0]]) != len(rows[pair[1]])]
    if not unequal:
        return {}
    kept = [matched_rows(rows[one], rows[other], noisy.means) for one, other in unequal]
    first, second = (noisy.areas([both[at] for both in kept], results.clean_floor) for at in (0, 1))
    gaps = first - second
    together = gaps.together()
    found = {}
    for at, (pair, difference) in enumerate(zip(unequal, gaps.intervals(), strict=True)):
        larger = 0 if len(rows[pair[0]]) > len(rows[pair[1]]) else 1
        found[pair] = Matched(
            method=pair[larger],
            rows=kept[at][larger],
            of=len(rows[pair[larger]]),
            against=len(rows[pair[1 - larger]]),
            difference=difference,
            adjusted_low=float(together.low[at]),
            adjusted_high=float(together.high[at]),
        )
    return found
