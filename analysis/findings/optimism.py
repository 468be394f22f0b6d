"""Selection findings: how optimistic a choice of the best is, and what equal tuning leaves."""

from collections.abc import Sequence
from dataclasses import replace

from analysis.findings.phrases import (
    NO_SEEDS,
    design_text,
    estimand_text,
    held_back,
    interval_text,
    invisible_text,
    points_text,
    requirements_text,
)
from analysis.fronts.effort import EffortContrast, EffortPoint
from analysis.fronts.optimism import Chosen, MethodSelection, Selection
from analysis.inference.claims import Finding
from analysis.results.configurations import ConfigurationResult, configurations
from analysis.results.results import Results
from analysis.results.words import attack_text, configuration_text, count_text, method_text, percent

KIND = "selection"
FEWEST = 8
"""A choice on validation data among fewer configurations than this is no finding."""
EFFORT_KIND = "equal tuning effort"


def selection_findings(results: Results, selection: Selection) -> list[Finding]:
    """Return which data chose each method's front, and how optimistic the choice is."""
    found = configurations(results)
    describe = _on_validation if selection.chosen_on == "validation" else _on_test
    said = []
    for one in selection.methods:
        # Test numbers of what validation data chose are not optimistic, however few there were.
        fewest = FEWEST if selection.chosen_on == "validation" else 2
        if one.configurations < fewest:
            continue
        rows = [row for row, c in enumerate(found) if c.method == one.method]
        design = design_text(results, found, (rows,))
        finding = Finding(
            kind=KIND,
            text=f"{describe(results, found, one)} Measured: "
            f"{attack_text(results.threat, selection.radius)}; {design}; {selection.estimand}.",
            status="bracketed" if one.overstatement is None else "claimed",
            estimate=one.overstatement,
            estimand=selection.estimand,
            n=design,
            interval_method="bias by replicates, without an interval",
            reason=_unknown(found) if one.overstatement is None else "",
        )
        said.append(finding)
    return said


def _on_validation(
    results: Results, found: Sequence[ConfigurationResult], one: MethodSelection
) -> str:
    kept = sum(member.on_test_front for member in one.members)
    members = count_text(len(one.members), "member")
    text = (
        f"The front of {method_text(one.method)} was chosen among {one.configurations} "
        f"configurations on {count_text(results.num_validation, 'validation image')} under "
        f"{results.threat.validation_attack}; {kept} of its {members} "
        f"{'is' if kept == 1 else 'are'} also on its front on test data."
    )
    if one.overstatement is not None:
        text += f" Given the noise of test numbers, {percent(one.truly)}% are expected to be."
    best = next((member for member in one.members if member.row == one.best), None)
    if best is not None and best.validation is not None:
        text += f" {_arrow(found, best, best.validation[1])}"
    if one.overstatement is not None:
        text += (
            f" Had the most robust of the {one.configurations} been chosen on test data, its "
            f"number would be optimistic by about {_bias(one.overstatement)} pp."
        )
    return text


def _on_test(results: Results, found: Sequence[ConfigurationResult], one: MethodSelection) -> str:
    name = method_text(one.method)
    best = (
        f"The best of {one.configurations} configurations of {name} was chosen on the test images"
    )
    if one.overstatement is None:
        return f"{best}. It is unknown how optimistic its robust accuracy is: {_unknown(found)}."
    text = (
        f"{best}, so it is not selected independently: its robust accuracy is optimistic by about "
        f"{_bias(one.overstatement)} pp."
    )
    if one.held_out is not None:
        text += (
            f" On average over {requirements_text(results)}, its front attains "
            f"{percent(one.attainable)}% as it stands, which is biased upwards, and "
            f"{percent(one.held_out)}% if each seed is evaluated on a front chosen by the others, "
            "which is biased downwards."
        )
    return text


def _arrow(found: Sequence[ConfigurationResult], best: Chosen, before: float) -> str:
    return (
        f"Its most robust member, {configuration_text(found[best.row], 40)}, has a robust accuracy "
        f"of {percent(before)}% on validation and {percent(best.test[1])}% on test data."
    )


def _bias(fraction: float) -> str:
    # A maximum of noisy numbers is never pessimistic: values below 0 are noise of the replicates.
    return points_text(max(fraction, 0.0))


def _unknown(found: Sequence[ConfigurationResult]) -> str:
    """Return why replicates do not vary."""
    if all(len(c.trials) == 1 for c in found):
        return NO_SEEDS
    return "no two seeds of a configuration differ under attack, so seed noise is unknown"


def effort_findings(results: Results, efforts: Sequence[EffortContrast]) -> list[Finding]:
    """Return from how many tries on one method of each pair is ahead of the other."""
    found = configurations(results)
    return [_effort_finding(results, found, one) for one in efforts]


def _effort_finding(
    results: Results, found: Sequence[ConfigurationResult], effort: EffortContrast
) -> Finding:
    said, shown = _by_tries(effort)
    rows = [
        [row for row, c in enumerate(found) if c.method == name]
        for name in (effort.first, effort.second)
    ]
    low, high, gap = shown.adjusted_low, shown.adjusted_high, shown.difference.estimate
    design = design_text(results, found, rows)
    conditions = "; ".join(
        [
            f"95% interval {interval_text(low, high)}, exploratory, adjusted over "
            f"{count_text(len(effort.points), 'number')} of tries",
            attack_text(results.threat, effort.radius),
            design,
            estimand_text(results, effort.estimand, shown.first.estimate),
        ]
    )
    text = (
        f"At equal numbers of tries, {said}. After {count_text(shown.tries, 'try', 'tries')}, "
        f"drawn from the configurations of each, they attain {percent(shown.first.estimate)} and "
        f"{percent(shown.second.estimate)}% on average over {requirements_text(results)}, a "
        f"difference of {points_text(gap)} pp ({conditions}).{_tuned_more(results, effort)}"
    )
    finding = Finding(
        kind=EFFORT_KIND,
        text=text,
        plain=f"At equal numbers of tries, {said}.",
        status="claimed" if shown.ahead else "bracketed",
        estimate=gap,
        low=low,
        high=high,
        estimand=effort.estimand,
        range=(results.clean_floor, 1.0),
        n=design,
        interval_method="max-T over replicates, extended because noise lifts a maximum",
    )
    if not shown.ahead:
        every = [found[row] for own in rows for row in own]
        finding = replace(finding, reason=invisible_text(results, every, 0.5 * (high - low)))
    return held_back(finding, found, (effort.first, effort.second))


def _by_tries(effort: EffortContrast) -> tuple[str, EffortPoint]:
    """Return which method is ahead at which numbers of tries, and the point that shows it."""
    points = effort.points
    sides = [point.ahead for point in points]
    names = method_text(effort.first), method_text(effort.second)
    last = sides[-1]
    if last:
        ahead, behind = names if last > 0 else names[::-1]
        # The last stretch on which this method is ahead.
        start = max((at for at, side in enumerate(sides) if side != last), default=-1) + 1
        if start == 0:
            most = count_text(points[-1].tries, "try", "tries")
            return f"{ahead} is ahead of {behind} at every number up to {most}", points[-1]
        said = f"{ahead} is ahead of {behind} only from {points[start].tries} tries on"
        if -last in sides:
            until = points[max(at for at, side in enumerate(sides) if side == -last)].tries
            said += f", while {behind} is ahead up to {until}"
        return said, points[-1]
    if any(sides):
        at = max(at for at, side in enumerate(sides) if side)
        ahead, behind = names if sides[at] > 0 else names[::-1]
        most = count_text(points[at].tries, "try", "tries")
        said = f"{ahead} is ahead of {behind} with {most}, but not with more"
        return said, points[at]
    most = count_text(points[-1].tries, "try", "tries")
    return f"{names[0]} and {names[1]} are not separated at any number up to {most}", points[-1]


def _tuned_more(results: Results, effort: EffortContrast) -> str:
    """Return a warning if one method was tuned more, or was searched; else empty."""
    said = ""
    if effort.is_unequal:
        more = 0 if effort.configurations[0] > effort.configurations[1] else 1
        name = method_text((effort.first, effort.second)[more])
        last = effort.points[-1]
        some = (last.first, last.second)[more].estimate
        said = (
            f" {name} was tuned more, in {effort.configurations[more]} configurations against "
            f"{effort.configurations[1 - more]}: with all of them it attains "
            f"{percent(effort.attained[more])}%, with {last.tries} of them {percent(some)}%."
        )
    searched = [n.name for n in results.methods if n.searched]
    named = [method_text(n) for n in (effort.first, effort.second) if n in searched]
    if named:
        verb = "was" if len(named) == 1 else "were"
        said += (
            f" {' and '.join(named)} {verb} searched: tries are drawn as if none had learnt from "
            "earlier ones."
        )
    return said
