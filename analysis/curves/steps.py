"""Steps: a front of no family, of which only the direction is known: monotone, with a band.

Where no family passes the gate, the points still bound the front between them: it falls, so at any
clean accuracy it is no lower than at the next cleaner configuration and no higher than at the next
less clean one. The band holds whatever the shape, be it kinked, S-shaped or a cliff.
"""

from dataclasses import dataclass

import numpy as np

from analysis.curves.gate import ACROSS
from analysis.inference.intervals import sup_t
from analysis.inference.monotone import falling
from analysis.results.trials import Array

LEAST_VARIANCE = 1e-12


@dataclass(frozen=True, kw_only=True)
class Steps:
    """A monotone fit with a simultaneous 95% band, over the range measured on both sides."""

    knots: tuple[tuple[float, float], ...]
    """(clean, robust) by rising clean accuracy: the non-increasing fit, joined linearly."""
    clean: tuple[float, ...]
    """Rising, even."""
    robust: tuple[float, ...]
    """The fit, moved into the band where it leaves it."""
    low: tuple[float, ...]
    high: tuple[float, ...]
    """Ends that hold at all clean accuracies at once, for any non-increasing front."""


def fit_steps(points: Array, covariances: Array, replicates: Array) -> Steps | None:
    """Fit a non-increasing curve through points (n, 2), or return None where nothing is bounded.

    The fit is the isotonic regression of robust on clean accuracy, weighted by the variances of
    seed noise. The band is made of the 2n intervals of all accuracies that hold together (sup-t):
    with a box around each point, the front at c is at least as high as the lower edge of every box
    that lies wholly at c or beyond, and at most as high as the best upper edge of the boxes from
    the last one on that lies wholly at c or before. Single accuracies are no maximum, which noise
    would lift, so no end is extended. covariances: (n, 2, 2); replicates: (B, n, 2).
    """
    drawn = replicates.reshape(len(replicates), -1)
    together = sup_t(points.ravel(), drawn)
    if together.factor == 0.0:
        return None
    lows, highs = (np.clip(end.reshape(-1, 2), 0.0, 1.0) for end in (together.low, together.high))
    clean = np.linspace(highs[:, 0].min(), lows[:, 0].max(), ACROSS)
    if clean[0] >= clean[-1]:
        return None
    knots = _falling_knots(points, covariances)
    low, high = _band(lows, highs, clean)
    robust = np.clip(np.interp(clean, *knots.T), low, high)
    return Steps(
        knots=tuple((float(c), float(r)) for c, r in knots),
        clean=tuple(clean.tolist()),
        robust=tuple(robust.tolist()),
        low=tuple(low.tolist()),
        high=tuple(high.tolist()),
    )


def _falling_knots(points: Array, covariances: Array) -> Array:
    order = np.lexsort((-points[:, 1], points[:, 0]))
    weights = 1.0 / np.maximum(covariances[order, 1, 1], LEAST_VARIANCE)
    return np.column_stack([points[order, 0], falling(points[order, 1], weights)])


def _band(lows: Array, highs: Array, clean: Array) -> tuple[Array, Array]:
    """Return the bounds (G,) of the front by boxes with corners lows and highs, (n, 2) each."""
    beyond = lows[:, 0] >= clean[:, np.newaxis]
    low = np.where(beyond, lows[:, 1], 0.0).max(axis=1)
    # What a front is at most where a box begins: the best of all boxes that may be as clean.
    as_clean = highs[:, 0] >= lows[:, :1]
    tops = np.where(as_clean, highs[:, 1], 0.0).max(axis=1)
    before = highs[:, 0] <= clean[:, np.newaxis]
    high = np.where(before, tops, 1.0).min(axis=1)
    return low, np.minimum(high, clean)
