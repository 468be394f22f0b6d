"""Front findings: which method's front is better, overall and at equal training cost."""

from collections.abc import Sequence
from dataclasses import replace

from analysis.findings.phrases import (
    NO_SEEDS,
    Bests,
    accuracy_interval,
    design_text,
    equal_text,
    estimand_text,
    finer_text,
    held_back,
    interval_text,
    invisible_text,
    judged,
    lead_text,
    level_text,
    plain_ends,
    points_text,
    requirements_text,
    unrepeated_text,
)
from analysis.fronts.contrasts import Contrast, Contrasts, CostContrast, CostPoint, Hypervolume
from analysis.inference.claims import Finding
from analysis.results.configurations import ConfigurationResult, configurations
from analysis.results.results import Results
from analysis.results.words import attack_text, count_text, method_text, percent, value_text

KIND, COST_KIND = "hypervolume difference", "hypervolume difference at equal training cost"
INTERVALS = "percentiles of replicates, extended because noise lifts a maximum"
ADJUSTED = "max-T over replicates, extended because noise lifts a maximum"
UNEQUAL = 2
"""Noise visibly favours a front of more than so many times the configurations."""
SMALLEST_LIFT = 0.0005
"""Half a unit of the last digit printed."""
STANDARD_COST = 3.0
"""Forward passes per training image and epoch: one, and a backward pass that counts as two."""
COST_UNIT = "forward passes per training image and epoch"

Pair = tuple[Hypervolume, Hypervolume]
"""The fronts of two methods; the one ahead comes first."""


def contrast_findings(
    results: Results, contrasts: Contrasts, bests: Bests | None = None
) -> list[Finding]:
    """Return which front is better on average over required clean accuracies, primary first.

    bests: the configurations that plain sentences name; None names none.
    """
    found = configurations(results)
    if not contrasts.contrasts:
        return [_nothing_to_compare(results, found, contrasts)]
    order = _by_interest(results, contrasts)
    fronts = [_contrast_finding(results, found, contrasts, one, bests or {}) for one in order]
    return fronts + [_cost_finding(results, found, contrasts, one) for one in contrasts.costs]


def _by_interest(results: Results, contrasts: Contrasts) -> list[Contrast]:
    """Sort contrasts: the primary one, others of the method that leads in it, and the rest.

    Those with standard training come last: which perturbation helps more is the question.
    """
    plain = {note.name for note in results.methods if note.kind == "standard"}
    primary, leader = contrasts.primary, ""
    if primary is not None:
        leader = primary.first if primary.difference.estimate >= 0 else primary.second
    return sorted(
        contrasts.contrasts,
        key=lambda one: (
            not one.primary,
            bool({one.first, one.second} & plain),
            leader not in (one.first, one.second),
        ),
    )


def _contrast_finding(
    results: Results,
    found: Sequence[ConfigurationResult],
    contrasts: Contrasts,
    contrast: Contrast,
    bests: Bests,
) -> Finding:
    values = {one.method: one for one in contrasts.hypervolumes}
    both = values[contrast.first], values[contrast.second]
    estimate, (low, high) = contrast.difference.estimate, contrast.ends
    if high < 0 or (estimate < 0 and low <= 0):
        # The method that is ahead is named first.
        both, estimate, low, high = both[::-1], -estimate, -high, -low
    finding = Finding(
        kind=KIND,
        text="",
        status="claimed",
        estimate=estimate,
        low=low,
        high=high,
        estimand=contrast.estimand,
        range=(results.clean_floor, 1.0),
        n=design_text(results, found, [front.rows for front in both]),
        interval_method=INTERVALS if contrast.primary else ADJUSTED,
        primary=contrast.primary,
    )
    if not contrasts.seed_noise:
        return _refused(results, contrast, both, finding)
    said = _worded(results, found, contrasts, contrast, both, finding, bests)
    return held_back(said, found, (contrast.first, contrast.second))


def _worded(
    results: Results,
    found: Sequence[ConfigurationResult],
    contrasts: Contrasts,
    contrast: Contrast,
    both: Pair,
    finding: Finding,
    bests: Bests,
) -> Finding:
    """Return the finding in words; the first front is the one that is ahead."""
    assert finding.estimate is not None
    assert finding.low is not None
    assert finding.high is not None
    names = both[0].method, both[1].method
    one, other = map(method_text, names)
    conditions = (
        f"95% interval {interval_text(finding.low, finding.high)}, "
        f"{_adjusted(contrasts, contrast)}; "
        f"{attack_text(results.threat, contrast.radius)}; {finding.n}; "
        f"{estimand_text(results, contrast.estimand, both[0].value.estimate)}"
    )
    gap = f"{points_text(finding.estimate)} pp"
    conditions += _unvalidated(results, both) + _lifted(contrast, both) + _at_equal(contrast, both)
    measured = f"on average over {requirements_text(results)}: "
    measured += " against ".join(percent(front.value.estimate) for front in both)
    measured += f"%{_below_floor(results, found, both)}"
    margin = results.margin
    if margin is not None and -margin <= finding.low and finding.high <= margin:
        text = (
            f"{one} and {other} differ by less than the declared margin of {percent(margin)} pp "
            f"in robust accuracy, {measured}, a difference of {gap} ({conditions})."
        )
        return replace(finding, text=text, plain=equal_text(results, finding, names))
    said = f"{one} attains {gap} more robust accuracy than {other}, {measured}"
    plain = lead_text(results, finding, names, bests, primary=contrast.primary)
    if finding.low > 0 and not contrast.is_claimed:
        return _finer_grid(contrast, both, finding, measured, conditions)
    if finding.low <= 0:
        said = f"{one} and {other} are not separated in robust accuracy, {measured}"
        said += f", a difference of {gap}"
        plain = level_text(results, finding, names)
    rows = [found[row] for front in both for row in front.rows]
    doubt = invisible_text(results, rows, 0.5 * (finding.high - finding.low))
    finding = replace(finding, text=f"{said} ({conditions}).", plain=plain)
    return judged(finding, seed_noise=True, doubt=doubt)


def _finer_grid(
    contrast: Contrast, both: Pair, finding: Finding, measured: str, conditions: str
) -> Finding:
    """Return a lead that is not claimed, as it does not hold at equal numbers."""
    assert contrast.matched is not None
    one, other = (method_text(front.method) for front in both)
    matched, lead = contrast.matched, abs(contrast.difference.estimate)
    equal = _signed(contrast, both, matched.difference.estimate)
    finer = f"{points_text(lead - equal)} of {points_text(lead)} pp"
    by = f"come from the {'finer' if matched.method == both[0].method else 'coarser'} grid"
    reason = (
        f"{finer} {by} of {one}, {len(both[0].rows)} configurations against {len(both[1].rows)}; "
        "run both methods at as many places"
    )
    text = (
        f"{one} is not shown to attain more robust accuracy than {other} at equal numbers of "
        f"configurations, {measured}: {finer} {by} of {one} ({conditions})."
    )
    names = both[0].method, both[1].method
    plain = finer_text(contrast, names, lead - equal)
    return replace(finding, text=text, plain=plain, status="bracketed", reason=reason)


def _at_equal(contrast: Contrast, both: Pair) -> str:
    """Return the difference at equal numbers of configurations; empty if they are equal."""
    matched = contrast.matched
    if matched is None:
        return ""
    low, high = matched.adjusted_low, matched.adjusted_high
    if contrast.primary:
        low, high = matched.difference.low, matched.difference.high
    estimate, low, high = (
        _signed(contrast, both, value) for value in (matched.difference.estimate, low, high)
    )
    low, high = min(low, high), max(low, high)
    return (
        f"; with {count_text(len(matched.rows), 'configuration')} of {method_text(matched.method)} "
        f"instead of {matched.of}, the nearest in clean accuracy to the other method's, "
        f"{points_text(estimate)} pp ({interval_text(low, high)})"
    )


def _signed(contrast: Contrast, both: Pair, difference: float) -> float:
    """Return a difference as that of the method named first."""
    return difference if both[0].method == contrast.first else -difference


def _below_floor(results: Results, found: Sequence[ConfigurationResult], both: Pair) -> str:
    """Return why a method attains 0, if none of its configurations is clean enough; else empty."""
    names = [
        method_text(one.method)
        for one in both
        if all(found[row].clean.mean < results.clean_floor for row in one.rows)
    ]
    if not names:
        return ""
    return (
        f", as no configuration of {' or '.join(names)} reaches the lowest required clean accuracy"
    )


def _adjusted(contrasts: Contrasts, contrast: Contrast) -> str:
    """Return what an interval is adjusted for: never for other radii or studies."""
    if contrast.primary:
        return "primary contrast, not adjusted"
    # All pairs of methods with results are contrasted, and all contrasts adjusted together.
    count = len(contrasts.hypervolumes) * (len(contrasts.hypervolumes) - 1) // 2
    if count == 1:
        return "exploratory, not adjusted"
    return f"exploratory, adjusted over the {count} contrasts at this radius"


def _unvalidated(results: Results, both: Pair) -> str:
    """Return which searched methods were chosen on the data that measure them; empty if none."""
    searched = {note.name for note in results.methods if note.searched}
    named = [method_text(one.method) for one in both if one.method in searched]
    if results.num_validation or not named:
        return ""
    verb = "was" if len(named) == 1 else "were"
    return (
        f"; {' and '.join(named)} {verb} searched without validation data and not selected "
        "independently"
    )


def _lifted(contrast: Contrast, both: Pair) -> str:
    """Return a warning if noise favours a method for having many more configurations."""
    fewer, more = sorted(both, key=lambda one: len(one.rows))
    favours = contrast.lift if contrast.first == more.method else -contrast.lift
    if len(more.rows) <= UNEQUAL * len(fewer.rows) or favours < SMALLEST_LIFT:
        return ""
    return (
        f"; {method_text(more.method)} has {len(more.rows)} configurations against "
        f"{len(fewer.rows)}, and noise favours the larger number by {points_text(favours)} pp in "
        "the replicates, which the interval allows for but may understate"
    )


def _refused(results: Results, contrast: Contrast, both: Pair, finding: Finding) -> Finding:
    attained = " and ".join(percent(one.value.estimate) for one in both)
    text = (
        f"Whether {' or '.join(method_text(one.method) for one in both)} attains more robust "
        f"accuracy is unknown. On average over {requirements_text(results)}, they attain "
        f"{attained}% ({attack_text(results.threat, contrast.radius)}; {finding.n}), "
        f"but {NO_SEEDS}."
    )
    names = " or ".join(method_text(one.method) for one in both)
    plain = f"Whether {names} is more robust is unknown, as no configuration has two seeds."
    refused = replace(finding, text=text, plain=plain, status="refused", reason=NO_SEEDS)
    return replace(refused, low=None, high=None)


def _nothing_to_compare(
    results: Results, found: Sequence[ConfigurationResult], contrasts: Contrasts
) -> Finding:
    number = "only one method has" if contrasts.hypervolumes else "no method has"
    reason = f"{number} results, and two are needed; run the missing trials"
    alone = "".join(
        f" {method_text(one.method)} attains {percent(one.value.estimate)}% robust accuracy on "
        f"average over {requirements_text(results)} ({_alone(found, contrasts, one)}"
        f"{attack_text(results.threat, one.radius)}; {design_text(results, found, (one.rows,))}; "
        f"{estimand_text(results, one.estimand, one.value.estimate)})."
        for one in contrasts.hypervolumes
    )
    return Finding(
        kind=KIND,
        text=f"No methods are compared: {reason}.{alone}",
        status="refused",
        reason=reason,
        estimand=contrasts.estimand,
        # A comparison of studies declares no primary contrast, and other radii have none.
        primary=contrasts.radius == results.threat.objective_radius and not results.is_comparison,
    )


def _alone(found: Sequence[ConfigurationResult], contrasts: Contrasts, one: Hypervolume) -> str:
    """Format the interval of one method's hypervolume, if its noise is known."""
    unknown = unrepeated_text(found, (one.method,))
    if not contrasts.seed_noise or unknown:
        return f"no interval, as {unknown}; "
    return f"{accuracy_interval(one.value)}; "


def _cost_finding(
    results: Results,
    found: Sequence[ConfigurationResult],
    contrasts: Contrasts,
    contrast: CostContrast,
) -> Finding:
    """Compare two methods at the smallest budget within which both have configurations."""
    if contrast.points:
        said = _at_budget(results, found, contrasts, contrast, contrast.points[0])
        return held_back(said, found, (contrast.first, contrast.second))
    one, other = method_text(contrast.first), method_text(contrast.second)
    reason = (
        f"the training cost of {one if contrast.first_costs is None else other} is not recorded; "
        "add it to the results"
    )
    return Finding(
        kind=COST_KIND,
        text=f"{one} and {other} are not compared at equal training cost: {reason}.",
        status="refused",
        reason=reason,
        estimand=contrast.estimand,
    )


def _at_budget(
    results: Results,
    found: Sequence[ConfigurationResult],
    contrasts: Contrasts,
    contrast: CostContrast,
    point: CostPoint,
) -> Finding:
    low, high, known = point.adjusted_low, point.adjusted_high, contrasts.seed_noise
    paying = [found[row] for row in (*point.first_rows, *point.second_rows)]
    design = design_text(results, found, (point.first_rows, point.second_rows))
    budgets = count_text(len(contrast.points), "budget")
    interval = f"95% interval {interval_text(low, high)}, exploratory, adjusted over {budgets}; "
    finding = Finding(
        kind=COST_KIND,
        text=f"At a training cost of at most {value_text(point.budget)} {COST_UNIT}, "
        f"{_difference_text(contrast, point, known and (low > 0 or high < 0))}, on average over "
        f"{requirements_text(results)} ({interval if known else ''}"
        f"{attack_text(results.threat, contrast.radius)}; {design}; {contrast.estimand}; "
        f"{_costs_text(contrast)}).",
        status="bracketed",
        estimate=point.difference.estimate,
        low=low,
        high=high,
        estimand=contrast.estimand,
        range=(results.clean_floor, 1.0),
        n=design,
        interval_method=ADJUSTED,
    )
    ends = plain_ends(low, high) if known else ""
    ahead = _difference_text(contrast, point, known and (low > 0 or high < 0))
    plain = f"Trained at no more than {point.budget / STANDARD_COST:.2g} times the cost of standard"
    finding = replace(finding, plain=f"{plain} training, {f'{ahead} {ends}'.strip()}.")
    # The text above calls one method ahead exactly if `judged` claims the difference.
    doubt = invisible_text(results, paying, 0.5 * (high - low)) if known else NO_SEEDS
    finding = judged(finding, seed_noise=known, doubt=doubt)
    return replace(finding, text=f"{finding.text} {_budgets_text(contrast)}".strip())


def _difference_text(contrast: CostContrast, point: CostPoint, separated: bool) -> str:
    """Describe the difference: one method is ahead only if the two are separated."""
    first, second = method_text(contrast.first), method_text(contrast.second)
    gap = point.difference.estimate
    if not separated:
        return (
            f"{first} and {second} are not separated in robust accuracy, with a difference of "
            f"{points_text(gap)} pp"
        )
    more = f"{points_text(abs(gap))} pp {'more' if gap > 0 else 'less'}"
    return f"{first} attains {more} robust accuracy than {second}"


def _costs_text(contrast: CostContrast) -> str:
    named = []
    pairs = (contrast.first, contrast.first_costs), (contrast.second, contrast.second_costs)
    for method, costs in pairs:
        assert costs is not None, "budgets come from costs"
        least, greatest = value_text(costs[0]), value_text(costs[1])
        between = least if least == greatest else f"{least} to {greatest}"
        named.append(f"{method_text(method)} costs {between}")
    return ", ".join(named)


def _budgets_text(contrast: CostContrast) -> str:
    """Return whether any costs are equal, or how the two methods compare at higher budgets."""
    first, second = contrast.first_costs, contrast.second_costs
    assert first is not None, "budgets come from costs"
    assert second is not None, "budgets come from costs"
    names = method_text(contrast.first), method_text(contrast.second)
    if first[0] > second[1] or second[0] > first[1]:
        dear, cheap = names if first[0] > second[1] else names[::-1]
        return (
            f"No costs are equal: every configuration of {dear} costs more than every one of "
            f"{cheap}, so a more expensive method is compared with a cheaper one."
        )
    if len(contrast.points) == 1:
        return "All configurations of both methods cost this much." if first[0] == second[0] else ""
    ahead = sum(point.adjusted_low > 0 for point in contrast.points)
    behind = sum(point.adjusted_high < 0 for point in contrast.points)
    return (
        f"Of {len(contrast.points)} budgets up to {value_text(contrast.points[-1].budget)}, "
        f"{names[0]} is ahead at {ahead} and behind at {behind}. At the others, the two are "
        "not separated."
    )
