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
from trainers.step.inputs import Classify, Inner
from trainers.step.numbers import Numbers


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
    divergence = _kl(clean.log_softmax(1), logits.log_softmax(1)).mean()
    return F.cross_entropy(clean, labels) + numbers.beta * divergence, logits


def mart(
    classify: Classify, images: Tensor, crafted: Tensor, labels: Tensor, numbers: Numbers
) -> tuple[Tensor, Tensor]:
    """Compute the mean of boosted CE on x′ + β KL(p(x) ‖ p(x′)) (1 - p_y(x)).

    Boosted: -log p_y(x′) - log(1 - max over k ≠ y of p_k(x′)). Wang et al. (2020), Improving
    adversarial robustness requires revisiting misclassified examples, equations 8 to 10. Their code
    adds 1e-4 and 1e-12 inside logarithms; here 1 - p_k is a sum of the others' probabilities in
    logarithms, so no constant is needed.
    """
    clean = classify(images)
    logits = classify(crafted)
    clean_log, log = clean.log_softmax(1), logits.log_softmax(1)
    classes = torch.arange(logits.shape[1], device=logits.device)
    rival = log.masked_fill(classes == labels[:, None], -torch.inf).argmax(1)
    margin = log.masked_fill(classes == rival[:, None], -torch.inf).logsumexp(1)
    boosted = F.nll_loss(log, labels) - margin.mean()
    p_label = clean_log.gather(1, labels[:, None]).squeeze(1).exp()
    return boosted + numbers.beta * (_kl(clean_log, log) * (1 - p_label)).mean(), logits


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Compute KL(p ‖ q) of each row, (B,), from logarithms (B, K)."""
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(1)


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
