"""Tests of programs: what trials of one shape share never shows in their numbers."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from trainers.config import (
    Asam,
    Awp,
    Gsam,
    Loss,
    Mart,
    Method,
    NFgsm,
    Noise,
    Pgd,
    Sam,
    Trades,
    TrainConfig,
)
from trainers.data.dataset import Dataset
from trainers.engine.engine import PLAIN, Engine
from trainers.engine.program import MOST_PROGRAMS, _key, _programs, forget_programs
from trainers.step.losses import Minimised, cross_entropy, minimised
from trainers.step.numbers import Numbers, schedule
from trainers.step.step import step
from trainers.train import TrainState, new_state, train

MakeConfig = Callable[..., TrainConfig]
CPU = torch.device("cpu")
METHODS = {
    "standard": (Method(), Method()),
    "sam": (Method(weights=Sam(rho=0.2)), Method(weights=Sam(rho=0.05))),
    "sam and pgd": (
        Method(weights=Sam(rho=0.2), inputs=Pgd(norm="linf", epsilon=0.1, steps=2)),
        Method(weights=Sam(rho=0.1), inputs=Pgd(norm="linf", epsilon=0.02, steps=2)),
    ),
    "pgd l2": (
        Method(inputs=Pgd(norm="l2", epsilon=0.5, steps=2)),
        Method(inputs=Pgd(norm="l2", epsilon=0.1, steps=2, step_size=0.3)),
    ),
    "gsam and trades": (
        Method(weights=Gsam(rho=0.2), inputs=Pgd(norm="linf", epsilon=0.1, steps=2), loss=Trades()),
        Method(
            weights=Gsam(rho=0.1, rho_min=0.05, alpha=0.1),
            inputs=Pgd(norm="linf", epsilon=0.05, steps=2, warmup_epochs=1),
            loss=Trades(beta=1.0),
        ),
    ),
    "awp and mart": (
        Method(weights=Awp(gamma=0.02), inputs=NFgsm(norm="linf", epsilon=0.1), loss=Mart()),
        Method(
            weights=Awp(gamma=0.01, warmup_epochs=1),
            inputs=NFgsm(norm="linf", epsilon=0.05, step_size=0.1),
            loss=Mart(beta=1.0),
        ),
    ),
    "asam and noise": (
        Method(weights=Asam(rho=0.5), inputs=Noise(sigma=0.1)),
        Method(weights=Asam(rho=1.0, eta=0.1), inputs=Noise(sigma=0.2)),
    ),
}
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "gsam and trades": {"optimizer": "adamw", "ema_decay": 0.9, "learning_rate": 0.01},
    "awp and mart": {"nesterov": True, "gradient_clip": 0.5},
}
"""Of methods that are not trained by plain SGD."""
ENGINES = {"plain": PLAIN, "default": Engine()}


def run(config: TrainConfig, data: Dataset, engine: Engine) -> TrainState:
    state = new_state(config, data, CPU)
    list(train(config, data, CPU, state, engine))
    return state


def assert_same(ours: TrainState, theirs: TrainState) -> None:
    for name, tensor in ours.model.state_dict().items():
        assert torch.equal(tensor, theirs.model.state_dict()[name]), name
    pairs = zip(ours.memory.tensors, theirs.memory.tensors, strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert [m.train_loss for m in ours.metrics] == [m.train_loss for m in theirs.metrics]
    assert ours.best_score == theirs.best_score


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
@pytest.mark.parametrize("name", METHODS)
def test_a_trial_after_another_of_its_shape_equals_the_trial_alone(
    name: str, engine: Engine, make_config: MakeConfig, few_digits: Dataset
) -> None:
    pair, optimizer = METHODS[name], OPTIMIZERS.get(name, {})
    first = make_config(pair[0], **optimizer)
    others = {"learning_rate": 0.02, "momentum": 0.5, "weight_decay": 0.01, "schedule": "one_cycle"}
    second = make_config(pair[1], seed=1, **(optimizer | others))
    run(first, few_digits, engine)
    program = _programs.get(_key(second, few_digits, CPU, engine, is_compiled=False))
    assert program is not None  # it serves the second trial, too
    after = run(second, few_digits, engine)
    assert _programs.get(_key(second, few_digits, CPU, engine, is_compiled=False)) is program
    forget_programs()
    assert_same(after, run(second, few_digits, engine))


def test_two_trainings_taking_turns_do_not_mix(
    make_config: MakeConfig, few_digits: Dataset
) -> None:
    configs = [make_config(METHODS["sam"][i], seed=i) for i in (0, 1)]
    states = [new_state(config, few_digits, CPU) for config in configs]
    turns = [
        train(config, few_digits, CPU, state) for config, state in zip(configs, states, strict=True)
    ]
    assert len(list(zip(*turns, strict=True))) == 3
    for config, state in zip(configs, states, strict=True):
        assert_same(state, run(config, few_digits, Engine()))


def test_an_epoch_that_fails_leaves_the_training_as_it_was_before(
    make_config: MakeConfig, few_digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = itertools.count()

    def failing(*arguments: Any) -> tuple[Tensor, Tensor]:
        if next(calls) == 4:  # in the middle of the second of three epochs
            raise RuntimeError("out of memory")
        return cross_entropy(*arguments)

    config = make_config()
    whole = run(config, few_digits, Engine())
    forget_programs()

    def failing_loss(loss: Loss) -> Minimised:
        return minimised(loss)._replace(loss=failing)

    with monkeypatch.context() as patch:
        patch.setattr("trainers.engine.program.minimised", failing_loss)
        state = new_state(config, few_digits, CPU)
        with pytest.raises(RuntimeError, match="out of memory"):
            list(train(config, few_digits, CPU, state))
    assert state.epoch == 1
    forget_programs()
    list(train(config, few_digits, CPU, state))
    assert_same(state, whole)


def test_programs_of_a_process_share_one_copy_of_the_data_and_are_few(
    make_config: MakeConfig, few_digits: Dataset
) -> None:
    most = MOST_PROGRAMS["cpu"]
    sources, configs = set(), [make_config(width=1 + i, epochs=1) for i in range(most + 1)]
    for config in configs:
        run(config, few_digits, PLAIN)
        program = _programs.get(_key(config, few_digits, CPU, PLAIN, is_compiled=False))
        assert program is not None
        sources.add(program.source.images.data_ptr())
    assert len(sources) == 1
    is_kept = [_programs.get(_key(c, few_digits, CPU, PLAIN, is_compiled=False)) for c in configs]
    assert [program is not None for program in is_kept] == [False] + [True] * most


def test_data_that_only_looks_the_same_gets_a_program_of_its_own(
    make_config: MakeConfig, few_digits: Dataset
) -> None:
    config = make_config(epochs=1)
    turned = replace(
        few_digits, train=replace(few_digits.train, images=few_digits.train.images[::-1].copy())
    )
    ours, other = run(config, few_digits, Engine()), run(config, turned, Engine())
    assert ours.metrics[0].train_loss != other.metrics[0].train_loss


def test_every_step_gets_its_row_of_the_schedule(
    make_config: MakeConfig, few_digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a radius warms up from step to step, also across a stop between two epochs."""
    seen: list[list[float]] = []

    def record(sides: Any, network: Any, numbers: Numbers, *more: Any) -> None:
        seen.append([float(number) for number in numbers])
        step(sides, network, numbers, *more)

    config = make_config(METHODS["gsam and trades"][1])
    monkeypatch.setattr("trainers.engine.program.step", record)
    state = new_state(config, few_digits, CPU)
    list(itertools.islice(train(config, few_digits, CPU, state), 1))
    list(train(config, few_digits, CPU, state))
    expected = schedule(config, 150, 16).flatten(0, 1).float()
    assert torch.equal(torch.tensor(seen), expected)
    epsilon = expected[:, Numbers._fields.index("epsilon")]
    torch.testing.assert_close(epsilon, torch.tensor([0.05 / 3, 0.1 / 3, *[0.05] * 7]))


@pytest.mark.parametrize(
    "name", ["standard", "sam and pgd", "pgd l2", "gsam and trades", "awp and mart"]
)
def test_engines_agree_but_for_rounding(
    name: str, make_config: MakeConfig, few_digits: Dataset
) -> None:
    """At a learning rate that lets a rounding stay small: a kink of the loss may multiply it."""
    config = make_config(METHODS[name][0], learning_rate=0.01, width=8)
    plain, fast = (run(config, few_digits, engine) for engine in (PLAIN, Engine()))
    assert plain.engine["attack"] == "operators"
    for ours, theirs in zip(fast.metrics, plain.metrics, strict=True):
        assert ours.train_loss == pytest.approx(theirs.train_loss, rel=1e-3)
        assert ours.validation_clean == pytest.approx(theirs.validation_clean, abs=1 / 40)
        assert ours.validation_robust == pytest.approx(theirs.validation_robust, abs=2 / 40)


def test_a_training_says_what_it_was_executed_by(
    make_config: MakeConfig, few_digits: Dataset
) -> None:
    said = run(make_config(epochs=1), few_digits, PLAIN).engine
    assert said == {
        "device": "cpu",
        "precision": "float32",
        "memory_format": "channels_last",
        "step": "operators",
        "update": "operators",
        "attack": "operators",
        "threads": "1",
    }


def test_the_memory_format_said_is_that_of_the_weights(
    make_config: MakeConfig, few_digits: Dataset
) -> None:
    config = make_config(model="preact_resnet18", width=2, epochs=1)
    assert run(config, few_digits, Engine()).engine["memory_format"] == "contiguous"
