"""Tier findings: what a stronger attack takes away, and which front is better under it."""

from dataclasses import replace

from analysis.attacks.tiers import MethodLoss
from analysis.document import Tier
from analysis.findings.fronts import contrast_findings
from analysis.findings.gaps import gap_findings
from analysis.findings.phrases import (
    NO_SEEDS,
    design_text,
    estimand_text,
    held_back,
    interval_text,
    invisible_text,
    points_text,
)
from analysis.inference.claims import Finding
from analysis.results.methods import sides
from analysis.results.words import method_text, percent, value_text

KIND = "stronger attack"


def tier_findings(tier: Tier, weaker: str) -> tuple[Finding, ...]:
    """Say what is lost to the stronger attack, then compare the methods under it alone.

    weaker: the evaluation attack, as it is printed. All at the objective radius; no contrast of a
    tier is primary.
    """
    results, view = tier.analysis.results, tier.analysis.primary
    perturbing = {note.name for note in results.methods if sides(note)}
    losses = sorted(tier.losses, key=lambda loss: loss.method not in perturbing)
    said = [_loss_finding(tier, loss, weaker) for loss in losses]
    if len(view.contrasts.hypervolumes) > 1:
        said += contrast_findings(results, replace(view.contrasts, costs=()))
        drawn = [gap for gap in view.gaps if gap.range is not None]
        said += [f for gap in drawn for f in gap_findings(results, gap, len(view.gaps))]
    return tuple(
        f if f.kind == KIND else replace(f, kind=f"{f.kind}, {results.threat.attack}") for f in said
    )


def _loss_finding(tier: Tier, loss: MethodLoss, weaker: str) -> Finding:
    """Say how much robust accuracy one method loses, on average over its configurations."""
    results, found = tier.analysis.results, tier.analysis.found
    strong, estimand = results.threat.attack, tier.analysis.estimand
    known = tier.analysis.primary.contrasts.seed_noise
    low, high, change = loss.lost.low, loss.lost.high, loss.lost.estimate
    rows = [found[row] for row in loss.rows]
    left = sum(c.robust[results.threat.objective].mean for c in rows) / len(rows)
    design = design_text(results, found, (loss.rows,))
    interval = f"95% interval {interval_text(low, high)}; " if known else ""
    separated = known and (low > 0 or high < 0)
    reason = invisible_text(results, rows, 0.5 * (high - low)) if known else NO_SEEDS
    text = (
        f"Under {strong}, {method_text(loss.method)} {_kept_text(loss, weaker)} "
        f"{points_text(abs(change))} pp {'more' if change < 0 else 'less'} on average "
        f"({interval}{results.threat.norm} {value_text(loss.radius)}; {design}; "
        f"{estimand_text(results, estimand, left)})."
        f"{'' if separated else f' Cannot tell: {reason}.'}"
    )
    finding = Finding(
        kind=KIND,
        text=text,
        status="claimed" if separated else "bracketed" if known else "refused",
        estimate=change,
        low=low if known else None,
        high=high if known else None,
        estimand=estimand,
        n=design,
        interval_method="percentiles of paired replicates",
        reason="" if separated else reason,
    )
    return held_back(finding, found, (loss.method,))


def _kept_text(loss: MethodLoss, weaker: str) -> str:
    same = f"its robust accuracy under {weaker} on the same images,"
    if loss.kept is None:
        return f"has, beside {same}"
    least, most = percent(loss.kept[0]), percent(loss.kept[1])
    return f"keeps {least if least == most else f'{least} to {most}'}% of {same}"
