"""Tests of what every epoch is judged by: the validation part alone, under PGD-10."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainers.config import TrainConfig
from trainers.data.dataset import Dataset
from trainers.detectors import EpochMetrics
from trainers.engine.engine import PLAIN, generator
from trainers.networks.build import evaluation_view
from trainers.networks.layers import Normalise
from trainers.step.inputs import BALLS
from trainers.train import new_state, train

MakeConfig = Callable[..., TrainConfig]
CPU = torch.device("cpu")
RADIUS = 0.06


@pytest.fixture
def config(make_config: MakeConfig) -> TrainConfig:
    """Standard training, so that nothing but validation runs a network in evaluation mode."""
    config = make_config(seed=2, epochs=3)
    judged = replace(config.evaluation, radii=(0.03, RADIUS, 0.2), objective_radius=RADIUS)
    return replace(config, evaluation=judged)


@pytest.fixture
def data(digits: Dataset, few_digits: Dataset) -> Dataset:
    """Few digits to train on, and all to validate on."""
    return replace(few_digits, validation=digits.validation)


def validation_noise(images: Tensor) -> Tensor:
    return BALLS["linf"].draw(
        tuple(images.shape), generator(2, "validation attack", 0, 0, device=CPU)
    )


def judged_by_hand(model: nn.Module, data: Dataset) -> tuple[float, float]:
    """All samples to the end; robust if right unattacked and at the start and after each step."""
    view = evaluation_view(model)
    x = torch.tensor(data.validation.images).float() / 16
    y = torch.tensor(data.validation.labels)
    clean = view(x).argmax(1) == y
    survives = clean.clone()
    tried = (x + RADIUS * validation_noise(x)).clamp(0, 1)
    survives &= view(tried).argmax(1) == y
    for _ in range(10):
        leaf = tried.clone().requires_grad_()
        F.cross_entropy(view(leaf), y, reduction="sum").backward()
        assert leaf.grad is not None
        offset = (tried + RADIUS / 4 * leaf.grad.sign() - x).clamp(-RADIUS, RADIUS)
        tried = (x + offset).clamp(0, 1)
        survives &= view(tried).argmax(1) == y
    return clean.float().mean().item(), survives.float().mean().item()


def test_validation_accuracies_equal_those_by_hand(config: TrainConfig, digits: Dataset) -> None:
    state = new_state(config, digits, CPU)
    robust_accuracies = []
    for metrics in train(config, digits, CPU, state):
        clean, robust = judged_by_hand(state.model, digits)
        assert metrics.validation_clean == pytest.approx(clean)
        rounding = 1.5 / 297  # which may decide a sample at the border
        assert metrics.validation_robust == pytest.approx(robust, abs=rounding)
        robust_accuracies.append(robust)
    assert 0.2 < max(robust_accuracies) < 0.9


@contextmanager
def watching_evaluation() -> Iterator[list[Tensor]]:
    """Gather the images that any network is given in evaluation mode."""
    seen: list[Tensor] = []

    def hook(module: nn.Module, arguments: Any) -> None:
        if isinstance(module, Normalise) and not module.training:
            seen.append(arguments[0].detach().clone())

    handle = nn.modules.module.register_module_forward_pre_hook(hook)
    try:
        yield seen
    finally:
        handle.remove()


def test_every_epoch_sees_the_same_images_the_same_noise_and_ten_steps(
    config: TrainConfig, data: Dataset
) -> None:
    images = torch.tensor(data.validation.images).float() / 16
    start = (images + RADIUS * validation_noise(images)).clamp(0, 1)
    epochs = train(config, data, CPU, engine=PLAIN)
    for _ in range(3):
        with watching_evaluation() as seen:
            next(epochs)
        assert len(seen) == 1 + 1 + 10  # clean, the start, and after each step
        assert torch.equal(seen[0], images)
        torch.testing.assert_close(seen[1], start)


def judged(config: TrainConfig, data: Dataset) -> list[EpochMetrics]:
    metrics = train(config, data, CPU)
    return [replace(m, seconds=0.0, validation_seconds=0.0) for m in metrics]


def test_an_epoch_is_judged_by_the_validation_part_alone(
    config: TrainConfig, data: Dataset, digits: Dataset
) -> None:
    first = judged(config, data)
    assert judged(config, replace(data, test=digits.train)) == first
    other = judged(config, replace(data, validation=digits.test))
    assert [m.train_loss for m in other] == [m.train_loss for m in first]
    assert [m.validation_clean for m in other] != [m.validation_clean for m in first]
    assert [m.validation_robust for m in other] != [m.validation_robust for m in first]


def test_validation_uses_more_than_1000_samples_if_there_are_more(
    make_images: Callable[..., Dataset], make_config: MakeConfig
) -> None:
    few, many = make_images((1, 4, 4), count=24), make_images((1, 4, 4), count=1100)
    config = make_config(width=1, epochs=1, batch_size=24)
    with watching_evaluation() as seen:
        list(train(config, replace(few, validation=many.validation), CPU))
    assert sum(len(images) for images in seen[:3]) == 1100
