"""An image folder, decoded once and kept in a cache; `trainers.layouts` says how it is laid out.

The content is named by a SHA-256 over every file's name and bytes. That hash is remembered under
one over names, sizes and modification times, so naming an unchanged folder reads no image again.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from trainers.decoded import DataError, Decoded, from_cache, hash_of, remembered, to_cache
from trainers.layouts import Entry, layout_of

GREY_MODES = ("1", "L", "LA")
COLOUR_MODES = ("RGB", "RGBA", "P", "PA", "CMYK", "YCbCr")
DEEP_MODES = "images must have at most 8 bits per channel"


def fingerprint(folder: Path, cache: Path) -> str:
    """Name the content of a folder of images."""
    layout = layout_of(folder)
    entries = layout.entries(folder)
    stats = [f"{entry.name}\0{entry.stamp}" for entry in entries]

    def find() -> str:
        contents = [
            f"{entry.name}\0{hashlib.sha256(entry.path.read_bytes()).hexdigest()}"
            for entry in entries
        ]
        return hash_of([layout.format, *contents])

    known = hash_of([layout.format, str(folder.resolve()), *stats])
    return remembered(cache / f"folder-{known}.fingerprint", find)


def load(folder: Path, content: str, cache: Path) -> Decoded:
    """Return the images of a folder whose fingerprint is `content`, from the cache if it can.

    Images come class by class, each class in the order of its file names; they have one channel if
    every image of the folder is grey, else three.
    """
    kept = cache / f"folder-{content}.npz"
    layout = layout_of(folder)
    decoded = from_cache(kept)
    if decoded is None:
        decoded = _decode(layout.entries(folder))
        to_cache(kept, decoded)
    return decoded._replace(classes=layout.class_names(folder, decoded.classes))


def _decode(entries: Sequence[Entry]) -> Decoded:
    """Read every image: to one channel if all of them are grey, else to three."""
    first, is_grey = _open(entries[0].path), True
    arrays = np.empty((len(entries), 3, first.height, first.width), dtype=np.uint8)
    for array, entry in zip(arrays, entries, strict=True):
        image = _open(entry.path)
        if image.size != first.size:
            raise DataError(
                f"{entry.path}: all images must have one size, got {image.width}×{image.height} "
                f"where {entries[0].path} has {first.width}×{first.height}; resize the images"
            )
        is_grey &= image.mode == "L"
        array[:] = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    if is_grey:
        arrays = arrays[:, :1]
    classes = tuple(sorted({entry.label for entry in entries}))
    numbers = {label: number for number, label in enumerate(classes)}
    labels = np.array([numbers[entry.label] for entry in entries], dtype=np.int64)
    num_train = sum(entry.part == "train" for entry in entries)
    return Decoded(
        np.ascontiguousarray(arrays[:num_train]),
        labels[:num_train],
        np.ascontiguousarray(arrays[num_train:]),
        labels[num_train:],
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
