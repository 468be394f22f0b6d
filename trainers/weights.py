"""The weight side: at which weights the gradient is taken that the base optimiser receives.

A side is given `loss_at(weights)`, which returns the loss (0-d) and the logits at those weights;
with None, at the network's own, in which case batch statistics are recorded. It writes no weight.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from trainers.config import NoWeights, Sam, WeightSide

LossAt = Callable[[list[Tensor] | None], tuple[Tensor, Tensor]]
TINY = 1e-12


class Gradients(NamedTuple):
    """Loss and logits at the network's own weights, and the gradient for the base optimiser."""

    loss: Tensor
    logits: Tensor
    gradients: tuple[Tensor, ...]


class Perturbing(NamedTuple):
    """A weight side, ready for the loop."""

    gradients: Callable[[LossAt, list[Tensor], Tensor], Gradients]
    """(loss_at, weights, rho) to `Gradients`."""
    num_passes: int
    """Forward passes, each with a weight backward pass, per sample."""


def perturbing(side: WeightSide) -> Perturbing:
    """Choose the functions of a weight side, once, before the loop."""
    match side:
        case NoWeights():
            return Perturbing(plain, 1)
        case Sam():
            return Perturbing(sam, 2)


def plain(loss_at: LossAt, weights: list[Tensor], rho: Tensor) -> Gradients:
    """Take the gradient at the weights themselves."""
    loss, logits = loss_at(None)
    return Gradients(loss, logits, torch.autograd.grad(loss, weights))


def sam(loss_at: LossAt, weights: list[Tensor], rho: Tensor) -> Gradients:
    """Take the gradient at w + ρ g / ‖g‖, with one norm over all weights together.

    Foret et al. (2021), Sharpness-aware minimization, equations 2 and 3. A zero gradient moves
    nothing. The moved weights are new tensors: w is never written, so nothing has to be restored.
    """
    loss, logits, gradients = plain(loss_at, weights, rho)
    norm = torch.stack(torch._foreach_norm(gradients)).norm()
    offsets = torch._foreach_mul(gradients, rho / (norm + TINY))
    moved = [weight.detach().clone() for weight in weights]  # a sum might have another layout
    torch._foreach_add_(moved, offsets)
    moved = [weight.requires_grad_() for weight in moved]
    loss_moved, _ = loss_at(moved)
    return Gradients(loss, logits, torch.autograd.grad(loss_moved, moved))
