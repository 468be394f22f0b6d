"""Tests of trainings whose sides act in a part of them: limits that equal other trainings."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainers.test_combinations import INPUTS, WEIGHTS
from tests.trainers.trainings import run, run_in_two_parts
from trainers.config import LookSam, Mart, Method, Pgd, Sam, Trades, TrainConfig
from trainers.data.dataset import Dataset
from trainers.engine.engine import PLAIN, Engine
from trainers.train import TrainState, new_state, train

MakeConfig = Callable[..., TrainConfig]
CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("unjudged")
NEVER, ALWAYS = (1.0, 1.0), (0.0, 1.0)
SGD: dict[str, Any] = {}
ADAMW = {"optimizer": "adamw", "learning_rate": 0.01, "ema_decay": 0.9, "gradient_clip": 1.0}
PGD = Pgd(norm="linf", epsilon=0.1, steps=2)
SIDES = {
    **{f"weights {name}": side for name, side in WEIGHTS.items() if name != "none"},
    **{f"inputs {name}": side for name, side in INPUTS.items() if name != "none"},
}
CASES = [(name, SGD) for name in SIDES] + [
    (name, ADAMW) for name in ("weights sam", "weights look_sam", "inputs pgd linf")
]


def method_of(name: str, **settings: Any) -> Method:
    side = replace(SIDES[name], **settings)
    return Method(**{name.split()[0]: side})


def tensors(state: TrainState) -> list[Tensor]:
    return [*state.model.state_dict().values(), *state.memory.moments, *state.memory.averages]


def are_equal(ours: TrainState, theirs: TrainState) -> bool:
    pairs = zip(tensors(ours), tensors(theirs), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(("name", "settings"), CASES, ids=lambda case: str(case)[:20])
def test_never_active_equals_without_and_always_equals_with_bit_for_bit(
    name: str, settings: dict[str, Any], make_config: MakeConfig, few_digits: Dataset
) -> None:
    def trained(method: Method) -> TrainState:
        return run(make_config(method, epochs=1, **settings), few_digits)

    standard, whole = trained(Method()), trained(method_of(name))
    never, always = trained(method_of(name, active=NEVER)), trained(method_of(name, active=ALWAYS))
    assert are_equal(never, standard)
    assert are_equal(always, whole)
    assert not are_equal(whole, standard)
    costs = [m.forward_passes + m.input_backward_passes for m in never.metrics]
    assert costs == [m.forward_passes for m in standard.metrics]


@pytest.mark.parametrize("name", SIDES)
def test_until_its_share_begins_a_training_is_without_the_side(
    name: str, make_config: MakeConfig, few_digits: Dataset
) -> None:
    config = make_config(method_of(name, active=(0.5, 1.0)), epochs=2)
    standard = replace(config, method=Method())
    ours, theirs = new_state(config, few_digits, CPU), new_state(standard, few_digits, CPU)
    both = zip(
        train(config, few_digits, CPU, ours, PLAIN),
        train(standard, few_digits, CPU, theirs, PLAIN),
        strict=True,
    )
    assert [are_equal(ours, theirs) for _ in both] == [True, False]


def test_after_its_share_ends_a_training_goes_on_with_its_weights_and_momentum(
    make_config: MakeConfig, few_digits: Dataset
) -> None:
    """The same two epochs with the side, then the state handed to standard training."""
    early = make_config(Method(weights=Sam(rho=0.3, active=(0.0, 2 / 3)), inputs=PGD))
    whole = replace(early, method=Method(weights=Sam(rho=0.3), inputs=PGD))
    standard = replace(early, method=Method(inputs=PGD))
    state = new_state(whole, few_digits, CPU)
    epochs = train(whole, few_digits, CPU, state, PLAIN)
    next(epochs), next(epochs)
    list(train(standard, few_digits, CPU, state, PLAIN))
    assert are_equal(run(early, few_digits), state)


def test_adversarial_training_hands_over_to_sam_and_resumes_exactly(
    make_config: MakeConfig, few_digits: Dataset
) -> None:
    """The switch lies within the second epoch; the noise of a step is that of its epoch."""
    method = Method(
        weights=LookSam(rho=0.2, every=2, active=(0.5, 1.0)), inputs=replace(PGD, active=(0.0, 0.5))
    )
    config = make_config(method)
    whole = run(config, few_digits)
    resumed = run_in_two_parts(config, few_digits)
    assert are_equal(whole, resumed)
    # Nine steps, five of which craft: those of the first epoch, and 64 and 64 images of the second.
    assert [m.input_backward_passes for m in whole.metrics] == [300, 256, 0]


@pytest.mark.parametrize("every", [2, 3])
def test_a_side_that_acts_on_every_kth_step_is_plain_in_between(
    every: int, make_config: MakeConfig, few_digits: Dataset
) -> None:
    """LookSAM with α = 0 adds nothing on the steps between: the same steps by other functions."""
    sam = run(make_config(Method(weights=Sam(rho=0.3, every=every))), few_digits)
    look = run(make_config(Method(weights=LookSam(rho=0.3, every=every, alpha=0.0))), few_digits)
    assert are_equal(sam, look)
    acting = sum(64 if step % 3 < 2 else 22 for step in range(0, 9, every))
    assert sum(m.weight_backward_passes for m in sam.metrics) == 3 * 150 + acting


def test_where_no_image_is_crafted_trades_is_cross_entropy_and_mart_sees_clean_images(
    make_config: MakeConfig, few_digits: Dataset
) -> None:
    """TRADES but for rounding, as its divergence of an image from itself is zero."""
    resting = replace(PGD, active=NEVER)
    settings = {"learning_rate": 0.01, "epochs": 1}
    standard, trades, mart = (
        run(make_config(method, **settings), few_digits)
        for method in (
            Method(),
            Method(inputs=resting, loss=Trades()),
            Method(inputs=resting, loss=Mart()),
        )
    )
    for ours, theirs in zip(trades.model.parameters(), standard.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-6)
    zero = run(
        make_config(Method(inputs=replace(PGD, epsilon=0.0), loss=Mart()), **settings), few_digits
    )
    # MART's own attack starts 0.001 away from the images, and ends at a radius of 0 on them.
    assert are_equal(mart, zero)
    assert [m.input_backward_passes for m in trades.metrics] == [0]


def test_a_program_serves_trainings_that_act_at_other_times(
    make_config: MakeConfig, few_digits: Dataset
) -> None:
    """When a side acts decides no shape, so one program holds both trainings in turn."""
    methods = [
        Method(weights=Sam(rho=0.2, active=active, every=every), inputs=replace(PGD, active=active))
        for active, every in (((0.0, 0.5), 1), ((0.3, 1.0), 2))
    ]
    configs = [make_config(method) for method in methods]
    alone = [run(config, few_digits) for config in configs]
    states = [new_state(config, few_digits, CPU) for config in configs]
    loops = [
        train(config, few_digits, CPU, state, PLAIN)
        for config, state in zip(configs, states, strict=True)
    ]
    for _ in zip(*loops, strict=True):
        pass
    assert all(are_equal(a, b) for a, b in zip(alone, states, strict=True))


def test_traced_for_compilation_a_switch_equals_operators(
    make_config: MakeConfig, few_digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traced, but run by operators: where the input side rests, the update takes one image."""
    monkeypatch.setattr(torch, "compile", lambda graph, **options: graph)
    method = Method(weights=Sam(rho=0.2), inputs=replace(PGD, active=(0.5, 1.0)))
    config = make_config(method, learning_rate=0.01, epochs=2)
    traced = run(config, few_digits, Engine(narrow=False, compiled="always"))
    assert traced.engine["update"] == "torch.compile"
    assert traced.engine["attack"] == "operators, then torch.compile"
    for ours, theirs in zip(tensors(traced), tensors(run(config, few_digits)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
