"""Networks built again from a weights file alone."""

import os
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import pytest
import torch

from trainers import checkpoint as reader
from trainers.checkpoint import RECIPE, CheckpointError, load_network, recipe, save_weights
from trainers.config import ModelConfig
from trainers.config.own import settings_class
from trainers.config.parts import find_part
from trainers.config.sources import PartError
from trainers.data.dataset import Dataset
from trainers.networks.build import build_model, evaluation_view

NETWORKS = {
    "small_cnn": (ModelConfig(name="small_cnn", width=4, norm_layer="group"), (1, 8, 8)),
    "preact_resnet18": (ModelConfig(name="preact_resnet18", width=4), (3, 32, 32)),
    "wide_resnet": (ModelConfig(name="wide_resnet", width=1, depth=10), (3, 32, 32)),
    "vit": (ModelConfig(name="vit", width=64, depth=1), (3, 32, 32)),
}


def nothing() -> tuple[ModelConfig, Dataset]:
    raise AssertionError("the file says what was trained on which images")


@pytest.mark.parametrize("name", NETWORKS)
def test_network_comes_back_from_its_file_without_its_data(
    name: str, make_images: Callable[..., Dataset], tmp_path: Path
) -> None:
    config, shape = NETWORKS[name]
    data = make_images(shape, classes=7)
    model = build_model(config, data, torch.Generator().manual_seed(1))
    path = tmp_path / "last.pt"
    save_weights(path, model.state_dict(), {RECIPE: recipe(config, data)})
    images = torch.rand(3, *shape, generator=torch.Generator().manual_seed(2))
    expected = evaluation_view(model)(images)
    assert torch.equal(load_network(path, nothing, tmp_path)(images), expected)
    # As MLflow reads it.
    theirs: Any = torch.load(path, pickle_module=reader, weights_only=False)
    assert torch.equal(theirs.eval()(images), expected)


OWN = """\
from torch import nn


def linear(image_shape, num_classes, bias: bool = True):
    channels, height, width = image_shape
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, num_classes, bias))
"""


def test_own_network_is_found_beside_its_file_and_in_the_current_folder(
    make_images: Callable[..., Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_linear.py").write_text(OWN, encoding="utf-8")
    part = find_part("networks", "my_linear:linear", tmp_path)
    config = ModelConfig(name=part.name, width=0, settings=settings_class(part)(bias=False))
    data = make_images((1, 8, 8))
    model = build_model(config, data, torch.Generator().manual_seed(1))
    path = tmp_path / "last.pt"
    save_weights(path, model.state_dict(), {RECIPE: recipe(config, data)})
    images = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    expected = evaluation_view(model)(images)
    assert torch.equal(load_network(path, nothing, tmp_path)(images), expected)
    monkeypatch.chdir(tmp_path)
    theirs: Any = torch.load(path, pickle_module=reader, weights_only=False)
    assert torch.equal(theirs.eval()(images), expected)
    # The weights would fit, but the network would compute something else.
    edited = OWN.replace("num_classes, bias))", "num_classes, bias), nn.Tanh())")
    assert edited != OWN
    (tmp_path / "my_linear.py").write_text(edited, encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"my_linear.py changed since this network was trai"):
        load_network(path, nothing, tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(PartError, match="my_linear"):
        load_network(path, nothing, tmp_path / "empty")


def test_weights_of_another_network_are_refused(
    make_images: Callable[..., Dataset], tmp_path: Path
) -> None:
    config, shape = NETWORKS["small_cnn"]
    data, path = make_images(shape), tmp_path / "last.pt"
    model = build_model(config, data, torch.Generator())
    save_weights(path, model.state_dict(), {})
    wider = ModelConfig(name="small_cnn", width=5)
    with pytest.raises(CheckpointError, match="is not of this network"):
        load_network(path, lambda: (wider, data), tmp_path)


class Hostile:
    def __reduce__(self) -> Any:
        return os.system, ("touch hostile",)


def test_file_that_would_run_code_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"weights": {}, "metadata": {}, "more": Hostile()}, "model.pth")
    with pytest.raises(UnpicklingError, match=r"tensors and text alone, got posix\.system"):
        torch.load("model.pth", pickle_module=reader, weights_only=False)
    assert not Path("hostile").exists()
