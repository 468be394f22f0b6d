"""Findings: what a study says and what it cannot say, as sentences with their numbers."""

from dataclasses import replace

from analysis.claims import Finding
from analysis.document import Analysis
from analysis.dominance_findings import dominance_findings
from analysis.front_findings import contrast_findings
from analysis.gap_findings import gap_findings, rate_findings, refusal_findings, scatter_findings
from analysis.response_findings import equivalence_findings, margin_findings, response_findings
from analysis.selection_findings import selection_findings
from analysis.training_findings import training_findings


def find(analysis: Analysis) -> tuple[Finding, ...]:
    """Make all findings of an analysis, in the order in which they matter.

    The primary contrast comes first, then what is said at the objective radius, then the same
    contrast at the other radii. Refusals stand among them: the caller tells them apart by status.
    """
    results, view = analysis.results, analysis.primary
    if not results.trials:
        return ()
    others = [v for v in analysis.views if v.estimand == view.estimand and v is not view]
    return (
        *contrast_findings(results, view.contrasts),
        *(f for gap in view.gaps for f in gap_findings(results, gap)),
        *dominance_findings(results, view.contrasts),
        *equivalence_findings(results, view.equivalences),
        *(f for rate in view.rates for f in rate_findings(results, rate)),
        *response_findings(results, view.responses),
        *margin_findings(results, analysis.margins),
        *selection_findings(results, analysis.selection),
        *training_findings(results),
        *scatter_findings(results, view.fits),
        *refusal_findings(results, view.fits),
        *(_exploratory(f) for v in others for f in contrast_findings(results, v.contrasts)),
    )


def _exploratory(finding: Finding) -> Finding:
    """Mark what was not declared beforehand."""
    return replace(finding, primary=False, kind=f"{finding.kind}, other radius")
