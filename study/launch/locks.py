"""One launch at a time: on one machine by file locks, on a store that several share by a lease.

The kernel frees a file lock when its holder ends, even if it is killed. File locks do not reach
beyond one machine. The lease is a tag of the study's parent run with host, process and time. It is
renewed each minute and respected for five minutes, so that a dead holder does not block for long.
"""

import fcntl
import json
import os
import socket
import time
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING

from study.records.runs import StudyRuns
from study.records.store import is_store_failure

if TYPE_CHECKING:
    from mlflow import MlflowClient

TAG = "lease"
RENEWED_SECONDS = 60.0
RESPECTED_SECONDS = 300.0
SETTLE_SECONDS = 1.0
"""If two launches write at once and each waits this long, both read what the later one wrote."""


class HeldError(RuntimeError):
    """Another launch is at work; the message says which."""


def hold_launch(path: Path, study: str) -> IO[str]:
    """Acquire the launch lock; keep the returned file open as long as the launch lasts.

    The file names the holder. Raises `HeldError` if another launch, of any study, has the lock.
    """
    file = _open(path)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "another launch"
        file.close()
        raise HeldError(
            f"{holder} is at work on this store; stop it or wait until it ends, "
            "then run the same command again"
        ) from None
    file.truncate(0)
    file.write(f"study {study}, process {os.getpid()}, since {datetime.now():%Y-%m-%d %H:%M:%S}")
    file.flush()
    return file


def hold_shared(path: Path) -> IO[str]:
    """Mark a worker as alive; keep the returned file open as long as the worker may write."""
    file = _open(path)
    fcntl.flock(file, fcntl.LOCK_SH)
    return file


def await_workers(path: Path, seconds: float) -> None:
    """Wait until no worker of an earlier launch is left, as it might still write its result.

    Raises `HeldError` if one is still there after `seconds`.
    """
    until = time.monotonic() + seconds
    with _open(path) as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > until:
                    raise HeldError(
                        f"a worker of an earlier launch is still alive after {seconds:.0f} s; "
                        "end it (it is a ray process of this user), then run the same command again"
                    ) from None
                time.sleep(0.1)


def _open(path: Path) -> IO[str]:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not "w": whoever opens the file without the lock must not erase the holder's name.
    return path.open("a+", encoding="utf-8")


class Lease:
    """The right to launch a study, while it is renewed."""

    def __init__(self, client: "MlflowClient", runs: StudyRuns) -> None:
        self._client = client
        self._runs = runs
        self._holder = {"host": socket.gethostname(), "process": os.getpid()}
        self._renewed = 0.0

    def take(self, settle_seconds: float = SETTLE_SECONDS) -> None:
        """Write this process into the lease. Raises `HeldError` if somebody else has it."""
        self._refuse_if_held()
        self._write()
        # MLflow has no compare-and-set: of two that found the lease free, the later one keeps it.
        time.sleep(settle_seconds)
        self._refuse_if_held()

    def renew(self) -> None:
        """Renew the lease once a minute; cheap to call often.

        A store that does not answer raises nothing here: the next result to be recorded will.
        """
        if time.time() - self._renewed < RENEWED_SECONDS:
            return
        try:
            self._write()
        except Exception as failure:
            if not is_store_failure(failure):
                raise

    def release(self) -> None:
        """Empty the lease, so that others need not wait."""
        self._client.set_tag(self._runs.parent, TAG, "")

    def _write(self) -> None:
        self._renewed = time.time()
        tag = json.dumps({**self._holder, "time": self._renewed})
        self._client.set_tag(self._runs.parent, TAG, tag)

    def _refuse_if_held(self) -> None:
        tag = self._client.get_run(self._runs.parent).data.tags.get(TAG, "")
        if not tag:
            return
        lease = json.loads(tag)
        age = time.time() - lease["time"]
        holder = {"host": lease["host"], "process": lease["process"]}
        # A process of this machine can be looked up, so a dead one is not waited for.
        is_dead = holder["host"] == self._holder["host"] and not _is_alive(holder["process"])
        if holder != self._holder and age < RESPECTED_SECONDS and not is_dead:
            raise HeldError(
                f"process {holder['process']} on {holder['host']} is launching this study, last "
                f"seen {age:.0f} s ago; wait until it ends or, if it has died, for "
                f"{RESPECTED_SECONDS / 60:.0f} minutes"
            )


def _is_alive(process: int) -> bool:
    """Return whether a process of this machine exists, whichever user's it is."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it exists, and is another user's
        return True
    return True
