"""Tests of fewer attack steps in the first epochs: limits that equal other trainings."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.trainers.test_detectors import found, history
from tests.trainers.test_phases import are_equal
from tests.trainers.trainings import CPU, run, run_in_two_parts
from trainers.config import (
    ConfigError,
    EAt,
    FgsmRs,
    Fidelity,
    InputSide,
    Method,
    Pgd,
    Sam,
    Trades,
    TrainConfig,
    segments,
)
from trainers.data.dataset import Dataset
from trainers.engine.engine import PLAIN, Engine
from trainers.train import new_state, train, validate

MakeConfig = Callable[..., TrainConfig]
PGD = Pgd(norm="linf", epsilon=0.1, steps=3)
EAT = EAt(epsilon_linf=0.1, epsilon_l1=2.0, steps=3)
FIRST = Fidelity(until=(1,), steps=(1,))
METHODS = {
    "sam and pgd": Method(weights=Sam(rho=0.2), inputs=PGD),
    "trades": Method(inputs=replace(PGD, step_size=0.05), loss=Trades()),
    "e_at": Method(inputs=EAT),
}


def with_steps(method: Method, steps: int) -> Method:
    return replace(method, inputs=replace(method.inputs, steps=steps))  # type: ignore[call-arg]


@pytest.mark.usefixtures("unjudged")
@pytest.mark.parametrize("name", METHODS)
def test_equal_steps_are_the_training_without_fidelity_bit_for_bit(
    name: str, make_config: MakeConfig, few_digits: Dataset
) -> None:
    config = make_config(METHODS[name])
    same = replace(config, fidelity=Fidelity(until=(1, 2), steps=(3, 3)))
    assert are_equal(run(same, few_digits), run(config, few_digits))
    assert not are_equal(run(replace(config, fidelity=FIRST), few_digits), run(config, few_digits))


@pytest.mark.usefixtures("unjudged")
@pytest.mark.parametrize("engine", [PLAIN, Engine()], ids=["operators", "fused"])
@pytest.mark.parametrize("name", METHODS)
def test_a_training_with_fewer_steps_is_handed_over_at_the_end_of_its_epoch(
    name: str, engine: Engine, make_config: MakeConfig, few_digits: Dataset
) -> None:
    """The first epoch of the same training with one step, then its state to that with three."""
    config = make_config(METHODS[name])
    state = new_state(config, few_digits, CPU)
    next(
        train(replace(config, method=with_steps(config.method, 1)), few_digits, CPU, state, engine)
    )
    list(train(config, few_digits, CPU, state, engine))
    ours = run(replace(config, fidelity=FIRST), few_digits, engine)
    assert are_equal(ours, state)
    assert [m.forward_passes for m in ours.metrics] == [m.forward_passes for m in state.metrics]


@pytest.mark.usefixtures("unjudged")
def test_a_training_resumed_where_its_steps_change_is_the_uninterrupted_one(
    make_config: MakeConfig, few_digits: Dataset
) -> None:
    for until in ((1,), (2,)):
        fewer = Fidelity(until=until, steps=(1,))
        config = replace(make_config(METHODS["sam and pgd"]), fidelity=fewer)
        assert are_equal(run(config, few_digits), run_in_two_parts(config, few_digits))


def test_every_epoch_is_validated_alike(make_config: MakeConfig, few_digits: Dataset) -> None:
    config = replace(make_config(Method(inputs=PGD), epochs=2), fidelity=FIRST)
    state = new_state(config, few_digits, CPU)
    for metrics in train(config, few_digits, CPU, state, PLAIN):
        seen = metrics.validation_clean, metrics.validation_robust
        assert seen == validate(
            replace(config, fidelity="none"), few_digits, CPU, state.model, PLAIN
        )
    assert [m.input_backward_passes for m in state.metrics] == [150, 450]


def test_an_automatic_step_size_is_that_of_the_steps(make_config: MakeConfig) -> None:
    config = make_config(Method(inputs=PGD), epochs=9)
    fewer = replace(config, fidelity=Fidelity(until=(2, 5), steps=(1, 2)))
    parts = segments(fewer)
    lengths = [part.method.inputs.step_length for _, part in parts]  # type: ignore[union-attr]
    assert [last for last, _ in parts] == [2, 5, 9]
    assert lengths == pytest.approx([0.25, 0.125, 0.25 / 3])
    assert segments(config) == ((9, config),)


REFUSED = {
    "no steps": (Fidelity(until=(1,), steps=(1,)), Method(), "fidelity"),
    "one step only": (FIRST, Method(inputs=FgsmRs(norm="linf", epsilon=0.1)), "fidelity"),
    "an epoch too many": (Fidelity(until=(3,), steps=(1,)), Method(inputs=PGD), "fidelity"),
}


@pytest.mark.parametrize(("fewer", "method", "field"), REFUSED.values(), ids=REFUSED)
def test_a_fidelity_that_cannot_apply_is_refused(
    fewer: Fidelity, method: Method, field: str, make_config: MakeConfig
) -> None:
    with pytest.raises(ConfigError) as refused:
        replace(make_config(method), fidelity=fewer)
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("until", "steps", "field"),
    [((), (), "steps"), ((1, 2), (1,), "steps"), ((2, 2), (1, 1), "until"), ((1,), (0,), "steps")],
)
def test_a_fidelity_needs_rising_epochs_with_steps(
    until: tuple[int, ...], steps: tuple[int, ...], field: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        Fidelity(until=until, steps=steps)
    assert refused.value.field == field


@pytest.mark.parametrize(("last", "expected"), [(2, {}), (3, {"catastrophic_overfitting": 3})])
def test_catastrophic_overfitting_is_looked_for_in_epochs_of_one_step_alone(
    last: int, expected: dict[str, int], make_config: MakeConfig
) -> None:
    """From the second epoch to the third robust accuracy falls, and training does not follow."""
    inputs: InputSide = PGD
    fewer = Fidelity(until=(last,), steps=(1,))
    config = replace(make_config(Method(inputs=inputs), epochs=4), fidelity=fewer)
    assert found(config, history(robust=[0.4, 0.4, 0.1, 0.1])) == expected
