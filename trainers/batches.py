"""Training images on the device, and how a batch is gathered from them by index.

The order of an epoch, crops and flips are drawn beforehand as tensors; gathering is pure.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from trainers.data import Dataset

PADDING = 4
"""Pixels by which a 32 × 32 image is reflected at each border before a crop of its own size."""


class Source(NamedTuple):
    """A training part on the device."""

    images: Tensor
    """(N, C, H, W) uint8; with augmentation (N, C, H + 8, W + 8)."""
    labels: Tensor
    """(N,) int64."""


class Draw(NamedTuple):
    """Everything random about one batch."""

    samples: Tensor
    """(B,) int64: their numbers."""
    corner: Tensor
    """(B, 2) int64: upper left corner of each crop; empty without augmentation."""
    is_flipped: Tensor
    """(B,) bool; empty without augmentation."""
    noise: Tensor
    """Unit noise of the input side; empty without one."""


def on_device(data: Dataset, device: torch.device) -> Source:
    """Copy the training part to the device, padded if it is going to be cropped."""
    images = torch.tensor(data.train.images, device=device)
    if data.augment:
        images = _padded(images)
    return Source(images, torch.tensor(data.train.labels, device=device))


def _padded(images: Tensor) -> Tensor:
    """Reflect each image at its borders. By slices, as torch pads no uint8 by reflection."""
    for dim in (2, 3):
        size = images.shape[dim]
        before = images.narrow(dim, 1, PADDING).flip(dim)
        after = images.narrow(dim, size - 1 - PADDING, PADDING).flip(dim)
        images = torch.cat([before, images, after], dim)
    return images


def take(source: Source, draw: Draw) -> tuple[Tensor, Tensor]:
    """Gather a batch as stored; returns images (B, C, H, W) uint8 and labels (B,)."""
    return source.images[draw.samples], source.labels[draw.samples]


def take_cropped(source: Source, draw: Draw) -> tuple[Tensor, Tensor]:
    """Gather a batch, each image cropped at its corner and perhaps mirrored, by one index."""
    channels, height, width = source.images.shape[1:]
    device = source.images.device
    rows = torch.arange(height - 2 * PADDING, device=device) + draw.corner[:, :1]
    columns = torch.arange(width - 2 * PADDING, device=device)
    mirrored = torch.where(draw.is_flipped[:, None], columns.flip(0), columns)
    columns = mirrored + draw.corner[:, 1:]
    images = source.images[
        draw.samples[:, None, None, None],
        torch.arange(channels, device=device)[:, None, None],
        rows[:, None, :, None],
        columns[:, None, None, :],
    ]
    return images, source.labels[draw.samples]
