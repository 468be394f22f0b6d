"""Intervals of estimates: percentiles of replicates, one by one or such that all hold together."""

from dataclasses import dataclass

import numpy as np

from analysis.inference.claims import LEVEL, Interval
from analysis.results.trials import Array


def interval(estimate: float, replicates: Array) -> Interval:
    """Return an estimate with the percentile interval of its replicates (B,).

    >>> interval(0.5, np.full(2000, 0.25))
    Interval(estimate=0.5, low=0.25, high=0.25)
    """
    return intervals(np.array([estimate]), np.asarray(replicates)[:, None])[0]


def intervals(estimates: Array, replicates: Array, level: float = LEVEL) -> tuple[Interval, ...]:
    """Return the percentile intervals of K estimates (K,) with replicates (B, K)."""
    if len(estimates) == 0:
        return ()
    tails = 100 * (1 - level) / 2, 100 * (1 + level) / 2
    lows, highs = np.percentile(replicates, tails, axis=0)
    columns = zip(estimates.tolist(), lows.tolist(), highs.tolist(), strict=True)
    return tuple(Interval(estimate=mean, low=low, high=high) for mean, low, high in columns)


@dataclass(frozen=True, kw_only=True)
class Simultaneous:
    """Intervals of K estimates that all cover at once in 95% of cases."""

    low: Array
    """(K,)"""
    high: Array
    """(K,)"""
    factor: float
    """q, by which standard errors are multiplied; 0.0 if no estimate has any noise."""


def sup_t(estimates: Array, replicates: Array, level: float = LEVEL) -> Simultaneous:
    """Widen intervals until all of them hold together: estimate ± q · se.

    se is the standard deviation over replicates, q the `level` quantile over them of the largest
    |replicate - estimate| / se. An estimate whose replicates do not vary has no part in q and
    keeps an interval without width: such a one supports no claim.
    estimates: (K,); replicates: (B, K), B >= 2. Montiel Olea and Plagborg-Møller (2019),
    J. Appl. Econom. 34(1), algorithm 2, with standard deviations in place of quantiles.

    >>> noise = np.random.default_rng(0).standard_normal((20_000, 10))
    >>> round(sup_t(np.zeros(10), noise).factor, 1)
    2.8
    """
    errors = replicates.std(axis=0, ddof=1)
    # A spread of equal numbers is rounding, not zero.
    moving = errors > 1e-12
    if not moving.any():
        return Simultaneous(low=estimates.copy(), high=estimates.copy(), factor=0.0)
    farthest = np.zeros(len(replicates))
    for column in np.flatnonzero(moving):
        distance = np.abs(replicates[:, column] - estimates[column]) / errors[column]
        np.maximum(farthest, distance, out=farthest)
    factor = float(np.quantile(farthest, level))
    half = np.where(moving, factor * errors, 0.0)
    return Simultaneous(low=estimates - half, high=estimates + half, factor=factor)


def balanced(estimates: Array, replicates: Array) -> Simultaneous:
    """Widen intervals until all of them hold together, each with an equal share of the misses.

    As `sup_t`, with ranks of |replicate - estimate| within its column in place of standard errors:
    the half-width of every column is the same quantile of its own distances. A column whose
    replicates sometimes jump has a large standard error, but not a large quantile. `factor` is that
    quantile's level. Beran (1988), J. Am. Stat. Assoc. 83(403), balanced simultaneous sets.

    >>> noise = np.random.default_rng(0).standard_normal((20_000, 10))
    >>> balanced(np.zeros(10), noise).high.round(1)
    array([2.8, 2.8, 2.8, 2.8, 2.8, 2.8, 2.8, 2.8, 2.8, 2.8])
    """
    distances = np.abs(replicates - estimates)
    ordered = np.sort(distances, axis=0)
    # Of equal distances the least rank, so that an estimate without noise has no part.
    ranks = np.column_stack(
        [
            np.searchsorted(column, own, side="left")
            for column, own in zip(ordered.T, distances.T, strict=True)
        ]
    )
    level = int(np.quantile(ranks.max(axis=1), LEVEL, method="higher"))
    half = ordered[min(level, len(ordered) - 1)]
    return Simultaneous(low=estimates - half, high=estimates + half, factor=level / len(ordered))
