"""An image folder, decoded once and kept in a cache.

The content is named by a SHA-256 over every file's name and bytes. That hash is remembered under
one over names, sizes and modification times, so naming an unchanged folder reads no image again.

A folder has one of two layouts:

- A folder per class: `train/<class>/*` and `test/<class>/*`.
- Tiny-ImageNet: `train/<class>/images/*`, and `val/images/*` with `val/val_annotations.txt`, whose
  lines hold file, class and box, separated by tabs. Its validation part is our test part: its own
  test part has no labels and is not read. `words.txt`, if present, names the classes.
"""

import hashlib
import io
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainers.config import DataConfig
from trainers.data.cache import (
    DataError,
    Decoded,
    from_cache,
    hash_of,
    remembered,
    stored,
    to_cache,
)
from trainers.data.mapped import Images

if TYPE_CHECKING:
    from PIL import Image

ANNOTATIONS = "val_annotations.txt"


class Entry(NamedTuple):
    """One image file."""

    path: Path
    part: str
    label: str
    stamp: str
    """Size and modification time."""

    @property
    def name(self) -> str:
        """Return part, class and file, the same on every machine."""
        return f"{self.part}/{self.label}/{self.path.name}"


class Layout(NamedTuple):
    """One way to lay images out."""

    format: str
    """Changes when the same files would give other arrays, or another split."""
    entries: Callable[[Path], list[Entry]]
    """Lists training images, then test images, each class by class and by file name."""
    class_names: Callable[[Path, tuple[str, ...]], tuple[str, ...]]
    """Takes the folder and the classes of its entries; returns the names to print."""


def layout_of(folder: Path) -> Layout:
    """Return how a folder is laid out."""
    return TINY_IMAGENET if is_tiny_imagenet(folder) else CLASS_FOLDERS


def is_tiny_imagenet(folder: Path) -> bool:
    """Return whether a folder is laid out as Tiny-ImageNet is, by its file of annotations."""
    return (folder / "val" / ANNOTATIONS).is_file()


def _class_folders(folder: Path) -> list[Entry]:
    """List every image file in a fixed order. Raises `DataError` for another layout."""
    entries = []
    for part in ("train", "test"):
        for label in _class_places(folder / part):
            found = [
                Entry(Path(file.path), part, label.name, _stamp(file)) for file in _images(label)
            ]
            if not found:
                raise DataError(f"{label}: a class needs at least one image; delete the folder")
            entries += sorted(found, key=lambda entry: entry.path.name)
    _check_classes(entries, folder / "train", folder / "test")
    return entries


def _tiny_imagenet(folder: Path) -> list[Entry]:
    """List every image file as `_class_folders` does, of Tiny-ImageNet; boxes are ignored."""
    entries = []
    for place in _class_places(folder / "train"):
        images = _required(place / "images", "a folder of the class's images")
        found = [
            Entry(Path(file.path), "train", place.name, _stamp(file)) for file in _images(images)
        ]
        if not found:
            raise DataError(f"{images}: a class needs at least one image; delete {place}")
        entries += sorted(found, key=lambda entry: entry.path.name)
    annotations = folder / "val" / ANNOTATIONS
    labels = _annotated(annotations)
    images = _required(folder / "val" / "images", "a folder of the images that are annotated")
    test = []
    for file in _images(images):
        if file.name not in labels:
            raise DataError(f"{file.path}: has no line in {annotations}; add one, or delete it")
        test.append(Entry(Path(file.path), "test", labels.pop(file.name), _stamp(file)))
    if labels:
        raise DataError(f"{annotations}: names {min(labels)}, which is not in {images}; add it")
    test.sort(key=lambda entry: (entry.label, entry.path.name))
    _check_classes([*entries, *test], folder / "train", annotations)
    return entries + test


def _annotated(annotations: Path) -> dict[str, str]:
    """Read the class of each file."""
    labels: dict[str, str] = {}
    for number, line in enumerate(_lines(annotations), 1):
        columns = line.split("\t")
        if len(columns) < 2 or not all(columns[:2]):
            raise DataError(
                f"{annotations}:{number}: must be file, tab, class, got {line[:60]!r}; correct it"
            )
        if columns[0] in labels:
            raise DataError(f"{annotations}:{number}: names {columns[0]} again; delete the line")
        labels[columns[0]] = columns[1]
    return labels


def _first_words(folder: Path, classes: tuple[str, ...]) -> tuple[str, ...]:
    """Return the first word of each class in `words.txt`, if these words differ."""
    if not (folder / "words.txt").is_file():
        return classes
    known = dict.fromkeys(classes, "")
    for line in _lines(folder / "words.txt"):
        label, _, words = line.partition("\t")
        if label in known:
            known[label] = words.partition(",")[0].strip()
    names = tuple(known.values())
    return tuple(
        name if name and names.count(name) == 1 else f"{name} {label}".strip()
        for label, name in known.items()
    )


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"{path}: must be a text that can be read ({reason}); replace it"
        ) from error


def _class_places(place: Path) -> list[Path]:
    """List the folders of the classes of a part."""
    visible = _required(place, "a folder with a folder of images per class").iterdir()
    labels = sorted(path for path in visible if not path.name.startswith("."))
    for label in labels:
        if not label.is_dir():
            raise DataError(
                f"{label}: only folders, one per class, may stand here; move the file into one"
            )
        try:
            label.name.encode()
        except UnicodeEncodeError as error:
            shown = os.fsencode(label).decode(errors="backslashreplace")
            raise DataError(
                f"{shown}: the name of a class must be UTF-8, as it is recorded and printed; "
                "rename the folder"
            ) from error
    return labels


def _images(place: Path) -> Iterator["os.DirEntry[str]"]:
    """Yield the files of a folder that may hold images only, in no particular order."""
    with os.scandir(place) as found:  # a tenth of the time of Path.stat, for tens of thousands
        for file in found:
            if file.name.startswith("."):
                continue
            if not file.is_file():
                raise DataError(f"{file.path}: only images may stand in a class; move it elsewhere")
            yield file


def _stamp(file: "os.DirEntry[str]") -> str:
    stat = file.stat()
    return f"{stat.st_size}\0{stat.st_mtime_ns}"


def _required(place: Path, what: str) -> Path:
    if not place.is_dir():
        raise DataError(
            f"{place}: must be {what}, but there is none; create it, or correct the path after "
            "folder:"
        )
    return place


def _check_classes(entries: list[Entry], train_place: Path, test_place: Path) -> None:
    train = {entry.label for entry in entries if entry.part == "train"}
    test = {entry.label for entry in entries if entry.part == "test"}
    if len(train) < 2:
        listed = ", ".join(sorted(train)) or "none"
        raise DataError(
            f"{train_place}: needs at least two classes, got {listed}; add folders of images"
        )
    if not test:
        raise DataError(f"{test_place}: needs at least one image, got none; add test images")
    if unknown := sorted(test - train):
        raise DataError(
            f"{test_place}: each class must also stand in train, which has "
            f"{', '.join(sorted(train)[:20])}, got {unknown[0]}; rename it or delete its images"
        )
    num_train = sum(entry.part == "train" for entry in entries)
    if num_train < 5:
        raise DataError(
            f"{train_place}: needs at least 5 images, of which a fifth go to validation, "
            f"got {num_train}; add images"
        )


CLASS_FOLDERS = Layout("folder 2", _class_folders, lambda folder, classes: classes)
TINY_IMAGENET = Layout("tiny-imagenet 1", _tiny_imagenet, _first_words)

GREY_MODES = ("1", "L", "LA")
COLOUR_MODES = ("RGB", "RGBA", "P", "PA", "CMYK", "YCbCr")
DEEP_MODES = "images must have at most 8 bits per channel"
BILINEAR = 2
"""Pillow's filter, by its number, as naming a data set imports no Pillow."""
ORIENTATION = 0x0112
"""The EXIF tag that says how a photograph must be turned or mirrored to be shown."""
MARKS = (b"exif", b"Exif", b"eXIf", b"EXIF", b"xmp", b"XMP", b"II*\0", b"MM\0*")
"""One of these stands in every file that has this tag; the last two begin a TIFF."""


DECODED_AT_ONCE = 256
"""Images; decoding them is shared among threads, as Pillow lets several run."""
MOST_DECODERS = 8


def fingerprint(folder: Path, cache: Path, config: DataConfig) -> str:
    """Return a name of the content of a folder of images, and of the size they are brought to."""
    layout = layout_of(folder)
    entries = layout.entries(folder)
    stats = [f"{entry.name}\0{entry.stamp}" for entry in entries]

    def find() -> str:
        contents = [f"{entry.name}\0{_content(entry.path)}" for entry in entries]
        return hash_of([layout.format, *contents])

    # What earlier versions remembered does not know which photographs are turned.
    known = hash_of([layout.format, "turned", str(folder.resolve()), *stats])
    content = remembered(cache / f"folder-{known}.fingerprint", find)
    return content if config.resize == "none" else f"{content}-{size_text(config)}"


def size_text(config: DataConfig) -> str:
    """Return the words of a declared size in a fingerprint, such as `resize72-crop64`."""
    crop = "" if config.center_crop in ("none", config.resize) else f"-crop{config.center_crop}"
    return f"resize{config.resize}{crop}"


def load(folder: Path, content: str, cache: Path, config: DataConfig) -> Decoded:
    """Return the images of a folder whose fingerprint is `content`, from the cache if possible.

    Images come class by class, each class in the order of its file names; they have one channel if
    every image of the folder is grey, else three.
    """
    kept = cache / f"folder-{content}.npz"
    layout = layout_of(folder)
    decoded = from_cache(kept)
    if decoded is None:
        decoded = _decode(layout.entries(folder), config, kept)
    return decoded._replace(classes=layout.class_names(folder, decoded.classes))


def _content(path: Path) -> str:
    """Return a name of the bytes of an image, and of how it is turned if it is."""
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if not any(mark in content for mark in MARKS):
        return digest
    from PIL import Image  # a tenth of a second, for photographs alone

    try:
        with Image.open(io.BytesIO(content)) as image:
            orientation = _orientation(image)
    except (OSError, SyntaxError, ValueError, struct.error):
        return digest  # a fingerprint needs no image that can be read; `_open` names the mistake
    # An upright image keeps the name it had when turned ones were read as they are stored.
    return digest if orientation == 1 else f"{digest}\0turned {orientation}"


def _orientation(image: "Image.Image") -> int:
    """Return how an image must be turned or mirrored: 2 to 8 as in EXIF, 1 for not at all."""
    found = image.getexif().get(ORIENTATION, 1)
    return found if found in range(2, 9) else 1


def _decode(entries: Sequence[Entry], config: DataConfig, kept: Path) -> Decoded:
    """Read every image and keep it, with one channel if all of them are grey, else with three."""
    first = resized(_open(entries[0].path), config)
    classes = tuple(sorted({entry.label for entry in entries}))
    numbers = {label: number for number, label in enumerate(classes)}
    labels = np.array([numbers[entry.label] for entry in entries], dtype=np.int64)
    num_train = sum(entry.part == "train" for entry in entries)

    def images_in(mode: str) -> Images:
        shape = (len(entries), len(mode), first.height, first.width)
        return stored(kept.with_suffix(".npy"), _arrays(entries, config, mode), shape)

    try:
        images = images_in(first.mode)
    except ColourError:  # met late in a folder that began with grey images
        images = images_in("RGB")
    test = labels[num_train:]
    decoded = Decoded(images[:num_train], labels[:num_train], images[num_train:], test, classes)
    to_cache(kept, decoded)
    return decoded


class ColourError(Exception):
    """An image has colours where all were taken to be grey."""


def _arrays(entries: Sequence[Entry], config: DataConfig, mode: str) -> Iterator[NDArray[np.uint8]]:
    """Decode images in a mode, L or RGB, a few at a time: (n, C, H, W)."""
    first: Image.Image | None = None

    def decoded(entry: Entry) -> "Image.Image":
        return resized(_open(entry.path), config)

    with ThreadPoolExecutor(min(MOST_DECODERS, len(os.sched_getaffinity(0)))) as pool:
        for start in range(0, len(entries), DECODED_AT_ONCE):
            some = entries[start : start + DECODED_AT_ONCE]
            images = []
            for entry, image in zip(some, pool.map(decoded, some), strict=True):
                first = first or image
                if image.size != first.size:
                    raise DataError(
                        f"{entry.path}: all images must have one size, got "
                        f"{image.width}×{image.height} where {entries[0].path} has "
                        f"{first.width}×{first.height}; write data.resize: "
                        f"{min(first.size)}, which scales and cuts each, or resize the images"
                    )
                if image.mode != "L" and mode == "L":
                    raise ColourError
                pixels = np.asarray(image.convert(mode))
                images.append(pixels.reshape(*pixels.shape[:2], -1).transpose(2, 0, 1))
            yield np.stack(images)


def resized(image: "Image.Image", config: DataConfig) -> "Image.Image":
    """Scale an image's shorter side and cut out the square in its middle, if that is declared.

    As `Resize` and `CenterCrop` of torchvision do: bilinear, antialiased, sizes rounded down and
    the border to the left and above rounded to the nearest.
    """
    if config.resize == "none":
        return image
    short, side = config.resize, config.center_crop
    side = short if side == "none" else side
    least = min(image.size)
    width, height = (int(short * length / least) for length in image.size)
    image = image.resize((width, height), BILINEAR)
    left, top = round((width - side) / 2), round((height - side) / 2)
    return image.crop((left, top, left + side, top + side))


def _open(path: Path) -> "Image.Image":
    """Read one image into memory, as viewers show it. Raises `DataError` if it is no image."""
    # Imported here: it takes a tenth of a second, and naming a data set does without.
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            image.load()
            found, mode = shown(image), image.mode
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, struct.error) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(
            f"{path}: must be an image that can be read ({reason}); replace or delete the file"
        ) from error
    if found is None:
        raise DataError(f"{path}: {DEEP_MODES}, got mode {mode}; convert it to 8 bits")
    return found


def shown(image: "Image.Image") -> "Image.Image | None":
    """Return an image as viewers show it, grey or in colours; None if it has more than 8 bits."""
    from PIL import ImageOps  # as above

    if _orientation(image) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode not in GREY_MODES + COLOUR_MODES:
        return None
    return image.convert("L" if image.mode in GREY_MODES else "RGB")
