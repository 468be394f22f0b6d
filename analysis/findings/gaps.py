"""Gap findings: gaps at equal clean accuracy, exchange rates, and refused curves."""

from collections.abc import Sequence
from dataclasses import replace

from analysis.curves.fits import FrontFit
from analysis.curves.gaps import Gap, Stretch
from analysis.curves.rates import Rate
from analysis.findings.phrases import (
    accuracy_interval,
    counts_text,
    interval_text,
    listed_text,
)
from analysis.inference.claims import Finding
from analysis.results.results import Results
from analysis.results.words import attack_text, count_text, method_text, percent

EQUAL_COST = 0.01
"""Relative difference below which training costs are called equal."""
MONOTONE = " A monotone fit without a formula is drawn instead, with a band for any such shape."


def gap_findings(results: Results, gap: Gap, pairs: int = 1) -> list[Finding]:
    """Return where one method is more robust at equal clean accuracy, or why this is unknown.

    A method is called more robust only where the simultaneous band excludes 0 in every pair of
    families that fit about as well. Otherwise the two are not separated. pairs: the number of gaps
    in the study; no band is adjusted for it.
    """
    blank = Finding(
        kind="gap",
        text="",
        status=gap.status,
        estimand=gap.estimand,
        n=counts_text(results, gap.configurations, gap.seeds),
        family=_families(gap),
    )
    if gap.status == "refused":
        reason = _with_way_out(gap.reason, gap.way_out)
        text = (
            f"The gap between {method_text(gap.first)} and {method_text(gap.second)} at equal "
            f"clean accuracy under {attack_text(results.threat, gap.radius)} is unknown: {reason}"
        )
        return [replace(blank, text=f"{text.rstrip('.')}.", reason=reason)]
    # This band is that of the gap: a crossing has another kind of interval.
    blank = replace(blank, interval_method="simultaneous band (sup-t) of replicates")
    found = [_stretch_finding(results, gap, blank, stretch, pairs) for stretch in gap.separated]
    if not found:
        found = [_not_separated(results, gap, blank, pairs)]
    return [*found, _crossing_finding(results, gap, blank, pairs)]


def rate_findings(results: Results, rate: Rate) -> list[Finding]:
    """Return a method's exchange rate in the middle of its measured range, and its knee."""
    if rate.status == "refused" or not rate.clean:
        return []
    design = counts_text(results, (rate.configurations,), rate.seeds)
    family = f"{rate.family} family"
    conditions = _conditions(results, rate, design, family)
    # A rate is least certain at the ends of the range, where it may diverge.
    at = len(rate.clean) // 2
    others = ""
    if rate.close_high[at] > rate.close_low[at]:
        others = (
            f"; families that fit about as well give {rate.close_low[at]:.1f} to "
            f"{rate.close_high[at]:.1f}"
        )
    middle = Finding(
        kind="exchange rate",
        text=f"At {percent(rate.clean[at])}% clean accuracy, {method_text(rate.method)} gains "
        f"{rate.estimate[at]:.1f} points of robust accuracy for each point of clean accuracy given "
        f"up (95% pointwise interval {rate.low[at]:.1f} to {rate.high[at]:.1f}{others}; "
        f"{conditions}).",
        status="claimed",
        estimate=rate.estimate[at],
        low=rate.low[at],
        high=rate.high[at],
        estimand=rate.estimand,
        range=(rate.clean[0], rate.clean[-1]),
        n=design,
        interval_method="pointwise, percentiles of replicates",
        family=family,
    )
    if rate.knee is None or rate.chord is None:
        return [middle]
    knee, chord = rate.knee, rate.chord
    bend = replace(
        middle,
        kind="knee",
        text=f"The front of {method_text(rate.method)} has its knee at {percent(knee.estimate)}% "
        f"clean accuracy ({accuracy_interval(knee)}), for the range from {percent(chord[0])} to "
        f"{percent(chord[1])}%; another range would have another knee ({conditions}).",
        estimate=knee.estimate,
        low=knee.low,
        high=knee.high,
        range=chord,
        interval_method="percentiles of replicates",
    )
    return [middle, bend]


def refusal_findings(results: Results, fits: Sequence[FrontFit]) -> list[Finding]:
    """Return one finding that lists the methods without a curve, each with its reason and cure."""
    refused = [fit for fit in fits if fit.chosen is None and fit.points]
    if not refused:
        return []
    names = listed_text([method_text(fit.method) for fit in refused])
    reasons = [
        _with_way_out(fit.refusal, fit.way_out) + (MONOTONE if fit.steps is not None else "")
        for fit in refused
    ]
    parts = [
        f"{method_text(fit.method)} ({count_text(len(fit.points), 'configuration')}, {fit.which}): "
        f"{reason}"
        for fit, reason in zip(refused, reasons, strict=True)
    ]
    return [
        Finding(
            kind="no curve",
            text=f"No curve is drawn for {names} under "
            f"{attack_text(results.threat, refused[0].radius)}. {' '.join(parts)}",
            status="refused",
            estimand=refused[0].estimand,
            n=counts_text(
                results,
                [len(fit.points) for fit in refused],
                [count for fit in refused for count in fit.seeds],
            ),
            reason=reasons[0] if len(reasons) == 1 else " ".join(parts),
        )
    ]


def scatter_findings(results: Results, fits: Sequence[FrontFit]) -> list[Finding]:
    """Return the methods whose configurations do not lie on one curve, though one is drawn."""
    return [
        Finding(
            kind="scatter",
            text=f"The configurations of {method_text(fit.method)} do not lie on one curve under "
            f"{attack_text(results.threat, fit.radius)}: beyond seed noise, they scatter around "
            f"the fitted front by {100 * fit.scatter:.1f} pp (standard deviation), which its band "
            "includes.",
            status="bracketed",
            estimate=fit.scatter,
            estimand=fit.estimand,
            n=counts_text(results, (len(fit.points),), fit.seeds),
            family=fit.chosen,
            reason="the distances from the curve exceed what seed noise explains",
        )
        for fit in fits
        if fit.chosen is not None and fit.scatter is not None
    ]


def _stretch_finding(
    results: Results, gap: Gap, blank: Finding, stretch: Stretch, pairs: int
) -> Finding:
    behind = gap.second if stretch.ahead == gap.first else gap.first
    wider = ""
    if stretch.envelope != stretch.band:
        wider = f", {interval_text(*stretch.envelope)} over all families that fit about as well"
    part = ""
    if gap.status != "claimed":
        assert gap.range is not None, "a gap with stretches has a range"
        part = f" Between {_range(gap.range)}, {gap.reason}."
    text = (
        f"At equal clean accuracy between {_range((stretch.low, stretch.high))}, "
        f"{method_text(stretch.ahead)} is {interval_text(*stretch.estimate)} more robust than "
        f"{method_text(behind)} (95% simultaneous band {interval_text(*stretch.band)}{wider}; "
        f"{_gap_conditions(results, gap, pairs)}).{part}{_cost_text(gap)}"
    )
    # It is claimed on the whole range that it names, which is part of the shared range.
    return replace(
        blank,
        text=text,
        status="claimed",
        estimate=sum(stretch.estimate) / 2,
        low=stretch.band[0],
        high=stretch.band[1],
        range=(stretch.low, stretch.high),
        reason="" if gap.status == "claimed" else gap.reason,
    )


def _not_separated(results: Results, gap: Gap, blank: Finding, pairs: int) -> Finding:
    assert gap.range is not None, "a gap that is not refused has a range"
    # The widest statement: the envelope over all families that fit about as well.
    band = min(gap.envelope_low), max(gap.envelope_high)
    known = ""
    if results.margin is not None and -results.margin < band[0] and band[1] < results.margin:
        known = (
            f" They differ by less than the declared margin of {100 * results.margin:.1f} pp there."
        )
    text = (
        f"At equal clean accuracy between {_range(gap.range)}, {method_text(gap.first)} and "
        f"{method_text(gap.second)} are not separated: the gap is "
        f"{interval_text(min(gap.estimate), max(gap.estimate))} (95% simultaneous band "
        f"{interval_text(min(gap.low), max(gap.high))}, {interval_text(*band)} over all families "
        f"that fit about as well, which excludes 0 nowhere; {_gap_conditions(results, gap, pairs)})"
        f".{known}{_cost_text(gap)}"
    )
    return replace(
        blank,
        text=text,
        estimate=gap.estimate[len(gap.estimate) // 2],
        low=band[0],
        high=band[1],
        range=gap.range,
        reason=gap.reason,
    )


def _crossing_finding(results: Results, gap: Gap, blank: Finding, pairs: int) -> Finding:
    assert gap.crossing is not None, "a gap that is not refused was searched for crossings"
    assert gap.range is not None, "a gap that is not refused has a range"
    crossing, names = gap.crossing, f"{method_text(gap.first)} and {method_text(gap.second)}"
    conditions = _gap_conditions(results, gap, pairs)
    finding = replace(blank, kind="crossing", range=gap.range)
    if crossing.clean is None:
        return replace(
            finding,
            text=f"No crossing of {names} is established between {_range(gap.range)}: the sign of "
            f"their gap changes in {percent(crossing.probability)}% of replicates ({conditions}).",
            status="bracketed",
            interval_method="",
            reason="a crossing is reported if 95% of replicates have one",
        )
    at = crossing.clean
    return replace(
        finding,
        text=f"The fitted fronts of {names} cross at {percent(at.estimate)}% clean accuracy "
        f"({accuracy_interval(at)}; {conditions}).",
        status="claimed",
        estimate=at.estimate,
        low=at.low,
        high=at.high,
        interval_method="percentiles of replicates",
    )


def _gap_conditions(results: Results, gap: Gap, pairs: int) -> str:
    adjusted = f"exploratory, not adjusted over {pairs} pairs of methods; " if pairs > 1 else ""
    design = counts_text(results, gap.configurations, gap.seeds)
    return adjusted + _conditions(results, gap, design, _families(gap))


def _conditions(results: Results, measured: Gap | Rate, design: str, families: str) -> str:
    return (
        f"{attack_text(results.threat, measured.radius)}; {design}; {measured.estimand}; {families}"
    )


def _families(gap: Gap) -> str:
    if gap.families is None:
        return ""
    first, second = gap.families
    return f"{first} family" if first == second else f"{first} and {second} families"


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


def _with_way_out(reason: str, way_out: str) -> str:
    return f"{reason}. What would help: {way_out}." if way_out else reason
