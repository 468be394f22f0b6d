"""One launch at a time: file locks that the kernel frees, also when their holder is killed."""

import fcntl
import os
import time
from datetime import datetime
from pathlib import Path
from typing import IO


class HeldError(RuntimeError):
    """Another launch is at work; the message says which."""


def hold_launch(path: Path, study: str) -> IO[str]:
    """Take the launch lock; keep the returned file open as long as the launch lasts.

    The file names the holder. Raises `HeldError` if another launch, of any study, has the lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "another launch"
        file.close()
        raise HeldError(
            f"{holder} is at work on this store; wait for its end or stop it, "
            "then give the same command"
        ) from None
    file.truncate(0)
    file.write(f"study {study}, process {os.getpid()}, since {datetime.now():%Y-%m-%d %H:%M:%S}")
    file.flush()
    return file


def hold_shared(path: Path) -> IO[str]:
    """Mark a worker as alive: keep the returned file open as long as it may write."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a", encoding="utf-8")
    fcntl.flock(file, fcntl.LOCK_SH)
    return file


def await_workers(path: Path, seconds: float) -> None:
    """Wait until no worker of an earlier launch is left, as it might still write its result.

    Raises `HeldError` if one is still there after `seconds`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        until = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > until:
                    raise HeldError(
                        f"a worker of an earlier launch is still alive after {seconds:.0f} s; "
                        "end it (ray processes of this user), then give the same command"
                    ) from None
                time.sleep(0.1)
