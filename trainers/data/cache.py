"""All images of a data set as arrays, the cache that keeps them, and the refusal of bad data.

A cache holds arrays only, never pickled objects. Each file is replaced at once, so a reader sees it
whole or not at all whenever its writer dies, and several processes may share it.
"""

import contextlib
import hashlib
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


@contextlib.contextmanager
def written_aside(path: Path) -> Iterator[IO[bytes]]:
    """Yield a file to write, which is forced to the disk and replaces `path` at the end.

    Missing folders are created. If writing fails, `path` stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with aside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


class DataError(ValueError):
    """Data that cannot be used; one line with place, rule, value and way out."""


class Decoded(NamedTuple):
    """All images of a data set, before any of them is set aside for validation."""

    train_images: NDArray[np.uint8]
    """(N, C, H, W)."""
    train_labels: NDArray[np.int64]
    """(N,), each in 0 … K - 1."""
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]
    classes: tuple[str, ...]


def from_cache(kept: Path) -> Decoded | None:
    """Read decoded images. Returns None if there are none, or the file is damaged."""
    try:
        with kept.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            kept_arrays = [arrays[name] for name in Decoded._fields]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    decoded = Decoded(*kept_arrays)
    return decoded._replace(classes=tuple(str(name) for name in decoded.classes))


def to_cache(kept: Path, decoded: Decoded) -> None:
    """Keep decoded images; raises `DataError` where they cannot be written."""
    arrays: dict[str, Any] = decoded._asdict() | {"classes": np.array(decoded.classes)}
    with _replacing(kept) as file:
        np.savez(file, **arrays)


def remembered(known: Path, find: Callable[[], str]) -> str:
    """Return the hash that the file `known` holds. If it holds none, find it and write it there."""
    if known.exists():
        text = known.read_text().strip()
        if len(text) == 32:
            return text
    found = find()
    with _replacing(known) as file:
        file.write(found.encode())
    return found


def hash_of(lines: Sequence[str]) -> str:
    """Return a hash of lines of text: 32 hexadecimal digits."""
    # Linux allows any bytes in a file's name; Python holds those that are no UTF-8 as surrogates.
    text = "\n".join(lines).encode(errors="surrogateescape")
    return hashlib.sha256(text).hexdigest()[:32]


@contextlib.contextmanager
def writing(place: Path, way_out: str) -> Iterator[None]:
    """Turn a refused write below `place`, as by a full disk, into one line that says so."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(f"{place}: cannot be written ({reason}); {way_out}") from error


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """Yield a file to write, as `written_aside`. Raises `DataError` where it cannot be written."""
    way_out = "free space there, or make it writable"
    with writing(path.parent, way_out), written_aside(path) as file:
        yield file
