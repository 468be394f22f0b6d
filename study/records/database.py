"""Runs read straight from MLflow's database file, which saves the seconds of importing MLflow.

`study plan` and `study status` only read, and are run often. Where the store is a database file
with a schema that is known here, its rows are read as they are, and nothing is written. Every other
store is read through MLflow. A test compares what both ways read of the same runs.
"""

import math
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TypeVar

from study.records.store import PATIENCE_SECONDS, Store, placed

T = TypeVar("T")

SCHEMAS = {"dc11669786a5"}
"""Versions of MLflow's schema (`alembic_version`) whose tables are read here."""
WORKSPACES = "MLFLOW_ENABLE_WORKSPACES"
"""Set by users who share a store among teams, whose runs MLflow then keeps apart."""


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """What is recorded of a run, without its parameters."""

    id: str
    status: str
    started: int
    """Milliseconds since the epoch."""
    ended: int | None
    artifacts: str
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    """The last value of each metric."""


@dataclass(frozen=True, kw_only=True)
class ExperimentRow:
    """What is recorded of an experiment."""

    location: str
    """Where the artifacts lay when it was recorded."""
    tags: Mapping[str, str]
    statuses: Set[str]
    """Those of its runs."""


@dataclass(frozen=True, kw_only=True)
class Database:
    """MLflow's database file, for reading."""

    path: Path
    artifacts: str
    """Where the artifacts lie today; empty for a store that the user named."""

    def runs(self, experiment_tag: tuple[str, str], run_tag: tuple[str, str]) -> list[RunRow]:
        """Read the runs with `run_tag` in experiments with `experiment_tag`, the latest first."""
        chosen = (
            "FROM runs JOIN experiments USING (experiment_id) "
            "JOIN experiment_tags AS held USING (experiment_id) "
            "JOIN tags AS own ON own.run_uuid = runs.run_uuid "
            "WHERE runs.lifecycle_stage = 'active' AND experiments.lifecycle_stage = 'active' "
            "AND held.key = ? AND held.value = ? AND own.key = ? AND own.value = ?"
        )
        of_them = f"WHERE run_uuid IN (SELECT runs.run_uuid {chosen}) ORDER BY run_uuid"
        values = (*experiment_tag, *run_tag)
        with _reading(self.path) as rows:
            found = rows.execute(
                "SELECT runs.run_uuid, status, start_time, end_time, artifact_uri, "
                f"artifact_location {chosen} ORDER BY start_time DESC, runs.run_uuid",
                values,
            ).fetchall()
            tags = _by_run(rows.execute(f"SELECT run_uuid, key, value FROM tags {of_them}", values))
            metrics = _by_run(
                (run, key, math.nan if is_nan else value)
                for run, key, value, is_nan in rows.execute(
                    f"SELECT run_uuid, key, value, is_nan FROM latest_metrics {of_them}", values
                )
            )
        return [
            RunRow(
                id=run,
                status=status,
                started=started,
                ended=ended,
                artifacts=placed(address, location, self.artifacts),
                tags=tags.get(run, {}),
                metrics=metrics.get(run, {}),
            )
            for run, status, started, ended, address, location in found
        ]

    def params(self, run_tag: tuple[str, str]) -> dict[str, dict[str, str]]:
        """Read the parameters of the runs with a tag, by run."""
        tagged = "SELECT run_uuid FROM tags WHERE key = ? AND value = ?"
        chosen = f"SELECT run_uuid, key, value FROM params WHERE run_uuid IN ({tagged})"
        with _reading(self.path) as rows:
            return _by_run(rows.execute(f"{chosen} ORDER BY run_uuid", run_tag))

    def experiment_named(self, name: str) -> ExperimentRow | None:
        """Read an experiment that was not deleted; None if there is no such one."""
        chosen = (
            "SELECT experiment_id, artifact_location FROM experiments "
            "WHERE name = ? AND lifecycle_stage = 'active'"
        )
        with _reading(self.path) as rows:
            found = rows.execute(chosen, (name,)).fetchone()
            if found is None:
                return None
            number, location = found
            tags = rows.execute(
                "SELECT key, value FROM experiment_tags WHERE experiment_id = ?", (number,)
            ).fetchall()
            statuses = rows.execute(
                "SELECT DISTINCT status FROM runs "
                "WHERE experiment_id = ? AND lifecycle_stage = 'active'",
                (number,),
            ).fetchall()
        return ExperimentRow(
            location=location, tags=dict(tags), statuses={status for (status,) in statuses}
        )

    def history(self, run: str, metric: str) -> dict[int, float]:
        """Read a metric's values by step. Of several at one step, the one recorded last is read."""
        with _reading(self.path) as rows:
            found = rows.execute(
                "SELECT step, value, is_nan FROM metrics WHERE run_uuid = ? AND key = ? "
                "ORDER BY timestamp, step, value",
                (run, metric),
            ).fetchall()
        return {step: math.nan if is_nan else value for step, value, is_nan in found}

    def experiment(self, run: str) -> str:
        """Read the id of a run's experiment."""
        with _reading(self.path) as rows:
            chosen = "SELECT experiment_id FROM runs WHERE run_uuid = ?"
            (found,) = rows.execute(chosen, (run,)).fetchone()
        return str(found)


def open_database(store: Store) -> Database | None:
    """Open a store's database file for reading. Return None where only MLflow can read it."""
    if not store.is_local or os.environ.get(WORKSPACES):
        return None
    path = store.path
    try:
        with _reading(path) as rows:
            versions = {version for (version,) in rows.execute("SELECT * FROM alembic_version")}
    except sqlite3.Error:
        return None  # MLflow will say what is wrong with it
    if len(versions) != 1 or not versions <= SCHEMAS:
        return None
    return Database(path=path, artifacts=store.artifacts)


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the database for reading, in one state that no writer changes meanwhile."""
    address = f"{path.absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(address, uri=True, timeout=PATIENCE_SECONDS)) as connection:
        connection.execute("BEGIN")
        yield connection


def _by_run(rows: Iterable[tuple[str, str, T]]) -> dict[str, dict[str, T]]:
    """Gather rows of (run, key, value), which are sorted by run."""
    return {
        run: {key: value for _, key, value in of_run}
        for run, of_run in groupby(rows, key=lambda row: row[0])
    }
