"""The input side: what is done to images before the gradient with respect to the weights is taken.

A side crafts x′ from images x in [0, 1], and x′ stays in [0, 1]. Randomness enters as a tensor
drawn beforehand in units of the radius, so that crafting is a pure function. Gradients are asked
for with respect to the images alone, of the *sum* of the losses: no weight's gradient is written,
and a sample's x′ does not depend on the other samples of its batch.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from trainers.config import InputSide, NoInputs, Norm, Pgd

Classify = Callable[[Tensor], Tensor]
"""(B, C, H, W) in [0, 1] to logits (B, K)."""
SumOfLosses = Callable[[Tensor, Tensor], Tensor]
"""Logits (B, K) and labels (B,) to the sum that an attack maximises."""
TINY = 1e-30
"""Against division by zero; below every norm of float32, so that it shortens no step."""


class Ball(NamedTuple):
    """The geometry of one norm; unit noise, a start from it, and one projected gradient step."""

    draw: Callable[[tuple[int, ...], torch.Generator], Tensor]
    start: Callable[[Tensor, Tensor, Tensor], Tensor]
    move: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


class Crafting(NamedTuple):
    """An input side, ready for the loop."""

    draw: Callable[[tuple[int, ...], torch.Generator], Tensor]
    """Shape and generator to the noise of a batch."""
    craft: Callable[..., Tensor]
    """(classify, sum_of_losses, images, labels, noise, epsilon, step_length) to x′."""
    num_passes: int
    """Forward passes, each with an input backward pass, per sample."""


def crafting(side: InputSide) -> Crafting:
    """Choose the functions of an input side, once, before the loop."""
    match side:
        case NoInputs():
            return Crafting(draw_nothing, leave, 0)
        case Pgd(norm=norm, steps=steps):
            ball = BALLS[norm]
            return Crafting(ball.draw, partial(pgd, ball=ball, steps=steps), steps)


def leave(
    classify: Classify,
    sum_of_losses: SumOfLosses,
    images: Tensor,
    labels: Tensor,
    noise: Tensor,
    epsilon: Tensor,
    step_length: Tensor,
) -> Tensor:
    """Return the images as they are."""
    return images


def pgd(
    classify: Classify,
    sum_of_losses: SumOfLosses,
    images: Tensor,
    labels: Tensor,
    noise: Tensor,
    epsilon: Tensor,
    step_length: Tensor,
    *,
    ball: Ball,
    steps: int,
) -> Tensor:
    """Ascend the loss by projected gradient steps from a random start.

    Madry et al. (2018), Towards deep learning models resistant to adversarial attacks, section 2.1.
    epsilon, step_length: 0-d, in units of the pixel range.
    """
    crafted = ball.start(images, noise, epsilon)
    for _ in range(steps):
        gradient = input_gradient(classify, sum_of_losses, crafted, labels)
        crafted = ball.move(crafted, gradient, images, epsilon, step_length)
    return crafted


def input_gradient(
    classify: Classify, sum_of_losses: SumOfLosses, images: Tensor, labels: Tensor
) -> Tensor:
    """Differentiate the sum of losses with respect to the images, and nothing else."""
    leaf = images.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(sum_of_losses(classify(leaf), labels), leaf)
    return gradient


def draw_nothing(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw no noise: an empty tensor."""
    return torch.empty(0, device=generator.device)


def draw_linf(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw uniformly from the cube [-1, 1)."""
    return torch.empty(shape, device=generator.device).uniform_(-1, 1, generator=generator)


def start_linf(images: Tensor, noise: Tensor, radius: Tensor) -> Tensor:
    """Start at a uniform point of the cube around each image, within [0, 1]."""
    return _within_linf(images + radius * noise, images, radius)


def move_linf(
    crafted: Tensor, gradient: Tensor, images: Tensor, radius: Tensor, step_length: Tensor
) -> Tensor:
    """Step by the sign of the gradient, back into the cube, then into [0, 1]."""
    return _within_linf(crafted + step_length * gradient.sign(), images, radius)


def _within_linf(crafted: Tensor, images: Tensor, radius: Tensor) -> Tensor:
    return torch.clamp(crafted, images - radius, images + radius).clamp(0, 1)


def draw_l2(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw uniformly from the volume of the unit ball, one ball per sample.

    A normal direction, at a distance whose d-th power is uniform, d the values of a sample.
    """
    direction = torch.empty(shape, device=generator.device).normal_(generator=generator)
    uniform = torch.empty(shape[0], device=generator.device).uniform_(generator=generator)
    distance = uniform ** (1 / direction[0].numel())
    return direction * _per_sample(distance / _norms(direction), direction)


def start_l2(images: Tensor, noise: Tensor, radius: Tensor) -> Tensor:
    """Start at a uniform point of the ball around each image, within [0, 1]."""
    return (images + radius * noise).clamp(0, 1)


def move_l2(
    crafted: Tensor, gradient: Tensor, images: Tensor, radius: Tensor, step_length: Tensor
) -> Tensor:
    """Step along the gradient's direction, back into the ball, then into [0, 1].

    The clamp to [0, 1] comes last: it moves each value towards the image, so the ball is kept.
    """
    lengths = step_length / (_norms(gradient) + TINY)
    offset = crafted - images + gradient * _per_sample(lengths, gradient)
    shrink = (radius / (_norms(offset) + TINY)).clamp(max=1)
    return (images + offset * _per_sample(shrink, offset)).clamp(0, 1)


def _norms(x: Tensor) -> Tensor:
    """(B, …) to the l2 norm of each sample, (B,)."""
    norms: Tensor = torch.linalg.vector_norm(x.flatten(1), dim=1)
    return norms


def _per_sample(factors: Tensor, x: Tensor) -> Tensor:
    """Shape (B,) factors so that they multiply (B, …) samples."""
    return factors.view(-1, *[1] * (x.dim() - 1))


BALLS: dict[Norm, Ball] = {
    "linf": Ball(draw_linf, start_linf, move_linf),
    "l2": Ball(draw_l2, start_l2, move_l2),
}
