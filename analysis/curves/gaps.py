"""Gaps: how far apart two fitted fronts are at equal clean accuracy, and where they cross.

Everything is computed from the replicates of the fits. Replicate b of one front is paired with
replicate b of the other, so that what moves both fronts alike cancels. Nothing is computed
through a front whose fit was refused.
"""

from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from analysis.curves.families import FAMILIES, FamilyName
from analysis.curves.fits import FrontFit
from analysis.curves.rates import Numbers, measured, parameters
from analysis.inference.bootstrap import Replicates
from analysis.inference.claims import TAILS, Estimand, Interval, Status
from analysis.inference.intervals import sup_t
from analysis.results.configurations import configurations
from analysis.results.results import Results
from analysis.results.trials import Array
from analysis.results.words import method_text, percent

SURE = 0.95
"""The place of a crossing is quoted if at least this share of the replicates has one."""
GRID = 60
"""Clean accuracies of a gap."""

Points = tuple[tuple[float, float], ...]
Draws = tuple[Array, Array]
"""A gap or a front over clean accuracies: the estimate (G,) and its replicates (B, G)."""


@dataclass(frozen=True, kw_only=True)
class Crossing:
    """The clean accuracy at which two fitted fronts change places."""

    probability: float
    """Share of replicates with a sign change in the shared range, least of the close families."""
    clean: Interval | None
    """Union over the close families; None unless `probability` ≥ 0.95 and the fits cross once."""
    extrapolated: float | None
    """The nearest crossing of the chosen curves outside the shared range: an extrapolation."""


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """A range of clean accuracies over which one method is more robust in every close family."""

    low: float
    high: float
    """Ends of clean accuracy."""
    ahead: str
    """The more robust method."""
    estimate: tuple[float, float]
    """The least and the greatest gap in its favour, > 0."""
    band: tuple[float, float]
    """The ends of the chosen families' simultaneous band over the range, > 0."""
    envelope: tuple[float, float]
    """The ends of the bands of all close families, > 0."""


@dataclass(frozen=True, kw_only=True)
class Gap:
    """Robust accuracy of the first method minus the second's, at equal clean accuracy."""

    first: str
    second: str
    radius: float
    estimand: Estimand
    status: Status
    """`claimed`: one is ahead on the whole range; `bracketed`: on a part of it, or nowhere."""
    reason: str
    """Why it is bracketed or refused, with numbers; empty if claimed."""
    way_out: str = ""
    range: tuple[float, float] | None = None
    """The range of clean accuracy in which both were measured; None if refused."""
    families: tuple[FamilyName, FamilyName] | None = None
    """The chosen families of the first and of the second method."""
    close: tuple[tuple[FamilyName, FamilyName], ...] = ()
    """All pairs of families that fit about as well, the chosen pair first."""
    clean: Numbers = ()
    estimate: Numbers = ()
    low: Numbers = ()
    high: Numbers = ()
    """Simultaneous 95% band, chosen families."""
    envelope_low: Numbers = ()
    envelope_high: Numbers = ()
    """The least and the greatest end of the bands of all close pairs."""
    before: Points = ()
    beyond: Points = ()
    """(clean, gap) below and above the shared range: extrapolations, drawn dotted."""
    separated: tuple[Stretch, ...] = ()
    crossing: Crossing | None = None
    configurations: tuple[int, int] = (0, 0)
    seeds: tuple[int, int] = (0, 0)
    """The least and the greatest number of seeds."""
    costs: tuple[float, float] | None = None
    """Mean training cost of the configurations of each; None if unknown."""


def measure_gap(
    results: Results, replicates: Replicates, first_fit: FrontFit, second_fit: FrontFit
) -> Gap:
    """Measure the gap over the clean accuracies that both methods were measured at."""
    costs = _mean_cost(results, first_fit), _mean_cost(results, second_fit)
    refused = Gap(
        first=first_fit.method,
        second=second_fit.method,
        radius=first_fit.radius,
        estimand=first_fit.estimand,
        status="refused",
        reason="",
        configurations=(len(first_fit.points), len(second_fit.points)),
        seeds=(
            min(first_fit.seeds[0], second_fit.seeds[0]),
            max(first_fit.seeds[1], second_fit.seeds[1]),
        ),
        costs=(costs[0], costs[1]) if costs[0] is not None and costs[1] is not None else None,
    )
    lacking = [fit for fit in (first_fit, second_fit) if fit.chosen is None]
    if lacking:
        parts = [f"no curve is drawn for {method_text(f.method)}: {f.refusal}" for f in lacking]
        way_out = "; ".join(dict.fromkeys(fit.way_out for fit in lacking))
        return replace(refused, reason="; ".join(parts), way_out=way_out)
    ends = [measured(replicates, fit) for fit in (first_fit, second_fit)]
    low, high = max(ends[0][0], ends[1][0]), min(ends[0][1], ends[1][1])
    if low >= high:
        spans = [f"{percent(a)} to {percent(b)}%" for a, b in ends]
        reason = f"no shared range of clean accuracy: {spans[0]} and {spans[1]}"
        return replace(refused, reason=reason, way_out="strengths whose clean accuracies overlap")
    return _measured(refused, first_fit, second_fit, (low, high), results.clean_floor)


def _measured(
    refused: Gap,
    first_fit: FrontFit,
    second_fit: FrontFit,
    ends: tuple[float, float],
    floor: float,
) -> Gap:
    """Measure the gap of two curves over the shared range; refused: what is known without it."""
    clean = np.linspace(*ends, GRID)
    firsts = {name: _heights(first_fit, name, clean) for name in first_fit.close}
    seconds = {name: _heights(second_fit, name, clean) for name in second_fit.close}
    pairs = tuple(product(first_fit.close, second_fit.close))
    gaps = [(firsts[a][0] - seconds[b][0], firsts[a][1] - seconds[b][1]) for a, b in pairs]
    bands = [sup_t(estimate, drawn) for estimate, drawn in gaps]
    lows, highs = np.array([band.low for band in bands]), np.array([band.high for band in bands])
    estimate, envelope = gaps[0][0], (lows.min(axis=0), highs.max(axis=0))
    names = refused.first, refused.second
    stretches = _stretches(clean, estimate, (lows[0], highs[0]), envelope, names)
    whole = len(stretches) == 1 and (stretches[0].low, stretches[0].high) == (clean[0], clean[-1])
    before, beyond = _outside(first_fit, second_fit, ends, floor)
    parts = ", ".join(f"{percent(s.low)} to {percent(s.high)}%" for s in stretches)
    whose = "the band" if len(pairs) == 1 else "the band over all families that fit about as well"
    partly = f"{whose} excludes 0 {f'only from {parts}' if stretches else 'nowhere'}"
    return replace(
        refused,
        status="claimed" if whole else "bracketed",
        reason="" if whole else partly,
        way_out="" if whole else "more seeds, or more configurations in the shared range",
        range=(float(clean[0]), float(clean[-1])),
        families=pairs[0],
        close=pairs,
        clean=tuple(clean.tolist()),
        estimate=tuple(estimate.tolist()),
        low=tuple(lows[0].tolist()),
        high=tuple(highs[0].tolist()),
        envelope_low=tuple(envelope[0].tolist()),
        envelope_high=tuple(envelope[1].tolist()),
        before=before,
        beyond=beyond,
        separated=stretches,
        crossing=find_crossing(clean, gaps, before, beyond),
    )


def _heights(fit: FrontFit, name: FamilyName, clean: Array) -> Draws:
    theta, draws = parameters(fit, name)
    return FAMILIES[name].robust(theta, clean)[0], FAMILIES[name].robust(draws, clean)


def _mean_cost(results: Results, fit: FrontFit) -> float | None:
    found = configurations(results)
    costs = [trial.cost for row in fit.points for trial in found[row].trials]
    given = [cost for cost in costs if cost is not None]
    return float(np.mean(given)) if given and len(given) == len(costs) else None


def _stretches(
    clean: Array,
    estimate: Array,
    band: tuple[Array, Array],
    envelope: tuple[Array, Array],
    names: tuple[str, str],
) -> tuple[Stretch, ...]:
    """List the runs of at least two clean accuracies where every close band excludes 0."""
    found: list[Stretch] = []
    for sign, name in zip((1.0, -1.0), names, strict=True):
        # Of the gap in favour of this method.
        favour, low, high = sign * estimate, *_sorted_ends(sign * band[0], sign * band[1])
        least, greatest = _sorted_ends(sign * envelope[0], sign * envelope[1])
        # A band without width is one without noise, and supports no claim.
        apart = np.concatenate([[False], (least > 0) & (high > low), [False]])
        starts, stops = np.flatnonzero(np.diff(apart.astype(int))).reshape(-1, 2).T
        for start, stop in zip(starts, stops, strict=True):
            run = slice(start, stop)
            if stop - start > 1:
                found.append(
                    Stretch(
                        low=float(clean[start]),
                        high=float(clean[stop - 1]),
                        ahead=name,
                        estimate=(float(favour[run].min()), float(favour[run].max())),
                        band=(float(low[run].min()), float(high[run].max())),
                        envelope=(float(least[run].min()), float(greatest[run].max())),
                    )
                )
    return tuple(sorted(found, key=lambda stretch: stretch.low))


def _sorted_ends(one: Array, other: Array) -> tuple[Array, Array]:
    """Sort two arrays, entry by entry."""
    return np.minimum(one, other), np.maximum(one, other)


def _outside(
    first_fit: FrontFit, second_fit: FrontFit, ends: tuple[float, float], floor: float
) -> tuple[Points, Points]:
    """Extend the chosen gap by the width of the shared range, until one of the fronts ends."""
    width = ends[1] - ends[0]
    parts = []
    for low, high in ((max(ends[0] - width, floor), ends[0]), (ends[1], min(ends[1] + width, 1.0))):
        clean = np.linspace(min(low, high), high, GRID // 2)
        # The chosen family is the first of the close ones.
        heights = [_heights(fit, fit.close[0], clean)[0] for fit in (first_fit, second_fit)]
        last = np.flatnonzero((heights[0] <= 0) | (heights[1] <= 0))
        # The first point past an end stays: there the other front is ahead.
        kept = int(last[0]) + 1 if len(last) else len(clean)
        gap = heights[0] - heights[1]
        parts.append(tuple((float(c), float(g)) for c, g in zip(clean[:kept], gap, strict=False)))
    return parts[0], parts[1]


def crossings(clean: Array, gaps: Array) -> Array:
    """Return where each gap (B, G) changes its sign, (B, G - 1): NaN where it does not."""
    gaps = _without_zeros(gaps)
    left, right = gaps[:, :-1], gaps[:, 1:]
    changes = left * right < 0
    share = np.where(changes, left / np.where(changes, left - right, 1.0), np.nan)
    places: Array = clean[:-1] + share * np.diff(clean)
    return places


def _without_zeros(gaps: Array) -> Array:
    """Replace exact zeros by tiny numbers of the sign before them, so that a change counts once."""
    if (gaps != 0).all():
        return gaps
    filled = gaps.copy()
    for column in range(1, gaps.shape[1]):
        before = np.sign(filled[:, column - 1])
        filled[:, column] = np.where(gaps[:, column] == 0, before * 1e-300, gaps[:, column])
    return filled


def find_crossing(
    clean: Array,
    gaps: list[Draws],
    before: Points,
    beyond: Points,
) -> Crossing:
    """Find the crossing in gaps over clean (G,), one for each pair of close families.

    The first gap is that of the chosen families; before and beyond continue its estimate.
    """
    shares, places = [], []
    for estimate, drawn in gaps:
        found = crossings(clean, drawn)
        crossed = np.isfinite(found).any(axis=1)
        shares.append(float(crossed.mean()))
        at = crossings(clean, estimate[np.newaxis])[0]
        at = at[np.isfinite(at)]
        if len(at) == 1 and shares[-1] >= SURE:
            # Of several crossings in a replicate, the one nearest to the estimate's.
            distance = np.where(np.isfinite(found[crossed]), np.abs(found[crossed] - at[0]), np.inf)
            nearest = found[crossed][np.arange(int(crossed.sum())), distance.argmin(axis=1)]
            places.append((float(at[0]), *np.percentile(nearest, TAILS).tolist()))
    sure = len(places) == len(gaps)
    here = np.isfinite(crossings(clean, gaps[0][0][np.newaxis])).any()
    return Crossing(
        probability=min(shares),
        clean=Interval(
            estimate=places[0][0],
            low=min(place[1] for place in places),
            high=max(place[2] for place in places),
        )
        if sure
        else None,
        extrapolated=None if here else _nearest_outside(before, beyond, clean),
    )


def _nearest_outside(
    before: Points,
    beyond: Points,
    clean: Array,
) -> float | None:
    """Return the crossing of the extrapolations that is nearest to the middle of the range."""
    middle = 0.5 * (clean[0] + clean[-1])
    found: list[float] = []
    for part in (before, beyond):
        if len(part) > 1:
            places, values = np.array(part).T
            at = crossings(places, values[np.newaxis])[0]
            found += at[np.isfinite(at)].tolist()
    return min(found, key=lambda place: abs(place - middle)) if found else None
