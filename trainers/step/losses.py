"""The loss: what the weights minimise on a batch, and what its attack maximises.

Functions of one signature: (classify, images, crafted, labels, numbers, memory) to the loss, 0-d,
and the logits of the crafted images, (B, K). `classify` is called once per set of images that is
needed. Only a loss that remembers uses `memory`, tensors in fixed storage.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from trainers.config.losses import CrossEntropy, Dkl, Ikl, Loss, Mart, Trades
from trainers.config.own import OwnLoss
from trainers.step.inputs import Classify, Inner
from trainers.step.numbers import Numbers
from trainers.step.own import own_loss

BESIDE_ONE, IN_LOGARITHM, WEIGHT_OF_ALL = 1.0001, 1e-12, 1.0000001
"""MART's constants, as its code has them; the first and the last stand for 1."""


class LossOf(Protocol):
    """The function of a loss."""

    def __call__(
        self,
        classify: Classify,
        images: Tensor,
        crafted: Tensor,
        labels: Tensor,
        numbers: Numbers,
        memory: list[Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Return the loss (0-d) and the logits of the crafted images (B, K)."""
        ...


class Minimised(NamedTuple):
    """A loss, ready for the loop."""

    loss: LossOf
    inner: Inner
    """What its attack maximises."""
    end_epoch: Callable[[list[Tensor]], None] = lambda memory: None
    """Update the memory of the loss between two epochs."""


def minimised(loss: Loss) -> Minimised:
    """Choose the functions of a loss, once, before the loop."""
    match loss:
        case OwnLoss():
            return Minimised(partial(own_loss, loss, loss.ready()), CROSS_ENTROPY)
        case CrossEntropy(label_smoothing=smoothing):
            return Minimised(partial(cross_entropy, label_smoothing=smoothing), CROSS_ENTROPY)
        case Trades():
            return Minimised(trades, Inner(probabilities, kl_sum, starts_near=True))
        case Mart():
            return Minimised(mart, CROSS_ENTROPY._replace(starts_near=True))
        case Dkl():
            # The square has no gradient at the crafted images; what is left has that of KL.
            return Minimised(dkl, Inner(probabilities, kl_sum, starts_near=True))
        case Ikl(temperature=temperature):
            inner = Inner(logits_and_weights, ikl_sum, starts_near=True)
            return Minimised(partial(ikl, temperature=temperature), inner, end_epoch_of_ikl)


def new_loss_memory(loss: Loss, num_classes: int, device: torch.device) -> list[Tensor]:
    """Return what a loss remembers before its first step.

    IKL: the weights of each class, (K, K), uniform at first, and the sums of the present epoch that
    the next one's are made of, (K, K).
    """
    if not isinstance(loss, Ikl):
        return []
    shape = (num_classes, num_classes)
    return [torch.full(shape, 1 / num_classes, device=device), torch.zeros(shape, device=device)]


def cross_entropy(
    classify: Classify,
    images: Tensor,
    crafted: Tensor,
    labels: Tensor,
    numbers: Numbers,
    memory: list[Tensor],
    *,
    label_smoothing: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Compute the mean cross-entropy on the crafted images."""
    logits = classify(crafted)
    return F.cross_entropy(logits, labels, label_smoothing=label_smoothing), logits


def trades(
    classify: Classify,
    images: Tensor,
    crafted: Tensor,
    labels: Tensor,
    numbers: Numbers,
    memory: list[Tensor],
) -> tuple[Tensor, Tensor]:
    """Compute the mean of CE(f(x), y) + β KL(p(x) ‖ p(x′)); nothing is detached.

    Zhang et al. (2019), Theoretically principled trade-off between robustness and accuracy,
    equation 5, as their code computes it.
    """
    clean = classify(images)
    logits = classify(crafted)
    divergence = kl_of_logits(clean, logits).mean()
    return F.cross_entropy(clean, labels) + numbers.beta * divergence, logits


def mart(
    classify: Classify,
    images: Tensor,
    crafted: Tensor,
    labels: Tensor,
    numbers: Numbers,
    memory: list[Tensor],
) -> tuple[Tensor, Tensor]:
    """Compute the mean of boosted CE on x′ + β KL(p(x) ‖ p(x′)) (1 - p_y(x)).

    Boosted: -log p_y(x′) - log(1 - max over k ≠ y of p_k(x′)). Wang et al. (2020), Improving
    adversarial robustness requires revisiting misclassified examples, equations 8 to 10, with the
    constants of their code. These bound the loss: log(1 - p) at 9.2, the divergence at 27.6.
    """
    clean = classify(images)
    logits = classify(crafted)
    clean_log, q = clean.log_softmax(1), logits.softmax(1)
    classes = torch.arange(logits.shape[1], device=logits.device)
    rival = q.masked_fill(classes == labels[:, None], -torch.inf).max(1).values
    boosted = F.cross_entropy(logits, labels) - (BESIDE_ONE - rival + IN_LOGARITHM).log().mean()
    # p from its logarithm, which stays finite where p is 0.
    p = clean_log.exp()
    divergence = (p * (clean_log - (q + IN_LOGARITHM).log())).sum(1)
    p_label = p.gather(1, labels[:, None]).squeeze(1)
    return boosted + numbers.beta * (divergence * (WEIGHT_OF_ALL - p_label)).mean(), logits


def dkl(
    classify: Classify,
    images: Tensor,
    crafted: Tensor,
    labels: Tensor,
    numbers: Numbers,
    memory: list[Tensor],
) -> tuple[Tensor, Tensor]:
    """Compute the mean of CE(f(x), y) + β ¼ Σ_jk p_j p_k (Δ_jk - Δ′_jk)² + α KL(p ‖ p(x′)).

    Δ_jk is z_j - z_k of the clean logits, Δ′ that of the crafted ones, detached, and p the clean
    prediction, detached. Cui et al. (2024), Decoupled Kullback-Leibler divergence loss, theorem 1,
    less the entropy of p, which has no gradient: so the loss of equal predictions is their
    cross-entropy, as detectors expect. With α = β the gradient is that of TRADES.
    """
    clean = classify(images)
    logits = classify(crafted)
    fixed = clean.detach()
    square = pairwise_square(clean - logits.detach(), fixed.softmax(1))
    divergence = kl_of_logits(fixed, logits)
    both = numbers.beta * square + numbers.soft * divergence
    return F.cross_entropy(clean, labels) + both.mean(), logits


def ikl(
    classify: Classify,
    images: Tensor,
    crafted: Tensor,
    labels: Tensor,
    numbers: Numbers,
    memory: list[Tensor],
    *,
    temperature: float,
) -> tuple[Tensor, Tensor]:
    """Compute the mean of CE(f(x), y) + β ¼ Σ_jk s_j s_k (Δ_jk - Δ′_jk)² + α KL(p ‖ p(x′)).

    As `dkl`, with Δ′ not detached, and s the mean of softmax(f(x) / T) over the sample's class in
    the epoch before. Cui et al. (2024), equation 7, as their script for CIFAR-100 computes it.
    There predictions are averaged at weights that AWP has moved, here at the network's own.
    """
    clean = classify(images)
    logits = classify(crafted)
    weights, sums = memory
    square = pairwise_square(clean - logits, weights[labels])
    divergence = kl_of_logits(clean.detach(), logits)
    with torch.no_grad():
        # A product of matrices: adding by index would add in any order on a GPU.
        is_of_class = labels == torch.arange(len(sums), device=labels.device)[:, None]
        sums.add_(is_of_class.to(sums.dtype) @ (clean / temperature).softmax(1).to(sums.dtype))
    both = numbers.beta * square + numbers.soft * divergence
    return F.cross_entropy(clean, labels) + both.mean(), logits


def end_epoch_of_ikl(memory: list[Tensor]) -> None:
    """Average the predictions of an epoch by class; a class that was not seen keeps its weights."""
    weights, sums = memory
    counts = sums.sum(1, keepdim=True)  # as each prediction adds up to 1
    weights.copy_(torch.where(counts > 0, sums / counts, weights))
    sums.zero_()


def pairwise_square(differences: Tensor, weights: Tensor) -> Tensor:
    """Compute ¼ Σ_jk w_j w_k (x_j - x_k)² of each sample in O(K): half the variance of x under w.

    differences: x, (B, K). weights: w, (B, K), of sum 1. Returns (B,).

    >>> float(pairwise_square(torch.tensor([[3.0, 1.0]]), torch.tensor([[0.5, 0.5]])))
    0.5
    """
    mean = (weights * differences).sum(1, keepdim=True)
    return (weights * (differences - mean).square()).sum(1) / 2


def kl_of_logits(first: Tensor, second: Tensor) -> Tensor:
    """Compute KL(p ‖ q) of each sample, (B,), of the softmax of two sets of logits, (B, K)."""
    log_p, log_q = first.log_softmax(1), second.log_softmax(1)
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(1)


def logits_and_weights(
    classify: Classify, images: Tensor, labels: Tensor, memory: list[Tensor]
) -> Tensor:
    """Return the clean logits and IKL's weights of each sample, (B, 2, K), without a gradient."""
    with torch.no_grad():
        return torch.stack([classify(images), memory[0][labels]], 1)


def ikl_sum(logits: Tensor, targets: Tensor) -> Tensor:
    """Sum IKL with α = β = 1, which its attack maximises; targets of `logits_and_weights`."""
    clean, weights = targets.unbind(1)
    square = pairwise_square(clean - logits, weights)
    return (square + kl_of_logits(clean, logits)).sum()


def the_labels(classify: Classify, images: Tensor, labels: Tensor, memory: list[Tensor]) -> Tensor:
    """Return the labels: an attack on cross-entropy needs nothing else."""
    return labels


def probabilities(
    classify: Classify, images: Tensor, labels: Tensor, memory: list[Tensor]
) -> Tensor:
    """Return the network's probabilities of the clean images, (B, K), without a gradient."""
    with torch.no_grad():
        return classify(images).softmax(1)


def cross_entropy_sum(logits: Tensor, labels: Tensor) -> Tensor:
    """Sum cross-entropies, for attacks: a mean would scale each gradient by the batch size."""
    return F.cross_entropy(logits, labels, reduction="sum")


def kl_sum(logits: Tensor, probabilities: Tensor) -> Tensor:
    """Sum KL(p ‖ softmax of the logits), which TRADES' attack maximises."""
    return F.kl_div(logits.log_softmax(1), probabilities, reduction="sum")


CROSS_ENTROPY = Inner(the_labels, cross_entropy_sum, starts_near=False)
