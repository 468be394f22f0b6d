"""Concave: a free curve through a front that only falls and bends downwards, as a check."""

import numpy as np
from scipy.optimize import lsq_linear

from analysis.results import Array

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
