"""Tests of a training's numbers: every schedule by its closed form, step by step."""

import math
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
import torch
from torch import Tensor

from trainers.config import (
    INPUT_SIDES,
    LOSSES,
    SET_BY_HOST,
    WEIGHT_SIDES,
    Asam,
    Awp,
    Esam,
    FgsmRs,
    Gsam,
    Mart,
    Method,
    NFgsm,
    Noise,
    Pgd,
    Sam,
    Trades,
    TrainConfig,
)
from trainers.engine.program import shape
from trainers.step.numbers import Numbers, no_numbers, schedule, static

MakeConfig = Callable[..., TrainConfig]
EPOCHS, NUM_STEPS = 20, 5
TOTAL = EPOCHS * NUM_STEPS
HIGHEST = 0.2


def column(name: str, config: TrainConfig) -> list[float]:
    """One number of every step: five of an epoch, as 150 samples make of batches of 32."""
    numbers = schedule(config, 150, 16)
    assert numbers.shape == (EPOCHS, NUM_STEPS, len(Numbers._fields))
    assert numbers.dtype == torch.float64
    assert numbers.isfinite().all()
    found: Tensor = numbers.flatten(0, 1)[:, Numbers._fields.index(name)]
    return [float(value) for value in found]


@pytest.fixture
def make(make_config: MakeConfig) -> Callable[..., TrainConfig]:
    def make_with(method: Method | None = None, **training: Any) -> TrainConfig:
        given = {"epochs": EPOCHS, "batch_size": 32, "learning_rate": HIGHEST} | training
        return make_config(method, **given)

    return make_with


def cosine(done: float) -> float:
    return (1 + math.cos(math.pi * done)) / 2


def drops(done: float) -> float:
    return 0.01 if done >= 0.9 else 0.1 if done >= 0.75 else 1.0


def one_cycle(done: float) -> float:
    return done / 0.4 if done <= 0.4 else (1 - done) / 0.6


SCHEDULES = {"cosine": cosine, "step": drops, "one_cycle": one_cycle}


@pytest.mark.parametrize(("name", "factor"), SCHEDULES.items(), ids=SCHEDULES)
def test_the_learning_rate_of_every_step_follows_its_formula(
    name: str, factor: Callable[[float], float], make: MakeConfig
) -> None:
    found = column("learning_rate", make(schedule=name))
    expected = [HIGHEST * factor(step / TOTAL) for step in range(TOTAL)]
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-15)
    assert max(found) == pytest.approx(HIGHEST)


def test_milestones_are_fractions_of_the_training_and_begin_with_their_step(
    make: MakeConfig,
) -> None:
    found = column("learning_rate", make(schedule="step", milestones=(0.3, 0.31, 0.6)))
    expected = [HIGHEST] * 30 + [HIGHEST / 10] + [HIGHEST / 100] * 29 + [HIGHEST / 1000] * 40
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(("name", "factor"), SCHEDULES.items(), ids=SCHEDULES)
def test_gsams_radius_is_linear_in_the_learning_rate(
    name: str, factor: Callable[[float], float], make: MakeConfig
) -> None:
    """ρ_min + (ρ_max - ρ_min) (lr - lr_min) / (lr_max - lr_min), with lr_min 0."""
    config = make(Method(weights=Gsam(rho=0.5, rho_min=0.1, alpha=0.3)), schedule=name)
    expected = [0.1 + 0.4 * factor(step / TOTAL) for step in range(TOTAL)]
    assert column("rho", config) == pytest.approx(expected)
    assert column("alpha", config) == [0.3] * TOTAL
    even = make(Method(weights=Gsam(rho=0.5, rho_min=0.5)), schedule=name)
    assert column("rho", even) == pytest.approx([0.5] * TOTAL)


@pytest.mark.parametrize("warmup", [0, 1, 7])
def test_awp_begins_after_its_warm_up(warmup: int, make: MakeConfig) -> None:
    config = make(Method(weights=Awp(gamma=0.01, warmup_epochs=warmup)))
    before = warmup * NUM_STEPS
    expected = [0.0] * before + [0.01] * (TOTAL - before)
    assert column("rho", config) == pytest.approx(expected, rel=1e-6)
    assert column("rho", config)[:before] == [0.0] * before


BALLS: dict[str, tuple[type[Any], dict[str, Any], float]] = {
    "pgd": (Pgd, {"steps": 4}, 2.5 * 0.1 / 4),
    "pgd, a step size of its own": (Pgd, {"steps": 4, "step_size": 0.03}, 0.03),
    "fgsm_rs": (FgsmRs, {}, 0.125),
    "n_fgsm": (NFgsm, {}, 0.1),
    "n_fgsm, a step size of its own": (NFgsm, {"step_size": 0.03}, 0.03),
}


@pytest.mark.parametrize("warmup", [0, 1, 6])
@pytest.mark.parametrize(("side", "settings", "length"), BALLS.values(), ids=BALLS)
def test_radius_and_step_size_rise_together_in_equal_steps(
    side: type[Any], settings: dict[str, Any], length: float, warmup: int, make: MakeConfig
) -> None:
    """The first step has its share already; the last one of the warm-up has all."""
    inputs = side(norm="linf", epsilon=0.1, warmup_epochs=warmup, **settings)
    config = make(Method(inputs=inputs))
    rising = warmup * NUM_STEPS
    ramp = [min(1.0, (step + 1) / rising) if rising else 1.0 for step in range(TOTAL)]
    assert column("epsilon", config) == pytest.approx([0.1 * share for share in ramp])
    assert column("step_length", config) == pytest.approx([length * share for share in ramp])


CONSTANTS: dict[str, tuple[Method, dict[str, float]]] = {
    "standard": (Method(), {"rho": 0.0, "eta": 0.0, "epsilon": 0.0, "beta": 0.0, "alpha": 0.0}),
    "sam": (Method(weights=Sam(rho=0.3)), {"rho": 0.3, "eta": 0.0}),
    "asam": (Method(weights=Asam(rho=1.5, eta=0.02)), {"rho": 1.5, "eta": 0.02}),
    "noise": (Method(inputs=Noise(sigma=0.07)), {"epsilon": 0.07, "step_length": 0.0}),
    "trades": (Method(inputs=Noise(sigma=0.1), loss=Trades(beta=3.0)), {"beta": 3.0}),
    "mart": (Method(inputs=Noise(sigma=0.1), loss=Mart(beta=2.0)), {"beta": 2.0}),
}


@pytest.mark.parametrize(("method", "expected"), CONSTANTS.values(), ids=CONSTANTS)
def test_all_other_numbers_of_a_method_are_the_same_in_every_step(
    method: Method, expected: dict[str, float], make: MakeConfig
) -> None:
    config = make(method, weight_decay=0.003, momentum=0.8)
    shared = {"weight_decay": 0.003, "momentum": 0.8, "divisor": 16.0}
    unused = {"gradient_clip": 0.0, "ema_decay": 0.0}
    for name, value in (expected | shared | unused).items():
        assert column(name, config) == [value] * TOTAL, name


def test_corrections_averages_and_clipping_by_their_formulas(make: MakeConfig) -> None:
    config = make(optimizer="adamw", momentum=0.8, ema_decay=0.9, gradient_clip=2.5)
    steps = range(1, TOTAL + 1)
    assert column("first_correction", config) == pytest.approx([1 - 0.8**t for t in steps])
    assert column("second_correction", config) == pytest.approx([1 - 0.999**t for t in steps])
    expected = [min(0.9, (1 + done) / (10 + done)) for done in range(TOTAL)]
    assert column("ema_decay", config) == pytest.approx(expected)
    assert column("ema_decay", make(ema_decay=0.0)) == [0.0] * TOTAL
    assert column("gradient_clip", config) == [2.5] * TOTAL


def test_a_short_last_batch_is_a_step(make_config: MakeConfig) -> None:
    assert schedule(make_config(epochs=3, batch_size=64), 150, 16).shape[:2] == (3, 3)
    assert schedule(make_config(epochs=3, batch_size=64), 128, 16).shape[:2] == (3, 2)


def test_new_numbers_are_zeros_each_in_a_place_of_its_own(cpu: torch.device) -> None:
    numbers = no_numbers(cpu)
    assert len({tensor.data_ptr() for tensor in numbers}) == len(numbers)
    assert all(tensor.dim() == 0 and tensor.item() == 0 for tensor in numbers)


def test_every_setting_is_a_number_of_a_step_or_decides_its_shape() -> None:
    """Those that decide it, by name: whatever else is added has to be sorted into one."""
    classes = [*WEIGHT_SIDES.values(), *INPUT_SIDES.values(), *LOSSES.values()]
    settings = {field.name for cls in classes for field in fields(cls)}
    tabulated = {name for cls in classes for name in cls.tabulated}
    shaping = {
        *("norm", "steps", "noise_scale", "label_smoothing", "power_steps", "temperature"),
    }
    assert settings - tabulated - {*SET_BY_HOST} == shaping
    for cls in classes:
        assert set(cls.tabulated) <= {field.name for field in fields(cls)}, cls
    # ESAM's share of the samples is a size of tensors; AWP's γ, of the same name, is a number.
    assert static(Esam(rho=0.1, gamma=0.4)) != static(Esam(rho=0.2, gamma=0.5))
    assert static(Esam(rho=0.1, beta=0.4)) == static(Esam(rho=0.2, beta=0.5))


def test_methods_that_differ_in_numbers_alone_share_a_shape(make: MakeConfig) -> None:
    one = make(Method(weights=Awp(gamma=0.1), inputs=Pgd(norm="linf", epsilon=0.1, steps=2)))
    numbers_differ = make(
        Method(
            weights=Awp(gamma=0.2, warmup_epochs=3),
            inputs=Pgd(norm="linf", epsilon=0.2, steps=2, step_size=0.1, warmup_epochs=2),
        ),
        learning_rate=0.1,
        momentum=0.5,
        weight_decay=0.0,
        schedule="one_cycle",
    )
    assert shape(one) == shape(numbers_differ)
    for settings in (
        {"optimizer": "adamw"},
        {"nesterov": True},
        {"ema_decay": 0.9},
        {"gradient_clip": 1.0},
    ):
        assert shape(make(one.method, **settings)) != shape(one)
    of_norms = {static(Pgd(norm=norm, epsilon=0.1, steps=2)) for norm in ("linf", "l2")}  # type: ignore[arg-type]
    assert len(of_norms) == 2
    assert static(Sam(rho=0.1)) != static(Gsam(rho=0.1))
