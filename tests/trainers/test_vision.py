"""Tests that torchvision can be imported after `trainers.vision`."""

import importlib

import pytest
import torch

from trainers import vision


def test_torchvision_works_after_our_module() -> None:
    for name in ("datasets", "models", "transforms.v2"):
        importlib.import_module(f"torchvision.{name}")
    torchvision = importlib.import_module("torchvision")
    logits = torchvision.models.resnet18(weights=None).eval()(torch.zeros(1, 3, 32, 32))
    assert logits.shape == (1, 1000)
    flipped = torchvision.transforms.v2.RandomHorizontalFlip(p=1.0)(torch.arange(3))
    assert flipped.tolist() == [2, 1, 0]


def test_nothing_is_declared_where_the_operators_load(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:  # as if torchvision were the build that fits
        patch.setattr(torch.ops, "load_library", lambda path: None)
        assert vision._has_operators()
