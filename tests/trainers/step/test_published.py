"""TRADES and MART against slow twins of their published code: one step, in float64.

The twins attack one image at a time and sum the loss one sample at a time. Of the published code
they keep each constant, the start outside [0, 1], and the order of box and ball. MART publishes no
attack in l2; it is that of TRADES here. Float64, as rounding decides the sign of a gradient near 0.
"""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainers.config import Loss, Mart, Method, Norm, Pgd, Trades, TrainConfig
from trainers.data.dataset import Dataset
from trainers.networks.build import build_model, evaluation_view
from trainers.step.inputs import crafting
from trainers.step.losses import minimised
from trainers.step.numbers import no_numbers
from trainers.step.optimizer import descending
from trainers.step.step import Network, Sides, new_memory, update
from trainers.step.weights import perturbing

MakeConfig = Callable[..., TrainConfig]
CPU = torch.device("cpu")
SAMPLES, STEPS, LEARNING_RATE, WEIGHT_DECAY, BETA = 12, 3, 0.1, 5e-4, 6.0
BALLS: dict[Norm, tuple[float, float]] = {"linf": (0.1, 0.03), "l2": (0.8, 2 * 0.8 / STEPS)}
"""Radius and step size; that of l2 is the published one, twice the radius over the steps."""
LOSSES: dict[str, Loss] = {"trades": Trades(beta=BETA), "mart": Mart(beta=BETA)}


def log_softmax(logits: Tensor) -> Tensor:
    return logits - logits.exp().sum().log()


def ascended(model: nn.Module, x: Tensor, tried: Tensor, label: int, is_trades: bool) -> Tensor:
    """The gradient at one image: of the divergence from the clean prediction, or cross-entropy."""
    leaf = tried.detach().clone().requires_grad_()
    log_q = log_softmax(model(leaf[None])[0])
    if is_trades:
        log_p = log_softmax(model(x[None])[0]).detach()
        loss = sum(p.exp() * (p - q) for p, q in zip(log_p, log_q, strict=True))
    else:
        loss = -log_q[label]
    loss.backward()  # type: ignore[union-attr]
    assert leaf.grad is not None
    return leaf.grad


def attacked(
    model: nn.Module, x: Tensor, label: int, noise: Tensor, norm: Norm, is_trades: bool
) -> Tensor:
    """One image: start at 0.001 of the noise, unclamped; linf ball then box, l2 box then ball."""
    radius, size = BALLS[norm]
    tried = x + 0.001 * noise
    for _ in range(STEPS):
        up = ascended(model, x, tried, label, is_trades)
        if norm == "linf":
            tried = tried + size * up.sign()
            tried = torch.min(torch.max(tried, x - radius), x + radius).clamp(0, 1)
        else:
            delta = (tried + size * up / up.square().sum().sqrt()).clamp(0, 1) - x
            length = float(delta.square().sum().sqrt())
            tried = x + delta * min(1.0, radius / length)
    return tried.clamp(0, 1)


def trades_loss(clean: Tensor, logits: Tensor, labels: list[int]) -> Any:
    """Cross-entropy of the clean images, and β times the divergence."""
    total: Any = 0.0
    for x, tried, label in zip(clean, logits, labels, strict=True):
        log_p, log_q = log_softmax(x), log_softmax(tried)
        total += -log_p[label] + BETA * (log_p.exp() * (log_p - log_q)).sum()
    return total / len(labels)


def mart_loss(clean: Tensor, logits: Tensor, labels: list[int]) -> Any:
    """Boosted cross-entropy of the crafted images, and β times the weighted divergence."""
    total: Any = 0.0
    for x, tried, label in zip(clean, logits, labels, strict=True):
        p, log_q = log_softmax(x).exp(), log_softmax(tried)
        q = log_q.exp()
        rival = max((k for k in range(len(q)) if k != label), key=q.tolist().__getitem__)
        total += -log_q[label] - (1.0001 - q[rival] + 1e-12).log()
        divergence = (p * (p.log() - (q + 1e-12).log())).sum()
        total += BETA * divergence * (1.0000001 - p[label])
    return total / len(labels)


def twin_step(
    model: nn.Module, images: Tensor, labels: Tensor, noise: Tensor, norm: Norm, loss: Loss
) -> tuple[float, Tensor]:
    """Craft in evaluation mode, then step plain SGD in training mode; return loss and x′."""
    is_trades = isinstance(loss, Trades)
    model.eval()
    cases = zip(images, labels.tolist(), noise, strict=True)
    crafted = torch.stack([attacked(model, x, y, unit, norm, is_trades) for x, y, unit in cases])
    model.train()
    model.zero_grad()
    value = (trades_loss if is_trades else mart_loss)(
        model(images), model(crafted), labels.tolist()
    )
    value.backward()
    with torch.no_grad():
        for weight in model.parameters():
            assert weight.grad is not None
            weight -= LEARNING_RATE * (weight.grad + WEIGHT_DECAY * weight)
    return float(value.detach()), crafted


def our_step(
    model: nn.Module, config: TrainConfig, images: Tensor, labels: Tensor, noise: Tensor
) -> tuple[float, Tensor]:
    """The same by our sides, of which `trainers.step.step.step` consists."""
    side, loss = config.method.inputs, minimised(config.method.loss)
    assert isinstance(side, Pgd)
    named, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    network = Network(
        model=model,
        classify=model,
        attacked=evaluation_view(model),
        refresh=lambda: None,
        names=list(named),
        weights=list(named.values()),
        buffer_names=list(buffers),
        buffers=list(buffers.values()),
        memory=new_memory(config, model, 10),
    )
    sides = Sides(
        take=lambda *_: (images, labels),
        craft=crafting(side, loss.inner).craft,
        gradients=perturbing(config.method.weights),
        loss=loss.loss,
        descend=descending(config.training),
        clips=False,
    )
    values = {
        "learning_rate": LEARNING_RATE,
        "weight_decay": WEIGHT_DECAY,
        "epsilon": side.epsilon,
        "step_length": side.step_length,
        "beta": BETA,
    }
    tensors = {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}
    numbers = no_numbers(CPU)._replace(**tensors)
    crafted = sides.craft(network.attacked, images, labels, noise, numbers, network.memory)
    value, _ = update(sides, network, numbers, images, crafted, labels)
    return float(value.detach()), crafted


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("norm", BALLS)
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_one_step_equals_the_published_code(
    loss: Loss, norm: Norm, seed: int, make_config: MakeConfig, digits: Dataset
) -> None:
    """On digits, half of whose pixels are black, so that the start leaves [0, 1]."""
    radius, size = BALLS[norm]
    side = Pgd(norm=norm, epsilon=radius, steps=STEPS, step_size=size)
    config = make_config(Method(inputs=side, loss=loss))
    generator = torch.Generator().manual_seed(seed)
    model = build_model(config.model, digits, generator).double().train()
    twin = copy.deepcopy(model)
    chosen = torch.randperm(len(digits.train.labels), generator=generator)[:SAMPLES].numpy()
    images = torch.tensor(digits.train.images[chosen]).double() / 16
    labels = torch.tensor(digits.train.labels[chosen])
    noise = crafting(side, minimised(loss).inner).draw(tuple(images.shape), generator).double()

    value, crafted = our_step(model, config, images, labels, noise)
    twin_value, twin_crafted = twin_step(twin, images, labels, noise, norm, loss)

    torch.testing.assert_close(crafted, twin_crafted, rtol=0, atol=1e-6)
    assert value == pytest.approx(twin_value, abs=1e-6)
    for (name, weight), other in zip(model.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(weight, other, rtol=0, atol=1e-6, msg=f"{name}, seed {seed}")
