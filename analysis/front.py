"""Fronts without a formula: dominance, attainment and hypervolume.

All objectives are maximised. A point is (clean accuracy, robust accuracy) where two are asked for.
"""

import math
from bisect import bisect_left, insort
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from analysis.results import Array


def comparable(values: Array) -> Array:
    """Round to nine decimals, so that means of equal totals are equal numbers.

    Means over seeds of whole counts differ by at least 1e-8 or by rounding alone, which must not
    decide what dominates what.

    >>> bool(0.1 + 0.2 == 0.3), bool(np.diff(comparable(np.array([0.1 + 0.2, 0.3])))[0] == 0.0)
    (False, True)
    """
    rounded: Array = np.round(values, 9)
    return rounded


def dominates(first: Array, second: Array) -> bool:
    """Tell whether `first` is no worse than `second` in every objective and better in one.

    first, second: (M,), maximised. Equal points do not dominate each other.

    >>> dominates(np.array([0.9, 0.5]), np.array([0.9, 0.4]))
    True
    >>> dominates(np.array([0.9, 0.5]), np.array([0.9, 0.5]))
    False
    """
    return bool(np.all(first >= second) and np.any(first > second))


def nondominated(values: Array) -> NDArray[np.bool_]:
    """Mark the rows that no other row dominates.

    All columns are maximised. Equal rows do not dominate each other, so ties are all kept.
    values: (N, M), finite; returns (N,) bool. Kung, Luccio and Preparata (1975), J. ACM 22(4),
    definition of maxima; compared row by row, in N² M steps.

    >>> nondominated(np.array([[0.9, 0.3], [0.8, 0.5], [0.8, 0.4]]))
    array([ True,  True, False])
    """
    kept = np.ones(len(values), dtype=np.bool_)
    for row, value in enumerate(values):
        no_worse = np.all(values >= value, axis=1)
        kept[row] = not np.any(no_worse & np.any(values > value, axis=1))
    return kept


def attained(points: Array, clean: Array) -> Array:
    """Give the best robust accuracy among the points that are at least this clean.

    R(c) = max{r_i : c_i >= c}, and 0 if no point is that clean: the staircase of the points.
    points: (N, 2); clean: (G,); returns (G,).

    >>> attained(np.array([[0.9, 0.1], [0.8, 0.3]]), np.array([0.7, 0.8, 0.9, 0.95]))
    array([0.3, 0.3, 0.1, 0. ])
    """
    allowed = points[:, 0] >= clean[:, np.newaxis]
    best: Array = np.where(allowed, points[:, 1], 0.0).max(axis=1, initial=0.0)
    return best


def attainment_surface(replicates: Sequence[Array], share: float) -> Array:
    """Find the points that at least this share of the replicates attains.

    Replicate b attains (c, r) if one of its points is at least as clean and at least as robust.
    At clean accuracy c the surface is the ⌈share · B⌉-th largest of the B staircases R_b(c), so
    0.5 is the median, a small share the optimistic edge, 1 what every replicate attains.
    replicates: B arrays (N_b, 2), or one (B, N, 2); 0 < share <= 1. Returns the corners (K, 2) of
    the surface from its clean end to its robust end, none if too few replicates have points; read
    it at any clean accuracy with `attained`.
    Fonseca, Guerreiro, López-Ibáñez and Paquete (2011), EMO, LNCS 6576: a sweep over the first
    objective; here the levels of all replicates are kept in order instead of counted.

    >>> replicates = [np.array([[0.9, 0.1]]), np.array([[0.8, 0.3]]), np.array([[0.7, 0.5]])]
    >>> attainment_surface(replicates, 0.5)
    array([[0.8, 0.1],
           [0.7, 0.3]])
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must lie in (0, 1], got {share}")
    # 0.07 · 100 is 7.000000000000001, and its ceiling must still be 7.
    rank = math.ceil(round(share * len(replicates), 9))
    none = -math.inf
    level = [none] * len(replicates)
    sorted_levels = list(level)
    corners: list[tuple[float, float]] = []
    sweep = [(-float(c), float(r), b) for b, points in enumerate(replicates) for c, r in points]
    for falling_clean, robust, b in sorted(sweep):
        if robust <= level[b]:
            continue
        sorted_levels.pop(bisect_left(sorted_levels, level[b]))
        insort(sorted_levels, robust)
        level[b] = robust
        clean, height = -falling_clean, sorted_levels[-rank]
        if corners and corners[-1][0] == clean:
            corners[-1] = clean, height
        elif height > (corners[-1][1] if corners else none):
            corners.append((clean, height))
    return np.array(corners, dtype=np.float64).reshape(-1, 2)


def hypervolume(points: Array, reference: Array) -> Array:
    """Measure the area that the points dominate above the reference point, exactly.

    Sort by falling c, with the running maximum r* of r: HV = Σ (c_l - c₀)(r*_l - r*_(l-1)). Points
    below the reference in either objective count 0.
    points: (..., N, 2); reference: (2,), (c₀, r₀); returns (...), one area for each leading index.
    Zitzler and Thiele (1998), PPSN V, LNCS 1498, for two objectives.

    >>> print(hypervolume(np.array([[0.9, 0.5]]), np.array([0.1, 0.0])))
    0.4
    """
    above = np.maximum(points - reference, 0.0)
    order = np.argsort(-above[..., 0], axis=-1, kind="stable")
    by_clean = np.take_along_axis(above, order[..., np.newaxis], axis=-2)
    heights = np.maximum.accumulate(by_clean[..., 1], axis=-1)
    rises = np.diff(heights, axis=-1, prepend=0.0)
    area: Array = np.sum(by_clean[..., 0] * rises, axis=-1)
    return area


def mean_attainable_robustness(points: Array, clean_floor: float) -> Array:
    """Average the attained robust accuracy over clean requirements from `clean_floor` to 1.

    It is the hypervolume above (clean_floor, 0), divided by 1 - clean_floor: a fraction.
    points: (..., N, 2); returns (...).

    >>> print(mean_attainable_robustness(np.array([[0.9, 0.5]]), 0.5))
    0.4
    """
    reference = np.array([clean_floor, 0.0])
    mean: Array = hypervolume(points, reference) / (1.0 - clean_floor)
    return mean
