"""Tests of the base optimiser: against torch.optim, limit cases, clipping and averages."""

import pytest
import torch
from torch import Tensor, nn

from trainers.config import TrainingConfig
from trainers.step.numbers import ADAM_BETA2, Numbers, no_numbers
from trainers.step.optimizer import average, clipped, descending, new_moments

RATES = (0.1, 0.1, 0.01, 0.3, 0.0, 0.05)
SHAPES = ((3, 2), (4,), (2, 1, 2, 2))
OPTIMIZERS: dict[str, dict[str, object]] = {
    "sgd": {"optimizer": "sgd", "momentum": 0.9},
    "sgd without momentum": {"optimizer": "sgd", "momentum": 0.0},
    "nesterov": {"optimizer": "sgd", "momentum": 0.9, "nesterov": True},
    "adamw": {"optimizer": "adamw", "momentum": 0.8},
    "adamw without momentum": {"optimizer": "adamw", "momentum": 0.0},
}
every_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)


def numbers(**values: float) -> Numbers:
    tensors = {name: torch.tensor(value) for name, value in values.items()}
    return no_numbers(torch.device("cpu"))._replace(**tensors)


def configured(name: str) -> TrainingConfig:
    given = {"weight_decay": 0.05, "schedule": "cosine", "learning_rate": 0.1} | OPTIMIZERS[name]
    return TrainingConfig(epochs=1, batch_size=1, **given)  # type: ignore[arg-type]


def of_step(training: TrainingConfig, step: int, learning_rate: float) -> Numbers:
    return numbers(
        learning_rate=learning_rate,
        momentum=training.momentum,
        weight_decay=training.weight_decay,
        first_correction=1 - training.momentum ** (step + 1),
        second_correction=1 - ADAM_BETA2 ** (step + 1),
    )


def random_tensors(seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in SHAPES]


def torchs_own(training: TrainingConfig, weights: list[nn.Parameter]) -> torch.optim.Optimizer:
    if training.optimizer == "adamw":
        betas = (training.momentum, ADAM_BETA2)
        return torch.optim.AdamW(weights, betas=betas, weight_decay=training.weight_decay)
    return torch.optim.SGD(
        weights,
        momentum=training.momentum,
        weight_decay=training.weight_decay,
        nesterov=training.nesterov,
    )


@every_optimizer
def test_steps_equal_torchs_own_with_weight_decay_and_changing_rates(name: str) -> None:
    training = configured(name)
    ours, descend = random_tensors(0), descending(training)
    theirs = [nn.Parameter(weight.clone()) for weight in ours]
    moments = new_moments(training, ours)
    optimizer = torchs_own(training, theirs)
    for step, learning_rate in enumerate(RATES):
        gradients = random_tensors(step + 1)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
        for weight, gradient in zip(theirs, gradients, strict=True):
            weight.grad = gradient.clone()
        optimizer.step()
        descend(ours, moments, tuple(gradients), of_step(training, step, learning_rate))
        for weight, twin in zip(ours, theirs, strict=True):
            torch.testing.assert_close(weight, twin.detach())
    kept = {"sgd": ["momentum_buffer"], "adamw": ["exp_avg", "exp_avg_sq"]}[training.optimizer]
    if training.optimizer == "adamw" or training.momentum > 0:
        states = [optimizer.state[twin][key] for key in kept for twin in theirs]
        for moment, state in zip(moments, states, strict=True):
            torch.testing.assert_close(moment, state)


@every_optimizer
def test_at_learning_rate_zero_weights_stay_bit_identical_and_moments_do_not(name: str) -> None:
    training = configured(name)
    weights, moments = random_tensors(0), new_moments(training, random_tensors(0))
    for step in range(3):
        gradients = tuple(random_tensors(step + 1))
        descending(training)(weights, moments, gradients, of_step(training, step, 0.0))
    assert all(torch.equal(a, b) for a, b in zip(weights, random_tensors(0), strict=True))
    assert all(moment.abs().sum() > 0 for moment in moments)


@every_optimizer
def test_tensors_are_written_where_they_lie_and_gradients_are_not(name: str) -> None:
    training = configured(name)
    weights, gradients = random_tensors(0), tuple(random_tensors(1))
    moments = new_moments(training, weights)
    places = [tensor.data_ptr() for tensor in (*weights, *moments)]
    descending(training)(weights, moments, gradients, of_step(training, 0, 0.1))
    assert [tensor.data_ptr() for tensor in (*weights, *moments)] == places
    assert all(torch.equal(a, b) for a, b in zip(gradients, random_tensors(1), strict=True))
    assert all(not torch.equal(a, b) for a, b in zip(weights, random_tensors(0), strict=True))


def test_first_step_of_adamw_is_the_learning_rate_whatever_the_gradients_length() -> None:
    """Less the decay: w (1 - η λ) - η sign(g)."""
    training = configured("adamw")
    for size in (1e-3, 1.0, 1e3):
        weights, gradients = random_tensors(0), tuple(size * g for g in random_tensors(1))
        moments = new_moments(training, weights)
        descending(training)(weights, moments, gradients, of_step(training, 0, 0.1))
        for weight, before, gradient in zip(weights, random_tensors(0), gradients, strict=True):
            expected = before * (1 - 0.1 * 0.05) - 0.1 * gradient.sign()
            torch.testing.assert_close(weight, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("limit", [1e-3, 0.5, 2.5])
def test_clipping_equals_torchs_own(limit: float) -> None:
    """Which adds 1e-6 to the norm, 2.7 here, and we nothing."""
    gradients = tuple(random_tensors(1))
    twins = [nn.Parameter(torch.zeros_like(gradient)) for gradient in gradients]
    for twin, gradient in zip(twins, gradients, strict=True):
        twin.grad = gradient.clone()
    norm = torch.nn.utils.clip_grad_norm_(twins, limit)
    assert norm > 2.7
    found = clipped(gradients, numbers(gradient_clip=limit))
    for ours, twin in zip(found, twins, strict=True):
        torch.testing.assert_close(ours, twin.grad, rtol=1e-6, atol=0)
    assert torch.stack(torch._foreach_norm(found)).norm().item() == pytest.approx(limit)


def test_a_gradient_within_the_limit_or_of_zero_is_left_bit_for_bit() -> None:
    gradients = tuple(random_tensors(1))
    norm = float(torch.stack(torch._foreach_norm(gradients)).norm())
    zeros = tuple(torch.zeros_like(gradient) for gradient in gradients)
    for given, limit in ((gradients, norm * 1.0001), (gradients, 1e9), (zeros, 1.0)):
        found = clipped(given, numbers(gradient_clip=limit))
        assert all(torch.equal(a, b) for a, b in zip(found, given, strict=True))


def averaged(decays: list[float]) -> tuple[list[Tensor], list[list[Tensor]]]:
    """Average what changes from step to step, a count among it."""
    means = [*random_tensors(0), torch.tensor(0)]
    seen = []
    for step, decay in enumerate(decays):
        current = [*random_tensors(step + 1), torch.tensor(step + 1)]
        average(means, current, numbers(ema_decay=decay))
        seen.append(current)
    return means, seen


def test_an_average_of_decay_zero_is_the_present_bit_for_bit() -> None:
    means, seen = averaged([0.0, 0.0])
    assert all(torch.equal(mean, now) for mean, now in zip(means, seen[-1], strict=True))


def test_an_average_weighs_each_step_by_its_decay_and_copies_counts() -> None:
    decays = [0.1, 0.5, 0.9]
    means, seen = averaged(decays)
    for which, start in enumerate(random_tensors(0)):
        expected = start
        for decay, current in zip(decays, seen, strict=True):
            expected = decay * expected + (1 - decay) * current[which]
        torch.testing.assert_close(means[which], expected)
    assert means[-1].item() == 3
    assert means[-1].dtype == torch.int64
