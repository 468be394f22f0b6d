"""Dominance findings: which configurations are better in both accuracies."""

from collections.abc import Sequence
from dataclasses import replace

from analysis.findings.phrases import (
    NO_SEEDS,
    design_text,
    held_back,
    interval_text,
    plain_ends,
    points_text,
    share_text,
)
from analysis.fronts.contrasts import Contrasts
from analysis.fronts.dominance import Dominance, MethodDominance
from analysis.inference.claims import Finding, Interval
from analysis.results.configurations import ConfigurationResult, configurations
from analysis.results.results import Results
from analysis.results.words import (
    attack_text,
    configuration_text,
    count_text,
    method_text,
    values_text,
)

KIND = "dominance"
BEST_KIND = "dominance of the best"
MARGIN_KIND = "dominance within the clean margin"
BOUNDS = "the adjusted one-sided lower bounds of both differences must lie above 0"
MOST_NAMED = 4
"""A sentence lists at most so many configurations; the table has all of them."""


def dominance_findings(results: Results, contrasts: Contrasts) -> list[Finding]:
    """Return which configurations of a method another method dominates, and which it does not."""
    found = configurations(results)
    said = []
    for pair in contrasts.dominances:
        names = pair.first, pair.second
        groups = [[row for row, c in enumerate(found) if c.method == name] for name in names]
        blank = Finding(
            kind=KIND,
            text="",
            status="refused",
            estimand=contrasts.estimand,
            n=design_text(results, found, groups),
            interval_method="max-T over replicates",
            reason=NO_SEEDS,
        )
        own = [_each_finding(results, found, contrasts, pair, blank)]
        if pair.clean_margin is not None:
            blank = replace(blank, kind=MARGIN_KIND)
            own.insert(0, _margin_finding(results, found, contrasts, pair, blank))
            blank = replace(blank, kind=KIND)
        if pair.best is not None:
            n = design_text(results, found, ((pair.best.first,), (pair.best.second,)))
            blank = replace(blank, kind=BEST_KIND, n=n)
            own.append(_best_finding(results, found, contrasts, pair, pair.best, blank))
        said += [held_back(finding, found, names) for finding in own]
    return said


def _each_finding(
    results: Results,
    found: Sequence[ConfigurationResult],
    contrasts: Contrasts,
    pair: MethodDominance,
    blank: Finding,
) -> Finding:
    one, other = method_text(pair.first), method_text(pair.second)
    claimed = [each for each in pair.each if each.claimed]
    open_ones = [each for each in pair.each if not each.claimed]
    if not contrasts.seed_noise:
        text = f"Which configurations of {one} dominate those of {other} is unknown: {NO_SEEDS}."
        return replace(blank, text=text)
    verb = "is" if len(claimed) == 1 else "are"
    among = f"{count_text(len(pair.each), 'configuration')} of {other}"
    shown = f"{len(claimed)} of {among} {verb}" if claimed else f"Of {among}, none is shown to be"
    parts = [
        f"{shown} dominated by a configuration of {one} that is more accurate both clean and under "
        "attack"
    ]
    if claimed:
        listed = [_named_pair(found, each) + f", {_differences(each)}" for each in claimed]
        parts[0] += f": {_some(listed)}"
    if open_ones:
        listed = [
            f"{_named_pair(found, each)}, with P {share_text(each.share)}, {_differences(each)}"
            f"{_shortfall(each, pair.pairs)}"
            for each in open_ones
        ]
        parts.append(f"Closest to this, but not established: {_some(listed)}")
    conditions = _conditions(results, contrasts, pair, blank.n)
    reason = BOUNDS if open_ones else ""
    text = f"{'. '.join(parts)} ({conditions})."
    blank = replace(blank, text=text, plain=_plain_each(found, pair))
    return replace(blank, status="claimed" if claimed else "bracketed", reason=reason)


def _plain_each(found: Sequence[ConfigurationResult], pair: MethodDominance) -> str:
    """Format how the second method's settings compare with the closest of the first, plainly."""
    firsts = {each.first for each in pair.each}
    one = configuration_text(found[min(firsts)], 40) if len(firsts) == 1 else ""
    one, other = one or method_text(pair.first), method_text(pair.second)
    robust = [each.robust for each in pair.each]
    clean = [each.clean for each in pair.each]
    more = f"by {_span(robust)} pp (each interval above {points_text(min(r.low for r in robust))})"
    text = f"{one} is more robust than every setting of {other} tried, {more}."
    if min(r.low for r in robust) <= 0:
        text = f"{one} compared with the settings of {other} tried: robust {_span(robust, '+')} pp."
    claimed = sum(each.claimed for each in pair.each)
    worst = min(c.low for c in clean)
    loss = f", at worst {points_text(-worst)} pp lower by the adjusted intervals" * (worst < 0)
    shown = f"it surely wins in both accuracies against {claimed} of {len(pair.each)}"
    shown = shown if claimed else "whether it wins in both accuracies is undecided"
    return f"{text} Its clean accuracy is {_span(clean)} pp higher{loss}; {shown}."


def _span(differences: Sequence[Interval], sign: str = "") -> str:
    """Format the least and the greatest of some estimates; sign: of those above 0."""
    low, high = (f([d.estimate for d in differences]) for f in (min, max))
    ends = [f"{sign if value > 0 else ''}{points_text(value)}" for value in (low, high)]
    return ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"


def _best_finding(
    results: Results,
    found: Sequence[ConfigurationResult],
    contrasts: Contrasts,
    pair: MethodDominance,
    best: Dominance,
    blank: Finding,
) -> Finding:
    first, second = (configuration_text(found[row], 40) for row in (best.first, best.second))
    where = "validation data" if results.num_validation else "these test images"
    chosen = f"the most robust configuration of each method on {where}"
    if not contrasts.seed_noise:
        text = f"Whether {first} dominates {second}, {chosen}, is unknown: {NO_SEEDS}."
        return replace(blank, text=text)
    text = f"{'' if best.claimed else 'It is not established that '}{first} dominates {second}"
    text += f", {chosen}" if best.claimed else f" ({chosen})"
    text += (
        f": {_differences(best)}{_shortfall(best, pair.pairs)}; P(first dominates second) "
        f"{share_text(best.share)}, the reverse {share_text(best.reverse)} "
        f"({_conditions(results, contrasts, pair, blank.n)})."
    )
    holds = "is more accurate than" if best.claimed else "is not shown to be more accurate than"
    plain = (
        f"{first} {holds} {second} both clean and under attack: clean "
        f"{_plain_difference(best.clean)}, robust {_plain_difference(best.robust)}."
    )
    return replace(
        blank,
        text=text,
        plain=plain,
        status="claimed" if best.claimed else "bracketed",
        estimate=best.robust.estimate,
        low=best.robust.low,
        high=best.robust.high,
        reason="" if best.claimed else BOUNDS,
    )


def _margin_finding(
    results: Results,
    found: Sequence[ConfigurationResult],
    contrasts: Contrasts,
    pair: MethodDominance,
    blank: Finding,
) -> Finding:
    """State how much more robust a method is that costs little clean accuracy, as declared."""
    assert pair.clean_margin is not None
    blank = replace(blank, declared=True)
    one, other = method_text(pair.first), method_text(pair.second)
    cost = f"costs at most {points_text(pair.clean_margin)} pp clean accuracy"
    if not contrasts.seed_noise:
        text = f"Whether {one} is more robust than {other} and {cost} is unknown: {NO_SEEDS}."
        return replace(blank, text=text)
    conditions = (
        f"95% lower bounds, one-sided, adjusted over {count_text(pair.pairs, 'pair')}; clean "
        f"margin declared before the data; {attack_text(results.threat, contrasts.radius)}; "
        f"{blank.n}; {contrasts.estimand}"
    )
    bounds = [each.robust_low for each in pair.within if each.robust_low is not None]
    if not bounds:
        closest = max(pair.each, key=lambda each: each.clean_low or -1.0)
        text = (
            f"It is not established that {one} is more robust than {other} and {cost}. Closest to "
            f"this: {_named_pair(found, closest)}, {_differences(closest)}"
            f"{_shortfall(closest, pair.pairs, pair.clean_margin)} ({conditions})."
        )
        reason = "the lower bound of the clean difference must lie above minus the margin"
        plain = f"It is not established that {one} is more robust than {other} and {cost}."
        return replace(blank, text=text, plain=plain, status="bracketed", reason=reason)
    least = min(bounds)
    text = f"{one} is at least {points_text(least)} pp more robust than {other} and {cost}"
    if len(bounds) < len(pair.each):
        text = (
            f"For {len(bounds)} of {count_text(len(pair.each), 'configuration')} of {other}, {one} "
            f"is at least {points_text(least)} pp more robust and {cost}"
        )
    plain = f"{text}, as declared."
    listed = [_named_pair(found, each) + f", {_differences(each)}" for each in pair.within]
    text += f" ({conditions}). Compared are {_some(listed)}."
    return replace(blank, text=text, plain=plain, status="claimed", low=least)


def _shortfall(each: Dominance, pairs: int, margin: float = 0.0) -> str:
    """Describe the differences whose lower bounds lie too low; empty if there are none."""
    measured = (
        ("clean", each.clean, each.clean_low, margin),
        ("robust", each.robust, each.robust_low, 0.0),
    )
    failing = [
        f"{points_text(difference.estimate)} pp {name} ± {points_text(difference.estimate - low)}"
        for name, difference, low, allowed in measured
        if low is not None and low <= -allowed
    ]
    if not failing:
        return ""
    return f", undecided at {' and '.join(failing)} after adjusting for {count_text(pairs, 'pair')}"


def _conditions(results: Results, contrasts: Contrasts, pair: MethodDominance, design: str) -> str:
    return (
        f"95% intervals, exploratory, adjusted over {count_text(pair.pairs, 'pair')}; "
        f"{attack_text(results.threat, contrasts.radius)}; {design}; {contrasts.estimand}"
    )


def _named_pair(found: Sequence[ConfigurationResult], each: Dominance) -> str:
    """Format a configuration and the one that comes closest to dominating it."""
    second, first = found[each.second], found[each.first]
    return f"{_values(second)} by {_values(first)}"


def _values(c: ConfigurationResult) -> str:
    return values_text(c.values) or method_text(c.method)


def _differences(each: Dominance) -> str:
    return f"clean {_with_interval(each.clean)}, robust {_with_interval(each.robust)}"


def _with_interval(difference: Interval) -> str:
    # Positive signs are printed, too, as a configuration may be ahead in one accuracy only.
    sign = "+" if difference.estimate > 0 else ""
    interval = interval_text(difference.low, difference.high)
    return f"{sign}{points_text(difference.estimate)} pp ({interval})"


def _plain_difference(difference: Interval) -> str:
    sign = "+" if difference.estimate > 0 else ""
    ends = plain_ends(difference.low, difference.high)
    return f"{sign}{points_text(difference.estimate)} pp {ends}"


def _some(listed: list[str]) -> str:
    more = f"; and {len(listed) - MOST_NAMED} more" if len(listed) > MOST_NAMED else ""
    return "; ".join(listed[:MOST_NAMED]) + more
