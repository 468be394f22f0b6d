"""The update and the attack's pass through torch.compile.

The update is traced to one flat graph of operators, forward and backward passes together, with all
tensors as arguments: weights and numbers may hold other contents in the next trial.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from trainers.step.numbers import Numbers
from trainers.step.step import Network, Sides, Update, at, update


def compiled_update(
    sides: Sides,
    network: Network,
    numbers: Numbers,
    images: Tensor,
    crafted: Tensor,
    labels: Tensor,
    choice: Tensor,
) -> Update:
    """Compile `trainers.step.step.update` for batches of this shape. Nothing given is written.

    Returns a function of `update`'s signature, for this network's storage or any of its shape.
    """
    is_crafted = crafted is not images
    written = [_copies(tensors) for tensors in _written(network)]
    example = (*written, Numbers(*_copies(list(numbers))), images, crafted, labels, choice)
    graph = make_fx(_pure_update(sides, network))(*example)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    compiled = torch.compile(graph, fullgraph=True, dynamic=False)
    with torch.no_grad():
        compiled(*example)  # compiles

    def run(
        sides: Sides,
        network: Network,
        numbers: Numbers,
        images: Tensor,
        crafted: Tensor,
        labels: Tensor,
        choice: Tensor = choice,
    ) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            attacked = crafted if is_crafted else images
            loss, logits = compiled(*_written(network), numbers, images, attacked, labels, choice)
        return loss, logits

    return run


def _pure_update(
    sides: Sides, network: Network
) -> Callable[..., tuple[Tensor, Tensor]]:  # `torch.compile` and `make_fx` type no arguments either
    """Return `update` with everything that it writes or reads as an argument."""

    def pure(
        weights: list[Tensor],
        buffers: list[Tensor],
        moments: list[Tensor],
        side: list[Tensor],
        loss: list[Tensor],
        numbers: Numbers,
        images: Tensor,
        crafted: Tensor,
        labels: Tensor,
        choice: Tensor,
    ) -> tuple[Tensor, Tensor]:
        own = at(network, weights, buffers)
        memory = network.memory._replace(moments=moments, side=side, loss=loss)
        traced = network._replace(classify=own, weights=weights, buffers=buffers, memory=memory)
        return update(sides, traced, numbers, images, crafted, labels, choice)

    return pure


def _written(network: Network) -> tuple[list[Tensor], ...]:
    """Return what an update writes, in the order of `_pure_update`'s arguments."""
    memory = network.memory
    return network.weights, network.buffers, memory.moments, memory.side, memory.loss


def _copies(tensors: list[Tensor]) -> list[Tensor]:
    """Copy tensors, parameters as parameters: to torch.compile these are another type."""
    contents = [tensor.detach().clone() for tensor in tensors]
    return [
        nn.Parameter(content) if isinstance(tensor, nn.Parameter) else content
        for tensor, content in zip(tensors, contents, strict=True)
    ]


def compiled_classifier(view: nn.Module, images: Tensor) -> Callable[[Tensor], Tensor]:
    """Compile a network in evaluation mode for batches of the shape of `images`.

    It reads the current weights, and can be differentiated with respect to the images. Batches of
    other sizes run uncompiled. So does a pass without a gradient, such as the clean one of TRADES:
    it is one pass of many, and would need a compilation of its own.
    """
    size = len(images)
    graph = make_fx(view)(images)  # a code object of its own: torch.compile limits those of one
    compiled = torch.compile(graph, fullgraph=True, dynamic=False)

    def classify(images: Tensor) -> Tensor:
        is_compiled = len(images) == size and torch.is_grad_enabled()
        logits: Tensor = compiled(images) if is_compiled else view(images)
        return logits

    return classify
