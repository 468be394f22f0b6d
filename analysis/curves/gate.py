"""Gate: the conditions under which a family's curve is identified. If one fails, none is drawn.

Thresholds are choices, tested in few settings. Shapes: points (n, 2) clean and robust, covariances
(n, 2, 2) of seed noise, θ (p,), draws (B, p).
"""

from dataclasses import dataclass

import numpy as np

from analysis.curves.families import Family
from analysis.curves.fitting import DISAGREEMENT, PointFit, is_inside, jacobian, shape_interval
from analysis.inference.claims import TAILS
from analysis.results.trials import Array, Bits
from analysis.results.words import count_text, percent

LEAST_CONFIGURATIONS = 5
"""Fewer distinct points hardly determine a curve of three parameters, if at all."""
APART = 2.0
"""Standard errors of a difference by which configurations count as distinct."""
LEAST_SEEDS, LEAST_RESIDUALS = 2, 10
"""Seeds of each configuration; Σ(k - 1), which the seed noise is estimated from: 5 × 3 seeds."""
LEAST_SPAN = 6.0
"""Standard errors that the points must span: three from each end to their middle."""
LARGEST_CONDITION = 1e3
"""The largest condition of the Jacobian with unit columns; identified toy fits have 6 to 50."""
LEAST_CONVERGED = 0.95
"""Share of replicates: an interval of 95% must not rest on fits that failed."""
ACROSS = 60
"""Clean accuracies over the measured range at which a curve is checked and drawn."""
PLAIN = {
    4: "the points do not tell the parameters apart of {}",
    5: "the points do not determine the shape of {}",
    6: "too few of the replicates are fitted by {}",
    7: "the distances of the points are not known from {}",
    8: "robust accuracies that are impossible follow from {}",
}
"""By number of the row, what its failure means for a family."""


@dataclass(frozen=True, kw_only=True)
class GateRow:
    """One condition of the identifiability gate."""

    number: int
    """1 to 8."""
    condition: str
    measured: str
    """With its numbers, as printed: `clean span 0.6 pp`."""
    threshold: str
    """As printed: `≥ 6 × 0.2 pp`."""
    passed: bool
    way_out: str
    """What a user can do; empty if passed."""


def point_rows(points: Array, covariances: Array, num_seeds: tuple[int, ...]) -> list[GateRow]:
    """Return rows 1 to 3, which need no fit: distinct configurations, seeds, spans."""
    return [
        _distinct_row(points, covariances),
        _seeds_row(num_seeds),
        _span_row(points, covariances),
    ]


def condition_row(family: Family, theta: Array, points: Array, covariances: Array) -> GateRow:
    """Return row 4: every parameter moves the residuals, and no two do so alike."""
    slopes = jacobian(family, theta[np.newaxis], points, covariances)[0]
    lengths = np.linalg.norm(slopes, axis=0)
    known = bool((lengths > 1e-8 * max(float(lengths.max()), 1e-300)).all())
    condition = float(np.linalg.cond(slopes / lengths)) if known else np.inf
    return _row(
        number=4,
        condition="distinguishable parameters",
        measured=f"condition {condition:.0f}" if condition < 1e9 else "a parameter has no effect",
        threshold=f"< {LARGEST_CONDITION:.0f}",
        passed=condition < LARGEST_CONDITION,
        way_out="configurations spread further along the front",
    )


def box_row(family: Family, fit: PointFit, points: Array, covariances: Array) -> GateRow:
    """Return row 5 by the points alone: the optimum, and the profile interval of the shape."""
    outside = [f"optimum of {name}" for name in _at_edge(family, fit.theta)]
    if not outside and None in shape_interval(family, fit, points, covariances):
        outside = [f"profile interval of {family.names[family.shape]}"]
    return _box_row(outside)


def draws_row(family: Family, draws: Array) -> GateRow:
    """Return row 5 by the replicates: the central 95% of every parameter."""
    low, high = np.percentile(draws, TAILS, axis=0)
    names = [*_at_edge(family, low), *_at_edge(family, high)]
    return _box_row([f"central 95% of {name}" for name in dict.fromkeys(names)])


def converged_row(converged: Bits) -> GateRow:
    """Return row 6: the share of replicates whose fit converged."""
    share = float(np.mean(converged))
    return _row(
        number=6,
        condition="replicates converged",
        measured=f"{percent(share)}% of {len(converged)}",
        threshold=f"≥ {100 * LEAST_CONVERGED:.0f}%",
        passed=share >= LEAST_CONVERGED,
        way_out="more seeds, or a wider range of the strength",
    )


def distance_row(fit: PointFit) -> GateRow:
    """Return row 7: the first-order distance agrees with the distance to the curve."""
    allowed = max(1.0, DISAGREEMENT * fit.perpendicular)
    return _row(
        number=7,
        condition="first-order distance holds",
        measured=f"χ² {fit.sampson:.1f} against {fit.perpendicular:.1f} to the curve",
        threshold=f"apart by ≤ {allowed:.1f}",
        passed=abs(fit.sampson - fit.perpendicular) <= allowed,
        way_out="leave out configurations far from the front, or add some where it is steep",
    )


def range_row(family: Family, theta: Array, points: Array) -> GateRow:
    """Return row 8: over the measured range, robust accuracy lies between 0 and the clean one."""
    clean = np.linspace(points[:, 0].min(), points[:, 0].max(), ACROSS)
    robust = family.robust(theta[np.newaxis], clean)[0]
    above = float((robust - clean).max())
    return _row(
        number=8,
        condition="0 ≤ f(c) ≤ c over the measured range",
        measured=f"f(c) - c at most {100 * above:.1f} pp, f(c) at least {percent(robust.min())}%",
        threshold="0 ≤ f(c) ≤ c",
        passed=above <= 0.0 and float(robust.min()) >= 0.0,
        way_out="more configurations at the ends of the measured range, or a larger radius",
    )


def distinct_rows(points: Array, covariances: Array) -> list[int]:
    """Return rows of points (n, 2) that are all distinct, by rising clean accuracy."""
    variances = np.diagonal(covariances, axis1=1, axis2=2)
    kept: list[int] = []
    for row in np.lexsort((points[:, 1], points[:, 0])):
        apart = np.abs(points[kept] - points[row])
        errors = np.sqrt(variances[kept] + variances[row])
        if (apart > APART * errors).any(axis=1).all():
            kept.append(int(row))
    return kept


def _distinct_row(points: Array, covariances: Array) -> GateRow:
    kept = distinct_rows(points, covariances)
    return _row(
        number=1,
        condition="distinct configurations",
        measured=f"{count_text(len(kept), 'distinct configuration')} of {len(points)}",
        threshold=f"≥ {LEAST_CONFIGURATIONS}",
        passed=len(kept) >= LEAST_CONFIGURATIONS,
        way_out="more values of the strength, further apart, or more seeds",
    )


def _seeds_row(num_seeds: tuple[int, ...]) -> GateRow:
    least = min(num_seeds, default=0)
    residual = sum(seeds - 1 for seeds in num_seeds)
    return _row(
        number=2,
        condition="seeds",
        measured=f"at least {count_text(least, 'seed')} each, Σ(k - 1) = {residual}",
        threshold=f"≥ {LEAST_SEEDS} each, Σ(k - 1) ≥ {LEAST_RESIDUALS}",
        passed=least >= LEAST_SEEDS and residual >= LEAST_RESIDUALS,
        way_out="more seeds, or the missing ones",
    )


def _span_row(points: Array, covariances: Array) -> GateRow:
    measured, thresholds, passed = [], [], True
    for column, name in enumerate(("clean", "robust")):
        span = float(np.ptp(points[:, column])) if len(points) else 0.0
        errors = np.sqrt(covariances[:, column, column])
        error = float(np.median(errors)) if len(points) else 0.0
        measured.append(f"{name} span {100 * span:.1f} pp")
        thresholds.append(f"{LEAST_SPAN:.0f} × {100 * error:.2f} pp")
        passed = passed and span >= LEAST_SPAN * error and span > 0
    return _row(
        number=3,
        condition="spans",
        measured=", ".join(measured),
        threshold=f"≥ {', '.join(thresholds)}",
        passed=passed,
        way_out="a wider range of the strength, or more seeds",
    )


def _at_edge(family: Family, theta: Array) -> list[str]:
    """Return the names of the parameters of θ (p,) that are not strictly inside the box."""
    middle = (np.array(family.low) + np.array(family.high)) / 2
    # Each parameter alone, the others at the middle of the box.
    alone = np.where(np.eye(len(theta), dtype=bool), theta, middle)
    inside = is_inside(family, alone)
    return [name for name, good in zip(family.names, inside, strict=True) if not good]


def _box_row(outside: list[str]) -> GateRow:
    return _row(
        number=5,
        condition="parameters inside their boxes",
        measured=f"at the edge: {', '.join(outside)}" if outside else "all inside",
        threshold="strictly inside",
        passed=not outside,
        way_out="configurations nearer to both ends of the front, or more seeds",
    )


def _row(
    *, number: int, condition: str, measured: str, threshold: str, passed: bool, way_out: str
) -> GateRow:
    return GateRow(
        number=number,
        condition=condition,
        measured=measured,
        threshold=threshold,
        passed=bool(passed),
        way_out="" if passed else way_out,
    )
