"""A data set as numpy arrays in three parts: training, validation, test.

Naming a data set needs no torch, so a fingerprint comes at once. Images are uint8 (N, C, H, W);
dividing by `divisor` gives the pixel range [0, 1]. The data set decides the split, never a trial:
all trials of a study are trained on, and chosen on, the same images.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from trainers.config import TORCHVISION_SETS, DataConfig
from trainers.data import folder, npz, own, published
from trainers.data.cache import DataError, Decoded
from trainers.data.mapped import Images, Mapped, chunks, in_memory_if_small
from trainers.data.subset import Split, balanced, mixed, sample_hash, split_by_class

__all__ = [
    "DIGITS_FINGERPRINT",
    "DataError",
    "Dataset",
    "Split",
    "data_fingerprint",
    "load_data",
    "sample_hash",
]

DIGITS_FINGERPRINT = "digits-b855613c"
"""Names the bundled digits and their split below; a test recomputes the hash."""
NO_EXTRA = Split(images=np.zeros((0, 1, 1, 1), np.uint8), labels=np.zeros(0, np.int64))
NUM_DIGITS_TEST = 500
NUM_DIGITS_VALIDATION = 297


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A data set that is ready to train on."""

    name: str
    fingerprint: str
    """Changes with the images, the labels, their split into parts, and the augmentation."""
    classes: tuple[str, ...]
    divisor: int
    """The largest stored value: 255 for images, 16 for the digits."""
    train: Split
    validation: Split
    test: Split
    mean: tuple[float, ...]
    """Per channel, over the training images that `samples` keeps; in units of the pixel range
    [0, 1]."""
    std: tuple[float, ...]
    """As `mean`; 1 for a channel without variation."""
    augmentation: str
    """Of training images, drawn anew in every epoch; as in `DataConfig`, but never `auto`."""
    extra: Split = NO_EXTRA
    """Images that join the training batches beside those of `train`."""
    extra_share: float = 0.0
    """Of each training batch; 0 where there are none."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Return (C, H, W)."""
        _, channels, height, width = self.train.images.shape
        return channels, height, width


def load_data(config: DataConfig, cache: Path) -> Dataset:
    """Load a data set. What is downloaded or decoded is kept below `cache`.

    Published sets are kept in the folder that the environment variable RHOEPS_DATA names, if it
    names one. The validation part is the same whatever `samples` is. The test part of a folder,
    whose files are read class by class, is shuffled into a fixed order, so that its first samples
    are of all classes.
    Raises `DataError` for data that cannot be found or used, and for more samples than there are.
    """
    reader = READERS[kind_of(config)]
    content = reader.content(config, cache)
    decoded = reader.read(config, content, cache)
    seed, divisor = reader.seed.format(name=config.name), reader.divisor
    _check_pixels(config.name, decoded)
    train, validation = _train_and_validation(decoded, reader.num_validation, seed)
    if len(validation.labels) == 0:
        raise DataError(
            f"{config.name}: train: needs a class of two or more images, as each class keeps one "
            "and the validation part takes the others, got one of each; add images"
        )
    test = Split(images=decoded.test_images, labels=decoded.test_labels)
    if reader.is_sorted:
        test = mixed(test, f"{seed} test")
    train = _samples(train, config.samples, "samples", f"{seed} samples", len(decoded.classes))
    test = _samples(test, config.test_samples, "test_samples", f"{seed} test_samples", 1)
    train, validation, test = (_read_if_small(part) for part in (train, validation, test))
    mean, std = _statistics(train.images, divisor)
    extra = joined(config, train.images, decoded.classes, divisor)
    return Dataset(
        name=config.name,
        fingerprint=_fingerprint(config, content, cache),
        classes=decoded.classes,
        divisor=divisor,
        train=train,
        validation=validation,
        test=test,
        mean=mean,
        std=std,
        augmentation=_augmentation(config, train.images.shape[1:]),
        extra=extra,
        extra_share=config.extra.share if config.extra != "none" else 0.0,
    )


def data_fingerprint(config: DataConfig, cache: Path) -> str:
    """Return a name of the content of a data set and of what the configuration makes of it.

    Cheap: the content of a published set is known before it is downloaded, that of a file or folder
    is remembered below `cache`. What `auto` means follows from the content, so the name has only
    other choices in it.
    """
    content = READERS[kind_of(config)].content(config, cache)
    return _fingerprint(config, content, cache)


def num_validation(num_train: int) -> int:
    """Return the size of the validation part: 1000, but at most a fifth of the training images.

    Every epoch is validated on all of them, so more would cost time, and images to train on.
    """
    return min(1000, num_train // 5)


def _fingerprint(config: DataConfig, content: str, cache: Path) -> str:
    words = [content]
    if READERS[kind_of(config)].is_sorted:
        words.append("mixed")
    if config.samples != "all":
        words.append(f"train{config.samples}")
    if config.test_samples != "all":
        words.append(f"test{config.test_samples}")
    if config.augmentation not in ("auto", _usual_augmentation(config)):
        words.append(config.augmentation)
    if config.extra != "none":
        with _of_extra():
            words.append(f"extra{config.extra.share!r}")
            words.append(npz.fingerprint(_path_of(config.extra.name), cache))
    return "-".join(words)


def joined(config: DataConfig, images: Images, classes: Sequence[str], divisor: int) -> Split:
    """Read the images that join the training batches. images: (N, C, H, W), of the set itself."""
    if config.extra == "none":
        return NO_EXTRA
    if isinstance(images, Mapped):
        raise DataError(
            "data.extra: joins images that are in memory, and those of this set are too large for "
            "it and stay in a file; lower data.samples, or drop it"
        )
    with _of_extra():
        return npz.load_extra(_path_of(config.extra.name), images.shape[1:], classes, divisor)


@contextmanager
def _of_extra() -> Iterator[None]:
    """Begin errors with the key that they concern."""
    try:
        yield
    except DataError as error:
        raise DataError(f"data.extra: {error}") from error


def kind_of(config: DataConfig) -> str:
    """Return the kind of a data set, a key of `READERS`."""
    if config.is_own:
        return "own"
    return "torchvision" if config.name in TORCHVISION_SETS else config.name.partition(":")[0]


def _path_of(name: str) -> Path:
    """Return the path in the name of a folder or an .npz file."""
    return Path(name.partition(":")[2]).expanduser()


def _read_digits() -> Decoded:
    """Read scikit-learn's 1797 handwritten digits of 8 × 8: 500 for test, 1297 for the rest."""
    # The file alone: importing scikit-learn takes one to two seconds.
    package = find_spec("sklearn")
    assert package is not None, "scikit-learn is a requirement"
    assert package.origin is not None
    file = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    table = np.loadtxt(file, delimiter=",").astype(np.int64)
    images = table[:, :-1].astype(np.uint8).reshape(-1, 1, 8, 8)
    everything = Split(images=images, labels=table[:, -1])
    rest, test = split_by_class(everything, NUM_DIGITS_TEST, "digits test")
    classes = tuple(str(label) for label in range(10))
    return Decoded(rest.images, rest.labels, test.images, test.labels, classes)


class Reader(NamedTuple):
    """How the data sets of one kind are named and read."""

    content: Callable[[DataConfig, Path], str]
    """(configuration, cache) to a name that changes with the content."""
    read: Callable[[DataConfig, str, Path], Decoded]
    """(configuration, content, cache) to all images and labels."""
    seed: str
    """Of the split into training and validation."""
    num_validation: Callable[[int], int] = num_validation
    """Number of images outside the test part to the size of the validation part."""
    divisor: int = 255
    """The largest stored value."""
    is_sorted: bool = False
    """Whether the test part may be read class by class, and is shuffled."""


READERS = {
    "digits": Reader(
        content=lambda config, cache: DIGITS_FINGERPRINT,
        read=lambda config, content, cache: _read_digits(),
        seed="digits validation",
        num_validation=lambda num_train: NUM_DIGITS_VALIDATION,
        divisor=16,
    ),
    "torchvision": Reader(
        content=lambda config, cache: published.fingerprint(config.name),
        read=lambda config, content, cache: published.load(config.name, cache),
        seed="{name} validation",
    ),
    "npz": Reader(
        content=lambda config, cache: npz.fingerprint(_path_of(config.name), cache),
        read=lambda config, content, cache: npz.load(_path_of(config.name)),
        seed="npz",
    ),
    "folder": Reader(
        content=lambda config, cache: folder.fingerprint(_path_of(config.name), cache, config),
        read=lambda config, content, cache: folder.load(
            _path_of(config.name), content, cache, config
        ),
        seed="folder",
        is_sorted=True,
    ),
    "own": Reader(content=own.fingerprint, read=own.load, seed="own", is_sorted=True),
}


def _train_and_validation(
    decoded: Decoded, num_validation: Callable[[int], int], seed: str
) -> tuple[Split, Split]:
    """Divide what is not for test, as the data itself says, or else by class."""
    whole = Split(images=decoded.train_images, labels=decoded.train_labels)
    if count := decoded.num_validation:
        parts = (slice(-count), slice(-count, None))
        first, second = (Split(images=whole.images[i], labels=whole.labels[i]) for i in parts)
        return first, second
    return split_by_class(whole, num_validation(len(whole.labels)), seed)


def _check_pixels(name: str, decoded: Decoded) -> None:
    """Check that images are not black to a network, as no attack radius would fit them."""
    for part, images in (("train", decoded.train_images), ("test", decoded.test_images)):
        # Of the first chunk already, for nearly all data.
        if not any(some.max() > 1 for some in chunks(images)):
            largest = max(some.max() for some in chunks(images))
            raise DataError(
                f"{name}: {part}: pixels must use the range from 0 to 255, got none above "
                f"{largest}; if they were fractions or a mask of 0 and 1, multiply by 255 "
                "before they become uint8"
            )


def _samples(split: Split, count: int | Literal["all"], field: str, seed: str, least: int) -> Split:
    """Keep the samples that a configuration asks for, balanced over the classes."""
    if count == "all":
        return split
    there = len(split.labels)
    if not least <= count <= there:
        what = "training images beside the validation part" if field == "samples" else "test images"
        each = f"one of each of the {least} classes" if least > 1 else "1"
        raise DataError(
            f"data.{field}: must lie between {each} and the {there} {what}, got {count}; change "
            "it, or write all"
        )
    return balanced(split, count, seed)


def _read_if_small(split: Split) -> Split:
    """Read a part of a large file into memory if it is small itself."""
    return Split(images=in_memory_if_small(split.images), labels=split.labels)


def _augmentation(config: DataConfig, image_shape: tuple[int, ...]) -> str:
    """Decide how training images are augmented. image_shape: (C, H, W)."""
    chosen = config.augmentation
    if chosen == "auto":
        chosen = _usual_augmentation(config) or _own_augmentation(config, image_shape)
    _, height, width = image_shape
    if chosen in ("crop", "crop_flip") and (height < 8 or width <= height // 8):
        raise DataError(
            f"data.augmentation: {chosen} pads images by an eighth of their height, so they must "
            f"be at least 8 pixels high and wider than that, got {height} × {width}; write none"
        )
    return chosen


def _usual_augmentation(config: DataConfig) -> str | None:
    """Return what `auto` means for data known by name, or None for your own."""
    if config.name in TORCHVISION_SETS:
        return TORCHVISION_SETS[config.name].augmentation
    return "none" if kind_of(config) == "digits" else None


def _own_augmentation(config: DataConfig, image_shape: tuple[int, ...]) -> str:
    """Return what `auto` means for your own images: as for CIFAR if they have its shape."""
    is_tiny = kind_of(config) == "folder" and folder.is_tiny_imagenet(_path_of(config.name))
    is_usual = image_shape == (3, 32, 32) or is_tiny
    return "crop_flip" if is_usual else "none"


def _statistics(images: Images, divisor: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Compute mean and standard deviation per channel from the histogram of stored values."""
    means, stds = [], []
    values = np.arange(256) / divisor
    histograms = np.zeros((images.shape[1], 256), dtype=np.int64)
    for some in chunks(images):  # as bincount works in eight bytes per value
        for channel, weights in enumerate(histograms):
            weights += np.bincount(some[:, channel].ravel(), minlength=256)
    for weights in histograms:
        mean = float(np.average(values, weights=weights))
        variance = float(np.average((values - mean) ** 2, weights=weights))
        means.append(mean)
        stds.append(variance**0.5 or 1.0)
    return tuple(means), tuple(stds)
