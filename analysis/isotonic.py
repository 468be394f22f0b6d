"""Isotonic regression: the nearest monotone sequence, for many sequences at once."""

import numpy as np

from analysis.results import Array


def isotonic(values: Array, weights: Array | None = None) -> Array:
    """Give the non-decreasing sequence that is nearest in weighted least squares.

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
    """Give the non-increasing sequence that is nearest in weighted least squares.

    values: (..., L); weights: (L,); returns (..., L).

    >>> falling(np.array([0.9, 0.7, 0.8]))
    array([0.9 , 0.75, 0.75])
    """
    fitted: Array = -isotonic(-values, weights)
    return fitted
