"""Curve numerics: what the formulas of all families are computed with, without overflow."""

from collections.abc import Callable

import numpy as np

from analysis.results import Array

POLYLINE = 400
"""Points of a dense curve: its chords then lie within 1e-5 of the curve where fronts are."""
SMALLEST = 1e-6
"""Accuracies nearer than this to 0 or 1 count as this: logarithms and Φ⁻¹ end there."""
LARGEST_EXPONENT = 60.0
"""e to this is as good as infinite, and no overflow."""
QUADRATURE = 64
"""Gauss–Legendre nodes of areas without a closed form: below 1e-7 for smooth curves."""


def columns(theta: Array) -> tuple[Array, ...]:
    """Give the columns of θ (B, p) as p arrays (B, 1)."""
    return tuple(theta[:, column, np.newaxis] for column in range(theta.shape[1]))


def inside_unit(accuracy: Array) -> Array:
    """Keep accuracies off 0 and 1."""
    inside: Array = np.clip(accuracy, SMALLEST, 1.0 - SMALLEST)
    return inside


def raised(base: Array, exponent: Array) -> Array:
    """Give base ** exponent for base >= 0 without overflow: at most e ** 60."""
    with np.errstate(divide="ignore"):
        return np.exp(np.minimum(exponent * np.log(base), LARGEST_EXPONENT))


def density(x: Array) -> Array:
    """Give the standard normal density."""
    found: Array = np.exp(-0.5 * x * x) / np.sqrt(2 * np.pi)
    return found


def quadrature(
    robust: Callable[[Array, Array], Array], theta: Array, low: Array, high: Array
) -> Array:
    """Integrate f from low to high, (B,) each; the end may be vertical, so nodes crowd there."""
    nodes, weights = np.polynomial.legendre.leggauss(QUADRATURE)
    # c = high - (high - low) s², so that a square-root end becomes smooth in s.
    s = 0.5 * (nodes + 1.0)
    width = np.maximum(high - low, 0.0)[:, np.newaxis]
    values = robust(theta, high[:, np.newaxis] - width * s**2)
    area: Array = (values * s * weights * width).sum(axis=1)
    return area
