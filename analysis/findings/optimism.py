"""Selection findings: which data chose the fronts, and how optimistic their numbers are."""

from collections.abc import Sequence

from analysis.findings.phrases import NO_SEEDS, design_text, points_text, requirements_text
from analysis.fronts.optimism import Chosen, MethodSelection, Selection
from analysis.inference.claims import Finding
from analysis.results.configurations import ConfigurationResult, configurations
from analysis.results.results import Results
from analysis.results.words import attack_text, configuration_text, count_text, method_text, percent

KIND = "selection"
FEWEST = 8
"""A choice on validation data among fewer configurations than this is no finding."""


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
