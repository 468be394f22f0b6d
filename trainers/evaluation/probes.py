"""What a diagnosis tries on a network: attacks on the same samples, each from the same starts."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from trainers.config import Norm, PgdAttack
from trainers.data.subset import Split
from trainers.engine.engine import PLAIN, Classify, Engine, classifier, generator
from trainers.evaluation import pgd as attacks
from trainers.evaluation.evaluate import BATCH_SIZE, attacked_batches
from trainers.evaluation.pgd import Attacked, classified_right, fgsm
from trainers.step import inputs
from trainers.step.inputs import BALLS
from trainers.step.losses import CROSS_ENTROPY
from trainers.step.numbers import NO_MEMORY, no_numbers

STREAM = "diagnostics"
SHORT_STEPS = 20
"""Of the single attacks of rows 4 and 8, whatever the study's own attack."""
LONG = PgdAttack(steps=100, restarts=1)
"""Judges row 3, so that a study's weak attack is not taken for a network that hides."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A network, the samples it is tested on, and the threat. Letters: n samples."""

    model: nn.Module
    split: Split
    divisor: int
    norm: Norm
    radius: float
    seed: int
    device: torch.device
    engine: Engine

    @cached_property
    def view(self) -> Classify:
        """Return the network in evaluation mode, executed as in an evaluation."""
        return self.see(self.model, self.engine)

    @cached_property
    def plain(self) -> Classify:
        """Return the network in evaluation mode, operator by operator."""
        return self.see(self.model, PLAIN)

    @cached_property
    def images(self) -> Tensor:
        """Return the images, (n, C, H, W) in [0, 1]."""
        stored = torch.tensor(np.asarray(self.split.images), device=self.device)
        return stored.to(torch.float32) / self.divisor

    @cached_property
    def labels(self) -> Tensor:
        """Return the labels, (n,)."""
        return torch.tensor(self.split.labels, device=self.device)

    @property
    def place(self) -> str:
        """Return norm, radius and number of samples in words."""
        return f"at {self.norm} {self.radius:g} on {len(self.split.labels)} samples"

    def see(self, model: nn.Module, engine: Engine) -> Classify:
        """Return a network, this or another one, in evaluation mode."""
        return classifier(model, self.split.images.shape[1:], self.device, engine)


def pgd(
    probe: Probe,
    attack: PgdAttack,
    classify: Classify,
    *,
    norm: Norm,
    radius: float,
) -> Attacked:
    """Attack all samples; any iterate may break one. Every call starts from the same points."""
    batches = list(
        attacked_batches(
            classify,
            probe.split,
            probe.divisor,
            norm=norm,
            radius=radius,
            attack=attack,
            stream=(probe.seed, STREAM),
            device=probe.device,
        )
    )
    is_right = torch.cat([batch.is_right for batch in batches])
    return Attacked(is_right, torch.cat([batch.images for batch in batches]))


def last_iterates(probe: Probe, classify: Classify, steps: int) -> Tensor:
    """Return the images (n, C, H, W) at which PGD from one start ends, whatever broke before."""
    radius = torch.tensor(probe.radius, device=probe.device)
    size = PgdAttack(steps=steps, restarts=1).relative_step_size
    numbers = no_numbers(probe.device)._replace(epsilon=radius, step_length=size * radius)
    craft = partial(inputs.pgd, CROSS_ENTROPY, BALLS[probe.norm], steps)

    def end(images: Tensor, labels: Tensor, noise: Tensor) -> Tensor:
        return craft(classify, images, labels, noise, numbers, NO_MEMORY)

    return in_batches(end, probe.images, probe.labels, noise_of(probe, "last iterates"))


def one_step(probe: Probe) -> Tensor:
    """Return the images of FGSM, (n, C, H, W)."""

    def step(images: Tensor, labels: Tensor) -> Tensor:
        return fgsm(probe.view, images, labels, norm=probe.norm, radius=probe.radius)

    return in_batches(step, probe.images, probe.labels)


def random_images(probe: Probe) -> Tensor:
    """Return a uniform point of each image's ball, within [0, 1], (n, C, H, W)."""
    unit = noise_of(probe, "noise")
    return attacks.noise(probe.images, norm=probe.norm, radius=probe.radius, draw=lambda _: unit)


def noise_of(probe: Probe, name: str) -> Tensor:
    """Draw a uniform point of the unit ball for each sample, (n, C, H, W)."""
    fresh = generator(probe.seed, STREAM, name, device=probe.device)
    return BALLS[probe.norm].draw(tuple(probe.images.shape), fresh)


def right(probe: Probe, images: Tensor) -> Tensor:
    """Return which images (n, C, H, W) are classified correctly, (n,)."""
    with torch.no_grad():
        return classified_right(in_batches(probe.view, images), probe.labels)


def in_batches(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """Apply a function to batches of tensors of equal lengths, and join what it returns."""
    batches = zip(*(torch.split(tensor, BATCH_SIZE) for tensor in tensors), strict=True)
    return torch.cat([function(*batch) for batch in batches])


def scaled(classify: Classify, factor: float) -> Classify:
    """Multiply the logits."""
    return lambda images: factor * classify(images)


def accuracy_of(is_right: Tensor) -> float:
    """Return the share of true values among (n,) bool."""
    return float(is_right.double().mean())


def weights_hash(model: nn.Module) -> str:
    """Return a hash of all weights and buffers of a network, the same on every device."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        array = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {array.dtype} {tuple(array.shape)}".encode())
        digest.update(array.view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


class GradientCalls(TorchFunctionMode):
    """Counts the calls inside it that ask for a gradient, including those of torch.func."""

    ASKING = (torch.autograd.grad, torch.autograd.backward, Tensor.backward)

    def __init__(self) -> None:
        TorchFunctionMode.__init__(self)
        self.count = 0

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Count a call, and make it."""
        self.count += func in self.ASKING
        return func(*args, **(kwargs or {}))
