"""Findings on declared claims: each with its verdict, in words."""

from collections.abc import Sequence
from dataclasses import replace

from analysis.findings.phrases import (
    design_text,
    estimand_text,
    interval_text,
    invisible_text,
    plain_ends,
    points_text,
    requirements_text,
)
from analysis.fronts.verdicts import JudgedClaim
from analysis.inference.claims import Finding
from analysis.results.configurations import ConfigurationResult, configurations
from analysis.results.results import Results
from analysis.results.words import attack_text, count_text, method_text, percent

KIND = "claim"
LATE_KIND = "claim after the data"
OVER_FRONT = "percentiles of replicates, extended because noise lifts a maximum"
TOGETHER = "max-T over replicates, extended because noise lifts a maximum"


def claim_findings(results: Results, judged: Sequence[JudgedClaim]) -> list[Finding]:
    """Return a finding for each claim of the study: supported, refuted, equivalent or undecided."""
    found = configurations(results)
    return [_claim_finding(results, found, one) for one in judged]


def claimed_text(results: Results, judged: JudgedClaim) -> str:
    """Format what a claim says."""
    claim = judged.claim
    first, second = method_text(claim.first), method_text(claim.second)
    if claim.direction == "more":
        said = f"{first} attains more robust accuracy than {second}"
    else:
        said = f"{first} and {second} attain the same robust accuracy{_within(judged)}"
    return f"{said}, {where_text(results, judged)}"


def where_text(results: Results, judged: JudgedClaim) -> str:
    """Format the clean accuracies at which a claim compares robust accuracy."""
    at = judged.claim.at_clean
    if at is None:
        return f"on average over {requirements_text(results)}"
    return f"at a clean accuracy of at least {percent(at)}%"


def _claim_finding(
    results: Results, found: Sequence[ConfigurationResult], judged: JudgedClaim
) -> Finding:
    claim, difference = judged.claim, judged.difference
    when = f"Claim declared after {count_text(claim.trials_before or 0, 'trial')} had run"
    late = f"{when}, so exploratory. " if claim.is_late else ""
    design = design_text(results, found, judged.rows)
    finding = Finding(
        kind=LATE_KIND if claim.is_late else KIND,
        text="",
        status="claimed" if judged.verdict != "undecided" else "bracketed",
        estimate=difference.estimate,
        low=difference.low,
        high=difference.high,
        estimand=judged.estimand,
        range=(results.clean_floor if claim.at_clean is None else claim.at_clean, 1.0),
        n=design,
        interval_method=OVER_FRONT if judged.adjusted == 1 else TOGETHER,
        declared=not claim.is_late,
    )
    measured = " against ".join(map(percent, judged.attained)) + "%"
    conditions = "; ".join(
        [
            f"95% interval {interval_text(difference.low, difference.high)}{_tests(judged)}",
            f"declared, {_adjusted(judged)}" if not claim.is_late else _adjusted(judged),
            attack_text(results.threat, claim.radius),
            design,
            estimand_text(results, judged.estimand, judged.attained[0]),
            *_equal_numbers(judged),
        ]
    )
    if judged.doubt:
        text = f"Undecided: whether {claimed_text(results, judged)}, as {judged.doubt}."
        return replace(
            finding,
            text=f"{late}{text}",
            plain=f"{late}{text}",
            status="refused",
            low=None,
            high=None,
            reason=judged.doubt,
        )
    text = f"{_said(results, judged)}: {measured} ({conditions})."
    ends = plain_ends(difference.low, difference.high)
    finding = replace(finding, plain=f"{late}{_said(results, judged)} {ends}.")
    if judged.verdict == "undecided":
        reason = _open(results, found, judged)
        return replace(finding, text=f"{late}{text} This is open: {reason}.", reason=reason)
    return replace(finding, text=f"{late}{text}")


def _said(results: Results, judged: JudgedClaim) -> str:
    """Format the verdict and what was found."""
    claim, gap = judged.claim, judged.difference.estimate
    first, second = method_text(claim.first), method_text(claim.second)
    where = where_text(results, judged)
    apart = f"{points_text(abs(gap))} pp {'more' if gap > 0 else 'less'} robust accuracy"
    if judged.verdict == "supported":
        return f"Supported: {first} attains {apart} than {second}, {where}"
    if judged.verdict == "refuted":
        return f"Refuted: {first} attains {apart} than {second}{_beyond(judged)}, {where}"
    differ = f"differ by {points_text(gap)} pp in robust accuracy"
    if judged.verdict == "equivalent":
        return f"Equivalent{_within(judged)}: {first} and {second} {differ}, {where}"
    return (
        f"Undecided: whether {claimed_text(results, judged)}, with a difference of "
        f"{points_text(gap)} pp"
    )


def _open(results: Results, found: Sequence[ConfigurationResult], judged: JudgedClaim) -> str:
    """Return why a verdict is open: the grids of the two methods, or the width of the interval."""
    claim, difference = judged.claim, judged.difference
    least = 0.0 if claim.direction == "more" else claim.margin or 0.0
    sides = [
        int(one.low > least) - int(one.high < -least)
        for one in (difference, judged.matched)
        if one is not None
    ]
    behind = method_text(claim.second if difference.estimate > 0 else claim.first)
    if sides[0] and len(set(sides)) > 1:
        return (
            "the difference does not hold at equal numbers of configurations; run both methods at "
            "as many places"
        )
    if sides[0] and claim.at_clean is not None:
        return (
            f"a configuration of {behind} between those it has might be as robust; run some with a "
            f"clean accuracy near {percent(claim.at_clean)}%"
        )
    rows = [found[row] for own in judged.rows for row in own]
    return invisible_text(results, rows, 0.5 * (difference.high - difference.low))


def _beyond(judged: JudgedClaim) -> str:
    return "" if judged.claim.direction == "more" else f", not the same{_within(judged)}"


def _within(judged: JudgedClaim) -> str:
    margin = judged.claim.margin
    return "" if margin is None else f" within ±{points_text(margin)} pp"


def _tests(judged: JudgedClaim) -> str:
    """Format the interval of the two one-sided tests, where a margin is declared."""
    if judged.claim.margin is None:
        return ""
    return f", 90% {interval_text(*judged.equivalence)} for the margin"


def _adjusted(judged: JudgedClaim) -> str:
    """Format how many claims the interval holds for together."""
    if judged.adjusted == 1:
        return "the only claim, not adjusted"
    return f"adjusted over {judged.adjusted} claims"


def _equal_numbers(judged: JudgedClaim) -> list[str]:
    """Return the difference at equal numbers of configurations, where it takes part."""
    if judged.matched is None:
        return []
    one = judged.matched
    return [
        f"at equal numbers of configurations {points_text(one.estimate)} pp "
        f"({interval_text(one.low, one.high)})"
    ]
