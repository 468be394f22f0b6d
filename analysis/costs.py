"""Costs: methods against each other with only the configurations that a budget pays for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.claims import Estimand, Interval
from analysis.configurations import ConfigurationResult
from analysis.front import mean_attainable_robustness
from analysis.fronts import area_intervals, area_lifts, attainable_intervals
from analysis.results import Array, Results
from analysis.simultaneous import sup_t

MOST_BUDGETS = 8
"""So many training costs are compared at most, spread over those that occur."""


@dataclass(frozen=True, kw_only=True)
class CostPoint:
    """Two methods, each with only the configurations that cost at most a budget to train."""

    budget: float
    """In forward passes per training sample and epoch."""
    first_rows: tuple[int, ...]
    """Configurations that cost at most this much, of each method."""
    second_rows: tuple[int, ...]
    first: Interval
    """Mean attainable robust accuracy of each,"""
    second: Interval
    difference: Interval
    """and first - second, not adjusted;"""
    adjusted_low: float
    """ends that hold for all budgets of the pair together."""
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
    means: Array,
    drawn: Array,
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
        points = _cost_points(results, affordable, means, drawn)
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
    """Give the training cost of each row, the mean over its seeds; None if one is unknown."""
    costs = []
    for row in rows:
        known = [trial.cost for trial in found[row].trials if trial.cost is not None]
        if not known:
            return None
        costs.append(round(sum(known) / len(known), 9))
    return tuple(costs)


def _cost_points(
    results: Results, costs: Sequence[Mapping[int, float]], means: Array, drawn: Array
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
    floor = results.clean_floor
    estimates = np.array(
        [[mean_attainable_robustness(means[own], floor) for own in both] for both in within]
    )
    areas = np.array(
        [[mean_attainable_robustness(drawn[:, own], floor) for own in both] for both in within]
    ).transpose(2, 0, 1)
    gaps, gaps_drawn = estimates[:, 0] - estimates[:, 1], areas[:, :, 0] - areas[:, :, 1]
    together = sup_t(gaps, gaps_drawn)
    downwards, upwards = area_lifts(gaps, gaps_drawn)
    columns = (
        attainable_intervals(estimates[:, 0], areas[:, :, 0]),
        attainable_intervals(estimates[:, 1], areas[:, :, 1]),
        area_intervals(gaps, gaps_drawn),
    )
    return tuple(
        CostPoint(
            budget=budget,
            first_rows=tuple(both[0]),
            second_rows=tuple(both[1]),
            first=columns[0][at],
            second=columns[1][at],
            difference=columns[2][at],
            adjusted_low=float(together.low[at] - downwards[at]),
            adjusted_high=float(together.high[at] + upwards[at]),
        )
        for at, (budget, both) in enumerate(zip(budgets, within, strict=True))
    )
