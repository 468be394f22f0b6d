"""Dominance findings: which configurations are better in both accuracies."""

from collections.abc import Sequence
from dataclasses import replace

from analysis.findings.phrases import (
    NO_SEEDS,
    design_text,
    held_back,
    interval_text,
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
            for each in open_ones
        ]
        parts.append(f"Closest to this, but not established: {_some(listed)}")
    conditions = _conditions(results, contrasts, pair, blank.n)
    reason = "the adjusted intervals of both differences must lie above 0" if open_ones else ""
    text = f"{'. '.join(parts)} ({conditions})."
    return replace(blank, text=text, status="claimed" if claimed else "bracketed", reason=reason)


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
        f": {_differences(best)}; P(first dominates second) {share_text(best.share)}, the reverse "
        f"{share_text(best.reverse)} ({_conditions(results, contrasts, pair, blank.n)})."
    )
    return replace(
        blank,
        text=text,
        status="claimed" if best.claimed else "bracketed",
        estimate=best.robust.estimate,
        low=best.robust.low,
        high=best.robust.high,
        reason=""
        if best.claimed
        else "the adjusted intervals of both differences must lie above 0",
    )


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


def _some(listed: list[str]) -> str:
    more = f"; and {len(listed) - MOST_NAMED} more" if len(listed) > MOST_NAMED else ""
    return "; ".join(listed[:MOST_NAMED]) + more
