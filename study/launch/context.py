"""What every trial of a launch shares, as Ray's object store carries it to the workers."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from study.launch.states import States
from study.records.runs import StudyRuns
from study.records.store import Store
from study.spec import StudySpec
from trainers.data.dataset import Dataset


@dataclass(frozen=True, kw_only=True)
class TrialContext:
    """What every trial of a launch shares."""

    spec: StudySpec
    dataset: Dataset
    store: Store
    runs: StudyRuns
    tags: Mapping[str, str]
    """Versions, commit and whatever else names the launch."""
    states: States
    """Where cells' states are kept while they are trained."""
    expected_trials: Mapping[str, float]
    """By shape of training (`study.cost`): open cells at the launch, per slot."""
    workers_lock: Path | None
    """Held while a worker lives; None on a cluster, whose nodes share no locks."""
