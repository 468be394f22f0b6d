"""Tests of splits by class, balanced subsets, and the hash of samples."""

import hashlib
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.data.subset import Split, balanced, sample_hash, split_by_class


def numbered(*counts: int) -> Split:
    """Give a part with so many samples of each class, mixed, whose pixels are their positions."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    images = np.arange(len(labels)).astype("<u4").view(np.uint8).reshape(-1, 1, 2, 2)
    return Split(images=images, labels=labels.astype(np.int64))


def positions(split: Split) -> list[int]:
    found: list[int] = split.images.reshape(-1, 4).view("<u4").ravel().tolist()
    return found


def test_split_by_class_moves_each_class_in_proportion_and_loses_nothing() -> None:
    split = numbered(40, 30, 20, 10)
    first, second = split_by_class(split, 25, "seed")
    assert np.bincount(second.labels).tolist() in ([10, 8, 5, 2], [10, 7, 5, 3])
    assert sorted(positions(first) + positions(second)) == list(range(100))
    again, other = split_by_class(split, 25, "seed"), split_by_class(split, 25, "other")
    assert np.array_equal(second.images, again[1].images)
    assert not np.array_equal(second.images, other[1].images)


def test_split_by_class_leaves_every_class_in_the_first_part() -> None:
    split = Split(images=np.zeros((7, 1, 1, 1), np.uint8), labels=np.array([0] * 6 + [1]))
    first, second = split_by_class(split, 3, "seed")
    assert 1 in first.labels
    assert 1 not in second.labels


@given(st.lists(st.integers(1, 12), min_size=2, max_size=5), st.data())
def test_a_subset_is_as_equal_over_classes_as_there_are_samples(
    counts: list[int], data: st.DataObject
) -> None:
    split = numbered(*counts)
    count = data.draw(st.integers(0, sum(counts)))
    kept = np.bincount(balanced(split, count, "seed").labels, minlength=len(counts))
    assert kept.sum() == count
    for number, there in zip(kept, counts, strict=True):
        assert number == there or number >= kept.max() - 1


def test_a_smaller_subset_lies_within_a_larger_one_in_the_same_order() -> None:
    split = numbered(9, 7, 3)
    kept = [positions(balanced(split, count, "seed")) for count in range(20)]
    assert kept[19] == list(range(19))
    for smaller, larger in itertools.pairwise(kept):
        assert set(smaller) < set(larger)
        assert larger == sorted(larger)


def test_a_subset_keeps_each_image_with_its_label() -> None:
    split = numbered(20, 20)
    kept = balanced(split, 10, "seed")
    assert kept.labels.tolist() == split.labels[positions(kept)].tolist()


def test_a_subset_is_decided_by_its_seed_alone() -> None:
    """By a twin: of 0 … 9, in classes by parity, the two of each whose hashes come first."""
    images = np.arange(10).astype("<u4").view(np.uint8).reshape(-1, 1, 2, 2)
    split = Split(images=images, labels=np.arange(10) % 2)
    for seed in ("seed", "other"):
        by_hash = sorted(
            range(10), key=lambda n: hashlib.sha256(f"{seed}/{n}".encode()).hexdigest()
        )
        expected = [n for n in by_hash if n % 2][:2] + [n for n in by_hash if n % 2 == 0][:2]
        assert positions(balanced(split, 4, seed)) == sorted(expected)


def test_sample_hash_sees_pixels_labels_and_order() -> None:
    images = np.arange(8, dtype=np.uint8).reshape(2, 1, 2, 2)
    hashes = {
        sample_hash(Split(images=images, labels=np.array([0, 1]))),
        sample_hash(Split(images=images, labels=np.array([1, 0]))),
        sample_hash(Split(images=images[::-1], labels=np.array([0, 1]))),
        sample_hash(Split(images=images.reshape(2, 1, 1, 4), labels=np.array([0, 1]))),
    }
    assert len(hashes) == 4


@pytest.mark.parametrize("count", [-1, 8])
def test_a_count_beyond_the_samples_is_a_mistake_of_ours(count: int) -> None:
    with pytest.raises(AssertionError):
        balanced(numbered(4, 3), count, "seed")
