"""Crossings: where two fitted fronts change places, and how surely."""

from dataclasses import dataclass

import numpy as np

from analysis.claims import TAILS, Interval
from analysis.results import Array

SURE = 0.95
"""Share of replicates that must have a crossing before its place is told."""

Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class Crossing:
    """Where two fitted fronts change places."""

    probability: float
    """P(sign change in the shared range), the least over the close families."""
    clean: Interval | None
    """Where, if P ≥ 0.95 and the fits cross once; the union over the close families."""
    extrapolated: float | None
    """Where the chosen curves cross nearest outside the shared range: an extrapolation."""


def crossings(clean: Array, gaps: Array) -> Array:
    """Give where each gap (B, G) changes its sign, (B, G - 1): NaN where it does not."""
    gaps = _without_zeros(gaps)
    left, right = gaps[:, :-1], gaps[:, 1:]
    changes = left * right < 0
    share = np.where(changes, left / np.where(changes, left - right, 1.0), np.nan)
    places: Array = clean[:-1] + share * np.diff(clean)
    return places


def _without_zeros(gaps: Array) -> Array:
    """Give exact zeros the sign before them: a change happens after a zero, and only once."""
    if (gaps != 0).all():
        return gaps
    filled = gaps.copy()
    for column in range(1, gaps.shape[1]):
        before = np.sign(filled[:, column - 1])
        filled[:, column] = np.where(gaps[:, column] == 0, before * 1e-300, gaps[:, column])
    return filled


def find_crossing(
    clean: Array,
    gaps: list[tuple[Array, Array]],
    before: Points,
    beyond: Points,
) -> Crossing:
    """Look for a crossing in gaps over clean (G,): pairs (estimate (G,), replicates (B, G)).

    The first pair is that of the chosen families; before and beyond continue its estimate.
    """
    shares, places = [], []
    for estimate, drawn in gaps:
        found = crossings(clean, drawn)
        crossed = np.isfinite(found).any(axis=1)
        shares.append(float(crossed.mean()))
        at = crossings(clean, estimate[np.newaxis])[0]
        at = at[np.isfinite(at)]
        if len(at) == 1 and shares[-1] >= SURE:
            # Of several crossings in a replicate, the one nearest to the estimate's.
            distance = np.where(np.isfinite(found[crossed]), np.abs(found[crossed] - at[0]), np.inf)
            nearest = found[crossed][np.arange(int(crossed.sum())), distance.argmin(axis=1)]
            places.append((float(at[0]), *np.percentile(nearest, TAILS).tolist()))
    sure = len(places) == len(gaps)
    here = np.isfinite(crossings(clean, gaps[0][0][np.newaxis])).any()
    return Crossing(
        probability=min(shares),
        clean=Interval(
            estimate=places[0][0],
            low=min(place[1] for place in places),
            high=max(place[2] for place in places),
        )
        if sure
        else None,
        extrapolated=None if here else _nearest_outside(before, beyond, clean),
    )


def _nearest_outside(
    before: Points,
    beyond: Points,
    clean: Array,
) -> float | None:
    middle = 0.5 * (clean[0] + clean[-1])
    found: list[float] = []
    for part in (before, beyond):
        if len(part) > 1:
            places, values = np.array(part).T
            at = crossings(places, values[np.newaxis])[0]
            found += at[np.isfinite(at)].tolist()
    return min(found, key=lambda place: abs(place - middle)) if found else None
