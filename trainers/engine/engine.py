"""How passes are executed: which of the faster forms are used where they apply.

No choice made here changes a pass by more than the rounding of float32, as another processor would,
so none of it belongs to a `TrainConfig`. A training multiplies roundings: two that are executed
unlike end as two seeds of one configuration do, which is why `TrainState.engine` says what was
used. The precision changes what is computed, and is part of the configuration.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from trainers.engine.narrow import NarrowClassifier, narrow_classifier
from trainers.networks.build import evaluation_view

Classify = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Engine:
    """What may be used. Each is passed over where it does not apply."""

    narrow: bool = True
    """Attack a small convolutional network on a CPU through one fused pass, sample by sample."""
    captured: bool = True
    """Replay each training step as one CUDA graph."""
    compiled: Literal["when it pays", "always", "never"] = "when it pays"
    """Run steps of full batches through torch.compile."""
    later_steps: int = 0
    """Steps of the same shape that this process can expect after this training: what a
    compilation can pay for besides."""


PLAIN = Engine(narrow=False, captured=False, compiled="never")
"""Every pass operator by operator, as torch runs it."""


def classifier(
    model: nn.Module, image_shape: tuple[int, ...], device: torch.device, engine: Engine
) -> Classify:
    """Return the network in evaluation mode, as it is now, differentiable by images alone."""
    view = evaluation_view(model)
    return narrowed(view, image_shape, device, engine) or view


def narrowed(
    view: nn.Module, image_shape: tuple[int, ...], device: torch.device, engine: Engine
) -> NarrowClassifier | None:
    """Return the fused form of a network in evaluation mode, where it may be used and applies."""
    may_be = engine.narrow and device.type == "cpu"
    return narrow_classifier(view, image_shape) if may_be else None
