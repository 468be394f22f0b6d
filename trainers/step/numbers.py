"""The numbers of a step: what may differ between trials of one shape, and from step to step."""

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
    epsilon: Tensor
    """Radius of the input side; σ of noise."""
    step_length: Tensor
    beta: Tensor
    gradient_clip: Tensor
    first_correction: Tensor
    """1 - β₁^t at AdamW's t-th step."""
    second_correction: Tensor
    """1 - β₂^t."""
    ema_decay: Tensor
    divisor: Tensor
    """The largest stored pixel value."""


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
