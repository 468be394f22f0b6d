"""What was left out for a failing alarm, in sentences."""

from analysis.attacks.exclusion import Exclusion
from analysis.findings.phrases import interval_text, points_text, requirements_text
from analysis.inference.claims import Finding
from analysis.results.results import Results
from analysis.results.words import attack_text, count_text, method_text


def exclusion_findings(results: Results, exclusion: Exclusion | None) -> list[Finding]:
    """Say how many trials were left out and what the primary contrast would be with them."""
    if exclusion is None:
        return []
    verb = "was" if exclusion.trials == 1 else "were"
    text = (
        f"{exclusion.trials} of {count_text(exclusion.total, 'trial')} {verb} left out, because an "
        f"alarm says that the attack failed on them: {exclusion.named}."
    )
    contrast = exclusion.with_all
    if contrast is None:
        return [Finding(kind="left out", text=text, status="bracketed", reason="see the alarms")]
    difference = contrast.difference
    text += (
        f" With them, {method_text(contrast.first)} minus {method_text(contrast.second)} would be "
        f"{points_text(difference.estimate)} pp of robust accuracy, on average over "
        f"{requirements_text(results)} (95% interval "
        f"{interval_text(difference.low, difference.high)}; "
        f"{attack_text(results.threat, contrast.radius)}; {contrast.estimand})."
    )
    return [
        Finding(
            kind="left out",
            text=text,
            status="bracketed",
            estimate=difference.estimate,
            low=difference.low,
            high=difference.high,
            estimand=contrast.estimand,
            reason="see the alarms: repair the evaluation and launch again",
        )
    ]
