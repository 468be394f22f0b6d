"""What the steps of an epoch read: the training part on the device, or one batch of it at a time.

One batch at a time are images that stay in a file, and images that a transform of the user changes.
Which images a batch has, and everything random about it, is drawn as for data in memory. So a
training whose images stay in a file is the same training, bit for bit.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.config import TrainConfig
from trainers.config.own import NO_SETTINGS, Own
from trainers.config.parts import loaded
from trainers.config.sources import PartError
from trainers.data.dataset import Dataset
from trainers.data.loader import gathered
from trainers.data.mapped import Mapped
from trainers.engine.engine import generator
from trainers.step.batches import (
    Draw,
    Source,
    border_of,
    padded,
    take,
    take_cropped,
    take_resized,
)

Take = Callable[[Source, Draw], tuple[Tensor, Tensor]]


class Feed(NamedTuple):
    """Where batches stand on the device, and how steps take them from there."""

    stored: Source
    """Images as stored: the whole training part, or room for one batch of it."""
    gather: Take
    """Augments on the way."""
    source: Source
    """What the steps read: `stored`, or room for one batch that was transformed."""
    take: Take
    """How the steps read it: as `gather`, or as it stands."""


def feed_for(
    config: TrainConfig, data: Dataset, device: torch.device, whole: Callable[[], Source]
) -> Feed:
    """Choose how a training is fed. whole: returns the whole training part on the device."""
    room = partial(_room, data, config.training.batch_size, device)
    is_mapped = isinstance(data.train.images, Mapped)
    stored = room(border_of(data), torch.uint8) if is_mapped else whole()
    gather = _gathering(data)
    if config.data.transform == NO_SETTINGS:
        return Feed(stored, gather, stored, gather)
    return Feed(stored, gather, room(0, torch.float32), take)


def _gathering(data: Dataset) -> Take:
    """Choose how batches are gathered and augmented."""
    if data.augmentation == "random_resized_crop":
        return take_resized
    border = border_of(data)
    return partial(take_cropped, border=border) if border else take


def _room(
    data: Dataset, batch_size: int, device: torch.device, border: int, dtype: torch.dtype
) -> Source:
    """Return room on the device for one batch."""
    channels, height, width = data.image_shape
    shape = (batch_size, channels, height + 2 * border, width + 2 * border)
    labels = torch.zeros(batch_size, dtype=torch.int64, device=device)
    return Source(torch.zeros(shape, dtype=dtype, device=device), labels)


@contextmanager
def fed(
    config: TrainConfig,
    data: Dataset,
    feed: Feed,
    epoch: int,
    order: Tensor,
    draws: Iterator[Draw],
) -> Iterator[Iterator[Draw]]:
    """Yield the draws of an epoch, each when its images stand in `feed.source`.

    order: of the training images, as the draws have it. Processes that gather batches ahead end
    with the block.
    """
    size = config.training.batch_size
    is_changed = feed.source is not feed.stored
    change = partial(_transformed, config, data, feed, epoch) if is_changed else iter
    images = data.train.images
    if not isinstance(images, Mapped):
        yield change(draws)
        return
    batches = np.split(order.cpu().numpy(), range(size, len(order), size))
    with gathered(images, batches, torch.get_num_threads()) as stored:
        yield change(_filled(data, feed.stored, draws, batches, stored))


def _filled(
    data: Dataset,
    room: Source,
    draws: Iterator[Draw],
    batches: Sequence[NDArray[np.int64]],
    stored: Iterator[NDArray[np.uint8]],
) -> Iterator[Draw]:
    """Copy each batch into its room, and yield its draw with the places there."""
    device, border = room.images.device, border_of(data)
    for draw, positions, array in zip(draws, batches, stored, strict=True):
        images = torch.from_numpy(array)
        labels = torch.from_numpy(data.train.labels[positions])
        if device.type == "cuda":  # the host goes on while a pinned copy is under way
            images = images.pin_memory().to(device, non_blocking=True)
            labels = labels.pin_memory().to(device, non_blocking=True)
        yield _placed(room, draw, padded(images, border) if border else images, labels)


def _placed(room: Source, draw: Draw, images: Tensor, labels: Tensor) -> Draw:
    """Copy a batch into room for it, and return its draw with the places there."""
    count = len(labels)
    room.images[:count].copy_(images)
    room.labels[:count].copy_(labels)
    return draw._replace(samples=torch.arange(count, device=labels.device))


def _transformed(
    config: TrainConfig, data: Dataset, feed: Feed, epoch: int, draws: Iterator[Draw]
) -> Iterator[Draw]:
    """Transform each batch, and yield its draw with the places in the room for it.

    The generator that a transform may have is decided by seed, epoch and batch.
    """
    transform = transforming(config.data.transform)
    for number, draw in enumerate(draws):
        stored, labels = feed.gather(feed.stored, draw)
        images = stored.to(torch.float32) / data.divisor
        random = generator(config.seed, "transform", epoch, number, device=images.device)
        # Checked once an epoch, as that waits for the device.
        changed = transform(images, random, is_checked=number == 0)
        yield _placed(feed.source, draw, changed * data.divisor, labels)


def transforming(own: Own) -> Callable[..., Tensor]:
    """Return a user's transform as a function of images (B, C, H, W) in [0, 1] and a generator.

    What it returns is float32, and checked unless `is_checked` is false: `PartError`.
    """
    transform = own.ready()
    is_random = "generator" in own.takes
    place = f"{loaded(own.part).place}: {own.part.attribute}"

    def run(images: Tensor, random: torch.Generator, is_checked: bool = True) -> Tensor:
        with torch.no_grad():
            given = {"generator": random} if is_random else {}
            changed: Tensor = transform(images=images, **given)
        if is_checked:
            _check_transformed(changed, images.shape, place)
        return changed.to(torch.float32)

    return run


def _check_transformed(changed: object, shape: Sequence[int], place: str) -> None:
    """Check what a transform returned for images (B, C, H, W). Raises `PartError`."""
    if not isinstance(changed, Tensor):
        raise PartError(f"{place}: must return a tensor, got {type(changed).__name__}; correct it")
    if changed.shape != torch.Size(shape):
        wanted, got = (" × ".join(map(str, size)) for size in (shape, changed.shape))
        raise PartError(f"{place}: must return images of shape {wanted}, got {got}; correct it")
    low, high = changed.min().item(), changed.max().item()
    if not (low >= 0 and high <= 1):
        raise PartError(
            f"{place}: must return images in [0, 1], as radii are in units of that range, got "
            f"{low:.3g} to {high:.3g}; clamp them"
        )
