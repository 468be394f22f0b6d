"""A real MLflow store in a temporary folder."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from study.plan import space
from study.plan.reasons import LOST_TAG
from study.records.runs import (
    BITS_FILE,
    StudyRuns,
    TrialRun,
    _required_metrics,
    artifact,
    artifact_names,
    begin_study,
    close_runs,
    end_lost_run,
    end_study,
    find_finished,
    find_study,
    local_path,
    may_have,
    open_study,
    read_bits,
    read_trials,
)
from study.records.store import TrackingError, connect, find_store
from study.spec import StudySpec

Read = Callable[..., StudySpec]
DATA = "some-data"
BITS = {
    "best": np.eye(3, dtype=bool),
    "last": np.ones((3, 3), dtype=bool),
    "sample_hash": np.array("h"),
}


def named(spec: StudySpec, name: str) -> StudySpec:
    return spec.model_copy(update={"name": name})


def open_run(client: Any, runs: StudyRuns, spec: StudySpec, **tags: str) -> TrialRun:
    """Open the run of the study's first cell."""
    cell = space.cells(spec, space.grid_configurations(spec)[0], DATA)[0]
    labels = {
        "study": spec.name,
        "cell": cell.key,
        "method": "sam",
        "block": "",
        "number": "-1",
        "config": json.dumps(space.canonical(cell.config, DATA)),
        "ray_trial": "trial",
    }
    return TrialRun(client, runs, "a run", labels | tags, {"rho": 0.1})


def results(spec: StudySpec) -> dict[str, float]:
    evaluation = {"norm": spec.evaluation.norm, "radii": spec.evaluation.radii}
    return dict.fromkeys(_required_metrics(evaluation), 0.5)


def write_files(folder: Path) -> Path:
    for name in artifact_names():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    np.savez(folder / BITS_FILE, **BITS)
    return folder


def trials_of(client: Any, name: str) -> list[Any]:
    return [record for record in read_trials(client, "best") if record.study == name]


def test_study_is_opened_once_and_found_again(client: Any, store: Any, read: Read) -> None:
    spec = named(read(), "again")
    assert find_study(client, "again") is None
    first = open_study(client, store, spec, {"git_commit": "abc"})
    assert open_study(client, store, spec, {}) == first
    assert find_study(client, "again") == first
    assert client.get_run(first.parent).info.status == "SCHEDULED"
    begin_study(client, first)
    assert client.get_run(first.parent).info.status == "RUNNING"
    end_study(client, first, "FINISHED")
    assert client.get_run(first.parent).info.status == "FINISHED"


def test_deleted_experiment_is_refused_with_the_way_out(
    client: Any, store: Any, read: Read
) -> None:
    spec = named(read(), "deleted")
    runs = open_study(client, store, spec, {})
    client.delete_experiment(runs.experiment)
    with pytest.raises(TrackingError, match=r"restore it .* or rename the study"):
        open_study(client, store, spec, {})


def test_experiment_of_somebody_else_is_refused(client: Any, store: Any, read: Read) -> None:
    client.create_experiment("theirs")
    with pytest.raises(TrackingError, match="was not made by a study; rename the study"):
        open_study(client, store, named(read(), "theirs"), {})


def test_finished_run_with_results_and_files_is_complete(
    client: Any, store: Any, read: Read, tmp_path: Path
) -> None:
    spec = named(read(), "complete")
    runs = open_study(client, store, spec, {})
    run = open_run(client, runs, spec)
    run.log({"train/loss": 1.5}, 1)
    [record] = trials_of(client, "complete")
    assert (record.status, record.is_complete, record.objectives) == ("RUNNING", False, None)
    run.finish(results(spec), write_files(tmp_path / "files"))
    [record] = trials_of(client, "complete")
    assert (record.status, record.is_complete, record.objectives) == ("FINISHED", True, (0.5, 0.5))
    assert record.metrics["train/loss"] == 1.5
    assert find_finished(client, runs, record.cell_key, "best") == (0.5, 0.5)
    assert find_finished(client, runs, "another", "best") is None
    assert read_bits(store, record)["best"].tolist() == np.eye(3, dtype=bool).tolist()


@pytest.mark.parametrize("missing", artifact_names())
def test_finished_run_without_a_file_is_not_complete(
    client: Any, store: Any, read: Read, tmp_path: Path, missing: str
) -> None:
    name = "lacks-" + missing.replace("/", "-")
    spec = named(read(), name)
    runs = open_study(client, store, spec, {})
    folder = write_files(tmp_path / "files")
    (folder / missing).unlink()
    open_run(client, runs, spec).finish(results(spec), folder)
    [record] = trials_of(client, name)
    assert (record.status, record.is_complete) == ("FINISHED", False)


def test_finished_run_without_a_result_is_not_complete(
    client: Any, store: Any, read: Read, tmp_path: Path
) -> None:
    spec = named(read(), "no-result")
    runs = open_study(client, store, spec, {})
    metrics = results(spec)
    del metrics["best/test_clean"]
    open_run(client, runs, spec).finish(metrics, write_files(tmp_path / "files"))
    [record] = trials_of(client, "no-result")
    assert not record.is_complete


def test_failed_run_tells_reason_and_whether_it_would_repeat(
    client: Any, store: Any, read: Read
) -> None:
    spec = named(read(), "failed")
    runs = open_study(client, store, spec, {})
    run = open_run(client, runs, spec)
    run.fail("diverged in epoch 2", "the trace", would_repeat=True)
    [record] = trials_of(client, "failed")
    assert (record.status, record.would_repeat) == ("FAILED", True)
    assert record.reason == "diverged in epoch 2"
    assert [item.path for item in client.list_artifacts(run.id)] == ["traceback.txt"]


def test_closing_and_losing_runs_touches_only_what_is_running(
    client: Any, store: Any, read: Read
) -> None:
    spec = named(read(), "closing")
    runs = open_study(client, store, spec, {})
    open_run(client, runs, spec).kill("stopped")
    open_run(client, runs, spec, ray_trial="lost")
    open_run(client, runs, spec, ray_trial="other")
    end_lost_run(client, runs, "lost", 3, "its worker was lost")
    close_runs(client, runs, "its launch was killed")
    ends = sorted((record.status, record.reason) for record in trials_of(client, "closing"))
    assert ends == [
        ("KILLED", "its launch was killed"),
        ("KILLED", "its worker was lost"),
        ("KILLED", "stopped"),
    ]
    lost = [
        record.labels[LOST_TAG]
        for record in trials_of(client, "closing")
        if LOST_TAG in record.labels
    ]
    assert lost == ["3"]


def test_run_of_somebody_else_is_passed_over(client: Any, store: Any, read: Read) -> None:
    spec = named(read(), "odd")
    runs = open_study(client, store, spec, {})
    client.create_run(runs.experiment, tags={"kind": "trial", "study": "odd"})
    assert trials_of(client, "odd") == []


def test_damaged_bits_are_said_with_the_way_out(
    client: Any, store: Any, read: Read, tmp_path: Path
) -> None:
    spec = named(read(), "damaged")
    runs = open_study(client, store, spec, {})
    folder = write_files(tmp_path / "files")
    open_run(client, runs, spec).finish(results(spec), folder)
    [record] = trials_of(client, "damaged")
    path = (local_path(record.artifacts) or Path()) / BITS_FILE
    path.write_bytes(b"not an archive")
    with pytest.raises(TrackingError, match=r"is damaged \(.+\); delete it"):
        read_bits(store, record)
    for missing in BITS:
        np.savez(path, **{name: array for name, array in BITS.items() if name != missing})
        with pytest.raises(TrackingError, match=rf"damaged \(has no {missing}\); delete it"):
            read_bits(store, record)
    np.savez(path, **BITS)
    threats = record.canonical["evaluation"] | {"other_norm_radii": [0.5]}
    both = replace(record, canonical=record.canonical | {"evaluation": threats})
    with pytest.raises(TrackingError, match=r"\(has no best_other, last_other\)"):
        read_bits(store, both)


def test_failed_run_keeps_what_it_reached(client: Any, store: Any, read: Read) -> None:
    spec = named(read(), "reached")
    runs = open_study(client, store, spec, {})
    run = open_run(client, runs, spec)
    run.log({"train/loss": 9.0}, 1, flush_seconds=60)
    run.fail("diverged", "", would_repeat=True)
    assert client.get_run(run.id).data.metrics == {"train/loss": 9.0}


def test_metrics_are_sent_together_until_flushed(client: Any, store: Any, read: Read) -> None:
    spec = named(read(), "batched")
    runs = open_study(client, store, spec, {})
    run = open_run(client, runs, spec)
    for epoch in (1, 2, 3):
        run.log({"train/loss": epoch / 10}, epoch, flush_seconds=60)
    assert client.get_run(run.id).data.metrics == {}
    run.flush()
    history = client.get_metric_history(run.id, "train/loss")
    assert [(point.step, point.value) for point in history] == [(1, 0.1), (2, 0.2), (3, 0.3)]


def test_database_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    store = find_store(tmp_path)
    stale = tmp_path / "runs" / "mlflow.db.part"
    stale.parent.mkdir()
    stale.write_bytes(b"left by a launch that was killed in its first second")
    connect(store)
    assert sorted(path.name for path in stale.parent.iterdir()) == ["mlflow.db"]


ADDRESSES = [
    pytest.param("/folder/files", Path("/folder/files"), id="path"),
    pytest.param("file:///folder/files", Path("/folder/files"), id="file"),
    pytest.param("mlflow-artifacts:/1/files", None, id="server"),
    pytest.param("s3://bucket/files", None, id="bucket"),
]


@pytest.mark.parametrize(("uri", "expected"), ADDRESSES)
def test_artifacts_are_local_only_where_they_are_files(uri: str, expected: Path | None) -> None:
    assert local_path(uri) == expected


def test_file_of_a_run_is_read_where_it_lies_and_fetched_from_elsewhere(
    client: Any, store: Any, read: Read, tmp_path: Path
) -> None:
    spec = named(read(), "fetched")
    runs = open_study(client, store, spec, {})
    open_run(client, runs, spec).finish(results(spec), write_files(tmp_path / "files"))
    [record] = trials_of(client, "fetched")
    assert may_have(record, "config.json")
    assert not may_have(record, "attacks/none.npz")
    with artifact(store, record, "config.json") as path:
        assert path.read_bytes() == b"x"
        assert path.is_relative_to(local_path(record.artifacts))
    elsewhere = replace(record, artifacts="mlflow-artifacts:/elsewhere")
    assert may_have(elsewhere, "attacks/none.npz"), "only the store could tell"
    with artifact(store, elsewhere, "config.json") as path:
        assert path.read_bytes() == b"x"
    assert not path.exists()
    with (
        pytest.raises(TrackingError),
        artifact(store, elsewhere, "attacks/none.npz"),
    ):
        pass


def test_database_file_is_the_same_wherever_a_process_stands(
    monkeypatch: Any, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///here.db")
    assert find_store(tmp_path).uri == f"sqlite:///{tmp_path / 'here.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite://")
    with pytest.raises(TrackingError, match="must name a file"):
        find_store(tmp_path)


@pytest.mark.parametrize("uri", ["runs", "file:///runs"])
def test_plain_file_store_is_refused(monkeypatch: Any, tmp_path: Path, uri: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(TrackingError, match="MLFLOW_TRACKING_URI: must be a server"):
        find_store(tmp_path)


def test_users_environment_wins(monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "9")
    connect(find_store(tmp_path))
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "9"
