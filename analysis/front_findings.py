"""Front findings: which method's front is better, in words with their numbers."""

from collections.abc import Sequence
from dataclasses import replace

from analysis.claims import Finding
from analysis.configurations import ConfigurationResult, configurations
from analysis.contrasts import Contrast, Contrasts, Hypervolume
from analysis.cost_findings import cost_finding
from analysis.phrases import (
    NO_SEEDS,
    design_text,
    estimand_text,
    interval_text,
    invisible_text,
    points_text,
    requirements_text,
)
from analysis.repeats import held_back, unrepeated_text
from analysis.results import Results
from analysis.words import attack_text, method_text, percent

KIND = "hypervolume difference"
INTERVALS = "percentiles of replicates, extended against the lift of a maximum by noise"
ADJUSTED = "max-T over replicates, extended against the lift of a maximum by noise"
UNEQUAL = 2
"""With more than so many times the configurations noise visibly favours a front: `area_lifts`."""
SMALLEST_LIFT = 0.0005
"""Half of the last digit printed."""


def contrast_findings(results: Results, contrasts: Contrasts) -> list[Finding]:
    """Say which method's front is better on average over clean requirements, the primary first."""
    found = configurations(results)
    if not contrasts.contrasts:
        return [_nothing_to_compare(results, found, contrasts)]
    fronts = [_contrast_finding(results, found, contrasts, one) for one in contrasts.contrasts]
    return fronts + [cost_finding(results, found, contrasts, one) for one in contrasts.costs]


def _contrast_finding(
    results: Results,
    found: Sequence[ConfigurationResult],
    contrasts: Contrasts,
    contrast: Contrast,
) -> Finding:
    values = {one.method: one for one in contrasts.hypervolumes}
    first, second = values[contrast.first], values[contrast.second]
    estimate, (low, high) = contrast.difference.estimate, contrast.ends
    if high < 0 or (estimate < 0 and low <= 0):
        # The method that is ahead is named first.
        first, second, estimate, low, high = second, first, -estimate, -high, -low
    finding = Finding(
        kind=KIND,
        text="",
        status="claimed",
        estimate=estimate,
        low=low,
        high=high,
        estimand=contrast.estimand,
        range=(results.clean_floor, 1.0),
        n=design_text(results, found, (first.rows, second.rows)),
        interval_method=INTERVALS if contrast.primary else ADJUSTED,
        primary=contrast.primary,
    )
    if not contrasts.seed_noise:
        return _refused(results, contrast, first, second, finding)
    said = _worded(results, found, contrasts, contrast, first, second, finding)
    return held_back(said, found, (contrast.first, contrast.second))


def _below_floor(
    results: Results,
    found: Sequence[ConfigurationResult],
    first: Hypervolume,
    second: Hypervolume,
) -> str:
    """Say of a method that attains 0 that it does because none of its configurations is clean."""
    names = [
        method_text(one.method)
        for one in (first, second)
        if all(found[row].clean.mean < results.clean_floor for row in one.rows)
    ]
    if not names:
        return ""
    return f", as no configuration of {' or '.join(names)} has the lowest clean accuracy required"


def _worded(
    results: Results,
    found: Sequence[ConfigurationResult],
    contrasts: Contrasts,
    contrast: Contrast,
    first: Hypervolume,
    second: Hypervolume,
    finding: Finding,
) -> Finding:
    assert finding.estimate is not None
    assert finding.low is not None
    assert finding.high is not None
    one, other = method_text(first.method), method_text(second.method)
    conditions = (
        f"95% interval {interval_text(finding.low, finding.high)}, "
        f"{_adjusted(contrasts, contrast)}; "
        f"{attack_text(results.threat, contrast.radius)}; {finding.n}; "
        f"{estimand_text(results, contrast.estimand, first.value.estimate)}"
    )
    gap = f"{points_text(finding.estimate)} pp"
    conditions += _unvalidated(results, first, second) + _lifted(contrast, first, second)
    measured = f"on average over {requirements_text(results)}: {_both(first, second)}"
    measured += _below_floor(results, found, first, second)
    margin = results.margin
    if margin is not None and -margin <= finding.low and finding.high <= margin:
        text = (
            f"{one} and {other} differ by less than the declared margin of {percent(margin)} pp "
            f"in robust accuracy, {measured}, a difference of {gap} ({conditions})."
        )
        return replace(finding, text=text)
    if finding.low > 0:
        text = f"{one} attains {gap} more robust accuracy than {other}, {measured} ({conditions})."
        return replace(finding, text=text)
    rows = [found[row] for row in (*first.rows, *second.rows)]
    reason = invisible_text(results, rows, 0.5 * (finding.high - finding.low))
    text = (
        f"{one} and {other} are not separated in robust accuracy, {measured}, a difference of "
        f"{gap} ({conditions}). Cannot tell: {reason}."
    )
    return replace(finding, text=text, status="bracketed", reason=reason)


def _adjusted(contrasts: Contrasts, contrast: Contrast) -> str:
    """Say what an interval is adjusted for: never for other radii and other studies."""
    if contrast.primary:
        return "primary contrast, not adjusted"
    # Every two methods with results are contrasted, and all of them adjusted together.
    count = len(contrasts.hypervolumes) * (len(contrasts.hypervolumes) - 1) // 2
    if count == 1:
        return "exploratory, not adjusted"
    return f"exploratory, adjusted over the {count} contrasts at this radius"


def _unvalidated(results: Results, first: Hypervolume, second: Hypervolume) -> str:
    """Mark searched methods whose configurations were chosen where they are read."""
    searched = {note.name for note in results.methods if note.searched}
    named = [method_text(one.method) for one in (first, second) if one.method in searched]
    if results.num_validation or not named:
        return ""
    return f"; {' and '.join(named)} searched without validation data, not selected independently"


def _lifted(contrast: Contrast, first: Hypervolume, second: Hypervolume) -> str:
    """Warn where one method has many more configurations, and noise favours it for that."""
    fewer, more = sorted((first, second), key=lambda one: len(one.rows))
    favours = contrast.lift if contrast.first == more.method else -contrast.lift
    if len(more.rows) <= UNEQUAL * len(fewer.rows) or favours < SMALLEST_LIFT:
        return ""
    return (
        f"; {method_text(more.method)} has {len(more.rows)} configurations against "
        f"{len(fewer.rows)}, and noise favours the front of more, by replicates "
        f"{points_text(favours)} pp, which the interval allows for but may understate"
    )


def _refused(
    results: Results,
    contrast: Contrast,
    first: Hypervolume,
    second: Hypervolume,
    finding: Finding,
) -> Finding:
    text = (
        f"Whether {method_text(first.method)} or {method_text(second.method)} attains more robust "
        f"accuracy is not said. On average over {requirements_text(results)} they reach "
        f"{_both(first, second)} ({attack_text(results.threat, contrast.radius)}; {finding.n}), "
        f"but {NO_SEEDS}."
    )
    return replace(finding, text=text, status="refused", low=None, high=None, reason=NO_SEEDS)


def _both(first: Hypervolume, second: Hypervolume) -> str:
    return f"{percent(first.value.estimate)} and {percent(second.value.estimate)}%"


def _nothing_to_compare(
    results: Results, found: Sequence[ConfigurationResult], contrasts: Contrasts
) -> Finding:
    number = "only one method has" if contrasts.hypervolumes else "no method has"
    reason = f"{number} results, and two are needed; run the trials that are missing"
    alone = "".join(
        f" {method_text(one.method)} attains {percent(one.value.estimate)}% robust accuracy on "
        f"average over {requirements_text(results)} ({_alone(found, contrasts, one)}"
        f"{attack_text(results.threat, one.radius)}; {design_text(results, found, (one.rows,))}; "
        f"{estimand_text(results, one.estimand, one.value.estimate)})."
        for one in contrasts.hypervolumes
    )
    return Finding(
        kind=KIND,
        text=f"Methods are not compared: {reason}.{alone}",
        status="refused",
        reason=reason,
        estimand=contrasts.estimand,
        # In a comparison of studies none was declared, nor is one at another radius.
        primary=contrasts.radius == results.threat.objective_radius and not results.is_comparison,
    )


def _alone(found: Sequence[ConfigurationResult], contrasts: Contrasts, one: Hypervolume) -> str:
    """Print the interval of one method's hypervolume, where its noise is known."""
    unknown = unrepeated_text(found, (one.method,))
    if not contrasts.seed_noise or unknown:
        return f"no interval, as {unknown}; "
    return f"95% interval {percent(one.value.low)} to {percent(one.value.high)}%; "
