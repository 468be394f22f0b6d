"""The baseline's evaluation: every sample through every step, whether it is broken or not."""

from typing import Any, NamedTuple

import numpy as np
import torch
from baseline_step import ascend, random_start
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from trainers.config import Norm, PgdAttack


class Judged(NamedTuple):
    """What an evaluation found."""

    bits: NDArray[np.bool_]
    """(1 + R, n): row 0 without an attack, row 1 + i at radius i."""
    clean: float
    robust: tuple[float, ...]


def find_bits(
    model: nn.Module,
    loader: "DataLoader[Any]",
    norm: Norm,
    attacks: list[tuple[float, PgdAttack]],
    device: torch.device,
) -> NDArray[np.bool_]:
    """Mark the right samples: without an attack, then under each attack at its radius."""
    model.eval()
    rows = []
    for radius, attack in [(0.0, None), *attacks]:
        bits = []
        for loaded, loaded_labels in loader:
            images, labels = loaded.to(device), loaded_labels.to(device)
            if attack is None:
                with torch.no_grad():
                    bits.append((model(images).argmax(1) == labels).cpu())
            else:
                bits.append(survives(model, images, labels, norm, radius, attack).cpu())
        rows.append(torch.cat(bits).numpy())
    return np.stack(rows)


def survives(
    model: nn.Module, images: Tensor, labels: Tensor, norm: Norm, radius: float, attack: PgdAttack
) -> Tensor:
    """Mark the samples that are right at every start and iterate; all go through all steps."""
    is_right = torch.ones(len(images), dtype=torch.bool, device=images.device)
    for _ in range(attack.restarts):
        tried = random_start(images, norm, radius)
        for _ in range(attack.steps):
            tried = tried.detach().requires_grad_()
            logits = model(tried)
            is_right &= logits.argmax(1) == labels
            F.cross_entropy(logits, labels, reduction="sum").backward()
            tried = ascend(tried, images, norm, radius, attack.relative_step_size * radius)
        with torch.no_grad():
            is_right &= model(tried).argmax(1) == labels
    model.zero_grad()
    return is_right


def nested_accuracies(bits: NDArray[np.bool_]) -> list[float]:
    """Count a sample as right at a radius only if it is at all smaller ones and unattacked."""
    return np.logical_and.accumulate(bits, axis=0).mean(axis=1).tolist()
