"""Training images on the device, and how a batch is gathered from them by index.

The order of an epoch, crops and flips are drawn beforehand as tensors; gathering is pure.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainers.data.dataset import Dataset

NO_SIZE = torch.empty(0, dtype=torch.int64)
LEAST_AREA = 0.08
MOST_ASPECT = 4 / 3
"""Of the crops that are resized: their smallest share of the area, and the largest ratio of their
sides. Szegedy et al. (2015), "Going deeper with convolutions", section 6."""
TRIES = 10
"""Shapes drawn for each crop; the first that fits is used, and the whole image if none does."""


class Source(NamedTuple):
    """A training part on the device, or room for one batch of it."""

    images: Tensor
    """(N, C, H, W) uint8; with crops larger by `padding` at each border."""
    labels: Tensor
    """(N,) int64."""


NOTHING = torch.empty(0)


class Draw(NamedTuple):
    """Everything random about one batch."""

    samples: Tensor
    """(B,) int64: their positions in the source, where extra images follow the training part."""
    corner: Tensor
    """(B, 2) int64: upper left corner of each crop; empty without augmentation."""
    is_flipped: Tensor
    """(B,) bool, all false where nothing is mirrored; empty without augmentation."""
    noise: Tensor
    """Unit noise of the input side; empty without one."""
    size: Tensor = NO_SIZE
    """(B, 2) int64: height and width of each crop that is resized; empty without these."""
    choice: Tensor = NOTHING
    """Uniform numbers in [0, 1), one for each tensor of weights; empty unless ESAM acts."""


def padding(image_shape: tuple[int, int, int]) -> int:
    """Return the pixels by which images are reflected at each border before they are cropped.

    An eighth of the height: 4 of a 32 × 32 image. image_shape: (C, H, W).
    """
    return image_shape[1] // 8


def border_of(data: Dataset) -> int:
    """Return the pixels by which stored images are padded at each border."""
    return padding(data.image_shape) if data.augmentation in ("crop", "crop_flip") else 0


def on_device(data: Dataset, device: torch.device) -> Source:
    """Copy the training part and extra images to the device, padded where they will be cropped."""
    images = torch.tensor(np.asarray(data.train.images), device=device)
    labels = torch.tensor(data.train.labels, device=device)
    if data.extra_share:
        images = torch.cat([images, torch.tensor(data.extra.images, device=device)])
        labels = torch.cat([labels, torch.tensor(data.extra.labels, device=device)])
    if border := border_of(data):
        images = padded(images, border)
    return Source(images, labels)


def with_extra(order: Tensor, data: Dataset, batch_size: int, random: torch.Generator) -> Tensor:
    """Replace a share of each batch by extra images, drawn with replacement.

    order: of the training images, (N,). Those that are replaced are not trained on in this epoch.
    Returns positions in the source, (N,): an epoch is as long as without extra images.
    """
    shape, highest = (len(order),), len(data.extra.labels)
    drawn = torch.randint(highest, shape, generator=random, device=order.device)
    positions = order.clone()
    for end in [*range(batch_size, len(order), batch_size), len(order)]:
        size = (end - 1) % batch_size + 1
        replaced = slice(end - round(data.extra_share * size), end)
        positions[replaced] = drawn[replaced] + len(order)
    return positions


def draw_boxes(
    count: int, image_shape: tuple[int, int, int], random: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw the rectangles of `count` random resized crops; returns corners and sizes, (n, 2) each.

    As torchvision's RandomResizedCrop draws them: the area uniformly, the ratio of the sides
    uniformly in its logarithm, up to ten times; if none fits, the largest central rectangle whose
    ratio is allowed.
    """
    _, height, width = image_shape
    device = random.device

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=random, device=device, dtype=torch.float64)

    area = height * width * (LEAST_AREA + (1 - LEAST_AREA) * uniform(count, TRIES))
    aspect = MOST_ASPECT ** (2 * uniform(count, TRIES) - 1)
    heights = (area / aspect).sqrt().round().clamp(min=1)
    widths = (area * aspect).sqrt().round().clamp(min=1)
    fits = (heights <= height) & (widths <= width)
    first = fits.to(torch.int64).argmax(1, keepdim=True)
    any_fits = fits.any(1)
    central = (
        min(height, max(1, round(width * MOST_ASPECT))),
        min(width, max(1, round(height * MOST_ASPECT))),
    )
    size = torch.cat([heights.gather(1, first), widths.gather(1, first)], 1)
    size = torch.where(any_fits[:, None], size, size.new_tensor(central))
    free = size.new_tensor([height, width]) - size
    corner = torch.where(any_fits[:, None], (uniform(count, 2) * (free + 1)).floor(), free // 2)
    return corner.to(torch.int64), size.to(torch.int64)


def padded(images: Tensor, width: int) -> Tensor:
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


def take_resized(source: Source, draw: Draw) -> tuple[Tensor, Tensor]:
    """Gather a batch, a rectangle of each image scaled to the image's size and perhaps mirrored.

    Bilinear between the centres of the rectangle's pixels, which are as many as the image's or
    fewer, so that there is nothing to smooth first. Returns float32 images in stored units.
    """
    channels, height, width = source.images.shape[1:]
    device = source.images.device
    rows, row_shares = _between(draw.corner[:, 0], draw.size[:, 0], height)
    columns, column_shares = _between(draw.corner[:, 1], draw.size[:, 1], width)
    mirrored = draw.is_flipped[:, None]
    column_shares = torch.where(mirrored, column_shares.flip(1), column_shares)[:, None, None, :]
    columns = torch.where(mirrored, columns.flip(2), columns)
    samples = draw.samples[:, None, None, None]
    channel = torch.arange(channels, device=device)[:, None, None]

    def at(row: Tensor, column: Tensor) -> Tensor:
        index = (samples, channel, row[:, None, :, None], column[:, None, None, :])
        return source.images[index].to(torch.float32)

    above, below = (
        torch.lerp(at(row, columns[0]), at(row, columns[1]), column_shares) for row in rows
    )
    images = torch.lerp(above, below, row_shares[:, None, :, None])
    return images, source.labels[draw.samples]


def _between(start: Tensor, length: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Place `count` points evenly on `length` pixels from `start` on, each between two of them.

    Returns the two neighbours, (2, B, count), and the share of the second, (B, count).
    """
    steps = torch.arange(count, device=start.device, dtype=torch.float32) + 0.5
    places = (steps * (length[:, None] / count) - 0.5).clamp(min=0)
    lower = torch.minimum(places.floor(), length[:, None] - 1.0)
    upper = torch.minimum(lower + 1, length[:, None] - 1.0)
    neighbours = torch.stack([lower, upper]).to(torch.int64) + start[:, None]
    return neighbours, places - lower
