"""Dominance: which configurations of one method are better in both accuracies than another's."""

from dataclasses import dataclass

import numpy as np

from analysis.choice import Choice
from analysis.claims import LEVEL, Interval
from analysis.configurations import ConfigurationResult
from analysis.front import dominance_shares
from analysis.results import Array

CHUNK = 16_000_000
"""Differences that are held in memory at a time."""


@dataclass(frozen=True, kw_only=True)
class Dominance:
    """One configuration against another: first - second, in both accuracies."""

    first: int
    """Rows of `configurations(results)`."""
    second: int
    share: float
    """P(first ≻ second): the share of replicates in which the first dominates."""
    reverse: float
    """P(second ≻ first)."""
    clean: Interval
    """Difference of clean accuracies, its interval adjusted over all pairs of the two methods;"""
    robust: Interval
    """that of robust accuracies."""
    claimed: bool
    """True if both adjusted intervals lie above 0."""


@dataclass(frozen=True, kw_only=True)
class MethodDominance:
    """The configurations of one method against those of another."""

    first: str
    second: str
    best: Dominance | None
    """The most robust configuration of each, as chosen; None where one has none."""
    each: tuple[Dominance, ...]
    """For each configuration of the second method, the one of the first that comes closest to
    dominating it: a claimed one if there is one, else that of the greatest P."""
    pairs: int
    """Pairs of configurations over which intervals are adjusted (max-T): 2 differences each."""
    factor: float
    """By which standard errors are multiplied; 0.0 without any noise, which supports no claim."""


def measure_dominance(
    found: tuple[ConfigurationResult, ...],
    choice: Choice,
    means: Array,
    drawn: Array,
    methods: tuple[str, str],
) -> MethodDominance:
    """Compare every configuration of the first method with every one of the second.

    means: (N, 2); drawn: (B, N, 2); both methods have configurations. Intervals are max-T adjusted
    over all pairs and both accuracies, so that the closest pair may be picked after looking.
    """
    rows = [[row for row, c in enumerate(found) if c.method == name] for name in methods]
    first, second = drawn[:, rows[0]], drawn[:, rows[1]]
    estimates = means[rows[0]][:, np.newaxis] - means[rows[1]]
    factor, half = _half_widths(first, second, estimates)
    shares, reverse = dominance_shares(first, second), dominance_shares(second, first).T
    claimed = np.all((estimates - half > 0) & (half > 0), axis=-1)

    def pair(i: int, j: int) -> Dominance:
        clean, robust = (
            Interval(
                estimate=float(estimates[i, j, at]),
                low=float(estimates[i, j, at] - half[i, j, at]),
                high=float(estimates[i, j, at] + half[i, j, at]),
            )
            for at in (0, 1)
        )
        return Dominance(
            first=rows[0][i],
            second=rows[1][j],
            share=float(shares[i, j]),
            reverse=float(reverse[i, j]),
            clean=clean,
            robust=robust,
            claimed=bool(claimed[i, j]),
        )

    closest = _closest(claimed, shares, estimates, half)
    best = [_best_row(found, choice, name) for name in methods]
    return MethodDominance(
        first=methods[0],
        second=methods[1],
        best=None
        if best[0] is None or best[1] is None
        else pair(rows[0].index(best[0]), rows[1].index(best[1])),
        each=tuple(pair(i, j) for j, i in enumerate(closest)),
        pairs=estimates.shape[0] * estimates.shape[1],
        factor=factor,
    )


def _closest(claimed: Array, shares: Array, estimates: Array, half: Array) -> list[int]:
    """Give the first row (by j) that is claimed, then likeliest, then furthest above 0."""
    depth = np.min(estimates / np.where(half > 0, half, 1.0), axis=-1)
    order = np.lexsort((depth, shares, claimed), axis=0)
    return [int(row) for row in order[-1]]


def _half_widths(first: Array, second: Array, estimates: Array) -> tuple[float, Array]:
    """Give q and q · se (F, S, 2): the same as `sup_t` of all differences, a few at a time."""
    count = len(first)
    errors = np.empty(estimates.shape)
    farthest = np.zeros(count)
    step = max(CHUNK // (2 * count * max(second.shape[1], 1)), 1)
    for start in range(0, first.shape[1], step):
        some = slice(start, start + step)
        off = first[:, some, np.newaxis] - second[:, np.newaxis]
        errors[some] = off.std(axis=0, ddof=1)
        # A spread of equal numbers is rounding, not zero.
        errors[some][errors[some] < 1e-12] = 0.0
        moving = errors[some] > 0
        scale = np.where(moving, errors[some], 1.0)
        distance = np.abs(off - estimates[some]) / scale * moving
        np.maximum(farthest, distance.max(axis=(1, 2, 3), initial=0.0), out=farthest)
    factor = float(np.quantile(farthest, LEVEL))
    return factor, factor * errors


def _best_row(found: tuple[ConfigurationResult, ...], choice: Choice, method: str) -> int | None:
    best = next(front.best for front in choice.fronts if front.note.name == method)
    return None if best is None else [c.key for c in found].index(best.key)
