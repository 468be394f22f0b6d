"""Tests of the input side: closed forms on linear models, ball and box, untouched weights."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainers.config import NoInputs, Pgd
from trainers.inputs import BALLS, crafting
from trainers.losses import cross_entropy_sum

SHAPE = (16, 2, 4, 4)
DIMENSIONS = 32


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def craft(
    norm: str, model: Any, images: Tensor, labels: Tensor, epsilon: float, **more: Any
) -> Tensor:
    side = Pgd(norm=norm, epsilon=epsilon, **({"steps": 10} | more))  # type: ignore[arg-type]
    chosen = crafting(side)
    noise = chosen.draw(tuple(images.shape), generator(1))
    radius, step_length = torch.tensor(side.epsilon), torch.tensor(side.step_length)
    return chosen.craft(model, cross_entropy_sum, images, labels, noise, radius, step_length)


def norms(x: Tensor, norm: str) -> Tensor:
    flat = x.flatten(1)
    return flat.abs().amax(1) if norm == "linf" else flat.norm(dim=1)


class Linear(nn.Module):
    """Two classes with logits (0, w·x): the margin is w·x, towards class 1."""

    def __init__(self) -> None:
        super().__init__()
        self.direction = nn.Parameter(torch.randn(SHAPE[1:], generator=generator(2)))

    def forward(self, images: Tensor) -> Tensor:
        margin = (images * self.direction).flatten(1).sum(1)
        return torch.stack([torch.zeros_like(margin), margin], dim=1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_pgd_reaches_the_worst_image_of_a_linear_model(norm: str) -> None:
    """Inside the box the margin falls by ε times the dual norm of w: l1 for linf, l2 for l2."""
    model, epsilon = Linear(), 0.1
    images = 0.4 + 0.2 * torch.rand(SHAPE, generator=generator())
    labels = torch.arange(16) % 2
    crafted = craft(norm, model, images, labels, epsilon, steps=30, step_size=epsilon)
    with torch.no_grad():
        change = (model(crafted) - model(images))[:, 1]
    dual = model.direction.detach().norm(p=1 if norm == "linf" else 2)
    towards_wrong = torch.where(labels == 1, -1.0, 1.0)
    torch.testing.assert_close(change, towards_wrong * epsilon * dual, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("epsilon", [0.0, 1 / 255, 0.1, 0.5])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_crafted_images_keep_to_ball_and_box(norm: str, epsilon: float) -> None:
    images = torch.rand(SHAPE, generator=generator())
    images[:4], images[4:8] = 0.0, 1.0  # at the border of the box
    labels = torch.arange(16) % 2
    before = images.clone()
    crafted = craft(norm, Linear(), images, labels, epsilon)
    assert crafted.min() >= 0
    assert crafted.max() <= 1
    rounding = 1e-7  # of x + δ near 1, in float32
    assert norms(crafted - images, norm).max() <= epsilon * (1 + 1e-5) + rounding
    assert torch.equal(images, before)
    if epsilon == 0:
        assert torch.equal(crafted, images)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_step_moves_by_the_step_size(norm: str) -> None:
    images = torch.full(SHAPE, 0.5)
    gradient = torch.randn(SHAPE, generator=generator())
    radius, step_length = torch.tensor(0.3), torch.tensor(0.1)
    moved = BALLS[norm].move(images, gradient, images, radius, step_length)  # type: ignore[index]
    torch.testing.assert_close(norms(moved - images, norm), torch.full((16,), 0.1))
    assert ((moved - images) * gradient >= 0).all()


@pytest.mark.parametrize("size", [1e-10, 1e-15, 1e-20])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_tiny_gradient_of_a_confident_network_moves_by_the_whole_step_size(
    norm: str, size: float
) -> None:
    images = torch.full(SHAPE, 0.5)
    gradient = torch.zeros(SHAPE)
    gradient[:, 0, 0, 0] = size
    radius, step_length = torch.tensor(0.3), torch.tensor(0.1)
    moved = BALLS[norm].move(images, gradient, images, radius, step_length)  # type: ignore[index]
    expected = images.clone()
    expected[:, 0, 0, 0] = 0.6
    torch.testing.assert_close(moved, expected)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_zero_gradient_moves_nothing_and_gives_no_nan(norm: str) -> None:
    images = torch.rand(SHAPE, generator=generator())
    zero = torch.zeros(SHAPE)
    radius, step_length = torch.tensor(0.3), torch.tensor(0.1)
    moved = BALLS[norm].move(images, zero, images, radius, step_length)  # type: ignore[index]
    assert torch.equal(moved, images)


def test_l2_start_is_uniform_in_the_volume_of_the_ball() -> None:
    """(‖δ‖/ε)^d is uniform on [0, 1], so the mean distance is d/(d+1), and directions cancel."""
    noise = BALLS["l2"].draw((20_000, 1, 2, 2), generator())
    distances = noise.flatten(1).norm(dim=1)
    volume = (distances**4).sort().values
    uniform = (torch.arange(20_000) + 0.5) / 20_000
    assert (volume - uniform).abs().max() < 1.63 / math.sqrt(20_000)  # Kolmogorov, 1 % level
    assert distances.mean().item() == pytest.approx(4 / 5, abs=0.005)
    assert noise.mean(0).abs().max() < 0.02


def test_linf_start_is_uniform_in_the_cube() -> None:
    noise = BALLS["linf"].draw((20_000, 1), generator()).flatten().sort().values
    uniform = 2 * (torch.arange(20_000) + 0.5) / 20_000 - 1
    assert (noise - uniform).abs().max() < 2 * 1.63 / math.sqrt(20_000)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_attack_leaves_weights_and_their_gradients_alone(norm: str) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(DIMENSIONS, 4), nn.Tanh(), nn.Linear(4, 3))
    model[1].weight.grad = torch.ones(4, DIMENSIONS)
    model[3].bias.requires_grad_(False)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    craft(norm, model, torch.rand(SHAPE), torch.arange(16) % 3, 0.1)
    assert torch.equal(model[1].weight.grad, torch.ones(4, DIMENSIONS))
    assert model[1].bias.grad is None
    assert model[3].weight.grad is None
    flags = [weight.requires_grad for weight in model.parameters()]
    assert flags == [True, True, True, False]
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_crafted_image_does_not_depend_on_its_batch(norm: str) -> None:
    model, images, labels = Linear(), torch.rand(SHAPE), torch.arange(16) % 2
    ball = BALLS[norm]  # type: ignore[index]
    noise = ball.draw(SHAPE, generator())
    pgd = crafting(Pgd(norm=norm, epsilon=0.1, steps=3)).craft  # type: ignore[arg-type]
    numbers = torch.tensor(0.1), torch.tensor(0.05)
    whole = pgd(model, cross_entropy_sum, images, labels, noise, *numbers)
    half = pgd(model, cross_entropy_sum, images[:8], labels[:8], noise[:8], *numbers)
    torch.testing.assert_close(whole[:8], half, rtol=0, atol=1e-6)


def test_training_attack_equals_an_obvious_twin() -> None:
    """One sample at a time, by backward(), with everything written out."""
    model, epsilon, step_size, steps = Linear(), 0.1, 0.04, 3
    images, labels = torch.rand(SHAPE, generator=generator()), torch.arange(16) % 2
    crafted = craft("linf", model, images, labels, epsilon, step_size=step_size, steps=steps)
    noise = BALLS["linf"].draw(SHAPE, generator(1))
    for sample in range(16):
        x = images[sample : sample + 1]
        tried = (x + epsilon * noise[sample]).clamp(0, 1)
        for _ in range(steps):
            tried = tried.clone().requires_grad_()
            nn.functional.cross_entropy(model(tried), labels[sample : sample + 1]).backward()
            assert tried.grad is not None
            offset = (tried.detach() + step_size * tried.grad.sign() - x).clamp(-epsilon, epsilon)
            tried = (x + offset).clamp(0, 1)
        torch.testing.assert_close(crafted[sample : sample + 1], tried, rtol=0, atol=1e-6)


def test_no_input_side_returns_the_images_and_draws_nothing() -> None:
    chosen, images = crafting(NoInputs()), torch.rand(SHAPE)
    fresh = generator()
    before = fresh.get_state()
    noise = chosen.draw(SHAPE, fresh)
    assert torch.equal(fresh.get_state(), before)
    zero = torch.tensor(0.0)
    assert chosen.craft(Linear(), cross_entropy_sum, images, None, noise, zero, zero) is images
