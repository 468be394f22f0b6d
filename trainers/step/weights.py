"""The weight side: it computes the gradient that the base optimiser receives.

A side is given `loss_at(weights)`, which returns the loss (0-d) and the logits at those weights.
`loss_at(None)` uses the network's own weights and records batch statistics. No side writes weights.
All sides have one signature, `Perturb`. Only a side that remembers uses `memory`, tensors in fixed
storage that it reads and writes.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from trainers.config import Asam, Awp, Gsam, LookSam, NoWeights, Phase, Sam, WeightSide
from trainers.config.own import OwnWeights
from trainers.step.numbers import Numbers
from trainers.step.own import own_gradients

LossAt = Callable[[list[Tensor] | None], tuple[Tensor, Tensor]]
TINY = 1e-12


class Gradients(NamedTuple):
    """Loss and logits at the network's own weights, and the gradient for the base optimiser."""

    loss: Tensor
    logits: Tensor
    gradients: tuple[Tensor, ...]


class Perturb(Protocol):
    """The function of a weight side."""

    def __call__(
        self,
        loss_at: LossAt,
        weights: list[Tensor],
        names: list[str],
        numbers: Numbers,
        memory: list[Tensor],
    ) -> Gradients:
        """Return the loss, the logits and the gradient of one step."""
        ...


def perturbing(side: WeightSide, phase: Phase = "act") -> Perturb:
    """Choose the function of a weight side in a phase, once, before the loop."""
    if phase == "rest":
        return plain
    if isinstance(side, OwnWeights):
        gradients = partial(own_gradients, side, side.ready())
        return lambda *given: Gradients(*gradients(*given))
    return FUNCTIONS[type(side)] if phase == "act" else BETWEEN[type(side)]


def new_side_memory(side: WeightSide, weights: Sequence[Tensor]) -> list[Tensor]:
    """Return what a side remembers before its first step: a zero tensor per weight, or nothing."""
    is_own = isinstance(side, OwnWeights) and "memory" in side.takes
    remembers = is_own or type(side) in BETWEEN
    return [torch.zeros_like(weight) for weight in weights] if remembers else []


def plain(
    loss_at: LossAt, weights: list[Tensor], names: list[str], numbers: Numbers, memory: list[Tensor]
) -> Gradients:
    """Compute the gradient at the weights themselves."""
    loss, logits = loss_at(None)
    return Gradients(loss, logits, torch.autograd.grad(loss, weights))


def sam(
    loss_at: LossAt, weights: list[Tensor], names: list[str], numbers: Numbers, memory: list[Tensor]
) -> Gradients:
    """Compute the gradient at w + ρ g / ‖g‖, with one norm over all weights together.

    Foret et al. (2021), Sharpness-aware minimization, equations 2 and 3. A zero gradient moves
    nothing.
    """
    here = plain(loss_at, weights, names, numbers, memory)
    norm = _norm(here.gradients)
    offsets = torch._foreach_mul(here.gradients, numbers.rho / (norm + TINY))
    return here._replace(gradients=_gradient_at(loss_at, weights, offsets))


def asam(
    loss_at: LossAt, weights: list[Tensor], names: list[str], numbers: Numbers, memory: list[Tensor]
) -> Gradients:
    """Compute the gradient at w + ρ T² g / ‖T g‖: a radius that rescaling weights does not change.

    Kwon et al. (2021), ASAM, equation 6, with T as in their code: |w| + η where a parameter's name
    contains `weight`, the scale of a normalisation too; 1 elsewhere.
    """
    here = plain(loss_at, weights, names, numbers, memory)
    scales = [
        weight.detach().abs() + numbers.eta if "weight" in name else torch.ones_like(weight)
        for name, weight in zip(names, weights, strict=True)
    ]
    scaled = torch._foreach_mul(here.gradients, scales)
    offsets = torch._foreach_mul(scaled, numbers.rho / (_norm(scaled) + TINY))
    torch._foreach_mul_(offsets, scales)
    return here._replace(gradients=_gradient_at(loss_at, weights, offsets))


def gsam(
    loss_at: LossAt, weights: list[Tensor], names: list[str], numbers: Numbers, memory: list[Tensor]
) -> Gradients:
    """Compute SAM's gradient minus α times the part of the gradient at w orthogonal to it.

    Zhuang et al. (2022), Surrogate gap minimization improves sharpness-aware training, algorithm 1:
    the perturbed loss falls as with SAM, and the gap to it shrinks. Where both gradients are equal,
    the orthogonal part is exactly zero.
    """
    here = plain(loss_at, weights, names, numbers, memory)
    offsets = torch._foreach_mul(here.gradients, numbers.rho / (_norm(here.gradients) + TINY))
    moved = _gradient_at(loss_at, weights, offsets)
    square = _inner(moved, moved)
    share = torch.where(square > 0, _inner(here.gradients, moved) / square, 0)
    orthogonal = torch._foreach_sub(here.gradients, torch._foreach_mul(moved, share))
    gradients = torch._foreach_sub(moved, torch._foreach_mul(orthogonal, numbers.alpha))
    return here._replace(gradients=tuple(gradients))


def look_sam(
    loss_at: LossAt,
    weights: list[Tensor],
    names: list[str],
    numbers: Numbers,
    memory: list[Tensor],
) -> Gradients:
    """Compute SAM's gradient g_s, and remember its part orthogonal to the gradient g at w.

    Liu et al. (2022), Towards efficient and scalable sharpness-aware minimization, algorithm 1:
    g_v = g_s - ‖g_s‖ cos θ g / ‖g‖, which is g_s - (⟨g, g_s⟩ / ⟨g, g⟩) g. Where both gradients are
    equal, it is exactly zero.
    """
    here = plain(loss_at, weights, names, numbers, memory)
    offsets = torch._foreach_mul(here.gradients, numbers.rho / (_norm(here.gradients) + TINY))
    moved = _gradient_at(loss_at, weights, offsets)
    square = _inner(here.gradients, here.gradients)
    share = torch.where(square > 0, _inner(here.gradients, moved) / square, 0)
    with torch.no_grad():
        torch._foreach_copy_(memory, moved)
        torch._foreach_sub_(memory, torch._foreach_mul(here.gradients, share))
    return here._replace(gradients=moved)


def look_sam_between(
    loss_at: LossAt,
    weights: list[Tensor],
    names: list[str],
    numbers: Numbers,
    memory: list[Tensor],
) -> Gradients:
    """Compute g + α ‖g‖ / ‖g_v‖ g_v, with the g_v that `look_sam` remembered."""
    here = plain(loss_at, weights, names, numbers, memory)
    length = _norm(memory)
    # Of two equal gradients, a compiled step leaves the rounding as g_v, which must not be scaled.
    is_moved = (length > 0) & (numbers.rho > 0)
    ratio = torch.where(is_moved, numbers.alpha * _norm(here.gradients) / length, 0)
    gradients = torch._foreach_add(here.gradients, torch._foreach_mul(memory, ratio))
    return here._replace(gradients=tuple(gradients))


def awp(
    loss_at: LossAt, weights: list[Tensor], names: list[str], numbers: Numbers, memory: list[Tensor]
) -> Gradients:
    """Compute the gradient at w_l + γ ‖w_l‖ g_l / ‖g_l‖, layer by layer; γ is `numbers.rho`.

    Wu et al. (2020), Adversarial weight perturbation helps robust generalization, equation 10; as
    in their code on tensors of two or more dimensions whose name contains `weight`. Theirs lets the
    optimiser step at the moved weights and then moves them back; ours steps from w, as SAM does.
    """
    here = plain(loss_at, weights, names, numbers, memory)
    is_layer = [
        weight.dim() >= 2 and "weight" in name for name, weight in zip(names, weights, strict=True)
    ]
    lengths = torch._foreach_norm([weight.detach() for weight in weights])
    norms = torch._foreach_norm(here.gradients)
    offsets = [
        gradient * (numbers.rho * length / (norm + TINY)) if moves else torch.zeros_like(gradient)
        for gradient, length, norm, moves in zip(
            here.gradients, lengths, norms, is_layer, strict=True
        )
    ]
    return here._replace(gradients=_gradient_at(loss_at, weights, offsets))


FUNCTIONS: dict[type[WeightSide], Perturb] = {
    NoWeights: plain,
    Sam: sam,
    Asam: asam,
    Gsam: gsam,
    LookSam: look_sam,
    Awp: awp,
}
BETWEEN: dict[type[WeightSide], Perturb] = {LookSam: look_sam_between}
"""What the sides that remember do on the steps between two full gradients."""


def _gradient_at(
    loss_at: LossAt, weights: list[Tensor], offsets: list[Tensor] | tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """Compute the gradient at w + e, on new tensors: w is never written, so nothing is restored."""
    moved = [weight.detach().clone() for weight in weights]  # a sum might have another layout
    torch._foreach_add_(moved, offsets)
    moved = [weight.requires_grad_() for weight in moved]
    loss, _ = loss_at(moved)
    return torch.autograd.grad(loss, moved)


def _norm(tensors: list[Tensor] | tuple[Tensor, ...]) -> Tensor:
    """Return the l2 norm over all tensors together, 0-d."""
    norm: Tensor = torch.stack(torch._foreach_norm(tensors)).norm()
    return norm


def _inner(a: tuple[Tensor, ...], b: tuple[Tensor, ...]) -> Tensor:
    """Return the inner product over all tensors together, 0-d."""
    total: Tensor = torch.stack([product.sum() for product in torch._foreach_mul(a, b)]).sum()
    return total
