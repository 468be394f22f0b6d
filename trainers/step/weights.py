"""The weight side: it computes the gradient that the base optimiser receives.

A side is given `loss_at(weights)`, which returns the loss (0-d) and the logits at those weights.
`loss_at(None)` uses the network's own weights and records batch statistics. No side writes weights.
All sides have one signature, `Perturb`. Only a side that remembers uses `memory`, tensors in fixed
storage that it reads and writes; the one of MSAM is the base optimiser's momentum, only read.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from trainers.config import (
    AdaptiveGsam,
    Asam,
    Awp,
    EigenSam,
    Esam,
    FSam,
    Gsam,
    LookSam,
    Msam,
    NoWeights,
    Phase,
    Sam,
    WeightSide,
)
from trainers.config.own import OwnWeights
from trainers.step.numbers import Numbers
from trainers.step.own import own_gradients

TINY = 1e-12
LEAST_SAMPLES = 2
"""Of a gradient of selected samples: batch normalisation needs two."""


class LossAt(Protocol):
    """The loss of a batch, as a function of the weights."""

    @property
    def labels(self) -> Tensor:
        """Return the labels, (B,)."""
        ...

    @property
    def choice(self) -> Tensor:
        """Return what was drawn for the side (`trainers.step.batches.Draw`)."""
        ...

    def __call__(
        self,
        weights: list[Tensor] | None,
        *,
        records: bool = False,
        chosen: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the loss (0-d) and the logits (B, K) at these weights, or at the network's own.

        records: whether batch statistics are recorded at other weights than its own, too.
        chosen: indices of the samples that count; all, if there are none.
        """
        ...


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
    if phase == "reuse":
        return BETWEEN[type(side)]
    if isinstance(side, OwnWeights):
        gradients = partial(own_gradients, side, side.ready())
        return lambda *given: Gradients(*gradients(*given))
    if isinstance(side, Esam):
        return partial(esam, side.gamma)
    if isinstance(side, EigenSam):
        return partial(eigen_sam, side.power_steps if phase == "refresh" else 0)
    return FUNCTIONS[type(side)]


def new_side_memory(side: WeightSide, weights: Sequence[Tensor]) -> list[Tensor]:
    """Return what a side remembers before its first step: a zero tensor per weight, or nothing."""
    is_own = isinstance(side, OwnWeights) and "memory" in side.takes
    remembers = is_own or type(side) in REMEMBERING
    return [torch.zeros_like(weight) for weight in weights] if remembers else []


def reads_momentum(side: WeightSide) -> bool:
    """Return whether the base optimiser's momentum stands in for a side's memory."""
    return isinstance(side, Msam)


def draw_choice(
    side: WeightSide, phase: Phase, num_weights: int, generator: torch.Generator
) -> Tensor:
    """Draw what is random about a weight side's step: for ESAM, a number for each tensor."""
    count = num_weights if isinstance(side, Esam) and phase != "rest" else 0
    return torch.empty(count, device=generator.device).uniform_(generator=generator)


def plain(
    loss_at: Callable[[list[Tensor] | None], tuple[Tensor, Tensor]],
    weights: list[Tensor],
    names: list[str],
    numbers: Numbers,
    memory: list[Tensor],
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
    offsets = _scaled_offsets(here.gradients, weights, names, numbers)
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
    return _without_gap(here, _gradient_at(loss_at, weights, offsets), numbers)


def adaptive_gsam(
    loss_at: LossAt, weights: list[Tensor], names: list[str], numbers: Numbers, memory: list[Tensor]
) -> Gradients:
    """Compute ASAM's gradient minus α times the part of the gradient at w orthogonal to it.

    GSAM as above, at the place of Kwon et al. (2021), equation 6.
    """
    here = plain(loss_at, weights, names, numbers, memory)
    offsets = _scaled_offsets(here.gradients, weights, names, numbers)
    return _without_gap(here, _gradient_at(loss_at, weights, offsets), numbers)


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


def esam(
    gamma: float,
    loss_at: LossAt,
    weights: list[Tensor],
    names: list[str],
    numbers: Numbers,
    memory: list[Tensor],
) -> Gradients:
    """Compute the gradient of the samples whose loss rises most, at an offset of some tensors.

    Du et al. (2022), Efficient sharpness-aware minimization, algorithm 1; the offset is ρ g / ‖g‖
    over the tensors that are moved, divided by β as in their code. Samples are ranked by their
    cross-entropy, whatever the loss. Of ⌊γB⌋ samples their code leaves out the last, as it compares
    by >, and a step of theirs on which no tensor is moved fails; ours is plain.
    """
    here = plain(loss_at, weights, names, numbers, memory)
    is_moved = (loss_at.choice < numbers.moved_share).to(here.loss.dtype).unbind()
    parts = torch._foreach_mul(here.gradients, is_moved)
    scale = numbers.rho / ((_norm(parts) + TINY) * numbers.moved_share)
    moved = _moved(weights, torch._foreach_mul(parts, scale))
    if gamma == 1:
        loss, _ = loss_at(moved)
        return here._replace(gradients=torch.autograd.grad(loss, moved))
    with torch.no_grad():
        _, there = loss_at(moved)
        before, after = (
            F.cross_entropy(logits, loss_at.labels, reduction="none")
            for logits in (here.logits, there)
        )
        count = max(int(gamma * len(before)), min(LEAST_SAMPLES, len(before)))
        chosen = (after - before).topk(count).indices
    loss, _ = loss_at(moved, chosen=chosen)
    return here._replace(gradients=torch.autograd.grad(loss, moved))


def f_sam(
    loss_at: LossAt, weights: list[Tensor], names: list[str], numbers: Numbers, memory: list[Tensor]
) -> Gradients:
    """Compute the gradient at w + ρ d / ‖d‖, with d = g - σ m; then update the mean m of g.

    Li et al. (2024), Friendly sharpness-aware minimization, algorithm 1, and their code, where the
    first step sets d = g and m = g.
    """
    here = plain(loss_at, weights, names, numbers, memory)
    direction = torch._foreach_sub(here.gradients, torch._foreach_mul(memory, numbers.mean_share))
    kept = torch.where(_norm(memory) > 0, numbers.mean_decay, 0)  # zero: there was no step yet
    with torch.no_grad():
        torch._foreach_mul_(memory, kept)
        torch._foreach_add_(memory, torch._foreach_mul(here.gradients, 1 - kept))
    offsets = torch._foreach_mul(direction, numbers.rho / (_norm(direction) + TINY))
    return here._replace(gradients=_gradient_at(loss_at, weights, offsets))


def msam(
    loss_at: LossAt, weights: list[Tensor], names: list[str], numbers: Numbers, memory: list[Tensor]
) -> Gradients:
    """Compute the one gradient of the step at w - ρ v / ‖v‖, where v is the optimiser's momentum.

    Becker et al. (2024), Momentum-SAM, algorithm 1. The optimiser's step goes along -v, so this is
    further along it. Before the first step v is zero, and so is the offset.
    """
    offsets = torch._foreach_mul(memory, -numbers.rho / (_norm(memory) + TINY))
    moved = _moved(weights, offsets)
    loss, logits = loss_at(moved, records=True)
    return Gradients(loss, logits, torch.autograd.grad(loss, moved))


def eigen_sam(
    power_steps: int,
    loss_at: LossAt,
    weights: list[Tensor],
    names: list[str],
    numbers: Numbers,
    memory: list[Tensor],
) -> Gradients:
    """Compute the gradient at w + ρ (u + α sign⟨u, v⟩ v⊥); v is the remembered eigenvector.

    Luo et al. (2025), Explicit eigenvalue regularization improves sharpness-aware minimization, and
    their code. u = g / ‖g‖, v⊥ = v - ⟨u, v⟩ u. power_steps: by which v is renewed first, if any.
    """
    here = plain(loss_at, weights, names, numbers, memory)
    if power_steps:
        found = _top_eigenvector(power_steps, loss_at, weights, here.gradients, memory)
        with torch.no_grad():
            torch._foreach_copy_(memory, found)
    unit = torch._foreach_div(here.gradients, _norm(here.gradients) + TINY)
    along = _inner(unit, memory)
    aside = torch._foreach_sub(memory, torch._foreach_mul(unit, along))
    turned = torch._foreach_mul(aside, numbers.alpha * along.sign())
    offsets = torch._foreach_mul(torch._foreach_add(turned, unit), numbers.rho)
    return here._replace(gradients=_gradient_at(loss_at, weights, offsets))


def _top_eigenvector(
    power_steps: int,
    loss_at: LossAt,
    weights: list[Tensor],
    gradients: tuple[Tensor, ...],
    memory: list[Tensor],
) -> list[Tensor]:
    """Approach the eigenvector of the largest |eigenvalue| of the Hessian, by power iterations.

    They begin at the remembered one, or at the gradient where there is none yet.
    """
    copies = _moved(weights, None)
    loss, _ = loss_at(copies)
    slope = torch.autograd.grad(loss, copies, create_graph=True)
    has_none = _norm(memory) == 0
    vector = [torch.where(has_none, g, v) for g, v in zip(gradients, memory, strict=True)]
    for _ in range(power_steps):
        product = torch.autograd.grad(
            slope, copies, vector, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        vector = list(torch._foreach_div(product, _norm(product) + TINY))
    return [tensor.detach() for tensor in vector]


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
    AdaptiveGsam: adaptive_gsam,
    LookSam: look_sam,
    FSam: f_sam,
    Msam: msam,
    Awp: awp,
}
"""Besides ESAM and Eigen-SAM, whose functions a setting completes."""
BETWEEN: dict[type[WeightSide], Perturb] = {LookSam: look_sam_between}
"""What LookSAM does on the steps between two full gradients."""
REMEMBERING = (LookSam, FSam, EigenSam)


def _gradient_at(
    loss_at: LossAt, weights: list[Tensor], offsets: list[Tensor] | tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """Compute the gradient at w + e, on new tensors: w is never written, so nothing is restored."""
    moved = _moved(weights, offsets)
    loss, _ = loss_at(moved)
    return torch.autograd.grad(loss, moved)


def _moved(
    weights: list[Tensor], offsets: list[Tensor] | tuple[Tensor, ...] | None
) -> list[Tensor]:
    """Return w + e, or a copy of w, to be differentiated by."""
    moved = [weight.detach().clone() for weight in weights]  # a sum might have another layout
    if offsets is not None:
        torch._foreach_add_(moved, offsets)
    return [weight.requires_grad_() for weight in moved]


def _scaled_offsets(
    gradients: tuple[Tensor, ...], weights: list[Tensor], names: list[str], numbers: Numbers
) -> list[Tensor] | tuple[Tensor, ...]:
    """Return ASAM's e = ρ T² g / ‖T g‖."""
    scales = [
        weight.detach().abs() + numbers.eta if "weight" in name else torch.ones_like(weight)
        for name, weight in zip(names, weights, strict=True)
    ]
    scaled = torch._foreach_mul(gradients, scales)
    offsets = torch._foreach_mul(scaled, numbers.rho / (_norm(scaled) + TINY))
    torch._foreach_mul_(offsets, scales)
    return offsets


def _without_gap(here: Gradients, moved: tuple[Tensor, ...], numbers: Numbers) -> Gradients:
    """Return GSAM's gradient, from the one at w and the one at the moved weights."""
    square = _inner(moved, moved)
    share = torch.where(square > 0, _inner(here.gradients, moved) / square, 0)
    orthogonal = torch._foreach_sub(here.gradients, torch._foreach_mul(moved, share))
    gradients = torch._foreach_sub(moved, torch._foreach_mul(orthogonal, numbers.alpha))
    return here._replace(gradients=tuple(gradients))


def _norm(tensors: list[Tensor] | tuple[Tensor, ...]) -> Tensor:
    """Return the l2 norm over all tensors together, 0-d."""
    norm: Tensor = torch.stack(torch._foreach_norm(tensors)).norm()
    return norm


def _inner(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """Return the inner product over all tensors together, 0-d."""
    total: Tensor = torch.stack(
        [product.sum() for product in torch._foreach_mul(list(a), list(b))]
    ).sum()
    return total
