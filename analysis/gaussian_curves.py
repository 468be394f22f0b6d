"""Gaussian curves: fronts that are an ellipse or a line in u = Φ⁻¹(c) and v = Φ⁻¹(r).

The ellipse is exact for linear classifiers of two Gaussian feature blocks under a fixed linf radius
(such mixtures: Mehrabi et al. 2021, arXiv 2101.06309); for many classes it is a link, no theorem.
The functions are those of `families.Family`; φ is the normal density.
"""

import numpy as np
from scipy.special import ndtr, ndtri

from analysis.curve_numerics import POLYLINE, columns, density, inside_unit, quadrature
from analysis.results import Array

FARTHEST = 4.0
"""|u| and |v| up to which the probit line is drawn: accuracies of 3e-5 to 1 - 3e-5."""

# Gaussian ellipse: |Lᵀ(u, v)| = 1, L = [[a, 0], [b, d]]; θ = (log a, b, log d).


def ellipse_natural(theta: Array) -> Array:
    """Give the parameters in natural units, (B, p)."""
    return np.stack([np.exp(theta[:, 0]), theta[:, 1], np.exp(theta[:, 2])], axis=1)


def ellipse_implicit(theta: Array, c: Array, r: Array) -> tuple[Array, Array, Array]:
    """Give F, ∂F/∂c and ∂F/∂r, each (B, n)."""
    a, b, d = columns(ellipse_natural(theta))
    u, v = ndtri(inside_unit(c)), ndtri(inside_unit(r))
    first, second = a * u + b * v, d * v
    size = np.maximum(first**2 + second**2, 1e-12)
    by_u = 2.0 * a * first / size
    by_v = 2.0 * (b * first + d * second) / size
    return np.log(size), by_u / density(u), by_v / density(v)


def _ellipse_heights(theta: Array, c: Array) -> tuple[Array, Array, Array]:
    """Give v on the arc, which requirements lie left of its top, and which beyond its end."""
    a, b, d = columns(ellipse_natural(theta))
    u = ndtri(inside_unit(c))
    squared = b**2 + d**2
    root = squared - (a * d * u) ** 2
    v = (-a * b * u + np.sqrt(np.maximum(root, 0.0))) / squared
    left = a * d * u <= -b
    return np.where(left, 1.0 / d, v), left, (root < 0) & (u > 0)


def ellipse_robust(theta: Array, c: Array) -> Array:
    """Give f(c), (B, n)."""
    v, _, beyond = _ellipse_heights(theta, c)
    return np.where(beyond, 0.0, ndtr(v))


def ellipse_rate(theta: Array, c: Array) -> Array:
    """Give -df/dc, (B, n)."""
    a, b, d = columns(ellipse_natural(theta))
    v, left, beyond = _ellipse_heights(theta, c)
    u = ndtri(inside_unit(c))
    first = a * u + b * v
    downward = b * first + d**2 * v
    ratio = a * first * density(v) / np.maximum(downward * density(u), 1e-300)
    return np.where(left, 0.0, np.where(beyond | (downward <= 0), np.inf, ratio))


def ellipse_area(theta: Array, floor: float) -> Array:
    """Give the area under f from the floor to 1, (B,)."""
    a, b, d = ellipse_natural(theta).T
    top = np.clip(ndtr(-b / (a * d)), floor, 1.0)
    end = np.maximum(ndtr(np.sqrt(b**2 + d**2) / (a * d)), floor)
    flat = (top - floor) * ndtr(1.0 / d)
    area: Array = flat + quadrature(ellipse_robust, theta, top, end)
    return area


def ellipse_polyline(theta: Array) -> Array:
    """Give dense points along the curve from its clean end, (B, POLYLINE, 2)."""
    a, b, d = columns(ellipse_natural(theta))
    angles = np.arctan2(-b, d)
    angle = angles + (np.pi / 2 - angles) * np.linspace(0.0, 1.0, POLYLINE - 2)
    v = np.sin(angle) / d
    c, r = ndtr((np.cos(angle) - b * v) / a), ndtr(v)
    nothing = np.zeros_like(c[:, :1])
    # f drops to 0 at the end of the arc, and is flat left of its top.
    c = np.hstack([c[:, :1], c, nothing])
    return np.stack([c, np.hstack([nothing, r, r[:, -1:]])], axis=2)


def ellipse_guess(points: Array) -> Array:
    """Give a first θ (p,) from points (n, 2)."""
    u = float(ndtri(inside_unit(points[:, 0])).max())
    return np.array([-np.log(1.05 * max(u, 0.1)), 0.05, 0.0])


# Probit line: v = α - β u; θ = (α, log β).


def probit_natural(theta: Array) -> Array:
    """Give the parameters in natural units, (B, p)."""
    return np.stack([theta[:, 0], np.exp(theta[:, 1])], axis=1)


def probit_implicit(theta: Array, c: Array, r: Array) -> tuple[Array, Array, Array]:
    """Give F, ∂F/∂c and ∂F/∂r, each (B, n)."""
    height, slope = columns(probit_natural(theta))
    u, v = ndtri(inside_unit(c)), ndtri(inside_unit(r))
    value = v - height + slope * u
    return value, slope / density(u), np.broadcast_to(1.0 / density(v), value.shape)


def probit_robust(theta: Array, c: Array) -> Array:
    """Give f(c), (B, n)."""
    height, slope = columns(probit_natural(theta))
    robust: Array = ndtr(height - slope * ndtri(inside_unit(c)))
    return robust


def probit_rate(theta: Array, c: Array) -> Array:
    """Give -df/dc, (B, n)."""
    height, slope = columns(probit_natural(theta))
    u = ndtri(inside_unit(c))
    return slope * density(height - slope * u) / density(u)


def probit_area(theta: Array, floor: float) -> Array:
    """Give the area under f from the floor to 1, (B,)."""
    low, high = np.full(len(theta), floor), np.ones(len(theta))
    area: Array = quadrature(probit_robust, theta, low, high)
    return area


def probit_polyline(theta: Array) -> Array:
    """Give dense points along the curve from its clean end, (B, POLYLINE, 2)."""
    height, slope = columns(probit_natural(theta))
    even = np.linspace(-FARTHEST, FARTHEST, POLYLINE // 2)
    by_height = (height - even) / slope
    by_clean = np.broadcast_to(even, by_height.shape)
    u = -np.sort(-np.clip(np.hstack([by_height, by_clean]), -FARTHEST, FARTHEST), axis=1)
    return np.stack([ndtr(u), ndtr(height - slope * u)], axis=2)


def probit_guess(points: Array) -> Array:
    """Give a first θ (p,) from points (n, 2)."""
    u, v = ndtri(inside_unit(points)).T
    width = max(float(u.max() - u.min()), 1e-3)
    slope = max(float(v.max() - v.min()) / width, 1e-2)
    return np.array([float(v.mean() + slope * u.mean()), np.log(slope)])
