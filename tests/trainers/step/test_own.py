"""Own sides, losses and optimisers train as ours do, and run as plain operators."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.parts import own, write_parts
from trainers.config import FgsmRs, Method, ModelConfig, Sam, TrainConfig
from trainers.config.sources import PartError
from trainers.data.dataset import Dataset
from trainers.engine.engine import PLAIN, Engine
from trainers.train import TrainState, new_state, train

MORE = """\
import torch

def elsewhere(gradient_at, weights, *, rho: float):
    return gradient_at([weight + rho for weight in weights])

def standard(gradient_at, weights, names, learning_rate):
    assert len(names) == len(weights)
    assert learning_rate > 0
    return gradient_at()

standard.gradients = 1

def averaged(gradient_at, weights, memory):
    for mean, gradient in zip(memory, gradient_at(weights)):
        mean.mul_(0.5).add_(0.5 * gradient)
    return memory

def writing(gradient_at, weights):
    for weight in weights:
        weight.add_(1)
    return gradient_at(weights)

def random_noise(gradient_at, images, *, sigma: float):
    return (images + sigma * torch.randn_like(images)).clamp(0, 1)

def in_place(gradient_at, images, *, epsilon: float):
    return images.add_(epsilon * gradient_at(images).sign()).clamp_(0, 1)

def on_a_copy(gradient_at, images, *, epsilon: float):
    return (images + epsilon * gradient_at(images).sign()).clamp(0, 1)

random_noise.attack_steps = 0
random_noise.kind = "other"

def kl(logits, labels, clean_logits, *, beta: float = 6.0):
    from torch.nn import functional as F
    distance = F.kl_div(logits.log_softmax(1), clean_logits.softmax(1), reduction="batchmean")
    return F.cross_entropy(clean_logits, labels) + beta * distance

def counted(weights, gradients, learning_rate, step, memory):
    first, second = memory
    assert first[0].shape == second[0].shape == weights[0].shape
    for weight, gradient, moment in zip(weights, gradients, second):
        moment.add_(1)
        assert (moment == step).all()
        weight.sub_(learning_rate * gradient)

counted.memories = 2
"""


def trained(config: TrainConfig, data: Dataset, engine: Engine = PLAIN) -> TrainState:
    device = torch.device("cpu")
    state = new_state(config, data, device)
    for _ in train(config, data, device, state, engine):
        pass
    return state


def weights(state: TrainState) -> list[torch.Tensor]:
    return [tensor.clone() for tensor in state.model.state_dict().values()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_parts(tmp_path, more=MORE)


def test_own_sam_is_sam(
    folder: Path, few_digits: Dataset, make_config: Callable[..., TrainConfig]
) -> None:
    ours = make_config(Method(weights=Sam(rho=0.1)), epochs=2)
    mine = replace(ours, method=Method(weights=own(folder, "weights", "my_parts:Mine", rho=0.1)))
    one, other = trained(ours, few_digits), trained(mine, few_digits)
    for a, b in zip(weights(one), weights(other), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)
    for a, b in zip(one.metrics, other.metrics, strict=True):
        assert a.weight_backward_passes == b.weight_backward_passes


def test_own_sides_that_change_nothing_are_standard_training_bit_for_bit(
    folder: Path, few_digits: Dataset, make_config: Callable[..., TrainConfig]
) -> None:
    config = make_config(epochs=2)
    expected = weights(trained(config, few_digits))
    for side in (
        own(folder, "weights", "my_parts:Mine", rho=0.0),
        own(folder, "weights", "more:standard"),
        own(folder, "weights", "more:elsewhere", rho=0.0),
    ):
        found = weights(trained(replace(config, method=Method(weights=side)), few_digits))
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True)), side
    still = Method(inputs=own(folder, "inputs", "my_parts:fgsm", epsilon=0.0))
    found = weights(trained(replace(config, method=still), few_digits))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_own_optimiser_of_heavy_ball_is_sgd(
    folder: Path, few_digits: Dataset, make_config: Callable[..., TrainConfig]
) -> None:
    ours = make_config(epochs=2)
    optimizer = own(folder, "optimizers", "my_parts:heavy_ball")
    mine = replace(ours, training=replace(ours.training, optimizer=optimizer))
    one, other = weights(trained(ours, few_digits)), weights(trained(mine, few_digits))
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def test_memory_and_count_of_an_own_optimiser_last(
    folder: Path, few_digits: Dataset, make_config: Callable[..., TrainConfig]
) -> None:
    config = make_config(epochs=2)
    optimizer = own(folder, "optimizers", "more:counted")
    config = replace(config, training=replace(config.training, optimizer=optimizer))
    assert trained(config, few_digits).memory.moments[-1] == 2 * 3  # asserts inside, too


def test_memory_of_an_own_weight_side_lasts_and_is_zero_at_first(
    folder: Path, few_digits: Dataset, make_config: Callable[..., TrainConfig]
) -> None:
    config = make_config(Method(weights=own(folder, "weights", "more:averaged")), epochs=1)
    state = trained(config, few_digits)
    assert all(memory.abs().sum() > 0 for memory in state.memory.side)
    assert new_state(config, few_digits, torch.device("cpu")).memory.side[0].abs().sum() == 0


def test_own_loss_with_clean_logits_needs_crafted_images(
    folder: Path, few_digits: Dataset, make_config: Callable[..., TrainConfig]
) -> None:
    loss = own(folder, "losses", "more:kl", beta=3.0)
    with pytest.raises(ValueError, match="more:kl compares clean with crafted images"):
        Method(loss=loss)
    method = Method(inputs=FgsmRs(norm="linf", epsilon=0.1), loss=loss)
    assert trained(make_config(method, epochs=1), few_digits).metrics[0].train_loss > 1


def test_own_randomness_is_decided_by_the_seed_and_the_epoch(
    folder: Path, few_digits: Dataset, make_config: Callable[..., TrainConfig]
) -> None:
    """Dropout in an own network, and noise of an own input side; stopped and resumed, too."""
    method = Method(inputs=own(folder, "inputs", "more:random_noise", sigma=0.1))
    net = own(folder, "networks", "my_parts:Net", dropout=0.5)
    config = replace(
        make_config(method, epochs=2),
        model=ModelConfig(name="my_parts:Net", width=0, settings=net),
    )
    before = torch.get_rng_state()
    whole = weights(trained(config, few_digits))
    assert torch.equal(torch.get_rng_state(), before)
    state = new_state(config, few_digits, torch.device("cpu"))
    next(train(config, few_digits, torch.device("cpu"), state, PLAIN))
    torch.rand(7)  # moves the global generator
    for _ in train(config, few_digits, torch.device("cpu"), state, PLAIN):
        pass
    assert all(torch.equal(a, b) for a, b in zip(weights(state), whole, strict=True))
    other = weights(trained(replace(config, seed=1), few_digits))
    assert not all(torch.equal(a, b) for a, b in zip(other, whole, strict=True))


def test_an_input_side_that_writes_into_the_images_leaves_the_clean_ones_to_the_loss(
    folder: Path, few_digits: Dataset, make_config: Callable[..., TrainConfig]
) -> None:
    loss = own(folder, "losses", "more:kl", beta=3.0)
    one, other = (
        trained(make_config(Method(inputs=side, loss=loss), epochs=1), few_digits)
        for side in (
            own(folder, "inputs", "more:in_place", epsilon=0.1),
            own(folder, "inputs", "more:on_a_copy", epsilon=0.1),
        )
    )
    for a, b in zip(weights(one), weights(other), strict=True):
        assert torch.equal(a, b)


def test_a_side_that_writes_the_weights_is_refused_with_its_line(
    folder: Path, few_digits: Dataset, make_config: Callable[..., TrainConfig]
) -> None:
    config = make_config(Method(weights=own(folder, "weights", "more:writing")), epochs=1)
    with pytest.raises(PartError, match=r"more.py:\d+: writing: writes the weights; hand moved"):
        trained(config, few_digits)


def test_steps_of_own_parts_are_never_compiled_and_say_so(
    folder: Path, few_digits: Dataset, make_config: Callable[..., TrainConfig]
) -> None:
    config = make_config(Method(weights=own(folder, "weights", "my_parts:Mine", rho=0.1)), epochs=1)
    state = trained(config, few_digits, Engine(narrow=False, compiled="always"))
    assert state.engine["update"] == "operators: my_parts:Mine is of one's own"
