"""Effort: what a method attains, by how many of its configurations one would have tried.

A method that was tuned more attains more. So methods are compared at equal numbers of tries: what n
configurations attain, expected over all subsets of n that a method's configurations have. The
expectation is exact. At a required clean accuracy c, let the robust accuracies of the
configurations that are at least so clean be r₁ ≥ r₂ ≥ …; the best of n tries is rⱼ with probability
C(N - j, n - 1)/C(N, n), as the others are drawn from the N - j that are no better. So the expected
area is the sum over j of this probability times the area below rⱼ(c), which is found once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb

import numpy as np

from analysis.fronts.areas import Areas, Noisy
from analysis.fronts.contrasts import UNEQUAL
from analysis.inference.claims import Estimand, Interval
from analysis.results.results import Results
from analysis.results.trials import Array

LEAST_CONFIGURATIONS = 4
"""Both methods need so many for a comparison by tries."""
MOST_POINTS = 16
"""At most so many numbers of tries are compared: all the first ones, then ever fewer."""
CHUNK = 250
"""Replicates whose layers are found at a time: few enough for a processor's cache."""


@dataclass(frozen=True, kw_only=True)
class EffortPoint:
    """Two methods after as many tries each."""

    tries: int
    first: Interval
    """What each method attains on average over required clean accuracies, expected over subsets."""
    second: Interval
    difference: Interval
    """first - second, not adjusted."""
    adjusted_low: float
    """Ends of the difference that hold for all numbers of tries of the pair together."""
    adjusted_high: float
    ahead: int
    """1 if the first is surely ahead, -1 if the second is, 0 if neither."""


@dataclass(frozen=True, kw_only=True)
class EffortContrast:
    """Two methods by the number of configurations tried."""

    first: str
    second: str
    radius: float
    estimand: Estimand
    configurations: tuple[int, int]
    """How many each method has."""
    attained: tuple[float, float]
    """What each method attains with all of them."""
    points: tuple[EffortPoint, ...]
    """By rising number of tries, up to the smaller number of configurations."""

    @property
    def is_unequal(self) -> bool:
        """Return whether one method was tuned so much more that it matters."""
        return max(self.configurations) >= UNEQUAL * min(self.configurations)


def measure_effort(
    results: Results,
    rows: Mapping[str, Sequence[int]],
    pairs: Sequence[tuple[str, str]],
    noisy: Noisy,
    radius: float,
    estimand: Estimand,
) -> tuple[EffortContrast, ...]:
    """Compare pairs by the number of tries; rows: all configurations of each method, also of one
    whose front was chosen on validation. Pairs with few configurations are left out.
    """
    pairs = [p for p in pairs if min(len(rows[name]) for name in p) >= LEAST_CONFIGURATIONS]
    layers = {
        name: _layers(noisy, rows[name], results.clean_floor)
        for name in dict.fromkeys(name for pair in pairs for name in pair)
    }
    return tuple(
        EffortContrast(
            first=first,
            second=second,
            radius=radius,
            estimand=estimand,
            configurations=(len(rows[first]), len(rows[second])),
            # The best of all is the first layer.
            attained=(float(layers[first].estimates[0]), float(layers[second].estimates[0])),
            points=_points(layers[first], layers[second]),
        )
        for first, second in pairs
    )


def _points(first: Areas, second: Areas) -> tuple[EffortPoint, ...]:
    """Compare at each number of tries; first, second: the layers of each method."""
    sizes = first.estimates.shape[-1], second.estimates.shape[-1]
    tries = chosen_tries(min(sizes))
    both = [
        _expected(one, subset_weights(size, tries))
        for one, size in zip((first, second), sizes, strict=True)
    ]
    gaps = [both[0] - both[1]]
    if sizes[0] != sizes[1]:
        # Subsets of a small grid are more even than those of a finer one, which favours it, and
        # repeated tries favour the finer one. A method is ahead where it is in both ways.
        again = [
            _expected(one, repeated_weights(size, tries))
            for one, size in zip((first, second), sizes, strict=True)
        ]
        gaps.append(again[0] - again[1])
    together = _beside(gaps).together()
    lows, highs = (ends.reshape(len(gaps), -1) for ends in (together.low, together.high))
    sides = [
        int(np.all(low > 0)) - int(np.all(high < 0))
        for low, high in zip(lows.T, highs.T, strict=True)
    ]
    if sizes[0] != sizes[1]:
        sides = kept_to_the_end(sides)
    columns = both[0].attainable(), both[1].attainable(), gaps[0].intervals()
    return tuple(
        EffortPoint(
            tries=number,
            first=columns[0][at],
            second=columns[1][at],
            difference=columns[2][at],
            adjusted_low=float(lows[0, at]),
            adjusted_high=float(highs[0, at]),
            ahead=sides[at],
        )
        for at, number in enumerate(tries)
    )


def kept_to_the_end(sides: Sequence[int]) -> list[int]:
    """Keep a lead only from where on it lasts up to the greatest number of tries.

    With a single try, a coarse grid on the same curve differs from a finer one, as its ends count
    for more. Such a lead says nothing about the methods.

    >>> kept_to_the_end([1, 1, 0, 0]), kept_to_the_end([1, 0, -1, -1])
    ([0, 0, 0, 0], [0, 0, -1, -1])
    """
    start = max((at for at, side in enumerate(sides) if side != sides[-1]), default=-1) + 1
    return [0] * start + list(sides[start:])


def chosen_tries(most: int) -> tuple[int, ...]:
    """Choose numbers of tries up to `most`: all of them, or ever fewer if they are many.

    >>> chosen_tries(4)
    (1, 2, 3, 4)
    >>> chosen_tries(200)
    (1, 2, 3, 4, 6, 8, 12, 17, 24, 34, 49, 69, 99, 140, 200)
    """
    if most <= MOST_POINTS:
        return tuple(range(1, most + 1))
    spread = np.geomspace(1, most, MOST_POINTS)
    return tuple(dict.fromkeys(round(one) for one in spread.tolist()))


def subset_weights(size: int, tries: Sequence[int]) -> Array:
    """Return the probability that the j-th best of `size` is the best of n tries, all different.

    Returns (T, N), j from 1. With fewer tries than worse ones left it is 0.

    >>> subset_weights(3, [1, 2])
    array([[0.33333333, 0.33333333, 0.33333333],
           [0.66666667, 0.33333333, 0.        ]])
    """
    rows = [[comb(size - j, n - 1) / comb(size, n) for j in range(1, size + 1)] for n in tries]
    return np.array(rows, dtype=np.float64)


def repeated_weights(size: int, tries: Sequence[int]) -> Array:
    """Return the same if a configuration may be tried again.

    >>> repeated_weights(2, [1, 2])
    array([[0.5 , 0.5 ],
           [0.75, 0.25]])
    """
    left = np.arange(size, -1, -1) / size
    rows = [left[:-1] ** n - left[1:] ** n for n in tries]
    return np.array(rows, dtype=np.float64)


def layer_areas(points: Array, floor: float) -> Array:
    """Return the areas below the staircases of the best, the second best … configuration.

    Layer j is the average over required clean accuracies from `floor` to 1 of the j-th largest
    robust accuracy among the points that are so clean, 0 where there are fewer than j; layer 1 is
    the mean attainable robust accuracy. points: (B, N, 2); returns (B, N).

    >>> layer_areas(np.array([[[0.9, 0.3], [0.8, 0.5]]]), 0.5).round(3)
    array([[0.36, 0.18]])
    """
    chunks = [
        _layers_of(some, floor) for some in np.split(points, range(CHUNK, len(points), CHUNK))
    ]
    return np.concatenate(chunks) / (1.0 - floor)


def _layers_of(points: Array, floor: float) -> Array:
    above = np.maximum(points - np.array([floor, 0.0]), 0.0)
    order = np.argsort(-above[..., 0], axis=-1, kind="stable")
    clean, robust = (np.take_along_axis(above[..., at], order, axis=-1).T.copy() for at in (0, 1))
    widths = clean - np.vstack([clean[1:], np.zeros((1, clean.shape[1]))])
    best, areas = np.zeros(clean.shape), np.zeros(clean.shape)
    for number, (entering, width) in enumerate(zip(robust, widths, strict=True)):
        # Sorted insertion: a place keeps what it has, takes the new one, or what was above it.
        kept = np.maximum(best[: number + 1], entering)
        kept[1:] = np.minimum(kept[1:], best[:number])
        best[: number + 1] = kept
        areas[: number + 1] += width * kept
    found: Array = areas.T
    return found


def _layers(noisy: Noisy, rows: Sequence[int], floor: float) -> Areas:
    own = list(rows)
    drawn = layer_areas(noisy.drawn[:, own], floor)
    return Areas(
        estimates=layer_areas(noisy.means[np.newaxis, own], floor)[0],
        drawn=drawn,
        lifted=drawn if noisy.lifted is noisy.drawn else layer_areas(noisy.lifted[:, own], floor),
    )


def _expected(layers: Areas, weights: Array) -> Areas:
    drawn = layers.drawn @ weights.T
    return Areas(
        estimates=weights @ layers.estimates,
        drawn=drawn,
        lifted=drawn if layers.lifted is layers.drawn else layers.lifted @ weights.T,
    )


def _beside(areas: Sequence[Areas]) -> Areas:
    return Areas(
        estimates=np.concatenate([one.estimates for one in areas]),
        drawn=np.column_stack([one.drawn for one in areas]),
        lifted=np.column_stack([one.lifted for one in areas]),
    )
