"""Attack findings: trials left out for a failed attack, and losses under a stronger attack."""

from dataclasses import replace

from analysis.attacks.exclusion import Exclusion
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
    judged,
    points_text,
    requirements_text,
)
from analysis.inference.claims import Finding
from analysis.results.results import Results
from analysis.results.words import attack_text, count_text, method_text, percent, value_text

KIND, LEFT_OUT_KIND = "stronger attack", "left out"


def exclusion_findings(results: Results, exclusion: Exclusion | None) -> list[Finding]:
    """Return how many trials were left out, and what the primary contrast would be with them."""
    if exclusion is None:
        return []
    verb = "was" if exclusion.trials == 1 else "were"
    text = (
        f"{exclusion.trials} of {count_text(exclusion.total, 'trial')} {verb} left out because an "
        f"alarm reports that the attack failed on them: {exclusion.named}."
    )
    finding = Finding(kind=LEFT_OUT_KIND, text=text, status="bracketed", reason="see the alarms")
    contrast = exclusion.with_all
    if contrast is None:
        return [finding]
    difference = contrast.difference
    text += (
        f" With them, the robust accuracy of {method_text(contrast.first)} minus that of "
        f"{method_text(contrast.second)} would be {points_text(difference.estimate)} pp on average "
        f"over {requirements_text(results)} (95% interval "
        f"{interval_text(difference.low, difference.high)}; "
        f"{attack_text(results.threat, contrast.radius)}; {contrast.estimand})."
    )
    finding = replace(
        finding,
        text=text,
        estimate=difference.estimate,
        low=difference.low,
        high=difference.high,
        estimand=contrast.estimand,
        reason="see the alarms: repair the evaluation and launch again",
    )
    return [finding]


def tier_findings(tier: Tier, weaker: str) -> tuple[Finding, ...]:
    """Return what methods lose under the stronger attack, and how they compare under it alone.

    All findings are at the objective radius, and no contrast of a tier is primary. weaker: the
    name of the evaluation attack.
    """
    results, view = tier.analysis.results, tier.analysis.primary
    perturbing = {note.name for note in results.methods if note.kind != "standard"}
    # Methods without perturbation, such as standard training, come last.
    losses = sorted(tier.losses, key=lambda loss: loss.method not in perturbing)
    said = [_loss_finding(tier, loss, weaker) for loss in losses]
    if len(view.contrasts.hypervolumes) > 1:
        # Training costs are compared under the evaluation attack alone.
        said += contrast_findings(results, replace(view.contrasts, costs=()))
        drawn = [gap for gap in view.gaps if gap.range is not None]
        said += [f for gap in drawn for f in gap_findings(results, gap, len(view.gaps))]
    return tuple(
        f if f.kind == KIND else replace(f, kind=f"{f.kind}, {results.threat.attack}") for f in said
    )


def _loss_finding(tier: Tier, loss: MethodLoss, weaker: str) -> Finding:
    """Return how much robust accuracy one method loses, on average over its configurations."""
    results, found = tier.analysis.results, tier.analysis.found
    estimand, known = tier.analysis.estimand, tier.analysis.primary.contrasts.seed_noise
    low, high, change = loss.lost.low, loss.lost.high, loss.lost.estimate
    rows = [found[row] for row in loss.rows]
    left = sum(c.robust[results.threat.objective].mean for c in rows) / len(rows)
    design = design_text(results, found, (loss.rows,))
    interval = f"95% interval {interval_text(low, high)}; " if known else ""
    finding = Finding(
        kind=KIND,
        text=f"Under {results.threat.attack}, {method_text(loss.method)} "
        f"{_kept_text(loss, weaker)} {points_text(abs(change))} pp "
        f"{'more' if change < 0 else 'less'} on average "
        f"({interval}{results.threat.norm} {value_text(loss.radius)}; {design}; "
        f"{estimand_text(results, estimand, left)}).",
        status="bracketed",
        estimate=change,
        low=low,
        high=high,
        estimand=estimand,
        n=design,
        interval_method="percentiles of paired replicates",
    )
    doubt = invisible_text(results, rows, 0.5 * (high - low)) if known else NO_SEEDS
    return held_back(judged(finding, seed_noise=known, doubt=doubt), found, (loss.method,))


def _kept_text(loss: MethodLoss, weaker: str) -> str:
    same = f"its robust accuracy under {weaker}, on the same images:"
    if loss.kept is None:
        return f"is compared with {same}"
    least, most = percent(loss.kept[0]), percent(loss.kept[1])
    return f"keeps {least if least == most else f'{least} to {most}'}% of {same}"
