"""Equivalence findings: which ε of adversarial training a ρ is worth."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from analysis.findings.phrases import (
    NO_SEEDS,
    capital,
    design_text,
    estimand_text,
    held_back,
    spread_text,
)
from analysis.inference.claims import Finding
from analysis.responses.equivalence import INSIDE, NARROW, Equivalence, Equivalent, Slope
from analysis.results.configurations import ConfigurationResult, configurations
from analysis.results.results import Results
from analysis.results.words import (
    attack_text,
    configuration_text,
    count_text,
    method_text,
    percent,
    value_text,
)

KIND, SLOPE_KIND = "equivalent epsilon", "slope of equivalent epsilon"
PARTS = (
    *("half", "a third", "a quarter", "a fifth", "a sixth"),
    *("a seventh", "an eighth", "a ninth", "a tenth"),
)
"""The second part of a whole, the third, and so on."""
MOST_NAMED = 8
"""At most so many values of ρ have a finding, the most robust ones first; the table has all."""


def equivalence_findings(
    results: Results, equivalences: Sequence[Equivalence], noisy: Mapping[int, float] | None = None
) -> list[Finding]:
    """Return which training ε every ρ is worth, and how that ε grows with ρ.

    noisy: the configurations whose seeds spread far more than those of the others, by row.
    """
    found = configurations(results)
    said = []
    for one in equivalences:
        groups = one.rows, [value.row for value in one.values]
        blank = Finding(
            kind=KIND,
            text="",
            status="refused",
            estimand=one.estimand,
            n=design_text(results, found, groups),
            interval_method="percentiles of replicates, union of PCHIP and linear interpolation",
        )
        if not one.seed_noise:
            said.append(_unsaid(blank, one))
            continue
        kept = sorted(one.values, key=lambda value: -value.robust.estimate)[:MOST_NAMED]
        own = [
            _noisy(_value_finding(results, found, blank, one, value), (noisy or {}).get(value.row))
            for value in kept
        ]
        if one.values:
            own.append(_slope_finding(results, blank, one))
        said += [held_back(finding, found, (one.sam, one.adversarial)) for finding in own]
    return said


def bracket_text(value: Equivalent) -> str:
    """Format the trained levels between which an ε without a value lies.

    The bracket may be open below (down to no ε at all), above, or on both sides.
    """
    floor = None if value.floor is None else value_text(value.floor)
    ceiling = None if value.ceiling is None else value_text(value.ceiling)
    if floor is not None and floor == ceiling:
        return f"of {floor}"
    if floor is not None and ceiling is not None:
        return f"between {floor} and {ceiling}"
    if ceiling is not None:
        return f"below {ceiling}"
    return f"above {floor}" if floor is not None else "anywhere: the interval spans all trained ε"


def _unsaid(blank: Finding, one: Equivalence) -> Finding:
    return replace(
        blank,
        text=f"Which ε of {method_text(one.adversarial)} a ρ of {method_text(one.sam)} is worth is "
        f"unknown: {NO_SEEDS}.",
        interval_method="",
        reason=NO_SEEDS,
    )


def _value_finding(
    results: Results,
    found: Sequence[ConfigurationResult],
    blank: Finding,
    one: Equivalence,
    value: Equivalent,
) -> Finding:
    positive = [level for level in one.levels if level > 0]
    conditions = (
        f"robust accuracy {percent(value.robust.estimate)}% "
        f"({percent(value.robust.low)} to {percent(value.robust.high)}%), "
        f"{attack_text(results.threat, one.radius)}; {blank.n}; "
        f"{estimand_text(results, one.estimand, value.robust.estimate)}"
    )
    names = configuration_text(found[value.row], 40), method_text(one.adversarial)
    finding = replace(blank, status=value.status, range=(min(one.levels), max(one.levels)))
    if value.epsilon is not None:
        epsilon, at = value.epsilon, value.epsilon.estimate
        return replace(
            finding,
            text=f"{names[0]} is as robust as {names[1]} trained with ε = "
            f"{value_text(epsilon.estimate)} (95% interval "
            f"{value_text(epsilon.low)} to {value_text(epsilon.high)}; {conditions}; interpolated "
            f"between {count_text(len(positive), 'trained ε', 'trained ε')} from "
            f"{value_text(positive[0])} to {value_text(positive[-1])}).",
            plain=f"{names[0]} is as robust as {names[1]} trained at ε ≈ {value_text(at, 2)} "
            f"[{value_text(epsilon.low, 2)} to {value_text(epsilon.high, 2)}]"
            f"{_part_text(at, one.radius)}.",
            estimate=epsilon.estimate,
            low=epsilon.low,
            high=epsilon.high,
        )
    reason = _bracket_reason(one, value)
    bracketed, add = _bracketed(names, one, value), ""
    if value.next_level is not None:
        add = f" Train ε = {value_text(value.next_level)} to learn more."
    return replace(
        finding,
        text=f"{bracketed} ({conditions}). {reason}",
        plain=f"{bracketed}.{add}",
        reason=reason,
    )


def _part_text(epsilon: float, radius: float) -> str:
    """Format a training ε as a part of the attack radius; empty where it is none.

    >>> _part_text(0.011, 0.1), _part_text(0.05, 0.1), _part_text(0.2, 0.1)
    (', about a ninth of the attack radius 0.1', ', about half of the attack radius 0.1', '')
    """
    part = round(radius / epsilon) if epsilon > 0 else 0
    if part < 2:
        return ""
    words = f"1/{part}" if part >= 2 + len(PARTS) else PARTS[part - 2]
    return f", about {words} of the attack radius {value_text(radius)}"


def _noisy(finding: Finding, ratio: float | None) -> Finding:
    """Hold a value back whose configuration has noise of its own, known from its seeds alone."""
    if ratio is None:
        return finding
    reason = f"its seeds {spread_text(ratio)}, so its noise is hardly known"
    return replace(
        finding,
        text=f"{finding.text} {capital(reason)}.",
        plain=f"{finding.plain} Not claimed: {reason}.",
        status="bracketed",
        reason="; ".join(part for part in (reason, finding.reason) if part),
    )


def _bracketed(names: tuple[str, str], one: Equivalence, value: Equivalent) -> str:
    """Describe the levels between which the ε lies that the first method is worth."""
    above = f"{names[0]} is more robust than {names[1]} at every trained ε"
    if value.place == "above" and max(one.levels) == 0:
        return f"{above}, none of which is more robust than training without ε"
    if value.place == "above":
        peak = "the most robust one" if one.left_out else "the largest"
        level = "none" if value.floor is None else value_text(value.floor)
        return f"{above}, including {level}, {peak}"
    if value.floor is None and value.ceiling is None:
        asked = f"At which ε {names[1]} is as robust as {names[0]}"
        return f"{asked} is unknown: the interval spans all trained ε"
    smallest = ", the smallest trained" if value.place == "below" else ""
    return (
        f"{names[0]} is as robust as {names[1]} trained with an ε {bracket_text(value)}{smallest}"
    )


def _bracket_reason(one: Equivalence, value: Equivalent) -> str:
    """Return why there is no value, and which ε to train next."""
    if value.place == "above":
        reason = "So no ε can be named."
    else:
        reason = (
            f"A value needs {100 * INSIDE:.0f}% of the replicates between trained ε that are at "
            f"most a factor 2 apart; {100 * value.inside:.1f}% are."
        )
    if value.next_level is not None:
        return f"{reason} Train ε = {value_text(value.next_level)} next."
    if one.left_out and value.place == "above":
        return f"{reason} Training with larger ε was less robust."
    return f"{reason} More seeds or images would narrow the interval."


def _slope_finding(results: Results, blank: Finding, one: Equivalence) -> Finding:
    pair = f"the ε of {method_text(one.adversarial)} that a ρ of {method_text(one.sam)} is worth"
    finding = replace(blank, kind=SLOPE_KIND)
    if one.slope is None:
        reason = (
            f"{one.refusal}; more values of ρ, and trained ε at most a factor 2 apart, would help"
        )
        return replace(
            finding, text=f"How {pair} grows with ρ is unknown: {reason}.", reason=reason
        )
    slope, value = one.slope, one.slope.value
    ends = f"{value_text(slope.range[0])} to {value_text(slope.range[1])}"
    return replace(
        finding,
        text=f"{capital(pair)} grows as ρ to the power {_power(value.estimate)} (95% "
        f"interval {_power(value.low)} to {_power(value.high)}; ρ from {ends}, "
        f"{count_text(len(slope.rows), 'value')}; {attack_text(results.threat, one.radius)}; "
        f"{blank.n}; {one.estimand}): {_verdict(slope)}.",
        status="refused" if slope.verdict == "cannot tell" else "claimed",
        estimate=value.estimate,
        low=value.low,
        high=value.high,
        range=slope.range,
        reason="" if slope.verdict != "cannot tell" else _verdict(slope),
    )


def _verdict(slope: Slope) -> str:
    if slope.verdict == "consistent with 2":
        return "consistent with 2, the power of a linear model at small ρ"
    if slope.verdict == "differs from 2":
        return "it differs from 2, the power of a linear model at small ρ"
    width = slope.value.high - slope.value.low
    return (
        "it cannot be distinguished from 2, the power of a linear model at small ρ: the interval "
        f"is {_power(width)} wide and would have to be narrower than {NARROW:g}; more seeds, or a "
        "wider range of ρ, would narrow it"
    )


def _power(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")
