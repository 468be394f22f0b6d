"""Tests of the networks from torchvision: its weights, its logits, our stem, patches, attention."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainers.config import ModelConfig
from trainers.data.dataset import Dataset
from trainers.data.torchvision_import import torchvision_module
from trainers.networks.build import build_model
from trainers.networks.layers import GroupNorm
from trainers.networks.vit import SelfAttention, transformer

MakeImages = Callable[..., Dataset]


def build(data: Dataset, **sizes: object) -> nn.Module:
    config = ModelConfig(**sizes)  # type: ignore[arg-type]
    return build_model(config, data, torch.Generator().manual_seed(4))


def models() -> Any:
    """Return torchvision's networks, which take seconds to import: not while tests are listed."""
    return torchvision_module("models")


def torchvisions(**sizes: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        network: nn.Module = models().VisionTransformer(**sizes)
    return network


def test_torchvision_is_imported_for_its_own_networks_alone() -> None:
    """In a process of its own, as this one has it."""
    program = "import sys, trainers.train; sys.exit('torchvision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_vit_is_torchvisions_for_rgb_images(make_images: MakeImages) -> None:
    """Weight by weight under the same names, and with a last layer that is not zero its logits."""
    ours = build(make_images((3, 32, 32)), name="vit", width=128, depth=2).eval()
    sizes = {"image_size": 32, "patch_size": 4, "num_layers": 2, "num_heads": 2}
    theirs = torchvisions(**sizes, hidden_dim=128, mlp_dim=512, num_classes=10).eval()
    normalise, network = ours  # type: ignore[misc]
    assert list(network.state_dict()) == list(theirs.state_dict())
    for (name, found), expected in zip(
        network.named_parameters(), theirs.parameters(), strict=True
    ):
        assert torch.equal(found, expected), name
    assert not network.heads.head.weight.any()
    with torch.no_grad():
        theirs.heads.head.weight.normal_(generator=torch.Generator().manual_seed(0))  # type: ignore[union-attr,operator]
    network.load_state_dict(theirs.state_dict())
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    found, expected = ours(images), theirs(normalise(images))
    assert found.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_transformer_of_deit_tinys_sizes_has_its_number_of_weights() -> None:
    with torch.device("meta"):
        network = transformer(channels=3, side=224, patch=16, width=192, depth=12, classes=1000)
    assert [block.self_attention.num_heads for block in network.encoder.layers] == [3] * 12  # type: ignore[union-attr]
    patches = (3 * 16**2 + 1) * 192
    tokens = 192 + (14**2 + 1) * 192
    block = 4 * (192 + 1) * 192 + (192 + 1) * 768 + (768 + 1) * 192 + 4 * 192
    expected = patches + tokens + 12 * block + 2 * 192 + (192 + 1) * 1000
    assert sum(weight.numel() for weight in network.parameters()) == expected == 5_717_416


PATCHES = {
    (1, 8, 8): (1, 64, 8),
    (1, 28, 28): (4, 49, 28),
    (3, 32, 32): (4, 64, 32),
    (3, 64, 64): (8, 64, 64),
    (3, 17, 9): (3, 36, 18),
    (1, 3, 4): (1, 16, 4),
}


@pytest.mark.parametrize(("shape", "expected"), PATCHES.items(), ids=str)
def test_patches_are_an_eighth_of_an_image(
    shape: tuple[int, int, int], expected: tuple[int, int, int], make_images: MakeImages
) -> None:
    model = build(make_images(shape), name="vit", width=64, depth=1)
    network = model[-1]  # type: ignore[index]
    patch, tokens, side = expected
    assert network.patch_size == patch
    assert network.seq_length == tokens + 1
    assert network.image_size == side
    has_padding = len(list(model.children())) == 3
    assert has_padding == (shape[1:] != (side, side))


def test_padding_is_the_mean_and_leaves_every_pixel(make_images: MakeImages) -> None:
    data = make_images((3, 17, 9))
    normalise, pad, _ = build(data, name="vit", width=64, depth=1)  # type: ignore[misc]
    images = torch.rand(2, 3, 17, 9)
    padded = pad(normalise(images))
    assert padded.shape == (2, 3, 18, 18)
    assert torch.equal(padded[:, :, :17, 4:13], normalise(images))
    assert padded.count_nonzero() == normalise(images).count_nonzero()


@pytest.mark.parametrize(("channels", "patch"), [(1, 4), (3, 4), (5, 2)])
def test_patches_are_projected_by_truncated_normal_weights(channels: int, patch: int) -> None:
    """Of standard deviation 1/√fan-in for any number of channels, with biases of zero."""
    torch.manual_seed(0)
    sizes = {"side": 32, "patch": patch, "width": 1024, "depth": 1, "classes": 2}
    projection = transformer(channels=channels, **sizes).conv_proj
    assert projection.weight.shape == (1024, channels, patch, patch)  # type: ignore[union-attr]
    expected = (channels * patch**2) ** -0.5
    assert projection.weight.std().item() == pytest.approx(expected, rel=0.02)  # type: ignore[union-attr,operator]
    assert not projection.bias.any()  # type: ignore[union-attr,operator]


@pytest.mark.parametrize("heads", [1, 3, 4])
def test_attention_equals_torchs_with_its_gradients(heads: int) -> None:
    generator = torch.Generator().manual_seed(0)
    theirs = nn.MultiheadAttention(12 * heads, heads, batch_first=True).train()
    with torch.no_grad():
        for weight in theirs.parameters():
            weight.normal_(generator=generator, std=0.3)
    ours = SelfAttention(theirs)
    assert [name for name, _ in ours.named_parameters()] == [
        n for n, _ in theirs.named_parameters()
    ]
    x = torch.randn(2, 7, 12 * heads, generator=generator).requires_grad_()
    along = torch.randn(x.shape, generator=generator)

    def gradients(attend: nn.Module) -> tuple[Tensor, ...]:
        out, none = attend(x, x, x, need_weights=False)
        assert none is None
        return (out, *torch.autograd.grad((out * along).sum(), [x, *attend.parameters()]))

    for found, expected in zip(gradients(ours), gradients(theirs), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_resnet18_is_torchvisions_but_for_its_stem(norm: str, make_images: MakeImages) -> None:
    """3 × 3 of stride 1 without pooling, so that an image keeps its pixels until stage two."""
    data = make_images((3, 32, 32))
    model = build(data, name="resnet18", width=64, norm_layer=norm)
    network = model[1]  # type: ignore[index]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        twin = models().resnet18(num_classes=10)
    expected = dict(twin.named_parameters())
    assert [name for name, _ in network.named_parameters()] == list(expected)
    for name, weight in network.named_parameters():
        assert name == "conv1.weight" or torch.equal(weight, expected[name]), name
    assert network.conv1.weight.shape == (64, 3, 3, 3)
    assert network.conv1.weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.05)
    kind = {"batch": nn.BatchNorm2d, "group": GroupNorm}[norm]
    layers = [module for module in network.modules() if isinstance(module, kind)]
    assert len(layers) == 20
    shapes: list[tuple[int, ...]] = []
    for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
        stage.register_forward_hook(lambda module, given, out: shapes.append(tuple(out.shape[1:])))
    model(torch.rand(2, 3, 32, 32))
    assert shapes == [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4)]
