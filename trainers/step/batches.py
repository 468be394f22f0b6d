"""Training images on the device, and how a batch is gathered from them by index.

The order of an epoch, crops and flips are drawn beforehand as tensors; gathering is pure.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from trainers.data.dataset import Dataset


class Source(NamedTuple):
    """A training part on the device."""

    images: Tensor
    """(N, C, H, W) uint8; with crops larger by `padding` at each border."""
    labels: Tensor
    """(N,) int64."""


NOTHING = torch.empty(0)


class Draw(NamedTuple):
    """Everything random about one batch."""

    samples: Tensor
    """(B,) int64: their positions in the training part."""
    corner: Tensor
    """(B, 2) int64: upper left corner of each crop; empty without augmentation."""
    is_flipped: Tensor
    """(B,) bool, all false where nothing is mirrored; empty without augmentation."""
    noise: Tensor
    """Unit noise of the input side; empty without one."""
    choice: Tensor = NOTHING
    """Uniform numbers in [0, 1), one for each tensor of weights; empty unless ESAM acts."""


def padding(image_shape: tuple[int, int, int]) -> int:
    """Return the pixels by which images are reflected at each border before they are cropped.

    An eighth of the height: 4 of a 32 × 32 image. image_shape: (C, H, W).
    """
    return image_shape[1] // 8


def on_device(data: Dataset, device: torch.device) -> Source:
    """Copy the training part to the device, padded if it is going to be cropped."""
    images = torch.tensor(data.train.images, device=device)
    if data.augmentation != "none":
        images = _padded(images, padding(data.image_shape))
    return Source(images, torch.tensor(data.train.labels, device=device))


def _padded(images: Tensor, width: int) -> Tensor:
    """Reflect each image at its borders. By slices, as torch cannot reflect uint8 images."""
    for dim in (2, 3):
        size = images.shape[dim]
        before = images.narrow(dim, 1, width).flip(dim)
        after = images.narrow(dim, size - 1 - width, width).flip(dim)
        images = torch.cat([before, images, after], dim)
    return images


def take(source: Source, draw: Draw) -> tuple[Tensor, Tensor]:
    """Gather a batch as stored; returns images (B, C, H, W) uint8 and labels (B,)."""
    return source.images[draw.samples], source.labels[draw.samples]


def take_cropped(source: Source, draw: Draw, *, border: int) -> tuple[Tensor, Tensor]:
    """Gather a batch by one index, each image cropped at its corner and perhaps mirrored.

    border: pixels by which the source is padded.
    """
    channels, height, width = source.images.shape[1:]
    device = source.images.device
    rows = torch.arange(height - 2 * border, device=device) + draw.corner[:, :1]
    columns = torch.arange(width - 2 * border, device=device)
    mirrored = torch.where(draw.is_flipped[:, None], columns.flip(0), columns)
    columns = mirrored + draw.corner[:, 1:]
    images = source.images[
        draw.samples[:, None, None, None],
        torch.arange(channels, device=device)[:, None, None],
        rows[:, None, :, None],
        columns[:, None, None, :],
    ]
    return images, source.labels[draw.samples]
