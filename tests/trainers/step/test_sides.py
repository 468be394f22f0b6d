"""Tests of every weight side in trainings: limits, statistics, memory, resuming, refusals."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainers.test_combinations import WEIGHTS
from tests.trainers.trainings import run, run_in_two_parts
from trainers.config import (
    AdaptiveGsam,
    Asam,
    ConfigError,
    EigenSam,
    Esam,
    FSam,
    Method,
    Msam,
    Pgd,
    Sam,
    Trades,
    TrainConfig,
    WeightSide,
    passes,
)
from trainers.data.dataset import Dataset
from trainers.engine.engine import Engine
from trainers.step.numbers import no_numbers
from trainers.step.weights import new_side_memory, perturbing
from trainers.train import TrainState, new_state

MakeConfig = Callable[..., TrainConfig]
CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("unjudged")
PGD = Pgd(norm="linf", epsilon=0.05, steps=1)
ADAMW = {"optimizer": "adamw", "learning_rate": 0.01, "ema_decay": 0.9, "gradient_clip": 1.0}
SIDES = {name: side for name, side in WEIGHTS.items() if name != "none"}
every_side = pytest.mark.parametrize("side", SIDES.values(), ids=SIDES)


def tensors(state: TrainState) -> list[Tensor]:
    memory = state.memory
    return [*state.model.state_dict().values(), *memory.moments, *memory.averages]


def are_equal(ours: TrainState, theirs: TrainState) -> bool:
    pairs = zip(tensors(ours), tensors(theirs), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


LIMITS: dict[str, tuple[WeightSide, WeightSide]] = {
    "esam of all tensors and samples": (Esam(rho=0.3, beta=1.0, gamma=1.0), Sam(rho=0.3)),
    "f_sam without its mean": (FSam(rho=0.3, sigma=0.0), Sam(rho=0.3)),
    "adaptive_gsam with its gap": (AdaptiveGsam(rho=0.5, rho_min=0.5, alpha=0.0), Asam(rho=0.5)),
}


@pytest.mark.parametrize("settings", [{}, ADAMW], ids=["sgd", "adamw"])
@pytest.mark.parametrize(("side", "other"), LIMITS.values(), ids=LIMITS)
def test_a_side_at_its_limit_is_another_bit_for_bit(
    side: WeightSide,
    other: WeightSide,
    settings: dict[str, Any],
    make_config: MakeConfig,
    few_digits: Dataset,
) -> None:
    ours, theirs = (
        run(make_config(Method(weights=one, inputs=PGD), epochs=2, **settings), few_digits)
        for one in (side, other)
    )
    assert are_equal(ours, theirs)


def test_eigen_sam_that_turns_by_nothing_is_sam_but_for_rounding(
    make_config: MakeConfig, few_digits: Dataset
) -> None:
    sides = (EigenSam(rho=0.3, alpha=0.0), Sam(rho=0.3))
    ours, theirs = (
        run(make_config(Method(weights=side), epochs=1), few_digits).model for side in sides
    )
    for weight, twin in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(weight, twin, rtol=0, atol=1e-5)


@every_side
def test_a_training_resumed_equals_one_uninterrupted_bit_for_bit(
    side: WeightSide, make_config: MakeConfig, few_digits: Dataset
) -> None:
    """What a side remembers and what is drawn for it, too: three steps an epoch."""
    config = make_config(Method(weights=side, inputs=PGD), epochs=2)
    whole = run(config, few_digits)
    resumed = run_in_two_parts(config, few_digits)
    assert are_equal(whole, resumed)
    pairs = zip(whole.memory.side, resumed.memory.side, strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@every_side
def test_batch_statistics_are_recorded_once_a_step_at_the_weights(
    side: WeightSide, make_config: MakeConfig, few_digits: Dataset
) -> None:
    """One step, of all images: what is recorded is what standard training records."""
    found = [
        dict(run(make_config(method, epochs=1, batch_size=150), few_digits).model.named_buffers())
        for method in (Method(), Method(weights=side))
    ]
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_msam_records_statistics_once_a_step_too_and_moves_no_weights(
    make_config: MakeConfig, few_digits: Dataset
) -> None:
    """At a learning rate of 0 the weights stay, although each gradient is taken elsewhere."""
    losses = []
    for side in (Msam(rho=0.5), Msam(rho=0.0)):
        config = make_config(Method(weights=side), learning_rate=0.0, batch_size=150, epochs=2)
        before = [w.clone() for w in new_state(config, few_digits, CPU).model.parameters()]
        state = run(config, few_digits)
        for weight, start in zip(state.model.parameters(), before, strict=True):
            assert torch.equal(weight, start)
        counts = [b for n, b in state.model.named_buffers() if n.endswith("num_batches_tracked")]
        assert {int(count) for count in counts} == {2}
        losses.append([metrics.train_loss for metrics in state.metrics])
    assert losses[0][0] == losses[1][0]
    assert losses[0][1] < losses[1][1]  # as -v leads down the loss of the same images


@pytest.mark.parametrize(
    ("settings", "got"),
    [
        ({"optimizer": "adamw"}, "adamw with momentum 0.9"),
        ({"momentum": 0.0}, "sgd with momentum 0"),
    ],
)
def test_msam_is_refused_where_there_is_no_momentum(
    settings: dict[str, Any], got: str, make_config: MakeConfig
) -> None:
    rule = "msam moves weights along momentum and needs the optimizer sgd with momentum > 0"
    with pytest.raises(ConfigError, match=rule) as caught:
        make_config(Method(weights=Msam(rho=0.1)), **settings)
    assert caught.value.value == got


REFUSED: dict[str, tuple[type[Any], dict[str, Any], str]] = {
    "esam beta": (Esam, {"beta": 0.0}, r"beta: must lie in \(0, 1\]"),
    "esam gamma": (Esam, {"gamma": 1.1}, r"gamma: must lie in \(0, 1\]"),
    "f_sam sigma": (FSam, {"sigma": -0.1}, "sigma: must be ≥ 0"),
    "f_sam decay": (FSam, {"decay": 1.0}, r"decay: must lie in \[0, 1\)"),
    "eigen_sam alpha": (EigenSam, {"alpha": -0.1}, "alpha: must be ≥ 0"),
    "eigen_sam refresh_every": (EigenSam, {"refresh_every": 0}, "refresh_every: must be a whole"),
    "eigen_sam power_steps": (EigenSam, {"power_steps": 0}, "power_steps: must be a whole"),
    "adaptive_gsam rho_min": (AdaptiveGsam, {"rho_min": 0.2}, "rho_min: must lie in"),
    "adaptive_gsam eta": (AdaptiveGsam, {"eta": -1.0}, "eta: must be ≥ 0"),
    "msam rho": (Msam, {"rho": 11.0}, r"rho: must lie in \[0, 10\]"),
}


@pytest.mark.parametrize(("cls", "settings", "rule"), REFUSED.values(), ids=REFUSED)
def test_settings_are_checked(cls: type[Any], settings: dict[str, Any], rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        cls(**({"rho": 0.1} | settings))


def test_published_defaults_and_what_a_step_costs() -> None:
    assert (Esam(rho=0.1).beta, Esam(rho=0.1).gamma) == (0.5, 0.5)
    assert (FSam(rho=0.1).sigma, FSam(rho=0.1).decay) == (1.0, 0.9)
    eigen = EigenSam(rho=0.1)
    assert (eigen.alpha, eigen.refresh_every, eigen.power_steps) == (0.2, 100, 5)
    costs = {
        Esam(rho=0.1): 5.5,
        Esam(rho=0.1, gamma=1.0): 6,
        FSam(rho=0.1): 6,
        AdaptiveGsam(rho=0.1): 6,
        Msam(rho=0.1): 3,
        eigen: 6 + (1 + 2 * (1 + 2 * 5)) / 100,
    }
    for side, cost in costs.items():
        assert passes(Method(weights=side)).cost == pytest.approx(cost), side


@every_side
def test_a_flat_loss_moves_nothing_and_gives_no_nan(side: WeightSide) -> None:
    """All gradients are zero, and so is what is remembered of them."""
    weights = [torch.tensor([[1.0, -2.0]], requires_grad=True), torch.zeros(1, requires_grad=True)]

    class Flat:
        labels = torch.tensor([0, 1])
        choice = torch.zeros(2)

        def __call__(self, moved: list[Tensor] | None, **_: Any) -> tuple[Tensor, Tensor]:
            a, b = weights if moved is None else moved
            loss = 0 * ((a**2).sum() + (b**2).sum())
            return loss, torch.zeros(2, 3)

    values = {
        name: torch.tensor(float(value))
        for name, value in side.numbers(1.0, torch.tensor(0.0)).items()
    }
    memory = new_side_memory(side, weights) or [torch.zeros_like(weight) for weight in weights]
    numbers = no_numbers(CPU)._replace(**values)
    for phase in ("act", "refresh") if isinstance(side, EigenSam) else ("act",):
        run_side = perturbing(side, phase)  # type: ignore[arg-type]
        found = run_side(Flat(), weights, ["a.weight", "b.bias"], numbers, memory)
        assert all(torch.equal(g, torch.zeros_like(g)) for g in found.gradients)
        assert all(tensor.isfinite().all() for tensor in memory)


TRACED = {name: SIDES[name] for name in ("adaptive_gsam", "esam", "f_sam", "msam", "eigen_sam")}


@pytest.mark.parametrize("side", TRACED.values(), ids=TRACED)
def test_traced_for_compilation_a_side_equals_operators(
    side: WeightSide, make_config: MakeConfig, few_digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traced, but run by operators. A renewed eigenvector is not even traced."""
    monkeypatch.setattr(torch, "compile", lambda graph, **options: graph)
    config = make_config(Method(weights=side), learning_rate=0.01, epochs=2)
    traced = run(config, few_digits, Engine(narrow=False, compiled="always"))
    tail = ", but renewals by operators" if isinstance(side, EigenSam) else ""
    assert traced.engine["update"].endswith("torch.compile" + tail)
    plain = run(config, few_digits)
    pairs = zip(traced.memory.side, plain.memory.side, strict=True)
    for ours, theirs in [*pairs, *zip(tensors(traced), tensors(plain), strict=True)]:
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_esam_with_trades_selects_its_samples_of_both_images(
    make_config: MakeConfig, few_digits: Dataset
) -> None:
    method = Method(weights=Esam(rho=0.3), inputs=PGD, loss=Trades())
    [metrics] = run(make_config(method, epochs=1), few_digits).metrics
    # One attack step and its target; two images at w, two at w + e, and half of those once more.
    assert metrics.forward_passes == 150 * (2 + 2 + 2 + 1)
    assert metrics.weight_backward_passes == 150 * 3


def test_what_is_drawn_for_esam_is_of_the_seed_alone(
    make_config: MakeConfig, few_digits: Dataset
) -> None:
    """No other stream moves: where nothing is left out, the drawn numbers change nothing."""
    seeds = [
        run(make_config(Method(weights=Esam(rho=0.3)), epochs=1, seed=seed), few_digits)
        for seed in (0, 0, 1)
    ]
    assert are_equal(seeds[0], seeds[1])
    assert not are_equal(seeds[0], seeds[2])
    other = replace(Esam(rho=0.3), beta=0.9)
    moved = run(make_config(Method(weights=other), epochs=1), few_digits)
    assert not are_equal(moved, seeds[0])
