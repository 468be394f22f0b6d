"""Tests of the group normalisation; the borders of a body have theirs in test_precision."""

import pytest
import torch
from torch.nn import functional as F

from trainers.networks.layers import GroupNorm, group_norm, num_groups

PAPERS = {256: 32, 512: 32, 1024: 32}
WIDE = {16: 2, 64: 8, 160: 20, 320: 32, 640: 32}
NARROW = {1: 1, 4: 1, 8: 1, 15: 1, 17: 1, 24: 3, 26: 2}


@pytest.mark.parametrize(("channels", "expected"), (PAPERS | WIDE | NARROW).items())
def test_groups_follow_the_rule(channels: int, expected: int) -> None:
    assert num_groups(channels) == expected


def test_groups_divide_the_channels_and_have_eight_or_all() -> None:
    for channels in range(1, 700):
        groups = num_groups(channels)
        assert channels % groups == 0
        assert groups == 1 or (groups <= 32 and channels // groups >= 8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_group_norm_equals_its_formula_in_float32(dtype: torch.dtype) -> None:
    """In bfloat16 the result alone is rounded."""
    generator = torch.Generator().manual_seed(0)
    layer = group_norm(48)
    assert isinstance(layer, GroupNorm)
    with torch.no_grad():
        layer.weight.normal_(generator=generator)
        layer.bias.normal_(generator=generator)
    x = torch.randn(3, 48, 5, 4, generator=generator).to(dtype)
    groups = x.double().view(3, 6, 8 * 5 * 4)
    centred = groups - groups.mean(2, keepdim=True)
    variance = centred.square().mean(2, keepdim=True)
    normalised = (centred / (variance + 1e-5).sqrt()).view(x.shape)
    scale, shift = (w.detach().double().view(1, -1, 1, 1) for w in (layer.weight, layer.bias))
    expected = (normalised * scale + shift).to(torch.float32)
    found = layer(x)
    assert found.dtype == dtype
    if dtype == torch.float32:
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    else:
        rounded = (found.float() - expected).abs() <= expected.abs() * 2**-8 + 1e-5
        assert rounded.all()
        assert torch.equal(found, F.group_norm(x.float(), 6, layer.weight, layer.bias).to(dtype))


def test_a_group_of_one_pixel_keeps_what_an_image_says() -> None:
    """A group of one value would be 0 for all images, one of two values ±1."""
    x = torch.rand(5, 32, 1, 1, generator=torch.Generator().manual_seed(0))
    found = group_norm(32)(x).detach()
    assert len(found.flatten().round(decimals=3).unique()) > 100
