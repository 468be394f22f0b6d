"""Tests that training crops and flips what is to be, as drawn, anew in each epoch."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainers.config import TrainConfig
from trainers.data.dataset import Dataset
from trainers.networks.layers import Normalise
from trainers.step.batches import Draw
from trainers.step.step import step
from trainers.train import train

MakeConfig = Callable[..., TrainConfig]
CPU = torch.device("cpu")
COUNT, EPOCHS = 192, 3


@pytest.fixture
def watch(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Dataset], tuple[list[Draw], list[Tensor]]]:
    """Train on a data set; return the draw of every step, and the images that it trained on."""

    def watched(data: Dataset) -> tuple[list[Draw], list[Tensor]]:
        draws: list[Draw] = []
        images: list[Tensor] = []

        def record(*arguments: Any) -> None:
            draws.append(arguments[4])
            step(*arguments)

        def hook(module: nn.Module, arguments: Any) -> None:
            if isinstance(module, Normalise) and module.training:
                images.append(arguments[0].detach().clone())

        monkeypatch.setattr("trainers.engine.program.step", record)
        monkeypatch.setattr("trainers.train.validate", lambda *arguments: (0.0, 0.0))
        handle = nn.modules.module.register_module_forward_pre_hook(hook)
        try:
            list(train(make_config(width=1, epochs=EPOCHS, batch_size=COUNT // 2), data, CPU))
        finally:
            handle.remove()
        return draws, images

    return watched


def test_32_by_32_colour_images_are_cropped_and_flipped(
    watch: Callable[[Dataset], tuple[list[Draw], list[Tensor]]],
    make_images: Callable[..., Dataset],
) -> None:
    data = make_images((3, 32, 32), count=COUNT)
    draws, images = watch(data)
    assert len(draws) == len(images) == 2 * EPOCHS
    corners = torch.cat([draw.corner for draw in draws])
    assert corners.shape == (COUNT * EPOCHS, 2)
    for coordinate in corners.T:
        counts = torch.bincount(coordinate, minlength=9)
        assert len(counts) == 9  # 0 … 8
        assert (counts - 64).abs().max() < 4 * 8  # four deviations of a ninth of 576
    is_flipped = torch.cat([draw.is_flipped for draw in draws])
    assert is_flipped.float().mean().item() == pytest.approx(0.5, abs=4 * 0.5 / 24)
    padded = np.pad(data.train.images, ((0, 0), (0, 0), (4, 4), (4, 4)), mode="reflect")
    for draw, batch in zip(draws, images, strict=True):
        for row in range(0, len(batch), 12):
            top, left = draw.corner[row].tolist()
            expected = padded[draw.samples[row], :, top : top + 32, left : left + 32]
            expected = expected[..., ::-1] if draw.is_flipped[row] else expected
            assert torch.equal(batch[row], torch.tensor(expected.copy()).float() / 255)


def test_each_epoch_crops_and_flips_anew(
    watch: Callable[[Dataset], tuple[list[Draw], list[Tensor]]],
    make_images: Callable[..., Dataset],
) -> None:
    draws, _ = watch(make_images((3, 32, 32), count=COUNT))
    for one, other in ((0, 1), (0, 2), (0, 4), (2, 4)):
        assert not torch.equal(draws[one].corner, draws[other].corner)
        assert not torch.equal(draws[one].is_flipped, draws[other].is_flipped)


def test_what_is_not_to_be_augmented_is_trained_on_as_stored(
    watch: Callable[[Dataset], tuple[list[Draw], list[Tensor]]],
    make_images: Callable[..., Dataset],
) -> None:
    data = replace(make_images((3, 32, 32), count=COUNT), augmentation="none")
    draws, images = watch(data)
    assert len(draws) == len(images) == 2 * EPOCHS
    for draw, batch in zip(draws, images, strict=True):
        stored = torch.tensor(data.train.images[draw.samples.numpy()])
        assert torch.equal(batch, stored.float() / 255)
