"""The loss: what the weights minimise on a batch, and what its attack maximises.

Functions of one signature: (classify, images, crafted, labels, numbers) to the loss, 0-d, and the
logits of the crafted images, (B, K). `classify` is called once per set of images that is needed.
"""

from functools import partial
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from trainers.config.losses import CrossEntropy, Loss, Mart, Trades
from trainers.config.own import OwnLoss
from trainers.step.inputs import Classify, Inner
from trainers.step.numbers import Numbers
from trainers.step.own import own_loss

BESIDE_ONE, IN_LOGARITHM, WEIGHT_OF_ALL = 1.0001, 1e-12, 1.0000001
"""MART's constants, as its code has them; the first and the last stand for 1."""


class LossOf(Protocol):
    """The function of a loss."""

    def __call__(
        self, classify: Classify, images: Tensor, crafted: Tensor, labels: Tensor, numbers: Numbers
    ) -> tuple[Tensor, Tensor]:
        """Return the loss (0-d) and the logits of the crafted images (B, K)."""
        ...


class Minimised(NamedTuple):
    """A loss, ready for the loop."""

    loss: LossOf
    inner: Inner
    """What its attack maximises."""


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


def cross_entropy(
    classify: Classify,
    images: Tensor,
    crafted: Tensor,
    labels: Tensor,
    numbers: Numbers,
    *,
    label_smoothing: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Compute the mean cross-entropy on the crafted images."""
    logits = classify(crafted)
    return F.cross_entropy(logits, labels, label_smoothing=label_smoothing), logits


def trades(
    classify: Classify, images: Tensor, crafted: Tensor, labels: Tensor, numbers: Numbers
) -> tuple[Tensor, Tensor]:
    """Compute the mean of CE(f(x), y) + β KL(p(x) ‖ p(x′)); nothing is detached.

    Zhang et al. (2019), Theoretically principled trade-off between robustness and accuracy,
    equation 5, as their code computes it.
    """
    clean = classify(images)
    logits = classify(crafted)
    log_p, log_q = clean.log_softmax(1), logits.log_softmax(1)
    divergence = F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(1).mean()
    return F.cross_entropy(clean, labels) + numbers.beta * divergence, logits


def mart(
    classify: Classify, images: Tensor, crafted: Tensor, labels: Tensor, numbers: Numbers
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


def the_labels(classify: Classify, images: Tensor, labels: Tensor) -> Tensor:
    """Return the labels: an attack on cross-entropy needs nothing else."""
    return labels


def probabilities(classify: Classify, images: Tensor, labels: Tensor) -> Tensor:
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
