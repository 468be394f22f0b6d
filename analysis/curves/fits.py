"""Curves: the families fitted to each method's front, the gate that refuses them, and the choice.

Every family is fitted to the point estimates. Families with support are fitted to every replicate
too, which gives their bands and the last rows of their gates. The family of least AICc among those
that pass their gate is drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
from scipy.special import fdtri

from analysis.curves.families import CHECK, FAMILIES, Family, FamilyName
from analysis.curves.fitting import (
    PointFit,
    fit_point,
    fit_replicates,
    fit_scatter,
    normals,
    residuals,
)
from analysis.curves.gate import (
    ACROSS,
    PLAIN,
    GateRow,
    box_row,
    condition_row,
    converged_row,
    distance_row,
    draws_row,
    point_rows,
    range_row,
)
from analysis.curves.steps import Steps, fit_steps
from analysis.fronts.choice import Choice, MethodFront, choose
from analysis.fronts.pareto import dominance_shares
from analysis.inference.bootstrap import Replicates
from analysis.inference.claims import TAILS, Estimand, Interval
from analysis.inference.intervals import interval
from analysis.inference.monotone import concave_fit
from analysis.results.configurations import ConfigurationResult, configurations
from analysis.results.results import Results
from analysis.results.trials import ARRAYS, UNWRITTEN, Array

WORTH_REPLICATES = 10.0
"""Difference of AICc beyond which a family has next to no support: no replicate is fitted."""
MISFIT, MISFIT_QUANTILE = 1.5, 0.95
"""The configurations do not lie on one curve if χ²⊥ per degree of freedom exceeds both this number
and this quantile of F. The number alone fires in a fifth of the right fits, as seed noise is known
from few seeds."""
BEYOND = 24
"""Points kept of a curve beyond the measured range."""
ALL_ROWS = 8
CLOSE = 2.0
"""Difference of AICc up to which families count as equally good: a finding must hold in each."""
CERTAIN = 0.99
"""A configuration is left out if another dominates it in this share of the replicates: rare among
points of one falling curve, and the rule beyond a peak."""
ALL = "all its configurations"
STRONGEST_CORRELATION = 0.999
"""The limit of the correlation of clean and robust errors: with a singular covariance distances are
undefined."""


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

    __pydantic_config__ = ARRAYS

    family: FamilyName
    names: tuple[str, ...]
    """The names of the parameters."""
    parameters: tuple[float, ...]
    """Natural units."""
    covariance: tuple[tuple[float, ...], ...]
    """Covariance of the parameters over the replicates; empty where there are none."""
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
        """Whether every row of the gate was examined and holds."""
        return len(self.gate) == ALL_ROWS and all(row.passed for row in self.gate)


@dataclass(frozen=True, kw_only=True)
class FrontFit:
    """One method's front at one radius under one estimand: the families, and which is drawn."""

    method: str
    radius: float
    estimand: Estimand
    points: tuple[int, ...]
    """The rows of `configurations(results)` that were fitted."""
    which: str
    """A description of the points: `all its configurations`, `the members chosen on validation`."""
    families: tuple[FamilyFit, ...]
    """By rising AICc; empty where rows 1 to 3 of the gate, which need no fit, failed."""
    chosen: FamilyName | None
    """The family of least AICc among those that pass the gate; None is a refusal."""
    close: tuple[FamilyName, ...]
    """Passing families within 2 of the chosen's AICc, the chosen first."""
    scatter: float | None
    """τ, if the configurations do not lie on one curve (fraction); None if they do."""
    refusal: str
    """Why no curve is drawn, with numbers; empty if one is."""
    way_out: str
    seeds: tuple[int, int] = (0, 0)
    """The least and the greatest number of seeds of the points."""
    gate: tuple[GateRow, ...] = ()
    """Rows 1 to 3, equal for all families."""
    concave: tuple[tuple[float, float], ...] = ()
    """Knots (clean, robust) of the concave free fit, a check drawn thin; empty if refused."""
    steps: Steps | None = field(
        default=None, metadata={"written": lambda fit: fit.steps is not None}
    )
    """The monotone fit in place of a curve, where the points carry a shape but no family fits."""

    @property
    def curve(self) -> Curve | None:
        """Return the curve that is drawn; None if the fit was refused."""
        return None if self.chosen is None else self.family(self.chosen).curve

    def family(self, name: FamilyName) -> FamilyFit:
        """Return the fit of this family."""
        return next(fit for fit in self.families if fit.family == name)


@dataclass(frozen=True, kw_only=True)
class _FitData:
    """The points of one method, to which the families are fitted."""

    points: Array
    """(n, 2) clean, robust."""
    covariances: Array
    """(n, 2, 2)"""
    replicates: Array
    """(B, n, 2)"""
    gate: tuple[GateRow, ...]
    """Rows 1 to 3, all passed."""
    floor: float
    """The least clean accuracy of the areas under the curves."""


def fit_fronts(
    results: Results,
    replicates: Replicates,
    *,
    choice: Choice | None = None,
    radius: float | None = None,
    estimand: Estimand | None = None,
) -> list[FrontFit]:
    """Fit every method's front at one radius, by default the objective radius.

    A method of one varied strength is fitted through all its configurations except those that
    another of them certainly dominates, for example beyond the peak of robust accuracy: a front
    does not pass through those. Any other method is fitted through the members of its front. The
    default estimand is that of headline numbers. choice: of these results, if already known.
    """
    radius = results.threat.objective_radius if radius is None else radius
    estimand = replicates.default if estimand is None else estimand
    columns = [0, 1 + results.threat.radii.index(radius)]
    choice = choose(results) if choice is None else choice
    found = configurations(results)
    fits = []
    for front in choice.fronts:
        rows, which = _fitted(front, choice, found)
        if which == ALL:
            dominated = _certainly_dominated(replicates.of(estimand)[:, rows][:, :, columns])
            which = f"all but {sum(dominated)} that others dominate" if any(dominated) else ALL
            rows = [row for row, out in zip(rows, dominated, strict=True) if not out]
        fits.append(
            fit_points(
                replicates.means[np.ix_(rows, columns)],
                replicates.covariances[np.ix_(rows, columns, columns)],
                replicates.of(estimand)[:, rows][:, :, columns],
                tuple(replicates.num_seeds[row] for row in rows),
                method=front.note.name,
                radius=radius,
                estimand=estimand,
                rows=tuple(rows),
                which=which,
                floor=results.clean_floor,
                seed=replicates.seed,
            )
        )
    return fits


def fit_points(
    points: Array,
    covariances: Array,
    replicates: Array,
    num_seeds: tuple[int, ...],
    *,
    method: str,
    radius: float,
    estimand: Estimand,
    rows: tuple[int, ...],
    which: str,
    floor: float,
    seed: int,
) -> FrontFit:
    """Fit the front of one method through points (n, 2), or refuse to.

    covariances: (n, 2, 2) of seed noise; replicates: (B, n, 2); num_seeds: (n,). Rows 1 to 3 of
    the gate need no fit, so most refusals are quick.
    """
    gate = tuple(point_rows(points, covariances, num_seeds))
    fits: list[FamilyFit] = []
    scatter = None
    regular = _regular(covariances)
    if all(row.passed for row in gate):
        data = _FitData(
            points=points, covariances=regular, replicates=replicates, gate=gate, floor=floor
        )
        noise = np.random.default_rng([seed, *rows]).standard_normal(replicates.shape[:2])
        fits, scatter = _all_fits(data, num_seeds, noise)
    close = _close(fits)
    concave = concave_fit(points, regular) if close else np.empty((0, 2))
    refusal, way_out = ("", "") if close else _refusal(gate, fits)
    steps = fit_steps(points, regular, replicates) if fits and not close else None
    return FrontFit(
        method=method,
        radius=radius,
        estimand=estimand,
        points=rows,
        which=which,
        families=tuple(fits),
        chosen=close[0] if close else None,
        close=close,
        scatter=scatter,
        refusal=refusal,
        way_out=way_out,
        seeds=(min(num_seeds, default=0), max(num_seeds, default=0)),
        gate=gate,
        concave=tuple((float(c), float(r)) for c, r in concave),
        steps=steps,
    )


def corrected_criterion(chi2: float, num_points: int, num_parameters: int) -> float | None:
    """Return AICc = χ² + 2p + 2p(p + 1)/(n - p - 1), or None with fewer than p + 2 points.

    Hurvich and Tsai (1989), Biometrika 76(2).

    >>> round(corrected_criterion(7.016, 10, 3), 3)
    17.016
    """
    n, p = num_points, num_parameters
    return chi2 + 2 * p + 2 * p * (p + 1) / (n - p - 1) if n >= p + 2 else None


def _varied_strength(found: Sequence[ConfigurationResult]) -> str | None:
    """Return the name of the only value that varies; None if several do or it is not a number."""
    names = {name for c in found for name in c.values}
    varied = [name for name in sorted(names) if len({c.values.get(name) for c in found}) > 1]
    if len(varied) != 1:
        return None
    numbers = all(isinstance(c.values.get(varied[0]), float | int) for c in found)
    return varied[0] if numbers else None


def _fitted(
    front: MethodFront, choice: Choice, found: tuple[ConfigurationResult, ...]
) -> tuple[list[int], str]:
    """Return the rows to fit, and a description of them."""
    row_of = {c.key: row for row, c in enumerate(found)}
    varied = _varied_strength(front.configurations)
    if not front.note.searched and varied is not None and varied not in front.note.setup:
        return [row_of[c.key] for c in front.configurations], ALL
    where = "on validation" if choice.on_validation else "on test, not selected independently"
    return [row_of[c.key] for c in front.members], f"the members chosen {where}"


def _certainly_dominated(drawn: Array) -> list[bool]:
    """Mark the configurations that another one dominates in nearly all replicates (B, n, 2)."""
    shares = dominance_shares(drawn, drawn)
    return [bool(share >= CERTAIN) for share in shares.max(axis=0, initial=0.0)]


def _all_fits(
    data: _FitData, num_seeds: tuple[int, ...], noise: Array
) -> tuple[list[FamilyFit], float | None]:
    """Fit all families and return the scatter τ, if there is one; noise: (B, n) standard normal."""
    candidates = _point_fits(data)
    scatter = _scatter(data, candidates, num_seeds)
    if scatter is None:
        return _family_fits(data, candidates, np.zeros_like(noise)), None
    data = replace(data, covariances=data.covariances + scatter**2 * np.eye(2))
    return _family_fits(data, _point_fits(data), scatter * noise), scatter


def _point_fits(data: _FitData) -> list[tuple[Family, PointFit]]:
    """Fit every family to the point estimates, and sort the fits by rising AICc."""
    n = len(data.points)
    # As bytes, which the cache can compare: both estimands have the same points and seed noise.
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


def _scatter(
    data: _FitData, candidates: list[tuple[Family, PointFit]], num_seeds: tuple[int, ...]
) -> float | None:
    """Return the scatter τ of the points around the best family's curve, beyond their seed noise.

    Return None if seed noise explains the residuals.
    """
    family, fit = next(pair for pair in candidates if pair[0].name != CHECK)
    freedom = len(data.points) - len(family.names)
    ratio = fit.perpendicular / freedom
    known = sum(seeds - 1 for seeds in num_seeds)
    if ratio <= max(MISFIT, float(fdtri(freedom, known, MISFIT_QUANTILE))):
        return None
    return fit_scatter(family, fit, data.points, data.covariances)


def _family_fits(
    data: _FitData, candidates: list[tuple[Family, PointFit]], shifts: Array
) -> list[FamilyFit]:
    """Complete the fits, by rising AICc.

    Replicates are fitted only where the early rows of the gate pass and the AICc is near the best.
    """
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
    data: _FitData, family: Family, fit: PointFit, aicc: float | None, shifts: Array, worth: bool
) -> FamilyFit:
    """Complete one fit; shifts: (B, n) scatter of the replicates across the curve."""
    points, covariances = data.points, data.covariances
    early = (
        *data.gate,
        condition_row(family, fit.theta, points, covariances),
        distance_row(fit),
        range_row(family, fit.theta, points),
    )
    # The gate's rows come by rising cost: no replicate is fitted after one has failed.
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
    curve, attainable = None, None
    if draws is not None and all(row.passed for row in gate):
        curve = _curve(family, fit.theta, draws, points)
        attainable = _attainable(family, fit.theta, draws, data.floor)
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
        curve=curve,
        residuals=tuple(residuals(family, fit.theta[np.newaxis], points, covariances)[0].tolist()),
        attainable=attainable,
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


def _attainable(family: Family, theta: Array, draws: Array, floor: float) -> Interval:
    scale = 1.0 - floor
    estimate = float(family.area(theta[np.newaxis], floor)[0])
    return interval(estimate / scale, family.area(draws, floor) / scale)


def _close(fits: list[FamilyFit]) -> tuple[FamilyName, ...]:
    """Return the families that pass and whose AICc is within 2 of the least, by rising AICc."""
    # A family that passes was fitted to replicates, so its AICc is known.
    passing = {
        fit.family: fit.aicc
        for fit in fits
        if fit.passed and fit.family != CHECK and fit.aicc is not None
    }
    most = min(passing.values(), default=0.0) + CLOSE
    return tuple(name for name, aicc in passing.items() if aicc <= most)


def _regular(covariances: Array) -> Array:
    """Limit the correlation of clean and robust errors, so that distances are defined."""
    regular = covariances.copy()
    most = STRONGEST_CORRELATION * np.sqrt(covariances[:, 0, 0] * covariances[:, 1, 1])
    regular[:, 0, 1] = regular[:, 1, 0] = np.clip(covariances[:, 0, 1], -most, most)
    return regular


def _refusal(gate: tuple[GateRow, ...], fits: list[FamilyFit]) -> tuple[str, str]:
    """Return why there is no curve, by the first failed row of the best family, and the way out."""
    candidates = [fit for fit in fits if fit.family != CHECK]
    rows = candidates[0].gate if candidates else gate
    failed = next(row for row in rows if not row.passed)
    measured = f"{failed.measured}; required: {failed.threshold}"
    if not candidates:
        return measured, failed.way_out
    said = PLAIN[failed.number].format(f"the {candidates[0].family} family, which fits best")
    return f"{said} ({failed.condition}: {measured})", failed.way_out
