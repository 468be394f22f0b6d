"""One optimisation step as one pure tensor program.

Pure: the result depends on the arguments alone, and only tensors that were handed in are written,
in place. Numbers that differ between trials are 0-d tensors, random numbers enter as tensors, and
the host never waits for the device. So one compiled or captured step can serve every trial of a
shape.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from trainers.batches import Draw, Source
from trainers.losses import cross_entropy_sum


class Sides(NamedTuple):
    """The functions of a method, chosen before the loop."""

    take: Callable[[Source, Draw], tuple[Tensor, Tensor]]
    craft: Callable[..., Tensor]
    gradients: Callable[..., Any]
    loss: Callable[..., tuple[Tensor, Tensor]]


class Network(NamedTuple):
    """What a training writes, in fixed storage, and a view of it for attacks."""

    model: nn.Module
    """In training mode."""
    view: nn.Module
    """The same weights and buffers, in evaluation mode."""
    names: list[str]
    weights: list[Tensor]
    momentum: list[Tensor]


class Numbers(NamedTuple):
    """0-d tensors on the device: what may differ between trials of one shape."""

    learning_rate: Tensor
    momentum: Tensor
    weight_decay: Tensor
    rho: Tensor
    epsilon: Tensor
    step_length: Tensor
    divisor: Tensor


class Sums(NamedTuple):
    """0-d tensors on the device, over the steps of an epoch; read once, at its end."""

    loss: Tensor
    """Over samples."""
    correct: Tensor
    """Of the crafted images, before the weights are updated."""
    seen: Tensor
    is_finite: Tensor


def new_sums(device: torch.device) -> Sums:
    """Return sums of no sample."""
    return Sums(
        loss=torch.tensor(0.0, dtype=torch.float64, device=device),
        correct=torch.tensor(0, device=device),
        seen=torch.tensor(0, device=device),
        is_finite=torch.tensor(True, device=device),
    )


def step(
    sides: Sides, network: Network, numbers: Numbers, source: Source, draw: Draw, sums: Sums
) -> None:
    """Take one step: augment, craft x′ at w, take the gradient by the weight side, update w."""
    stored, labels = sides.take(source, draw)
    images = stored.to(torch.float32) / numbers.divisor
    crafted = sides.craft(
        network.view,
        cross_entropy_sum,
        images,
        labels,
        draw.noise,
        numbers.epsilon,
        numbers.step_length,
    )

    def loss_at(weights: list[Tensor] | None) -> tuple[Tensor, Tensor]:
        classify = network.model if weights is None else _moved(network, weights)
        return sides.loss(classify, images, crafted, labels)

    loss, logits, gradients = sides.gradients(loss_at, network.weights, numbers.rho)
    with torch.no_grad():
        descend(network.weights, network.momentum, gradients, numbers)
        sums.loss.add_(loss.detach() * len(labels))
        sums.correct.add_((logits.detach().argmax(1) == labels).sum())
        sums.seen.add_(len(labels))
        sums.is_finite.logical_and_(loss.detach().isfinite())


def _moved(network: Network, weights: list[Tensor]) -> Callable[[Tensor], Tensor]:
    """Return the network at other weights; its batch statistics go to copies, thrown away."""
    tensors = dict(zip(network.names, weights, strict=True))
    for name, buffer in network.model.named_buffers():
        tensors[name] = buffer.clone()
    return lambda images: functional_call(network.model, tensors, (images,))


def descend(
    weights: list[Tensor],
    momentum: list[Tensor],
    gradients: tuple[Tensor, ...],
    numbers: Numbers,
) -> None:
    """Update by SGD with momentum m ← μ m + g + λ w, w ← w - η m, all in place.

    The convention of torch.optim.SGD: weight decay λ enters the gradient, and the momentum is not
    damped. A first momentum of zero is torch's first step.
    """
    decayed = torch._foreach_mul(weights, numbers.weight_decay)
    torch._foreach_add_(decayed, gradients)
    torch._foreach_mul_(momentum, numbers.momentum)
    torch._foreach_add_(momentum, decayed)
    torch._foreach_sub_(weights, torch._foreach_mul(momentum, numbers.learning_rate))
