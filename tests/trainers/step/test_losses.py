"""Tests of the losses: definitions, the published code written out, limit and extreme cases."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.config import LOSSES, CrossEntropy, Ikl, Loss, Mart, Trades
from trainers.step.losses import (
    cross_entropy_sum,
    dkl,
    ikl,
    kl_sum,
    mart,
    minimised,
    new_loss_memory,
    trades,
)
from trainers.step.numbers import Numbers, no_numbers

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.0, 0.0, 0.0], [-3.0, 1.0, 4.0]])
LABELS = torch.tensor([0, 1, 1])
BETA = 6.0


def numbers(beta: float = BETA) -> Numbers:
    weight = torch.tensor(beta, dtype=torch.float64)
    return no_numbers(torch.device("cpu"))._replace(beta=weight, soft=weight)


def random_logits(seed: int, scale: float = 2.0) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of clean and crafted images (20, 10) in float64, and labels."""
    generator = torch.Generator().manual_seed(seed)
    clean, crafted = (
        scale * torch.randn(20, 10, generator=generator, dtype=torch.float64) for _ in range(2)
    )
    return clean, crafted, torch.randint(10, (20,), generator=generator)


def loss_of(loss: Loss, clean: Tensor, crafted: Tensor, labels: Tensor, beta: float = BETA) -> Any:
    """The loss where images are their own logits."""
    memory = new_loss_memory(loss, clean.shape[1], clean.device)
    return minimised(loss).loss(lambda x: 1 * x, clean, crafted, labels, numbers(beta), memory)


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(logits - logits.max())
    return np.asarray(powers / powers.sum())


def trades_twin(clean: Tensor, crafted: Tensor, labels: Tensor, beta: float) -> float:
    """One sample at a time; the divergence is summed over classes, averaged over samples."""
    total = 0.0
    for x, tried, label in zip(clean.numpy(), crafted.numpy(), labels.tolist(), strict=True):
        p, q = softmax(x), softmax(tried)
        total += -math.log(p[label]) + beta * sum(p * np.log(p / q))
    return total / len(labels)


def mart_twin(clean: Tensor, crafted: Tensor, labels: Tensor, beta: float) -> float:
    """One sample at a time, with the constants of the published code."""
    total = 0.0
    for x, tried, label in zip(clean.numpy(), crafted.numpy(), labels.tolist(), strict=True):
        p, q = softmax(x), softmax(tried)
        order = np.argsort(q)
        rival = order[-2] if order[-1] == label else order[-1]
        total += -math.log(q[label]) - math.log(1.0001 - q[rival] + 1e-12)
        divergence = sum(p * (np.log(p) - np.log(q + 1e-12)))
        total += beta * divergence * (1.0000001 - p[label])
    return total / len(labels)


SEEDS = (0, 1, 2)


def test_cross_entropy_is_the_mean_on_the_crafted_images() -> None:
    images, crafted = torch.zeros(3, 3), LOGITS
    loss, logits = loss_of(CrossEntropy(), images, crafted, LABELS)
    expected = (LOGITS.exp().sum(1).log() - LOGITS[torch.arange(3), LABELS]).mean()
    torch.testing.assert_close(loss, expected)
    assert torch.equal(logits, crafted)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.9])
def test_label_smoothing_spreads_a_share_of_the_target_over_all_classes(share: float) -> None:
    _, crafted, labels = random_logits(0)
    loss, _ = loss_of(CrossEntropy(label_smoothing=share), crafted, crafted, labels)
    target = torch.full((20, 10), share / 10, dtype=torch.float64)
    target[torch.arange(20), labels] += 1 - share
    expected = -(target * crafted.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(loss, expected)
    assert minimised(CrossEntropy(label_smoothing=share)).inner == minimised(CrossEntropy()).inner


@pytest.mark.parametrize("beta", [0.0, 1.0, 6.0])
@pytest.mark.parametrize("seed", SEEDS)
def test_trades_equals_an_obvious_twin(seed: int, beta: float) -> None:
    """Which sums the divergence over classes, `batchmean`: `mean` would be ten times less."""
    clean, crafted, labels = random_logits(seed)
    loss, logits = loss_of(Trades(), clean, crafted, labels, beta)
    assert loss.item() == pytest.approx(trades_twin(clean, crafted, labels, beta), rel=1e-9)
    assert torch.equal(logits, crafted)


@pytest.mark.parametrize("beta", [0.0, 5.0])
@pytest.mark.parametrize("scale", [1.0, 2.0, 8.0])
@pytest.mark.parametrize("seed", SEEDS)
def test_mart_equals_an_obvious_twin(seed: int, scale: float, beta: float) -> None:
    """Large logits too, where the constants inside the logarithms decide."""
    clean, crafted, labels = random_logits(seed, scale)
    loss, logits = loss_of(Mart(), clean, crafted, labels, beta)
    assert loss.item() == pytest.approx(mart_twin(clean, crafted, labels, beta), rel=1e-9)
    assert torch.equal(logits, crafted)


def test_mart_is_bounded_where_the_network_is_certain_and_wrong() -> None:
    """By log(1e-4) for the rival and log(1e-12) for the divergence, beside the cross-entropy."""
    certain = torch.tensor([[1e3, 0.0, -1e3]], dtype=torch.float64)
    label = torch.tensor([1])
    loss, _ = loss_of(Mart(), certain.flip(1), certain, label, BETA)
    expected = 1e3 - math.log(1e-4) - BETA * math.log(1e-12)
    assert loss.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("loss", [Trades(), Mart()], ids=["trades", "mart"])
def test_without_a_divergence_or_its_weight_only_the_first_term_is_left(loss: Loss) -> None:
    clean, crafted, labels = random_logits(0)
    first = loss_of(loss, clean, crafted, labels, 0.0)[0]
    if isinstance(loss, Trades):
        torch.testing.assert_close(first, loss_of(CrossEntropy(), clean, clean, labels)[0])
        torch.testing.assert_close(loss_of(loss, clean, clean, labels)[0], first)
    else:
        of_crafted = loss_of(loss, crafted, crafted, labels)[0]
        torch.testing.assert_close(of_crafted, first)
        certain = 1e3 * torch.nn.functional.one_hot(labels, 10).double()
        weighted = loss_of(loss, certain, crafted, labels)[0]
        torch.testing.assert_close(weighted, first, rtol=0, atol=1e-7 * BETA * 28)


@pytest.mark.parametrize("loss", [Trades(), Mart()], ids=["trades", "mart"])
def test_nothing_is_detached(loss: Loss) -> None:
    """Against differences of the slow twin, in the logits of clean and of crafted images."""
    twins: dict[type, Callable[..., float]] = {Trades: trades_twin, Mart: mart_twin}
    both = [x.clone().requires_grad_() for x in random_logits(4)[:2]]
    labels = random_logits(4)[2]
    gradients = torch.autograd.grad(loss_of(loss, *both, labels)[0], both)
    for which in (0, 1):
        for row, column in ((0, 3), (5, int(labels[5])), (19, 9)):
            values = []
            for sign in (1, -1):
                moved = [x.detach().clone() for x in both]
                moved[which][row, column] += sign * 1e-6
                values.append(twins[type(loss)](*moved, labels, BETA))
            slope = (values[0] - values[1]) / 2e-6
            assert float(gradients[which][row, column]) == pytest.approx(slope, abs=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("loss", [cls() for cls in LOSSES.values()], ids=LOSSES)
def test_extreme_logits_give_finite_losses_and_gradients(loss: Loss, dtype: torch.dtype) -> None:
    """At ±1e4: certain and right, certain and wrong, undecided, each against each."""
    rows = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0], [1e4, 1e4, -1e4], [0.0, 0.0, 0.0]])
    first, second = (x.reshape(16, 3) for x in (rows.repeat_interleave(4, 0), rows.repeat(4, 1)))
    for label in (0, 1, 2):
        both = [x.to(dtype).clone().requires_grad_() for x in (first, second)]
        labels = torch.full((16,), label)
        value, _ = loss_of(loss, *both, labels)
        gradients = torch.autograd.grad(value, both, allow_unused=True)
        assert value.isfinite()
        assert all(gradient is None or gradient.isfinite().all() for gradient in gradients)
        inner, memory = minimised(loss).inner, new_loss_memory(loss, 3, torch.device("cpu"))
        leaf = both[1].detach().requires_grad_()
        targets = inner.targets(lambda x: x, both[0].detach(), labels, memory)
        (gradient,) = torch.autograd.grad(inner.sum_of_losses(leaf, targets), leaf)
        assert gradient.isfinite().all()


def test_mart_of_two_classes_takes_the_logarithm_of_the_label_twice() -> None:
    """There 1 - p of the rival is p of the label, to which the constants add."""
    clean, crafted = (x[:, :2] for x in random_logits(0)[:2])
    labels = torch.arange(20) % 2
    loss, _ = loss_of(Mart(), clean, crafted, labels, 0.0)
    p_label = crafted.softmax(1)[torch.arange(20), labels]
    torch.testing.assert_close(loss, -(p_label.log() + (p_label + 1e-4).log()).mean())


@pytest.mark.parametrize("function", [trades, mart, dkl, partial(ikl, temperature=4.0)])
def test_the_clean_images_go_first_and_each_once(function: Callable[..., Any]) -> None:
    """So batch statistics are recorded twice a step, clean before crafted."""
    clean, crafted, labels = random_logits(0)
    seen: list[Tensor] = []

    def classify(images: Tensor) -> Tensor:
        seen.append(images)
        return images

    memory = new_loss_memory(Ikl(), 10, clean.device)
    function(classify, clean, crafted, labels, numbers(), memory)
    assert len(seen) == 2
    assert seen[0] is clean
    assert seen[1] is crafted


def test_loss_of_an_attack_is_a_sum_so_that_a_gradient_knows_no_batch_size() -> None:
    p = LOGITS.flip(0).softmax(1)

    def gradient(count: int, of_trades: bool) -> Tensor:
        leaf = LOGITS[:count].clone().requires_grad_()
        if of_trades:
            kl_sum(leaf, p[:count]).backward()
        else:
            cross_entropy_sum(leaf, LABELS[:count]).backward()
        assert leaf.grad is not None
        return leaf.grad[0]

    for of_trades, target in ((False, torch.tensor([1.0, 0.0, 0.0])), (True, p[0])):
        torch.testing.assert_close(gradient(1, of_trades), gradient(3, of_trades))
        torch.testing.assert_close(gradient(1, of_trades), LOGITS[0].softmax(0) - target)


def test_the_target_of_trades_attack_is_the_clean_prediction_without_a_gradient() -> None:
    clean, _, labels = random_logits(0)
    weight = torch.ones(10, dtype=torch.float64, requires_grad=True)
    inner = minimised(Trades()).inner
    target = inner.targets(lambda x: x * weight, clean, labels, [])
    torch.testing.assert_close(target, clean.softmax(1))
    assert not target.requires_grad
    for loss in (CrossEntropy(), Mart()):
        assert minimised(loss).inner.targets(lambda x: x, clean, labels, []) is labels
