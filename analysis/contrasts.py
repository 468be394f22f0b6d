"""Contrasts: methods against each other, without a fitted curve.

The hypervolume above (clean floor, 0), divided by 1 - clean floor, is the robust accuracy that a
method attains on average over all clean requirements. One difference of two methods is primary,
named before the data, and its interval is not adjusted; the others are adjusted together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from analysis.bootstrap import Replicates
from analysis.choice import choose
from analysis.claims import Estimand, Interval
from analysis.configurations import ConfigurationResult
from analysis.costs import CostContrast, measure_cost_contrast
from analysis.dominance import MethodDominance, measure_dominance
from analysis.front import mean_attainable_robustness
from analysis.fronts import (
    area_intervals,
    area_lifts,
    attainable_intervals,
    entering,
    points_at,
)
from analysis.pairs import compared, primary_pair
from analysis.results import Array, Results
from analysis.simultaneous import sup_t

Rows = Mapping[str, tuple[int, ...]]
"""The rows of `configurations(results)` that stand for each method."""


@dataclass(frozen=True, kw_only=True)
class Hypervolume:
    """Mean attainable robust accuracy of one method over clean requirements c₀ to 1."""

    method: str
    radius: float
    estimand: Estimand
    rows: tuple[int, ...]
    """Configurations that enter."""
    which: str
    """Said of them: `all its configurations`, `the members chosen on validation`."""
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

    @property
    def ends(self) -> tuple[float, float]:
        """Give the interval that may be claimed: the primary contrast is not adjusted."""
        if self.primary:
            return self.difference.low, self.difference.high
        return self.adjusted_low, self.adjusted_high


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
    """Of the pairs that the study compares."""
    dominances: tuple[MethodDominance, ...]
    """Of the pairs that the study compares."""

    @property
    def primary(self) -> Contrast | None:
        """Give the primary contrast; None at other radii, and with fewer than two methods."""
        return next((contrast for contrast in self.contrasts if contrast.primary), None)


def measure_contrasts(
    results: Results,
    found: tuple[ConfigurationResult, ...],
    replicates: Replicates,
    radius: float,
    estimand: Estimand,
) -> Contrasts:
    """Compare the methods at one radius under one estimand."""
    choice = choose(results)
    entered = entering(results, found, choice)
    rows = {name: own for name, (own, _) in entered.items()}
    means, drawn = points_at(results, replicates, radius, estimand)
    estimates, areas = _areas(results, rows, means, drawn)
    at_objective = radius == results.threat.objective_radius and estimand == replicates.default
    chief = primary_pair(results, tuple(rows))
    values = attainable_intervals(np.array(list(estimates.values())), _stacked(areas))
    listed = _listed(results, tuple(rows), chief)
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
            for (name, (own, which)), value in zip(entered.items(), values, strict=True)
        ),
        contrasts=_contrasts(
            all_pairs(results, tuple(rows)),
            estimates,
            areas,
            radius,
            estimand,
            chief if at_objective else None,
        ),
        costs=tuple(
            measure_cost_contrast(results, found, rows, means, drawn, pair, radius, estimand)
            for pair in listed
        ),
        dominances=tuple(measure_dominance(found, choice, means, drawn, pair) for pair in listed),
    )


def all_pairs(results: Results, present: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """List every two methods with results once: the primary pair, those compared, the others."""
    listed = _listed(results, tuple(present), primary_pair(results, tuple(present)))
    named = {frozenset(pair) for pair in listed}
    others = (p for p in combinations(present, 2) if frozenset(p) not in named)
    return (*listed, *others)


def _listed(
    results: Results, present: tuple[str, ...], chief: tuple[str, str] | None
) -> tuple[tuple[str, str], ...]:
    pairs = compared(results, present)
    if chief is None:
        return pairs
    return (chief, *(pair for pair in pairs if set(pair) != set(chief)))


def _areas(
    results: Results, rows: Rows, means: Array, drawn: Array
) -> tuple[dict[str, float], dict[str, Array]]:
    """Give each method's mean attainable robustness: the estimate and its replicates (B,)."""
    floor = results.clean_floor
    estimates = {
        n: float(mean_attainable_robustness(means[list(r)], floor)) for n, r in rows.items()
    }
    areas = {n: mean_attainable_robustness(drawn[:, list(r)], floor) for n, r in rows.items()}
    return estimates, areas


def _stacked(areas: Mapping[str, Array]) -> Array:
    return np.column_stack(list(areas.values())) if areas else np.empty((0, 0))


def _contrasts(
    pairs: Sequence[tuple[str, str]],
    estimates: Mapping[str, float],
    areas: Mapping[str, Array],
    radius: float,
    estimand: Estimand,
    chief: tuple[str, str] | None,
) -> tuple[Contrast, ...]:
    if not pairs:
        return ()
    differences = np.array([estimates[a] - estimates[b] for a, b in pairs])
    drawn = np.column_stack([areas[a] - areas[b] for a, b in pairs])
    together = sup_t(differences, drawn)
    downwards, upwards = area_lifts(differences, drawn)
    return tuple(
        Contrast(
            first=first,
            second=second,
            radius=radius,
            estimand=estimand,
            difference=difference,
            adjusted_low=low,
            adjusted_high=high,
            lift=lift,
            primary=(first, second) == chief,
        )
        for (first, second), difference, low, high, lift in zip(
            pairs,
            area_intervals(differences, drawn),
            (together.low - downwards).tolist(),
            (together.high + upwards).tolist(),
            (drawn.mean(axis=0) - differences).tolist(),
            strict=True,
        )
    )
