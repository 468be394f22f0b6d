"""Networks of one's own, and those that torchvision and timm have by name."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.parts import own, write_parts
from trainers.config import ModelConfig
from trainers.config.parts import find_part, source_of
from trainers.config.sources import PartError
from trainers.data.dataset import Dataset
from trainers.networks.build import build_model
from trainers.networks.layers import Normalise

MORE = """\
from torch import nn

class Bare(nn.Module):
    normalises = True

    def __init__(self, image_shape, num_classes):
        super().__init__()
        self.last = nn.Linear(image_shape[1] * image_shape[2], num_classes)

    def forward(self, images):
        return self.last(images.flatten(1))
"""


def built(config: ModelConfig, data: Dataset, seed: int = 0) -> nn.Module:
    return build_model(config, data, torch.Generator().manual_seed(seed))


def named(folder: Path, name: str, **settings: object) -> ModelConfig:
    return ModelConfig(name=name, width=0, settings=own(folder, "networks", name, **settings))


def test_own_network_gets_our_normalisation_unless_it_has_its_own(
    tmp_path: Path, few_digits: Dataset
) -> None:
    write_parts(tmp_path, more=MORE)
    model = built(named(tmp_path, "my_parts:Net", depth=2), few_digits)
    assert [type(module).__name__ for module in model.children()] == ["Normalise", "Net"]
    bare = built(named(tmp_path, "more:Bare"), few_digits)
    assert not [module for module in bare.modules() if isinstance(module, Normalise)]


def test_initial_weights_of_an_own_network_are_decided_by_the_seed_alone(
    tmp_path: Path, few_digits: Dataset
) -> None:
    config = named(write_parts(tmp_path), "my_parts:Net")
    before = torch.get_rng_state()
    first = list(built(config, few_digits).parameters())
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    again = list(built(config, few_digits).parameters())
    other = list(built(config, few_digits, seed=1).parameters())
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])


def test_networks_of_torchvision_are_known_by_name(
    tmp_path: Path, make_images: Callable[..., Dataset]
) -> None:
    config = named(tmp_path, "torchvision:shufflenet_v2_x0_5")
    assert list(source_of(config.settings.part)) == ["torchvision"]
    for shape in ((3, 32, 32), (1, 28, 28)):
        data = make_images(shape, classes=7)
        model = built(config, data).eval()
        assert model(torch.rand(2, *shape)).shape == (2, 7)
    with pytest.raises(PartError, match=r"has no network of this name; did you mean resnet50\?"):
        built(named(tmp_path, "torchvision:resnet5"), data)


@pytest.mark.skipif(find_spec("timm") is None, reason="timm is an extra")
@pytest.mark.filterwarnings("ignore")
def test_networks_of_timm_are_known_by_name(
    tmp_path: Path, make_images: Callable[..., Dataset]
) -> None:
    data = make_images((1, 32, 32), classes=7)
    for name in ("vit_tiny_patch16_224", "resnet18"):
        model = built(named(tmp_path, f"timm:{name}"), data).eval()
        assert model(torch.rand(2, 1, 32, 32)).shape == (2, 7)


@pytest.mark.skipif(find_spec("timm") is not None, reason="timm is installed")
def test_a_library_that_is_not_installed_is_named_with_its_command(tmp_path: Path) -> None:
    with pytest.raises(PartError, match=r"timm is not installed; run: pip install 'rhoeps\[timm"):
        find_part("networks", "timm:vit_tiny_patch16_224", tmp_path)
