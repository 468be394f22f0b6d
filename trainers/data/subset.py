"""Parts of a data set: splitting by class, balanced subsets, and the hash that names samples.

Where a sample goes is decided by SHA-256 of a seed and its position, which no version of a library
can change, and never by the seed of a trial.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainers.data.mapped import Images, chunks


@dataclass(frozen=True, kw_only=True)
class Split:
    """One part of a data set."""

    images: Images
    """(N, C, H, W), in memory or in a file."""
    labels: NDArray[np.int64]
    """(N,), each in 0 … K - 1."""


def sample_hash(split: Split) -> str:
    """Return a hash of the samples of a part, in order. Comparable trials have equal hashes."""
    digest = hashlib.sha256(repr(split.images.shape).encode())
    for images in chunks(split.images):
        digest.update(np.ascontiguousarray(images).data)
    digest.update(np.ascontiguousarray(split.labels.astype("<i8")).tobytes())
    return digest.hexdigest()[:16]


def split_by_class(split: Split, num_second: int, seed: str) -> tuple[Split, Split]:
    """Move `num_second` samples to a second part, each class in proportion (largest remainders).

    Every class keeps at least one sample in the first part. Within a class, samples are moved in
    the order of their hashes; both parts keep the order of the samples.
    """
    labels = split.labels
    is_second = np.zeros(len(labels), dtype=bool)
    for label, quota in enumerate(_quotas(np.bincount(labels), num_second)):
        is_second[_shuffled(labels, label, seed)[:quota]] = True
    return _kept(split, ~is_second), _kept(split, is_second)


def is_grouped(labels: NDArray[np.int64]) -> bool:
    """Return whether the samples stand class by class, so that the first ones are of one class.

    >>> [is_grouped(np.array(labels)) for labels in ([1, 1, 0], [1, 0, 1], [0, 0], [1, 0])]
    [True, False, False, False]
    """
    num_classes = len(np.unique(labels))
    num_changes = np.count_nonzero(labels[1:] != labels[:-1])
    # Where each class has one sample, every order is of this kind.
    return bool(1 < num_classes < len(labels) and num_changes == num_classes - 1)


def mixed(split: Split, seed: str) -> Split:
    """Sort samples by their hashes, so that the first ones are of all classes.

    >>> few = Split(images=np.zeros((4, 1, 2, 2), np.uint8), labels=np.array([0, 0, 1, 1]))
    >>> mixed(few, "seed").labels.tolist()
    [1, 0, 1, 0]
    """
    keys = [_key(seed, position) for position in range(len(split.labels))]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return Split(images=split.images[order], labels=split.labels[order])


def balanced(split: Split, count: int, seed: str) -> Split:
    """Keep `count` samples, as many of each class; a smaller subset lies within a larger one.

    Samples are taken in rounds, each with the next one of every class in the order of their hashes.
    So the counts of two classes differ by at most one, unless all samples of the smaller are taken.
    count: from 0 to the number of samples. The order of the samples is kept.
    """
    labels = split.labels
    assert 0 <= count <= len(labels), "callers know the number of samples"
    rounds = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        positions = _shuffled(labels, int(label), seed)
        rounds[positions] = np.arange(len(positions))
    keys = [_key(seed, position) for position in range(len(labels))]
    order = sorted(range(len(labels)), key=lambda position: (rounds[position], keys[position]))
    is_kept = np.zeros(len(labels), dtype=bool)
    is_kept[order[:count]] = True
    return _kept(split, is_kept)


def _shuffled(labels: NDArray[np.int64], label: int, seed: str) -> NDArray[np.int64]:
    """Return the positions of a class in the order of their hashes."""
    positions = np.flatnonzero(labels == label)
    keys = [_key(seed, position) for position in positions.tolist()]
    order = sorted(range(len(positions)), key=keys.__getitem__)
    shuffled: NDArray[np.int64] = positions[order]
    return shuffled


def _key(seed: str, position: int) -> bytes:
    return hashlib.sha256(f"{seed}/{position}".encode()).digest()


def _kept(split: Split, is_kept: NDArray[np.bool_]) -> Split:
    return Split(images=split.images[is_kept], labels=split.labels[is_kept])


def _quotas(counts: NDArray[np.int64], total: int) -> list[int]:
    """Share `total` among classes in proportion to `counts`, leaving one sample in each class."""
    shares = counts * total / counts.sum()
    quotas = np.floor(shares).astype(int)
    by_remainder = np.argsort(-(shares - quotas), kind="stable")
    quotas[by_remainder[: total - quotas.sum()]] += 1
    return [
        min(int(quota), max(0, int(count) - 1)) for quota, count in zip(quotas, counts, strict=True)
    ]
