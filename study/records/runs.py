"""A study's runs in MLflow: what is recorded, and reading it back.

A study has one experiment and one parent run. Below the parent run lies one run for each trial of a
cell. Every call goes through `MlflowClient` with explicit run ids, so no run is ever active behind
the caller's back.
"""

import json
import struct
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast
from urllib.parse import urlsplit
from zipfile import BadZipFile, ZipFile

from study.plan.plan import LAST_ALONE_TAG, RunStatus, TrialRecord
from study.plan.reasons import LOST_TAG
from study.records.database import Database, RunRow, open_database
from study.records.store import EXPERIMENT_TAG, Store, TrackingError, connect, recording
from study.spec import StudySpec
from trainers.config import Norm

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

TRIALS = "tags.kind = 'trial'"
PAGE = 1000
MOST_NOTE_CHARACTERS = 8000
"""The longest tag, and so the longest note of a run, that MLflow's databases hold."""
BITS_FILE = "bits.npz"
CHECKPOINTS = ("best", "last")
TAGS = {"study", "cell", "method", "block", "number", "config"}
"""The tags of every trial's run; a run without them was not made by a study."""
DAMAGES = (
    ValueError,
    LookupError,
    TypeError,
    EOFError,
    OSError,
    RuntimeError,
    BadZipFile,
    struct.error,
    zlib.error,
)
"""The errors that damaged content raises once it is in memory, where no disk can fail."""


Source: TypeAlias = "Database | MlflowClient"
"""What runs are read from."""


@dataclass(frozen=True, kw_only=True)
class StudyRuns:
    """The ids under which a study is recorded."""

    experiment: str
    parent: str


def find_study(client: "MlflowClient", name: str) -> StudyRuns | None:
    """Find a study's experiment and parent run; None if it was never launched."""
    experiment = client.get_experiment_by_name(name)
    if experiment is None or experiment.lifecycle_stage != "active":
        return None
    found = client.search_runs(
        [experiment.experiment_id], "tags.kind = 'study'", order_by=["start_time ASC"]
    )
    if not found:
        return None
    return StudyRuns(experiment=experiment.experiment_id, parent=found[0].info.run_id)


def open_study(
    client: "MlflowClient", store: Store, spec: StudySpec, tags: Mapping[str, str]
) -> StudyRuns:
    """Find or create a study's experiment and parent run, without starting the run.

    Raises `TrackingError` if an experiment of that name was deleted, or was not made by a study.
    """
    experiment = client.get_experiment_by_name(spec.name)
    if experiment is not None and experiment.lifecycle_stage != "active":
        raise TrackingError(
            f"experiment {spec.name}: was deleted in MLflow but keeps its name; restore it "
            f"(mlflow experiments restore -x {experiment.experiment_id}) or rename the study"
        )
    if experiment is not None and EXPERIMENT_TAG not in experiment.tags:
        raise TrackingError(
            f"experiment {spec.name}: exists in {store.shown} and was not made by a study; "
            "rename the study"
        )
    if experiment is None:
        location = f"{store.artifacts}/{spec.name}" if store.artifacts else None
        labels = {
            EXPERIMENT_TAG: "study",
            "mlflow.note.content": spec.about,
            "mlflow.experimentKind": "custom_model_development",
        }
        experiment_id = client.create_experiment(spec.name, location, labels)
    else:
        experiment_id = experiment.experiment_id
    runs = find_study(client, spec.name)
    if runs is None:
        labels = {"kind": "study", "study": spec.name, "mlflow.note.content": spec.about}
        parent = client.create_run(experiment_id, tags=labels, run_name=f"study {spec.name}")
        runs = StudyRuns(experiment=experiment_id, parent=parent.info.run_id)
        client.update_run(runs.parent, status="SCHEDULED")
    for name, value in tags.items():
        client.set_tag(runs.parent, name, value)
    return runs


def open_source(store: Store) -> Source:
    """Open what a store's runs are read from: its file where that is possible, else MLflow."""
    return open_database(store) or connect(store)


def read_trials(source: Source, checkpoint: str) -> tuple[TrialRecord, ...]:
    """Read every trial of every study in the store, with the objectives of one checkpoint.

    A run that holds the last checkpoint alone has the objectives of that one.
    """
    if isinstance(source, Database):
        rows = source.runs((EXPERIMENT_TAG, "study"), ("kind", "trial"))
    else:
        tagged = f"tags.{EXPERIMENT_TAG} = 'study'"
        experiments = source.search_experiments(filter_string=tagged)
        ids = [experiment.experiment_id for experiment in experiments]
        rows = [_row(run) for run in search(source, ids, TRIALS)]
    return tuple(_record(row, checkpoint) for row in rows if row.tags.keys() >= TAGS)


def search(client: "MlflowClient", experiments: list[str], chosen: str) -> Iterable["Run"]:
    """Follow the pages of a search."""
    token: str | None = None
    while experiments:
        page = client.search_runs(experiments, chosen, max_results=PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def parent_status(source: Source, study: str) -> str:
    """Return the status of a study's parent run; empty if the study was never launched."""
    if isinstance(source, Database):
        rows = source.runs((EXPERIMENT_TAG, "study"), ("kind", "study"))
        found = [row.status for row in rows if row.tags.get("study") == study]
    else:
        runs = find_study(source, study)
        found = [source.get_run(runs.parent).info.status] if runs else []
    return found[-1] if found else ""


def _row(run: "Run") -> RunRow:
    """Return the parts of an MLflow run that are used here."""
    return RunRow(
        id=run.info.run_id,
        status=run.info.status,
        started=run.info.start_time,
        ended=run.info.end_time,
        artifacts=run.info.artifact_uri,
        tags=run.data.tags,
        metrics=run.data.metrics,
    )


def read_trial(client: "MlflowClient", run: str, checkpoint: str) -> TrialRecord:
    """Read one trial's run by its id."""
    return _record(_row(client.get_run(run)), checkpoint)


def _record(row: RunRow, checkpoint: str) -> TrialRecord:
    """Build the record of a trial from its run."""
    tags, metrics = row.tags, row.metrics
    canonical = json.loads(tags["config"])
    status = cast(RunStatus, row.status)
    started, ended = row.started / 1000, row.ended
    lacking = _lacking(row, canonical["evaluation"]) if status == "FINISHED" else ""
    is_complete = status == "FINISHED" and not lacking
    clean, robust = objective_names(checkpoint_read(tags, checkpoint))
    return TrialRecord(
        run=row.id,
        study=tags["study"],
        cell_key=tags["cell"],
        block=tags["block"],
        number=int(tags["number"]),
        canonical=canonical,
        status=status,
        reason=lacking or tags.get("reason", ""),
        would_repeat=tags.get("would_repeat") == "true",
        objectives=(metrics[clean], metrics[robust]) if is_complete else None,
        is_complete=is_complete,
        started=started,
        seconds=(ended / 1000 if ended else time.time()) - started,
        metrics=metrics,
        labels=tags,
        artifacts=row.artifacts,
    )


def recorded_checkpoints(labels: Mapping[str, str]) -> tuple[str, ...]:
    """Return the checkpoints that a run holds, according to its tags."""
    return ("last",) if LAST_ALONE_TAG in labels else CHECKPOINTS


def checkpoint_read(labels: Mapping[str, str], wanted: str) -> str:
    """Return the checkpoint that a run is read at: the wanted one, else the last that it holds."""
    return wanted if wanted in recorded_checkpoints(labels) else "last"


def _lacking(row: RunRow, evaluation: Mapping[str, Any]) -> str:
    """Return why a finished trial does not count as done; empty if it does."""
    held = recorded_checkpoints(row.tags)
    for name in _required_metrics(evaluation, held):
        if name not in row.metrics:
            return f"its run has no metric {name}"
    folder = local_path(row.artifacts)
    if folder is None:  # the files lie elsewhere, and the run is trusted
        return ""
    absent = [name for name in artifact_names(held) if not (folder / name).is_file()]
    return f"its file {folder / absent[0]} is gone" if absent else ""


def artifact_names(checkpoints: Sequence[str] = CHECKPOINTS) -> tuple[str, ...]:
    """Return the names of the files that a finished trial must have left."""
    return ("config.json", BITS_FILE, *(weights_file(checkpoint) for checkpoint in checkpoints))


def weights_file(checkpoint: str) -> str:
    """Return the name of the file of a checkpoint's weights, below the run's artifacts."""
    return f"checkpoints/{checkpoint}.pt"


def _required_metrics(
    evaluation: Mapping[str, Any], checkpoints: Sequence[str] = CHECKPOINTS
) -> tuple[str, ...]:
    """Return the names of the metrics without which a finished trial is not done."""
    names = ["seconds", "cost/passes_per_sample"]
    for checkpoint in checkpoints:
        names += [*objective_names(checkpoint), f"{checkpoint}/test_clean"]
        names += [
            robust_name(checkpoint, norm, radius)
            for norm, radii in recorded_threats(evaluation)
            for radius in radii
        ]
    return tuple(names)


def recorded_threats(evaluation: Mapping[str, Any]) -> tuple[tuple[Norm, Sequence[float]], ...]:
    """Return the norms that a recorded cell was evaluated in, its own first, with their radii."""
    norm: Norm = evaluation["norm"]
    other: Norm = "l2" if norm == "linf" else "linf"
    return (norm, evaluation["radii"]), (other, evaluation.get("other_norm_radii", ()))


def objective_names(checkpoint: str) -> tuple[str, str]:
    """Return the names of the metrics that a search trades off, clean and robust validation."""
    return f"{checkpoint}/validation_clean", f"{checkpoint}/validation_robust"


def robust_name(checkpoint: str, norm: str, radius: float) -> str:
    """Return the name of the metric of the test accuracy at a radius.

    >>> robust_name("best", "linf", 0.1)
    'best/test_robust_linf_0.1'
    """
    return f"{checkpoint}/test_robust_{norm}_{radius:.6g}"


def read_bits(store: Store, record: TrialRecord) -> dict[str, Any]:
    """Read a finished trial's correctness bits: by checkpoint, with `radii` and `sample_hash`.

    Raises `TrackingError` for a damaged file.
    """
    _, *other = recorded_threats(record.canonical["evaluation"])
    held = recorded_checkpoints(record.labels)
    others = [f"{name}_other" for name in held if any(radii for _, radii in other)]
    with artifact(store, record, BITS_FILE) as path:
        content = path.read_bytes()
        with undamaged(path, "launch the study: its cell runs again"):
            return read_arrays(content, (*held, *others, "sample_hash"))


def read_arrays(content: bytes, names: Sequence[str]) -> dict[str, Any]:
    """Read the arrays of an archive by name. Raises `ValueError` if it lacks one of `names`."""
    import numpy as np  # takes a tenth of a second, and plan and status do not need it

    with ZipFile(BytesIO(content)) as archive:
        # Whole files are checked before an array is made: a wrong shape could ask for all memory.
        files = {name.removesuffix(".npy"): archive.read(name) for name in archive.namelist()}
    missing = [name for name in names if name not in files]
    if missing:
        raise ValueError(f"has no {', '.join(missing)}")
    return {name: np.load(BytesIO(file), allow_pickle=False) for name, file in files.items()}


@contextmanager
def undamaged(path: Path, then: str) -> Iterator[None]:
    """Turn an error of damaged content into a `TrackingError`.

    `then`: what the user does once the file is deleted.
    """
    try:
        yield
    except DAMAGES as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        text = f"{path}: is damaged ({reason[:200]}); delete it, then {then}"
        raise TrackingError(text) from error


def may_have(record: TrialRecord, name: str) -> bool:
    """Return whether a run's file exists; one on another machine is taken to exist."""
    folder = local_path(record.artifacts)
    return folder is None or (folder / name).is_file()


@contextmanager
def artifact(store: Store, record: TrialRecord, name: str) -> Iterator[Path]:
    """Yield the path of a run's file on this machine, downloaded if it lies elsewhere.

    Raises `TrackingError` if it cannot be read.
    """
    folder = local_path(record.artifacts)
    if folder is not None:
        yield folder / name
        return
    with tempfile.TemporaryDirectory(prefix="rhoeps-") as place:
        with recording(store):
            path = Path(connect(store).download_artifacts(record.run, name, place))
        yield path


def read_epochs(source: Source, run: str, names: Iterable[str]) -> dict[int, tuple[float, ...]]:
    """Read the values of metrics by epoch, for the epochs at which the run recorded all of them."""
    by_name = list(read_histories(source, run, names).values())
    epochs = set.intersection(*(set(values) for values in by_name)) if by_name else set()
    return {epoch: tuple(values[epoch] for values in by_name) for epoch in sorted(epochs)}


def read_histories(source: Source, run: str, names: Iterable[str]) -> dict[str, dict[int, float]]:
    """Read the values of metrics that a run recorded at each epoch, by name and epoch."""
    return {
        name: source.history(run, name)
        if isinstance(source, Database)
        else {metric.step: metric.value for metric in source.get_metric_history(run, name)}
        for name in names
    }


def local_path(uri: str) -> Path | None:
    """Return an artifact address as a path on this machine, or None if it is elsewhere."""
    if uri.startswith("file://"):
        return Path(urlsplit(uri).path)
    return None if "://" in uri or uri.startswith("mlflow-artifacts:") else Path(uri)


def find_finished(
    client: "MlflowClient", runs: StudyRuns, cell_key: str, checkpoint: str
) -> tuple[float, float] | None:
    """Return a cell's objectives if the study has finished it, else None."""
    chosen = f"tags.cell = '{cell_key}' and attributes.status = 'FINISHED'"
    found = search(client, [runs.experiment], chosen)
    records = (_record(_row(run), checkpoint) for run in found)
    return next((record.objectives for record in records if record.objectives), None)


def close_runs(client: "MlflowClient", runs: StudyRuns, reason: str) -> None:
    """End every running trial run of the study as KILLED."""
    running = f"{TRIALS} and attributes.status = 'RUNNING'"
    for run in list(search(client, [runs.experiment], running)):
        client.set_tag(run.info.run_id, "reason", reason)
        client.set_terminated(run.info.run_id, "KILLED")


def end_lost_run(
    client: "MlflowClient", runs: StudyRuns, ray_trial: str, epoch: int, reason: str
) -> None:
    """End the run of a trial as KILLED, as its worker is lost and cannot do it.

    `epoch`: the last one that the worker reported, 0 if none. A lost worker is no failure of the
    cell.
    """
    running = f"tags.ray_trial = '{ray_trial}' and attributes.status = 'RUNNING'"
    for run in list(search(client, [runs.experiment], running)):
        client.set_tag(run.info.run_id, LOST_TAG, str(epoch))
        client.set_tag(run.info.run_id, "reason", reason)
        client.set_terminated(run.info.run_id, "KILLED")


def begin_study(client: "MlflowClient", runs: StudyRuns) -> None:
    """Mark the parent run as running."""
    client.update_run(runs.parent, status="RUNNING")


def end_study(client: "MlflowClient", runs: StudyRuns, status: RunStatus) -> None:
    """End the parent run."""
    client.set_terminated(runs.parent, status)


class TrialRun:
    """One trial's run while it lasts: opened, given epochs, ended in one of three ways.

    `is_away` returns whether the tracking server is away now.
    """

    def __init__(
        self,
        client: "MlflowClient",
        runs: StudyRuns,
        name: str,
        tags: Mapping[str, str],
        params: Mapping[str, object],
        is_away: Callable[[], bool] = lambda: False,
    ) -> None:
        from mlflow.entities import Param  # takes seconds, which reading the file does not need

        self._client = client
        self._is_away = is_away
        self._pending: list[tuple[str, float, int]] = []
        self._flushed = time.monotonic()
        labels = {"kind": "trial", "mlflow.parentRunId": runs.parent, **tags}
        run = client.create_run(runs.experiment, tags=labels, run_name=name)
        self.id: str = run.info.run_id
        self.artifacts: str = run.info.artifact_uri
        logged = [Param(key, str(value)) for key, value in params.items()]
        client.log_batch(self.id, params=logged)

    def log(self, metrics: Mapping[str, float], step: int, flush_seconds: float = 2.0) -> None:
        """Record metrics at a step. They are sent together, at most every `flush_seconds`.

        While the server is away they are held back, so that no epoch waits for it.
        """
        self._pending.extend((name, float(value), step) for name, value in metrics.items())
        if time.monotonic() - self._flushed < flush_seconds:
            return
        self._flushed = time.monotonic()
        if not self._is_away():
            self.flush()

    def flush(self) -> None:
        """Send the metrics that are held back."""
        from mlflow.entities import Metric  # imported by then: a run is open

        now = int(time.time() * 1000)
        batch = [Metric(name, value, now, step) for name, value, step in self._pending]
        for start in range(0, len(batch), PAGE):
            self._client.log_batch(self.id, metrics=batch[start : start + PAGE])
        self._pending.clear()
        self._flushed = time.monotonic()

    def label(self, tags: Mapping[str, str]) -> None:
        """Add tags to the run, in one call."""
        from mlflow.entities import RunTag  # imported by then: a run is open

        labels = [RunTag(name, value) for name, value in tags.items()]
        self._client.log_batch(self.id, tags=labels)

    def finish(
        self,
        metrics: Mapping[str, float],
        folder: Path,
        log_network: Callable[[], str] = lambda: "",
    ) -> None:
        """Record the results and every file in `folder`, then end the run as FINISHED.

        Results have step 0, as they belong to no epoch: the UI then compares them in bars.
        `log_network` is called once the files are there, and returns why it did nothing.
        """
        self._client.log_artifacts(self.id, str(folder))
        if reason := log_network():
            self.label({"no_model": reason})
        self.log(metrics, 0)
        self.flush()
        self._client.set_terminated(self.id, "FINISHED")

    def fail(self, reason: str, details: str, would_repeat: bool) -> None:
        """End the run as FAILED with its reason, and keep the metrics it reached."""
        self.flush()
        self._end("FAILED", {"reason": reason[:1000], "would_repeat": str(would_repeat).lower()})
        if details:
            self._client.log_text(self.id, details, "traceback.txt")

    def kill(self, reason: str) -> None:
        """End the run as KILLED: stopped from outside, to be run again."""
        self._end("KILLED", {"reason": reason})

    def _end(self, status: RunStatus, tags: Mapping[str, str]) -> None:
        """Set tags that say why the run ends, and end it, in as few calls as possible."""
        for name, value in tags.items():
            self._client.set_tag(self.id, name, value)
        self._client.set_terminated(self.id, status)
