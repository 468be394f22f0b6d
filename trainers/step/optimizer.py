"""The base optimiser: how the gradient moves the weights, in place, by torch's conventions.

All have one signature: (weights, moments, gradients, numbers). `moments` hold SGD's momentum, one
tensor for each weight, or AdamW's first moments and then its second ones; all begin at zero.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from trainers.config import TrainingConfig
from trainers.config.own import Own
from trainers.step.numbers import ADAM_BETA2, Numbers
from trainers.step.own import own_descent, own_moments

ADAM_TINY = 1e-8
Descend = Callable[[list[Tensor], list[Tensor], tuple[Tensor, ...], Numbers], None]


def descending(training: TrainingConfig) -> Descend:
    """Choose the function of a base optimiser, once, before the loop."""
    optimizer = training.optimizer
    if isinstance(optimizer, Own):
        return partial(own_descent, optimizer, optimizer.ready())
    if optimizer == "adamw":
        return adamw
    return nesterov if training.nesterov else sgd


def new_moments(training: TrainingConfig, weights: Sequence[Tensor]) -> list[Tensor]:
    """Return an optimiser's state before its first step."""
    if isinstance(training.optimizer, Own):
        return own_moments(training.optimizer, weights)
    each = 2 if training.optimizer == "adamw" else 1
    return [torch.zeros_like(weight) for _ in range(each) for weight in weights]


def sgd(
    weights: list[Tensor],
    moments: list[Tensor],
    gradients: tuple[Tensor, ...],
    numbers: Numbers,
) -> None:
    """Update by m ← μ m + g + λ w, w ← w - η m.

    The convention of torch.optim.SGD: weight decay λ enters the gradient, and the momentum is not
    damped. A first momentum of zero is torch's first step.
    """
    _gather(weights, moments, gradients, numbers)
    torch._foreach_sub_(weights, torch._foreach_mul(moments, numbers.learning_rate))


def nesterov(
    weights: list[Tensor],
    moments: list[Tensor],
    gradients: tuple[Tensor, ...],
    numbers: Numbers,
) -> None:
    """Update by m ← μ m + g + λ w, w ← w - η (g + λ w + μ m), as torch.optim.SGD does.

    Sutskever et al. (2013), On the importance of initialization and momentum, equations 3 and 4,
    with the momentum looked ahead by one step.
    """
    decayed = _gather(weights, moments, gradients, numbers)
    torch._foreach_add_(decayed, torch._foreach_mul(moments, numbers.momentum))
    torch._foreach_sub_(weights, torch._foreach_mul(decayed, numbers.learning_rate))


def _gather(
    weights: list[Tensor],
    moments: list[Tensor],
    gradients: tuple[Tensor, ...],
    numbers: Numbers,
) -> list[Tensor]:
    """Update the momentum, and return g + λ w."""
    decayed = torch._foreach_mul(weights, numbers.weight_decay)
    torch._foreach_add_(decayed, gradients)
    torch._foreach_mul_(moments, numbers.momentum)
    torch._foreach_add_(moments, decayed)
    return list(decayed)


def adamw(
    weights: list[Tensor],
    moments: list[Tensor],
    gradients: tuple[Tensor, ...],
    numbers: Numbers,
) -> None:
    """Update by Adam with decoupled weight decay: β₁ the momentum, β₂ 0.999, ε 1e-8.

    Loshchilov and Hutter (2019), Decoupled weight decay regularization, algorithm 2, with torch's
    convention that the decay is η λ w.
    """
    first, second = moments[: len(weights)], moments[len(weights) :]
    torch._foreach_mul_(weights, 1 - numbers.learning_rate * numbers.weight_decay)
    torch._foreach_mul_(first, numbers.momentum)
    torch._foreach_add_(first, torch._foreach_mul(gradients, 1 - numbers.momentum))
    torch._foreach_mul_(second, ADAM_BETA2)
    squares = torch._foreach_mul(gradients, gradients)
    torch._foreach_add_(second, torch._foreach_mul(squares, 1 - ADAM_BETA2))
    roots = torch._foreach_sqrt(second)
    torch._foreach_div_(roots, numbers.second_correction.sqrt())
    torch._foreach_add_(roots, ADAM_TINY)
    steps = torch._foreach_div(first, roots)
    torch._foreach_mul_(steps, numbers.learning_rate / numbers.first_correction)
    torch._foreach_sub_(weights, steps)


def clipped(gradients: tuple[Tensor, ...], numbers: Numbers) -> tuple[Tensor, ...]:
    """Shorten the gradient to `numbers.gradient_clip`, in l2 over all weights together.

    Pascanu et al. (2013), On the difficulty of training recurrent neural networks, algorithm 1; a
    shorter gradient is left as it is, bit for bit.
    """
    norm = torch.stack(torch._foreach_norm(gradients)).norm()
    factor = (numbers.gradient_clip / norm).clamp(max=1)
    return tuple(torch._foreach_mul(gradients, factor))


def average(averages: list[Tensor], current: list[Tensor], numbers: Numbers) -> None:
    """Update moving averages by a ← d a + (1 - d) w. Tensors that are not floating are copied.

    With a decay of 0 the average equals the current tensor, bit for bit.
    """
    for mean, tensor in zip(averages, current, strict=True):
        if tensor.is_floating_point():
            mean.mul_(numbers.ema_decay).add_(tensor.detach() * (1 - numbers.ema_decay))
        else:
            mean.copy_(tensor)
