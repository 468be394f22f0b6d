"""Rates: how much robust accuracy a method gains for clean accuracy along its fitted front."""

from dataclasses import dataclass, replace

import numpy as np

from analysis.curves.families import FAMILIES, FamilyName
from analysis.curves.fits import FrontFit
from analysis.inference.bootstrap import Replicates
from analysis.inference.claims import TAILS, Estimand, Interval, Status
from analysis.results.results import Results
from analysis.results.trials import Array

GRID = 60
"""Clean accuracies of a rate."""
SURE = 0.95
"""The place of a knee is quoted if at least this share of the replicates has one."""
DIVERGED = 1e4
"""Exchange rates above this belong to the end of a curve, where it falls vertically."""
BISECTIONS = 40
"""Bisections of a grid step; its width is then far below the rounding of an accuracy."""

Numbers = tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Exchange rate of one front: robust points gained per clean point given up."""

    method: str
    radius: float
    estimand: Estimand
    status: Status
    reason: str
    way_out: str = ""
    family: FamilyName | None = None
    clean: Numbers = ()
    """From the least measured clean accuracy on; it ends before the rate diverges."""
    estimate: Numbers = ()
    low: Numbers = ()
    high: Numbers = ()
    """Pointwise 95% interval."""
    close_low: Numbers = ()
    close_high: Numbers = ()
    """The least and the greatest estimate over the close families."""
    knee: Interval | None = None
    """Clean accuracy where the rate equals the slope of the chord; None if there is none."""
    chord: tuple[float, float] | None = None
    """The measured ends of clean accuracy that the chord joins: the knee depends on them."""
    configurations: int = 0
    seeds: tuple[int, int] = (0, 0)


def measure_rate(results: Results, replicates: Replicates, fit: FrontFit) -> Rate:
    """Compute the exchange rate of a method over the measured range of its fitted front."""
    refused = Rate(
        method=fit.method,
        radius=fit.radius,
        estimand=fit.estimand,
        status="refused",
        reason=fit.refusal,
        way_out=fit.way_out,
        configurations=len(fit.points),
        seeds=fit.seeds,
    )
    if fit.chosen is None:
        return refused
    family, (theta, draws) = FAMILIES[fit.chosen], parameters(fit, fit.chosen)
    ends = measured(replicates, fit)
    clean = np.linspace(*ends, GRID)
    estimate = np.minimum(family.rate(theta, clean)[0], DIVERGED)
    low, high = np.percentile(np.minimum(family.rate(draws, clean), DIVERGED), TAILS, axis=0)
    diverged = np.flatnonzero((high >= DIVERGED) | (estimate >= DIVERGED))
    kept = slice(0, int(diverged[0]) if len(diverged) else GRID)
    each = [FAMILIES[name].rate(parameters(fit, name)[0], clean)[0] for name in fit.close]
    close = np.minimum(each, DIVERGED)
    quoted = bool(len(clean[kept]))
    return replace(
        refused,
        status="claimed" if quoted else "refused",
        reason="" if quoted else "the curve ends within the measured range in too many replicates",
        way_out="" if quoted else "more seeds",
        family=fit.chosen,
        clean=tuple(clean[kept].tolist()),
        estimate=tuple(estimate[kept].tolist()),
        low=tuple(low[kept].tolist()),
        high=tuple(high[kept].tolist()),
        close_low=tuple(close.min(axis=0)[kept].tolist()),
        close_high=tuple(close.max(axis=0)[kept].tolist()),
        knee=_knee(fit.chosen, theta, draws, ends),
        chord=ends,
    )


def knees(name: FamilyName, theta: Array, low: float, high: float) -> Array:
    """Return where the rate of each curve equals the slope of its chord, (B,): NaN if nowhere.

    A knee lies above the chord from low to high, at the largest distance from it.
    """
    family = FAMILIES[name]
    grid = np.linspace(low, high, GRID)
    heights = family.robust(theta, grid)
    slope = (heights[:, 0] - heights[:, -1]) / (high - low)
    above = heights - (heights[:, :1] - slope[:, np.newaxis] * (grid - low))
    at = np.clip(np.argmax(above, axis=1), 1, GRID - 2)
    left, right = grid[at - 1], grid[at + 1]
    for _ in range(BISECTIONS):
        middle = 0.5 * (left + right)
        rising = family.rate(theta, middle[:, np.newaxis])[:, 0] < slope
        left, right = np.where(rising, middle, left), np.where(rising, right, middle)
    bent = above.max(axis=1) > 1e-9
    found: Array = np.where(bent, 0.5 * (left + right), np.nan)
    return found


def parameters(fit: FrontFit, name: FamilyName) -> tuple[Array, Array]:
    """Return θ (1, p) and its replicates (B, p), which `front.json` does not hold."""
    family = fit.family(name)
    if family.theta is None or family.draws is None:
        raise ValueError(f"{fit.method}: the {name} fit was read from a file, without replicates")
    return family.theta[np.newaxis], family.draws


def measured(replicates: Replicates, fit: FrontFit) -> tuple[float, float]:
    """Return the least and the greatest clean accuracy that was fitted."""
    clean = replicates.means[list(fit.points), 0]
    return float(clean.min()), float(clean.max())


def _knee(
    name: FamilyName, theta: Array, draws: Array, ends: tuple[float, float]
) -> Interval | None:
    estimate = float(knees(name, theta, *ends)[0])
    # Replicates without a knee count against it, and have no place in the interval.
    drawn = knees(name, draws, *ends)
    drawn = drawn[np.isfinite(drawn)]
    if not np.isfinite(estimate) or len(drawn) < SURE * len(draws):
        return None
    low, high = np.percentile(drawn, TAILS)
    return Interval(estimate=estimate, low=float(low), high=float(high))
