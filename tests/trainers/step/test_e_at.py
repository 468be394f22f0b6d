"""Tests of E-AT: the norm drawn by robust accuracies, against a twin; resumed exactly; limits."""

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainers.checkpoint import load_state, save_state
from trainers.config import ConfigError, CrossEntropy, EAt, Method, Pgd, TrainConfig, passes
from trainers.data.dataset import Dataset
from trainers.engine.engine import PLAIN, Engine, generator
from trainers.networks.build import evaluation_view
from trainers.step.inputs import BALLS, crafting, new_input_memory, share_of_second
from trainers.step.losses import minimised
from trainers.step.numbers import NO_MEMORY, Memory, Numbers, no_numbers, schedule
from trainers.train import TrainState, new_state, train

MakeConfig = Callable[..., TrainConfig]
CPU = torch.device("cpu")
SIDE = EAt(epsilon_linf=0.1, epsilon_l1=3.0, steps=2)
CRAFTING = crafting(SIDE, minimised(CrossEntropy()).inner)


def run(config: TrainConfig, data: Dataset, engine: Engine = PLAIN) -> TrainState:
    state = new_state(config, data, CPU)
    for _ in train(config, data, CPU, state, engine):
        pass
    return state


def numbers_of(side: EAt) -> Numbers:
    values = {name: torch.tensor(value) for name, value in side.numbers(None).items()}
    return no_numbers(CPU)._replace(**values)


def twin(
    model: nn.Module, images: Tensor, labels: Tensor, side: EAt, norm: str
) -> tuple[Tensor, Tensor]:
    """Craft in one norm from the images themselves; also return which stayed right throughout."""
    epsilon = side.epsilon_linf if norm == "linf" else side.epsilon_l1
    size = torch.tensor(2.5 * epsilon / side.steps)
    view = evaluation_view(model)
    tried, stays = images, torch.ones(len(images), dtype=torch.bool)
    for _ in range(side.steps):
        leaf = tried.clone().requires_grad_()
        logits = view(leaf)
        stays &= logits.argmax(1) == labels
        (up,) = torch.autograd.grad(F.cross_entropy(logits, labels, reduction="sum"), leaf)
        move = BALLS[norm].move  # type: ignore[index]
        tried = move(tried, up, images, torch.tensor(epsilon), size)
    return tried, stays & (view(tried).argmax(1) == labels)


def plain_e_at(config: TrainConfig, data: Dataset) -> tuple[nn.Module, list[str], dict[str, list]]:  # type: ignore[type-arg]
    """Train as the published script is written: the host draws a norm for each batch."""
    side = config.method.inputs
    assert isinstance(side, EAt)
    model = new_state(config, data, CPU).model
    training = config.training
    optimizer = torch.optim.SGD(
        model.parameters(), momentum=training.momentum, weight_decay=training.weight_decay
    )
    x = torch.tensor(data.train.images).to(torch.float32) / data.divisor
    y = torch.tensor(data.train.labels)
    rates = schedule(config, len(y), data.divisor)[..., Numbers._fields.index("learning_rate")]
    counts: dict[str, list[int]] = {"linf": [0, 0], "l1": [0, 0]}
    drawn = []
    for epoch in range(training.epochs):
        order = torch.randperm(
            len(y), generator=generator(config.seed, "batch order", epoch, device=CPU)
        )
        chances = generator(config.seed, "input noise", epoch, device=CPU)
        for step, index in enumerate(order.split(training.batch_size)):
            weights = {norm: 0.5 for norm in counts}
            if all(seen for _, seen in counts.values()):
                weights = {norm: 1 - right / seen for norm, (right, seen) in counts.items()}
            total = sum(weights.values())
            share = weights["l1"] / total if total else 0.5
            norm = "l1" if float(torch.rand(1, generator=chances)) < share else "linf"
            drawn.append(norm)
            crafted, stays = twin(model, x[index], y[index], side, norm)
            counts[norm][0] += int(stays.sum())
            counts[norm][1] += len(index)
            for group in optimizer.param_groups:
                group["lr"] = float(rates[epoch, step])
            optimizer.zero_grad()
            F.cross_entropy(model(crafted), y[index]).backward()
            optimizer.step()
    return model, drawn, counts


@pytest.mark.parametrize("seed", [0, 1])
def test_e_at_equals_a_plain_loop_that_draws_each_norm_on_the_host(
    seed: int, make_config: MakeConfig, few_digits: Dataset
) -> None:
    config = make_config(Method(inputs=SIDE), epochs=4, seed=seed, learning_rate=0.05)
    found = run(config, few_digits)
    model, drawn, counts = plain_e_at(config, few_digits)
    assert set(drawn) == {"linf", "l1"}
    right, seen = found.memory.inputs
    assert seen.tolist() == [counts["linf"][1], counts["l1"][1]]
    assert right.tolist() == [counts["linf"][0], counts["l1"][0]]
    for ours, theirs in zip(found.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


SHARES: dict[str, tuple[list[int], list[int], float]] = {
    # right, seen, the probability of the second norm
    "nothing seen": ([0, 0], [0, 0], 0.5),
    "one seen": ([10, 0], [100, 0], 0.5),
    "equal": ([10, 20], [100, 200], 0.5),
    "the first is weaker": ([0, 50], [100, 100], 1 / 3),
    "the second is weaker": ([90, 10], [100, 100], 0.9),
    "the first is perfect": ([100, 10], [100, 100], 1.0),
    "both are perfect": ([100, 100], [100, 100], 0.5),
}


@pytest.mark.parametrize(("right", "seen", "share"), SHARES.values(), ids=SHARES)
def test_a_norm_is_as_likely_as_the_network_is_wrong_under_it(
    right: list[int], seen: list[int], share: float
) -> None:
    found = share_of_second(torch.tensor(right), torch.tensor(seen))
    assert found.item() == pytest.approx(share)


def test_norms_are_drawn_with_their_shares() -> None:
    shape = (3, 1, 2, 2)
    fresh = generator(0, "chances", device=CPU)
    rows = torch.stack([CRAFTING.draw(shape, fresh) for _ in range(4000)])
    assert rows.shape == (4000, 3, 1)
    assert (rows == rows[:, :1]).all()  # one for a whole batch
    share = share_of_second(torch.tensor([90, 10]), torch.tensor([100, 100]))
    assert (rows[:, 0, 0] < share).float().mean().item() == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize("chance", [0.0, 0.999])
def test_a_batch_is_that_of_one_norm_and_counted_there(
    chance: float, make_config: MakeConfig, few_digits: Dataset
) -> None:
    model = new_state(make_config(), few_digits, CPU).model
    images = torch.tensor(few_digits.train.images[:20]).float() / few_digits.divisor
    labels = torch.tensor(few_digits.train.labels[:20])
    kept: Memory = NO_MEMORY._replace(inputs=new_input_memory(SIDE, CPU))
    noise = torch.full((20, 1), chance)
    view = evaluation_view(model)
    found = CRAFTING.craft(view, images, labels, noise, numbers_of(SIDE), kept)
    norm = "l1" if chance == 0 else "linf"
    expected, stays = twin(model, images, labels, SIDE, norm)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    at = int(norm == "l1")
    assert [counts[at].item() for counts in kept.inputs] == [int(stays.sum()), 20]
    assert [counts[1 - at].item() for counts in kept.inputs] == [0, 0]


def test_e_at_resumed_equals_uninterrupted_bit_for_bit(
    make_config: MakeConfig, few_digits: Dataset
) -> None:
    config = make_config(Method(inputs=SIDE), epochs=4)
    whole, begun = run(config, few_digits), new_state(config, few_digits, CPU)
    next(train(config, few_digits, CPU, begun, PLAIN))
    file = io.BytesIO()
    save_state(file, begun, "digest")
    file.seek(0)
    resumed = load_state(file, config, few_digits, CPU, "digest")
    assert resumed is not None
    assert sum(resumed.memory.inputs[1].tolist()) == 150
    for _ in train(config, few_digits, CPU, resumed, PLAIN):
        pass
    pairs = zip(
        [*whole.model.state_dict().values(), *whole.memory.tensors],
        [*resumed.model.state_dict().values(), *resumed.memory.tensors],
        strict=True,
    )
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)


def test_interleaved_trainings_count_by_themselves(
    make_config: MakeConfig, few_digits: Dataset
) -> None:
    """Both are of one shape, so one program holds them in turn."""
    sides = (SIDE, replace(SIDE, epsilon_l1=0.5))
    configs = [make_config(Method(inputs=side), seed=at) for at, side in enumerate(sides)]
    alone = [run(config, few_digits) for config in configs]
    states = [new_state(config, few_digits, CPU) for config in configs]
    loops = [
        train(config, few_digits, CPU, state, PLAIN)
        for config, state in zip(configs, states, strict=True)
    ]
    for _ in zip(*loops, strict=True):
        pass
    for ours, theirs in zip(states, alone, strict=True):
        pairs = zip(ours.memory.inputs, theirs.memory.inputs, strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


def test_both_radii_rise_with_the_warm_up() -> None:
    side = replace(SIDE, warmup_epochs=2, step_size_l1=0.5)
    found = side.numbers(torch.tensor([0.5, 1.0, 2.0, 3.0]))
    shares = torch.tensor([0.25, 0.5, 1.0, 1.0])
    ends = {
        "epsilon": 0.1,
        "step_length": 2.5 * 0.1 / 2,
        "other_epsilon": 3.0,
        "other_step_length": 0.5,
    }
    for name, end in ends.items():
        torch.testing.assert_close(found[name], end * shares)
    assert Method(inputs=side).warm_epoch(10) == 2


def test_it_costs_a_step_of_pgd_and_one_look() -> None:
    pgd = passes(Method(inputs=Pgd(norm="linf", epsilon=0.1, steps=10)))
    assert passes(Method(inputs=replace(SIDE, steps=10))).cost == pgd.cost + 1


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"epsilon_linf": 8}, r"epsilon_linf: must lie in \[0, 0.5\] of the pixel range for linf"),
        ({"epsilon_l1": -1.0}, "epsilon_l1: must be ≥ 0"),
        ({"steps": 0}, "steps: must be a whole number ≥ 1"),
        ({"step_size_l1": 0.0}, "step_size_l1: must be auto or a number > 0"),
        ({"warmup_epochs": -1}, "warmup_epochs: must be a whole number ≥ 0"),
    ],
)
def test_settings_of_e_at_are_checked(settings: dict[str, Any], rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        replace(SIDE, **settings)
