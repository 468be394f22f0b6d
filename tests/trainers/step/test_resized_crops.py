"""Tests that random resized crops are those of torchvision: their shapes, places and pixels."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from trainers.data.dataset import Dataset
from trainers.step.batches import Draw, Source, draw_boxes, on_device, take_resized

CPU, NONE = torch.device("cpu"), torch.empty(0)
SHAPES = [(3, 12, 20), (1, 32, 32), (3, 40, 9)]


@pytest.mark.parametrize("shape", SHAPES)
def test_resized_crops_equal_those_of_interpolate(shape: tuple[int, int, int]) -> None:
    random = torch.Generator().manual_seed(0)
    images = torch.randint(256, (7, *shape), dtype=torch.uint8, generator=random)
    corner, size = draw_boxes(30, shape, random)
    samples = torch.randint(7, (30,), generator=random)
    is_flipped = torch.arange(30) % 2 == 1
    draw = Draw(samples, corner, is_flipped, torch.empty(0), size)
    found, labels = take_resized(Source(images, torch.arange(7)), draw)
    assert torch.equal(labels, samples)
    for row in range(30):
        (top, left), (height, width) = corner[row].tolist(), size[row].tolist()
        part = images[samples[row], :, top : top + height, left : left + width].float()
        # Antialiased, as torchvision's, which is the same for a part that is not made smaller.
        expected = F.interpolate(part[None], shape[1:], mode="bilinear", antialias=True)[0]
        expected = expected.flip(2) if is_flipped[row] else expected
        torch.testing.assert_close(found[row], expected, rtol=0, atol=2e-3)


def test_a_whole_image_is_taken_as_stored(make_images: Callable[..., Dataset]) -> None:
    source = on_device(replace(make_images((3, 8, 8)), augmentation="random_resized_crop"), CPU)
    whole = torch.tensor([[8, 8]] * 5)
    draw = Draw(
        torch.arange(5), torch.zeros_like(whole), torch.zeros(5, dtype=torch.bool), NONE, whole
    )
    images, _ = take_resized(source, draw)
    assert torch.equal(images, source.images[:5].float())


def test_areas_and_places_are_uniform_and_lie_within_the_image() -> None:
    """Of 64 × 64 images; the share of areas that fit depends on the ratio alone."""
    corner, size = draw_boxes(20_000, (3, 64, 64), torch.Generator().manual_seed(1))
    height, width = size.double().unbind(1)
    assert ((corner >= 0) & (corner + size <= 64)).all()
    ratio, area = width / height, height * width / 64**2
    assert 0.07 < area.min() < 0.09
    assert area.max() == 1
    # Rounded to pixels, from 3/4 to 4/3 and equally often above and below 1.
    assert 0.68 < ratio.min() < 0.76
    assert 1.3 < ratio.max() < 1.47
    wide, high = (ratio > 1).double().mean().item(), (ratio < 1).double().mean().item()
    assert wide == pytest.approx(high, abs=0.02)
    # Below three quarters of the image every ratio fits, so areas there are uniform.
    small, large = (area < 0.41).sum(), ((area >= 0.41) & (area < 0.74)).sum()
    assert small.item() == pytest.approx(large.item(), rel=0.05)
    places = corner[:, 0].double() / (64 - height).clamp(min=1)
    assert places[height < 40].mean().item() == pytest.approx(0.5, abs=0.02)


def test_where_no_shape_fits_the_largest_allowed_rectangle_in_the_middle_is_taken() -> None:
    corner, size = draw_boxes(50, (3, 100, 4), torch.Generator().manual_seed(0))
    is_central = (size == torch.tensor([5, 4])).all(1)
    assert is_central.all()
    assert (corner == torch.tensor([47, 0])).all()


def same(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_boxes_are_decided_by_their_stream() -> None:
    first, again, other = (
        draw_boxes(9, (3, 32, 32), torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert same(first, again)
    assert not same(first, other)
