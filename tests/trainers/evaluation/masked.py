"""Networks that hide their gradients on purpose, or are no plain classifiers: a diagnosis must fail
them. Each is made from an honest network, which stays as it is."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn


class Quantise(nn.Module):
    """Round each pixel to `levels` steps; its gradient is zero everywhere."""

    def __init__(self, levels: int) -> None:
        nn.Module.__init__(self)
        self.levels = levels

    def forward(self, images: Tensor) -> Tensor:
        return (images * self.levels).round() / self.levels


class Saturate(nn.Module):
    """Push each pixel to black or white, smoothly; in float32 the gradient of most is zero."""

    def __init__(self, gain: float) -> None:
        nn.Module.__init__(self)
        self.gain = gain

    def forward(self, images: Tensor) -> Tensor:
        return 0.5 + 0.5 * torch.tanh(self.gain * (images - 0.5))


class Noisy(nn.Module):
    """Add noise from the global generator."""

    def __init__(self, size: float) -> None:
        nn.Module.__init__(self)
        self.size = size

    def forward(self, images: Tensor) -> Tensor:
        return images + self.size * torch.randn_like(images)


class Purify(nn.Module):
    """Move images by a gradient that the forward asks for itself."""

    def __init__(self, gradient: Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]) -> None:
        nn.Module.__init__(self)
        self.gradient = gradient

    def forward(self, images: Tensor) -> Tensor:
        def energy(moved: Tensor) -> Tensor:
            return moved.square().sum()

        return images - 0.01 * self.gradient(energy, images)


def by_grad(energy: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    with torch.enable_grad():
        leaf = images.detach().requires_grad_()
        return torch.autograd.grad(energy(leaf), leaf)[0]


def by_backward(energy: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    with torch.enable_grad():
        leaf = images.detach().requires_grad_()
        energy(leaf).backward()
    assert leaf.grad is not None
    return leaf.grad


def by_function(energy: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    return torch.func.grad(energy)(images)


def large_logits(model: nn.Module, factor: float) -> nn.Module:
    """Multiply the last layer: the same predictions, and softmax is one class alone."""
    large = copy.deepcopy(model)
    last = list(large.children())[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.weight *= factor
        last.bias *= factor
    return large


def quantised(model: nn.Module, levels: int) -> nn.Module:
    return nn.Sequential(Quantise(levels), copy.deepcopy(model))


def saturated(model: nn.Module, gain: float) -> nn.Module:
    return nn.Sequential(Saturate(gain), copy.deepcopy(model))


def noisy(model: nn.Module, size: float) -> nn.Module:
    return nn.Sequential(Noisy(size), copy.deepcopy(model))


def probabilities(model: nn.Module) -> nn.Module:
    return nn.Sequential(copy.deepcopy(model), nn.Softmax(1))


def purifying(
    model: nn.Module, gradient: Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]
) -> nn.Module:
    return nn.Sequential(Purify(gradient), copy.deepcopy(model))
