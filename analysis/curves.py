"""Curves: families fitted to a method's front, the gate that refuses them, and the choice."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.bootstrap import Replicates
from analysis.choice import Choice, MethodFront, choose
from analysis.claims import Estimand
from analysis.concave import concave_fit
from analysis.configurations import ConfigurationResult, configurations
from analysis.families import CHECK, FamilyName
from analysis.family_fits import (
    Curve,
    FamilyFit,
    FitData,
    family_fits,
    point_fits,
    scatter_of,
    widened,
)
from analysis.front import dominance_shares
from analysis.gate import GateRow, point_rows
from analysis.results import Array, Results

__all__ = ["Curve", "FamilyFit", "FamilyName", "FrontFit", "GateRow", "fit_fronts", "fit_points"]

CLOSE = 2.0
"""Difference of AICc up to which families count as equally good: a finding holds in each."""
CERTAIN = 0.99
"""Share of replicates in which one configuration dominates another, from which on it surely does:
through points of one falling curve this is rare, and beyond a peak the rule."""
ALL = "all its configurations"
STRONGEST_CORRELATION = 0.999
"""Of clean and robust errors: a singular covariance would leave a distance undefined."""


@dataclass(frozen=True, kw_only=True)
class FrontFit:
    """One method's front at one radius under one estimand: the families, and which is drawn."""

    method: str
    radius: float
    estimand: Estimand
    points: tuple[int, ...]
    """Rows (of `configurations(results)`) that were fitted."""
    which: str
    """Said of the points: `all its configurations`, `the members chosen on validation`."""
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

    def family(self, name: FamilyName) -> FamilyFit:
        """Give the fit of this family."""
        return next(fit for fit in self.families if fit.family == name)


def fit_fronts(
    results: Results,
    replicates: Replicates,
    *,
    radius: float | None = None,
    estimand: Estimand | None = None,
) -> list[FrontFit]:
    """Fit every method's front at one radius, by default the objective radius.

    A method of one varied strength is fitted through all its configurations but those that another
    of them certainly dominates, beyond the peak of robust accuracy, say: a front does not pass
    through them. Any other method is fitted through the members of its front. By default under the
    estimand of headline numbers.
    """
    radius = results.threat.objective_radius if radius is None else radius
    estimand = replicates.default if estimand is None else estimand
    columns = [0, 1 + results.threat.radii.index(radius)]
    found, choice = configurations(results), choose(results)
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

    covariances: (n, 2, 2) of seed noise; replicates: (B, n, 2); num_seeds: (n,). Gate rows 1 to 3
    need no fit, so most refusals are quick; replicates are fitted for the families with support.
    """
    gate = tuple(point_rows(points, covariances, num_seeds))
    fits: list[FamilyFit] = []
    scatter, concave = None, np.empty((0, 2))
    if all(row.passed for row in gate):
        data = FitData(
            points=points,
            covariances=_regular(covariances),
            replicates=replicates,
            gate=gate,
            floor=floor,
        )
        noise = np.random.default_rng([seed, *rows]).standard_normal(replicates.shape[:2])
        fits, scatter = _all_fits(data, num_seeds, noise)
        concave = concave_fit(points, data.covariances)
    passing = [fit for fit in fits if fit.passed and fit.family != CHECK]
    best = aicc_of(passing[0]) if passing else 0.0
    refusal, way_out = ("", "") if passing else _refusal(gate, fits)
    return FrontFit(
        method=method,
        radius=radius,
        estimand=estimand,
        points=rows,
        which=which,
        families=tuple(fits),
        chosen=passing[0].family if passing else None,
        close=tuple(fit.family for fit in passing if aicc_of(fit) <= best + CLOSE),
        scatter=scatter,
        refusal=refusal,
        way_out=way_out,
        seeds=(min(num_seeds, default=0), max(num_seeds, default=0)),
        gate=gate,
        concave=tuple((float(c), float(r)) for c, r in concave) if passing else (),
    )


def varied_strength(found: Sequence[ConfigurationResult]) -> str | None:
    """Name the one value, a number, that varies among the configurations; None if it is not one."""
    names = {name for c in found for name in c.values}
    varied = [name for name in sorted(names) if len({c.values.get(name) for c in found}) > 1]
    if len(varied) != 1:
        return None
    numbers = all(isinstance(c.values.get(varied[0]), float | int) for c in found)
    return varied[0] if numbers else None


def _fitted(
    front: MethodFront, choice: Choice, found: tuple[ConfigurationResult, ...]
) -> tuple[list[int], str]:
    """Give the rows that are fitted, and what is said of them."""
    row_of = {c.key: row for row, c in enumerate(found)}
    if not front.note.searched and varied_strength(front.configurations) is not None:
        return [row_of[c.key] for c in front.configurations], ALL
    where = "on validation" if choice.on_validation else "on test, not selected independently"
    return [row_of[c.key] for c in front.members], f"the members chosen {where}"


def _certainly_dominated(drawn: Array) -> list[bool]:
    """Mark the configurations that another one dominates in nearly all replicates (B, n, 2)."""
    shares = dominance_shares(drawn, drawn)
    return [bool(share >= CERTAIN) for share in shares.max(axis=0, initial=0.0)]


def _all_fits(
    data: FitData, num_seeds: tuple[int, ...], noise: Array
) -> tuple[list[FamilyFit], float | None]:
    """Fit all families, with τ where the points do not lie on one curve; noise: (B, n) normal."""
    candidates = point_fits(data)
    scatter = scatter_of(data, candidates, num_seeds)
    if scatter is None:
        return family_fits(data, candidates, np.zeros_like(noise)), None
    data = widened(data, scatter)
    return family_fits(data, point_fits(data), scatter * noise), scatter


def _regular(covariances: Array) -> Array:
    regular = covariances.copy()
    most = STRONGEST_CORRELATION * np.sqrt(covariances[:, 0, 0] * covariances[:, 1, 1])
    regular[:, 0, 1] = regular[:, 1, 0] = np.clip(covariances[:, 0, 1], -most, most)
    return regular


def aicc_of(fit: FamilyFit) -> float:
    return np.inf if fit.aicc is None else fit.aicc


def _refusal(gate: tuple[GateRow, ...], fits: list[FamilyFit]) -> tuple[str, str]:
    """Say why there is no curve: the first row that failed, in the family that fits best."""
    candidates = [fit for fit in fits if fit.family != CHECK]
    rows = candidates[0].gate if candidates else gate
    failed = next(row for row in rows if not row.passed)
    measured = f"{failed.measured}, needed {failed.threshold}"
    if not candidates:
        return measured, failed.way_out
    where = f"{candidates[0].family} family, which fits best"
    return f"{failed.condition} ({where}): {measured}", failed.way_out
