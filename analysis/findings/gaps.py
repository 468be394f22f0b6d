"""Gap findings: what is said of fitted fronts, their gap at equal clean accuracy, their trade."""

from collections.abc import Sequence
from dataclasses import replace

from analysis.curves.fits import FrontFit
from analysis.curves.gaps import Gap, Stretch
from analysis.curves.rates import Rate
from analysis.inference.claims import Finding, Interval
from analysis.results.results import Results
from analysis.results.words import attack_text, count_text, method_text, percent

EQUAL_COST = 0.01
"""Relative difference of training costs from which on it is told."""


def gap_findings(results: Results, gap: Gap, pairs: int = 1) -> list[Finding]:
    """Say where one method is more robust at equal clean accuracy, or why nothing can be said.

    A method is called more robust only where the simultaneous band excludes 0 in every pair of
    families that fit about as well; else the two are not separated, and the band is told. `pairs`:
    how many gaps a study looks at, over which no band is adjusted.
    """
    if gap.status == "refused":
        text = (
            f"No gap at equal clean accuracy between {method_text(gap.first)} and "
            f"{method_text(gap.second)} at {attack_text(results.threat, gap.radius)}: {gap.reason}."
        )
        return [_finding(results, gap, text, reason=_with_way_out(gap.reason, gap.way_out))]
    found = [_stretch_finding(results, gap, stretch, pairs) for stretch in gap.separated]
    if not found:
        found = [_not_separated(results, gap, pairs)]
    return [*found, _crossing_finding(results, gap, pairs)]


def rate_findings(results: Results, rate: Rate) -> list[Finding]:
    """Say what a method trades in the middle of its measured range, and where its knee is."""
    if rate.status == "refused" or not rate.clean:
        return []
    conditions = _rate_conditions(results, rate)
    at = len(rate.clean) // 2
    others = ""
    if rate.close_high[at] > rate.close_low[at]:
        others = (
            f"; families that fit about as well give {rate.close_low[at]:.1f} to "
            f"{rate.close_high[at]:.1f}"
        )
    text = (
        f"At {percent(rate.clean[at])}% clean accuracy, {method_text(rate.method)} gains "
        f"{rate.estimate[at]:.1f} points of robust accuracy for each point of clean accuracy given "
        f"up (95% pointwise interval {rate.low[at]:.1f} to {rate.high[at]:.1f}{others}; "
        f"{conditions})."
    )
    middle = Interval(estimate=rate.estimate[at], low=rate.low[at], high=rate.high[at])
    ends = rate.clean[0], rate.clean[-1]
    found = [_rate_finding(results, rate, "exchange rate", text, middle, ends)]
    if rate.knee is not None and rate.chord is not None:
        knee, chord = rate.knee, rate.chord
        text = (
            f"The front of {method_text(rate.method)} has its knee at {percent(knee.estimate)}% "
            f"clean accuracy (95% interval {percent(knee.low)} to {percent(knee.high)}%), for the "
            f"range from {percent(chord[0])} to {percent(chord[1])}%: another range has another "
            f"knee ({conditions})."
        )
        found.append(_rate_finding(results, rate, "knee", text, knee, chord))
    return found


def refusal_findings(results: Results, fits: Sequence[FrontFit]) -> list[Finding]:
    """Say of each method without a curve why there is none, and what would help."""
    return [
        Finding(
            kind="no curve",
            text=f"No curve is drawn for {method_text(fit.method)} at "
            f"{attack_text(results.threat, fit.radius)} "
            f"({count_text(len(fit.points), 'configuration')}, {fit.which}): {fit.refusal}. "
            f"What would help: {fit.way_out}.",
            status="refused",
            estimand=fit.estimand,
            n=_counts(results, (len(fit.points),), fit.seeds),
            reason=_with_way_out(fit.refusal, fit.way_out),
        )
        for fit in fits
        if fit.chosen is None and fit.points
    ]


def scatter_findings(results: Results, fits: Sequence[FrontFit]) -> list[Finding]:
    """Say which methods' configurations do not lie on one curve, though one is drawn."""
    return [
        Finding(
            kind="scatter",
            text=f"The configurations of {method_text(fit.method)} do not lie on one curve at "
            f"{attack_text(results.threat, fit.radius)}: beyond seed noise they scatter across "
            f"the fitted front by {100 * fit.scatter:.1f} pp (standard deviation), which its band "
            "contains.",
            status="bracketed",
            estimate=fit.scatter,
            estimand=fit.estimand,
            n=_counts(results, (len(fit.points),), fit.seeds),
            family=fit.chosen,
            reason="the distances from the curve exceed what seed noise explains",
        )
        for fit in fits
        if fit.chosen is not None and fit.scatter is not None
    ]


def _rate_finding(
    results: Results,
    rate: Rate,
    kind: str,
    text: str,
    numbers: Interval,
    within: tuple[float, float],
) -> Finding:
    pointwise = "pointwise, " if kind == "exchange rate" else ""
    return Finding(
        kind=kind,
        text=text,
        status="claimed",
        estimate=numbers.estimate,
        low=numbers.low,
        high=numbers.high,
        estimand=rate.estimand,
        range=within,
        n=_counts(results, (rate.configurations,), rate.seeds),
        interval_method=f"{pointwise}percentiles of replicates",
        family=f"{rate.family} family",
    )


def _stretch_finding(results: Results, gap: Gap, stretch: Stretch, pairs: int) -> Finding:
    behind = gap.second if stretch.ahead == gap.first else gap.first
    wider = ""
    if stretch.envelope != stretch.band:
        wider = f", {_points(stretch.envelope)} over all families that fit about as well"
    part = ""
    if gap.status != "claimed":
        assert gap.range is not None, "a gap with stretches has a range"
        part = f" Between {_range(gap.range)}, {gap.reason}."
    text = (
        f"At equal clean accuracy between {_range((stretch.low, stretch.high))}, "
        f"{method_text(stretch.ahead)} is {_points(stretch.estimate)} more robust than "
        f"{method_text(behind)} (95% simultaneous band {_points(stretch.band)}{wider}; "
        f"{_conditions(results, gap, pairs)}).{part}{_cost_text(gap)}"
    )
    # It holds on the whole of the range that it names, though that is a part of the shared one.
    finding = _finding(
        results,
        gap,
        text,
        numbers=(sum(stretch.estimate) / 2, *stretch.band),
        within=(stretch.low, stretch.high),
        reason="" if gap.status == "claimed" else gap.reason,
    )
    return replace(finding, status="claimed")


def _not_separated(results: Results, gap: Gap, pairs: int) -> Finding:
    assert gap.range is not None, "a gap that is not refused has a range"
    band = min(gap.envelope_low), max(gap.envelope_high)
    known = ""
    if results.margin is not None and -results.margin < band[0] and band[1] < results.margin:
        known = (
            f" They differ by less than the declared margin of {100 * results.margin:.1f} pp there."
        )
    text = (
        f"At equal clean accuracy between {_range(gap.range)}, {method_text(gap.first)} and "
        f"{method_text(gap.second)} are not separated: the gap is "
        f"{_points((min(gap.estimate), max(gap.estimate)))} (95% simultaneous band "
        f"{_points((min(gap.low), max(gap.high)))}, {_points(band)} over all families that fit "
        f"about as well, which excludes 0 nowhere; {_conditions(results, gap, pairs)})."
        f"{known}{_cost_text(gap)}"
    )
    middle = gap.estimate[len(gap.estimate) // 2]
    return _finding(
        results, gap, text, numbers=(middle, *band), within=gap.range, reason=gap.reason
    )


def _crossing_finding(results: Results, gap: Gap, pairs: int) -> Finding:
    assert gap.crossing is not None, "a gap that is not refused was looked through for crossings"
    assert gap.range is not None, "a gap that is not refused has a range"
    crossing, names = gap.crossing, f"{method_text(gap.first)} and {method_text(gap.second)}"
    if crossing.clean is not None:
        at = crossing.clean
        text = (
            f"The fitted fronts of {names} cross at {percent(at.estimate)}% clean accuracy (95% "
            f"interval {percent(at.low)} to {percent(at.high)}%; "
            f"{_conditions(results, gap, pairs)})."
        )
        numbers: tuple[float, float, float] | None = (at.estimate, at.low, at.high)
        reason = ""
    else:
        text = (
            f"No crossing of {names} is established between {_range(gap.range)}: the sign of their "
            f"gap changes in {percent(crossing.probability)}% of replicates "
            f"({_conditions(results, gap, pairs)})."
        )
        numbers, reason = None, "a crossing is told if 95% of replicates have one"
    return Finding(
        kind="crossing",
        text=text,
        status="claimed" if numbers else "bracketed",
        estimate=numbers[0] if numbers else None,
        low=numbers[1] if numbers else None,
        high=numbers[2] if numbers else None,
        estimand=gap.estimand,
        range=gap.range,
        n=_counts(results, gap.configurations, gap.seeds),
        interval_method="percentiles of replicates" if numbers else "",
        family=_families(gap),
        reason=reason,
    )


def _finding(
    results: Results,
    gap: Gap,
    text: str,
    *,
    numbers: tuple[float, float, float] | None = None,
    within: tuple[float, float] | None = None,
    reason: str = "",
) -> Finding:
    return Finding(
        kind="gap",
        text=text,
        status=gap.status,
        estimate=numbers[0] if numbers else None,
        low=numbers[1] if numbers else None,
        high=numbers[2] if numbers else None,
        estimand=gap.estimand,
        range=within,
        n=_counts(results, gap.configurations, gap.seeds),
        interval_method="simultaneous band (sup-t) of replicates" if numbers else "",
        family=_families(gap),
        reason=reason,
    )


def _conditions(results: Results, gap: Gap, pairs: int) -> str:
    return "; ".join(
        (
            *((f"exploratory, not adjusted over {pairs} pairs of methods",) if pairs > 1 else ()),
            attack_text(results.threat, gap.radius),
            _counts(results, gap.configurations, gap.seeds),
            gap.estimand,
            f"{_families(gap)}",
        )
    )


def _rate_conditions(results: Results, rate: Rate) -> str:
    return "; ".join(
        (
            attack_text(results.threat, rate.radius),
            _counts(results, (rate.configurations,), rate.seeds),
            rate.estimand,
            f"{rate.family} family",
        )
    )


def _families(gap: Gap) -> str:
    if gap.families is None:
        return ""
    first, second = gap.families
    return f"{first} family" if first == second else f"{first} and {second} families"


def _counts(results: Results, counts: tuple[int, ...], seeds: tuple[int, int]) -> str:
    how_many = f"{seeds[0]}" if seeds[0] == seeds[1] else f"{seeds[0]} to {seeds[1]}"
    noun = "configuration" if sum(counts) == 1 else "configurations"
    return (
        f"{' + '.join(str(count) for count in counts)} {noun} × {how_many} "
        f"{'seed' if seeds[1] == 1 else 'seeds'}, {count_text(results.num_test, 'test image')}"
    )


def _cost_text(gap: Gap) -> str:
    if gap.costs is None or min(gap.costs) <= 0:
        return ""
    first, second = gap.costs
    if abs(first - second) <= EQUAL_COST * max(gap.costs):
        return " Their training costs are equal."
    dearer, cheaper = (gap.first, gap.second) if first > second else (gap.second, gap.first)
    return (
        f" This is not at equal training cost: {method_text(dearer)} costs "
        f"{max(gap.costs) / min(gap.costs):.1f} times as much as {method_text(cheaper)}."
    )


def _range(ends: tuple[float, float]) -> str:
    return f"{percent(ends[0])} and {percent(ends[1])}%"


def _points(ends: tuple[float, float]) -> str:
    return f"{_signed(ends[0])} to {_signed(ends[1])} pp"


def _signed(fraction: float) -> str:
    return f"{100 * fraction:.1f}".replace("-", "−")


def _with_way_out(reason: str, way_out: str) -> str:
    return f"{reason}. What would help: {way_out}." if way_out else reason
