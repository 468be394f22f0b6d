"""Dominance: which configurations of one method are better in both accuracies than another's."""

from dataclasses import dataclass

import numpy as np

from analysis.fronts.choice import Choice
from analysis.fronts.pareto import dominance_shares
from analysis.inference.claims import LEVEL, Interval
from analysis.results.configurations import ConfigurationResult
from analysis.results.trials import Array

CHUNK = 32
"""Configurations whose differences are held at a time: few enough for a processor's cache."""


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
    shares = dominance_shares(first, second)
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
            reverse=float(dominance_shares(second[:, [j]], first[:, [i]])[0, 0]),
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
    """Return the first row (by j) that is claimed, then likeliest, then furthest above 0."""
    depth = np.min(estimates / np.where(half > 0, half, 1.0), axis=-1)
    order = np.lexsort((depth, shares, claimed), axis=0)
    return [int(row) for row in order[-1]]


def _half_widths(first: Array, second: Array, estimates: Array) -> tuple[float, Array]:
    """Return q and q · se (F, S, 2): the same as `sup_t` of all differences, a few at a time."""
    # Deviations from each row's mean over replicates, (2, rows, B).
    one, other = (np.array(p.transpose(2, 1, 0), order="C") for p in (first, second))
    centres = one.mean(axis=-1), other.mean(axis=-1)
    one -= centres[0][..., np.newaxis]
    other -= centres[1][..., np.newaxis]
    count = one.shape[-1]
    squares = np.sum(one**2, axis=-1)[:, :, np.newaxis] + np.sum(other**2, axis=-1)[:, np.newaxis]
    variances = (squares - 2 * one @ other.transpose(0, 2, 1)) / (count - 1)
    # A spread of equal numbers is rounding, not zero.
    errors = np.sqrt(np.where(variances > 1e-18, variances, 0.0))
    scales = np.divide(1.0, errors, out=np.zeros_like(errors), where=errors > 0)
    offsets = (
        centres[0][:, :, np.newaxis] - centres[1][:, np.newaxis] - estimates.transpose(2, 0, 1)
    )
    farthest = np.zeros(count)
    for accuracy, row in np.ndindex(one.shape[:2]):
        for start in range(0, other.shape[1], CHUNK):
            some = slice(start, start + CHUNK)
            distance = one[accuracy, row] - other[accuracy, some]
            distance += offsets[accuracy, row, some, np.newaxis]
            distance *= scales[accuracy, row, some, np.newaxis]
            np.abs(distance, out=distance)
            np.maximum(farthest, distance.max(axis=0), out=farthest)
    factor = float(np.quantile(farthest, LEVEL))
    return factor, factor * errors.transpose(1, 2, 0)


def _best_row(found: tuple[ConfigurationResult, ...], choice: Choice, method: str) -> int | None:
    best = next(front.best for front in choice.fronts if front.note.name == method)
    return None if best is None else [c.key for c in found].index(best.key)
