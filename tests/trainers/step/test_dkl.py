"""Tests of DKL and IKL: slow twins, the gradient of KL, limit cases, the memory of class means."""

import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from trainers.checkpoint import load_state, save_state
from trainers.config import (
    ConfigError,
    CrossEntropy,
    Dkl,
    Ikl,
    Loss,
    Method,
    Pgd,
    Sam,
    Trades,
    TrainConfig,
)
from trainers.data.dataset import Dataset
from trainers.engine.engine import PLAIN, Engine
from trainers.step.losses import end_epoch_of_ikl, minimised, new_loss_memory, pairwise_square
from trainers.step.numbers import Numbers, no_numbers
from trainers.train import TrainState, new_state, train

MakeConfig = Callable[..., TrainConfig]
CPU = torch.device("cpu")
B, K = 12, 5
PGD = Pgd(norm="linf", epsilon=0.05, steps=1)
SEEDS = (0, 1, 2)


def numbers(loss: Loss) -> Numbers:
    values = {name: torch.tensor(x, dtype=torch.float64) for name, x in loss.numbers().items()}
    return no_numbers(CPU)._replace(**values)


def drawn(seed: int) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
    """Logits of clean and crafted images in float64, labels, and a memory that is not uniform."""
    generator = torch.Generator().manual_seed(seed)
    clean, crafted = (
        2 * torch.randn(B, K, generator=generator, dtype=torch.float64) for _ in range(2)
    )
    weights = torch.randn(K, K, generator=generator, dtype=torch.float64).softmax(1)
    labels = torch.randint(K, (B,), generator=generator)
    return clean, crafted, labels, [weights, torch.zeros(K, K, dtype=torch.float64)]


def value_of(
    loss: Loss, clean: Tensor, crafted: Tensor, labels: Tensor, memory: list[Tensor]
) -> Tensor:
    """The loss where images are their own logits."""
    kept = [tensor.clone() for tensor in memory] if isinstance(loss, Ikl) else []
    classify = lambda x: 1 * x  # noqa: E731
    return minimised(loss).loss(classify, clean, crafted, labels, numbers(loss), kept)[0]


def gradients(
    loss: Callable[..., Tensor], clean: Tensor, crafted: Tensor, *rest: object
) -> tuple[Tensor, Tensor]:
    leaves = [x.clone().requires_grad_() for x in (clean, crafted)]
    found = torch.autograd.grad(loss(*leaves, *rest), leaves, materialize_grads=True)
    return found[0], found[1]


def twin(
    loss: Dkl | Ikl, clean: Tensor, crafted: Tensor, labels: Tensor, weights: Tensor
) -> Tensor:
    """As the paper writes it: differences of every two logits, one sample and pair at a time."""
    total = torch.zeros((), dtype=torch.float64)
    for n, a, label in zip(clean, crafted, labels.tolist(), strict=True):
        p = n.softmax(0).detach()
        w = weights[label] if isinstance(loss, Ikl) else p
        other = a if isinstance(loss, Ikl) else a.detach()
        square = torch.zeros((), dtype=torch.float64)
        for j in range(len(n)):
            for k in range(len(n)):
                square = square + w[j] * w[k] * ((n[j] - n[k]) - (other[j] - other[k])) ** 2
        cross = -(p * a.log_softmax(0)).sum() + (p * p.log()).sum()
        total = total - n.log_softmax(0)[label] + loss.beta * square / 4 + loss.alpha * cross
    return total / len(labels)


LOSSES: dict[str, Dkl | Ikl] = {
    "dkl": Dkl(alpha=3.0, beta=7.0),
    "ikl": Ikl(alpha=3.0, beta=7.0),
    "dkl, no cross-entropy": Dkl(alpha=0.0, beta=2.0),
    "dkl, no square": Dkl(alpha=2.0, beta=0.0),
    "ikl, no cross-entropy": Ikl(alpha=0.0, beta=2.0),
    "ikl, no square": Ikl(alpha=2.0, beta=0.0),
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("seed", SEEDS)
def test_value_and_both_gradients_equal_those_of_an_obvious_twin(
    loss: Dkl | Ikl, seed: int
) -> None:
    clean, crafted, labels, memory = drawn(seed)
    found = value_of(loss, clean, crafted, labels, memory)
    torch.testing.assert_close(found, twin(loss, clean, crafted, labels, memory[0]))
    ours = gradients(lambda n, a: value_of(loss, n, a, labels, memory), clean, crafted)
    theirs = gradients(lambda n, a: twin(loss, n, a, labels, memory[0]), clean, crafted)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_each_term_of_dkl_has_the_gradient_of_kl_in_its_own_logits(seed: int) -> None:
    """Theorem 1: the square moves the clean logits alone, the cross-entropy the crafted alone."""
    clean, crafted, labels, memory = drawn(seed)
    of_kl = gradients(
        lambda n, a: F.kl_div(a.log_softmax(1), n.softmax(1), reduction="batchmean"),
        clean,
        crafted,
    )
    of_ce = gradients(lambda n, a: F.cross_entropy(n, labels), clean, crafted)[0]
    square = Dkl(alpha=0.0, beta=1.0)
    at_clean, at_crafted = gradients(
        lambda n, a: value_of(square, n, a, labels, memory), clean, crafted
    )
    torch.testing.assert_close(at_clean - of_ce, of_kl[0], rtol=0, atol=1e-12)
    assert not at_crafted.any()
    cross = Dkl(alpha=1.0, beta=0.0)
    at_clean, at_crafted = gradients(
        lambda n, a: value_of(cross, n, a, labels, memory), clean, crafted
    )
    torch.testing.assert_close(at_clean, of_ce, rtol=0, atol=1e-12)
    torch.testing.assert_close(at_crafted, of_kl[1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("beta", [0.0, 1.0, 6.0])
def test_dkl_of_equal_weights_has_the_gradient_of_trades_and_of_its_attack(beta: float) -> None:
    clean, crafted, labels, memory = drawn(3)
    ours, theirs = (
        gradients(lambda n, a, loss=loss: value_of(loss, n, a, labels, memory), clean, crafted)
        for loss in (Dkl(alpha=beta, beta=beta), Trades(beta=beta))
    )
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
    assert minimised(Dkl()).inner == minimised(Trades()).inner


@pytest.mark.parametrize("loss", [Dkl(alpha=0.0, beta=0.0), Ikl(alpha=0.0, beta=0.0)])
def test_without_weights_only_the_cross_entropy_of_clean_images_is_left(loss: Loss) -> None:
    clean, crafted, labels, memory = drawn(4)
    found = value_of(loss, clean, crafted, labels, memory)
    torch.testing.assert_close(found, value_of(CrossEntropy(), clean, clean, labels, memory))


@pytest.mark.parametrize("loss", [Dkl(), Ikl()])
def test_equal_predictions_leave_only_the_cross_entropy(loss: Loss) -> None:
    """In value, too: the entropy of the clean prediction, which has no gradient, is left out."""
    clean, _, labels, memory = drawn(5)
    shifted = clean + torch.arange(B)[:, None]  # logits that differ by a constant are equal
    found = value_of(loss, clean, shifted, labels, memory)
    torch.testing.assert_close(found, F.cross_entropy(clean, labels))


def test_the_square_needs_no_table_of_pairs() -> None:
    """A table of 20,000 × 20,000 would take 3 GB."""
    x = torch.linspace(-1, 1, 20_000, dtype=torch.float64)[None]
    w = torch.full_like(x, 1 / 20_000)
    expected = np.var(x.numpy()) / 2
    assert pairwise_square(x, w).item() == pytest.approx(expected, rel=1e-9)


def test_ikl_attack_maximises_ikl_of_unit_weights_from_what_is_remembered() -> None:
    clean, crafted, labels, memory = drawn(6)
    inner = minimised(Ikl(alpha=3.0, beta=7.0)).inner
    targets = inner.targets(lambda x: x, clean, labels, memory)
    assert targets.shape == (B, 2, K)
    leaf = crafted.clone().requires_grad_()
    (found,) = torch.autograd.grad(inner.sum_of_losses(leaf, targets), leaf)
    unit = Ikl(alpha=1.0, beta=1.0)
    _, expected = gradients(lambda n, a: twin(unit, n, a, labels, memory[0]) * B, clean, crafted)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_ikl_remembers_the_mean_prediction_of_each_class_in_the_epoch_before() -> None:
    """At its temperature; a class that no batch had keeps its weights, and sums begin anew."""
    loss = Ikl(temperature=2.0)
    memory = [tensor.double() for tensor in new_loss_memory(loss, K, CPU)]
    assert torch.equal(memory[0], torch.full((K, K), 1 / K).double())
    seen: dict[int, list[Tensor]] = {}
    for seed in SEEDS:
        clean, crafted, labels, _ = drawn(seed)
        labels = labels.clamp(max=K - 2)
        minimised(loss).loss(lambda x: 1 * x, clean, crafted, labels, numbers(loss), memory)
        for logits, label in zip(clean, labels.tolist(), strict=True):
            seen.setdefault(label, []).append((logits / 2).softmax(0))
    assert torch.equal(memory[0], torch.full((K, K), 1 / K).double())
    end_epoch_of_ikl(memory)
    for label in range(K - 1):
        torch.testing.assert_close(memory[0][label], torch.stack(seen[label]).mean(0))
    assert torch.equal(memory[0][K - 1], torch.full((K,), 1 / K).double())
    assert not memory[1].any()


def run(config: TrainConfig, data: Dataset, engine: Engine = PLAIN) -> TrainState:
    state = new_state(config, data, CPU)
    for _ in train(config, data, CPU, state, engine):
        pass
    return state


def test_weights_of_ikl_are_those_of_clean_predictions_at_the_networks_own_weights(
    make_config: MakeConfig, few_digits: Dataset
) -> None:
    """At learning rate 0, by a network in training mode, batch by batch; SAM's second pass, at
    other weights, is not counted."""
    states = [
        run(
            make_config(
                Method(weights=side, inputs=PGD, loss=Ikl()),
                epochs=1,
                learning_rate=0.0,
                batch_size=150,
            ),
            few_digits,
        )
        for side in (Method().weights, Sam(rho=0.5))
    ]
    assert torch.equal(states[0].memory.loss[0], states[1].memory.loss[0])
    model = new_state(make_config(batch_size=150), few_digits, CPU).model
    images = torch.tensor(few_digits.train.images).float() / few_digits.divisor
    labels = torch.tensor(few_digits.train.labels)
    with torch.no_grad():
        soft = (model(images) / 4).softmax(1)
    for label in range(10):
        expected = soft[labels == label].mean(0)
        torch.testing.assert_close(states[0].memory.loss[0][label], expected)


def test_ikl_resumed_equals_uninterrupted_bit_for_bit(
    make_config: MakeConfig, few_digits: Dataset
) -> None:
    config = make_config(Method(weights=Sam(rho=0.1), inputs=PGD, loss=Ikl()), learning_rate=0.02)
    whole, begun = run(config, few_digits), new_state(config, few_digits, CPU)
    next(train(config, few_digits, CPU, begun, PLAIN))
    file = io.BytesIO()
    save_state(file, begun, "digest")
    file.seek(0)
    resumed = load_state(file, config, few_digits, CPU, "digest")
    assert resumed is not None
    assert resumed.memory.loss[0].std() > 1e-3  # no longer uniform
    for _ in train(config, few_digits, CPU, resumed, PLAIN):
        pass
    pairs = zip(
        [*whole.model.state_dict().values(), *whole.memory.tensors],
        [*resumed.model.state_dict().values(), *resumed.memory.tensors],
        strict=True,
    )
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)


def test_what_ikl_remembers_changes_the_second_epoch_alone(
    make_config: MakeConfig, few_digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The temperature decides only what the next epoch's weights are."""
    losses = [
        [metrics.train_loss for metrics in run(config, few_digits).metrics]
        for temperature in (1.0, 8.0)
        for config in [
            make_config(
                Method(inputs=PGD, loss=Ikl(temperature=temperature)),
                epochs=2,
                learning_rate=0.05,
            )
        ]
    ]
    assert losses[0][0] == losses[1][0]
    assert losses[0][1] != losses[1][1]


def test_traced_for_compilation_it_equals_operators(
    make_config: MakeConfig, few_digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a second trial of the shape, too. Traced, but run by operators."""
    monkeypatch.setattr(torch, "compile", lambda graph, **options: graph)
    for beta in (1.0, 3.0):
        method = Method(weights=Sam(rho=0.1), inputs=PGD, loss=Ikl(beta=beta))
        config = make_config(method, learning_rate=0.01, epochs=2)
        traced = run(config, few_digits, Engine(narrow=False, compiled="always"))
        plain = run(config, few_digits)
        assert traced.engine["update"] == "torch.compile"
        pairs = zip(traced.memory.tensors, plain.memory.tensors, strict=True)
        for ours, theirs in pairs:
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_settings_are_checked_and_published() -> None:
    for settings, rule in (
        ({"alpha": -1.0}, "alpha: must be ≥ 0"),
        ({"beta": float("nan")}, "beta: must be ≥ 0"),
        ({"temperature": 0.0}, "temperature: must be > 0"),
    ):
        with pytest.raises(ConfigError, match=rule):
            Ikl(**settings)
    with pytest.raises(ConfigError, match="beta: must be ≥ 0"):
        Dkl(beta=-1.0)
    assert Ikl() == Ikl(alpha=4.0, beta=20.0, temperature=4.0)
    assert Dkl() == Dkl(alpha=Trades().beta, beta=Trades().beta)
