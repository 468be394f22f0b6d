"""The runs of configurations in MLflow: the seeds of each together, between parent run and trials.

MLflow groups no runs over seeds by itself. So each configuration has a run with the means of its
seeds as metrics, and its trials as children. These runs are made from the records of trials, by
every launch and every report, and nothing is ever read from them but what they already hold.
"""

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from study.plan import naming, space
from study.plan.plan import CLOSED, CellState, Plan, PlannedCell, TrialRecord
from study.plan.reasons import count_last_read
from study.plan.space import Configuration
from study.plan.times import trial_seconds
from study.records.database import Database
from study.records.runs import StudyRuns, checkpoint_read, robust_name, search
from study.records.store import EXPERIMENT_TAG
from study.records.values import run_params
from study.spec import StudySpec
from trainers.config import EvaluationConfig

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

T = TypeVar("T")
Status = Literal["SCHEDULED", "FINISHED", "FAILED", "KILLED"]
"""Until all seeds are done a run is scheduled, not running: nothing would end it after a kill."""

KIND = "configuration"
"""The tag `kind` of such a run; that of a trial is `trial`, and of a parent run `study`."""
FORMER = "former configuration"
"""The same where the study, as it is declared now, no longer has the configuration."""
KEY_TAG = "configuration_key"
NAME_TAG = "configuration"
"""On a trial, too: the name of its configuration, to group trials by."""
PARENT_TAG = "mlflow.parentRunId"
SHARE = 0.95
DECIMALS = 4
NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True, kw_only=True)
class ConfigurationRow:
    """What is recorded of a configuration, and which trials of the study belong to it."""

    key: str
    name: str
    status: Status
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    trials: Mapping[str, Mapping[str, str]]
    """The runs that are to be its children, by id, each with the tags on that as it has them."""


def configuration_rows(spec: StudySpec, plan: Plan) -> tuple[ConfigurationRow, ...]:
    """Summarise the configurations of a plan of which at least one trial was begun."""
    by_configuration: dict[Configuration, list[PlannedCell]] = {}
    for planned in plan.cells:
        by_configuration.setdefault(planned.cell.configuration, []).append(planned)
    own: dict[str, list[TrialRecord]] = {}
    for record in plan.records:
        if record.study == spec.name:
            own.setdefault(record.cell_key, []).append(record)
    rows: dict[str, ConfigurationRow] = {}
    for configuration, cells in by_configuration.items():
        trials = [record for planned in cells for record in own.get(planned.cell.key, ())]
        if trials or any(planned.state == "done" for planned in cells):
            row = _row(spec, plan, configuration, cells, trials)
            rows.setdefault(row.key, row)
    return tuple(rows.values())


def _row(
    spec: StudySpec,
    plan: Plan,
    configuration: Configuration,
    cells: Sequence[PlannedCell],
    trials: Sequence[TrialRecord],
) -> ConfigurationRow:
    first = cells[0].cell
    recorded = space.canonical(first.config, plan.fingerprint)
    params = {name: value for name, value in run_params(spec, first).items() if name != "seed"}
    done = [planned for planned in cells if planned.state == "done"]
    name = naming.configuration_name(spec, configuration)
    seeds = ", ".join(str(planned.cell.seed) for planned in done) or "none yet"
    return ConfigurationRow(
        key=space.configuration_key(configuration.method, recorded),
        name=naming.run_name(spec, configuration),
        status=_status({planned.state for planned in cells}),
        tags={
            "kind": KIND,
            "study": spec.name,
            "method": configuration.method,
            NAME_TAG: name,
            "seeds": seeds,
            "mlflow.note.content": _note(spec, done, len(cells)),
        },
        params={name: _short(value) for name, value in params.items()},
        metrics={**_radii(params), **_metrics(spec, done)},
        trials={
            record.run: {
                tag: record.labels[tag] for tag in (PARENT_TAG, NAME_TAG) if tag in record.labels
            }
            for record in trials
        },
    )


def _short(value: object) -> str:
    """Format a parameter; the exact values are those of the trials."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _status(states: set[CellState]) -> Status:
    """Return how a configuration stands whose cells are in these states."""
    if not states <= set(CLOSED):
        return "SCHEDULED"
    if "given up" in states:
        return "FAILED"
    return "KILLED" if "stopped" in states else "FINISHED"


def _radii(params: Mapping[str, object]) -> dict[str, float]:
    """Return both radii as metrics, 0 where the side is off.

    The UI's parallel coordinates leave out runs without a value, and mix no words with numbers.
    """
    radii = {name: params.get(name, 0.0) for name in ("rho", "epsilon")}
    return {name: value for name, value in radii.items() if isinstance(value, float)}


def _note(spec: StudySpec, done: Sequence[PlannedCell], num_seeds: int) -> str:
    threat = naming.threat_name(spec.evaluation.norm, spec.evaluation.objective_radius)
    num_last = count_last_read(done)
    last = f"{num_last} of them at their last epoch: the best one is unknown. " if num_last else ""
    return (
        f"Means over {len(done)} of {num_seeds} seeds, on the test images. {last}"
        f"`robust` is at {threat}. "
        "`low` and `high` are the ends of a 95% t interval over the seeds, on these images; the "
        "intervals of the report count the choice of images, too. The trials are the child runs."
    )


def _metrics(spec: StudySpec, done: Sequence[PlannedCell]) -> dict[str, float]:
    """Return the metrics of a configuration under short names, which the UI's columns hold."""
    evaluation = spec.evaluation
    records = [planned.record for planned in done if planned.record is not None]
    found: dict[str, float] = {"seeds": float(len(records))}
    if not records:
        return found
    read = [checkpoint_read(record.labels, evaluation.checkpoint) for record in records]
    named = [_metric_names(evaluation, checkpoint) for checkpoint in read]
    for short in named[0]:
        values = [
            record.metrics[names[short]] for record, names in zip(records, named, strict=True)
        ]
        found[short] = round(fmean(values), DECIMALS)
        if len(values) > 1 and short in ("robust", "clean"):
            low, high = t_interval(values)
            found |= {f"{short}_low": round(low, DECIMALS), f"{short}_high": round(high, DECIMALS)}
    costs = [record.metrics["cost/passes_per_sample"] for record in records]
    found["cost"] = round(fmean(costs), 2)
    found["seconds"] = float(f"{fmean(map(trial_seconds, records)):.3g}")
    return found


def _metric_names(evaluation: EvaluationConfig, checkpoint: str) -> dict[str, str]:
    """Return the metrics of a trial that is read at a checkpoint, by their short names."""
    norm, objective_radius = evaluation.norm, evaluation.objective_radius
    return {
        "robust": robust_name(checkpoint, norm, objective_radius),
        "clean": f"{checkpoint}/test_clean",
        **{
            f"robust_{radius:.4g}": robust_name(checkpoint, norm, radius)
            for radius in evaluation.radii
            if radius != objective_radius
        },
    }


def t_interval(values: Sequence[float]) -> tuple[float, float]:
    """Compute the 95% interval of a mean of accuracies by Student's t, within [0, 1].

    It needs two values. Student (1908), Biometrika 6(1).

    >>> [round(end, 4) for end in t_interval([0.5, 0.52, 0.54])]
    [0.4703, 0.5697]
    """
    from scipy.special import stdtrit  # takes a moment, and only who records needs it

    half = stdtrit(len(values) - 1, (1 + SHARE) / 2) * stdev(values) / math.sqrt(len(values))
    mean = fmean(values)
    return max(0.0, mean - half), min(1.0, mean + half)


@dataclass(kw_only=True)
class _Held:
    """What the run of a configuration holds by now."""

    run: str
    status: str
    name: str
    tags: dict[str, str]
    params: dict[str, str]
    metrics: dict[str, float]


class ConfigurationRuns:
    """The runs of a study's configurations, of which only what has changed is written."""

    def __init__(
        self, client: "MlflowClient", runs: StudyRuns, known: Iterable[_Held] | None = None
    ) -> None:
        """Read which runs there are, unless they are `known`, the latest first."""
        self._client = client
        self._runs = runs
        self._held: dict[str, _Held] = {}
        self._labelled: dict[str, Mapping[str, str]] = {}
        """The tags that trials were given here, by run."""
        for held in _held_runs(client, runs) if known is None else known:
            self._held.setdefault(held.tags.get(KEY_TAG, ""), held)

    def record(self, rows: Iterable[ConfigurationRow]) -> None:
        """Record the configurations, and make their trials their children."""
        keys = set()
        for row in rows:
            keys.add(row.key)
            held = self._held.get(row.key) or self._create(row)
            self._write(row, held)
            wanted = {PARENT_TAG: held.run, NAME_TAG: row.tags[NAME_TAG]}
            for trial, known in row.trials.items():
                known = self._labelled.get(trial, known)
                if not wanted.items() <= known.items():
                    self._log(trial, tags=wanted)
                    self._labelled[trial] = wanted
        for key in self._held.keys() - keys:
            held = self._held[key]
            if held.tags["kind"] != FORMER:
                self._log(held.run, tags={"kind": FORMER})
                held.tags["kind"] = FORMER

    def _create(self, row: ConfigurationRow) -> _Held:
        """Create the run of a configuration, unless a report or a launch has just done so."""
        chosen = f"tags.{KEY_TAG} = '{row.key}'"
        run = next(iter(search(self._client, [self._runs.experiment], chosen)), None)
        if run is None:
            labels = {"kind": KIND, KEY_TAG: row.key, PARENT_TAG: self._runs.parent}
            run = self._client.create_run(self._runs.experiment, tags=labels, run_name=row.name)
        made = self._held[row.key] = _held(run)
        return made

    def _write(self, row: ConfigurationRow, held: _Held) -> None:
        """Write what differs from what the run holds. A parameter that is held cannot change."""
        tags, metrics = _changed(row.tags, held.tags), _changed(row.metrics, held.metrics)
        params = {name: text for name, text in row.params.items() if name not in held.params}
        if tags or metrics or params:
            self._log(held.run, metrics, params, tags)
        if (row.status, row.name) != (held.status, held.name):
            self._client.update_run(held.run, status=row.status, name=row.name)
        if row.status not in (held.status, "SCHEDULED"):
            self._client.set_terminated(held.run, status=row.status)  # writes when it ended
        held.status, held.name = row.status, row.name
        held.tags |= tags
        held.params |= params
        held.metrics |= metrics

    def _log(
        self,
        run: str,
        metrics: Mapping[str, float] = NOTHING,
        params: Mapping[str, str] = NOTHING,
        tags: Mapping[str, str] = NOTHING,
    ) -> None:
        """Log everything in one call."""
        log = self._client.log_batch
        from mlflow.entities import Metric, Param, RunTag  # imported by then: there is a client

        now = int(time.time() * 1000)
        log(
            run,
            [Metric(name, value, now, 0) for name, value in metrics.items()],
            [Param(name, text) for name, text in params.items()],
            [RunTag(name, text) for name, text in tags.items()],
        )


class _UnrecordedError(Exception):
    """Something is not recorded yet."""


class _Reader:
    """Stands for a client where nothing may be written."""

    def __getattr__(self, name: str) -> Any:
        """Raise for every call."""
        raise _UnrecordedError


def _held_runs(client: "MlflowClient", runs: StudyRuns) -> Iterator[_Held]:
    for kind in (KIND, FORMER):
        for run in search(client, [runs.experiment], f"tags.kind = '{kind}'"):
            yield _held(run)


def are_recorded(source: Database, study: str, rows: Iterable[ConfigurationRow]) -> bool:
    """Return whether `ConfigurationRuns` would write nothing, without importing MLflow."""
    params = {kind: source.params(("kind", kind)) for kind in (KIND, FORMER)}
    known = (
        _Held(
            run=row.id,
            status=row.status,
            name=row.tags["mlflow.runName"],
            tags=dict(row.tags),
            params=params[kind].get(row.id, {}),
            metrics=dict(row.metrics),
        )
        for kind in (KIND, FORMER)
        for row in source.runs((EXPERIMENT_TAG, "study"), ("kind", kind))
        if row.tags.get("study") == study
    )
    no_runs = StudyRuns(experiment="", parent="")  # which only a writer needs
    recorder = ConfigurationRuns(cast("MlflowClient", _Reader()), no_runs, known)
    try:
        recorder.record(rows)
    except _UnrecordedError:
        return False
    return True


def _held(run: "Run") -> _Held:
    return _Held(
        run=run.info.run_id,
        status=run.info.status,
        name=run.info.run_name,
        tags=dict(run.data.tags),
        params=dict(run.data.params),
        metrics=dict(run.data.metrics),
    )


def _changed(wanted: Mapping[str, T], held: Mapping[str, T]) -> dict[str, T]:
    return {name: value for name, value in wanted.items() if held.get(name) != value}
