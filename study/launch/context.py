"""What every trial of a launch shares, as Ray's object store carries it to the workers.

This is a module apart from the trial, so that the launcher can build it without importing torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from study.launch.states import States
from study.records.runs import StudyRuns
from study.records.starts import StartFile
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
    """Versions and commit of the code that is launched."""
    states: States
    """Where the states of cells are kept while they are trained."""
    expected_trials: Mapping[str, float]
    """Open cells per slot when the launch began, by shape of training (`study.plan.cost`)."""
    began: float
    """When the launch began, in seconds since the epoch."""
    workers_lock: Path | None
    """Held while a worker lives; None on a cluster, whose nodes share no locks."""
    starts: Mapping[str, StartFile] = field(default_factory=dict)
    """The weights that cells start from, by their hash in `TrainConfig.start`."""
