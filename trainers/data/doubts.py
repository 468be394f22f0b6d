"""Doubts: what a data set has that is seldom meant, though it can be trained on.

What cannot be meant is refused where it is read. Each text names what was found, in numbers, and
the way out. `study check` prints them as warnings, and a report among its limits.
"""

import hashlib
from collections.abc import Iterator

import numpy as np

from trainers.data.dataset import Dataset
from trainers.data.mapped import Images, chunks

DARK_SHARE = 0.25
"""Of the divisor: where no pixel is above it, the images were probably stored in another range."""
FLAT_DEVIATION = 0.02
"""Of a channel, in units of the pixel range: about 5 of 255. Photographs and digits have 0.2 to
0.4; what lies below is mostly noise of a sensor or of compression."""
MOST_NAMED = 5
"""Classes that one text names."""


def doubts(dataset: Dataset) -> tuple[str, ...]:
    """Return what is seldom meant in a data set; empty for the digits and for CIFAR-10.

    Images are compared pixel by pixel: near-duplicates, of which CIFAR-10 has some, are not found.
    """
    return (
        *_dark_parts(dataset),
        *_seen_images(dataset),
        *_seen_extra(dataset),
        *_absent_classes(dataset),
        *_lone_validation(dataset),
        *_flat_channels(dataset),
    )


def _dark_parts(dataset: Dataset) -> Iterator[str]:
    """Compare the largest pixels with the range that radii are in units of."""
    for name, images in (("training", dataset.train.images), ("test", dataset.test.images)):
        largest = max(int(some.max()) for some in chunks(images))
        if largest < DARK_SHARE * dataset.divisor:
            yield (
                f"no pixel of the {name} images is above {largest} of {dataset.divisor}, so every "
                "radius, in units of the whole range, is larger than it looks; multiply the pixels "
                f"so that they reach {dataset.divisor}"
            )


def _seen_images(dataset: Dataset) -> Iterator[str]:
    """Count the test images that a network is trained or chosen on."""
    known = {*_hashes(dataset.train.images), *_hashes(dataset.validation.images)}
    seen = [at for at, found in enumerate(_hashes(dataset.test.images)) if found in known]
    if seen:
        yield (
            f"{len(seen)} of the {len(dataset.test.labels)} test images are also training or "
            f"validation images, pixel by pixel; the first is test image {seen[0]}, counted from 0 "
            "in the order of evaluation; accuracies on them are not those on new images; delete "
            "them from one part"
        )


def _seen_extra(dataset: Dataset) -> Iterator[str]:
    """Count the extra images that are validated or tested on."""
    for name, part in (("validation", dataset.validation), ("test", dataset.test)):
        if not len(dataset.extra.labels):
            return
        known = set(_hashes(part.images))
        seen = [at for at, found in enumerate(_hashes(dataset.extra.images)) if found in known]
        if seen:
            yield (
                f"{len(seen)} of the {len(dataset.extra.labels)} extra images are also {name} "
                f"images, pixel by pixel; the first is extra image {seen[0]}, counted from 0; "
                "accuracies on them are not those on new images; delete them from the extra file"
            )


def _hashes(images: Images) -> Iterator[bytes]:
    for some in chunks(images):
        for image in np.ascontiguousarray(some):
            yield hashlib.blake2b(image.data, digest_size=16).digest()


def _absent_classes(dataset: Dataset) -> Iterator[str]:
    """Find classes that are trained on and never tested or validated."""
    trained = np.unique(dataset.train.labels)
    for name, part in (("test", dataset.test), ("validation", dataset.validation)):
        absent = np.setdiff1d(trained, part.labels)
        # One validation image is a doubt of its own, which says more.
        if len(absent) and (name == "test" or len(part.labels) > 1):
            shown = ", ".join(dataset.classes[label] for label in absent[:MOST_NAMED])
            dots = ", …" if len(absent) > MOST_NAMED else ""
            yield (
                f"{len(absent)} of {len(dataset.classes)} classes are in the training part and not "
                f"in the {name} part ({shown}{dots}), so no accuracy there is of them; add images "
                "of them, or delete them from the training part"
            )


def _lone_validation(dataset: Dataset) -> Iterator[str]:
    if len(dataset.validation.labels) == 1:
        yield (
            "the validation part is one image, so that epochs and configurations are chosen by "
            "right or wrong on it alone; add training images, of which a fifth are for validation"
        )


def _flat_channels(dataset: Dataset) -> Iterator[str]:
    """Find channels that a network's normalisation magnifies, or that hold nothing."""
    ends = [(some.min((0, 2, 3)), some.max((0, 2, 3))) for some in chunks(dataset.train.images)]
    lowest = np.min([low for low, _ in ends], axis=0)
    highest = np.max([high for _, high in ends], axis=0)
    for channel in range(dataset.image_shape[0]):
        place = f"channel {channel} of the training images"
        if lowest[channel] == highest[channel]:
            yield (
                f"{place} is {highest[channel]} everywhere, so nothing is learned from it, but "
                "attacks may change it; use grey images or a channel that varies"
            )
        elif (deviation := dataset.std[channel]) < FLAT_DEVIATION:
            yield (
                f"{place} is nearly constant, with a standard deviation of {deviation:.2g} of the "
                f"pixel range; normalisation multiplies it and its noise by {1 / deviation:.0f}; "
                "use grey images or a channel that varies"
            )
