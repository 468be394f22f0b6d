"""One step of the baseline: SAM from parameter to parameter, PGD by `loss.backward()`."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainers.config import Method, Norm, Pgd, Sam


def baseline_step(
    model: nn.Module,
    optimizer: torch.optim.SGD,
    method: Method,
    images: Tensor,
    start: Tensor,
    labels: Tensor,
) -> tuple[Tensor, Tensor]:
    """Take one step; return loss (0-d) and logits at the weights before it.

    start: where the input side begins, in the ball around each image; the images without one.
    """
    crafted = images
    if isinstance(method.inputs, Pgd):
        crafted = pgd(model, images, start, labels, method.inputs)
    model.train()
    optimizer.zero_grad()
    logits = model(crafted)
    loss = F.cross_entropy(logits, labels)
    loss.backward()
    if isinstance(method.weights, Sam):
        old = first_step(model, method.weights.rho)
        optimizer.zero_grad()
        momenta = stop_running_statistics(model)
        F.cross_entropy(model(crafted), labels).backward()
        resume_running_statistics(model, momenta)
        second_step(model, old)
    optimizer.step()
    return loss.detach(), logits.detach()


def first_step(model: nn.Module, rho: float) -> dict[nn.Parameter, Tensor]:
    """Climb to w + ρ g / ‖g‖, one parameter after the other; return the weights before."""
    norms = [weight.grad.norm(p=2) for weight in model.parameters() if weight.grad is not None]
    scale = rho / (torch.norm(torch.stack(norms), p=2) + 1e-12)
    old = {}
    for weight in model.parameters():
        if weight.grad is not None:
            old[weight] = weight.data.clone()
            weight.data.add_(weight.grad * scale)
    return old


def second_step(model: nn.Module, old: dict[nn.Parameter, Tensor]) -> None:
    """Put the weights back; their gradients stay those of the place climbed to."""
    for weight in model.parameters():
        if weight in old:
            weight.data = old[weight]


def stop_running_statistics(model: nn.Module) -> list[float | None]:
    """Make batch normalisation keep its running statistics; return its momenta."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [module.momentum for module in norms]
    for module in norms:
        module.momentum = 0.0
    return momenta


def resume_running_statistics(model: nn.Module, momenta: list[float | None]) -> None:
    """Give batch normalisation its momenta back."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for module, momentum in zip(norms, momenta, strict=True):
        module.momentum = momentum


def random_start(images: Tensor, norm: Norm, radius: float) -> Tensor:
    """Draw a uniform point of the ball around each image, within [0, 1]."""
    if norm == "linf":
        return (images + torch.empty_like(images).uniform_(-radius, radius)).clamp(0, 1)
    direction = torch.randn_like(images)
    share = torch.rand(len(images), device=images.device) ** (1 / images[0].numel())
    return (images + direction * per_sample(radius * share / norms_of(direction))).clamp(0, 1)


def pgd(model: nn.Module, images: Tensor, start: Tensor, labels: Tensor, side: Pgd) -> Tensor:
    """Ascend the loss from `start`, in evaluation mode; the weights' gradients are cleared."""
    model.eval()
    tried = start
    for _ in range(side.steps):
        tried = tried.detach().requires_grad_()
        F.cross_entropy(model(tried), labels, reduction="sum").backward()
        tried = ascend(tried, images, side.norm, side.epsilon, side.step_length)
    model.zero_grad()
    return tried


def ascend(tried: Tensor, images: Tensor, norm: Norm, radius: float, step_length: float) -> Tensor:
    """Step along the gradient that lies in `tried`; back into the ball, then into [0, 1]."""
    assert tried.grad is not None
    gradient, here = tried.grad, tried.detach()
    if norm == "linf":
        moved = here + step_length * gradient.sign()
        return torch.min(torch.max(moved, images - radius), images + radius).clamp(0, 1)
    offset = here - images + gradient * per_sample(step_length / (norms_of(gradient) + 1e-30))
    shrink = (radius / (norms_of(offset) + 1e-30)).clamp(max=1)
    return (images + offset * per_sample(shrink)).clamp(0, 1)


def norms_of(x: Tensor) -> Tensor:
    """(B, …) to the l2 norm of each sample, (B,)."""
    return x.flatten(1).norm(dim=1)


def per_sample(factors: Tensor) -> Tensor:
    """(B,) to the shape that multiplies images."""
    return factors.view(-1, 1, 1, 1)
