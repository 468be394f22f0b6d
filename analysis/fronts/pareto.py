"""Fronts without a formula: dominance, attainment and hypervolume.

All objectives are maximised. A point is (clean accuracy, robust accuracy) where two are asked for.
"""

import math
from bisect import bisect_left, insort
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from analysis.results.trials import Array


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
    """Return whether `first` is no worse than `second` in every objective and better in one.

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
    """Return the best robust accuracy among the points that are at least this clean.

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
    """Average the attained robust accuracy over required clean accuracies from `clean_floor` to 1.

    It is the hypervolume above (clean_floor, 0), divided by 1 - clean_floor: a fraction.
    points: (..., N, 2); returns (...).

    >>> print(mean_attainable_robustness(np.array([[0.9, 0.5]]), 0.5))
    0.4
    """
    reference = np.array([clean_floor, 0.0])
    mean: Array = hypervolume(points, reference) / (1.0 - clean_floor)
    return mean


def on_front(replicates: Array) -> NDArray[np.bool_]:
    """Mark, in each replicate, the points that no other point of it dominates.

    The same as `nondominated` of each replicate, for two objectives: sorted by falling clean
    accuracy, a point stays if it is above all that are cleaner, and no lower than those as clean.
    replicates: (..., N, 2), finite; returns (..., N).

    >>> on_front(np.array([[[0.9, 0.3], [0.8, 0.5], [0.8, 0.4]]]))
    array([[ True,  True, False]])
    """
    clean, robust = comparable(replicates[..., 0]), comparable(replicates[..., 1])
    order = np.lexsort((-robust, -clean), axis=-1)
    by_clean = np.take_along_axis(clean, order, axis=-1)
    by_robust = np.take_along_axis(robust, order, axis=-1)
    # Where the run of equally clean points starts that a point belongs to.
    start = np.zeros(order.shape, dtype=np.intp)
    start[..., 1:] = np.where(np.diff(by_clean) != 0, np.arange(1, order.shape[-1]), 0)
    start = np.maximum.accumulate(start, axis=-1)
    cleaner = np.full(order.shape, -np.inf)
    cleaner[..., 1:] = np.maximum.accumulate(by_robust, axis=-1)[..., :-1]
    above = by_robust > np.take_along_axis(cleaner, start, axis=-1)
    kept = above & (by_robust == np.take_along_axis(by_robust, start, axis=-1))
    marked = np.empty(order.shape, dtype=np.bool_)
    np.put_along_axis(marked, order, kept, axis=-1)
    return marked


def dominance_shares(first: Array, second: Array) -> Array:
    """Compute P(i ≻ j): the share of replicates in which a first point dominates a second one.

    first: (B, F, 2), second: (B, S, 2), replicates of both drawn together; returns (F, S).

    >>> first = np.array([[[0.9, 0.5]], [[0.7, 0.5]]])
    >>> dominance_shares(first, np.array([[[0.8, 0.4]], [[0.8, 0.4]]]))
    array([[0.5]])
    """
    one, other = (np.ascontiguousarray(comparable(p).transpose(2, 1, 0)) for p in (first, second))
    shares = np.empty((first.shape[1], second.shape[1]))
    for row in range(first.shape[1]):
        no_worse = (one[0, row] >= other[0]) & (one[1, row] >= other[1])
        better = (one[0, row] > other[0]) | (one[1, row] > other[1])
        shares[row] = np.mean(no_worse & better, axis=-1)
    return shares


def attainment_surfaces(replicates: Array, shares: Sequence[float], clean: Array) -> list[Array]:
    """Find several attainment surfaces at once, at given clean accuracies.

    Equal to `attainment_surface` of each share wherever `clean` holds every clean accuracy that
    occurs; on a coarser grid its heights at the grid are exact and its steps stand at the grid,
    never above the true surface.
    replicates: (B, N, 2); 0 < share <= 1; clean: (G,) rising. Returns, for each share, the corners
    (K, 2) from the clean to the robust end.

    >>> replicates = np.array([[[0.9, 0.1]], [[0.8, 0.3]], [[0.7, 0.5]]])
    >>> attainment_surfaces(replicates, [0.5], np.array([0.7, 0.8, 0.9]))[0]
    array([[0.8, 0.1],
           [0.7, 0.3]])
    """
    count = len(replicates)
    heights = _staircases(replicates, clean, -np.inf)
    ranks = [count - math.ceil(round(share * count, 9)) for share in shares]
    if heights.size == 0:
        return [np.empty((0, 2)) for _ in shares]
    heights = np.partition(heights, sorted(set(ranks)), axis=1)
    return [corners(clean, heights[::-1, rank]) for rank in ranks]


def mean_attained(replicates: Array, clean: Array) -> Array:
    """Return the mean over replicates of what `attained` gives; clean: (G,) rising.

    >>> mean_attained(np.array([[[0.9, 0.1]], [[0.8, 0.3]]]), np.array([0.8, 0.9]))
    array([0.2 , 0.05])
    """
    mean: Array = _staircases(replicates, clean, 0.0)[::-1].mean(axis=1)
    return mean


def _staircases(replicates: Array, clean: Array, nothing: float) -> Array:
    """Return the staircase of each replicate by falling clean accuracy (G, B)."""
    count = len(replicates)
    heights = np.full((len(clean), count), nothing)
    # A point helps at each grid value up to the last that does not exceed its clean accuracy.
    reach = np.searchsorted(clean, replicates[..., 0], side="right") - 1
    owner = np.broadcast_to(np.arange(count)[:, np.newaxis], reach.shape)
    helps = reach >= 0
    np.maximum.at(heights, (reach[helps], owner[helps]), replicates[..., 1][helps])
    staircases: Array = np.maximum.accumulate(heights[::-1], axis=0)
    return staircases


def corners(clean: Array, heights: Array) -> Array:
    """Keep the points where a surface rises, from its clean to its robust end.

    clean: (G,) rising; heights: (G,) at these; returns (K, 2).
    """
    falling_clean, rising = clean[::-1], heights[::-1]
    rises = rising > np.concatenate([[-np.inf], rising[:-1]])
    return np.column_stack([falling_clean[rises], rising[rises]])


def concave_hull(points: Array) -> Array:
    """Return the corners of what is reachable by randomising between networks.

    Drawing network A with probability λ gives the average clean accuracy and at least the average
    robust accuracy, as one perturbation must fool the mixture; so each point on a chord of two
    networks can be reached, and the concave hull of all.
    points: (N, 2); returns (K, 2), from the clean end to the robust end.
    Andrew (1979), Inf. Process. Lett. 9(5), the upper hull.

    >>> concave_hull(np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.5], [0.6, 0.4]]))
    array([[0.9, 0.1],
           [0.7, 0.5]])
    """
    kept = points[nondominated(points)]
    hull: list[tuple[float, float]] = []
    for clean, robust in sorted({(-float(c), float(r)) for c, r in kept}):
        while len(hull) > 1:
            (c0, r0), (c1, r1) = hull[-2:]
            # Points on a chord are no corners, up to rounding.
            if (r1 - r0) * (clean - c1) > (robust - r1) * (c1 - c0) + 1e-12:
                break
            hull.pop()
        hull.append((clean, robust))
    return np.array([(-c, r) for c, r in hull], dtype=np.float64).reshape(-1, 2)
