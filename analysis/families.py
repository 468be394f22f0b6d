"""Families: the kinds of curve that a front may follow, each with what is derived from it.

A curve is f(c), the best robust accuracy at a clean accuracy of at least c: it never rises, and is
0 beyond its clean end. Every family is written as F(c, r; θ) = 0 and as f(c; θ). θ holds the
parameters through a logit or a logarithm, so that every θ is a curve. u = Φ⁻¹(c), v = Φ⁻¹(r), with
φ the normal density. Shapes: θ is (B, p) throughout; accuracies are (n,) or (B, n).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import betainc, betaln, expit, logit

from analysis import gaussian_curves as gaussian
from analysis.curve_numerics import LARGEST_EXPONENT, POLYLINE, SMALLEST, columns, raised
from analysis.results import Array

FamilyName = Literal["power", "superellipse", "ellipse", "probit"]


@dataclass(frozen=True, kw_only=True)
class Family:
    """One kind of curve. Functions of θ (B, p); c and r are (n,) or (B, n)."""

    name: FamilyName
    names: tuple[str, ...]
    """Of the p parameters, in natural units."""
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


# Power: r = K (C - c)^q; θ = (logit C, log K, log q).


def _power_natural(theta: Array) -> Array:
    return np.stack([expit(theta[:, 0]), np.exp(theta[:, 1]), np.exp(theta[:, 2])], axis=1)


def _power_implicit(theta: Array, c: Array, r: Array) -> tuple[Array, Array, Array]:
    # As c(r) = C - (r/K)^(1/q): smooth at the clean end, and defined for clean accuracies past it.
    end, height, shape = columns(theta)
    r = np.maximum(r, SMALLEST)
    exponent = np.exp(-shape)
    reach = np.exp(np.minimum(exponent * (np.log(r) - height), LARGEST_EXPONENT))
    value = expit(end) - c - reach
    return value, np.full_like(value, -1.0), -exponent * reach / r


def _power_robust(theta: Array, c: Array) -> Array:
    end, height, shape = columns(_power_natural(theta))
    return height * raised(np.maximum(end - c, 0.0), shape)


def _power_rate(theta: Array, c: Array) -> Array:
    end, height, shape = columns(_power_natural(theta))
    left = np.maximum(end - c, 1e-300)
    return np.where(c < end, height * shape * raised(left, shape - 1.0), np.inf)


def _power_area(theta: Array, floor: float) -> Array:
    end, height, shape = _power_natural(theta).T
    area: Array = height * np.maximum(end - floor, 0.0) ** (shape + 1.0) / (shape + 1.0)
    return area


def _power_polyline(theta: Array) -> Array:
    end, height, shape = columns(_power_natural(theta))
    # Spaced in r, or in (C - c) where the curve touches its end flatly.
    share = np.linspace(0.0, 1.0, POLYLINE)
    share = share ** np.maximum(shape, 1.0)
    c = end - end * raised(share, 1.0 / shape)
    return np.stack([c, height * raised(end, shape) * share], axis=2)


def _power_guess(points: Array) -> Array:
    c, r = points.T
    end, shape = min(float(c.max()) + 0.01, 0.995), 0.4
    height = np.median(np.maximum(r, SMALLEST) / np.maximum(end - c, 1e-3) ** shape)
    return np.array([logit(end), np.log(height), np.log(shape)])


# Superellipse: (c/C)^p + (r/R)^p = 1; θ = (logit C, logit R, log p).


def _super_natural(theta: Array) -> Array:
    return np.stack([expit(theta[:, 0]), expit(theta[:, 1]), np.exp(theta[:, 2])], axis=1)


def _super_implicit(theta: Array, c: Array, r: Array) -> tuple[Array, Array, Array]:
    end, top, shape = columns(_super_natural(theta))
    c, r = np.maximum(c, SMALLEST), np.maximum(r, SMALLEST)
    x, y = shape * np.log(c / end), shape * np.log(r / top)
    value = np.logaddexp(x, y)
    return value, shape * np.exp(x - value) / c, shape * np.exp(y - value) / r


def _super_robust(theta: Array, c: Array) -> Array:
    end, top, shape = columns(_super_natural(theta))
    left = -np.expm1(np.minimum(shape * np.log(np.maximum(c, SMALLEST) / end), 0.0))
    return top * raised(left, 1.0 / shape)


def _super_rate(theta: Array, c: Array) -> Array:
    end, top, shape = columns(_super_natural(theta))
    share = np.log(np.maximum(c, SMALLEST) / end)
    left = np.maximum(-np.expm1(np.minimum(shape * share, 0.0)), 1e-300)
    rate = top / end * np.exp(np.minimum((shape - 1.0) * share, LARGEST_EXPONENT))
    return np.where(c < end, rate * raised(left, 1.0 / shape - 1.0), np.inf)


def _super_area(theta: Array, floor: float) -> Array:
    end, top, shape = _super_natural(theta).T
    below = np.minimum(floor / end, 1.0) ** shape
    a, b = 1.0 / shape, 1.0 + 1.0 / shape
    area: Array = end * top / shape * np.exp(betaln(a, b)) * (1.0 - betainc(a, b, below))
    return area


def _super_polyline(theta: Array) -> Array:
    end, top, shape = columns(_super_natural(theta))
    angle = np.linspace(0.0, np.pi / 2, POLYLINE)
    cosine, sine = np.cos(angle), np.sin(angle)
    cosine[-1] = 0.0
    return np.stack([end * raised(cosine, 2 / shape), top * raised(sine, 2 / shape)], axis=2)


def _super_guess(points: Array) -> Array:
    c, r = points.max(axis=0)
    end, top = min(1.01 * c, 0.995), float(np.clip(1.05 * r, 1e-3, 0.98))
    return np.array([logit(end), logit(top), np.log(4.0)])


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
        natural=gaussian.ellipse_natural,
        implicit=gaussian.ellipse_implicit,
        robust=gaussian.ellipse_robust,
        rate=gaussian.ellipse_rate,
        area=gaussian.ellipse_area,
        polyline=gaussian.ellipse_polyline,
        guess=gaussian.ellipse_guess,
    ),
    "probit": Family(
        name="probit",
        names=("α", "β"),
        low=(-400.0, -5.0),
        high=(400.0, 5.0),
        shape=1,
        natural=gaussian.probit_natural,
        implicit=gaussian.probit_implicit,
        robust=gaussian.probit_robust,
        rate=gaussian.probit_rate,
        area=gaussian.probit_area,
        polyline=gaussian.probit_polyline,
        guess=gaussian.probit_guess,
    ),
}
CHECK: FamilyName = "probit"
"""Drawn as a check beside the others, and never chosen: a straight line in (u, v) fits no end."""
