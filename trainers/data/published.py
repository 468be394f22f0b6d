"""The data sets that torchvision reads: downloaded once, and decoded once.

Archives lie below the data root where torchvision puts them, and are read through its own classes.
The decoded arrays are kept beside them, so that torchvision is imported, and a pickle read, once.
Neither is needed to name a data set: the MD5s of its archives are declared.

An archive is fetched whole or not at all, by one process at a time. It counts as there if its MD5
is right, whoever put it there: one placed by hand is as good as a downloaded one.
"""

import contextlib
import fcntl
import gzip
import hashlib
import os
import shutil
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from trainers.config import TORCHVISION_SETS
from trainers.data.cache import DataError, Decoded, from_cache, hash_of, to_cache, writing
from trainers.data.torchvision_import import torchvision_module

VARIABLE = "RHOEPS_DATA"
"""Names a folder that several projects share; without it, each project has its own."""
TIMEOUT_SECONDS = 30.0
"""After which a server that sends nothing is given up."""
CHUNK_BYTES = 1 << 18
SHOWN_SECONDS = 0.2
"""Between two updates of the printed progress."""
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
    """Return the folder of downloads: the one in the environment, else `cache`."""
    named = os.environ.get(VARIABLE, "")
    return Path(named).expanduser() if named else cache


def fetch(name: str, archives: Sequence[Archive], root: Path) -> None:
    """Download the archives of a data set below `root`, unless they are there and whole.

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

    doing: what the other holder may be doing, for the person who waits.
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
    """Fetch one archive from one server. Raises `Unreachable` if it fails or comes damaged."""
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
    """Yield the content of a file on a server, and print the progress."""
    import http.client  # here: importing these takes longer than naming a data set may
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
    """Build the error of a failed download: what, from where, and what a person can do."""
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


FORMAT = "published 1"
"""Changes when the same archives would give other arrays, or another split."""
DIGITS = tuple(str(label) for label in range(10))


class Source(NamedTuple):
    """A published data set: its archives, and how they are read."""

    archives: tuple[Archive, ...]
    decode: Callable[[Path, Path], Decoded]
    """Takes the data root and an empty folder to unpack into."""


def fingerprint(name: str) -> str:
    """Return the name of the content of a data set, known before it is downloaded."""
    return f"{name}-{hash_of([FORMAT, name, *TORCHVISION_SETS[name].md5s])[:8]}"


def is_decoded(name: str, cache: Path) -> bool:
    """Return whether a data set is loaded without a download or a pickle."""
    return (data_root(cache) / f"{fingerprint(name)}.npz").is_file()


def load(name: str, cache: Path) -> Decoded:
    """Return a data set, from the cache below the data root, else from its archives.

    Raises `DataError` if an archive can neither be found nor downloaded, or nothing be written.
    """
    root = data_root(cache)
    decoded = from_cache(root / f"{fingerprint(name)}.npz")
    return decoded or load_source(name, source(_torchvision_class(name)), root)


def load_source(name: str, found: Source, root: Path) -> Decoded:
    """Fetch and decode a data set below `root`, unless another process does or did it."""
    kept = root / f"{fingerprint(name)}.npz"
    with alone(root / f"{name}.lock", f"preparing {name} in {root}"):
        decoded = from_cache(kept)
        if decoded is None:
            fetch(name, found.archives, root)
            with _unpacking(root / f"{name}.unpacked") as place:
                decoded = found.decode(root, place)
            to_cache(kept, decoded)
    return decoded


def source(torchvision_class: Any) -> Source:
    """Describe a class of `torchvision.datasets`, or one derived from it."""
    datasets = torchvision_module("datasets")
    if issubclass(torchvision_class, datasets.CIFAR10):
        return _cifar(torchvision_class)
    if issubclass(torchvision_class, datasets.SVHN):
        return _svhn(torchvision_class)
    assert issubclass(torchvision_class, datasets.MNIST)
    return _mnist(torchvision_class)


def _cifar(torchvision_class: Any) -> Source:
    """Describe CIFAR-10, or CIFAR-100 with its fine labels: pickles in one tar file."""
    url, name = torchvision_class.url, torchvision_class.filename
    archive = Archive(name, torchvision_class.tgz_md5, (url,))
    lists = (*torchvision_class.train_list, *torchvision_class.test_list)
    files = {*(file for file, _ in lists), torchvision_class.meta["filename"]}

    def decode(root: Path, place: Path) -> Decoded:
        folder = place / torchvision_class.base_folder
        folder.mkdir()
        with tarfile.open(root / name, "r|*") as tar:
            for member in tar:
                file = Path(member.name).name
                if file in files and (content := tar.extractfile(member)) is not None:
                    with content, (folder / file).open("wb") as out:
                        shutil.copyfileobj(content, out)
        train, test = (torchvision_class(place, train=is_train) for is_train in (True, False))
        return _decoded(
            [part.data.transpose(0, 3, 1, 2) for part in (train, test)],
            [train.targets, test.targets],
            train.classes,
        )

    return Source((archive,), decode)


def _svhn(torchvision_class: Any) -> Source:
    """Describe the street view house numbers without their extra part: two Matlab files."""
    parts = [torchvision_class.split_list[name] for name in ("train", "test")]
    archives = tuple(Archive(file, md5, (url,)) for url, file, md5 in parts)

    def decode(root: Path, place: Path) -> Decoded:
        train, test = (torchvision_class(root, split=name) for name in ("train", "test"))
        return _decoded([train.data, test.data], [train.labels, test.labels], DIGITS)

    return Source(archives, decode)


def _mnist(torchvision_class: Any) -> Source:
    """Describe MNIST or Fashion-MNIST: four files, in a folder that has the class's name."""
    below = f"{torchvision_class.__name__}/raw"
    archives = tuple(
        Archive(f"{below}/{file}", md5, tuple(f"{one}{file}" for one in torchvision_class.mirrors))
        for file, md5 in torchvision_class.resources
    )
    classes = [name.partition(" - ")[0] for name in torchvision_class.classes]  # of "0 - zero"

    def decode(root: Path, place: Path) -> Decoded:
        (place / below).mkdir(parents=True)
        for archive in archives:
            target = (place / archive.path).with_suffix("")
            with gzip.open(root / archive.path) as packed, target.open("wb") as out:
                shutil.copyfileobj(packed, out)
        parts = [torchvision_class(place, train=is_train) for is_train in (True, False)]
        images = [part.data.numpy()[:, np.newaxis] for part in parts]
        return _decoded(images, [part.targets.numpy() for part in parts], classes)

    return Source(archives, decode)


def _decoded(images: list[Any], labels: list[Any], classes: Any) -> Decoded:
    train, test = (np.ascontiguousarray(part, dtype=np.uint8) for part in images)
    train_labels, test_labels = (np.array(part, dtype=np.int64) for part in labels)
    return Decoded(train, train_labels, test, test_labels, tuple(classes))


@contextlib.contextmanager
def _unpacking(place: Path) -> Iterator[Path]:
    """Yield an empty folder, also where a killed process left files, and remove it afterwards."""
    shutil.rmtree(place, ignore_errors=True)
    with writing(place.parent, ELSEWHERE):
        place.mkdir(parents=True)
        try:
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)


def _torchvision_class(name: str) -> Any:
    return getattr(torchvision_module("datasets"), TORCHVISION_SETS[name].class_name)
