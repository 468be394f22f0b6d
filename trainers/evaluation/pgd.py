"""Evaluation attacks: how many samples stay right under the worst image that an attack finds.

All in float32, by a network in evaluation mode. A sample counts as broken when any start or iterate
is misclassified, so at a fixed step size and noise more steps or restarts never raise accuracy.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from trainers.config.methods import Norm
from trainers.config.own import OwnAttack
from trainers.config.training import EvaluationAttack, PgdAttack
from trainers.step.inputs import BALLS, Classify
from trainers.step.losses import cross_entropy_sum
from trainers.step.own import broken, chosen, returned

BEYOND = 1e-5
"""How far beyond its radius rounding may move an image of an own attack, relative and absolute."""


class Attacked(NamedTuple):
    """The outcome for a batch."""

    is_right: Tensor
    """(B,) bool: right at every image the attack tried."""
    images: Tensor
    """(B, C, H, W): the first misclassified image; the last one tried where there is none."""


class Attack(Protocol):
    """The function of an evaluation attack."""

    def __call__(
        self,
        classify: Classify,
        images: Tensor,
        labels: Tensor,
        *,
        norm: Norm,
        radius: float,
        attack: Any,
        draw: Callable[[int], Tensor],
    ) -> Attacked:
        """Attack images (B, C, H, W) of [0, 1]; `attack` has the settings of its own class."""
        ...


def pgd(
    classify: Classify,
    images: Tensor,
    labels: Tensor,
    *,
    norm: Norm,
    radius: float,
    attack: PgdAttack,
    draw: Callable[[int], Tensor],
) -> Attacked:
    """Attack each image of [0, 1] by projected gradient ascent from uniform starts.

    draw: the number of the restart to unit noise for the whole batch, (B, C, H, W). A broken sample
    leaves the computation at once: its bit is decided.
    """
    ball = BALLS[norm]
    size = torch.tensor(radius, device=images.device)
    step_length = size * attack.relative_step_size
    is_right = torch.ones(len(images), dtype=torch.bool, device=images.device)
    found = images.clone()
    for restart in range(attack.restarts):
        index = is_right.nonzero().squeeze(1)
        if len(index) == 0:
            break
        originals, targets = images[index], labels[index]
        tried = ball.start(originals, draw(restart)[index], size)
        for iterate in range(attack.steps + 1):
            is_last = iterate == attack.steps
            kept, gradient = _look(classify, tried, targets, is_last)
            found[index] = tried
            if not kept.all():
                is_right[index[~kept]] = False
                index, originals, targets = index[kept], originals[kept], targets[kept]
                tried, gradient = tried[kept], gradient[kept]
            if is_last or len(index) == 0:
                break
            tried = ball.move(tried, gradient, originals, size, step_length)
    return Attacked(is_right, found)


def fgsm(
    classify: Classify, images: Tensor, labels: Tensor, *, norm: Norm, radius: float
) -> Tensor:
    """Move the images by one gradient step of cross-entropy, as long as the radius.

    Goodfellow, Shlens and Szegedy (2015), Explaining and harnessing adversarial examples, section
    4; by the gradient's direction in l2. (B, C, H, W) in [0, 1]. Weak: for comparison with `pgd`.
    """
    size = torch.tensor(radius, device=images.device)
    _, gradient = _look(classify, images, labels, is_last=False)
    return BALLS[norm].move(images, gradient, images, size, size)


def noise(images: Tensor, *, norm: Norm, radius: float, draw: Callable[[int], Tensor]) -> Tensor:
    """Move each image to a uniform point of its ball, within [0, 1]: no adversary at all.

    With the `draw` of a `pgd` this is its first start. (B, C, H, W).
    """
    return BALLS[norm].start(images, draw(0), torch.tensor(radius, device=images.device))


def classified_right(logits: Tensor, labels: Tensor) -> Tensor:
    """Return which samples are classified correctly, (B,). An output that is not finite is wrong.

    Without this rule, `argmax` would return the first class for it, which some labels are.
    """
    return (logits.argmax(1) == labels) & logits.isfinite().all(1)


def _look(
    classify: Classify, images: Tensor, labels: Tensor, is_last: bool
) -> tuple[Tensor, Tensor]:
    """Return which images are classified correctly, (B,), and the gradient to follow from each."""
    if is_last:
        with torch.no_grad():
            return classified_right(classify(images), labels), images
    leaf = images.detach().requires_grad_()
    logits = classify(leaf)
    (gradient,) = torch.autograd.grad(cross_entropy_sum(logits, labels), leaf)
    return classified_right(logits.detach(), labels), gradient


def own(
    classify: Classify,
    images: Tensor,
    labels: Tensor,
    *,
    norm: Norm,
    radius: float,
    attack: OwnAttack,
    draw: Callable[[int], Tensor],
) -> Attacked:
    """Attack by a part of one's own. A sample is right if it is so without the attack and under it.

    Raises `PartError` if an image leaves the ball or the pixel range.
    """
    offered = chosen(attack, norm=norm)
    run = attack.ready()
    # A copy, as an attack that writes into the images would be measured from what it wrote.
    given = {"classify": classify, "images": images.clone(), "labels": labels, "radius": radius}
    tried = returned(attack, run(**given, **offered))
    if tried.shape != images.shape or not tried.isfinite().all():
        rule = f"must return finite images of shape {tuple(images.shape)}, got another result"
        raise broken(attack, f"{rule}; return the attacked images")
    order = math.inf if norm == "linf" else 2
    away = torch.linalg.vector_norm((tried - images).flatten(1), ord=order, dim=1).max().item()
    is_in_range = bool((tried >= 0).all() and (tried <= 1).all())
    if away > radius * (1 + BEYOND) + BEYOND or not is_in_range:
        rule = f"must stay in the {norm} ball of radius {radius:.6g} and in [0, 1], got {away:.6g}"
        raise broken(attack, f"{rule} as the largest distance; project and clamp the images")
    with torch.no_grad():
        is_right = [classified_right(classify(x), labels) for x in (images, tried)]
    return Attacked(is_right[0] & is_right[1], tried)


def attacking(attack: EvaluationAttack) -> Attack:
    """Choose the function of an evaluation attack."""
    return own if isinstance(attack, OwnAttack) else FUNCTIONS[type(attack)]


FUNCTIONS: dict[type[EvaluationAttack], Attack] = {PgdAttack: pgd}
"""By the class of an attack's settings, those of `trainers.config.ATTACKS`."""
