"""Trials that train nothing, for `overhead.py`: all that surrounds a training, without it."""

import io
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from study.launch import launch, trainable
from study.launch.callbacks import Watch
from study.launch.interrupts import Interrupts
from study.launch.progress import Progress
from study.plan import naming, space
from study.plan.plan import make_plan
from study.plan.space import Cell, Configuration
from study.records import store
from study.records.runs import (
    StudyRuns,
    TrialRun,
    _required_metrics,
    artifact_names,
    open_source,
    open_study,
    read_trials,
)
from study.search.searcher import StudySearcher
from study.spec import StudySpec, read_studies
from trainers.data.dataset import DIGITS_FINGERPRINT

NAME = "empty"
EPOCHS = 20
METRICS = 10
"""That a trial records at each epoch."""
PARAMETERS = 25
STUDY = """\
{name}:
  data: {{name: digits}}
  model: {{name: small_cnn, width: 2}}
  training: {{epochs: {epochs}, batch_size: 250, learning_rate: 0.1, momentum: 0.9,
             weight_decay: 0.0, schedule: cosine}}
  seeds: {seeds}
  methods: {{sam: {{weights: {{sam: {{rho: {rho}}}}}}}}}
  {search}
  evaluation: {{norm: linf, radii: [0.05, 0.1, 0.15, 0.2], objective_radius: 0.1,
               attack: {{pgd: {{steps: 1, restarts: 1}}}}, checkpoint: last}}
"""
VALIDATION = {
    "validation_clean": 0.5,
    "validation_robust": 0.4,
    "training_seconds": 0.1,
    "validation_seconds": 0.1,
}


def declare(folder: Path, rho: object, seeds: int, search: str = "") -> StudySpec:
    """Write a studies file of one study, and read it."""
    folder.mkdir(parents=True, exist_ok=True)
    values = {"name": NAME, "epochs": EPOCHS, "seeds": list(range(seeds)), "search": search}
    file = folder / "studies.yaml"
    file.write_text(STUDY.format(rho=rho, **values), encoding="utf-8")
    return read_studies(file)[NAME]


@dataclass(frozen=True, kw_only=True)
class RayTrial:
    """What callbacks are told of a trial."""

    trial_id: str


class Clock:
    """CPU seconds of this process, by what they were spent on."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.process_time()

    def lap(self, part: str) -> None:
        """Count the time since the last lap as this part's."""
        now = time.process_time()
        self.seconds[part] = self.seconds.get(part, 0.0) + now - self._last
        self._last = now


class Bookkeeping:
    """A study in a store of its own, whose next trials are recorded without being trained."""

    def __init__(self, folder: Path, spec: StudySpec, recorded: int) -> None:
        self.folder = folder
        self._spec = spec
        self._store = store.find_store(folder)
        self._client = store.connect(self._store)
        self._runs = open_study(self._client, self._store, spec, {})
        self._files = write_files(folder / "files")
        self._begin()
        for _ in range(recorded):
            self.trial()
        self._begin()

    def _begin(self) -> None:
        """Begin a launch on what is recorded."""
        records = read_trials(open_source(self._store), self._spec.evaluation.checkpoint)
        plan = make_plan(self._spec, DIGITS_FINGERPRINT, records)
        self._searcher = StudySearcher(self._spec, plan)
        screen = Console(file=io.StringIO(), force_terminal=True, width=120)
        self._progress = Progress(self._spec, plan, self._searcher, 2, screen)
        self._watch = Watch(self._searcher, self._client, self._runs, Interrupts(), None, 3)
        self._count = 0

    def trial(self) -> dict[str, float]:
        """Do all that surrounds one trial, in its order; give the CPU seconds of each part."""
        self._count += 1
        trial, clock = RayTrial(trial_id=f"{id(self)}-{self._count}"), Clock()
        self._searcher.suggest(trial.trial_id)
        cell = self._searcher.trial_cells[trial.trial_id]
        clock.lap("searcher")
        self._progress.on_trial_start(self._count, [], trial)
        clock.lap("callbacks")
        run = open_run(self._client, self._runs, self._spec, cell, trial.trial_id)
        for epoch in range(1, EPOCHS + 1):
            run.log(epoch_metrics(), epoch, flush_seconds=60)
            clock.lap("MLflow")
            self._tell(trial, {"done": False, "complete": False, "epoch": epoch, **VALIDATION})
            clock.lap("callbacks")
        accuracy = 0.5 + self._count * 0.618 % 1 / 2  # so that most are dominated
        run.finish(final_metrics(self._spec, accuracy), self._files)
        clock.lap("MLflow")
        result = {"done": True, "complete": True, "objective_clean": accuracy}
        result |= {"objective_robust": accuracy, "seconds": 0.1}
        self._tell(trial, result)
        self._progress._refreshed = 0.0  # a redraw for each trial; a launch has two a second
        self._progress.on_step_end(self._count, [])
        clock.lap("callbacks")
        self._searcher.on_trial_complete(trial.trial_id, result)
        clock.lap("searcher")
        return clock.seconds

    def _tell(self, trial: RayTrial, result: dict[str, Any]) -> None:
        """Tell the callbacks of a result, as Ray Tune's loop does."""
        self._watch.on_step_begin(self._count, [])
        for callback in (self._watch, self._progress):
            callback.on_trial_result(iteration=self._count, trials=[], trial=trial, result=result)
        assert not self._watch.stop_all()


class EmptyTrainable(trainable.CellTrainable):
    """A trial of a launch that trains nothing: one epoch and its end, with all its records."""

    def setup(self, config: dict[str, Any], context: Any) -> None:
        """Keep what the trial is given; no run is open."""
        super().setup(config, context)
        self._run: TrialRun | None = None

    def step(self) -> dict[str, Any]:
        """Open the run, or finish it."""
        context, config = self._context, self.config
        run, self._run = self._run, None
        if run is not None:
            run.finish(
                final_metrics(context.spec, 0.5),
                write_files(context.states.folder.parent / "files"),
            )
            return {
                "done": True,
                "complete": True,
                "objective_clean": 0.5,
                "objective_robust": 0.5,
                "seconds": 0.1,
            }
        values = tuple((name, value) for name, value in config["values"])
        configuration = Configuration(method=config["method"], values=values)
        chosen = space.train_config(context.spec, configuration, config["seed"])
        cell = Cell(
            key=config["key"], configuration=configuration, seed=config["seed"], config=chosen
        )
        client = store.connect(context.store)
        self._run = open_run(client, context.runs, context.spec, cell, self.trial_id)
        self._run.log(epoch_metrics(), 1)
        return {"done": False, "complete": False, "epoch": 1, **VALIDATION}


def launch_empty(folder: Path, seeds: int) -> None:
    """Launch a study through Ray, its trials empty."""
    spec = declare(folder, "[0.1]", seeds)
    trainable.CellTrainable = EmptyTrainable  # type: ignore[misc]
    outcome = launch.launch(spec, folder, lambda plan: None)
    assert outcome.exit_code == 0, outcome


def open_run(client: Any, runs: StudyRuns, spec: StudySpec, cell: Cell, ray_trial: str) -> TrialRun:
    """Open a trial's run as a worker does."""
    configuration = cell.configuration
    tags = {
        **{f"version.{place}": "1.2.3" for place in range(8)},
        "study": spec.name,
        "cell": cell.key,
        "method": configuration.method,
        "seed": str(cell.seed),
        "block": configuration.block,
        "number": str(configuration.number),
        "values": json.dumps(dict(configuration.values)),
        "config": json.dumps(space.canonical(cell.config, DIGITS_FINGERPRINT), sort_keys=True),
        "ray_trial": ray_trial,
        "process": str(os.getpid()),
    }
    params = {f"parameter.{place}": place for place in range(PARAMETERS)}
    return TrialRun(client, runs, naming.cell_name(spec, cell), tags, params)


def epoch_metrics() -> dict[str, float]:
    """Give as many metrics as an epoch has."""
    return {f"metric/{place}": 0.5 for place in range(METRICS)}


def final_metrics(spec: StudySpec, value: float) -> dict[str, float]:
    """Give every metric that a finished trial must have, all of one value."""
    evaluation = {"norm": spec.evaluation.norm, "radii": spec.evaluation.radii}
    return dict.fromkeys(_required_metrics(evaluation), value)


def write_files(folder: Path) -> Path:
    """Write what a trial leaves, in about its usual size."""
    for name in artifact_names():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(bytes(20_000))
    return folder
