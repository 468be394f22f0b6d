"""Tests of what is seldom meant in a data set."""

from dataclasses import replace

import numpy as np
import pytest

from trainers.data.dataset import Dataset
from trainers.data.doubts import doubts
from trainers.data.subset import Split

RANDOM = np.random.default_rng(0)
CLASSES = ("ant", "bee", "cat", "dog", "elk", "fox", "gnu")


def part(count: int, *, num_classes: int = 3, side: int = 6) -> Split:
    """Make random images, every class among them."""
    images = RANDOM.integers(0, 256, (count, 3, side, side), dtype=np.uint8)
    return Split(images=images, labels=np.arange(count) % num_classes)


def own(*, num_classes: int = 3, **parts: Split) -> Dataset:
    """Make a data set without a doubt; `parts` replaces some of it."""
    found = {
        "train": part(21, num_classes=num_classes),
        "validation": part(8, num_classes=num_classes),
        "test": part(9, num_classes=num_classes),
    } | parts
    pixels = found["train"].images / 255
    return Dataset(
        name="own",
        fingerprint="",
        classes=CLASSES[:num_classes],
        divisor=255,
        mean=tuple(pixels.mean(axis=(0, 2, 3))),
        std=tuple(deviation or 1.0 for deviation in pixels.std(axis=(0, 2, 3))),
        augmentation="none",
        **found,
    )


def test_nothing_is_doubted_in_the_digits_or_in_random_images(digits: Dataset) -> None:
    assert doubts(digits) == ()
    assert doubts(own()) == ()


def test_test_images_that_are_trained_or_chosen_on_are_counted_and_the_first_is_named() -> None:
    data = own()
    test = data.test.images.copy()
    test[4], test[7] = data.train.images[20], data.validation.images[0]
    # One pixel apart is another image; a test image twice is no image of training.
    test[2] = data.train.images[3]
    test[2, 0, 0, 0] ^= 1
    test[1] = test[0]
    (doubt,) = doubts(replace(data, test=Split(images=test, labels=data.test.labels)))
    assert doubt.startswith("2 of the 9 test images are also training or validation images")
    assert "the first is test image 4, counted from 0" in doubt


def test_images_whose_rows_do_not_lie_together_are_compared_too() -> None:
    data = own()
    turned = np.asfortranarray(data.train.images[:9])
    assert not turned.flags.c_contiguous
    (doubt,) = doubts(replace(data, test=Split(images=turned, labels=data.test.labels)))
    assert doubt.startswith("9 of the 9 test images")


@pytest.mark.parametrize("name", ["test", "validation"])
def test_classes_of_training_that_another_part_lacks_are_named(name: str) -> None:
    (doubt,) = doubts(own(**{name: part(8, num_classes=2)}))
    assert doubt.startswith(f"1 of 3 classes are in the training part and not in the {name} part")
    assert "(cat)" in doubt


def test_of_many_absent_classes_some_are_named() -> None:
    (doubt,) = doubts(own(num_classes=7, test=part(9, num_classes=1)))
    assert doubt.startswith("6 of 7 classes are in the training part and not in the test part")
    assert "(bee, cat, dog, elk, fox, …)" in doubt


def test_a_validation_part_of_one_image_is_one_doubt() -> None:
    (doubt,) = doubts(own(validation=part(1)))
    assert doubt.startswith("the validation part is one image")


@pytest.mark.parametrize("name", ["train", "test"])
def test_images_in_another_range_are_doubted(name: str) -> None:
    data = own()
    whole: Split = getattr(data, name)
    for largest, expected in ((63, 1), (64, 0)):
        images = np.minimum(whole.images, largest)
        found = doubts(replace(data, **{name: Split(images=images, labels=whole.labels)}))
        assert len(found) == expected, found
        assert all(f"is above {largest} of 255" in doubt for doubt in found)


def with_channel(deviation: int) -> Dataset:
    """Replace channel 1 of the training images by two values, in equal shares."""
    data = own(train=part(20, num_classes=2), validation=part(8, num_classes=2))
    images = data.train.images.copy()
    images[:, 1] = 100
    images[::2, 1] += np.uint8(2 * deviation)
    split = Split(images=images, labels=data.train.labels)
    return own(train=split, validation=data.validation, test=part(9, num_classes=2), num_classes=2)


def test_a_channel_that_hardly_varies_is_doubted() -> None:
    assert doubts(with_channel(6)) == ()
    (doubt,) = doubts(with_channel(5))
    assert doubt.startswith("channel 1 of the training images is nearly constant")
    assert "a standard deviation of 0.02 of the pixel range" in doubt
    assert "its noise by 51;" in doubt
    (doubt,) = doubts(with_channel(0))
    assert doubt.startswith("channel 1 of the training images is 100 everywhere")
