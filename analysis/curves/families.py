"""Families: the kinds of curve that a front may follow, each with what is derived from it.

A curve is f(c), the best robust accuracy at a clean accuracy of at least c: it never rises, and is
0 beyond its clean end. Every family is written as F(c, r; θ) = 0 and as f(c; θ). θ holds the
parameters through a logit or a logarithm, so that every θ is a curve. u = Φ⁻¹(c), v = Φ⁻¹(r), with
φ the normal density. Shapes: θ is (B, p) throughout; accuracies are (n,) or (B, n).

Two families are straight or elliptic in u and v. The ellipse is exact for linear classifiers of two
Gaussian feature blocks under a fixed linf radius (such mixtures: Mehrabi et al. 2021, arXiv
2101.06309). For many classes it is a link function, not a theorem.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import betainc, betaln, expit, logit, ndtr, ndtri

from analysis.results.trials import Array

POLYLINE = 400
"""Points of a dense curve. Its chords then lie within 1e-5 of the curve where fronts are."""
SMALLEST = 1e-6
"""Accuracies are clipped to this distance from 0 and 1, where logarithms and Φ⁻¹ diverge."""
LARGEST_EXPONENT = 60.0
"""The largest exponent of e: its power is as good as infinite, and does not overflow."""
QUADRATURE = 64
"""Gauss–Legendre nodes of areas without a closed form: errors below 1e-7 for smooth curves."""
FARTHEST = 4.0
"""The largest |u| and |v| at which the probit line is drawn: accuracies from 3e-5 to 1 - 3e-5."""

FamilyName = Literal["power", "superellipse", "ellipse", "probit"]


@dataclass(frozen=True, kw_only=True)
class Family:
    """One kind of curve, as functions of θ (B, p); c and r are (n,) or (B, n)."""

    name: FamilyName
    names: tuple[str, ...]
    """The names of the p parameters, in natural units."""
    low: tuple[float, ...]
    high: tuple[float, ...]
    """The box of θ. An optimum on its edge means that the data do not determine the parameter."""
    shape: int
    """Position of the parameter that bends the curve."""
    natural: Callable[[Array], Array]
    """θ to parameters in natural units, (B, p)."""
    implicit: Callable[[Array, Array, Array], tuple[Array, Array, Array]]
    """(θ, c, r) to F, ∂F/∂c, ∂F/∂r, each (B, n); log F where gradients would explode."""
    robust: Callable[[Array, Array], Array]
    """(θ, c) to f(c), (B, n)."""
    rate: Callable[[Array, Array], Array]
    """(θ, c) to -df/dc, (B, n): 0 where f is flat, infinite at and beyond the clean end."""
    area: Callable[[Array, float], Array]
    """(θ, c₀) to the area under f from c₀ to 1, (B,)."""
    polyline: Callable[[Array], Array]
    """θ to points along the curve from its clean end, (B, POLYLINE, 2)."""
    guess: Callable[[Array], Array]
    """Points (n, 2) to a first θ, (p,)."""


def _natural(*transforms: np.ufunc) -> Callable[[Array], Array]:
    """Return the map from θ (B, p) to natural units: one transform for each parameter."""

    def natural(theta: Array) -> Array:
        return np.stack([each(theta[:, at]) for at, each in enumerate(transforms)], axis=1)

    return natural


def _columns(theta: Array) -> tuple[Array, ...]:
    """Return the columns of θ (B, p) as p arrays (B, 1)."""
    return tuple(theta[:, column, np.newaxis] for column in range(theta.shape[1]))


def _inside_unit(accuracy: Array) -> Array:
    """Clip accuracies to the open unit interval, where Φ⁻¹ and the logarithm are finite."""
    inside: Array = np.clip(accuracy, SMALLEST, 1.0 - SMALLEST)
    return inside


def _raised(base: Array, exponent: Array) -> Array:
    """Compute base ** exponent for base >= 0 without overflow: at most e ** 60."""
    with np.errstate(divide="ignore"):
        return np.exp(np.minimum(exponent * np.log(base), LARGEST_EXPONENT))


def _density(x: Array) -> Array:
    """Compute the standard normal density."""
    found: Array = np.exp(-0.5 * x * x) / np.sqrt(2 * np.pi)
    return found


def _quadrature(
    robust: Callable[[Array, Array], Array], theta: Array, low: Array, high: Array
) -> Array:
    """Integrate f from low to high, (B,) each. The nodes crowd where f may end vertically."""
    nodes, weights = np.polynomial.legendre.leggauss(QUADRATURE)
    # c = high - (high - low) s², so that a square-root end becomes smooth in s.
    s = 0.5 * (nodes + 1.0)
    width = np.maximum(high - low, 0.0)[:, np.newaxis]
    values = robust(theta, high[:, np.newaxis] - width * s**2)
    area: Array = (values * s * weights * width).sum(axis=1)
    return area


# Power: r = K (C - c)^q; θ = (logit C, log K, log q).

_power_natural = _natural(expit, np.exp, np.exp)


def _power_implicit(theta: Array, c: Array, r: Array) -> tuple[Array, Array, Array]:
    # As c(r) = C - (r/K)^(1/q): smooth at the clean end, and defined for clean accuracies past it.
    end, height, shape = _columns(theta)
    r = np.maximum(r, SMALLEST)
    exponent = np.exp(-shape)
    reach = np.exp(np.minimum(exponent * (np.log(r) - height), LARGEST_EXPONENT))
    value = expit(end) - c - reach
    return value, np.full_like(value, -1.0), -exponent * reach / r


def _power_robust(theta: Array, c: Array) -> Array:
    end, height, shape = _columns(_power_natural(theta))
    return height * _raised(np.maximum(end - c, 0.0), shape)


def _power_rate(theta: Array, c: Array) -> Array:
    end, height, shape = _columns(_power_natural(theta))
    left = np.maximum(end - c, 1e-300)
    return np.where(c < end, height * shape * _raised(left, shape - 1.0), np.inf)


def _power_area(theta: Array, floor: float) -> Array:
    end, height, shape = _power_natural(theta).T
    area: Array = height * np.maximum(end - floor, 0.0) ** (shape + 1.0) / (shape + 1.0)
    return area


def _power_polyline(theta: Array) -> Array:
    end, height, shape = _columns(_power_natural(theta))
    # Spaced in r, or in (C - c) where the curve touches its end flatly.
    share = np.linspace(0.0, 1.0, POLYLINE)
    share = share ** np.maximum(shape, 1.0)
    c = end - end * _raised(share, 1.0 / shape)
    return np.stack([c, height * _raised(end, shape) * share], axis=2)


def _power_guess(points: Array) -> Array:
    c, r = points.T
    end, shape = min(float(c.max()) + 0.01, 0.995), 0.4
    height = np.median(np.maximum(r, SMALLEST) / np.maximum(end - c, 1e-3) ** shape)
    return np.array([logit(end), np.log(height), np.log(shape)])


# Superellipse: (c/C)^p + (r/R)^p = 1; θ = (logit C, logit R, log p).

_super_natural = _natural(expit, expit, np.exp)


def _super_implicit(theta: Array, c: Array, r: Array) -> tuple[Array, Array, Array]:
    end, top, shape = _columns(_super_natural(theta))
    c, r = np.maximum(c, SMALLEST), np.maximum(r, SMALLEST)
    x, y = shape * np.log(c / end), shape * np.log(r / top)
    value = np.logaddexp(x, y)
    return value, shape * np.exp(x - value) / c, shape * np.exp(y - value) / r


def _super_robust(theta: Array, c: Array) -> Array:
    end, top, shape = _columns(_super_natural(theta))
    left = -np.expm1(np.minimum(shape * np.log(np.maximum(c, SMALLEST) / end), 0.0))
    return top * _raised(left, 1.0 / shape)


def _super_rate(theta: Array, c: Array) -> Array:
    end, top, shape = _columns(_super_natural(theta))
    share = np.log(np.maximum(c, SMALLEST) / end)
    left = np.maximum(-np.expm1(np.minimum(shape * share, 0.0)), 1e-300)
    rate = top / end * np.exp(np.minimum((shape - 1.0) * share, LARGEST_EXPONENT))
    return np.where(c < end, rate * _raised(left, 1.0 / shape - 1.0), np.inf)


def _super_area(theta: Array, floor: float) -> Array:
    end, top, shape = _super_natural(theta).T
    below = np.minimum(floor / end, 1.0) ** shape
    a, b = 1.0 / shape, 1.0 + 1.0 / shape
    area: Array = end * top / shape * np.exp(betaln(a, b)) * (1.0 - betainc(a, b, below))
    return area


def _super_polyline(theta: Array) -> Array:
    end, top, shape = _columns(_super_natural(theta))
    angle = np.linspace(0.0, np.pi / 2, POLYLINE)
    cosine, sine = np.cos(angle), np.sin(angle)
    # cos(π/2) is 6e-17 in float64, which a small power would lift visibly off the robust axis.
    cosine[-1] = 0.0
    return np.stack([end * _raised(cosine, 2 / shape), top * _raised(sine, 2 / shape)], axis=2)


def _super_guess(points: Array) -> Array:
    c, r = points.max(axis=0)
    end, top = min(1.01 * c, 0.995), float(np.clip(1.05 * r, 1e-3, 0.98))
    return np.array([logit(end), logit(top), np.log(4.0)])


# Gaussian ellipse: |Lᵀ(u, v)| = 1, L = [[a, 0], [b, d]]; θ = (log a, b, log d).

_ellipse_natural = _natural(np.exp, np.positive, np.exp)


def _ellipse_implicit(theta: Array, c: Array, r: Array) -> tuple[Array, Array, Array]:
    a, b, d = _columns(_ellipse_natural(theta))
    u, v = ndtri(_inside_unit(c)), ndtri(_inside_unit(r))
    first, second = a * u + b * v, d * v
    # F is the logarithm of the squared radius, which diverges where u = v = 0.
    size = np.maximum(first**2 + second**2, 1e-12)
    by_u = 2.0 * a * first / size
    by_v = 2.0 * (b * first + d * second) / size
    return np.log(size), by_u / _density(u), by_v / _density(v)


def _ellipse_heights(theta: Array, c: Array) -> tuple[Array, Array, Array]:
    """Return v on the arc, which c lie left of the top of the arc, and which beyond its end."""
    a, b, d = _columns(_ellipse_natural(theta))
    u = ndtri(_inside_unit(c))
    squared = b**2 + d**2
    root = squared - (a * d * u) ** 2
    v = (-a * b * u + np.sqrt(np.maximum(root, 0.0))) / squared
    left = a * d * u <= -b
    return np.where(left, 1.0 / d, v), left, (root < 0) & (u > 0)


def _ellipse_robust(theta: Array, c: Array) -> Array:
    v, _, beyond = _ellipse_heights(theta, c)
    return np.where(beyond, 0.0, ndtr(v))


def _ellipse_rate(theta: Array, c: Array) -> Array:
    a, b, d = _columns(_ellipse_natural(theta))
    v, left, beyond = _ellipse_heights(theta, c)
    u = ndtri(_inside_unit(c))
    first = a * u + b * v
    downward = b * first + d**2 * v
    ratio = a * first * _density(v) / np.maximum(downward * _density(u), 1e-300)
    return np.where(left, 0.0, np.where(beyond | (downward <= 0), np.inf, ratio))


def _ellipse_area(theta: Array, floor: float) -> Array:
    a, b, d = _ellipse_natural(theta).T
    top = np.clip(ndtr(-b / (a * d)), floor, 1.0)
    end = np.maximum(ndtr(np.sqrt(b**2 + d**2) / (a * d)), floor)
    flat = (top - floor) * ndtr(1.0 / d)
    area: Array = flat + _quadrature(_ellipse_robust, theta, top, end)
    return area


def _ellipse_polyline(theta: Array) -> Array:
    a, b, d = _columns(_ellipse_natural(theta))
    angles = np.arctan2(-b, d)
    angle = angles + (np.pi / 2 - angles) * np.linspace(0.0, 1.0, POLYLINE - 2)
    v = np.sin(angle) / d
    c, r = ndtr((np.cos(angle) - b * v) / a), ndtr(v)
    nothing = np.zeros_like(c[:, :1])
    # f drops to 0 at the end of the arc, and is flat left of its top.
    c = np.hstack([c[:, :1], c, nothing])
    return np.stack([c, np.hstack([nothing, r, r[:, -1:]])], axis=2)


def _ellipse_guess(points: Array) -> Array:
    u = float(ndtri(_inside_unit(points[:, 0])).max())
    return np.array([-np.log(1.05 * max(u, 0.1)), 0.05, 0.0])


# Probit line: v = α - β u; θ = (α, log β).

_probit_natural = _natural(np.positive, np.exp)


def _probit_implicit(theta: Array, c: Array, r: Array) -> tuple[Array, Array, Array]:
    height, slope = _columns(_probit_natural(theta))
    u, v = ndtri(_inside_unit(c)), ndtri(_inside_unit(r))
    value = v - height + slope * u
    return value, slope / _density(u), np.broadcast_to(1.0 / _density(v), value.shape)


def _probit_robust(theta: Array, c: Array) -> Array:
    height, slope = _columns(_probit_natural(theta))
    robust: Array = ndtr(height - slope * ndtri(_inside_unit(c)))
    return robust


def _probit_rate(theta: Array, c: Array) -> Array:
    height, slope = _columns(_probit_natural(theta))
    u = ndtri(_inside_unit(c))
    return slope * _density(height - slope * u) / _density(u)


def _probit_area(theta: Array, floor: float) -> Array:
    low, high = np.full(len(theta), floor), np.ones(len(theta))
    area: Array = _quadrature(_probit_robust, theta, low, high)
    return area


def _probit_polyline(theta: Array) -> Array:
    height, slope = _columns(_probit_natural(theta))
    # Half of the points are even in v and half in u, so that a steep and a flat line are dense.
    even = np.linspace(-FARTHEST, FARTHEST, POLYLINE // 2)
    by_height = (height - even) / slope
    by_clean = np.broadcast_to(even, by_height.shape)
    u = -np.sort(-np.clip(np.hstack([by_height, by_clean]), -FARTHEST, FARTHEST), axis=1)
    return np.stack([ndtr(u), ndtr(height - slope * u)], axis=2)


def _probit_guess(points: Array) -> Array:
    u, v = ndtri(_inside_unit(points)).T
    width = max(float(u.max() - u.min()), 1e-3)
    slope = max(float(v.max() - v.min()) / width, 1e-2)
    return np.array([float(v.mean() + slope * u.mean()), np.log(slope)])


FAMILIES: Mapping[FamilyName, Family] = {
    "power": Family(
        name="power",
        names=("C", "K", "q"),
        low=(-9.0, -9.0, float(np.log(0.1))),
        high=(9.0, 9.0, float(np.log(2.0))),
        shape=2,
        natural=_power_natural,
        implicit=_power_implicit,
        robust=_power_robust,
        rate=_power_rate,
        area=_power_area,
        polyline=_power_polyline,
        guess=_power_guess,
    ),
    "superellipse": Family(
        name="superellipse",
        names=("C", "R", "p"),
        low=(-9.0, -9.0, float(np.log(0.25))),
        high=(9.0, 9.0, float(np.log(50.0))),
        shape=2,
        natural=_super_natural,
        implicit=_super_implicit,
        robust=_super_robust,
        rate=_super_rate,
        area=_super_area,
        polyline=_super_polyline,
        guess=_super_guess,
    ),
    "ellipse": Family(
        name="ellipse",
        names=("a", "b", "d"),
        low=(-4.0, -20.0, -4.0),
        high=(4.0, 20.0, 4.0),
        shape=1,
        natural=_ellipse_natural,
        implicit=_ellipse_implicit,
        robust=_ellipse_robust,
        rate=_ellipse_rate,
        area=_ellipse_area,
        polyline=_ellipse_polyline,
        guess=_ellipse_guess,
    ),
    "probit": Family(
        name="probit",
        names=("α", "β"),
        low=(-400.0, -5.0),
        high=(400.0, 5.0),
        shape=1,
        natural=_probit_natural,
        implicit=_probit_implicit,
        robust=_probit_robust,
        rate=_probit_rate,
        area=_probit_area,
        polyline=_probit_polyline,
        guess=_probit_guess,
    ),
}
CHECK: FamilyName = "probit"
"""Drawn as a check beside the others, and never chosen: a straight line in (u, v) fits no end."""
