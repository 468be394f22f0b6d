"""Survival curves: robust accuracy against attack radius, as the share of images that survive.

An image has a margin, the least radius that breaks it; r(e) = c · S(e), with c the clean accuracy
and S the survival function of the margins of the images that are right without an attack.
Nested accuracies at rising radii are no independent binomials: what is drawn are the counts of
images that break between one radius and the next, hence a multinomial likelihood.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import gamma

from analysis.results.trials import Array

SurvivalName = Literal["weibull", "log-logistic"]
FAMILIES: tuple[SurvivalName, ...] = ("weibull", "log-logistic")
STEPS = 25
"""The most steps of Fisher scoring; 8 are usual from a regression, 4 from a nearby fit."""
SMALL = 1e-7
"""Fitted once every step of ln λ and ln κ is below this."""
SHAPES = (0.05, 50.0)
"""The limits of κ: beyond them the curve is flat, or a cliff between two radii, and has no fit."""
_LEAST = 1e-12
"""The least probability of a cell: a smaller one is rounding."""


@dataclass(frozen=True, kw_only=True)
class SurvivalFit:
    """Fits of one family to K rows of accuracies."""

    family: SurvivalName
    scale: Array
    """(K,) λ, in units of the radii."""
    shape: Array
    """(K,) κ."""
    converged: NDArray[np.bool_]
    """(K,)"""


def survival(family: SurvivalName, radii: Array, scale: Array, shape: Array) -> Array:
    """Compute S(e) = exp(-(e/λ)^κ), or 1/(1 + (e/λ)^κ) for the log-logistic family.

    radii: (m,), not negative; scale, shape: (K,); returns (K, m).

    >>> survival("weibull", np.array([0.0, 1.0]), np.array([1.0]), np.array([2.0])).round(4)
    array([[1.    , 0.3679]])
    """
    # Far beyond λ nothing is left, so the power is capped before it overflows.
    power = np.minimum(radii / scale[:, np.newaxis], 1e6) ** shape[:, np.newaxis]
    kept: Array = np.exp(-power) if family == "weibull" else 1.0 / (1.0 + power)
    return kept


def median_radius(family: SurvivalName, scale: Array, shape: Array) -> Array:
    """Return the radius that half of the right images survive: λ (ln 2)^(1/κ), or λ."""
    return scale * math.log(2) ** (1.0 / shape) if family == "weibull" else scale


def mean_radius(family: SurvivalName, scale: Array, shape: Array) -> Array:
    """Return the mean margin λ Γ(1 + 1/κ), or λ (π/κ)/sin(π/κ), infinite for κ ≤ 1."""
    if family == "weibull":
        mean: Array = scale * gamma(1.0 + 1.0 / shape)
        return mean
    angle = np.pi / np.where(shape > 1, shape, 2.0)
    return np.where(shape > 1, scale * angle / np.sin(angle), np.inf)


def fit_survival(
    family: SurvivalName, radii: Array, accuracies: Array, start: SurvivalFit | None = None
) -> SurvivalFit:
    """Fit λ and κ to nested accuracies by maximum likelihood, all rows at once.

    Maximises Σ n_l ln p_l with p_l = S(e_(l-1)) - S(e_l), p_last = S(e_m), S(0) = 1. That c is the
    clean accuracy follows from the cell of images that are wrong without an attack.
    radii: (m,), rising, positive; accuracies: (K, 1 + m), clean first, positive and non-increasing;
    start: a fit nearby, of one row or K; a regression of ln(-ln S) on ln e if None.
    """
    shares = cells(accuracies) / accuracies[:, :1]
    if start is None:
        scale, shape = _regression(family, radii, accuracies[:, 1:] / accuracies[:, :1])
    else:
        scale, shape = (np.broadcast_to(a, len(shares)) for a in (start.scale, start.shape))
    at, steepness = np.log(scale), np.log(shape)
    logs, shares = np.log(radii)[:, np.newaxis], np.ascontiguousarray(shares.T)
    limits = np.log(SHAPES[0]), np.log(SHAPES[1])
    moved = np.full(len(at), np.inf)
    for _ in range(STEPS):
        step = _scoring_step(family, logs, shares, at, steepness)
        moved = np.maximum(np.abs(step[0]), np.abs(step[1]))
        at = np.clip(at + np.clip(step[0], -1.0, 1.0), logs[0] - 10.0, logs[-1] + 10.0)
        steepness = np.clip(steepness + np.clip(step[1], -0.5, 0.5), *limits)
        if moved.max(initial=0.0) < SMALL:
            break
    inside = (steepness > limits[0]) & (steepness < limits[1])
    return SurvivalFit(
        family=family,
        scale=np.exp(at),
        shape=np.exp(steepness),
        converged=inside & (moved < 1e3 * SMALL),
    )


def cells(accuracies: Array) -> Array:
    """Return the shares of images that break between radii, and that survive all: (K, m + 1)."""
    return np.hstack([accuracies[:, :-1] - accuracies[:, 1:], accuracies[:, -1:]])


def log_likelihood(fit: SurvivalFit, radii: Array, accuracies: Array) -> Array:
    """Compute the log-likelihood per image (K,), without the terms that the families share."""
    kept = survival(fit.family, radii, fit.scale, fit.shape)
    ones = np.ones((len(kept), 1))
    probabilities = np.maximum(cells(np.hstack([ones, kept])), _LEAST)
    total: Array = np.sum(cells(accuracies) * np.log(probabilities), axis=1)
    return total


def _scoring_step(
    family: SurvivalName, logs: Array, shares: Array, at: Array, steepness: Array
) -> tuple[Array, Array]:
    """Return the steps of ln λ and ln κ: the inverse expected information times the score.

    logs: (m, 1) ln radii; shares: (m + 1, K) of the right images; at: (K,) ln λ; steepness: (K,).
    """
    shape = np.exp(steepness)
    exponent = np.clip(shape * (logs - at), -500.0, 500.0)
    power = np.exp(exponent)
    if family == "weibull":
        kept = np.exp(-power)
        change = -power * kept
    else:
        kept = 1.0 / (1.0 + power)
        change = -kept * kept * power
    probabilities = np.maximum(_between(kept, 1.0), _LEAST)
    by_at, by_shape = _between(-shape * change, 0.0), _between(exponent * change, 0.0)
    ratio = shares / probabilities
    score = np.sum(ratio * by_at, axis=0), np.sum(ratio * by_shape, axis=0)
    by_at_over = by_at / probabilities
    first = np.sum(by_at_over * by_at, axis=0)
    cross = np.sum(by_at_over * by_shape, axis=0)
    second = np.sum(by_shape * by_shape / probabilities, axis=0)
    determinant = np.maximum(first * second - cross * cross, 1e-12 * first * second + 1e-300)
    return (
        (second * score[0] - cross * score[1]) / determinant,
        (first * score[1] - cross * score[0]) / determinant,
    )


def _between(values: Array, at_zero: float) -> Array:
    """Return the falls from one radius to the next, from radius 0 on, and last what is left."""
    falls = np.empty((len(values) + 1, values.shape[1]))
    falls[0] = at_zero - values[0]
    falls[1:-1] = values[:-1] - values[1:]
    falls[-1] = values[-1]
    return falls


def _regression(family: SurvivalName, radii: Array, kept: Array) -> tuple[Array, Array]:
    """Start from the straight line that the family is on log axes; kept: (K, m)."""
    clipped = np.clip(kept, 1e-3, 1.0 - 1e-3)
    odds = -np.log(clipped) if family == "weibull" else (1.0 - clipped) / clipped
    x, y = np.log(radii), np.log(odds)
    spread = np.sum((x - x.mean()) ** 2)
    slope = (y - y.mean(axis=1, keepdims=True)) @ (x - x.mean()) / max(spread, 1e-12)
    shape = np.clip(slope, 0.2, 10.0)
    return np.exp(np.clip(x.mean() - y.mean(axis=1) / shape, x[0] - 5.0, x[-1] + 5.0)), shape
