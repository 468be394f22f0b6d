"""Own sides, losses and base optimisers, called as the step calls ours.

A part sees tensors and Python numbers under documented names (`trainers.config.parts`), and returns
tensors. What a part does inside is unknown, so its steps run operator by operator: they are neither
compiled nor captured. It may draw from torch's global generator, which the training seeds.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from trainers.config.own import Own, OwnInputs, OwnLoss, OwnWeights
from trainers.config.parts import loaded
from trainers.config.sources import PartError
from trainers.step.numbers import Numbers

Run = Callable[..., Any]


def chosen(own: Own, **offered: Any) -> dict[str, Any]:
    """Return what a part takes of what is offered, by name."""
    return {name: value for name, value in offered.items() if name in own.takes}


def broken(own: Own, rule: str) -> PartError:
    """Build the error of a part that does not keep its contract, with file and line."""
    part = own.part
    return PartError(f"{loaded(part).place}: {part.attribute}: {rule}")


def own_gradients(
    side: OwnWeights,
    run: Run,
    loss_at: Callable[[list[Tensor] | None], tuple[Tensor, Tensor]],
    weights: list[Tensor],
    names: list[str],
    numbers: Numbers,
    memory: list[Tensor],
) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """Return loss and logits at the weights, and the gradient that an own weight side returns.

    Its `gradient_at(moved)` is the gradient of the loss at other weights; `gradient_at(weights)` or
    `gradient_at()` that at the weights themselves, which records batch statistics, once. If it asks
    for none there, the loss is computed there without a gradient.
    """
    here: list[Any] = []
    own = [weight.detach() for weight in weights]
    before = [weight._version for weight in weights]

    def gradient_at(moved: Sequence[Tensor] | None = None) -> list[Tensor]:
        is_here = moved is None or all(a is b for a, b in zip(moved, own, strict=True))
        if is_here and not here:
            loss, logits = loss_at(None)
            here[:] = [loss, logits, torch.autograd.grad(loss, weights)]
        if is_here:
            return list(here[2])
        assert moved is not None
        # With the layout of the weights, which a sum may not have: it decides the rounding.
        leaves = [torch.empty_like(weight).copy_(at) for weight, at in zip(own, moved, strict=True)]
        leaves = [leaf.requires_grad_() for leaf in leaves]
        loss, _ = loss_at(leaves)
        return list(torch.autograd.grad(loss, leaves))

    offered = chosen(side, names=names, memory=memory, learning_rate=numbers.learning_rate)
    found = run(gradient_at=gradient_at, weights=own, **offered)
    if [weight._version for weight in weights] != before:
        raise broken(side, "writes the weights; hand moved copies to gradient_at instead")
    gradients = [*found] if isinstance(found, Iterable) else []
    if not gradients or not all(isinstance(one, Tensor) for one in gradients):
        rule = f"must return a list with a gradient for each weight, got {type(found).__name__}"
        raise broken(side, f"{rule}; return tensors")
    if not here:
        with torch.no_grad():
            here += loss_at(None)
    return here[0], here[1], tuple(gradient.detach() for gradient in gradients)


def own_crafted(
    side: OwnInputs,
    run: Run,
    gradient_of: Callable[[Tensor], Tensor],
    classify: Callable[[Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
) -> Tensor:
    """Return the images of an own input side.

    Its `gradient_at(images)` is the gradient of what the loss lets an attack maximise, with respect
    to images; `classify` is the network in evaluation mode.
    """
    offered = chosen(side, labels=labels, classify=classify)
    # A copy, as the clean images are needed after a side that writes into them.
    return returned(side, run(gradient_at=gradient_of, images=images.clone(), **offered))


def returned(own: Own, images: Any) -> Tensor:
    """Return the images of an own part, without a graph. Raises `PartError` for anything else."""
    if not isinstance(images, Tensor):
        rule = f"must return images as a tensor, got {type(images).__name__}"
        raise broken(own, f"{rule}; return them")
    return images.detach()


def own_loss(
    side: OwnLoss,
    run: Run,
    classify: Callable[[Tensor], Tensor],
    images: Tensor,
    crafted: Tensor,
    labels: Tensor,
    numbers: Numbers,
    memory: list[Tensor],
) -> tuple[Tensor, Tensor]:
    """Return an own loss and the logits of the crafted images; clean logits only if it has them."""
    clean = {"clean_logits": classify(images)} if side.images == 2 else {}
    logits = classify(crafted)
    return run(logits=logits, labels=labels, **clean), logits


def own_descent(
    own: Own,
    run: Run,
    weights: list[Tensor],
    moments: list[Tensor],
    gradients: tuple[Tensor, ...],
    numbers: Numbers,
) -> None:
    """Update the weights in place by an own base optimiser.

    `memory` is a list with a tensor for each weight, zero at first; for a part whose attribute
    `memories` is above 1, so many lists. `step` counts from 1, a 0-d tensor.
    """
    count, each = _memories(own), len(weights)
    lists = [moments[number * each : (number + 1) * each] for number in range(count)]
    if "step" in own.takes:
        moments[-1].add_(1)
    offered = chosen(
        own,
        learning_rate=numbers.learning_rate,
        momentum=numbers.momentum,
        weight_decay=numbers.weight_decay,
        memory=lists[0] if count == 1 else lists,
        step=moments[-1] if moments else None,
    )
    run(weights=weights, gradients=list(gradients), **offered)


def own_moments(own: Own, weights: Sequence[Tensor]) -> list[Tensor]:
    """Return the memory of an own base optimiser before its first step, and its count of steps."""
    count = _memories(own)
    moments = [torch.zeros_like(weight) for _ in range(count) for weight in weights]
    is_counted = "step" in own.takes
    return [*moments, *([torch.zeros((), device=weights[0].device)] if is_counted else [])]


def _memories(own: Own) -> int:
    """Return how many tensors an own base optimiser remembers for each weight."""
    if "memory" not in own.takes:
        return 0
    count = loaded(own.part).declared("memories", 1)
    if not isinstance(count, int) or count < 1:
        raise broken(own, f"memories must be a whole number ≥ 1, got {count!r}; correct it")
    return count
