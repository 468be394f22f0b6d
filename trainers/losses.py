"""The loss: what the weights minimise on a batch of crafted images."""

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from trainers.config import CrossEntropy
from trainers.inputs import Classify


def cross_entropy(
    classify: Classify, images: Tensor, crafted: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy on the crafted images; returns loss (0-d) and logits (B, K)."""
    logits = classify(crafted)
    return F.cross_entropy(logits, labels), logits


def cross_entropy_sum(logits: Tensor, labels: Tensor) -> Tensor:
    """Sum of cross-entropies, for attacks: a mean would scale each gradient by the batch size."""
    return F.cross_entropy(logits, labels, reduction="sum")


LOSSES: dict[type[Any], Any] = {CrossEntropy: cross_entropy}
