"""Tests of the residual networks: a block against its twin, and where the image is halved."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainers.config import ModelConfig
from trainers.data.dataset import Dataset
from trainers.networks.build import build_model
from trainers.networks.layers import NORM_LAYERS, GroupNorm
from trainers.networks.residual import PreActBlock

MakeImages = Callable[..., Dataset]


def build(data: Dataset, **sizes: object) -> nn.Module:
    config = ModelConfig(**sizes)  # type: ignore[arg-type]
    return build_model(config, data, torch.Generator().manual_seed(0))


def normalised(x: Tensor, norm: nn.Module) -> Tensor:
    """Batch or group normalisation in training mode, written out."""
    grouped, over = x, (0, 2, 3)
    if isinstance(norm, GroupNorm):
        grouped, over = x.unflatten(1, (norm.num_groups, -1)), (2, 3, 4)  # type: ignore[assignment]
    mean = grouped.mean(over, keepdim=True)
    variance = ((grouped - mean) ** 2).mean(over, keepdim=True)
    scale, shift = norm.weight.view(1, -1, 1, 1), norm.bias.view(1, -1, 1, 1)  # type: ignore[operator]
    return ((grouped - mean) / (variance + 1e-5).sqrt()).view(x.shape) * scale + shift


BLOCKS = {
    "identity": (16, 16, 1),
    "more channels": (16, 32, 1),
    "halved": (16, 16, 2),
    "both": (16, 32, 2),
}


@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize(("before", "after", "stride"), BLOCKS.values(), ids=BLOCKS)
def test_preact_block_equals_an_obvious_twin(
    before: int, after: int, stride: int, norm: str
) -> None:
    """A projection sees the activated input, the identity the input itself."""
    generator = torch.Generator().manual_seed(0)
    block = PreActBlock(before, after, stride, NORM_LAYERS[norm])
    with torch.no_grad():
        for weight in block.parameters():
            weight.normal_(generator=generator)
    x = torch.randn(6, before, 8, 8, generator=generator)
    activated = normalised(x, block.norm1).clamp(min=0)
    shortcut = x
    if (before, stride) != (after, 1):
        assert block.shortcut is not None
        assert block.shortcut.weight.shape == (after, before, 1, 1)
        at_stride = activated[:, :, ::stride, ::stride]
        shortcut = torch.einsum("oi,bihw->bohw", block.shortcut.weight[:, :, 0, 0], at_stride)
    inner = F.conv2d(activated, block.conv1.weight, stride=stride, padding=1)
    inner = normalised(inner, block.norm2).clamp(min=0)
    expected = shortcut + F.conv2d(inner, block.conv2.weight, padding=1)
    assert expected.shape == (6, after, 8 // stride, 8 // stride)
    torch.testing.assert_close(block(x), expected, rtol=1e-4, atol=1e-3)
    with torch.no_grad():
        block.conv2.weight.zero_()
    torch.testing.assert_close(block(x), shortcut, rtol=1e-4, atol=1e-3)


def block_shapes(model: nn.Module, images: Tensor) -> list[tuple[int, ...]]:
    shapes, x = [], images
    for module in model:  # type: ignore[attr-defined]
        x = module(x)
        if isinstance(module, PreActBlock):
            shapes.append(tuple(x.shape[1:]))
    return shapes


def test_preact_resnet18_halves_the_image_in_all_stages_but_the_first(
    make_images: MakeImages,
) -> None:
    model = build(make_images((3, 32, 32)), name="preact_resnet18", width=4)
    stages = [(4, 32, 32), (8, 16, 16), (16, 8, 8), (32, 4, 4)]
    expected = [shape for shape in stages for _ in range(2)]
    assert block_shapes(model, torch.rand(2, 3, 32, 32)) == expected


def test_wide_resnet_has_three_stages_of_a_sixth_of_its_depth(make_images: MakeImages) -> None:
    """Its widening factor multiplies 16, 32 and 64 channels, but not the stem's 16."""
    model = build(make_images((3, 32, 32)), name="wide_resnet", width=2, depth=22)
    stages = [(32, 32, 32), (64, 16, 16), (128, 8, 8)]
    expected = [shape for shape in stages for _ in range(3)]
    assert block_shapes(model, torch.rand(2, 3, 32, 32)) == expected
    assert model[1].out_channels == 16  # type: ignore[index]
    assert sum(isinstance(module, nn.Conv2d) for module in model.modules()) == 22
