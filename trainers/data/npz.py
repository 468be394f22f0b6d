"""Your own arrays: an `.npz` with `train_x`, `train_y`, `test_x`, `test_y`, perhaps `classes`.

Images are uint8, pixels from 0 to 255, of shape (N, H, W), (N, H, W, C) or (N, C, H, W) with C 1 or
3; labels are whole numbers 0 … K - 1. No pickled object is ever read.

A test part that stands class by class is shuffled into a fixed order, as that of a folder is, so
that its first samples are of all classes. The fingerprint of such a file says so; those of all
other files are what they would be without this rule.
"""

import hashlib
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainers.data.cache import DataError, Decoded, hash_of, remembered
from trainers.data.subset import Split, is_grouped, mixed

FORMAT = "npz 1"
"""Changes when the same file would give other arrays, or another split."""
GROUPED_FORMAT = "npz 1 mixed"
"""As `FORMAT`, for a file whose test part stands class by class and is shuffled."""
KEYS = ("train_x", "train_y", "test_x", "test_y")
EXTRA_KEYS = ("train_x", "train_y"), ("image", "label")
"""Of images that join the batches of another set: as here, or as in DM-AT's generated files."""
CHANNELS = (1, 3)
SHAPES = "(N, H, W), (N, H, W, C) or (N, C, H, W), with C 1 or 3"


def fingerprint(path: Path, cache: Path) -> str:
    """Return a SHA-256 of the bytes of a file, remembered by its size and modification time."""
    try:
        stat = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error

    def find() -> str:
        try:
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise _unreadable(path, error) from error
        return hash_of([GROUPED_FORMAT if _has_grouped_test(path) else FORMAT, content])

    # Both formats: what earlier versions remembered of a grouped file lacks the second one.
    known = hash_of(
        [FORMAT, GROUPED_FORMAT, str(path.resolve()), str(stat.st_size), str(stat.st_mtime_ns)]
    )
    return remembered(cache / f"npz-{known}.fingerprint", find)


def load(path: Path) -> Decoded:
    """Read and check a file. Raises `DataError` with the rule that it breaks."""
    arrays = _read(path)
    images = [_images(arrays[key], f"{path}: {key}") for key in ("train_x", "test_x")]
    shapes = [part.shape[1:] for part in images]
    if shapes[0] != shapes[1]:
        raise DataError(
            f"{path}: test_x: must have images of the shape of train_x, {_text(shapes[0])} as "
            f"(C, H, W), got {_text(shapes[1])}; make them equal"
        )
    labels = [
        _labels(arrays[key], len(part), f"{path}: {key}")
        for key, part in zip(("train_y", "test_y"), images, strict=True)
    ]
    num_classes = check_classes(path, labels[0], labels[1])
    classes = _class_names(path, arrays, num_classes)
    test = Split(images=images[1], labels=labels[1])
    if is_grouped(test.labels):
        test = mixed(test, "npz test")
    return Decoded(images[0], labels[0], test.images, test.labels, classes)


def load_extra(
    path: Path, image_shape: tuple[int, ...], classes: Sequence[str], divisor: int
) -> Split:
    """Read images that join the batches of another set, and check that they are as its own are.

    image_shape: (C, H, W) of that set. divisor: its largest stored value. A test part in the file
    is not read. Raises `DataError`.
    """
    keys = next((keys for keys in EXTRA_KEYS if set(keys) <= _names(path)), EXTRA_KEYS[0])
    arrays = _read(path, keys)
    images = _images(arrays[keys[0]], f"{path}: {keys[0]}")
    labels = _labels(arrays[keys[1]], len(images), f"{path}: {keys[1]}")
    if images.shape[1:] != image_shape:
        raise DataError(
            f"{path}: {keys[0]}: must have images of the shape of the data set, "
            f"{_text(image_shape)} as (C, H, W), got {_text(images.shape[1:])}; scale them"
        )
    lowest, highest = labels.min(), labels.max()
    if lowest < 0 or highest >= len(classes):
        raise DataError(
            f"{path}: {keys[1]}: each image needs a label of the {len(classes)} classes, 0 … "
            f"{len(classes) - 1}, got {lowest if lowest < 0 else highest}; correct the label or "
            "delete the image"
        )
    if not 1 < (largest := images.max()) <= divisor:
        raise DataError(
            f"{path}: {keys[0]}: pixels must use the data set's range from 0 to {divisor}, got "
            f"{largest} as the largest; scale them"
        )
    return Split(images=images, labels=labels)


def _names(path: Path) -> set[str]:
    """Return the names of the arrays in a file."""
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            return {name.removesuffix(".npy") for name in archive.namelist()}
    except (OSError, zipfile.BadZipFile) as error:
        raise _unreadable(path, error) from error


def _has_grouped_test(path: Path) -> bool:
    """Return whether `load` shuffles the test part of a file. False for a file that it refuses."""
    try:
        labels = _read(path, ("test_y",))["test_y"]
    except DataError:
        return False  # a fingerprint needs no file that can be used; `load` names the mistake
    return labels.ndim == 1 and labels.dtype.kind in "iu" and is_grouped(labels)


def _read(path: Path, needed: Sequence[str] = KEYS) -> dict[str, NDArray[Any]]:
    missing: list[str] = []
    try:
        with path.open("rb") as file, zipfile.ZipFile(file):  # np.load reads other files, too
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                missing += [key for key in needed if key not in archive]
                keys = [key for key in (*needed, "classes") if key in archive]
                arrays = {key: archive[key] for key in keys}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise _unreadable(path, error) from error
    if missing:
        raise DataError(
            f"{path}: needs the arrays {', '.join(needed)}, lacks {', '.join(missing)}; add them"
        )
    return arrays


def _images(given: NDArray[Any], place: str) -> NDArray[np.uint8]:
    """Bring images to (N, C, H, W)."""
    if given.dtype != np.uint8:
        raise DataError(
            f"{place}: must be uint8 with pixels from 0 to 255, got {given.dtype}; convert it"
        )
    shape, ndim = given.shape, given.ndim
    if 0 in shape or ndim not in (3, 4):
        raise DataError(f"{place}: must have shape {SHAPES}, none of them 0, got {_text(shape)}")
    if ndim == 3:
        return given[:, np.newaxis]
    is_first, is_last = shape[1] in CHANNELS, shape[3] in CHANNELS
    if is_first == is_last:
        trouble = "both could be" if is_first else "neither can be"
        raise DataError(
            f"{place}: must have shape {SHAPES}, but of the second and the last axis of "
            f"{_text(shape)} {trouble} the channels; give it another shape"
        )
    return given if is_first else np.ascontiguousarray(given.transpose(0, 3, 1, 2))


def _labels(given: NDArray[Any], count: int, place: str) -> NDArray[np.int64]:
    if given.dtype.kind not in "iu":
        raise DataError(f"{place}: must be whole numbers, got {given.dtype}; convert it")
    if given.shape != (count,):
        raise DataError(
            f"{place}: must have one label for each of the {count} images, so shape ({count},), "
            f"got {_text(given.shape)}; correct it"
        )
    return given.astype(np.int64)


def check_classes(
    place: object,
    train: NDArray[np.int64],
    test: NDArray[np.int64],
    names: tuple[str, str, str] = ("train_y", "test_y", "train_x"),
) -> int:
    """Check the labels, and return the number of classes, K.

    place: of the data, for messages; names: of training labels, test labels and training images.
    """
    train_y, test_y, train_x = names
    known = np.unique(train)
    if known[0] < 0:
        raise DataError(
            f"{place}: {train_y}: labels must be ≥ 0, got {known[0]}; number classes from 0"
        )
    if not np.array_equal(known, np.arange(len(known))):
        lacking = np.flatnonzero(known != np.arange(len(known)))[0]
        raise DataError(
            f"{place}: {train_y}: must use every label from 0 to the largest, got no {lacking} "
            f"among {known[0]} … {known[-1]}; number the classes from 0 without gaps"
        )
    if len(known) < 2:
        raise DataError(f"{place}: {train_y}: needs at least two classes, got one; add images")
    if unknown := sorted(set(test.tolist()) - set(known.tolist())):
        raise DataError(
            f"{place}: {test_y}: each class must also be in {train_y}, which has 0 … {known[-1]}, "
            f"got {unknown[0]}; correct the label or delete the image"
        )
    if len(train) < 5:
        raise DataError(
            f"{place}: {train_x}: needs at least 5 images, of which a fifth go to validation, "
            f"got {len(train)}; add images"
        )
    return len(known)


def _class_names(path: Path, arrays: dict[str, NDArray[Any]], num_classes: int) -> tuple[str, ...]:
    if "classes" not in arrays:
        return tuple(str(label) for label in range(num_classes))
    given = arrays["classes"]
    if given.dtype.kind != "U" or given.shape != (num_classes,):
        raise DataError(
            f"{path}: classes: must be {num_classes} texts, one for each label of train_y, got "
            f"{given.dtype} of shape {_text(given.shape)}; correct or drop it"
        )
    return tuple(str(name) for name in given)


def _text(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape)) or "()"


def _unreadable(path: Path, error: Exception) -> DataError:
    reason = getattr(error, "strerror", None) or " ".join(str(error).split())
    return DataError(
        f"{path}: must be an .npz that can be read without pickle ({reason}); replace the file, or "
        "correct the path after npz:"
    )
