"""One optimisation step as one pure tensor program.

Pure: the result depends on the arguments alone, and only tensors that were handed in are written,
in place. Numbers that differ between trials are 0-d tensors, random numbers enter as tensors, and
the host never waits for the device. So one compiled or captured step can serve every trial of a
shape.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call

from trainers.config import TrainConfig
from trainers.step.batches import NOTHING, Draw, Source
from trainers.step.inputs import Craft, new_input_memory
from trainers.step.losses import LossOf, new_loss_memory
from trainers.step.numbers import Memory, Numbers
from trainers.step.optimizer import Descend, average, clipped, new_moments
from trainers.step.weights import Perturb, new_side_memory


def new_memory(config: TrainConfig, model: nn.Module, num_classes: int) -> Memory:
    """Return the memory of a training before its first step."""
    weights = list(model.parameters())
    is_averaged = config.training.ema_decay != "none"
    current = (*weights, *model.buffers())
    return Memory(
        moments=new_moments(config.training, weights),
        averages=[tensor.detach().clone() for tensor in current] if is_averaged else [],
        side=new_side_memory(config.method.weights, weights),
        inputs=new_input_memory(config.method.inputs, weights[0].device),
        loss=new_loss_memory(config.method.loss, num_classes, weights[0].device),
    )


class Sides(NamedTuple):
    """The functions of a method and its base optimiser, chosen before the loop."""

    take: Callable[[Source, Draw], tuple[Tensor, Tensor]]
    craft: Craft
    gradients: Perturb
    loss: LossOf
    descend: Descend
    clips: bool
    """Whether the gradient is clipped."""
    reads_momentum: bool = False
    """Whether the weight side reads the optimiser's momentum in place of a memory of its own."""


class Network(NamedTuple):
    """What a training writes, in fixed storage, and the same network as attacks see it."""

    model: nn.Module
    """In training mode; it also gives the structure for weights other than its own."""
    classify: Callable[[Tensor], Tensor]
    """At its own weights, recording batch statistics."""
    attacked: Callable[[Tensor], Tensor]
    """In evaluation mode, differentiable with respect to images."""
    refresh: Callable[[], None]
    """Update `attacked` to the current weights and statistics."""
    names: list[str]
    weights: list[Tensor]
    buffer_names: list[str]
    buffers: list[Tensor]
    memory: Memory


class Update(Protocol):
    """`update`, or another form of it."""

    def __call__(
        self,
        sides: Sides,
        network: Network,
        numbers: Numbers,
        images: Tensor,
        crafted: Tensor,
        labels: Tensor,
        choice: Tensor = NOTHING,
    ) -> tuple[Tensor, Tensor]:
        """Update the network; return the loss (0-d) and the logits (B, K) before that."""
        ...


class Sums(NamedTuple):
    """0-d tensors on the device, over the steps of an epoch; read once, at its end."""

    loss: Tensor
    """Sum over samples."""
    correct: Tensor
    """Crafted images that were classified correctly before the update."""
    seen: Tensor
    is_finite: Tensor


def new_sums(device: torch.device) -> Sums:
    """Return the sums before any sample: all zero, and finite."""
    return Sums(
        loss=torch.tensor(0.0, dtype=torch.float64, device=device),
        correct=torch.tensor(0, device=device),
        seen=torch.tensor(0, device=device),
        is_finite=torch.tensor(True, device=device),
    )


def step(
    sides: Sides,
    network: Network,
    numbers: Numbers,
    source: Source,
    draw: Draw,
    sums: Sums,
    updated: Update | None = None,
) -> None:
    """Run one step: augment, craft x′ at w, compute the gradient by the weight side, update w.

    updated: a faster form of `update`, if there is one.
    """
    stored, labels = sides.take(source, draw)
    images = stored.to(torch.float32) / numbers.divisor
    network.refresh()
    memory = network.memory
    crafted = sides.craft(network.attacked, images, labels, draw.noise, numbers, memory)
    run = updated or update
    loss, logits = run(sides, network, numbers, images, crafted, labels, draw.choice)
    with torch.no_grad():
        if memory.averages:
            average(memory.averages, [*network.weights, *network.buffers], numbers)
        sums.loss.add_(loss * len(labels))
        sums.correct.add_((logits.argmax(1) == labels).sum())
        sums.seen.add_(len(labels))
        sums.is_finite.logical_and_(loss.isfinite())


def update(
    sides: Sides,
    network: Network,
    numbers: Numbers,
    images: Tensor,
    crafted: Tensor,
    labels: Tensor,
    choice: Tensor = NOTHING,
) -> tuple[Tensor, Tensor]:
    """Compute the gradient on the crafted images by the weight side, and update w.

    Returns the loss (0-d) and the logits (B, K) at the weights before the update. choice: what was
    drawn for the weight side.
    """
    loss_at = BatchLoss(sides, network, numbers, images, crafted, labels, choice)
    memory = network.memory.moments if sides.reads_momentum else network.memory.side
    loss, logits, gradients = sides.gradients(
        loss_at, network.weights, network.names, numbers, memory
    )
    with torch.no_grad():
        if sides.clips:
            gradients = clipped(gradients, numbers)
        sides.descend(network.weights, network.memory.moments, gradients, numbers)
    return loss.detach(), logits.detach()


class BatchLoss(NamedTuple):
    """The loss of a batch, as a function of the weights: a `LossAt`."""

    sides: Sides
    network: Network
    numbers: Numbers
    images: Tensor
    crafted: Tensor
    labels: Tensor
    choice: Tensor

    def __call__(
        self,
        weights: list[Tensor] | None,
        *,
        records: bool = False,
        chosen: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the loss (0-d) and the logits (B, K) at these weights, or at the network's own.

        records: whether other weights than its own record batch statistics, too.
        chosen: indices of the samples that count; all, if there are none.
        """
        classify, buffers = self.network.classify, self.network.buffers
        memory = self.network.memory.loss
        if weights is not None:
            if not records:
                # Such a pass writes its statistics, and what the loss remembers, to copies.
                buffers = [buffer.clone() for buffer in buffers]
                memory = [tensor.clone() for tensor in memory]
            classify = at(self.network, weights, buffers)
        batch = self.images, self.crafted, self.labels
        if chosen is not None:
            batch = batch[0][chosen], batch[1][chosen], batch[2][chosen]
        return self.sides.loss(classify, *batch, self.numbers, memory)


def at(
    network: Network, weights: list[Tensor], buffers: list[Tensor]
) -> Callable[[Tensor], Tensor]:
    """Return the network at other weights. Its batch statistics are recorded in `buffers`."""
    tensors = dict(zip(network.names, weights, strict=True))
    tensors |= dict(zip(network.buffer_names, buffers, strict=True))
    return lambda images: functional_call(network.model, tensors, (images,))
