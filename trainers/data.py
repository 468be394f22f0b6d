"""A data set as numpy arrays in three parts: training, validation, test.

Nothing here needs torch, so that a data set can be named and fingerprinted at once. Images are
uint8 (N, C, H, W); dividing by `divisor` gives the pixel range [0, 1]. The split is decided by the
data set, never by a trial: all trials of a study learn from, and are chosen on, the same images.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainers.config import DataConfig

DIGITS_FINGERPRINT = "digits-b855613c"
"""Names the bundled digits and their split below; a test recomputes the hash."""
NUM_DIGITS_TEST = 500
NUM_DIGITS_VALIDATION = 297


class DataError(ValueError):
    """Data that cannot be used; one line with place, rule, value and way out."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """One part of a data set."""

    images: NDArray[np.uint8]
    """(N, C, H, W)."""
    labels: NDArray[np.int64]
    """(N,), each in 0 … K - 1."""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A data set that is ready to train on."""

    name: str
    fingerprint: str
    """Changes with the images, the labels, or their split into parts."""
    classes: tuple[str, ...]
    divisor: int
    """The largest stored value: 255 for images, 16 for the digits."""
    train: Split
    validation: Split
    test: Split
    mean: tuple[float, ...]
    """Per channel over the training part, in units of the pixel range [0, 1]."""
    std: tuple[float, ...]
    """As `mean`; 1 for a channel without variation."""
    augmentation: str
    """Of training images, drawn anew in every epoch: `none`, `crop` or `crop_flip`."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        _, channels, height, width = self.train.images.shape
        return channels, height, width


def load_data(config: DataConfig, cache: Path) -> Dataset:
    """Load a data set; what is downloaded or decoded is kept below `cache`."""
    name = config.name
    if name == "digits":
        return _load_digits()
    from trainers import folder  # as it needs pillow, which the digits do not

    path = _folder_path(name)
    fingerprint = folder.fingerprint(path, cache)
    decoded = folder.load(path, fingerprint, cache)
    part = Split(images=decoded.train_images, labels=decoded.train_labels)
    train, validation = split_by_class(part, folder.num_validation(len(part.labels)), "folder")
    test = Split(images=decoded.test_images, labels=decoded.test_labels)
    augmentation = "crop_flip" if train.images.shape[1:] == (3, 32, 32) else "none"
    parts = {"train": train, "validation": validation, "test": test}
    return _dataset(name, fingerprint, decoded.classes, 255, augmentation, **parts)


def data_fingerprint(config: DataConfig, cache: Path) -> str:
    """Name the content of a data set: cheap, as a folder's hash is remembered below `cache`."""
    if config.name == "digits":
        return DIGITS_FINGERPRINT
    from trainers import folder

    return folder.fingerprint(_folder_path(config.name), cache)


def sample_hash(split: Split) -> str:
    """Name the samples of a part and their order; equal for trials that may be compared."""
    digest = hashlib.sha256(repr(split.images.shape).encode())
    digest.update(np.ascontiguousarray(split.images).tobytes())
    digest.update(np.ascontiguousarray(split.labels.astype("<i8")).tobytes())
    return digest.hexdigest()[:16]


def split_by_class(split: Split, num_second: int, seed: str) -> tuple[Split, Split]:
    """Move `num_second` samples to a second part, each class in proportion (largest remainders).

    Every class keeps at least one sample in the first part. The order in which samples are moved
    is that of SHA-256 of seed and position, which no version of a library can change.
    """
    labels = split.labels
    counts = np.bincount(labels)
    quotas = _quotas(counts, num_second)
    is_second = np.zeros(len(labels), dtype=bool)
    for label, quota in enumerate(quotas):
        positions = np.flatnonzero(labels == label)
        keys = [hashlib.sha256(f"{seed}/{i}".encode()).digest() for i in positions]
        order = sorted(range(len(positions)), key=keys.__getitem__)
        is_second[positions[order[:quota]]] = True
    first = Split(images=split.images[~is_second], labels=labels[~is_second])
    return first, Split(images=split.images[is_second], labels=labels[is_second])


def _quotas(counts: NDArray[np.int64], total: int) -> list[int]:
    """Share `total` among classes in proportion to `counts`, leaving one sample in each class."""
    shares = counts * total / counts.sum()
    quotas = np.floor(shares).astype(int)
    by_remainder = np.argsort(-(shares - quotas), kind="stable")
    quotas[by_remainder[: total - quotas.sum()]] += 1
    return [
        min(int(quota), max(0, int(count) - 1)) for quota, count in zip(quotas, counts, strict=True)
    ]


def _load_digits() -> Dataset:
    """Scikit-learn's 1797 handwritten digits, 8 × 8, in 1000 / 297 / 500."""
    # The file alone: importing scikit-learn takes one to two seconds.
    package = find_spec("sklearn")
    assert package is not None, "scikit-learn is a requirement"
    assert package.origin is not None
    file = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    table = np.loadtxt(file, delimiter=",").astype(np.int64)
    images = table[:, :-1].astype(np.uint8).reshape(-1, 1, 8, 8)
    everything = Split(images=images, labels=table[:, -1])
    rest, test = split_by_class(everything, NUM_DIGITS_TEST, "digits test")
    train, validation = split_by_class(rest, NUM_DIGITS_VALIDATION, "digits validation")
    classes = tuple(str(label) for label in range(10))
    parts = {"train": train, "validation": validation, "test": test}
    return _dataset("digits", DIGITS_FINGERPRINT, classes, 16, "none", **parts)


def _dataset(
    name: str,
    fingerprint: str,
    classes: Sequence[str],
    divisor: int,
    augmentation: str,
    **parts: Split,
) -> Dataset:
    """Join the parts, with the statistics of the training part."""
    mean, std = _statistics(parts["train"].images, divisor)
    return Dataset(
        name=name,
        fingerprint=fingerprint,
        classes=tuple(classes),
        divisor=divisor,
        mean=mean,
        std=std,
        augmentation=augmentation,
        **parts,
    )


def _statistics(
    images: NDArray[np.uint8], divisor: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel, exact, from the histogram of the stored values."""
    means, stds = [], []
    values = np.arange(256) / divisor
    for channel in range(images.shape[1]):
        weights = np.bincount(images[:, channel].ravel(), minlength=256)
        mean = float(np.average(values, weights=weights))
        variance = float(np.average((values - mean) ** 2, weights=weights))
        means.append(mean)
        stds.append(variance**0.5 or 1.0)
    return tuple(means), tuple(stds)


def _folder_path(name: str) -> Path:
    kind, _, path = name.partition(":")
    if kind != "folder" or not path:
        raise DataError(f"data: must be digits or folder:PATH, got {name!r}; correct the name")
    return Path(path).expanduser()
