"""How passes are executed: which of the faster forms are used, and what makes numbers repeat.

No choice made here changes a pass by more than the rounding of float32, as another processor would,
so none of it belongs to a `TrainConfig`. But a training amplifies rounding: two trainings that are
executed differently end as far apart as two seeds of one configuration. So `TrainState.engine`
records what was used. The precision changes what is computed, and is part of the configuration.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from trainers.engine.narrow import NarrowClassifier, narrow_classifier
from trainers.networks.build import evaluation_view

Classify = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Engine:
    """What may be used. A form that does not apply is skipped."""

    narrow: bool = True
    """Attack a small convolutional network on a CPU through one fused pass, sample by sample."""
    captured: bool = True
    """Replay each training step as one CUDA graph."""
    compiled: Literal["when it pays", "always", "never"] = "when it pays"
    """Run steps of full batches through torch.compile (`compiles`)."""
    later_steps: int = 0
    """Steps of the same shape that this process can expect after this training. One compilation
    serves them too."""


STEPS_THAT_REPAY = 20_000
"""On a GPU: a compilation takes about 90 s, and is repaid where it saves 5 ms of each step."""

PLAIN = Engine(narrow=False, captured=False, compiled="never")
"""Every pass operator by operator, as torch runs it."""


def compiles(engine: Engine, device: torch.device, steps: int) -> bool:
    """Return whether the next `steps` steps of a training should run through torch.compile.

    On a CPU never by itself: a compilation took from 15 s for the small network to 100 s for
    PreActResNet-18 and saved 10 to 30 % of a step, which few trainings there are long enough for.
    """
    if engine.compiled != "when it pays":
        return engine.compiled == "always"
    return device.type == "cuda" and steps + engine.later_steps >= STEPS_THAT_REPAY


def classifier(
    model: nn.Module, image_shape: tuple[int, ...], device: torch.device, engine: Engine
) -> Classify:
    """Return the network as it is now, in evaluation mode; only images can be differentiated by."""
    view = evaluation_view(model)
    return narrowed(view, image_shape, device, engine) or view


def narrowed(
    view: nn.Module, image_shape: tuple[int, ...], device: torch.device, engine: Engine
) -> NarrowClassifier | None:
    """Return the fused form of a network in evaluation mode, if it is allowed and there is one."""
    may_be = engine.narrow and device.type == "cpu"
    return narrow_classifier(view, image_shape) if may_be else None


def generator(seed: int, *names: object, device: torch.device) -> torch.Generator:
    """Return a fresh generator on `device`, decided by the seed and the stream's names alone."""
    text = "/".join(str(part) for part in (seed, *names))
    digest = hashlib.sha256(text.encode()).digest()
    fresh = torch.Generator(device=device)
    fresh.manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    return fresh


@contextmanager
def repeatable() -> Iterator[None]:
    """Keep cuDNN to algorithms that add in a fixed order; nothing changes on a CPU.

    A context, and a decorator of a function (not of a generator, which would leave it at once).
    """
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic = before
