"""Exclusion: trials whose attack failed are left out, and what that changes is told."""

from dataclasses import dataclass, replace

from analysis.alarms import Alarm, cell_text
from analysis.bootstrap import draw_replicates
from analysis.claims import Finding
from analysis.configurations import configurations
from analysis.contrasts import Contrast, measure_contrasts
from analysis.phrases import interval_text, points_text, requirements_text
from analysis.results import AbsentTrial, Results, TrialResult, trial_key
from analysis.words import attack_text, count_text, method_text

MOST_NAMED = 4
"""Trials that are named; the alarms and the table of absent trials have all."""
LEFT_OUT = "left out, as its evaluation cannot be trusted: "


@dataclass(frozen=True, kw_only=True)
class Exclusion:
    """The trials that were left out, and the primary contrast with them."""

    trials: int
    """How many were left out, and"""
    total: int
    """of how many."""
    cells: tuple[str, ...]
    with_all: Contrast | None
    """The primary contrast as it would be with them; None where there is none."""
    reasons: tuple[str, ...] = ()
    """Why each of the cells was left out, in a few words."""

    @property
    def named(self) -> str:
        """Name the first few trials that were left out, each with its reason."""
        pairs = [
            f"{cell}, because {reason}" if reason.startswith("check ") else f"{cell} ({reason})"
            for cell, reason in zip(self.cells, self.reasons, strict=False)
        ]
        more = len(self.cells) - MOST_NAMED
        listed = "; ".join((pairs or list(self.cells))[:MOST_NAMED])
        return f"{listed}; and {more} more" if more > 0 else listed


def leave_out(results: Results, alarms: tuple[Alarm, ...]) -> Results:
    """Turn the trials with a failing alarm into absent ones, with the alarm as their reason.

    An alarm about a configuration leaves out all its trials. Robust accuracy under an attack that
    failed is no upper bound of anything.
    """
    reasons = {
        subject: alarm.reason
        for alarm in reversed(alarms)
        if alarm.severity == "failure"
        for subject in alarm.subjects
    }
    kept: list[TrialResult] = []
    absent = list(results.absent)
    for trial in results.trials:
        key = trial_key(trial)
        reason = reasons.get(key) or reasons.get((key[0], None))
        if reason is None:
            kept.append(trial)
            continue
        absent.append(
            AbsentTrial(
                method=trial.method,
                values=trial.values,
                seed=trial.seed,
                status="failed",
                reason=f"{LEFT_OUT}{reason}",
                run=trial.run,
            )
        )
    if len(kept) == len(results.trials):
        return results
    return replace(results, trials=tuple(kept), absent=tuple(absent))


def measure_exclusion(
    results: Results, used: Results, *, count: int, seed: int
) -> Exclusion | None:
    """Measure the primary contrast with all trials; None if none was left out."""
    if used is results:
        return None
    found = configurations(results)
    drawn = draw_replicates(results, found, count=count, seed=seed)
    radius = results.threat.objective_radius
    lost = used.absent[len(results.absent) :]
    return Exclusion(
        trials=len(results.trials) - len(used.trials),
        total=len(results.trials),
        cells=tuple(cell_text(trial) for trial in lost),
        reasons=tuple(trial.reason.removeprefix(LEFT_OUT) for trial in lost),
        with_all=measure_contrasts(results, found, drawn, radius, drawn.default).primary,
    )


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
