"""Floors: what two methods attain at required clean accuracies, where no curves are compared.

A staircase of few configurations says nothing between them, so a method with a configuration just
above a floor looks better than an equal one with a configuration just below it. A lead is claimed
only if it holds against a finer grid, too: with the configurations of the method ahead that are
surely clean enough, against those of the other that may be, and its next less clean one. Where the
other has none, only those count that are surely as clean as its least clean one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.fronts.areas import Areas, Noisy
from analysis.fronts.attainment import PESSIMISTIC, entering, lifted_at, points_at
from analysis.fronts.choice import Choice
from analysis.fronts.pareto import attained, dominance_shares
from analysis.inference.bootstrap import Replicates
from analysis.inference.claims import TAILS, Estimand, Interval, Status
from analysis.inference.intervals import balanced
from analysis.results.configurations import ConfigurationResult
from analysis.results.results import Results
from analysis.results.trials import Array
from analysis.results.words import method_text, percent

STEPS = (0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
"""Undeclared floors are the multiples of the largest of these steps that has two or more."""
SURE = PESSIMISTIC
"""A configuration is surely clean enough in this share of replicates, and surely not in 1 - it."""
ROOM = 1e-9
"""A clean accuracy that equals a floor up to rounding reaches it."""


@dataclass(frozen=True, kw_only=True)
class FloorPoint:
    """Two methods at one required clean accuracy."""

    clean: float
    first: Interval | None
    """Attained robust accuracy; None if no configuration surely is that clean."""
    second: Interval | None
    difference: Interval | None
    """first - second. Its ends hold for all floors and pairs of this radius together."""
    finer: Interval | None
    """The lead that is left if the method behind had a finer grid, adjusted likewise: over its
    next less clean configuration, too. Where it has none, the lead with only those configurations
    that are surely as clean as its least clean one. None if there is none."""
    status: Status
    """`claimed`: `difference` and `finer` exclude 0."""
    reason: str
    way_out: str


@dataclass(frozen=True, kw_only=True)
class FloorContrast:
    """Two methods at each floor."""

    first: str
    second: str
    radius: float
    estimand: Estimand
    declared: bool
    """Whether the study declared the floors; else they are even steps of clean accuracy."""
    rows: tuple[tuple[int, ...], tuple[int, ...]]
    """The configurations that stand for each method."""
    points: tuple[FloorPoint, ...]
    """By rising floor; empty if there is no clean accuracy at which both were measured."""
    adjusted_over: int
    """The number of differences that hold together."""


@dataclass(frozen=True, kw_only=True)
class _Side:
    """One method at one floor."""

    attained: float
    """Robust accuracy of the staircase of the means."""
    drawn: Array
    """(B,) that of the replicates."""
    lift: float
    """Twice by how much noise lifts the best of the configurations that reach the floor."""
    interval: Interval | None
    sure: tuple[int, ...]
    """Rows that are surely clean enough."""
    finer: tuple[int, ...]
    """Rows that may be, and the next less clean one."""
    bounded: bool
    """Whether `finer` bounds what any network of the method attains at the floor; else the method
    has no less clean configuration, and is compared at its least clean one."""
    least: int
    """The row of that one."""


def measure_floors(
    results: Results,
    found: tuple[ConfigurationResult, ...],
    choice: Choice,
    replicates: Replicates,
    pairs: Sequence[tuple[str, str]],
    estimand: Estimand,
) -> tuple[FloorContrast, ...]:
    """Compare the pairs at the declared floors, or at even steps where both were measured.

    The radius is the objective one. Even steps are chosen by clean accuracies alone.
    """
    radius = results.threat.objective_radius
    entered = entering(results, found, choice)
    pairs = [pair for pair in pairs if set(pair) <= set(entered)]
    if not pairs:
        return ()
    means, drawn = points_at(results, replicates, radius, estimand)
    noisy = Noisy(means=means, drawn=drawn, lifted=lifted_at(results, replicates, radius, estimand))
    rows = {name: own for name, (own, _) in entered.items()}
    floors = [
        results.clean_floors
        or even_floors([(means[list(rows[n]), 0], drawn[:, list(rows[n]), 0]) for n in pair])
        for pair in pairs
    ]
    sides = _sides(noisy, rows, pairs, floors)
    places = [(pair, floor) for pair, own in zip(pairs, floors, strict=True) for floor in own]
    points = _points(noisy, places, sides)
    return tuple(
        FloorContrast(
            first=pair[0],
            second=pair[1],
            radius=radius,
            estimand=estimand,
            declared=bool(results.clean_floors),
            rows=(rows[pair[0]], rows[pair[1]]),
            points=tuple(points[pair, floor] for floor in own),
            adjusted_over=sum(point.difference is not None for point in points.values()),
        )
        for pair, own in zip(pairs, floors, strict=True)
    )


def even_floors(sides: Sequence[tuple[Array, Array]]) -> tuple[float, ...]:
    """Return even steps of clean accuracy at which several methods can be compared.

    They lie between the clean accuracies that each method has gone down to, and those that each
    surely reaches. Where there is no such range, the last alone is returned, rounded down.
    sides: for each method the clean accuracies of its means (N,) and replicates (B, N).

    >>> clean = np.array([0.81, 0.92]), np.array([0.78, 0.96])
    >>> even_floors([(one, one[np.newaxis]) for one in clean])
    (0.85, 0.9)
    """
    low = max(float(means.min()) for means, _ in sides)
    high = min(float(np.quantile(drawn.max(axis=1), 1 - SURE)) for _, drawn in sides)
    for step in STEPS:
        first, last = np.ceil(low / step - ROOM), np.floor(high / step + ROOM)
        if last > first:
            return tuple(np.round(step * np.arange(first, last + 1), 6).tolist())
    return (round(float(np.floor(high / STEPS[-1] + ROOM) * STEPS[-1]), 6),)


def _sides(
    noisy: Noisy,
    rows: Mapping[str, tuple[int, ...]],
    pairs: Sequence[tuple[str, str]],
    floors: Sequence[Sequence[float]],
) -> dict[tuple[str, float], _Side]:
    """Measure every method at each of its floors."""
    needed: dict[str, set[float]] = {}
    for pair, own in zip(pairs, floors, strict=True):
        for name in pair:
            needed.setdefault(name, set()).update(own)
    return {
        (name, floor): side
        for name, own in needed.items()
        for floor, side in _method_sides(noisy, rows[name], sorted(own)).items()
    }


def _method_sides(
    noisy: Noisy, rows: tuple[int, ...], floors: Sequence[float]
) -> dict[float, _Side]:
    if not floors:
        return {}
    at = np.array(rows)
    means, drawn, lifted = noisy.means[at], noisy.drawn[:, at], noisy.lifted[:, at]
    # A method past its peak attains no more with a less clean network.
    least = int(means[:, 0].argmin())
    peaked = float(dominance_shares(drawn, drawn[:, [least]]).max()) >= SURE
    found = {}
    for floor in floors:
        enough = drawn[..., 0] >= floor - ROOM
        shares = enough.mean(axis=0)
        below = np.flatnonzero(shares <= 1 - SURE)
        finer = shares > 1 - SURE
        if len(below):
            finer[below[means[below, 0].argmax()]] = True
        estimate = float(attained(means, np.array([floor - ROOM]))[0])
        surely = float(enough.any(axis=1).mean()) >= SURE and estimate > 0
        best = np.where(enough, drawn[..., 1], 0.0).max(axis=1)
        # Only the lift of a maximum: whether noise lets a point reach the floor is in `best`.
        reaching = lifted[:, means[:, 0] >= floor - ROOM, 1].max(axis=1, initial=0.0)
        lift = 2 * (float(reaching.mean()) - estimate)
        found[floor] = _Side(
            attained=estimate,
            drawn=best,
            lift=lift,
            interval=_attained_interval(estimate, best, lift) if surely else None,
            sure=tuple(at[shares >= SURE].tolist()),
            finer=tuple(at[finer].tolist()),
            bounded=bool(len(below)) or peaked,
            least=int(at[least]),
        )
    return found


def _attained_interval(estimate: float, drawn: Array, lift: float) -> Interval:
    """Return the percentiles of what replicates (B,) attain, extended against the lift."""
    low, high = np.percentile(drawn, TAILS).tolist()
    return Interval(
        estimate=estimate,
        low=max(min(low, estimate) - max(lift, 0.0), 0.0),
        high=min(max(high, estimate) + max(-lift, 0.0), 1.0),
    )


def _points(
    noisy: Noisy,
    places: Sequence[tuple[tuple[str, str], float]],
    sides: Mapping[tuple[str, float], _Side],
) -> dict[tuple[tuple[str, str], float], FloorPoint]:
    """Compare at every pair and floor, with intervals that hold for all of them."""
    both = {place: (sides[place[0][0], place[1]], sides[place[0][1], place[1]]) for place in places}
    known = [
        place
        for place, (one, other) in both.items()
        if one.interval is not None and other.interval is not None
    ]
    differences = dict(zip(known, _differences([both[place] for place in known]), strict=True))
    finer = _finer_leads(noisy, both, known)
    return {
        place: _point(place, both[place], differences.get(place), finer.get(place))
        for place in places
    }


def _differences(both: Sequence[tuple[_Side, _Side]]) -> list[Interval]:
    if not both:
        return []
    estimates = np.array([one.attained - other.attained for one, other in both])
    drawn = np.column_stack([one.drawn - other.drawn for one, other in both])
    lifts = np.array([one.lift - other.lift for one, other in both])
    # Not centred, and by quantiles: where noise decides whether a configuration reaches the floor,
    # replicates have two modes, and both must stay inside.
    together = balanced(estimates, drawn)
    ends = (
        together.low - np.maximum(lifts, 0.0),
        together.high + np.maximum(-lifts, 0.0),
    )
    columns = zip(estimates.tolist(), *(end.tolist() for end in ends), strict=True)
    return [Interval(estimate=one, low=low, high=high) for one, low, high in columns]


def _finer_leads(
    noisy: Noisy,
    both: Mapping[tuple[tuple[str, str], float], tuple[_Side, _Side]],
    known: Sequence[tuple[tuple[str, str], float]],
) -> dict[tuple[tuple[str, str], float], Interval]:
    """Return the lead of the method ahead over a finer grid of the other, where it has one."""
    sets, kept = [], []
    for place in known:
        ahead, behind = sorted(both[place], key=lambda side: -side.attained)
        sure = ahead.sure
        if not behind.bounded:
            reached = noisy.drawn[:, :, 0] >= noisy.drawn[:, [behind.least], 0]
            surely = np.flatnonzero(reached.mean(axis=0) >= SURE)
            sure = tuple(row for row in ahead.sure if row in surely)
        if sure and behind.finer:
            sets.append((sure, behind.finer))
            kept.append(place)
    if not kept:
        return {}

    def leads(points: Array) -> Array:
        return np.column_stack(
            [
                points[:, list(one), 1].max(axis=1) - points[:, list(other), 1].max(axis=1)
                for one, other in sets
            ]
        )

    areas = Areas(
        estimates=leads(noisy.means[np.newaxis])[0],
        drawn=leads(noisy.drawn),
        lifted=leads(noisy.lifted),
    )
    together = areas.together()
    columns = zip(
        areas.estimates.tolist(), together.low.tolist(), together.high.tolist(), strict=True
    )
    return {
        place: Interval(estimate=one, low=low, high=high)
        for place, (one, low, high) in zip(kept, columns, strict=True)
    }


def finer_lead(
    noisy: Noisy, rows: tuple[Sequence[int], Sequence[int]], floor: float
) -> Interval | None:
    """Return the least by which the method ahead at a floor leads a finer grid of the other.

    rows: of the two methods. None if it is unknown how a finer grid would do.
    """
    one, other = (_method_sides(noisy, tuple(own), [floor])[floor] for own in rows)
    place = ("", ""), floor
    return _finer_leads(noisy, {place: (one, other)}, [place]).get(place)


def _point(
    place: tuple[tuple[str, str], float],
    both: tuple[_Side, _Side],
    difference: Interval | None,
    finer: Interval | None,
) -> FloorPoint:
    names, floor = place
    status, reason, way_out = _judged(names, floor, both, difference, finer)
    return FloorPoint(
        clean=floor,
        first=both[0].interval,
        second=both[1].interval,
        difference=difference,
        finer=finer,
        status=status,
        reason=reason,
        way_out=way_out,
    )


def _judged(
    names: tuple[str, str],
    floor: float,
    both: tuple[_Side, _Side],
    difference: Interval | None,
    finer: Interval | None,
) -> tuple[Status, str, str]:
    """Return whether a lead at a floor is claimed, why not, and what would help."""
    if difference is None:
        lacking = [n for n, side in zip(names, both, strict=True) if side.interval is None]
        who = " and ".join(method_text(name) for name in lacking)
        reason = f"no configuration of {who} surely has a clean accuracy of {percent(floor)}%"
        return "refused", reason, f"configurations of {who} that are cleaner, or more seeds"
    low, high = difference.low, difference.high
    # An interval without width is one without noise, and supports no claim.
    if low <= 0 <= high or low == high:
        half = percent(0.5 * (high - low))
        return "bracketed", f"a difference below about {half} pp would not show", "more seeds"
    name, side = (names[1], both[1]) if difference.estimate > 0 else (names[0], both[0])
    behind = method_text(name)
    if finer is not None and finer.low > 0:
        return "claimed", "", ""
    if not side.bounded:
        reason = f"no configuration of {behind} is surely less clean, and one might be as robust"
        way_out = f"configurations of {behind} with a clean accuracy below {percent(floor)}%"
    else:
        reason = f"a configuration of {behind} between those it has might be as robust"
        way_out = f"configurations of {behind} with a clean accuracy near {percent(floor)}%"
    return "bracketed", reason, way_out
