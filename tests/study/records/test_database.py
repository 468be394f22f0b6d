"""What is read straight from MLflow's database is what MLflow says of it."""

import json
import math
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric

from study.plan import space
from study.records import database
from study.records.runs import (
    StudyRuns,
    TrialRun,
    open_study,
    read_epochs,
    read_trials,
)
from study.records.store import EXPERIMENT_TAG, SQLITE, Store, connect, find_store
from study.spec import StudySpec

Read = Callable[..., StudySpec]
DATA = "some-data"


def opened(store: Store) -> database.Database:
    found = database.open_database(store)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, MlflowClient]:
    """A store with trials in every state, odd values, and what is none of ours."""
    store = find_store(tmp_path_factory.mktemp("a folder # with, signs & spaces"))
    client = connect(store)
    for name in ("one", "two", "gone"):
        place = f"{store.artifacts}/{name}"
        experiment = client.create_experiment(name, place, {EXPERIMENT_TAG: "study"})
        runs = StudyRuns(experiment=experiment, parent="parent")
        for end in ("RUNNING", "FINISHED", "FAILED", "KILLED", "deleted"):
            record(client, runs, name, end)
        client.create_run(experiment, tags={"kind": "study"})
    client.delete_experiment(experiment)
    tags = {EXPERIMENT_TAG: "another", "team": "study"}
    theirs = client.create_experiment("theirs", tags=tags)
    record(client, StudyRuns(experiment=theirs, parent="parent"), "theirs", "FINISHED")
    return store, client


def record(client: Any, runs: StudyRuns, study: str, end: str) -> None:
    """Record a trial that ends so; every number that a metric may hold is in it."""
    labels = {
        "study": study,
        "cell": f"{study} {end}",
        "method": "sam",
        "block": "",
        "number": "-1",
        "config": json.dumps({"evaluation": {"norm": "linf", "radii": [0.1]}, "text": "ε 'x' \\"}),
    }
    run = TrialRun(client, runs, "a run", labels, {"rho": 0.1})
    odd = (0.1, -0.0, math.nan, math.inf, -math.inf, 1e-320, 1 / 3)
    metrics = [Metric(f"odd/{n}", value, 5, 0) for n, value in enumerate(odd)]
    losses = ((0.7, 9, 1), (0.3, 11, 2), (0.5, 8, 2), (0.6, 8, 2))
    metrics += [Metric("loss", value, time, step) for value, time, step in losses]
    metrics += [Metric("loss", math.nan, 12, 3)]
    client.log_batch(run.id, metrics=metrics)
    if end == "deleted":
        client.delete_run(run.id)
    elif end != "RUNNING":
        client.set_terminated(run.id, end)


def comparable(record: Any) -> tuple[Any, ...]:
    """All of a record; NaN equal to itself, and the length of what still runs left out."""
    seconds = None if record.status == "RUNNING" else record.seconds
    metrics = {name: repr(value) for name, value in record.metrics.items()}
    values = {**vars(record), "metrics": metrics, "seconds": seconds}
    return tuple(sorted(values.items()))


def test_trials_are_those_that_mlflow_finds_in_its_order(filled: Any) -> None:
    store, client = filled
    direct = read_trials(opened(store), "last")
    through = read_trials(client, "last")
    assert [comparable(one) for one in direct] == [comparable(one) for one in through]
    assert len(direct) == 2 * 4
    assert {record.study for record in direct} == {"one", "two"}


def test_history_of_a_metric_is_that_of_mlflow(filled: Any) -> None:
    store, client = filled
    for record in read_trials(client, "last"):
        for name in ("loss", "odd/2", "odd/3", "none"):
            direct = read_epochs(opened(store), record.run, (name,))
            assert repr(direct) == repr(read_epochs(client, record.run, (name,)))


def test_reading_beside_a_writer_sees_what_is_committed_and_changes_nothing(filled: Any) -> None:
    store, _ = filled
    path = Path(store.uri.removeprefix(SQLITE))
    before = path.read_bytes()
    writer = sqlite3.connect(path)
    writer.execute("UPDATE runs SET status = 'KILLED'")
    found = {record.status for record in read_trials(opened(store), "last")}
    writer.rollback()
    writer.close()
    assert found == {"RUNNING", "FINISHED", "FAILED", "KILLED"}
    assert path.read_bytes() == before
    assert not list(path.parent.glob("mlflow.db-*"))


def test_a_suggestion_of_a_search_is_read_with_its_exact_values(
    store: Store, client: Any, read: Read
) -> None:
    spec = read()
    runs = open_study(client, store, spec, {})
    block = space.search_blocks(spec, DATA)[0]
    configuration = space.suggested(block, {"weights.sam.rho": 0.1 + 0.2}, 0)
    [cell, _] = space.cells(spec, configuration, DATA)
    labels = {
        "study": spec.name,
        "cell": cell.key,
        "method": configuration.method,
        "block": block.key,
        "number": "0",
        "config": json.dumps(space.canonical(cell.config, DATA)),
    }
    TrialRun(client, runs, "a run", labels, {})
    [record] = [r for r in read_trials(opened(store), "last") if r.study == spec.name]
    assert space.taught_values(block, record.canonical) == {"weights.sam.rho": 0.1 + 0.2}


def test_store_of_another_schema_is_left_to_mlflow(tmp_path: Path) -> None:
    store = find_store(tmp_path)
    connect(store)
    assert database.open_database(store) is not None
    path = store.uri.removeprefix(SQLITE)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'another'")
    connection.close()
    assert database.open_database(store) is None


def test_store_that_is_no_database_is_left_to_mlflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Store(uri="http://127.0.0.1:9", artifacts="")
    assert database.open_database(server) is None
    store = find_store(tmp_path)
    path = Path(store.uri.removeprefix(SQLITE))
    path.parent.mkdir()
    assert database.open_database(store) is None, "there is none yet"
    assert not path.exists(), "and reading makes none"
    path.write_bytes(b"not a database" * 100)
    assert database.open_database(store) is None
    path.unlink()
    connect(store)
    monkeypatch.setenv(database.WORKSPACES, "true")
    assert database.open_database(store) is None
