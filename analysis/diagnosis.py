"""Diagnosis: what the checklist and the detectors said of each trial, left out or not."""

from collections.abc import Mapping
from dataclasses import dataclass

from analysis.results import Check, Detection, Results, Value, trial_key


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What is known of one trial beside its accuracies."""

    method: str
    values: Mapping[str, Value]
    seed: int
    is_left_out: bool
    """An alarm says that its evaluation cannot be trusted."""
    checks: tuple[Check, ...]
    detections: tuple[Detection, ...]


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
