"""Where MLflow keeps runs: the store's address, opening it, and what its failures look like."""

import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient

SQLITE = "sqlite:///"

ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_TRUNCATE_LONG_VALUES": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "4",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}
"""Set, where the user has not, before mlflow is imported; workers get the same."""


class TrackingError(RuntimeError):
    """The tracker cannot be read or written; the message says which, why, and the way out."""


@dataclass(frozen=True, kw_only=True)
class Store:
    """Where MLflow keeps what a project finds."""

    uri: str
    artifacts: str
    """Root of the artifacts; empty where a server decides."""

    @property
    def is_local(self) -> bool:
        """Whether the store is a file that only this machine can reach."""
        return self.uri.startswith("sqlite:")

    @property
    def is_shared(self) -> bool:
        """Whether launches of other projects may record here: the user named the store."""
        return not self.artifacts

    @property
    def shown(self) -> str:
        """The address without user and password, for messages."""
        return masked(self.uri)


def masked(text: str) -> str:
    """Hide the user and password of every address in a text that others will read.

    >>> masked("cannot reach http://me:secret@host:5000/api")
    'cannot reach http://***@host:5000/api'
    """
    return re.sub(r"(?<=://)[^/@\s]+@", "***@", text)


def find_store(project: Path) -> Store:
    """Return the store of a project folder: `MLFLOW_TRACKING_URI` if set, or `runs/mlflow.db`."""
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if uri:
        is_file_store = "://" not in uri or uri.startswith("file:")
        if is_file_store:
            rule = "must be a server or a database, as MLflow keeps no runs in plain files any more"
            out = "say http://host:5000 or sqlite:////folder/mlflow.db"
            raise TrackingError(f"MLFLOW_TRACKING_URI: {rule}, got {masked(uri)}; {out}")
        return _named_store(uri)
    runs = project.resolve() / "runs"
    if set("%?") & set(str(runs)):
        rule = "must have no % and no ? in its path, as the address of the database cannot"
        raise TrackingError(f"{project.resolve()}: {rule}; rename the folder")
    return Store(uri=f"{SQLITE}{runs / 'mlflow.db'}", artifacts=str(runs / "artifacts"))


def _named_store(uri: str) -> Store:
    """Return the user's store. A relative database file is resolved against the project folder."""
    if not uri.startswith("sqlite:"):
        return Store(uri=uri, artifacts="")
    name = uri.removeprefix(SQLITE)
    if name == uri or name in ("", ":memory:"):
        raise TrackingError(
            f"MLFLOW_TRACKING_URI: must name a file, as workers share it, got {uri}; "
            "say sqlite:////folder/mlflow.db"
        )
    return Store(uri=f"{SQLITE}{Path(name).absolute()}", artifacts="")


def store_exists(store: Store) -> bool:
    """Return whether there is anything to read. A server is assumed to exist."""
    return not store.is_local or Path(store.uri.removeprefix(SQLITE)).exists()


def connect(store: Store) -> "MlflowClient":
    """Open the store, making its schema where there is none.

    Raises `TrackingError` where it cannot be reached, read or written.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient  # 2 to 4 seconds: only where runs are read or written

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with recording(store):
        if not store_exists(store):
            _make_database(Path(store.uri.removeprefix(SQLITE)))
        try:
            client = MlflowClient(tracking_uri=store.uri)
            client.search_experiments(max_results=1)
        except ImportError as error:
            raise TrackingError(
                f"{store.shown}: the database's driver is missing: {error}; install it with pip"
            ) from error
    return client


def _make_database(path: Path) -> None:
    """Make MLflow's schema aside and rename it: nobody ever sees half of it.

    Readers beside a first launch, and a launch killed in its first second, would.
    """
    from mlflow import MlflowClient  # seconds: quick commands read the database file

    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.part")
    aside.unlink(missing_ok=True)
    try:
        MlflowClient(tracking_uri=f"{SQLITE}{aside}").search_experiments(max_results=1)
        aside.rename(path)
    finally:
        aside.unlink(missing_ok=True)


class recording:  # noqa: N801 - used as a statement: `with recording(store):`
    """Turn what a store's failure raises, of whatever layer, into one `TrackingError`."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        """Replace an error of the store; let anything else pass."""
        if error is None or isinstance(error, TrackingError) or not is_store_failure(error):
            return
        reason = masked(" ".join(str(error).split()))[:300]
        raise TrackingError(
            f"the MLflow store {self.store.shown} cannot be used: {reason}; free disk space, start "
            "the server or correct MLFLOW_TRACKING_URI, then give the same command: what is "
            "finished is kept"
        ) from error


def is_store_failure(error: BaseException) -> bool:
    """Return whether a failure is of disk, database, network or MLflow, not of the training."""
    if isinstance(error, TrackingError | OSError):
        return True
    modules = {kind.__module__.split(".")[0] for kind in type(error).__mro__}
    return bool(modules & {"mlflow", "sqlalchemy", "sqlite3", "requests", "urllib3"})
