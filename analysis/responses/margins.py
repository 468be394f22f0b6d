"""Margins: how robust accuracy falls with the attack radius, and where half of it is lost."""

from dataclasses import dataclass, replace

import numpy as np

from analysis.fronts.choice import Choice
from analysis.inference.bootstrap import Replicates
from analysis.inference.claims import LEVEL, TAILS, Estimand, Interval
from analysis.inference.intervals import interval, intervals
from analysis.inference.survival import (
    FAMILIES,
    SurvivalFit,
    SurvivalName,
    cells,
    fit_survival,
    log_likelihood,
    mean_radius,
    median_radius,
    survival,
)
from analysis.results.configurations import ConfigurationResult
from analysis.results.results import Results
from analysis.results.trials import Array
from analysis.results.words import count_text, percent, value_text

FEWEST_RADII = 3
FEWEST_CELLS, FEWEST_IMAGES = 3, 5
"""At least 3 steps between radii must lose at least 5 images each: two parameters need three
counts, and a count below five is too small to fit."""
MOST_ERRORS = 1.5
"""A curve that misses a measured accuracy by as many standard errors claims no half radius."""
STEEPEST = 2 / 3
"""Where more is lost between two neighbouring radii, the family alone decides where: of margins
that lie in a cliff, curves that missed nothing covered the half radius in 0 to 25% of sets."""
MOST_ROWS = 100
"""If there are more configurations, only those that are drawn are fitted."""
GRID = 41
"""Radii at which a drawn curve is kept."""


@dataclass(frozen=True, kw_only=True)
class SurvivalCurve:
    """A fitted curve with its pointwise 95% band."""

    radii: tuple[float, ...]
    """From 0 to the largest attack radius."""
    robust: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class FittedMargin:
    """One configuration's survival curve r(e) = c · S(e)."""

    family: SurvivalName
    scale: Interval
    """λ, in units of the radii."""
    shape: Interval
    """κ"""
    half_radius: Interval
    """Where robust accuracy is half of clean accuracy: percentiles, extended on both sides by
    `misfit` divided by the slope of the curve there, as the error of a family is not noise."""
    mean_margin: Interval | None
    """Mean over all images, 0 for those wrong without an attack; None where it is infinite. It
    rests on the tail beyond the largest radius, where the family is an assumption."""
    lead: float
    """The excess of its log-likelihood per image over that of the other family."""
    misfit: float
    """Largest distance between the curve and a measured accuracy (fraction)."""
    misfit_errors: float = 0.0
    """The largest such distance in standard errors of the measured accuracy."""
    step: float = 0.0
    """Share of the clean accuracy that is lost between the two radii around the half."""

    @property
    def doubt(self) -> str:
        """Return why the half radius is not claimed; empty if it is."""
        if self.misfit_errors >= MOST_ERRORS:
            return (
                f"the curve misses a measured accuracy by {self.misfit_errors:.1f} standard errors"
            )
        if self.step > STEEPEST:
            return (
                f"{percent(self.step)}% of the clean accuracy is lost from one measured radius to "
                "the next; evaluate at a radius between them"
            )
        return ""


@dataclass(frozen=True, kw_only=True)
class Margin:
    """How robust accuracy of one configuration falls with the attack radius."""

    row: int
    """Its position in `configurations(results)`."""
    estimand: Estimand
    seed_noise: bool
    """False where no configuration has two seeds: intervals then hold for this network alone."""
    drawn: bool
    """True for each method's best and for standard training, which the figures show."""
    accuracies: tuple[Interval, ...]
    """(1 + R,) clean, then at each radius."""
    area_low: Interval
    area_high: Interval
    """Lower and upper step sum of robust accuracy from radius 0 to the largest. The mean of
    min(margin, largest radius) lies between them, whatever the curve."""
    half_between: tuple[float, float | None]
    """Measured radii (0: no attack) between which 95% of the replicates lose half of the clean
    accuracy, without a fit; None: not lost at the largest one."""
    fit: FittedMargin | None
    curve: SurvivalCurve | None
    """None unless the configuration is drawn and has a fit."""
    refusal: str
    """Why there is no fit, with the numbers; empty if there is one."""
    way_out: str


def measure_margins(
    results: Results,
    found: tuple[ConfigurationResult, ...],
    choice: Choice,
    replicates: Replicates,
    estimand: Estimand,
) -> tuple[Margin, ...]:
    """Fit the attack-strength curve of every configuration, or of those drawn if there are many."""
    drawn_rows = _drawn_rows(results, found, choice)
    rows = range(len(found)) if len(found) <= MOST_ROWS else sorted(drawn_rows)
    if not rows:
        return ()
    radii = np.array(results.threat.radii)
    # Where no image is right, the gate refuses whatever the fit returns.
    means = _fittable(np.minimum.accumulate(replicates.means, axis=1))
    fits = [fit_survival(family, radii, means) for family in FAMILIES]
    return tuple(
        _margin(
            row,
            radii,
            [_row_of(fit, row) for fit in fits],
            np.vstack([replicates.means[row], replicates.of(estimand)[:, row]]),
            results.num_test,
            estimand,
            replicates.freedom > 0,
            row in drawn_rows,
        )
        for row in rows
    )


def step_sums(radii: Array, accuracies: Array) -> tuple[Array, Array]:
    """Compute the lower and the upper step sum of r(e) from 0 to the largest radius.

    radii: (m,); accuracies: (..., 1 + m), non-increasing; returns (...) each.

    >>> low, high = step_sums(np.array([1.0, 3.0]), np.array([0.9, 0.5, 0.1]))
    >>> print(low.round(9), high.round(9))
    0.7 1.9
    """
    widths = np.diff(radii, prepend=0.0)
    return accuracies[..., 1:] @ widths, accuracies[..., :-1] @ widths


def gate(radii: Array, accuracies: Array, images: int, half: float, converged: bool) -> str:
    """Return why no survival curve can be fitted, with the numbers; empty if one can.

    accuracies: (1 + m,); half: the fitted half-robustness radius.
    """
    if len(radii) < FEWEST_RADII:
        tried = count_text(len(radii), "attack radius", "attack radii")
        return f"{tried}, and a curve needs {FEWEST_RADII}"
    counts = images * cells(accuracies[np.newaxis])[0]
    # Counts are accuracies times images, hence subject to rounding.
    filled = int(np.sum(counts >= FEWEST_IMAGES - 1e-6))
    if filled < FEWEST_CELLS:
        return (
            f"{filled} of {len(counts)} steps from one radius to the next lose "
            f"{FEWEST_IMAGES} images or more, and a curve needs {FEWEST_CELLS}"
        )
    if not converged:
        return "no survival curve fits these accuracies"
    if half < radii[0]:
        at = f"at the smallest radius {value_text(float(radii[0]))} robust accuracy is already"
        return f"{at} {percent(accuracies[1])}%, against {percent(accuracies[0])}% clean"
    if half > radii[-1]:
        at = f"at the largest radius {value_text(float(radii[-1]))} robust accuracy is still"
        return f"{at} {percent(accuracies[-1])}%, against {percent(accuracies[0])}% clean"
    return ""


def _margin(
    row: int,
    radii: Array,
    fits: list[SurvivalFit],
    accuracies: Array,
    images: int,
    estimand: Estimand,
    seed_noise: bool,
    is_drawn: bool,
) -> Margin:
    """Measure one configuration; accuracies: (1 + B, 1 + m), the point estimates first."""
    nested = np.minimum.accumulate(accuracies, axis=1)
    low, high = step_sums(radii, nested)
    point = nested[:1]
    # Both families have two parameters: the lower AIC is the greater likelihood.
    leads = [float(log_likelihood(fit, radii, point)[0]) for fit in fits]
    best = int(np.argmax(leads))
    fit = fits[best]
    half = float(median_radius(fit.family, fit.scale, fit.shape)[0])
    refusal = gate(radii, point[0], images, half, bool(fit.converged[0]))
    fitted, curve = None, None
    if not refusal:
        draws = fit_survival(fit.family, radii, _fittable(nested), fit)
        lead = leads[best] - leads[1 - best]
        fitted = _fitted(radii, nested, images, fit, draws, lead)
        curve = _curve(radii[-1], draws, nested[:, 0]) if is_drawn else None
    return Margin(
        row=row,
        estimand=estimand,
        seed_noise=seed_noise,
        drawn=is_drawn,
        accuracies=intervals(accuracies[0], accuracies[1:]),
        area_low=interval(low[0], low[1:]),
        area_high=interval(high[0], high[1:]),
        half_between=_half_between(radii, nested[1:]),
        fit=fitted,
        curve=curve,
        refusal=refusal,
        way_out="" if not refusal else _way_out(radii, point[0], half),
    )


def _fitted(
    radii: Array, nested: Array, images: int, fit: SurvivalFit, draws: SurvivalFit, lead: float
) -> FittedMargin:
    """Summarise 1 + B fits, that of the point estimates first; nested: (1 + B, 1 + m)."""
    point = nested[:1]
    half = median_radius(fit.family, draws.scale, draws.shape)
    mean = mean_radius(fit.family, draws.scale, draws.shape) * nested[:, 0]
    # The mean of a log-logistic distribution diverges for κ ≤ 1.
    is_finite = bool(np.isfinite(mean).all())
    model = point[:, :1] * survival(fit.family, radii, fit.scale, fit.shape)
    missed = np.abs(model - point[:, 1:])[0]
    # An accuracy of replicates that do not vary is known to half an image.
    errors = np.maximum(nested[1:, 1:].std(axis=0, ddof=1), 0.5 / images)
    around = np.searchsorted(radii, half[0])
    falls = cells(point)[0] / point[0, 0]
    misfit = float(np.max(missed))
    own = interval(half[0], half[1:])
    more = misfit / _slope(fit, float(point[0, 0]), own.estimate)
    return FittedMargin(
        family=fit.family,
        scale=interval(fit.scale[0], draws.scale[1:]),
        shape=interval(fit.shape[0], draws.shape[1:]),
        half_radius=replace(own, low=max(own.low - more, 0.0), high=own.high + more),
        mean_margin=interval(mean[0], mean[1:]) if is_finite else None,
        lead=lead,
        misfit=misfit,
        misfit_errors=float(np.max(missed / errors)),
        step=float(falls[around]),
    )


def _slope(fit: SurvivalFit, clean: float, radius: float) -> float:
    """Return by how much robust accuracy falls per unit of radius, at this radius."""
    ends = np.array([0.999, 1.001]) * radius
    kept = clean * survival(fit.family, ends, fit.scale, fit.shape)[0]
    return float((kept[0] - kept[1]) / (ends[1] - ends[0]))


def _curve(largest: float, draws: SurvivalFit, clean: Array) -> SurvivalCurve:
    grid = np.linspace(0.0, largest, GRID)
    robust = clean[:, np.newaxis] * survival(draws.family, grid, draws.scale, draws.shape)
    low, high = np.percentile(robust[1:], TAILS, axis=0)
    return SurvivalCurve(
        radii=tuple(grid.tolist()),
        robust=tuple(robust[0].tolist()),
        low=tuple(low.tolist()),
        high=tuple(high.tolist()),
    )


def _half_between(radii: Array, drawn: Array) -> tuple[float, float | None]:
    """Return the measured radii between which most replicates (B, 1 + m) lose half."""
    lost = drawn[:, 1:] <= 0.5 * drawn[:, :1]
    first = np.where(lost.any(axis=1), np.argmax(lost, axis=1), len(radii))
    # Order statistics: a position between two measured radii would mean nothing.
    low, high = np.quantile(first, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="inverted_cdf")
    start = 0.0 if low == 0 else float(radii[int(low) - 1])
    return start, None if high == len(radii) else float(radii[int(high)])


def _way_out(radii: Array, point: Array, half: float) -> str:
    if len(radii) < FEWEST_RADII:
        return f"evaluate at {FEWEST_RADII} radii or more"
    if point[-1] > 0.5 * point[0]:
        return f"evaluate at larger radii, such as {value_text(float(2 * radii[-1]))}"
    if half < radii[0] or point[1] < 0.5 * point[0]:
        return f"evaluate at smaller radii, such as {value_text(float(0.5 * radii[0]))}"
    return "evaluate at more radii, between those where the accuracy falls, or on more images"


def _drawn_rows(
    results: Results, found: tuple[ConfigurationResult, ...], choice: Choice
) -> frozenset[int]:
    chosen = {front.best.key for front in choice.fronts if front.best is not None}
    plain = {note.name for note in results.methods if note.kind == "standard"}
    return frozenset(row for row, c in enumerate(found) if c.key in chosen or c.method in plain)


def _row_of(fit: SurvivalFit, row: int) -> SurvivalFit:
    one = slice(row, row + 1)
    return replace(fit, scale=fit.scale[one], shape=fit.shape[one], converged=fit.converged[one])


def _fittable(accuracies: Array) -> Array:
    """Clip clean accuracies (first column) above 0, so that shares of them are defined."""
    floor = np.zeros(accuracies.shape[-1])
    floor[0] = 1e-9
    kept: Array = np.maximum(accuracies, floor)
    return kept
