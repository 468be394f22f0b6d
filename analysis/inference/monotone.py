"""Monotone fits: what can be read off a few points when only the direction of a curve is known.

They are a concave curve through a front, which checks the fitted families; isotonic regression,
the nearest monotone sequence, of many sequences at once; and the inversion of non-decreasing
curves, which finds where they reach a target.
"""

from typing import Literal

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.optimize import lsq_linear

from analysis.results.trials import Array

PASSES = 3
"""Rounds in which the errors of clean accuracy are carried over by the slope found so far."""


def concave_fit(points: Array, covariances: Array) -> Array:
    """Fit robust accuracy as a concave, non-increasing, piecewise linear function of clean.

    f(c) = h - Σ w_j max(c - t_j, 0), w_j >= 0, with a knot t_j at every clean accuracy but the
    last. Least squares; the variance of a point is that of r + s c with s its slope. It carries no
    inference. points: (n, 2), covariances: (n, 2, 2); returns the knots and the last point (m, 2),
    by rising clean accuracy, empty with fewer than 2 different clean accuracies.

    >>> line = np.array([[0.8, 0.5], [0.85, 0.4], [0.9, 0.2]])
    >>> concave_fit(line, np.repeat(1e-6 * np.eye(2)[np.newaxis], 3, axis=0)).round(6)
    array([[0.8 , 0.5 ],
           [0.85, 0.4 ],
           [0.9 , 0.2 ]])
    """
    knots = np.unique(points[:, 0])
    if len(knots) < 2:
        return np.empty((0, 2))
    hinges = np.maximum(points[:, :1] - knots[:-1], 0.0)
    design = np.hstack([np.ones((len(points), 1)), -hinges])
    lower = np.append(-np.inf, np.zeros(len(knots) - 1))
    slope, found = np.zeros(len(points)), np.zeros(design.shape[1])
    for _ in range(PASSES):
        variance = (
            covariances[:, 1, 1]
            + 2 * slope * covariances[:, 0, 1]
            + slope**2 * covariances[:, 0, 0]
        )
        weight = 1.0 / np.sqrt(np.maximum(variance, 1e-12))
        found = lsq_linear(
            design * weight[:, np.newaxis], points[:, 1] * weight, bounds=(lower, np.inf)
        ).x
        slope = ((points[:, :1] > knots[:-1]) * found[1:]).sum(axis=1)
    fitted = found[0] - np.maximum(knots[:, np.newaxis] - knots[:-1], 0.0) @ found[1:]
    return np.stack([knots, fitted], axis=1)


def isotonic(values: Array, weights: Array | None = None) -> Array:
    """Return the non-decreasing sequence that is nearest in weighted least squares.

    The closed form of pool-adjacent-violators: fit_i = max over j ≤ i of the min over l ≥ i of the
    weighted mean of values j to l. It takes L² steps for each sequence, but all sequences at once.
    values: (..., L); weights: (L,), positive, equal if None; returns (..., L). Entries of one block
    are equal to the last bit. Robertson, Wright and Dykstra (1988), Order Restricted Statistical
    Inference, theorem 1.4.4.

    >>> isotonic(np.array([1.0, 3.0, 2.0, 4.0]))
    array([1. , 2.5, 2.5, 4. ])
    """
    length = values.shape[-1]
    used = np.ones(length) if weights is None else weights
    if used.shape != (length,) or not np.all(used > 0):
        raise ValueError(f"weights must be positive and of shape ({length},), got {used}")
    fitted = np.full(values.shape, -np.inf)
    for first in range(length):
        sums = np.cumsum(values[..., first:] * used[first:], axis=-1)
        means = sums / np.cumsum(used[first:])
        means[..., 0] = values[..., first]  # exactly: v · w / w may differ by a bit
        least = np.minimum.accumulate(means[..., ::-1], axis=-1)[..., ::-1]
        np.maximum(fitted[..., first:], least, out=fitted[..., first:])
    return fitted


def falling(values: Array, weights: Array | None = None) -> Array:
    """Return the non-increasing sequence that is nearest in weighted least squares.

    values: (..., L); weights: (L,); returns (..., L).

    >>> falling(np.array([0.9, 0.7, 0.8]))
    array([0.9 , 0.75, 0.75])
    """
    fitted: Array = -isotonic(-values, weights)
    return fitted


Join = Literal["pchip", "linear"]
"""How neighbouring levels are joined. Neither overshoots: both are monotone between levels."""
STEPS = 60
"""The most steps of a search that ends once all targets are found; bisection alone needs 43."""


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

    first, last, goals: (K,); returns t (K,) in [0, 1]. Newton's method, with a bisection where a
    step would leave the bracket.
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
