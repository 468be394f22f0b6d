"""Tests of weight sides that remember, and of those that do not act on every step: LookSAM."""

import math
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.trainers.trainings import run, run_in_two_parts
from trainers.config import (
    WEIGHT_SIDES,
    ConfigError,
    LookSam,
    Method,
    Pgd,
    Sam,
    TrainConfig,
    passes,
    phase_of,
)
from trainers.data.dataset import Dataset
from trainers.engine.engine import PLAIN, Engine, generator
from trainers.step.numbers import no_numbers
from trainers.step.step import new_memory
from trainers.step.weights import (
    BETWEEN,
    REMEMBERING,
    look_sam,
    look_sam_between,
    perturbing,
)
from trainers.train import TrainState, new_state, train

MakeConfig = Callable[..., TrainConfig]
CPU = torch.device("cpu")
PGD = Pgd(norm="linf", epsilon=0.05, steps=1)
SETTINGS: dict[str, dict[str, Any]] = {
    "sgd": {},
    "adamw, averaged, clipped": {
        "optimizer": "adamw",
        "learning_rate": 0.01,
        "ema_decay": 0.9,
        "gradient_clip": 1.0,
    },
}


def tensors(state: TrainState) -> list[Tensor]:
    return [*state.model.state_dict().values(), *state.memory.moments, *state.memory.averages]


def assert_equal(ours: list[Tensor], theirs: list[Tensor]) -> None:
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def batches(config: TrainConfig, data: Dataset) -> Iterator[tuple[Tensor, Tensor]]:
    """All batches of a training: the order is drawn for each epoch from a stream of its own."""
    images = torch.tensor(data.train.images).to(torch.float32) / data.divisor
    labels = torch.tensor(data.train.labels)
    for epoch in range(config.training.epochs):
        stream = generator(config.seed, "batch order", epoch, device=CPU)
        order = torch.randperm(len(labels), generator=stream)
        for index in order.split(config.training.batch_size):
            yield images[index], labels[index]


def norm(gradients: list[Tensor]) -> Tensor:
    return torch.stack([gradient.norm() for gradient in gradients]).norm()


def inner(a: list[Tensor], b: list[Tensor]) -> Tensor:
    return torch.stack([(x * y).sum() for x, y in zip(a, b, strict=True)]).sum()


def gradient(model: nn.Module, images: Tensor, labels: Tensor) -> list[Tensor]:
    loss = F.cross_entropy(model(images), labels)
    return list(torch.autograd.grad(loss, list(model.parameters())))


def plain_look_sam(config: TrainConfig, data: Dataset) -> nn.Module:
    """Train as algorithm 1 of Liu et al. (2022) is written, tensor by tensor."""
    side = config.method.weights
    assert isinstance(side, LookSam)
    model = new_state(config, data, CPU).model
    weights = list(model.parameters())
    momentum = [torch.zeros_like(weight) for weight in weights]
    steps = math.ceil(len(data.train.labels) / config.training.batch_size)
    total = config.training.epochs * steps
    kept: list[Tensor] = []
    for at, (images, labels) in enumerate(batches(config, data)):
        g = gradient(model, images, labels)
        if at % side.every == 0:
            statistics = {name: value.clone() for name, value in model.named_buffers()}
            before = [weight.detach().clone() for weight in weights]
            with torch.no_grad():
                for weight, x in zip(weights, g, strict=True):
                    weight.add_(x * (torch.tensor(side.rho) / (norm(g) + 1e-12)))
            used = gradient(model, images, labels)
            with torch.no_grad():
                for weight, x in zip(weights, before, strict=True):
                    weight.copy_(x)
                for name, buffer in model.named_buffers():
                    buffer.copy_(statistics[name])
            share = inner(g, used) / inner(g, g)
            kept = [s - x * share for s, x in zip(used, g, strict=True)]
        else:
            ratio = torch.tensor(side.alpha) * norm(g) / norm(kept)
            used = [x + v * ratio for x, v in zip(g, kept, strict=True)]
        rate = config.training.learning_rate * (1 + math.cos(math.pi * at / total)) / 2
        with torch.no_grad():
            for weight, m, x in zip(weights, momentum, used, strict=True):
                decayed = weight * torch.tensor(config.training.weight_decay) + x
                m.mul_(torch.tensor(config.training.momentum)).add_(decayed)
                weight.sub_(m * torch.tensor(rate, dtype=torch.float32))
    return model


@pytest.mark.parametrize("every", [1, 2, 5])
def test_look_sam_equals_a_plain_loop_bit_for_bit(
    every: int, make_config: MakeConfig, few_digits: Dataset
) -> None:
    config = make_config(Method(weights=LookSam(rho=0.2, every=every, alpha=0.7)))
    ours, theirs = run(config, few_digits).model, plain_look_sam(config, few_digits)
    assert_equal(list(ours.state_dict().values()), list(theirs.state_dict().values()))


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_look_sam_on_every_step_is_sam_bit_for_bit(
    settings: dict[str, Any], make_config: MakeConfig, few_digits: Dataset
) -> None:
    look = make_config(Method(weights=LookSam(rho=0.2, every=1), inputs=PGD), **settings)
    sam = replace(look, method=Method(weights=Sam(rho=0.2), inputs=PGD))
    assert_equal(tensors(run(look, few_digits)), tensors(run(sam, few_digits)))


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_look_sam_resumed_equals_uninterrupted_bit_for_bit(
    settings: dict[str, Any], make_config: MakeConfig, few_digits: Dataset
) -> None:
    """An epoch has three steps and SAM's gradient is taken on every fifth: none of them align."""
    config = make_config(Method(weights=LookSam(rho=0.2, every=5), inputs=PGD), **settings)
    whole = run(config, few_digits)
    resumed = run_in_two_parts(config, few_digits)
    assert_equal(tensors(whole), tensors(resumed))
    assert_equal(whole.memory.side, resumed.memory.side)
    assert any(tensor.abs().sum() > 0 for tensor in whole.memory.side)


def test_interleaved_trainings_keep_memories_of_their_own(
    make_config: MakeConfig, few_digits: Dataset
) -> None:
    """Both are of one shape, so one program holds them in turn; its last memory is not the next."""
    methods = [Method(weights=LookSam(rho=rho, every=5)) for rho in (0.2, 0.05)]
    configs = [make_config(method, seed=seed) for seed, method in enumerate(methods)]
    alone = [run(config, few_digits) for config in configs]
    states = [new_state(config, few_digits, CPU) for config in configs]
    loops = [
        train(config, few_digits, CPU, state, PLAIN)
        for config, state in zip(configs, states, strict=True)
    ]
    for _ in zip(*loops, strict=True):
        pass
    for ours, theirs in zip(states, alone, strict=True):
        assert_equal(tensors(ours), tensors(theirs))
        assert_equal(ours.memory.side, theirs.memory.side)


def test_at_radius_zero_a_remembered_rounding_error_is_not_scaled_to_a_step() -> None:
    """A compiled step may round two equal gradients differently, so it remembers more than 0."""
    weights = [torch.tensor([1.0, -2.0], requires_grad=True)]
    memory = [torch.tensor([1e-9, 1e-9])]

    def loss_at(moved: list[Tensor] | None) -> tuple[Tensor, Tensor]:
        (w,) = weights if moved is None else moved
        return w @ w / 2, torch.zeros(1, 2)

    for rho in (0.0, 0.1):
        numbers = no_numbers(CPU)._replace(rho=torch.tensor(rho), alpha=torch.tensor(0.7))
        (between,) = look_sam_between(loss_at, weights, ["w"], numbers, memory).gradients
        assert torch.equal(between, weights[0].detach()) == (rho == 0)


def test_what_is_remembered_is_orthogonal_to_the_gradient_and_sets_the_length_of_the_step() -> None:
    """On ½ wᵀ A w, where g = A w and SAM's gradient is A (w + ρ g / ‖g‖)."""
    matrix = torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=torch.float64)
    weights = [torch.tensor([1.0, -2.0], dtype=torch.float64, requires_grad=True)]
    memory = [torch.zeros(2, dtype=torch.float64)]
    values = {"rho": 0.5, "alpha": 0.7}
    numbers = no_numbers(CPU)._replace(
        **{name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}
    )

    def loss_at(moved: list[Tensor] | None) -> tuple[Tensor, Tensor]:
        (w,) = weights if moved is None else moved
        return w @ matrix @ w / 2, torch.zeros(1, 2)

    w = weights[0].detach()
    g = matrix @ w
    moved = matrix @ (w + 0.5 * g / g.norm())
    (found,) = look_sam(loss_at, weights, ["w"], numbers, memory).gradients
    torch.testing.assert_close(found, moved, rtol=1e-12, atol=0)
    assert abs(memory[0] @ g) < 1e-12
    torch.testing.assert_close(memory[0], moved - (moved @ g) / (g @ g) * g, rtol=1e-12, atol=1e-15)
    (between,) = look_sam_between(loss_at, weights, ["w"], numbers, memory).gradients
    assert (between - g).norm() == pytest.approx(float(0.7 * g.norm()), rel=1e-12)
    assert (between - g) @ memory[0] > 0


def test_traced_for_compilation_it_equals_operators(
    make_config: MakeConfig, few_digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In all three phases, and for a second trial of the shape. Traced, but run by operators."""
    monkeypatch.setattr(torch, "compile", lambda graph, **options: graph)
    for rho in (0.2, 0.05):
        side = LookSam(rho=rho, every=2, active=(0.2, 1.0))
        config = make_config(Method(weights=side), learning_rate=0.01)
        traced = run(config, few_digits, Engine(narrow=False, compiled="always"))
        plain = run(config, few_digits)
        assert traced.engine["update"] == "torch.compile"
        pairs = zip(traced.memory.side, plain.memory.side, strict=True)
        for ours, theirs in [*pairs, *zip(tensors(traced), tensors(plain), strict=True)]:
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_before_its_share_of_the_training_a_side_is_standard_training(
    make_config: MakeConfig, few_digits: Dataset
) -> None:
    late = make_config(Method(weights=LookSam(rho=0.5, every=1, active=(2 / 3, 1.0))))
    standard = replace(late, method=Method())
    ours, theirs = new_state(late, few_digits, CPU), new_state(standard, few_digits, CPU)
    pairs = zip(
        train(late, few_digits, CPU, ours, PLAIN),
        train(standard, few_digits, CPU, theirs, PLAIN),
        strict=True,
    )
    are_equal = [
        all(torch.equal(a, b) for a, b in zip(tensors(ours), tensors(theirs), strict=True))
        for _ in pairs
    ]
    assert are_equal == [True, True, False]


def test_phases_are_counted_from_where_a_side_begins() -> None:
    def phases(side: LookSam | Sam) -> str:
        return "".join(phase_of(side, step, 8)[2] for step in range(8))

    # The third letters of rest, act and reuse: s, t and u.
    assert phases(LookSam(rho=0.1, every=3)) == "tuutuutu"
    assert phases(LookSam(rho=0.1, every=2, active=(0.5, 1.0))) == "sssstutu"
    assert phases(LookSam(rho=0.1, every=3, active=(0.5, 1.0))) == "sssstuut"
    assert phases(LookSam(rho=0.1, every=9)) == "tuuuuuuu"
    assert phases(Sam(rho=0.1)) == "t" * 8


def test_a_share_of_the_steps_is_counted_exactly_and_leaves_the_last_one() -> None:
    def begins(share: float, total: int) -> int:
        side = LookSam(rho=0.1, active=(share, 1.0))
        return [phase_of(side, step, total) for step in range(total)].index("act")

    for total in (1, 7, 50, 100):
        assert begins(0.0, total) == 0
        assert begins(0.999, total) == total - 1
        for first in range(total):  # 0.07 × 100 is above 7, and so for some others
            assert begins(first / total, total) == first
    assert begins(0.071, 100) == 8


def test_cost_is_between_standard_training_and_sam() -> None:
    look = [passes(Method(weights=LookSam(rho=0.1, every=every))).cost for every in (1, 5, 30)]
    assert look == pytest.approx([6, 3.6, 3.1])
    late = Method(weights=LookSam(rho=0.1, every=5, active=(0.5, 1.0)))
    assert passes(late).cost == pytest.approx(3.3)


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"every": 0}, "every"),
        ({"alpha": -0.1}, "alpha: must be ≥ 0"),
        ({"active": (0.5, 1.5)}, "active: must be a pair"),
    ],
)
def test_settings_of_look_sam_are_checked(settings: dict[str, Any], rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        LookSam(rho=0.1, **settings)


def test_every_side_has_its_function_and_its_memory(
    make_config: MakeConfig, few_digits: Dataset
) -> None:
    """A side that reuses what it remembers acts otherwise in between; no other side does."""
    for cls in WEIGHT_SIDES.values():
        assert (cls in BETWEEN) == (getattr(cls, "between", "rest") == "reuse")
        required = [one.name for one in fields(cls) if one.default is MISSING]
        side = cls(**dict.fromkeys(required, 0.1))
        config = make_config(Method(weights=side))
        model = new_state(config, few_digits, CPU).model
        assert bool(new_memory(config, model, 10).side) == (cls in REMEMBERING)
        for step in range(4):
            assert callable(perturbing(side, phase_of(side, step, 4)))
