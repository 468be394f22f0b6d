"""Tests of the three signs of divergence, each by itself."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from trainers.config import Loss, TrainConfig
from trainers.data.dataset import Dataset
from trainers.detectors import EpochMetrics
from trainers.engine.program import forget_programs
from trainers.step.losses import Minimised, cross_entropy, minimised
from trainers.train import TrainState, new_state, train

MakeConfig = Callable[..., TrainConfig]
Change = Callable[[Tensor, int], Tensor]
"""A loss and the number of its step, from 0, to another loss."""


@pytest.fixture
def run(
    make_config: MakeConfig, few_digits: Dataset, monkeypatch: pytest.MonkeyPatch, cpu: torch.device
) -> Callable[[Change], TrainState]:
    """Train for three epochs of three steps with a loss that a test changes."""

    def run_with(change: Change) -> TrainState:
        calls = iter(range(100))

        def changed(*arguments: object) -> tuple[Tensor, Tensor]:
            loss, logits = cross_entropy(*arguments)  # type: ignore[arg-type]
            return change(loss, next(calls)), logits

        def minimised_by(loss: Loss) -> Minimised:
            return minimised(loss)._replace(loss=changed)

        monkeypatch.setattr("trainers.engine.program.minimised", minimised_by)
        forget_programs()
        config = make_config()
        state = new_state(config, few_digits, cpu)
        assert list(train(config, few_digits, cpu, state)) == state.metrics
        return state

    return run_with


def are_finite(state: TrainState) -> bool:
    return all(bool(weight.isfinite().all()) for weight in state.model.parameters())


def assert_ended(state: TrainState, epochs: int) -> EpochMetrics:
    """Assert that the training ended as diverged after so many epochs; return the last."""
    assert [m.diverged for m in state.metrics] == [False] * (epochs - 1) + [True]
    last = state.metrics[-1]
    assert math.isnan(last.validation_clean)
    assert math.isnan(last.validation_robust)
    assert not last.is_best
    assert state.best_epoch < epochs
    return last


@pytest.mark.parametrize(("step", "bad"), [(3, math.nan), (4, math.inf), (5, math.nan)])
def test_a_loss_that_is_not_finite_in_any_step_ends_the_training(
    step: int, bad: float, run: Callable[[Change], TrainState]
) -> None:
    """Added as a constant, so that gradients and weights stay finite."""
    state = run(lambda loss, number: loss + bad if number == step else loss)
    assert_ended(state, 2)
    assert are_finite(state)


def test_weights_that_are_not_finite_end_the_training_though_every_loss_was(
    run: Callable[[Change], TrainState],
) -> None:
    """In an epoch's last step: no loss is computed with the weights that it leaves."""

    def change(loss: Tensor, number: int) -> Tensor:
        if number == 2:
            loss.register_hook(lambda gradient: gradient * math.inf)
        return loss

    state = run(change)
    last = assert_ended(state, 1)
    assert math.isfinite(last.train_loss)
    assert not are_finite(state)


def test_a_loss_above_three_uniform_guesses_is_a_divergence_after_the_first_epoch(
    run: Callable[[Change], TrainState],
) -> None:
    limit = 3 * math.log(10)
    state = run(lambda loss, number: loss - loss.detach() + limit + 0.01)
    last = assert_ended(state, 2)
    assert last.train_loss == pytest.approx(limit + 0.01)
    state = run(lambda loss, number: loss - loss.detach() + limit - 0.01)
    assert [m.diverged for m in state.metrics] == [False] * 3
