"""What the steps of an epoch read, where it is not all on the device: one batch at a time.

Which images a batch has, and everything random about it, is drawn as for data in memory. So a
training whose images stay in a file is the same training, bit for bit.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.data.dataset import Dataset
from trainers.data.loader import gathered
from trainers.data.mapped import Mapped
from trainers.step.batches import Draw, Source, border_of, padded


def is_fed(data: Dataset) -> bool:
    """Return whether batches come to the device one at a time, as the images stay in a file."""
    return isinstance(data.train.images, Mapped)


def room_for(data: Dataset, batch_size: int, device: torch.device) -> Source:
    """Return room on the device for one batch, as large as it is where all images are there."""
    channels, height, width = data.image_shape
    border = 2 * border_of(data)
    shape = (batch_size, channels, height + border, width + border)
    return Source(
        torch.zeros(shape, dtype=torch.uint8, device=device),
        torch.zeros(batch_size, dtype=torch.int64, device=device),
    )


@contextmanager
def fed(
    data: Dataset, source: Source, order: Tensor, batch_size: int, draws: Iterator[Draw]
) -> Iterator[Iterator[Draw]]:
    """Yield the draws of an epoch, each when its images stand in the program's `source`.

    order: of the training images, as the draws have it. Processes that gather batches ahead end
    with the block.
    """
    images = data.train.images
    if not isinstance(images, Mapped):
        yield draws
        return
    batches = np.split(order.cpu().numpy(), range(batch_size, len(order), batch_size))
    with gathered(images, batches, torch.get_num_threads()) as stored:
        yield _filled(data, source, zip(draws, batches, stored, strict=True))


def _filled(
    data: Dataset,
    room: Source,
    batches: Iterator[tuple[Draw, NDArray[np.int64], NDArray[np.uint8]]],
) -> Iterator[Draw]:
    """Copy each batch into its room, and yield its draw with the places there."""
    device, border = room.images.device, border_of(data)
    places = torch.arange(len(room.labels), device=device)
    for draw, positions, stored in batches:
        images = torch.from_numpy(stored)
        labels = torch.from_numpy(data.train.labels[positions])
        if device.type == "cuda":  # the host goes on while a pinned copy is under way
            images = images.pin_memory().to(device, non_blocking=True)
            labels = labels.pin_memory().to(device, non_blocking=True)
        room.images[: len(images)].copy_(padded(images, border) if border else images)
        room.labels[: len(labels)].copy_(labels)
        yield draw._replace(samples=places[: len(positions)])
