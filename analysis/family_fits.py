"""Family fits: one family's curve through the points of a method, with its band and its gate."""

from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
from scipy.special import fdtri

from analysis.claims import TAILS, Interval, interval
from analysis.codec import UNWRITTEN
from analysis.families import CHECK, FAMILIES, Family, FamilyName
from analysis.fitting import (
    PointFit,
    fit_point,
    fit_replicates,
    fit_scatter,
    normals,
    residuals,
)
from analysis.gate import (
    ACROSS,
    GateRow,
    box_row,
    condition_row,
    converged_row,
    distance_row,
    draws_row,
    range_row,
)
from analysis.results import Array

WORTH_REPLICATES = 10.0
"""Difference of AICc beyond which a family has next to no support, and no replicate is fitted."""
MISFIT = 1.5
"""χ²⊥ per degree of freedom from which on configurations may not lie on one curve, if it is"""
MISFIT_QUANTILE = 0.95
"""beyond this quantile of F too: seed noise is known from few seeds only."""
BEYOND = 24
"""Points of a curve beyond the measured range."""
ALL_ROWS = 8


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A fitted curve with its pointwise 95% band, fractions, over a grid of clean accuracies."""

    clean: tuple[float, ...]
    """Rising. Inside the measured range; `beyond` holds the dotted continuation."""
    robust: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    beyond: tuple[tuple[float, float], ...]
    """(clean, robust) outside the measured range, from its clean end on: an extrapolation."""


@dataclass(frozen=True, kw_only=True)
class FamilyFit:
    """One family fitted to one method's points."""

    family: FamilyName
    names: tuple[str, ...]
    """Of the parameters."""
    parameters: tuple[float, ...]
    """Natural units."""
    covariance: tuple[tuple[float, ...], ...]
    """Of the parameters over the replicates; empty where there are none."""
    chi2: float
    """χ²⊥, the squared whitened distance to the curve."""
    chi2_sampson: float
    aicc: float | None
    """None with fewer than p + 2 points."""
    gate: tuple[GateRow, ...]
    """Rows 1 to 8; those that need replicates are lacking where none were fitted."""
    curve: Curve | None
    """None where the gate failed."""
    residuals: tuple[float, ...] = ()
    """(n,) signed distances of the points from the curve, in standard errors."""
    attainable: Interval | None = None
    """Area under the curve from the clean floor on, over 1 - floor: mean attainable robust
    accuracy. It extrapolates beyond the measured range. None where the gate failed."""
    theta: Array | None = field(default=None, metadata=UNWRITTEN)
    """(p,) transformed parameters, and"""
    draws: Array | None = field(default=None, metadata=UNWRITTEN)
    """(B, p) those of each replicate, for what is derived from the curve."""

    @property
    def passed(self) -> bool:
        """Tell whether every row of the gate was examined and holds."""
        return len(self.gate) == ALL_ROWS and all(row.passed for row in self.gate)


@dataclass(frozen=True, kw_only=True)
class FitData:
    """What the families are fitted to: the points of one method."""

    points: Array
    """(n, 2) clean, robust."""
    covariances: Array
    """(n, 2, 2)"""
    replicates: Array
    """(B, n, 2)"""
    gate: tuple[GateRow, ...]
    """Rows 1 to 3, which hold."""
    floor: float
    """Clean accuracy from which on areas are taken."""


def corrected_criterion(chi2: float, num_points: int, num_parameters: int) -> float | None:
    """Give AICc = χ² + 2p + 2p(p + 1)/(n - p - 1), or None with fewer than p + 2 points.

    Hurvich and Tsai (1989), Biometrika 76(2).

    >>> round(corrected_criterion(7.016, 10, 3), 3)
    17.016
    """
    n, p = num_points, num_parameters
    return chi2 + 2 * p + 2 * p * (p + 1) / (n - p - 1) if n >= p + 2 else None


def point_fits(data: FitData) -> list[tuple[Family, PointFit]]:
    """Fit every family to the point estimates; the best come first.

    Both estimands have the same points and the same seed noise, so the second asks for known fits.
    """
    n = len(data.points)
    given = data.points.tobytes(), data.covariances.tobytes()
    fits = [(family, _known_fit(name, n, *given)) for name, family in FAMILIES.items()]
    return sorted(
        fits,
        key=lambda pair: corrected_criterion(pair[1].perpendicular, n, len(pair[0].names)) or 0.0,
    )


@lru_cache(maxsize=64)
def _known_fit(name: FamilyName, count: int, points: bytes, covariances: bytes) -> PointFit:
    """Fit a family to (count, 2) points with (count, 2, 2) covariances, float64 as bytes."""
    return fit_point(
        FAMILIES[name],
        np.frombuffer(points).reshape(count, 2),
        np.frombuffer(covariances).reshape(count, 2, 2),
    )


def scatter_of(
    data: FitData, candidates: list[tuple[Family, PointFit]], num_seeds: tuple[int, ...]
) -> float | None:
    """Give τ where the best family misses the points by more than seed noise explains."""
    family, fit = next(pair for pair in candidates if pair[0].name != CHECK)
    freedom = len(data.points) - len(family.names)
    ratio = fit.perpendicular / freedom
    known = sum(seeds - 1 for seeds in num_seeds)
    if ratio <= max(MISFIT, float(fdtri(freedom, known, MISFIT_QUANTILE))):
        return None
    return fit_scatter(family, fit, data.points, data.covariances)


def widened(data: FitData, scatter: float) -> FitData:
    """Add the scatter τ to the variance of every point."""
    return replace(data, covariances=data.covariances + scatter**2 * np.eye(2))


def family_fits(
    data: FitData, candidates: list[tuple[Family, PointFit]], shifts: Array
) -> list[FamilyFit]:
    """Complete the fits, by rising AICc: replicates for those that passed and have support."""
    fits: list[FamilyFit] = []
    best: float | None = None
    for family, fit in candidates:
        aicc = corrected_criterion(fit.perpendicular, len(data.points), len(family.names))
        worth = aicc is not None and (best is None or aicc <= best + WORTH_REPLICATES)
        found = _family_fit(data, family, fit, aicc, shifts, worth)
        if found.passed and family.name != CHECK and best is None:
            best = aicc
        fits.append(found)
    return fits


def _family_fit(
    data: FitData, family: Family, fit: PointFit, aicc: float | None, shifts: Array, worth: bool
) -> FamilyFit:
    points, covariances = data.points, data.covariances
    early = (
        *data.gate,
        condition_row(family, fit.theta, points, covariances),
        distance_row(fit),
        range_row(family, fit.theta, points),
    )
    draws: Array | None = None
    late: tuple[GateRow, ...] = ()
    if worth and all(row.passed for row in early):
        late = (box_row(family, fit, points, covariances),)
    if late and late[0].passed:
        normal = normals(family, fit.theta, points)
        shifted = data.replicates + shifts[:, :, np.newaxis] * normal
        draws, converged = fit_replicates(family, fit.theta, shifted, covariances)
        late = (draws_row(family, draws), converged_row(converged))
    gate = tuple(sorted((*early, *late), key=lambda row: row.number))
    passed = draws is not None and all(row.passed for row in gate)
    natural = family.natural(fit.theta[np.newaxis])[0]
    covariance = () if draws is None else np.cov(family.natural(draws).T).tolist()
    return FamilyFit(
        family=family.name,
        names=family.names,
        parameters=tuple(natural.tolist()),
        covariance=tuple(tuple(row) for row in covariance),
        chi2=fit.perpendicular,
        chi2_sampson=fit.sampson,
        aicc=aicc,
        gate=gate,
        curve=_curve(family, fit.theta, draws, points) if passed and draws is not None else None,
        residuals=tuple(residuals(family, fit.theta[np.newaxis], points, covariances)[0].tolist()),
        attainable=_attainable(family, fit.theta, draws, data.floor) if passed else None,
        theta=fit.theta,
        draws=draws,
    )


def _curve(family: Family, theta: Array, draws: Array, points: Array) -> Curve:
    clean = np.linspace(points[:, 0].min(), points[:, 0].max(), ACROSS)
    robust = family.robust(theta[np.newaxis], clean)[0]
    low, high = np.percentile(family.robust(draws, clean), TAILS, axis=0)
    # From the measured end to the end of the curve, thinned to what a line needs.
    beyond = family.polyline(theta[np.newaxis])[0][::-1]
    beyond = beyond[beyond[:, 0] > clean[-1]]
    kept = np.unique(np.linspace(0, len(beyond) - 1, min(BEYOND, len(beyond))).astype(int))
    return Curve(
        clean=tuple(clean.tolist()),
        robust=tuple(robust.tolist()),
        low=tuple(np.clip(low, 0.0, clean).tolist()),
        high=tuple(np.clip(high, 0.0, clean).tolist()),
        beyond=(
            (float(clean[-1]), float(robust[-1])),
            *((float(c), float(r)) for c, r in beyond[kept]),
        ),
    )


def _attainable(family: Family, theta: Array, draws: Array | None, floor: float) -> Interval | None:
    if draws is None:
        return None
    scale = 1.0 - floor
    estimate = float(family.area(theta[np.newaxis], floor)[0])
    return interval(estimate / scale, family.area(draws, floor) / scale)
