"""Floor findings: what two methods attain at required clean accuracies, where no curves fit."""

from collections.abc import Sequence
from dataclasses import replace

from analysis.findings.phrases import (
    NO_SEEDS,
    design_text,
    held_back,
    interval_text,
    listed_text,
    plain_ends,
    points_text,
)
from analysis.fronts.contrasts import Contrasts
from analysis.fronts.floors import FloorContrast, FloorPoint
from analysis.inference.claims import Finding
from analysis.results.configurations import ConfigurationResult
from analysis.results.results import Results
from analysis.results.words import attack_text, count_text, method_text, percent

KIND = "gap at clean floors"
ORDER = ("claimed", "tried", "not separated")
"""Kinds of differences, the strongest first; `tried` holds only for the configurations tried."""


def floor_finding(
    results: Results,
    found: Sequence[ConfigurationResult],
    contrasts: Contrasts,
    floors: FloorContrast,
) -> Finding:
    """Return who attains more at required clean accuracies, and why it is open at the others."""
    names = method_text(floors.first), method_text(floors.second)
    blank = Finding(
        kind=KIND,
        text="",
        status="refused",
        estimand=floors.estimand,
        n=design_text(results, found, floors.rows),
        interval_method="balanced over all floors, extended because noise lifts a maximum",
    )
    subject = (
        f"Which of {names[0]} and {names[1]} is more robust at equal clean accuracy under "
        f"{attack_text(results.threat, floors.radius)} is unknown"
    )
    if not contrasts.seed_noise:
        return replace(blank, text=f"{subject}: {NO_SEEDS}.", reason=NO_SEEDS)
    if not floors.points:
        reason = (
            "there is no clean accuracy at which both were measured. What would help: strengths "
            "whose clean accuracies overlap"
        )
        return replace(blank, text=f"{subject}: {reason}.", reason=reason)
    finding = _judged(results, floors, blank, subject)
    return held_back(finding, found, (floors.first, floors.second))


def _judged(results: Results, floors: FloorContrast, blank: Finding, subject: str) -> Finding:
    # A sentence has one direction: methods that change places have one sentence each.
    groups: dict[tuple[str, bool], list[FloorPoint]] = {}
    for point in floors.points:
        if point.difference is not None:
            kind = _kind(point)
            is_first = kind == "not separated" or point.difference.estimate > 0
            groups.setdefault((kind, is_first), []).append(point)
    best = next((kind for kind in ORDER if any(kind == known for known, _ in groups)), None)
    shown = [own for (kind, _), own in groups.items() if kind == best]
    named = [point for own in shown for point in own] if best == "claimed" else []
    reason = " ".join(_open_text(point) for point in floors.points if point not in named)
    if best is None:
        return replace(blank, text=f"{subject}. {reason}", reason=reason)
    first = shown[0][0].difference
    assert first is not None, "what is in a group was measured"
    cleans = [point.clean for own in shown for point in own]
    return replace(
        blank,
        text=" ".join([*(_sentence(results, floors, blank, own) for own in shown), reason]).strip(),
        # Floors that nobody declared do not displace what a study is for.
        plain=_plain(floors, shown[0][0]) if floors.declared and best == "claimed" else "",
        declared=floors.declared and best == "claimed",
        status="claimed" if best == "claimed" else "bracketed",
        estimate=first.estimate,
        low=first.low,
        high=first.high,
        range=(min(cleans), max(cleans)),
        reason=reason,
    )


def _plain(floors: FloorContrast, point: FloorPoint) -> str:
    """State the lead at one floor in a short sentence."""
    assert point.difference is not None, "what is claimed was measured"
    lead, names = point.difference, (floors.first, floors.second)
    low, high = lead.low, lead.high
    if lead.estimate < 0:
        names, low, high = names[::-1], -lead.high, -lead.low
    return (
        f"At a clean accuracy of at least {percent(point.clean)}%, {method_text(names[0])} is "
        f"{points_text(abs(lead.estimate))} pp more robust than {method_text(names[1])} "
        f"{plain_ends(low, high)}."
    )


def _kind(point: FloorPoint) -> str:
    assert point.difference is not None, "only what was measured has a kind"
    if point.status == "claimed":
        return "claimed"
    return "tried" if point.difference.low > 0 or point.difference.high < 0 else "not separated"


def _sentence(
    results: Results, floors: FloorContrast, blank: Finding, points: Sequence[FloorPoint]
) -> str:
    """Describe the difference at some floors, which are of one kind and direction."""
    names, sign, kind = (floors.first, floors.second), 1.0, _kind(points[0])
    leads, attained, intervals = [], [], []
    for point in points:
        assert point.first is not None, "what has a difference was measured"
        assert point.second is not None, "what has a difference was measured"
        assert point.difference is not None, "what has a difference was measured"
        both, lead = (point.first, point.second), point.difference
        if lead.estimate <= 0 and kind != "not separated":
            names, sign, both = (floors.second, floors.first), -1.0, both[::-1]
        attained.append(f"{percent(both[0].estimate)} against {percent(both[1].estimate)}%")
        leads.append(points_text(abs(lead.estimate)))
        intervals.append(interval_text(*sorted((sign * lead.low, sign * lead.high))))
    one = len(points) == 1
    where = f"{'a clean accuracy' if one else 'clean accuracies'} of at least"
    where += f" {listed_text([percent(point.clean) for point in points])}%"
    ahead, behind = (method_text(name) for name in names)
    if len(set(attained)) == 1:
        attained, leads = attained[:1], leads[:1]
    more = f"{listed_text(leads)} pp more robust accuracy than {behind}"
    if kind == "claimed":
        said = f"At {where}, {ahead} attains {more}"
    elif kind == "tried":
        said = f"Of the configurations tried, those of {ahead} attain {more} at {where}"
    else:
        said = f"At {where}, {ahead} and {behind} are not separated in robust accuracy"
    conditions = (
        f"95% interval{'' if one else 's'} of the difference {listed_text(intervals)}, "
        f"{'' if floors.declared else 'exploratory, '}adjusted over "
        f"{count_text(floors.adjusted_over, 'difference')}; "
        f"{attack_text(results.threat, floors.radius)}; {blank.n}; {floors.estimand}"
    )
    return f"{said}: {listed_text(attained)} ({conditions})."


def _open_text(point: FloorPoint) -> str:
    """Explain why no lead is claimed at a floor, and what would help."""
    return f"Open at {percent(point.clean)}%: {point.reason}. What would help: {point.way_out}."
