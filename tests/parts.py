"""Files of own parts for tests."""

from pathlib import Path
from typing import Any

from trainers.config.own import settings_class
from trainers.config.parts import PartKind, find_part

MY_PARTS = '''\
"""Parts that tests train with."""

from dataclasses import dataclass

import torch
from torch import nn

from my_layers import HIDDEN


class Net(nn.Module):
    def __init__(self, image_shape, num_classes, *, depth: int = 1, dropout: float = 0.1):
        super().__init__()
        size = image_shape[0] * image_shape[1] * image_shape[2]
        layers = [nn.Flatten()]
        for _ in range(depth):
            layers += [nn.Linear(size, HIDDEN), nn.ReLU()]
            size = HIDDEN
        self.body = nn.Sequential(*layers, nn.Dropout(dropout), nn.Linear(size, num_classes))

    def forward(self, images):
        return self.body(images)


@dataclass(frozen=True, kw_only=True)
class Mine:
    """SAM."""

    rho: float

    def __post_init__(self):
        if self.rho < 0:
            raise ValueError("rho must be at least 0")

    def __call__(self, gradient_at, weights):
        here = gradient_at(weights)
        norm = torch.stack(torch._foreach_norm(here)).norm()
        return gradient_at([w + g * (self.rho / (norm + 1e-12)) for w, g in zip(weights, here)])


def fgsm(gradient_at, images, *, epsilon: float):
    return (images + epsilon * gradient_at(images).sign()).clamp(0, 1)


def quadratic(logits, labels):
    return (logits - torch.nn.functional.one_hot(labels, logits.shape[1])).square().mean()


def heavy_ball(weights, gradients, learning_rate, momentum, weight_decay, memory):
    for weight, gradient, moment in zip(weights, gradients, memory):
        moment.mul_(momentum).add_(gradient + weight_decay * weight)
        weight.sub_(learning_rate * moment)


def push(classify, images, labels, radius, *, steps: int = 1):
    tried = images
    for _ in range(steps):
        tried = tried.detach().requires_grad_()
        loss = torch.nn.functional.cross_entropy(classify(tried), labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, tried)
        tried = (tried + radius * gradient.sign()).detach()
        tried = tried.clamp(images - radius, images + radius).clamp(0, 1)
    return tried
'''
LIONS = """\
from dataclasses import dataclass


def lion(weights, gradients, learning_rate, momentum, weight_decay, memory, *, beta: float = 0.99,
         warm: int = 1, mood: str = "calm"):
    for weight, gradient, mean in zip(weights, gradients, memory):
        update = (momentum * mean + (1 - momentum) * gradient).sign()
        weight.sub_(learning_rate * (update + weight_decay * weight))
        mean.mul_(beta).add_((1 - beta) * gradient)


@dataclass(frozen=True)
class Tiger:
    stripes: int

    def __post_init__(self):
        if self.stripes % 2:
            raise ValueError("stripes must be even")

    def __call__(self, weights, gradients, learning_rate):
        pass
"""
"""Optimisers. Their text is part of recorded keys."""
MY_LAYERS = "HIDDEN = 12\n"


def write_parts(folder: Path, **more: str) -> Path:
    """Write `my_parts.py`, what it imports, and other modules by name."""
    for name, text in {"my_parts": MY_PARTS, "my_layers": MY_LAYERS, **more}.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    return folder


def own(folder: Path, kind: PartKind, name: str, **settings: Any) -> Any:
    """Return the settings of a part of a folder."""
    return settings_class(find_part(kind, name, folder))(**settings)
