"""Where MLflow keeps runs: the store's address, opening it, and what its failures look like."""

import hashlib
import logging
import os
import re
import socket
import sqlite3
import tempfile
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path, PurePath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from study.spec.source import Place

SQLITE = "sqlite:///"
EXPERIMENT_TAG = "rhoeps"
"""Marks the experiments that studies made."""
PLAIN_PATH = re.compile(r"[^%?#;\\\x00-\x1f\ud800-\udfff]*")
"""The characters of a database's path. Others have a meaning in an address, or cannot be in one."""

ANSWER_SECONDS = 5.0
"""How long a server may take to accept a connection."""
PATIENCE_SECONDS = 30.0
"""How long to wait for the database file while another process writes to it."""

ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_TRUNCATE_LONG_VALUES": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "4",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}
"""Set before mlflow is imported, unless the user has set it; workers get the same."""


class TrackingError(RuntimeError):
    """The tracker cannot be read or written; the message says which, why, and the way out."""

    place: "Place" = ()
    """Where the studies file has what is wrong; () if that is none of its mistakes."""


@dataclass(frozen=True, kw_only=True)
class Store:
    """Where MLflow keeps what a project finds."""

    uri: str
    artifacts: str
    """The folder of the artifacts; empty for a store that the user named."""

    @property
    def path(self) -> Path:
        """The database file of a local store."""
        return Path(self.uri.removeprefix(SQLITE))

    @property
    def is_local(self) -> bool:
        """Whether the store is a file that only this machine can reach."""
        return self.uri.startswith("sqlite:")

    @property
    def is_shared(self) -> bool:
        """Whether other projects may record here, too, as the user named the store."""
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
            out = "set it to http://host:5000 or sqlite:////folder/mlflow.db"
            raise TrackingError(f"MLFLOW_TRACKING_URI: {rule}, got {masked(uri)}; {out}")
        return _named_store(uri)
    runs = plain_folder(project) / "runs"
    return Store(uri=f"{SQLITE}{runs / 'mlflow.db'}", artifacts=str(runs / "artifacts"))


def _named_store(uri: str) -> Store:
    """Return the user's store. A relative database file is resolved against the project folder."""
    if not uri.startswith("sqlite:"):
        return Store(uri=uri, artifacts="")
    name = uri.removeprefix(SQLITE)
    if name == uri or name in ("", ":memory:"):
        raise TrackingError(
            f"MLFLOW_TRACKING_URI: must name a file, as workers share it, got {uri}; "
            "set it to sqlite:////folder/mlflow.db"
        )
    return Store(uri=f"{SQLITE}{Path(name).absolute()}", artifacts="")


def plain_folder(folder: Path) -> Path:
    """Return a folder's path if it can be part of an address, else a link to the folder.

    The link lies in this user's part of the machine's temporary folder. It is made again after a
    cleanup, and no record depends on it (`placed`). Raises `TrackingError` if other users could
    write there.
    """
    folder = folder.resolve()
    if PLAIN_PATH.fullmatch(str(folder)):
        return folder
    base = Path(tempfile.gettempdir()) / f"rhoeps-{os.getuid()}"
    base.mkdir(mode=0o700, exist_ok=True)
    held = base.lstat()
    if base.is_symlink() or held.st_uid != os.getuid() or held.st_mode & 0o022:
        rule = "must be a folder that this user alone can write"
        raise TrackingError(f"{base}: {rule}; remove it, or set TMPDIR to another folder")
    link = base / hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    if not link.is_symlink() or Path(os.readlink(link)) != folder:
        aside = link.with_name(f"{link.name}.{os.getpid()}")
        aside.symlink_to(folder)
        aside.replace(link)
    return link


def store_exists(store: Store) -> bool:
    """Return whether there is anything to read. A server is assumed to exist."""
    return not store.is_local or store.path.exists()


def placed(address: str, location: str, root: str) -> str:
    """Return where a run's files lie today: the folder of the project may have been moved.

    `address` is the run's recorded place, `location` that of its experiment, `root` where the
    store keeps artifacts now; empty where the store's user decides. What does not lie below the
    experiment's place was put there by somebody else, and stays.

    >>> placed("/old/artifacts/digits/1/artifacts", "/old/artifacts/digits", "/new/artifacts")
    '/new/artifacts/digits/1/artifacts'
    """
    if not root or not address.startswith(f"{location}/"):
        return address
    return f"{root}/{PurePath(location).name}{address.removeprefix(location)}"


def silence(store: Store) -> str:
    """Return why no server answers at the store's address; empty if one does.

    A store in a file, and a server that is reached through a proxy, are taken to answer.
    """
    url = urlsplit(store.uri)
    port = url.port or {"http": 80, "https": 443}.get(url.scheme)
    if store.is_local or not url.hostname or port is None:
        return ""
    if url.scheme in getproxies() and not proxy_bypass(url.hostname):
        return ""
    try:
        socket.create_connection((url.hostname, port), timeout=ANSWER_SECONDS).close()
    except OSError as error:
        return error.strerror or str(error) or type(error).__name__
    return ""


def connect(store: Store) -> "MlflowClient":
    """Open the store, and create its schema where there is none.

    Raises `TrackingError` if it cannot be reached, read or written.
    """
    if reason := silence(store):
        raise TrackingError(
            f"MLFLOW_TRACKING_URI: no server answers at {store.shown} ({reason}); start it, or "
            "correct the address; what is finished is kept"
        )
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient  # takes 2 to 4 seconds: only to read or write runs

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with recording(store):
        if not store_exists(store):
            _make_database(store.path)
        if store.artifacts:
            _readdress(store)
        try:
            client = MlflowClient(tracking_uri=store.uri)
            client.search_experiments(max_results=1)
        except ImportError as error:
            raise TrackingError(
                f"{store.shown}: the database's driver is missing: {error}; install it with pip"
            ) from error
    return client


def _readdress(store: Store) -> None:
    """Correct the recorded addresses of files after the project's folder was moved or copied.

    MLflow records absolute paths, and would otherwise write into the old folder.
    """
    table = "SELECT name FROM sqlite_master WHERE name = 'experiment_tags'"
    tagged = (
        "SELECT experiment_id, artifact_location FROM experiments "
        "JOIN experiment_tags USING (experiment_id) WHERE key = ?"
    )
    with closing(sqlite3.connect(store.path, timeout=PATIENCE_SECONDS)) as database, database:
        if database.execute(table).fetchone() is None:  # a new database, whose tables MLflow makes
            return
        for experiment, old in database.execute(tagged, (EXPERIMENT_TAG,)).fetchall():
            new = f"{store.artifacts}/{PurePath(old).name}"
            if new == old:
                continue
            database.execute(
                "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?",
                (new, experiment),
            )
            runs = database.execute(
                "SELECT run_uuid, artifact_uri FROM runs WHERE experiment_id = ?", (experiment,)
            )
            moved = [(placed(uri, old, store.artifacts), run) for run, uri in runs.fetchall()]
            database.executemany("UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?", moved)
            models = database.execute(
                "SELECT model_id, artifact_location FROM logged_models WHERE experiment_id = ?",
                (experiment,),
            )
            moved = [(placed(uri, old, store.artifacts), model) for model, uri in models.fetchall()]
            database.executemany(
                "UPDATE logged_models SET artifact_location = ? WHERE model_id = ?", moved
            )


def _make_database(path: Path) -> None:
    """Create MLflow's database under another name, then rename it, so that nobody sees half of it.

    A command that reads during the first launch would, and so would the launch after a first one
    that was killed in its first second. MLflow takes seconds to create its tables, one change of
    its history after another; for versions whose tables are known here, they are made at once.
    """
    from mlflow import MlflowClient  # takes seconds: quick commands read the file

    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.part")
    aside.unlink(missing_ok=True)
    known = schema_file(version("mlflow"))
    try:
        if known.exists():
            with closing(sqlite3.connect(aside)) as database:
                database.executescript(known.read_text(encoding="utf-8"))
        else:
            MlflowClient(tracking_uri=f"{SQLITE}{aside}").search_experiments(max_results=1)
        aside.rename(path)
    finally:
        aside.unlink(missing_ok=True)


def schema_file(of: str) -> Path:
    """Return the file with the statements that create the tables of a version of MLflow."""
    return Path(__file__).with_name(f"mlflow-{of}.sql")


class recording:  # noqa: N801 - used as a statement: `with recording(store):`
    """Turn an error of the store, whichever library raises it, into a `TrackingError`."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        """Replace an error of the store; let anything else pass."""
        if error is None or isinstance(error, TrackingError) or not is_store_failure(error):
            return
        reason = masked(" ".join(str(error).split()))[:300]
        out = "free disk space" if self.store.is_local else "look at the server's log"
        raise TrackingError(
            f"the MLflow store {self.store.shown} cannot be used: {reason}; {out} or correct "
            "MLFLOW_TRACKING_URI, then run the same command again: what is finished is kept"
        ) from error


def is_store_failure(error: BaseException) -> bool:
    """Return whether a failure is of disk, database, network or MLflow, not of the training."""
    if isinstance(error, TrackingError | OSError):
        return True
    modules = {kind.__module__.split(".")[0] for kind in type(error).__mro__}
    return bool(modules & {"mlflow", "sqlalchemy", "sqlite3", "requests", "urllib3"})
