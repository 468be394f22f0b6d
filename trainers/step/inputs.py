"""The input side: what is done to images before the gradient with respect to the weights is taken.

A side crafts x′ from images x in [0, 1], and x′ stays in [0, 1]. Randomness enters as a tensor
drawn beforehand in units of the radius, so that crafting is a pure function. The *sum* of the
losses is differentiated, with respect to the images alone: no weight's gradient is written, and a
sample's x′ does not depend on the other samples of its batch.
"""

import math
from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from trainers.config.methods import EAt, FgsmRs, InputNorm, InputSide, NFgsm, NoInputs, Noise, Pgd
from trainers.config.own import OwnInputs
from trainers.step.l1 import ascend_l1, draw_l1, move_l1
from trainers.step.numbers import Memory, Numbers
from trainers.step.own import Run, own_crafted

Classify = Callable[[Tensor], Tensor]
"""(B, C, H, W) in [0, 1] to logits (B, K)."""
SumOfLosses = Callable[[Tensor, Tensor], Tensor]
"""Logits (B, K) and targets, labels (B,) or probabilities (B, K), to what an attack maximises."""
NEAR = 0.001
"""Distance of the start where an attack `starts_near`, in units of the pixel range per value."""
TINY = 1e-30
"""Against division by zero; below every norm of float32, so that it shortens no step."""


class Inner(NamedTuple):
    """What an attack maximises; each loss has its own (`trainers.step.losses`)."""

    targets: Callable[[Classify, Tensor, Tensor, list[Tensor]], Tensor]
    """(classify, images, labels, what the loss remembers) to what the outputs are compared with,
    one row a sample, computed once."""
    sum_of_losses: SumOfLosses
    """Logits (B, K) and targets to the sum over the batch."""
    starts_near: bool
    """Whether PGD attacks by `NEAR_BALLS`: from 0.001 normal noise, not a point of the ball."""


class Ball(NamedTuple):
    """The geometry of one norm; unit noise, a start from it, and one gradient step.

    Every image it returns lies in [0, 1] and, but for `ascend`, in the ball. The start of
    `NEAR_BALLS` may leave both by as much as its noise.
    """

    draw: Callable[[tuple[int, ...], torch.Generator], Tensor]
    start: Callable[[Tensor, Tensor, Tensor], Tensor]
    """(images, noise, radius): the image that the first gradient is taken at."""
    move: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
    """(crafted, gradient, images, radius, step length): a step, projected, within [0, 1]."""
    ascend: Callable[[Tensor, Tensor, Tensor], Tensor]
    """(crafted, gradient, step length): a step, within [0, 1]."""


class Craft(Protocol):
    """The function of an input side: images (B, C, H, W) to crafted ones, in [0, 1]."""

    def __call__(
        self,
        classify: Classify,
        images: Tensor,
        labels: Tensor,
        noise: Tensor,
        numbers: Numbers,
        memory: Memory,
    ) -> Tensor:
        """Return x′."""
        ...


class Crafting(NamedTuple):
    """An input side, ready for the loop."""

    draw: Callable[[tuple[int, ...], torch.Generator], Tensor]
    """Shape and generator to the noise of a batch."""
    craft: Craft


def crafting(side: InputSide, inner: Inner) -> Crafting:
    """Choose the functions of an input side, once, before the loop."""
    match side:
        case NoInputs():
            return Crafting(draw_nothing, leave)
        case Pgd(norm=norm, steps=steps):
            ball = (NEAR_BALLS if inner.starts_near else BALLS)[norm]
            return Crafting(ball.draw, partial(pgd, inner, ball, steps))
        case FgsmRs(norm=norm):
            return Crafting(BALLS[norm].draw, partial(pgd, inner, BALLS[norm], 1))
        case NFgsm(norm=norm, noise_scale=scale):
            return Crafting(BALLS[norm].draw, partial(n_fgsm, inner, BALLS[norm], scale))
        case Noise():
            return Crafting(draw_normal, add_noise)
        case EAt(steps=steps):
            draw = partial(draw_e_at, inner.starts_near)
            return Crafting(draw, partial(e_at, inner, steps))
        case OwnInputs():
            return Crafting(draw_nothing, partial(own, side, side.ready(), inner))


def new_input_memory(side: InputSide, device: torch.device) -> list[Tensor]:
    """Return what an input side remembers before its first step.

    E-AT: how many images stayed right under each norm, (2,), and how many were crafted, (2,).
    """
    is_alternating = isinstance(side, EAt)
    return [torch.zeros(2, dtype=torch.int64, device=device) for _ in range(2 * is_alternating)]


def leave(
    classify: Classify,
    images: Tensor,
    labels: Tensor,
    noise: Tensor,
    numbers: Numbers,
    memory: Memory,
) -> Tensor:
    """Return the images as they are."""
    return images


def add_noise(
    classify: Classify,
    images: Tensor,
    labels: Tensor,
    noise: Tensor,
    numbers: Numbers,
    memory: Memory,
) -> Tensor:
    """Add Gaussian noise, within [0, 1]: the control that has no adversary."""
    return (images + numbers.epsilon * noise).clamp(0, 1)


def pgd(
    inner: Inner,
    ball: Ball,
    steps: int,
    classify: Classify,
    images: Tensor,
    labels: Tensor,
    noise: Tensor,
    numbers: Numbers,
    memory: Memory,
) -> Tensor:
    """Ascend the inner loss by projected gradient steps from a random start.

    Madry et al. (2018), Towards deep learning models resistant to adversarial attacks, section 2.1.
    One step of 1.25 ε from a uniform start is FGSM-RS: Wong et al. (2020), Fast is better than
    free, algorithm 3.
    """
    targets = inner.targets(classify, images, labels, memory.loss)
    crafted = ball.start(images, noise, numbers.epsilon)
    for _ in range(steps):
        gradient = input_gradient(classify, inner.sum_of_losses, crafted, targets)
        crafted = ball.move(crafted, gradient, images, numbers.epsilon, numbers.step_length)
    return crafted


def own(
    side: OwnInputs,
    run: Run,
    inner: Inner,
    classify: Classify,
    images: Tensor,
    labels: Tensor,
    noise: Tensor,
    numbers: Numbers,
    memory: Memory,
) -> Tensor:
    """Craft images by an input side of one's own."""
    targets = cache(lambda: inner.targets(classify, images, labels, memory.loss))

    def gradient_of(tried: Tensor) -> Tensor:
        return input_gradient(classify, inner.sum_of_losses, tried, targets())

    return own_crafted(side, run, gradient_of, classify, images, labels)


def n_fgsm(
    inner: Inner,
    ball: Ball,
    noise_scale: float,
    classify: Classify,
    images: Tensor,
    labels: Tensor,
    noise: Tensor,
    numbers: Numbers,
    memory: Memory,
) -> Tensor:
    """Move by one gradient step from a start that may lie outside the ball, without projection.

    De Jorge et al. (2022), Make some noise: reliable and efficient single-step adversarial
    training, algorithm 1. They publish no l2 form; ours keeps the lengths of start and step.
    """
    targets = inner.targets(classify, images, labels, memory.loss)
    started = (images + noise_scale * numbers.epsilon * noise).clamp(0, 1)
    gradient = input_gradient(classify, inner.sum_of_losses, started, targets)
    return ball.ascend(started, gradient, numbers.step_length)


def e_at(
    inner: Inner,
    steps: int,
    classify: Classify,
    images: Tensor,
    labels: Tensor,
    noise: Tensor,
    numbers: Numbers,
    memory: Memory,
) -> Tensor:
    """Craft by projected gradient steps in linf or in l1, one of them for the whole batch.

    Croce and Hein (2022), Adversarial robustness against multiple and single lp-threat models via
    quick fine-tuning of robust classifiers, section 4. As in their code, a norm is drawn with the
    weight 1 - robust accuracy under it, over all batches so far, or ½ until both were seen; an
    image counts as right if no iterate is misclassified; and steps begin at the image itself. Their
    steps are those of APGD, whose lengths adapt.

    Both norms' steps are computed, of one gradient, and one is kept: so the host need not know
    which norm was drawn.
    """
    right, seen = memory.inputs
    is_l1 = noise[:, -1] < share_of_second(right, seen)
    targets = inner.targets(classify, images, labels, memory.loss)
    crafted, stays = images, torch.ones_like(labels, dtype=torch.bool)
    if inner.starts_near:
        crafted = start_near(images, noise[:, :-1].view_as(images), numbers.epsilon)
    for _ in range(steps):
        logits, gradient = _look(classify, inner.sum_of_losses, crafted, targets)
        stays &= logits.argmax(1) == labels
        by_linf = move_linf(crafted, gradient, images, numbers.epsilon, numbers.step_length)
        by_l1 = move_l1(crafted, gradient, images, numbers.other_epsilon, numbers.other_step_length)
        crafted = torch.where(_per_sample(is_l1, images), by_l1, by_linf)
    with torch.no_grad():
        stays &= classify(crafted).argmax(1) == labels
    norms = torch.stack([~is_l1, is_l1])
    right.add_((norms & stays).sum(1))
    seen.add_(norms.sum(1))
    return crafted


def share_of_second(right: Tensor, seen: Tensor) -> Tensor:
    """Return the probability of the second norm, 0-d: its share of the weights of both.

    The weight of a norm is 1 - robust accuracy. While a norm was not seen, or where both weights
    are 0, both norms are equally likely. right, seen: (2,).

    >>> share_of_second(torch.tensor([50, 10]), torch.tensor([100, 100]))
    tensor(0.6429)
    """
    weights = torch.where((seen > 0).all(), 1 - right / seen.clamp(min=1), 0.5)
    total = weights.sum()
    return torch.where(total > 0, weights[1] / total, 0.5)


def input_gradient(
    classify: Classify, sum_of_losses: SumOfLosses, images: Tensor, targets: Tensor
) -> Tensor:
    """Differentiate the sum of losses with respect to the images, and nothing else."""
    return _look(classify, sum_of_losses, images, targets)[1]


def _look(
    classify: Classify, sum_of_losses: SumOfLosses, images: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the logits of the images, (B, K), and the gradient with respect to them."""
    leaf = images.detach().requires_grad_()
    logits = classify(leaf)
    (gradient,) = torch.autograd.grad(sum_of_losses(logits, targets), leaf)
    return logits.detach(), gradient


def draw_nothing(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw no noise: an empty tensor."""
    return torch.empty(0, device=generator.device)


def draw_normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw from the standard normal distribution."""
    return torch.empty(shape, device=generator.device).normal_(generator=generator)


def draw_e_at(is_near: bool, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw a number of [0, 1) for the whole batch, the last one of each row: it chooses the norm.

    is_near: whether the start's normal noise, one number a value, stands before it.
    """
    chance = torch.empty((1, 1), device=generator.device).uniform_(generator=generator)
    before = draw_normal((shape[0], math.prod(shape[1:]) if is_near else 0), generator)
    return torch.cat([before, chance.expand(shape[0], 1)], 1)


def draw_linf(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw uniformly from the cube [-1, 1)."""
    return torch.empty(shape, device=generator.device).uniform_(-1, 1, generator=generator)


def start_linf(images: Tensor, noise: Tensor, radius: Tensor) -> Tensor:
    """Start at a uniform point of the cube around each image, within [0, 1]."""
    return _within_linf(images + radius * noise, images, radius)


def ascend_linf(crafted: Tensor, gradient: Tensor, step_length: Tensor) -> Tensor:
    """Step by the sign of the gradient, within [0, 1]."""
    return (crafted + step_length * gradient.sign()).clamp(0, 1)


def move_linf(
    crafted: Tensor, gradient: Tensor, images: Tensor, radius: Tensor, step_length: Tensor
) -> Tensor:
    """Step by the sign of the gradient, back into the cube, then into [0, 1]."""
    return _within_linf(crafted + step_length * gradient.sign(), images, radius)


def _within_linf(crafted: Tensor, images: Tensor, radius: Tensor) -> Tensor:
    return torch.clamp(crafted, images - radius, images + radius).clamp(0, 1)


def draw_l2(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw uniformly from the volume of the unit ball, one ball per sample.

    The direction is normal, and the d-th power of the distance uniform, for samples of d values.
    """
    direction = draw_normal(shape, generator)
    uniform = torch.empty(shape[0], device=generator.device).uniform_(generator=generator)
    distance = uniform ** (1 / direction[0].numel())
    return direction * _per_sample(distance / _norms(direction), direction)


def start_l2(images: Tensor, noise: Tensor, radius: Tensor) -> Tensor:
    """Start at a uniform point of the ball around each image, within [0, 1]; in l1, too."""
    return (images + radius * noise).clamp(0, 1)


def ascend_l2(crafted: Tensor, gradient: Tensor, step_length: Tensor) -> Tensor:
    """Step along the gradient's direction, within [0, 1]."""
    return (crafted + _along(gradient, step_length)).clamp(0, 1)


def move_l2(
    crafted: Tensor, gradient: Tensor, images: Tensor, radius: Tensor, step_length: Tensor
) -> Tensor:
    """Step along the gradient's direction, back into the ball, then into [0, 1]."""
    return _within_l2(crafted - images + _along(gradient, step_length), images, radius)


def move_l2_in_box(
    crafted: Tensor, gradient: Tensor, images: Tensor, radius: Tensor, step_length: Tensor
) -> Tensor:
    """Step along the gradient's direction, into [0, 1], then back into the ball.

    The order of TRADES' published code. The image lies in [0, 1], so shortening the offset to the
    ball keeps [0, 1]. Where the gradient is zero, their code steps along random noise instead.
    """
    moved = (crafted + _along(gradient, step_length)).clamp(0, 1)
    return _within_l2(moved - images, images, radius)


def start_near(images: Tensor, noise: Tensor, radius: Tensor) -> Tensor:
    """Start `NEAR` times the noise away from each image, as TRADES and MART publish it.

    Not clamped: in [0, 1] half of the black and the white pixels would have no noise, and there the
    gradient of the KL divergence has another sign.
    """
    return images + NEAR * noise


def _along(gradient: Tensor, step_length: Tensor) -> Tensor:
    """Return a step of that length along each sample's gradient; no step where it is zero.

    The factor is a power of two, so it rounds nothing. Without it, the squares of gradients below
    1e-23, which confident networks have, would underflow to zero in the norm.
    """
    scaled = gradient * 2.0**40
    return scaled * _per_sample(step_length / (_norms(scaled) + TINY), scaled)


def _within_l2(offset: Tensor, images: Tensor, radius: Tensor) -> Tensor:
    """Project an offset into the ball, then the image into [0, 1].

    The clamp to [0, 1] comes last: it moves each value towards the image, so the ball is kept.
    """
    shrink = (radius / (_norms(offset) + TINY)).clamp(max=1)
    return (images + offset * _per_sample(shrink, offset)).clamp(0, 1)


def _norms(x: Tensor) -> Tensor:
    """Return the l2 norm of each sample: (B, …) to (B,)."""
    norms: Tensor = torch.linalg.vector_norm(x.flatten(1), dim=1)
    return norms


def _per_sample(factors: Tensor, x: Tensor) -> Tensor:
    """Shape (B,) factors so that they multiply (B, …) samples."""
    return factors.view(-1, *[1] * (x.dim() - 1))


BALLS: dict[InputNorm, Ball] = {
    "linf": Ball(draw_linf, start_linf, move_linf, ascend_linf),
    "l2": Ball(draw_l2, start_l2, move_l2, ascend_l2),
    "l1": Ball(draw_l1, start_l2, move_l1, ascend_l1),
}
NEAR_BALLS: dict[InputNorm, Ball] = {
    "linf": BALLS["linf"]._replace(draw=draw_normal, start=start_near),
    "l2": BALLS["l2"]._replace(draw=draw_normal, start=start_near, move=move_l2_in_box),
    "l1": BALLS["l1"]._replace(draw=draw_normal, start=start_near),
}
"""For PGD of the losses of clean and crafted images."""
