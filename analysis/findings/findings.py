"""Findings: what a study shows, and what it cannot show, as sentences."""

from dataclasses import replace

from analysis.document import Analysis, View
from analysis.findings.attacks import exclusion_findings
from analysis.findings.dominance import dominance_findings
from analysis.findings.epochs import noise_findings, training_findings
from analysis.findings.equivalence import equivalence_findings
from analysis.findings.floors import floor_finding
from analysis.findings.fronts import contrast_findings
from analysis.findings.gaps import gap_findings, rate_findings, refusal_findings, scatter_findings
from analysis.findings.optimism import effort_findings, selection_findings
from analysis.findings.phrases import best_of_each
from analysis.findings.responses import margin_findings, response_findings
from analysis.findings.verdicts import claim_findings
from analysis.inference.claims import Finding
from analysis.results.results import compared
from analysis.results.words import value_text


def find(analysis: Analysis) -> tuple[Finding, ...]:
    """Return all findings of an analysis, the most important first.

    Declared claims and the primary contrast come first, then all findings at the objective radius,
    then the contrasts of compared methods at other radii. Refusals are included, with a status of
    their own. A new kind of finding is a function in this folder and a line in the list below.
    """
    results, view = analysis.results, analysis.primary
    if not results.trials:
        return tuple(exclusion_findings(results, analysis.exclusion))
    # Standard training has no strength to vary, so it needs no curve.
    perturbing = {note.name for note in results.methods if note.kind != "standard"}
    fits = [fit for fit in view.fits if fit.method in perturbing]
    return (
        *claim_findings(results, analysis.claims),
        *contrast_findings(results, view.contrasts, best_of_each(analysis)),
        *exclusion_findings(results, analysis.exclusion),
        *_gaps(analysis, view),
        *(f for tier in analysis.tiers for f in tier.analysis.findings),
        *dominance_findings(results, view.contrasts),
        *equivalence_findings(results, view.equivalences, analysis.noisy),
        *(f for rate in view.rates for f in rate_findings(results, rate)),
        *response_findings(results, view.responses),
        *margin_findings(results, analysis.margins),
        *effort_findings(results, analysis.efforts),
        *selection_findings(results, analysis.selection),
        *training_findings(results, analysis.choice),
        *noise_findings(results, analysis.found, analysis.noisy),
        *scatter_findings(results, fits),
        *refusal_findings(results, fits),
        *(f for v in analysis.views if v is not view for f in _elsewhere(analysis, v)),
    )


def _gaps(analysis: Analysis, view: View) -> list[Finding]:
    """Return the gap of each pair of methods, or what they attain at floors where it is refused."""
    results, said = analysis.results, []
    at_floors = {(one.first, one.second): one for one in view.floors}
    for gap in view.gaps:
        floors = at_floors.get((gap.first, gap.second))
        if floors is None:
            said += gap_findings(results, gap, len(view.gaps))
        else:
            said.append(floor_finding(results, analysis.found, view.contrasts, floors))
    return said


def _elsewhere(analysis: Analysis, view: View) -> list[Finding]:
    """Return which front is better at another radius, a contrast that was not declared before."""
    if view.estimand != analysis.estimand:
        return []
    present = tuple(one.method for one in view.contrasts.hypervolumes)
    pairs = {frozenset(pair) for pair in compared(analysis.results, present)}
    chosen = tuple(
        one for one in view.contrasts.contrasts if frozenset({one.first, one.second}) in pairs
    )
    if not chosen:
        return []
    # Equal cost is compared at the objective radius only.
    some = replace(view.contrasts, contrasts=chosen, costs=())
    return [
        replace(
            finding,
            kind=f"{finding.kind}, other radius",
            plain=f"At radius {value_text(view.radius)}: {finding.plain}" if finding.plain else "",
        )
        for finding in contrast_findings(analysis.results, some, best_of_each(analysis, view))
    ]
