"""Dominance: configurations of one method that are better in both accuracies than another's."""

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
    """Difference of clean accuracies, its interval adjusted over all pairs of the two methods."""
    robust: Interval
    """Difference of robust accuracies, adjusted likewise."""
    claimed: bool
    """True if both adjusted lower bounds, each one-sided, lie above 0."""
    clean_low: float | None = None
    """The lower bound of the clean difference: all those of the two methods hold together."""
    robust_low: float | None = None
    """The lower bound of the robust difference, likewise."""


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
    """The factor on standard errors; 0.0 without any noise, which supports no claim."""
    clean_margin: float | None = None
    """The clean accuracy that may be given up, declared before the data; None: not declared."""
    within: tuple[Dominance, ...] = ()
    """For each configuration of the second method, where there is one, that configuration of the
    first that is surely more robust by most and surely costs no more than `clean_margin`."""


def measure_dominance(
    found: tuple[ConfigurationResult, ...],
    choice: Choice,
    means: Array,
    drawn: Array,
    methods: tuple[str, str],
    clean_margin: float | None = None,
) -> MethodDominance:
    """Compare every configuration of the first method with every one of the second.

    means: (N, 2); drawn: (B, N, 2); both methods have configurations. Intervals are max-T adjusted
    over all pairs and both accuracies, so that the closest pair may be picked after looking. A
    claim has one direction, so it rests on one-sided lower bounds that are adjusted likewise.
    """
    rows = [[row for row, c in enumerate(found) if c.method == name] for name in methods]
    first, second = drawn[:, rows[0]], drawn[:, rows[1]]
    estimates = means[rows[0]][:, np.newaxis] - means[rows[1]]
    two_sided, one_sided, errors = _factors(first, second, estimates)
    half, lows = two_sided * errors, estimates - one_sided * errors
    shares = dominance_shares(first, second)
    claimed = np.all((lows > 0) & (errors > 0), axis=-1)

    compared = _Compared(
        rows=rows,
        drawn=(first, second),
        estimates=estimates,
        half=half,
        lows=lows,
        shares=shares,
        claimed=claimed,
    )
    closest = _closest(claimed, shares, estimates, errors)
    within = [] if clean_margin is None else _within(lows, errors, clean_margin)
    best = [_best_row(found, choice, name) for name in methods]
    return MethodDominance(
        first=methods[0],
        second=methods[1],
        best=None
        if best[0] is None or best[1] is None
        else _pair(compared, rows[0].index(best[0]), rows[1].index(best[1])),
        each=tuple(_pair(compared, i, j) for j, i in enumerate(closest)),
        pairs=estimates.shape[0] * estimates.shape[1],
        factor=two_sided,
        clean_margin=clean_margin,
        within=tuple(_pair(compared, i, j) for i, j in within),
    )


@dataclass(frozen=True, kw_only=True)
class _Compared:
    """F configurations of the first method against S of the second."""

    rows: list[list[int]]
    drawn: tuple[Array, Array]
    """(B, F, 2) and (B, S, 2)"""
    estimates: Array
    """(F, S, 2), like `half`, the half-widths, and `lows`, the one-sided lower bounds."""
    half: Array
    lows: Array
    shares: Array
    """(F, S), like `claimed`."""
    claimed: Array


def _pair(of: _Compared, i: int, j: int) -> Dominance:
    """Summarise configuration i of the first method against j of the second."""
    first, second = of.drawn
    clean, robust = (
        Interval(estimate=one, low=one - width, high=one + width)
        for one, width in zip(of.estimates[i, j].tolist(), of.half[i, j].tolist(), strict=True)
    )
    return Dominance(
        first=of.rows[0][i],
        second=of.rows[1][j],
        share=float(of.shares[i, j]),
        reverse=float(dominance_shares(second[:, [j]], first[:, [i]])[0, 0]),
        clean=clean,
        robust=robust,
        claimed=bool(of.claimed[i, j]),
        clean_low=float(of.lows[i, j, 0]),
        robust_low=float(of.lows[i, j, 1]),
    )


def _within(lows: Array, errors: Array, margin: float) -> list[tuple[int, int]]:
    """Return for each second row the surely most robust first one that costs at most `margin`."""
    holds = (lows[..., 0] >= -margin) & (lows[..., 1] > 0) & np.all(errors > 0, axis=-1)
    robust = np.where(holds, lows[..., 1], -np.inf)
    return [(int(robust[:, j].argmax()), j) for j in np.flatnonzero(holds.any(axis=0)).tolist()]


def _closest(claimed: Array, shares: Array, estimates: Array, errors: Array) -> list[int]:
    """Return the first row (by j) that is claimed, then likeliest, then furthest above 0."""
    depth = np.min(estimates / np.where(errors > 0, errors, 1.0), axis=-1)
    order = np.lexsort((depth, shares, claimed), axis=0)
    return [int(row) for row in order[-1]]


def _factors(first: Array, second: Array, estimates: Array) -> tuple[float, float, Array]:
    """Return q of `sup_t` of all differences, q of lower bounds, and the errors se (F, S, 2).

    The lower bound estimate - q · se has as q the 95% quantile over replicates of the largest
    (replicate - estimate)/se. A few differences are held at a time.
    """
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
    highest, lowest = np.zeros(count), np.zeros(count)
    for accuracy, row in np.ndindex(one.shape[:2]):
        for start in range(0, other.shape[1], CHUNK):
            some = slice(start, start + CHUNK)
            distance = one[accuracy, row] - other[accuracy, some]
            distance += offsets[accuracy, row, some, np.newaxis]
            distance *= scales[accuracy, row, some, np.newaxis]
            np.maximum(highest, distance.max(axis=0), out=highest)
            np.minimum(lowest, distance.min(axis=0), out=lowest)
    two_sided = float(np.quantile(np.maximum(highest, -lowest), LEVEL))
    one_sided = float(np.quantile(highest, LEVEL))
    return two_sided, one_sided, errors.transpose(1, 2, 0)


def _best_row(found: tuple[ConfigurationResult, ...], choice: Choice, method: str) -> int | None:
    best = next(front.best for front in choice.fronts if front.note.name == method)
    return None if best is None else [c.key for c in found].index(best.key)
