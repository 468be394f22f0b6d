"""Tests that torchvision can be imported beside any torch."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from trainers.data import torchvision_import


def test_torchvision_works_whatever_torch_is_beside_it() -> None:
    torchvision_import.torchvision_module("datasets")
    models = torchvision_import.torchvision_module("models")
    logits = models.resnet18(weights=None).eval()(torch.zeros(1, 3, 32, 32))
    assert logits.shape == (1, 1000)
    transforms = torchvision_import.torchvision_module("transforms.v2")
    flipped = transforms.RandomHorizontalFlip(p=1.0)(torch.arange(3))
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
