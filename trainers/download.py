"""Archives fetched once into a data root, whole or not at all, by one process at a time.

An archive counts as there only if its MD5 is right, whoever put it there; so one that was placed by
hand is as good as a downloaded one.
"""

import contextlib
import fcntl
import hashlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from trainers.decoded import DataError, writing

VARIABLE = "RHOEPS_DATA"
"""Names a folder that several projects share; without it, each project has its own."""
TIMEOUT_SECONDS = 30.0
"""After which a server that sends nothing is given up."""
CHUNK_BYTES = 1 << 18
SHOWN_SECONDS = 0.2
"""Between two looks of a person at the progress."""
ELSEWHERE = f"free space there, or set {VARIABLE} to a folder that has some and can be written"


class Archive(NamedTuple):
    """A file to be fetched."""

    path: str
    """Below the data root."""
    md5: str
    urls: tuple[str, ...]
    """Tried in this order."""


class Unreachable(Exception):  # noqa: N818
    """A server that did not send the whole file; the message is the reason."""


def data_root(cache: Path) -> Path:
    """Name the folder of downloads: that of the environment, else `cache`."""
    named = os.environ.get(VARIABLE, "")
    return Path(named).expanduser() if named else cache


def fetch(name: str, archives: Sequence[Archive], root: Path) -> None:
    """Put the archives of a data set below `root`, those that are there and whole left alone.

    Raises `DataError` if one can neither be found nor fetched, or nothing can be written.
    """
    missing = [archive for archive in archives if not _is_whole(root / archive.path, archive.md5)]
    for number, archive in enumerate(missing):
        failures = []
        for url in archive.urls:
            try:
                _download(url, archive, root)
                break
            except Unreachable as reason:
                failures.append(f"{url} ({reason})")
        else:
            raise _missing(name, missing[number:], root, failures)


@contextlib.contextmanager
def alone(lock: Path, doing: str) -> Iterator[None]:
    """Hold a lock, which the kernel frees if its holder dies, after waiting for another holder.

    doing: what the other one may be at, for the person who waits.
    """
    with writing(lock.parent, ELSEWHERE):
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("a")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another process that is {doing}", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _download(url: str, archive: Archive, root: Path) -> None:
    """Fetch one archive from one place; `Unreachable` if that failed, or what came is damaged."""
    path = root / archive.path
    aside = path.with_name(f"{path.name}.part")
    digest = hashlib.md5(usedforsecurity=False)
    with writing(root, ELSEWHERE):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with aside.open("wb") as file:
                for chunk in _chunks(url, path):
                    digest.update(chunk)
                    file.write(chunk)
            if digest.hexdigest() != archive.md5:
                raise Unreachable(f"came damaged or cut, with MD5 {digest.hexdigest()}")
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)


def _chunks(url: str, path: Path) -> Iterator[bytes]:
    """Read a file from a server, and tell a person how far it is."""
    import http.client  # here, as these take longer than naming a data set may
    import urllib.error
    import urllib.request

    request = urllib.request.Request(url, headers={"User-Agent": "rhoeps"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
            total, done, shown = int(response.headers.get("Content-Length", 0)), 0, 0.0
            what = f"downloading {path.name} ({total / 1e6:.0f} MB) to {path.parent}"
            is_watched = sys.stderr.isatty()
            print(what, end="" if is_watched else "\n", file=sys.stderr, flush=True)
            try:
                while chunk := response.read(CHUNK_BYTES):
                    done += len(chunk)
                    if is_watched and total and time.monotonic() - shown > SHOWN_SECONDS:
                        shown = time.monotonic()
                        print(f"\r{what}: {done / total:.0%}", end="", file=sys.stderr, flush=True)
                    yield chunk
            finally:
                if is_watched:
                    print(file=sys.stderr, flush=True)
    except urllib.error.HTTPError as error:
        error.close()
        raise Unreachable(f"HTTP {error.code}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        cause = getattr(error, "reason", error)
        raise Unreachable(" ".join(str(cause).split()) or type(error).__name__) from error


def _missing(
    name: str, missing: Sequence[Archive], root: Path, failures: Sequence[str]
) -> DataError:
    """Say what could not be had, from where, and what a person can do."""
    folder = (root / missing[0].path).parent.absolute()
    files = ", ".join(f"{Path(a.path).name} (MD5 {a.md5})" for a in missing)
    return DataError(
        f"data: {name} is not there and could not be downloaded from {' or '.join(failures)}; "
        f"connect and repeat the command, or put {files} into {folder} by hand, or set {VARIABLE} "
        "to the folder that has the data"
    )


def _is_whole(path: Path, md5: str) -> bool:
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); allow it") from error
    return found.hexdigest() == md5
