"""The numbers of a step, which differ between trials and steps, and the memory between steps."""

import math
from dataclasses import fields
from typing import Any, NamedTuple

import torch
from torch import Tensor

from trainers.config import (
    SET_BY_HOST,
    InputSide,
    Loss,
    TrainConfig,
    TrainingConfig,
    WeightSide,
    since_start,
)

ONE_CYCLE_PEAK = 0.4
"""Fraction of a one-cycle training in which the learning rate rises (Wong et al. 2020, code)."""
ADAM_BETA2 = 0.999


class Numbers(NamedTuple):
    """The numbers of one step, 0-d tensors on the device; 0 where nothing uses one."""

    learning_rate: Tensor
    momentum: Tensor
    weight_decay: Tensor
    rho: Tensor
    """Radius of the weight side; AWP's γ."""
    eta: Tensor
    alpha: Tensor
    moved_share: Tensor
    """β of ESAM."""
    mean_share: Tensor
    """σ of F-SAM."""
    mean_decay: Tensor
    """λ of F-SAM."""
    epsilon: Tensor
    """Radius of the input side; σ of noise."""
    step_length: Tensor
    other_epsilon: Tensor
    """Radius of the second norm of an input side that has two."""
    other_step_length: Tensor
    beta: Tensor
    soft: Tensor
    """α of DKL and IKL: weight of the divergence that moves crafted predictions alone."""
    gradient_clip: Tensor
    first_correction: Tensor
    """1 - β₁^t at AdamW's t-th step."""
    second_correction: Tensor
    """1 - β₂^t."""
    ema_decay: Tensor
    divisor: Tensor
    """The largest stored pixel value."""


class Memory(NamedTuple):
    """What a training remembers from step to step besides its network; all written in place."""

    moments: list[Tensor]
    """Of the base optimiser (`trainers.step.optimizer`)."""
    averages: list[Tensor]
    """Moving averages of weights and buffers; empty where none are kept."""
    side: list[Tensor]
    """Of the weight side; empty for a side that remembers nothing."""
    inputs: list[Tensor]
    """Of the input side; empty for a side that remembers nothing."""
    loss: list[Tensor]
    """Of the loss; empty for a loss that remembers nothing."""

    @property
    def tensors(self) -> list[Tensor]:
        """Return all tensors, in a fixed order."""
        return [tensor for part in self for tensor in part]


NO_MEMORY = Memory([], [], [], [], [])
"""Of a step whose sides and loss remember nothing, as the base optimiser is left out."""


def no_numbers(device: torch.device) -> Numbers:
    """Return numbers that are all 0, in storage of their own."""
    return Numbers(*(torch.zeros((), device=device) for _ in Numbers._fields))


def schedule(config: TrainConfig, num_train: int, divisor: int) -> Tensor:
    """Return the numbers of every step, (epochs, steps per epoch, numbers), in float64."""
    training = config.training
    num_steps = math.ceil(num_train / training.batch_size)
    total = training.epochs * num_steps
    taken = torch.arange(total, dtype=torch.float64)
    factors = _factors(training, taken / total)
    columns: dict[str, Any] = dict.fromkeys(Numbers._fields, 0.0)
    columns["learning_rate"] = training.learning_rate * factors
    columns["momentum"] = training.momentum
    columns["weight_decay"] = training.weight_decay
    columns["divisor"] = float(divisor)
    if training.gradient_clip != "none":
        columns["gradient_clip"] = training.gradient_clip
    if training.ema_decay != "none":
        columns["ema_decay"] = ((1 + taken) / (10 + taken)).clamp(max=training.ema_decay)
    columns["first_correction"] = 1 - training.momentum ** (taken + 1)
    columns["second_correction"] = 1 - ADAM_BETA2 ** (taken + 1)
    method = config.method
    columns |= method.weights.numbers(
        factors, since_start(method.weights, taken, total) / num_steps
    )
    columns |= method.inputs.numbers(since_start(method.inputs, taken + 1, total) / num_steps)
    columns |= method.loss.numbers()
    filled = [torch.as_tensor(columns[n], dtype=torch.float64) for n in Numbers._fields]
    return torch.stack([column.expand(total) for column in filled], 1).view(
        training.epochs, num_steps, -1
    )


def static(side: WeightSide | InputSide | Loss) -> tuple[object, ...]:
    """Return the class and the settings that decide the shape of a step: those not tabulated.

    Those that the host follows, choosing the phase of each step, decide no shape either.
    """
    others = (*side.tabulated, *SET_BY_HOST)
    names = [field.name for field in fields(side) if field.name not in others]
    return (type(side), *((name, getattr(side, name)) for name in names))


def _factors(training: TrainingConfig, done: Tensor) -> Tensor:
    """Return the learning rate relative to its highest. done: share of steps before each step."""
    match training.schedule:
        case "cosine":
            return (1 + torch.cos(math.pi * done)) / 2
        case "step":
            drops = sum((done >= milestone).double() for milestone in training.milestones)
            return torch.as_tensor(0.1**drops)
        case _:
            rise, fall = done / ONE_CYCLE_PEAK, (1 - done) / (1 - ONE_CYCLE_PEAK)
            return torch.minimum(rise, fall)
