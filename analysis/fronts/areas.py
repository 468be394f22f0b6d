"""Areas: what sets of configurations attain, with intervals that allow for the lift by noise.

An area is the mean attainable robust accuracy, the hypervolume above the clean floor.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.fronts.pareto import mean_attainable_robustness
from analysis.inference.claims import Interval
from analysis.inference.intervals import Simultaneous, intervals, sup_t
from analysis.results.trials import Array


@dataclass(frozen=True, kw_only=True)
class Areas:
    """Mean attainable robust accuracies of K sets of configurations, or their differences."""

    estimates: Array
    """(K,)"""
    drawn: Array
    """(B, K)"""
    lifted: Array
    """(B, K): of the replicates before shrinking, from which the lift is computed."""

    def __sub__(self, other: "Areas") -> "Areas":
        """Return the differences, paired by replicate."""
        return Areas(
            estimates=self.estimates - other.estimates,
            drawn=self.drawn - other.drawn,
            lifted=self.lifted - other.lifted,
        )

    def columns(self, rows: Sequence[int]) -> "Areas":
        """Return some of the K, in this order."""
        at = list(rows)
        return Areas(
            estimates=self.estimates[at], drawn=self.drawn[:, at], lifted=self.lifted[:, at]
        )

    def attainable(self) -> list[Interval]:
        """Return the intervals of accuracies, kept in [0, 1]."""
        return attainable_intervals(self.estimates, self.drawn, self.lifted)

    def intervals(self) -> list[Interval]:
        """Return the intervals of differences, each on its own."""
        return area_intervals(self.estimates, self.drawn, self.lifted)

    def together(self) -> Simultaneous:
        """Return the intervals of differences that hold all at once."""
        found = sup_t(self.estimates, centred(self.estimates, self.drawn))
        downwards, upwards = area_lifts(self.estimates, self.lifted)
        return replace(found, low=found.low - downwards, high=found.high + upwards)


@dataclass(frozen=True, kw_only=True)
class Noisy:
    """Clean and robust accuracies of N configurations at one radius."""

    means: Array
    """(N, 2)"""
    drawn: Array
    """(B, N, 2)"""
    lifted: Array
    """(B, N, 2), before shrinking; the same array where nothing was shrunk."""

    def areas(self, sets: Sequence[Sequence[int]], floor: float) -> Areas:
        """Measure what these sets of rows attain."""

        def stacked(points: Array) -> Array:
            each = [mean_attainable_robustness(points[:, list(rows)], floor) for rows in sets]
            return np.column_stack(each) if each else np.empty((len(points), 0))

        drawn = stacked(self.drawn)
        return Areas(
            estimates=stacked(self.means[np.newaxis])[0],
            drawn=drawn,
            lifted=drawn if self.lifted is self.drawn else stacked(self.lifted),
        )


def matched_rows(
    first: Sequence[int], second: Sequence[int], means: Array
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the rows of both methods with the larger cut to the smaller's places.

    For each configuration of the smaller method the larger keeps the nearest in clean accuracy,
    each once. means: (N, 2).

    >>> matched_rows([0, 1, 2], [3], np.array([[0.9, 0.1], [0.8, 0.3], [0.7, 0.4], [0.81, 0.2]]))
    ((1,), (3,))
    """
    if len(first) < len(second):
        return matched_rows(second, first, means)[::-1]
    larger = list(first)
    nearest = [larger[int(np.abs(means[larger, 0] - means[row, 0]).argmin())] for row in second]
    return tuple(sorted(set(nearest))), tuple(second)


def attainable_intervals(estimates: Array, replicates: Array, lifted: Array) -> list[Interval]:
    """Return `area_intervals` of attainable robust accuracies, kept in [0, 1] as these are."""
    return [
        replace(one, low=min(max(one.low, 0.0), 1.0), high=min(max(one.high, 0.0), 1.0))
        for one in area_intervals(estimates, replicates, lifted)
    ]


def area_intervals(estimates: Array, replicates: Array, lifted: Array) -> list[Interval]:
    """Return intervals of attainable robust accuracies, or of differences of them.

    Percentiles of replicates centred on the estimate, extended against the lift of a maximum by
    noise (`area_lifts`). estimates: (K,); replicates: (B, K); lifted: (B, K), those before
    shrinking.
    """
    if not len(estimates):
        return []
    downwards, upwards = area_lifts(estimates, lifted)
    return [
        Interval(estimate=one.estimate, low=one.low - down, high=one.high + up)
        for one, down, up in zip(
            intervals(estimates, centred(estimates, replicates)),
            downwards.tolist(),
            upwards.tolist(),
            strict=True,
        )
    ]


def centred(estimates: Array, replicates: Array) -> Array:
    """Move replicates (B, K) such that their means are the estimates (K,)."""
    moved: Array = replicates + (estimates - replicates.mean(axis=0))
    return moved


def area_lifts(estimates: Array, lifted: Array) -> tuple[Array, Array]:
    """Return by how much intervals of areas are extended downwards and upwards, (K,) each.

    A front is a maximum, which noise lifts: replicates lie above the means by about as much as the
    means lie above the truth, and the lift is underestimated, so the extension is twice as much.
    """
    lifts = 2 * (lifted.mean(axis=0) - estimates) if len(estimates) else estimates
    return np.maximum(lifts, 0.0), np.maximum(-lifts, 0.0)
