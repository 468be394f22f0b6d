"""Fitting: parameters of a family from points with errors in both accuracies.

The residual of a point is its first-order (Sampson) distance to the curve in standard errors,
F / √(∇Fᵀ S ∇F) with S the covariance of the point. Where a curve turns vertical this distance is
wrong, and a least-squares fit can run to a curve that misses the points. So optima are scored by
χ²⊥, the squared whitened distance to the curve itself. Shapes: θ (B, p), points (n, 2) or
(B, n, 2), covariances (n, 2, 2).
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares, minimize

from analysis.curves.families import Family
from analysis.results.trials import Array, Bits

OFFSETS = (
    (0.0, 0.0, 0.0),
    (0.3, 0.3, 0.7),
    (0.0, 0.0, -0.7),
    (0.0, 0.3, -1.2),
    (0.1, 0.5, 0.5),
    (-0.1, 0.0, 0.3),
)
"""The six starts of a fit, as offsets from the guess of θ (end, height, shape)."""
DIFFERENCE = 1e-5
"""Step of forward differences in θ, whose entries are of order 1."""
ITERATIONS, SEARCHED = 25, 60
"""The most steps of a replicate's fit, which starts near its optimum, and of the six starts."""
POLISHED = 4
"""At most this many ends of the six starts are brought to an optimum: the best of each kind."""
ALIKE = 0.05
"""Difference in θ below which two ends are of one kind."""
DAMPING, ON_SUCCESS, ON_FAILURE = 0.01, 0.2, 6.0
"""Levenberg–Marquardt: the first λ, and its factors."""
LARGEST_STEP = 1.0
"""The longest step in every entry of θ: a factor e in a parameter."""
CONVERGED = 1e-6
"""Relative decrease of the cost below which a fit has converged."""
SETTLED = 1e-9
"""Relative decrease below which it is not improved further."""
EDGE = 1e-3
"""Share of a box that is its edge: an optimum there is not inside."""
PROFILE = 25
"""Values of the shape on each side of its optimum at which the profile is taken."""
RISE = 3.84
"""95% point of χ² with one degree of freedom: where a profile interval ends."""
CHUNK = 100
"""Curves whose distances are computed at a time, 400 × n numbers each, or replicates refitted."""
DISAGREEMENT = 0.2
"""Allowed between Sampson's χ² and χ²⊥, relative, or 1 if more; right fits have -2 to +4%."""
LOST = 0.05
"""No replicate is refitted after this share has failed for good: the gate refuses the family."""


@dataclass(frozen=True, kw_only=True)
class PointFit:
    """The best curve of one family through the point estimates."""

    theta: Array
    """(p,)"""
    sampson: float
    """Σ of squared residuals."""
    perpendicular: float
    """χ²⊥"""


def residuals(family: Family, theta: Array, points: Array, covariances: Array) -> Array:
    """Return the signed first-order distances of the points in standard errors, (B, n)."""
    value, by_clean, by_robust = family.implicit(theta, points[..., 0], points[..., 1])
    variance = (
        by_clean**2 * covariances[:, 0, 0]
        + 2.0 * by_clean * by_robust * covariances[:, 0, 1]
        + by_robust**2 * covariances[:, 1, 1]
    )
    found: Array = value / np.sqrt(np.maximum(variance, 1e-300))
    return found


def normals(family: Family, theta: Array, points: Array) -> Array:
    """Return the unit normals of one curve θ (p,) at the points, (n, 2)."""
    _, *gradient = family.implicit(theta[np.newaxis], points[:, 0], points[:, 1])
    both = np.stack([part[0] for part in gradient], axis=1)
    unit: Array = both / np.maximum(np.linalg.norm(both, axis=1, keepdims=True), 1e-300)
    return unit


def perpendicular(family: Family, theta: Array, points: Array, covariances: Array) -> Array:
    """Return χ²⊥, the summed squared whitened distances from points (n, 2) to each curve, (B,).

    points may be (B, n, 2), too. Distances are measured to the chords of the dense polyline.
    """
    whitening: Array = np.linalg.inv(np.linalg.cholesky(covariances))
    points = np.broadcast_to(points, (len(theta), *points.shape[-2:]))
    chunks = [slice(at, at + CHUNK) for at in range(0, len(theta), CHUNK)]
    found = [_distances(family, theta[c], points[c], whitening) for c in chunks]
    return np.concatenate(found) if found else np.empty(0)


def _distances(family: Family, theta: Array, points: Array, whitening: Array) -> Array:
    """Return χ²⊥ of points (B, n, 2); whitening: (n, 2, 2), lower triangular."""
    curve = family.polyline(theta)[:, np.newaxis] - points[:, :, np.newaxis]
    # (B, n, G): the curve as the errors of each point see it, the point at the origin.
    weights = whitening[:, :, :, np.newaxis]
    x = weights[:, 0, 0] * curve[..., 0]
    y = weights[:, 1, 0] * curve[..., 0] + weights[:, 1, 1] * curve[..., 1]
    along_x, along_y = np.diff(x, axis=2), np.diff(y, axis=2)
    x, y = x[..., :-1], y[..., :-1]
    length = np.maximum(along_x**2 + along_y**2, 1e-300)
    share = np.clip(-(x * along_x + y * along_y) / length, 0.0, 1.0)
    squared: Array = ((x + share * along_x) ** 2 + (y + share * along_y) ** 2).min(axis=2)
    total: Array = squared.sum(axis=1)
    return total


def fit_point(family: Family, points: Array, covariances: Array) -> PointFit:
    """Fit a family to point estimates (n, 2) from six starts, and keep the fit of least χ²⊥.

    All six run at once. The best ends, one of each kind, are brought to the optimum by scipy's
    trust-region method within the box. If the two distances disagree there, that method runs from
    the six starts, too: it is slower, but follows a valley of the first-order distance less easily.
    """
    start = starts(family, points)
    repeated = np.broadcast_to(points, (len(start), *points.shape))
    ends, _, _ = fit_batch(family, start, repeated, covariances, iterations=SEARCHED)
    scores = perpendicular(family, ends, points, covariances)
    kept: list[Array] = []
    for end in ends[np.argsort(scores, kind="stable")]:
        if len(kept) < POLISHED and all(np.abs(end - other).max() > ALIKE for other in kept):
            kept.append(end)
    found = _best_polished(family, kept, points, covariances)
    if abs(found.sampson - found.perpendicular) > max(1.0, DISAGREEMENT * found.perpendicular):
        again = _best_polished(family, list(start), points, covariances)
        found = min(found, again, key=lambda fit: fit.perpendicular)
    return found


def _best_polished(
    family: Family, ends: list[Array], points: Array, covariances: Array
) -> PointFit:
    """Return the polished end of least χ²⊥."""
    theta = np.array([_polished(family, end, points, covariances) for end in ends])
    scores = perpendicular(family, theta, points, covariances)
    best = int(np.argmin(scores))
    errors = residuals(family, theta[best : best + 1], points, covariances)
    return PointFit(
        theta=theta[best], sampson=float((errors**2).sum()), perpendicular=float(scores[best])
    )


def _polished(family: Family, start: Array, points: Array, covariances: Array) -> Array:
    """Bring θ (p,) to the nearest optimum of the first-order distance within the box."""
    low, high = np.array(family.low), np.array(family.high)
    # scipy refuses a start outside the box, and its steps shrink to nothing from the edge.
    inside = np.clip(start, low + 1e-6, high - 1e-6)
    found: Array = least_squares(
        lambda theta: residuals(family, theta[np.newaxis], points, covariances)[0],
        inside,
        lambda theta: jacobian(family, theta[np.newaxis], points, covariances)[0],
        bounds=(low, high),
        method="trf",
        xtol=1e-12,
        ftol=1e-12,
        gtol=1e-12,
    ).x
    return found


def starts(family: Family, points: Array) -> Array:
    """Return the six starts (6, p), inside the box."""
    low, high = np.array(family.low), np.array(family.high)
    margin = 0.01 * (high - low)
    offsets = np.array(OFFSETS)[:, -len(low) :]
    inside: Array = np.clip(family.guess(points) + offsets, low + margin, high - margin)
    return inside


def jacobian(
    family: Family, theta: Array, points: Array, covariances: Array, base: Array | None = None
) -> Array:
    """Compute the derivatives of the residuals by θ, (B, n, p), by forward differences.

    base: the residuals at θ, if already known.
    """
    base = residuals(family, theta, points, covariances) if base is None else base
    columns = []
    for column in range(theta.shape[1]):
        moved = theta.copy()
        moved[:, column] += DIFFERENCE
        columns.append((residuals(family, moved, points, covariances) - base) / DIFFERENCE)
    return np.stack(columns, axis=2)


def fit_batch(
    family: Family,
    start: Array,
    points: Array,
    covariances: Array,
    free: tuple[int, ...] | None = None,
    iterations: int = ITERATIONS,
) -> tuple[Array, Array, Bits]:
    """Fit B data sets (B, n, 2) at once from θ (B, p), by Levenberg–Marquardt.

    Only the parameters `free` move. Returns θ (B, p), the costs Σ residual² (B,), and which have
    converged inside the box (B,).
    """
    free = free or tuple(range(start.shape[1]))
    low, high = np.array(family.low), np.array(family.high)
    theta = np.clip(start, low, high)
    errors = residuals(family, theta, points, covariances)
    cost = (errors**2).sum(axis=1)
    damping = np.full(len(theta), DAMPING)
    last = np.full(len(theta), np.inf)
    active = np.arange(len(theta))
    for _ in range(iterations):
        if len(active) == 0:
            break
        slopes = jacobian(family, theta[active], points[active], covariances, errors[active])
        step, promised = _step(slopes[:, :, free], errors[active], damping[active])
        moved = theta[active].copy()
        moved[:, free] = np.clip(moved[:, free] + step, low[list(free)], high[list(free)])
        tried = residuals(family, moved, points[active], covariances)
        sums = (tried**2).sum(axis=1)
        gained = (cost[active] - sums) / np.maximum(cost[active], 1e-12)
        better = gained > 0
        # A step that promises nothing and gains nothing is an optimum too.
        promised = promised / np.maximum(cost[active], 1e-12)
        still = ~better & (promised < CONVERGED)
        # A step that damping made short says nothing about convergence.
        told = np.where(better, gained, np.where(still, 0.0, np.inf))
        last[active] = np.where(damping[active] <= 1.0, told, np.inf)
        rows = active[better]
        theta[rows], errors[rows], cost[rows] = moved[better], tried[better], sums[better]
        damping[active] *= np.where(better, ON_SUCCESS, ON_FAILURE)
        active = active[last[active] > SETTLED]
    return theta, cost, (last < CONVERGED) & is_inside(family, theta)


def _step(slopes: Array, errors: Array, damping: Array) -> tuple[Array, Array]:
    """Return the damped steps (B, p), clipped, and the decrease promised by those not clipped."""
    gradient = np.einsum("bnp,bn->bp", slopes, errors)
    normal = np.einsum("bnp,bnq->bpq", slopes, slopes)
    diagonal = np.einsum("bpp->bp", normal)
    # A parameter without effect keeps its value: its row is made solvable.
    scale = np.maximum(diagonal, 1e-12 * diagonal.max(axis=1, keepdims=True) + 1e-30)
    damped = normal.copy()
    index = np.arange(normal.shape[1])
    damped[:, index, index] += damping[:, np.newaxis] * scale + 1e-30
    step: Array = -np.linalg.solve(damped, gradient[..., np.newaxis])[..., 0]
    curved = np.einsum("bp,bpq,bq->b", step, normal, step)
    promised = -(2.0 * (gradient * step).sum(axis=1) + curved)
    return np.clip(step, -LARGEST_STEP, LARGEST_STEP), promised


def is_inside(family: Family, theta: Array) -> Bits:
    """Return which θ (B, p) lie strictly inside the box, (B,) bool."""
    low, high = np.array(family.low), np.array(family.high)
    margin = EDGE * (high - low)
    inside: Bits = np.all((theta > low + margin) & (theta < high - margin), axis=1)
    return inside


def fit_replicates(
    family: Family, theta: Array, replicates: Array, covariances: Array
) -> tuple[Array, Bits]:
    """Fit every replicate (B, n, 2) from the point fit θ (p,).

    A failed replicate is fitted again from the six starts, and the converged end of least χ²⊥ is
    kept. Once more have failed for good than the gate allows, the others are left as they are.
    Returns θ (B, p) of all replicates, and which converged (B,).
    """
    start = np.repeat(theta[np.newaxis], len(replicates), axis=0)
    draws, _, converged = fit_batch(family, start, replicates, covariances)
    failed = np.flatnonzero(~converged)
    lost = 0
    for at in range(0, len(failed), CHUNK):
        rows = failed[at : at + CHUNK]
        found, ends = _fit_again(family, replicates[rows], covariances)
        draws[rows[found]], converged[rows[found]] = ends[found], True
        lost += int(np.sum(~found))
        if lost > LOST * len(draws):
            break
    return draws, converged


def _fit_again(family: Family, replicates: Array, covariances: Array) -> tuple[Bits, Array]:
    """Fit replicates (F, n, 2) from six starts each; return which converged and the ends (F, p)."""
    count = len(OFFSETS)
    again = np.vstack([starts(family, points) for points in replicates])
    points = np.repeat(replicates, count, axis=0)
    ends, _, good = fit_batch(family, again, points, covariances)
    scores = np.full(len(ends), np.inf)
    scores[good] = perpendicular(family, ends[good], points[good], covariances)
    by_start = scores.reshape(-1, count)
    best = np.argmin(by_start, axis=1)
    every = np.arange(len(replicates))
    return np.isfinite(by_start[every, best]), ends.reshape(-1, count, ends.shape[1])[every, best]


def shape_interval(
    family: Family, fit: PointFit, points: Array, covariances: Array
) -> tuple[float | None, float | None]:
    """Return the ends of the shape's profile interval in θ, by χ²⊥ with all else refitted.

    None where χ²⊥ does not rise by 3.84 before the edge of the box.
    """
    at, shape = family.shape, fit.theta[family.shape]
    margin = EDGE * (family.high[at] - family.low[at])
    ends: list[float | None] = []
    others = tuple(p for p in range(len(fit.theta)) if p != at)
    # Squared spacing: narrow intervals are resolved, and the edge of the box is reached.
    share = np.linspace(0.0, 1.0, PROFILE + 1)[1:] ** 2
    sides = [
        shape + share * (edge - shape)
        for edge in (family.low[at] + margin, family.high[at] - margin)
    ]
    theta = np.repeat(fit.theta[np.newaxis], 2 * PROFILE, axis=0)
    theta[:, at] = np.concatenate(sides)
    repeated = np.broadcast_to(points, (len(theta), *points.shape))
    refitted, _, _ = fit_batch(family, theta, repeated, covariances, free=others)
    rises = perpendicular(family, refitted, points, covariances) - fit.perpendicular
    for rise, side in zip(np.split(rises, 2), sides, strict=True):
        above = np.flatnonzero(rise > RISE)
        ends.append(float(side[above[0]]) if len(above) else None)
    return ends[0], ends[1]


def fit_scatter(family: Family, fit: PointFit, points: Array, covariances: Array) -> float:
    """Fit τ, the scatter of the configurations across the curve beyond their seed noise.

    Minimises Σ d²/(v + τ²) + ln(v + τ²) over θ and τ², d and v being distance and variance along
    the normal of the curve.
    """
    size = float(np.median(np.trace(covariances, axis1=1, axis2=2))) / 2

    def objective(values: Array) -> float:
        theta = np.clip(values[:-1], family.low, family.high)[np.newaxis]
        widened = covariances + size * np.exp(min(values[-1], 20.0)) * np.eye(2)
        errors = residuals(family, theta, points, widened)[0]
        normal = normals(family, theta[0], points)
        variance = np.einsum("ni,nij,nj->n", normal, widened, normal)
        return float((errors**2 + np.log(variance)).sum())

    excess = fit.perpendicular / max(len(points) - len(fit.theta), 1)
    start = np.append(fit.theta, np.log(max(excess - 1.0, 0.1)))
    # The curve may run to a vertical end, where the objective has no useful gradient.
    found = minimize(objective, start, method="Nelder-Mead", options={"maxiter": 800})
    return float(np.sqrt(size * np.exp(min(found.x[-1], 20.0))))
