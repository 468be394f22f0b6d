"""Data of one's own: what a function or class of the user's own file returns, decoded once.

Such a part returns a mapping with `train` and `test`, perhaps `validation` and `classes`, or a pair
of training and test data. One that has a parameter `train` is called twice, as torchvision's data
sets are. Each of these is a pair of arrays, images and labels, or anything with a length whose
items are pairs of an image and a label, or mappings with these, as rows of Hugging Face's are.
An image is a picture of Pillow, or an array or tensor (H, W), (H, W, C) or (C, H, W), uint8 or
fractions in [0, 1], which are stored as 255ths.

What is read is kept under a hash of its content. Which content that is, is remembered by the part's
source and settings, and by name, size and time of every file below a path among the settings.
"""

import operator
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainers.config import DataConfig
from trainers.config.parts import OwnPart, loaded, source_of
from trainers.config.sources import PartError, located
from trainers.data.cache import (
    DataError,
    Decoded,
    from_cache,
    hash_of,
    remembered,
    stored,
    to_cache,
)
from trainers.data.folder import (
    DECODED_AT_ONCE,
    DEEP_MODES,
    ColourError,
    resized,
    shown,
    size_text,
)
from trainers.data.mapped import Images, Mapped
from trainers.data.npz import CHANNELS, check_classes
from trainers.data.subset import Split, sample_hash

FORMAT = "own 1"
"""Changes when the same data would give other arrays."""
IMAGE_KEYS, LABEL_KEYS = ("image", "img", "images"), ("label", "labels")
"""Of items that are mappings."""


class Part(NamedTuple):
    """The training, validation or test data as it was returned."""

    name: str
    num_items: int
    item: Callable[[int], Any]
    """Position to an image with its label."""


class Given(NamedTuple):
    """All that was returned."""

    parts: tuple[Part, ...]
    """Training, perhaps validation, and test data."""
    classes: tuple[str, ...]
    """Empty where the data names none."""


def fingerprint(config: DataConfig, cache: Path) -> str:
    """Return a name of the content; the data is read and kept unless it is known already."""
    part = config.settings.part
    settings = sorted(config.settings.settings.items())
    known = hash_of(
        [
            FORMAT,
            f"{part.name} {sorted(source_of(part).items())}",
            *(f"{name}={value!r}" for name, value in settings),
            *(line for _, value in settings for line in _stamps(value)),
            size_text(config),
        ]
    )
    content = remembered(cache / f"own-{known}.fingerprint", lambda: _keep(config, cache))
    return f"own-{content}"


def load(config: DataConfig, content: str, cache: Path) -> Decoded:
    """Return the data whose fingerprint is `content`, from the cache if possible."""
    kept = cache / f"{content}.npz"
    decoded = from_cache(kept)
    if decoded is None:
        found = f"own-{_keep(config, cache)}"
        if found != content:
            raise DataError(f"{config.name}: changed while it was read; run the command again")
        decoded = from_cache(kept)
        assert decoded is not None, "it was written just now"
    return decoded


def _stamps(value: Any) -> Iterator[str]:
    """Yield name, size and time of the files at a path, if the value is one."""
    path = Path(value) if isinstance(value, str) else None
    if path is None or not path.is_absolute():
        return
    files = [path] if path.is_file() else sorted(place for place in path.rglob("*"))
    for file in files:
        if file.is_file():
            stat = file.stat()
            yield f"{file.relative_to(path)}\0{stat.st_size}\0{stat.st_mtime_ns}"


def _keep(config: DataConfig, cache: Path) -> str:
    """Read the data, keep it, and return a hash of its content."""
    given = _given(config)
    labels = [np.empty(part.num_items, dtype=np.int64) for part in given.parts]
    first = _first(config, given.parts[0])
    count = sum(len(each) for each in labels)
    aside = cache / f"own-{os.getpid()}.npy"

    def images_of(channels: int) -> Images:
        shape = (channels, *first.shape[1:])
        return stored(aside, _arrays(config, given, labels, shape), (count, *shape))

    try:
        try:
            images = images_of(len(first))
        except ColourError:  # met after grey images
            images = images_of(3)
        *train_labels, test_labels = labels
        train = np.concatenate(train_labels)
        num_classes = check_classes(config.name, train, test_labels, ("train", "test", "train"))
        whole = Split(images=images, labels=np.concatenate(labels))
        classes = _class_names(config, given, num_classes)
        sizes = ",".join(str(part.num_items) for part in given.parts)
        content = hash_of([FORMAT, sample_hash(whole), sizes, *classes])
        if isinstance(images, Mapped):
            place = cache / f"own-{content}.npy"
            images.path.replace(place)
            images = Mapped(place, images.rows)
    finally:
        aside.unlink(missing_ok=True)
    num_train, num_second = len(train), len(train) - given.parts[0].num_items
    decoded = Decoded(
        images[:num_train], train, images[num_train:], test_labels, classes, num_second
    )
    to_cache(cache / f"own-{content}.npz", decoded)
    return content


def _given(config: DataConfig) -> Given:
    """Call the part and bring what it returns into one form."""
    part = config.settings.part
    run = config.settings.ready()
    try:
        if "train" in loaded(part).takes:
            found: Any = {"train": run(train=True), "test": run(train=False)}
        else:
            found = run()
    except PartError as error:
        raise DataError(f"{config.name}: {error}") from None
    if isinstance(found, Sequence) and len(found) == 2:
        found = {"train": found[0], "test": found[1]}
    if not isinstance(found, Mapping) or not {"train", "test"} <= set(found):
        got = ", ".join(map(str, list(found)[:5])) if isinstance(found, Mapping) else type(found)
        raise _refusal(part, "must return a mapping with train and test, or a pair of them", got)
    names = [name for name in ("train", "validation", "test") if name in found]
    parts = tuple(_part(part, name, found[name]) for name in names)
    classes = found.get("classes", ())
    if not hasattr(classes, "__len__"):
        raise _refusal(part, "classes: must be a list of names", type(classes))
    if len(classes) == 0:
        classes = _told_classes(found["train"])
    return Given(parts, tuple(map(str, classes)))


def _part(own: OwnPart, name: str, found: Any) -> Part:
    """Bring training, validation or test data into one form."""
    if isinstance(found, tuple | list) and len(found) == 2 and hasattr(found[0], "shape"):
        images, labels = found
        if len(images) != len(labels):
            got = f"{len(images)} images and {len(labels)} labels"
            raise _refusal(own, f"{name}: must have a label for each image", got)
        found = _Pairs(images, labels)
    if not (hasattr(found, "__len__") and hasattr(found, "__getitem__")):
        rule = f"{name}: must be images and labels, or have a length and items"
        raise _refusal(own, rule, type(found))
    if len(found) == 0:
        raise _refusal(own, f"{name}: needs at least one image", "none")
    return Part(name, len(found), found.__getitem__)


class _Pairs:
    """Arrays of images and labels as items."""

    def __init__(self, images: Any, labels: Any) -> None:
        self._images, self._labels = images, labels

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self._images[index], self._labels[index]


def _told_classes(train: Any) -> Sequence[Any]:
    """Return the names of the classes, where a data set tells them as torchvision's or as
    Hugging Face's do.
    """
    features = getattr(train, "features", None)
    if isinstance(features, Mapping):
        names = [getattr(features[key], "names", None) for key in LABEL_KEYS if key in features]
        return next((each for each in names if each), ())
    classes = getattr(train, "classes", ())
    return classes if isinstance(classes, list | tuple) else ()


def _class_names(config: DataConfig, given: Given, num_classes: int) -> tuple[str, ...]:
    if given.classes and len(given.classes) != num_classes:
        rule = f"classes: must name the {num_classes} classes that train has"
        raise _refusal(config.settings.part, rule, f"{len(given.classes)} names")
    return given.classes or tuple(str(label) for label in range(num_classes))


def _first(config: DataConfig, train: Part) -> NDArray[np.uint8]:
    """Read the first training image, twice: data that is drawn anew would be kept as drawn once."""
    first, again = (_read(config, train, 0)[0] for _ in range(2))
    if not np.array_equal(first, again):
        rule = "train: must give the same image each time, as it is read once and kept"
        way_out = "another one; move random transforms to data.augmentation or data.transform"
        raise _refusal(config.settings.part, rule, way_out)
    return first


def _arrays(
    config: DataConfig,
    given: Given,
    labels: Sequence[NDArray[np.int64]],
    shape: tuple[int, ...],
) -> Iterator[NDArray[np.uint8]]:
    """Read all images a few at a time, (n, C, H, W), and fill in the labels on the way."""
    for part, found in zip(given.parts, labels, strict=True):
        for start in range(0, part.num_items, DECODED_AT_ONCE):
            stop = min(start + DECODED_AT_ONCE, part.num_items)
            some = np.empty((stop - start, *shape), dtype=np.uint8)
            for index in range(start, stop):
                image, found[index] = _read(config, part, index)
                if image.shape[1:] != shape[1:]:
                    rule = f"{part.name}[{index}]: all images must have one size, {_text(shape)}"
                    way_out = f"{_text(image.shape)}; write data.resize, which scales and cuts each"
                    raise _refusal(config.settings.part, rule, way_out)
                if len(image) > shape[0]:
                    raise ColourError
                some[index - start] = image  # a grey image into three channels, too
            yield some


def _read(config: DataConfig, part: Part, index: int) -> tuple[NDArray[np.uint8], int]:
    """Read one image, (C, H, W), and its label."""
    own = config.settings.part
    place = f"{part.name}[{index}]"
    try:
        item = part.item(index)
        if isinstance(item, Mapping):
            keys = [[key for key in known if key in item] for known in (IMAGE_KEYS, LABEL_KEYS)]
            if not all(keys):
                got = ", ".join(map(str, list(item)[:8]))
                raise _refusal(own, f"{place}: needs the keys image and label", got)
            item = tuple(item[names[0]] for names in keys)
        image, label = item[0], item[1]
    except DataError:
        raise
    except Exception as error:  # of any kind: it is the user's code that runs here
        raise DataError(f"{config.name}: {place}: {located(error, own.code)}") from error
    try:
        number = operator.index(label)
    except TypeError:
        rule = f"{place}: the label must be a whole number"
        raise _refusal(own, rule, type(label).__name__) from None
    return _pixels(config, image, place), number


def _pixels(config: DataConfig, image: Any, place: str) -> NDArray[np.uint8]:
    """Bring an image to (C, H, W) uint8, scaled and cut if that is declared."""
    own = config.settings.part
    if hasattr(image, "convert") and hasattr(image, "mode"):
        picture = shown(image)
        if picture is None:
            raise _refusal(own, f"{place}: {DEEP_MODES}", f"mode {image.mode}")
        return _channels_first(np.asarray(resized(picture, config)), own, place)
    array = np.asarray(image)
    if array.dtype.kind == "f":
        low, high = array.min(initial=0), array.max(initial=0)
        if not (low >= 0 and high <= 1):
            rule = f"{place}: fractions must lie in [0, 1], as networks here normalise themselves"
            raise _refusal(own, rule, f"{low:.3g} to {high:.3g}; remove Normalize")
        array = np.rint(array * 255).astype(np.uint8)
    if array.dtype != np.uint8:
        raise _refusal(own, f"{place}: pixels must be uint8, or fractions in [0, 1]", array.dtype)
    array = _channels_first(array, own, place)
    if config.resize == "none":
        return array
    from PIL import Image  # a tenth of a second, for what is scaled alone

    picture = Image.fromarray(array[0] if len(array) == 1 else array.transpose(1, 2, 0))
    return _channels_first(np.asarray(resized(picture, config)), own, place)


def _channels_first(array: NDArray[np.uint8], own: OwnPart, place: str) -> NDArray[np.uint8]:
    """Bring an image to (C, H, W)."""
    shape = array.shape
    if len(shape) == 2 and 0 not in shape:
        return array[np.newaxis]
    if len(shape) == 3 and 0 not in shape:
        is_first, is_last = shape[0] in CHANNELS, shape[2] in CHANNELS
        if is_first != is_last:
            return array if is_first else array.transpose(2, 0, 1)
    rule = f"{place}: must have shape (H, W), (H, W, C) or (C, H, W), with C 1 or 3"
    raise _refusal(own, rule, _text(shape))


def _text(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape)) or "a number"


def _refusal(own: OwnPart, rule: str, got: object) -> DataError:
    """Build the refusal of what a part returned, with its file and line."""
    shown_got = got.__name__ if isinstance(got, type) else got
    page = "docs/own_data.md says what it may return"
    return DataError(f"{loaded(own).place}: {own.attribute}: {rule}, got {shown_got}; {page}")
