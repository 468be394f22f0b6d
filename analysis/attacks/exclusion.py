"""Exclusion: trials whose attack failed are left out, and what that changes is measured.

The checks and detections of every trial are collected here, too, whether it was left out or not.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from analysis.attacks.alarms import Alarm, cell_text
from analysis.fronts.choice import choose
from analysis.fronts.contrasts import Contrast, measure_contrasts
from analysis.inference.bootstrap import draw_replicates
from analysis.results.configurations import configurations
from analysis.results.results import Results
from analysis.results.trials import AbsentTrial, Check, Detection, TrialResult, Value, trial_key

MOST_NAMED = 4
"""Trials that are listed by name; the alarms and the table of absent trials have all."""
LEFT_OUT = "left out, as its evaluation cannot be trusted: "


@dataclass(frozen=True, kw_only=True)
class Exclusion:
    """The trials that were left out, and the primary contrast with them."""

    trials: int
    """How many were left out."""
    total: int
    """How many there were."""
    cells: tuple[str, ...]
    with_all: Contrast | None
    """The primary contrast as it would be with them; None if there is none."""
    reasons: tuple[str, ...] = ()
    """Why each of the cells was left out, in a few words."""

    @property
    def named(self) -> str:
        """The first few trials that were left out, each with its reason."""
        pairs = [
            f"{cell}, because {reason}" if reason.startswith("check ") else f"{cell} ({reason})"
            for cell, reason in zip(self.cells, self.reasons, strict=False)
        ]
        more = len(self.cells) - MOST_NAMED
        listed = "; ".join((pairs or list(self.cells))[:MOST_NAMED])
        return f"{listed}; and {more} more" if more > 0 else listed


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """The checks and detections of one trial."""

    method: str
    values: Mapping[str, Value]
    seed: int
    is_left_out: bool
    """True if an alarm says that its evaluation cannot be trusted."""
    checks: tuple[Check, ...]
    detections: tuple[Detection, ...]


def leave_out(results: Results, alarms: tuple[Alarm, ...]) -> Results:
    """Turn the trials with a failing alarm into absent ones, with the alarm as their reason.

    An alarm about a configuration leaves out all its trials. Robust accuracy under an attack that
    failed is not an upper bound of anything.
    """
    # Reversed, so that the first of several alarms about one subject is its reason.
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
    # The same object if nothing is left out, by which `measure_exclusion` knows.
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
    choice = choose(results)
    contrasts = measure_contrasts(results, found, choice, drawn, radius, drawn.default)
    # `leave_out` appends the trials to those that were absent before.
    lost = used.absent[len(results.absent) :]
    return Exclusion(
        trials=len(results.trials) - len(used.trials),
        total=len(results.trials),
        cells=tuple(cell_text(trial) for trial in lost),
        reasons=tuple(trial.reason.removeprefix(LEFT_OUT) for trial in lost),
        with_all=contrasts.primary,
    )


def diagnoses(given: Results, used: Results) -> tuple[Diagnosis, ...]:
    """Collect checks and detections of all trials given, of which `used` are in the analysis."""
    kept = {trial_key(trial) for trial in used.trials}
    return tuple(
        Diagnosis(
            method=trial.method,
            values=trial.values,
            seed=trial.seed,
            is_left_out=trial_key(trial) not in kept,
            checks=trial.checks,
            detections=trial.detections,
        )
        for trial in given.trials
        if trial.checks or trial.detections
    )
