"""Tests of the networks: counts, shapes, normalisation inside, and views that share weights."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainers.config import DEFAULT_WIDTHS, ModelConfig
from trainers.data import Dataset
from trainers.models import MODELS, Normalise, PreActBlock, build_model, evaluation_view

MakeImages = Callable[..., Dataset]


def build(name: str, width: int, data: Dataset, seed: int = 0) -> nn.Module:
    config = ModelConfig(name=name, width=width)
    return build_model(config, data, torch.Generator().manual_seed(seed))


def num_weights(model: nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters())


def small_cnn_weights(width: int, channels: int, classes: int) -> int:
    wide = 2 * width
    convolutions = 9 * (channels * width + width * wide + wide * wide)
    return convolutions + 2 * (width + wide + wide) + (wide + 1) * classes


def preact_resnet18_weights(width: int, channels: int, classes: int) -> int:
    total, before = 9 * channels * width, width
    for stage in range(4):
        after = width * 2**stage
        total += 2 * before + 9 * before * after + 2 * after + 9 * after * after
        total += before * after if stage else 0  # the shortcut of a block that changes size
        total += 2 * (2 * after + 9 * after * after)
        before = after
    return total + 2 * before + (before + 1) * classes


@pytest.mark.parametrize("width", [4, 8, 64])
def test_numbers_of_weights_equal_their_closed_forms(width: int, make_images: MakeImages) -> None:
    for shape, classes in (((1, 8, 8), 10), ((3, 32, 32), 100)):
        data = make_images(shape, classes)
        arguments = (width, shape[0], classes)
        assert num_weights(build("small_cnn", width, data)) == small_cnn_weights(*arguments)
        found = num_weights(build("preact_resnet18", width, data))
        assert found == preact_resnet18_weights(*arguments)


def test_preact_resnet18_has_the_published_number_of_weights(make_images: MakeImages) -> None:
    data = make_images((3, 32, 32))
    model = build("preact_resnet18", DEFAULT_WIDTHS["preact_resnet18"], data)
    assert num_weights(model) == 11_172_170


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (1, 28, 28), (3, 17, 9)], ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_any_image_gives_finite_logits(
    name: str, shape: tuple[int, int, int], make_images: MakeImages
) -> None:
    data = make_images(shape, classes=7)
    logits = build(name, 4, data)(torch.rand(2, *shape))
    assert logits.shape == (2, 7)
    assert logits.isfinite().all()


def normalised(x: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    """Batch normalisation in training mode, written out."""
    mean = x.mean((0, 2, 3), keepdim=True)
    variance = ((x - mean) ** 2).mean((0, 2, 3), keepdim=True)
    scale, shift = norm.weight.view(1, -1, 1, 1), norm.bias.view(1, -1, 1, 1)
    return (x - mean) / (variance + 1e-5).sqrt() * scale + shift


BLOCKS = {"identity": (4, 4, 1), "more channels": (4, 8, 1), "halved": (4, 4, 2), "both": (4, 8, 2)}


@pytest.mark.parametrize(("before", "after", "stride"), BLOCKS.values(), ids=BLOCKS)
def test_preact_block_equals_an_obvious_twin(before: int, after: int, stride: int) -> None:
    """A projection sees the activated input, the identity the input itself."""
    generator = torch.Generator().manual_seed(0)
    block = PreActBlock(before, after, stride).double()
    with torch.no_grad():
        for weight in block.parameters():
            weight.normal_(generator=generator)
    x = torch.randn(6, before, 8, 8, generator=generator).double()
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
    torch.testing.assert_close(block(x), expected)
    with torch.no_grad():
        block.conv2.weight.zero_()
    torch.testing.assert_close(block(x), shortcut)


def test_small_cnn_halves_the_image_once_and_then_averages(digits: Dataset) -> None:
    shapes = []
    x = torch.rand(2, *digits.image_shape)
    for module in build("small_cnn", 4, digits):  # type: ignore[attr-defined]
        x = module(x)
        if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AdaptiveAvgPool2d):
            shapes.append(tuple(x.shape[1:]))
    assert shapes == [(4, 8, 8), (8, 8, 8), (8, 4, 4), (8, 4, 4), (8, 1, 1)]


def test_preact_resnet18_halves_the_image_in_all_stages_but_the_first(
    make_images: MakeImages,
) -> None:
    shapes = []
    x = torch.rand(2, 3, 32, 32)
    for module in build("preact_resnet18", 4, make_images((3, 32, 32))):  # type: ignore[attr-defined]
        x = module(x)
        if isinstance(module, PreActBlock):
            shapes.append(tuple(x.shape[1:]))
    stages = [(4, 32, 32), (8, 16, 16), (16, 8, 8), (32, 4, 4)]
    assert shapes == [shape for shape in stages for _ in range(2)]


def test_normalisation_belongs_to_the_model(digits: Dataset) -> None:
    """Training images leave the first layer with mean 0 and standard deviation 1."""
    model = build("small_cnn", 4, digits)
    assert isinstance(model[0], Normalise)  # type: ignore[index]
    normalised = model[0](torch.tensor(digits.train.images) / 16)  # type: ignore[index]
    assert normalised.mean().item() == pytest.approx(0, abs=1e-5)
    assert normalised.std(correction=0).item() == pytest.approx(1, abs=1e-5)
    assert {"0.mean", "0.std"} <= model.state_dict().keys()


def test_initial_weights_are_uniform_and_decided_by_the_generator(digits: Dataset) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    model, same, other = (build("small_cnn", 32, digits, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    for a, b in zip(model.parameters(), same.parameters(), strict=True):
        assert torch.equal(a, b)
    weight, third = model[4].weight, other[4].weight  # type: ignore[index]
    assert not torch.equal(weight, third)
    bound = 1 / math.sqrt(32 * 9)
    assert weight.abs().max() <= bound
    assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)


def test_view_shares_weights_and_leaves_the_model_alone(digits: Dataset) -> None:
    model = build("small_cnn", 4, digits).train()
    view = evaluation_view(model)
    assert model.training
    assert not any(module.training for module in view.modules())
    assert all(weight.requires_grad for weight in model.parameters())
    assert [weight.requires_grad for weight in view.parameters()] == [False] * 11
    images = torch.rand(8, *digits.image_shape)
    model(images)  # records batch statistics, which the view must see
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1)
    for ours, theirs in zip(model.state_dict().values(), view.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
        assert ours.data_ptr() == theirs.data_ptr()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    view(images)
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())
