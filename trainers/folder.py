"""An image folder: `train/<class>/*` and `test/<class>/*`, decoded once and kept in a cache.

The content is named by a SHA-256 over every file's path and bytes. That hash is remembered under
one over paths, sizes and modification times, so naming an unchanged folder reads no image again.
"""

import hashlib
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from trainers.data import DataError

FORMAT = "folder 2"
"""Changes when the same files would give other arrays, or another split."""
GREY_MODES = ("1", "L", "LA")
COLOUR_MODES = ("RGB", "RGBA", "P", "PA", "CMYK", "YCbCr")
DEEP_MODES = "images must have at most 8 bits per channel"


class Decoded(NamedTuple):
    """All images of a folder, class by class, each class in the order of its file names."""

    train_images: NDArray[np.uint8]
    """(N, C, H, W); one channel if every image of the folder is grey, else three."""
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]
    classes: tuple[str, ...]


class Entry(NamedTuple):
    """One image file."""

    path: Path
    part: str
    label: str
    stamp: str
    """Size and modification time."""

    @property
    def name(self) -> str:
        """The path below the folder, the same on every machine."""
        return f"{self.part}/{self.label}/{self.path.name}"


def fingerprint(folder: Path, cache: Path) -> str:
    """Name the content of a folder of images."""
    entries = _entries(folder)
    stats = [f"{entry.name}\0{entry.stamp}" for entry in entries]
    known = cache / f"folder-{_hash([FORMAT, str(folder.resolve()), *stats])}.fingerprint"
    if known.exists():
        remembered = known.read_text().strip()
        if len(remembered) == 32:
            return remembered
    contents = [
        f"{entry.name}\0{hashlib.sha256(entry.path.read_bytes()).hexdigest()}" for entry in entries
    ]
    found = _hash([FORMAT, *contents])
    _write(known, found.encode())
    return found


def load(folder: Path, content: str, cache: Path) -> Decoded:
    """Return the images of a folder whose fingerprint is `content`, from the cache if it can."""
    kept = cache / f"folder-{content}.npz"
    decoded = _from_cache(kept)
    if decoded is None:
        decoded = _decode(folder)
        _to_cache(kept, decoded)
    return decoded


def num_validation(num_train: int) -> int:
    """Return 1000, but never more than a fifth of the training images.

    Every epoch is judged on all of them, so that more would cost time, and images to train on.
    """
    return min(1000, num_train // 5)


def _entries(folder: Path) -> list[Entry]:
    """List every image file in a fixed order, and refuse what is not laid out as it must be."""
    entries = []
    for part in ("train", "test"):
        place = folder / part
        if not place.is_dir():
            raise DataError(
                f"{place}: must be a folder with a folder of images per class, but there is none; "
                "create it, or correct the path after folder:"
            )
        for label in _visible(place):
            if not label.is_dir():
                raise DataError(
                    f"{label}: only folders, one per class, may stand here; move the file into one"
                )
            entries += _entries_of_class(part, label)
    _check_classes(folder, entries)
    return entries


def _entries_of_class(part: str, place: Path) -> list[Entry]:
    entries = []
    with os.scandir(place) as found:  # a tenth of the time of Path.stat, for tens of thousands
        for file in found:
            if file.name.startswith("."):
                continue
            if not file.is_file():
                raise DataError(f"{file.path}: only images may stand in a class; move it elsewhere")
            stat = file.stat()
            stamp = f"{stat.st_size}\0{stat.st_mtime_ns}"
            entries.append(Entry(Path(file.path), part, place.name, stamp))
    if not entries:
        raise DataError(f"{place}: a class needs at least one image; delete the folder")
    return sorted(entries, key=lambda entry: entry.path.name)


def _check_classes(folder: Path, entries: list[Entry]) -> None:
    train = {entry.label for entry in entries if entry.part == "train"}
    test = {entry.label for entry in entries if entry.part == "test"}
    if len(train) < 2:
        listed = ", ".join(sorted(train)) or "none"
        raise DataError(
            f"{folder / 'train'}: needs at least two classes, got {listed}; add folders of images"
        )
    if not test:
        raise DataError(f"{folder / 'test'}: needs at least one image, got none; add test images")
    if unknown := sorted(test - train):
        raise DataError(
            f"{folder / 'test' / unknown[0]}: each class must also stand in train, which has "
            f"{', '.join(sorted(train))}; rename the folder or delete it"
        )
    num_train = sum(entry.part == "train" for entry in entries)
    if num_train < 5:
        raise DataError(
            f"{folder / 'train'}: needs at least 5 images, of which a fifth go to validation, "
            f"got {num_train}; add images"
        )


def _visible(place: Path) -> list[Path]:
    return sorted(path for path in place.iterdir() if not path.name.startswith("."))


def _decode(folder: Path) -> Decoded:
    """Read every image: to one channel if all of them are grey, else to three."""
    entries = _entries(folder)
    images = [_open(entry.path) for entry in entries]
    _check_sizes(entries, images)
    mode = "L" if all(image.mode in GREY_MODES for image in images) else "RGB"
    arrays = np.stack([np.asarray(image.convert(mode), dtype=np.uint8) for image in images])
    arrays = arrays[:, np.newaxis] if mode == "L" else arrays.transpose(0, 3, 1, 2)
    classes = tuple(sorted({entry.label for entry in entries}))
    labels = np.array([classes.index(entry.label) for entry in entries], dtype=np.int64)
    is_train = np.array([entry.part == "train" for entry in entries])
    return Decoded(
        np.ascontiguousarray(arrays[is_train]),
        labels[is_train],
        np.ascontiguousarray(arrays[~is_train]),
        labels[~is_train],
        classes,
    )


def _open(path: Path) -> Image.Image:
    """Read one image into memory, or name the file that is none."""
    try:
        with Image.open(path) as image:
            image.load()
            if image.mode in GREY_MODES + COLOUR_MODES:
                return image.convert("L" if image.mode in GREY_MODES else "RGB")
            mode = image.mode
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(
            f"{path}: must be an image that can be read ({reason}); replace or delete the file"
        ) from error
    raise DataError(f"{path}: {DEEP_MODES}, got mode {mode}; convert it to 8 bits")


def _check_sizes(entries: list[Entry], images: list[Image.Image]) -> None:
    for entry, image in zip(entries, images, strict=True):
        if image.size != images[0].size:
            one = f"{images[0].width}×{images[0].height}"
            raise DataError(
                f"{entry.path}: all images must have one size, got {image.width}×{image.height} "
                f"where {entries[0].path} has {one}; resize the images"
            )


def _from_cache(kept: Path) -> Decoded | None:
    """Read decoded images; None where there are none, or the file is damaged."""
    try:
        with kept.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            kept_arrays = [arrays[name] for name in Decoded._fields]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    decoded = Decoded(*kept_arrays)
    return decoded._replace(classes=tuple(str(name) for name in decoded.classes))


def _to_cache(kept: Path, decoded: Decoded) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = decoded._asdict() | {"classes": np.array(decoded.classes)}
    aside = kept.with_name(f"{kept.name}.{os.getpid()}.part")
    try:
        with aside.open("wb") as file:
            np.savez(file, **arrays)
        aside.replace(kept)
    finally:
        aside.unlink(missing_ok=True)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.{os.getpid()}.part")
    aside.write_bytes(content)
    aside.replace(path)


def _hash(lines: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]
