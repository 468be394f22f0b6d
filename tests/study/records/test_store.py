"""Stores of folders that are moved, copied, and have names that no address can hold."""

import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.tracking._tracking_service.utils import _artifact_repos_cache

from study.records.database import open_database
from study.records.runs import StudyRuns, TrialRun, open_source, open_study, read_trials
from study.records.store import (
    SQLITE,
    Store,
    TrackingError,
    connect,
    find_store,
    placed,
    schema_file,
)
from study.spec import StudySpec

ODD = ("per%20cent", "what?", "a # b; c\\d", "new\nline", "ε ρ", "latin \udce9")


@pytest.fixture(autouse=True)
def process() -> Iterator[None]:
    """Forget what MLflow remembers of runs, as a process that starts in the new folder does."""
    yield
    _artifact_repos_cache.clear()


def opened(project: Path) -> tuple[Store, MlflowClient]:
    """Open a project's store as a new process does."""
    _artifact_repos_cache.clear()
    store = find_store(project)
    return store, connect(store)


def tags(spec: StudySpec) -> dict[str, str]:
    evaluation = '{"evaluation": {"norm": "linf", "radii": [0.1]}}'
    names = {"study": spec.name, "cell": "key", "method": "sam", "block": "", "number": "-1"}
    return names | {"config": evaluation}


def record(project: Path, spec: StudySpec) -> tuple[MlflowClient, StudyRuns, str]:
    """Record a run with a file as a trial would."""
    store = find_store(project)
    client = connect(store)
    runs = open_study(client, store, spec, {})
    run = TrialRun(client, runs, "a run", tags(spec), {})
    client.log_text(run.id, "kept", "note.txt")
    return client, runs, run.id


def note(store: Store, run: str) -> Path:
    """Return where the store says that a run's note lies."""
    [found] = [one for one in read_trials(open_source(store), "last") if one.run == run]
    return Path(found.artifacts) / "note.txt"


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ODD, ids=range(len(ODD)))
def test_project_folder_of_any_name_records_in_itself(tmp_path: Path, name: str, read: Any) -> None:
    project = tmp_path / name
    project.mkdir()
    _, _, run = record(project, read())
    store = find_store(project)
    assert (project / "runs" / "mlflow.db").is_file()
    assert open_database(store) is not None
    assert note(store, run).read_text() == "kept"
    assert len(list((project / "runs" / "artifacts").rglob("note.txt"))) == 1


@pytest.mark.parametrize("name", ["elsewhere", "per%20cent"])
def test_moved_project_finds_its_files_before_and_after_a_writer_opened_it(
    tmp_path: Path, name: str, read: Any
) -> None:
    old, new = tmp_path / "old", tmp_path / "deeper" / name
    old.mkdir()
    _, runs, run = record(old, read())
    new.parent.mkdir()
    old.rename(new)
    store = find_store(new)
    assert note(store, run).read_text() == "kept", "read from the database file"
    _, client = opened(new)
    assert note(store, run).read_text() == "kept"
    assert client.get_run(run).info.artifact_uri.startswith(store.artifacts)
    client.log_text(run, "more", "more.txt")
    later = client.create_run(runs.experiment)
    client.log_text(later.info.run_id, "more", "more.txt")
    assert len(list((new / "runs" / "artifacts").rglob("more.txt"))) == 2
    assert not old.exists()


def test_copied_project_never_writes_into_the_original(tmp_path: Path, read: Any) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    _, _, run = record(old, read())
    shutil.copytree(old, new)
    before = files(old)
    store, client = opened(new)
    client.log_text(run, "changed", "note.txt")
    assert note(store, run).read_text() == "changed"
    assert files(old) == before
    assert note(find_store(old), run).read_text() == "kept"


def test_files_that_somebody_else_placed_stay_where_they_are(tmp_path: Path, read: Any) -> None:
    project = tmp_path / "old"
    project.mkdir()
    client, _, _ = record(project, read())
    theirs = client.create_experiment("theirs", "/somewhere/theirs")
    project.rename(tmp_path / "new")
    moved = connect(find_store(tmp_path / "new"))
    assert moved.get_experiment(theirs).artifact_location == "/somewhere/theirs"
    assert placed("/else/1/artifacts", "/old/artifacts/digits", "/new") == "/else/1/artifacts"
    assert placed("/old/digits/1/artifacts", "/old/digits", "") == "/old/digits/1/artifacts"


def test_folder_of_links_that_others_could_write_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    project = tmp_path / "what?"
    project.mkdir()
    link = Path(find_store(project).artifacts).parents[1]
    assert link.resolve() == project
    link.parent.chmod(0o777)
    with pytest.raises(TrackingError, match="must be a folder that this user alone can write"):
        find_store(project)


def statements(path: Path) -> list[str]:
    """Return what would make a database again, without the times of day in it.

    The checks of a table are sorted: MLflow itself writes them in another order from time to time.
    """
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE experiments SET creation_time = 0, last_update_time = 0")
        return sorted(map(with_sorted_checks, database.iterdump()))


def with_sorted_checks(statement: str) -> str:
    """Return a statement with the checks of the table that it makes, if any, in one order."""
    if not statement.startswith("CREATE TABLE"):
        return statement
    parts = re.split(r", *\n\s*", statement.removesuffix("\n);"))
    checks = sorted(part for part in parts if re.match(r"(CONSTRAINT \S+ )?CHECK ", part))
    return "\n".join([*(part for part in parts if part not in checks), *checks])


@pytest.mark.slow
def test_tables_made_at_once_are_those_that_mlflow_makes(tmp_path: Path) -> None:
    if not schema_file(version("mlflow")).exists():
        pytest.skip("the tables of this version of MLflow are not known, so it makes them itself")
    store, theirs = find_store(tmp_path), tmp_path / "mlflow.db"
    connect(store)
    MlflowClient(tracking_uri=f"{SQLITE}{theirs}").search_experiments(max_results=1)
    ours = [text.replace(store.artifacts, "") for text in statements(store.path)]
    assert ours == statements(theirs)
    assert len(ours) > 100
