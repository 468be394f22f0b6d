"""All images of a data set as arrays, the cache that keeps them, and the refusal of bad data.

A cache holds arrays only, never pickled objects. Each file is replaced at once, so a reader sees it
whole or not at all whenever its writer dies, and several processes may share it. The images of a
large data set stand in a file of their own, which is mapped and never read as a whole.
"""

import contextlib
import hashlib
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainers.data.mapped import Images, Mapped, most_in_memory


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

    train_images: Images
    """(N, C, H, W)."""
    train_labels: NDArray[np.int64]
    """(N,), each in 0 … K - 1."""
    test_images: Images
    test_labels: NDArray[np.int64]
    classes: tuple[str, ...]
    num_validation: int = 0
    """How many of the training images, the last ones, are the validation part of the data itself;
    0: it has none, and one is split off."""


def from_cache(kept: Path) -> Decoded | None:
    """Read decoded images, or map them. Returns None if there are none, or a file is damaged."""
    try:
        with kept.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in Decoded._fields if name in arrays}
        if "train_images" not in found:
            count = len(found["train_labels"]), len(found["test_labels"])
            whole = Mapped(kept.with_suffix(".npy"), np.arange(sum(count)))
            if len(whole.stored) != sum(count):
                return None
            found |= {"train_images": whole[: count[0]], "test_images": whole[count[0] :]}
        decoded = Decoded(**found)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None
    return decoded._replace(
        classes=tuple(str(name) for name in decoded.classes),
        num_validation=int(decoded.num_validation),
    )


def to_cache(kept: Path, decoded: Decoded) -> None:
    """Keep decoded images; raises `DataError` where they cannot be written.

    Mapped ones are kept already, beside `kept`.
    """
    arrays: dict[str, Any] = decoded._asdict() | {"classes": np.array(decoded.classes)}
    if not decoded.num_validation:
        del arrays["num_validation"]
    if isinstance(decoded.train_images, Mapped):
        del arrays["train_images"], arrays["test_images"]
    with _replacing(kept) as file:
        np.savez(file, **arrays)


def stored(place: Path, arrays: Iterable[NDArray[np.uint8]], shape: tuple[int, ...]) -> Images:
    """Bring images that come a few at a time together: in memory, or mapped from `place` if large.

    arrays: (n, C, H, W) each; shape: of all of them.
    """
    if np.prod(shape) <= most_in_memory():
        images, filled = np.empty(shape, dtype=np.uint8), 0
        for some in arrays:
            images[filled : filled + len(some)] = some
            filled += len(some)
        return images
    header = {"descr": "|u1", "fortran_order": False, "shape": tuple(map(int, shape))}
    with _replacing(place) as file:
        np.lib.format.write_array_header_1_0(file, header)
        for some in arrays:
            file.write(np.ascontiguousarray(some).data)
    return Mapped(place, np.arange(shape[0]))


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
