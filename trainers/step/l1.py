"""The l1 ball around an image, within the pixel range [0, 1]: its start, its step, its projection.

An l1 ball is pointed, so a steepest step moves few values, and many of an image's values are near 0
or 1, where they can move one way only. So both are taken together: a step moves values that have
room, and the projection is onto the ball and the range at once.
"""

import math

import torch
from torch import Tensor

MOVED_SHARE = 0.05
"""Of the values of an image, those that one step moves: as E-AT's attack begins in training (Croce
and Hein 2022, code)."""
TINY = 1e-30
"""Against division by zero."""


def draw_l1(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw uniformly from the volume of the unit l1 ball, one ball per sample.

    The first d of d + 1 exponential values, by the sum of all, are uniform in a simplex; each gets
    a random sign.
    """
    count = math.prod(shape[1:])
    values = torch.empty((shape[0], count + 1), device=generator.device)
    values = values.exponential_(generator=generator)
    signs = torch.empty((shape[0], count), device=generator.device)
    signs = signs.uniform_(-1, 1, generator=generator).sign()
    return (signs * values[:, :count] / values.sum(1, keepdim=True)).view(shape)


def ascend_l1(crafted: Tensor, gradient: Tensor, step_length: Tensor) -> Tensor:
    """Step as `move_l1`, within [0, 1], without the projection."""
    return (crafted + _sparse_step(crafted, gradient, step_length)).clamp(0, 1)


def move_l1(
    crafted: Tensor, gradient: Tensor, images: Tensor, radius: Tensor, step_length: Tensor
) -> Tensor:
    """Step along the largest values of the gradient, then back into the ball within [0, 1].

    The step of Tramèr and Boneh (2019), Adversarial training and robustness for multiple
    perturbations, section 4.1; the projection of Croce and Hein (2021), Mind the box, section 3.
    """
    moved = crafted + _sparse_step(crafted, gradient, step_length)
    return (images + projected(moved - images, images, radius)).clamp(0, 1)


def _sparse_step(crafted: Tensor, gradient: Tensor, step_length: Tensor) -> Tensor:
    """Return a step of that l1 length by the signs of each sample's largest gradients.

    All of equal size are moved. A value at the border of [0, 1] that would leave it is not.
    """
    slope, values = gradient.flatten(1), crafted.flatten(1)
    has_room = torch.where(slope > 0, values < 1, values > 0)
    size = torch.where(has_room, slope.abs(), 0)
    count = max(1, math.ceil(MOVED_SHARE * slope.shape[1]))
    least = size.topk(count, dim=1).values[:, -1:]
    moves = (size >= least) & (size > 0)
    each = step_length / moves.sum(1, keepdim=True).clamp(min=1)
    return torch.where(moves, slope.sign() * each, 0).view_as(gradient)


def projected(offsets: Tensor, images: Tensor, radius: Tensor) -> Tensor:
    """Project offsets onto the l1 ball of that radius and the offsets that keep [0, 1].

    The nearest such offset has sizes of min(max(|y| - λ, 0), room), with y the given one, the room
    of a value in its direction, and the least λ ≥ 0 of which the sizes add up to the radius or
    less. Croce and Hein (2021), Mind the box: l1-APGD, proposition 3.1. (B, …) each; radius: 0-d.
    """
    y, values = offsets.flatten(1), images.flatten(1)
    room = torch.where(y > 0, 1 - values, values)
    threshold = _threshold(y.abs(), room, radius)
    sizes = torch.minimum((y.abs() - threshold).clamp(min=0), room)
    # Rounding may leave a sum just above the radius; of a radius of 0 all offsets are exactly 0.
    shrink = (radius / (sizes.sum(1, keepdim=True) + TINY)).clamp(max=1)
    return (y.sign() * sizes * shrink).view_as(offsets)


def _threshold(sizes: Tensor, room: Tensor, radius: Tensor) -> Tensor:
    """Return the least λ ≥ 0 for which Σ min(max(sizes - λ, 0), room) is at most radius, (B, 1).

    As λ falls, a value begins to count at its size and stops growing at its size minus its room.
    Between these ends the sum is linear.
    """
    ends, order = torch.cat([sizes, sizes - room], 1).sort(dim=1, descending=True)
    growing = torch.where(order < sizes.shape[1], 1, -1).cumsum(1)  # values, below each end
    gaps = ends[:, :-1] - ends[:, 1:]
    sums = torch.cat([torch.zeros_like(ends[:, :1]), (growing[:, :-1] * gaps).cumsum(1)], 1)
    at = (sums <= radius).sum(1, keepdim=True) - 1
    end, total, slope = (x.gather(1, at) for x in (ends, sums, growing))
    return (end - (radius - total) / slope.clamp(min=1)).clamp(min=0)
