"""Tests that torchvision can be imported after `trainers.data.torchvision_import`."""

import importlib
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from trainers.data import torchvision_import


def test_torchvision_works_after_our_module() -> None:
    for name in ("datasets", "models", "transforms.v2"):
        importlib.import_module(f"torchvision.{name}")
    torchvision = importlib.import_module("torchvision")
    logits = torchvision.models.resnet18(weights=None).eval()(torch.zeros(1, 3, 32, 32))
    assert logits.shape == (1, 1000)
    flipped = torchvision.transforms.v2.RandomHorizontalFlip(p=1.0)(torch.arange(3))
    assert flipped.tolist() == [2, 1, 0]


OUTCOMES = {
    "registered": ({"nms": None}, True),
    "another library loads": ({}, False),
}


@pytest.mark.parametrize(("operators", "expected"), OUTCOMES.values(), ids=OUTCOMES)
def test_operators_count_as_there_once_nms_is_registered(
    operators: dict[str, None], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever libraries load: torchvision may have several beside each other."""
    loaded: list[Path] = []
    with monkeypatch.context() as patch:
        patch.setattr(torch.ops, "load_library", loaded.append)
        patch.setattr(torch.ops, "torchvision", SimpleNamespace(**operators))
        assert torchvision_import._has_operators() is expected
    assert loaded
