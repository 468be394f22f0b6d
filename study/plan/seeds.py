"""The race of seeds: which configurations need a further seed, by their chance to be on a front.

Each configuration has one seed first. Further ones are spent where it is undecided whether it
belongs to its method's front, most undecided first, and then on those that surely do, as claims
compare these. A configuration that is dominated almost surely is spared its further seeds.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.fronts.pareto import on_front
from analysis.inference.bootstrap import residual_scales
from analysis.results.trials import Array

Pair = tuple[float, float]
"""Clean and robust accuracy on validation, of one seed."""

OUT, SURE = 0.05, 0.95
"""Chances to be on the front between which it is undecided."""
COUNT = 400
"""Replicates: a chance of 5 % has a standard error of 1 %."""
GROUPS = (0.5, 0.8, 0.95)
"""Where replicates are divided, sorted by how long their tails are."""
APART = 10.0
"""Far more than accuracies differ."""


def front_chances(
    rows: Sequence[Sequence[Pair]], methods: Sequence[str], count: int = COUNT
) -> Array:
    """Compute P(on its method's front) of each configuration, on validation.

    Replicate b of configuration i is m_i + s_i ∘ t_b L z_bi / √k_i: its mean over k_i seeds, and
    noise of the residuals' covariance L Lᵀ, pooled over all configurations of the study and scaled
    by s_i as in `analysis.inference.bootstrap`. Normal z are drawn, not the residuals themselves,
    which are too few at the start of a race; t_b = √(ν/χ²_ν), the same for all i, says how little ν
    degrees of freedom know. Without residuals there is no noise, and chances are 0 or 1.
    rows: N configurations, each with its seeds' accuracies, at least one; returns (N,). The result
    depends on no order of the rows.

    >>> print(front_chances([[(0.9, 0.3)], [(0.8, 0.5)], [(0.8, 0.4)]], ["at"] * 3))
    [1. 1. 0.]
    """
    # Rows are drawn for in the order of their values, so that a relaunch draws the same.
    order = sorted(range(len(rows)), key=lambda row: (methods[row], *rows[row]))
    seeds = np.array([len(rows[row]) for row in order])
    pairs = [list(zip(*rows[row], strict=True)) for row in order]
    means = np.array([(fmean(clean), fmean(robust)) for clean, robust in pairs]).reshape(-1, 2)
    scales = residual_scales(means)
    root = _noise_root([rows[row] for row in order], means, scales)
    # Methods are moved so far apart that none dominates another's configurations.
    places = {name: place for place, name in enumerate(sorted(set(methods)))}
    moved = [(APART * places[methods[row]], -APART * places[methods[row]]) for row in order]
    means = means + np.array(moved).reshape(-1, 2)
    chances = np.empty(len(rows))
    chances[order] = _shares_on_front(
        means, scales / np.sqrt(seeds)[:, np.newaxis], root, seeds, count
    )
    return chances


def _shares_on_front(
    means: Array, scales: Array, root: Array, seeds: NDArray[np.int_], count: int
) -> Array:
    """Draw replicates, and return the share of them in which each configuration is on the front.

    Most configurations of a search are dominated whatever the noise: by the longest draw, a bound
    tells which. Replicates with long tails have wide bounds, so they are a group of their own.
    means, scales: (N, 2); root: (2, 2), the L of `front_chances`; seeds: (N,); returns (N,).
    """
    freedom = int((seeds - 1).sum())
    if freedom == 0:
        return on_front(means).astype(np.float64)
    normals, lengths, state = _normals(count, len(means))
    rng = np.random.default_rng(0)
    rng.bit_generator.state = state
    tails = np.sqrt(freedom / rng.chisquare(freedom, size=count))
    # Where both objectives have noise no two are equal, and a sort by one of them is enough.
    mark = _above_cleaner if root.any(axis=1).all() else on_front
    most = scales * np.linalg.norm(root, axis=1) * lengths[:, np.newaxis]
    on_it = np.zeros(len(means))
    for group in np.split(np.argsort(tails), [int(share * count) for share in GROUPS]):
        reach = tails[group].max(initial=0.0) * most
        kept = np.flatnonzero(_may_be_on_front(means - reach, means + reach))
        noise = (normals[np.ix_(group, kept)] @ root.T) * tails[group, np.newaxis, np.newaxis]
        on_it[kept] += mark(means[kept] + scales[kept] * noise).sum(axis=0)
    shares: Array = on_it / count
    return shares


def _may_be_on_front(low: Array, high: Array) -> NDArray[np.bool_]:
    """Mark the points that none of the others is sure to dominate, by bounds of all (N, 2)."""
    low = low[np.argsort(low[:, 0])]
    # The most robust of all that are cleaner, for each number of those that are not.
    robust = np.append(np.maximum.accumulate(low[::-1, 1])[::-1], -np.inf)
    place = np.searchsorted(low[:, 0], high[:, 0], side="right")
    kept: NDArray[np.bool_] = robust[place] <= high[:, 1]
    return kept


def _above_cleaner(replicates: Array) -> NDArray[np.bool_]:
    """Return what `on_front` does, in a fifth of its time, if no two accuracies are equal."""
    order = np.argsort(-replicates[..., 0], axis=-1)
    robust = np.take_along_axis(replicates[..., 1], order, axis=-1)
    kept = np.ones(robust.shape, dtype=np.bool_)
    kept[..., 1:] = robust[..., 1:] > np.maximum.accumulate(robust, axis=-1)[..., :-1]
    marked = np.empty_like(kept)
    np.put_along_axis(marked, order, kept, axis=-1)
    return marked


def _noise_root(rows: Sequence[Sequence[Pair]], means: Array, scales: Array) -> Array:
    """Compute L (2, 2) from the residuals, divided by the scales, of all configurations."""
    counts = [len(row) for row in rows]
    freedom = sum(counts) - len(rows)
    if freedom == 0:
        return np.zeros((2, 2))
    owner = np.repeat(np.arange(len(rows)), counts)
    every = np.array([pair for row in rows for pair in row])
    residuals = (every - means[owner]) / scales[owner]
    covariance = residuals.T @ residuals / freedom
    # Of a matrix of rank one, too, as after the second seed of a race.
    values, vectors = np.linalg.eigh(covariance)
    root: Array = vectors * np.sqrt(np.maximum(values, 0.0))
    return root


@lru_cache(maxsize=1)
def _normals(count: int, number: int) -> tuple[Array, Array, Mapping[str, Any]]:
    """Draw normal pairs (B, N, 2); return them, the longest of each row, and the generator's state.

    A race asks again after every seed, and until the next suggestion N stays.
    """
    rng = np.random.default_rng(0)
    drawn = rng.standard_normal((count, number, 2))
    drawn.flags.writeable = False
    # Rounding must not make a bound too tight.
    lengths = (1 + 1e-9) * np.linalg.norm(drawn, axis=-1).max(axis=0)
    return drawn, lengths, rng.bit_generator.state


def wanted(
    rows: Sequence[Sequence[Pair]], methods: Sequence[str], left: Sequence[int]
) -> list[int]:
    """Return the configurations that want a further seed, the most urgent first.

    These are the undecided ones, most undecided first, then those that are surely on a front.
    `left`: the number of seeds that each of them can still have. An empty list ends the race.
    """
    if not any(left):
        return []
    chances = front_chances(rows, methods)
    undecided = [row for row, chance in enumerate(chances) if left[row] and OUT < chance < SURE]
    sure = [row for row, chance in enumerate(chances) if left[row] and chance >= SURE]
    undecided.sort(key=lambda row: (abs(chances[row] - 0.5), len(rows[row])))
    return [*undecided, *sorted(sure, key=lambda row: len(rows[row]))]
