"""Inversion: where non-decreasing curves through a few levels reach their targets."""

from typing import Literal

import numpy as np
from scipy.interpolate import PchipInterpolator

from analysis.results import Array

Join = Literal["pchip", "linear"]
"""How neighbouring levels are joined. Neither overshoots: both are monotone between levels."""
STEPS = 60
"""At most, of a search that ends when all have arrived; a bisection alone would need 43."""


def invert(levels: Array, heights: Array, targets: Array, join: Join) -> Array:
    """Find the level at which each curve reaches its target.

    levels: (L,), rising, at least one; heights: (B, L), non-decreasing along L; targets: (B, T).
    Returns (B, T): 0 below the first height, ∞ above the last, the midpoint of a flat piece that
    equals the target, else the one point of the curve at the target's height. Fritsch and Carlson
    (1980), SIAM J. Numer. Anal. 17(2), for the monotone cubic.

    >>> levels, heights = np.array([0.0, 1.0, 3.0]), np.array([[0.2, 0.4, 0.8]])
    >>> invert(levels, heights, np.array([[0.1, 0.2, 0.6, 0.9]]), "linear")
    array([[ 0.,  0.,  2., inf]])
    """
    last = len(levels) - 1
    # The levels between which a target lies; at a level, or along a flat piece, upper <= lower.
    upper = np.sum(heights[:, np.newaxis] < targets[..., np.newaxis], axis=-1)
    lower = np.sum(heights[:, np.newaxis] <= targets[..., np.newaxis], axis=-1) - 1
    found: Array = 0.5 * (levels[np.minimum(upper, last)] + levels[np.maximum(lower, 0)])
    found[lower < 0] = 0.0
    found[upper > last] = np.inf
    rows, columns = np.nonzero((lower < upper) & (lower >= 0) & (upper <= last))
    if rows.size:
        pieces = lower[rows, columns]
        widths = levels[pieces + 1] - levels[pieces]
        low, high = heights[rows, pieces], heights[rows, pieces + 1]
        goals = (targets[rows, columns] - low) / (high - low)
        if join == "pchip":
            slopes = PchipInterpolator(levels, heights, axis=1).derivative()(levels)
            scale = widths / (high - low)
            goals = _invert_cubics(
                slopes[rows, pieces] * scale, slopes[rows, pieces + 1] * scale, goals
            )
        found[rows, columns] = levels[pieces] + widths * goals
    return found


def _invert_cubics(first: Array, last: Array, goals: Array) -> Array:
    """Solve p(t) = goal for the rising cubics with p(0) = 0, p(1) = 1 and these end slopes.

    first, last, goals: (K,); returns t (K,) in [0, 1]. Newton's steps, a bisection where one would
    leave the bracket.
    """
    cubic, square = first + last - 2.0, 3.0 - 2.0 * first - last
    at, low, high = goals.copy(), np.zeros_like(goals), np.ones_like(goals)
    for _ in range(STEPS):
        excess = ((cubic * at + square) * at + first) * at - goals
        low, high = np.where(excess <= 0, at, low), np.where(excess >= 0, at, high)
        slope = (3.0 * cubic * at + 2.0 * square) * at + first
        newton = at - excess / np.where(slope > 0, slope, 1.0)
        unsafe = (slope <= 0) | (newton < low) | (newton > high)
        moved = np.where(excess == 0, at, np.where(unsafe, 0.5 * (low + high), newton))
        done = np.max(np.abs(moved - at), initial=0.0) < 1e-13
        at = moved
        if done:
            break
    return at
