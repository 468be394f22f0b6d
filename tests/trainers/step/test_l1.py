"""Tests of the l1 ball within the box: its projection by other solvers, its step, its start."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize
from torch import Tensor, nn
from torch.nn import functional as F

from trainers.config import CrossEntropy, Loss, Pgd, Trades
from trainers.step.inputs import BALLS, NEAR, crafting
from trainers.step.l1 import MOVED_SHARE, draw_l1, move_l1, projected
from trainers.step.losses import minimised
from trainers.step.numbers import NO_MEMORY, no_numbers

Array = NDArray[np.float64]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_case(seed: int, count: int = 12) -> tuple[Array, Array, float]:
    """An offset, an image of which some values are at the border of the box, and a radius."""
    random = np.random.default_rng(seed)
    image = random.uniform(0, 1, count)
    image[random.uniform(size=count) < 0.3] = 0.0
    image[random.uniform(size=count) < 0.2] = 1.0
    offset = random.normal(0, random.choice([0.1, 0.5, 2.0]), count)
    return offset, image, float(random.uniform(0.05, 3))


def by_bisection(offset: Array, image: Array, radius: float) -> Array:
    """Find the multiplier of the ball by a root finder; each value then has its own optimum."""

    def at(multiplier: float) -> Array:
        shrunk = np.sign(offset) * np.maximum(np.abs(offset) - multiplier, 0)
        return np.clip(shrunk, -image, 1 - image)

    if np.abs(at(0)).sum() <= radius:
        return at(0)
    highest = float(np.abs(offset).max())
    root = brentq(lambda m: np.abs(at(m)).sum() - radius, 0, highest, xtol=1e-14)
    return at(float(root))


def by_quadratic_programme(offset: Array, image: Array, radius: float) -> Array:
    """Minimise the distance over positive and negative parts, of which nothing else is assumed."""
    count = len(offset)

    def distance(parts: Array) -> float:
        return float(((parts[:count] - parts[count:] - offset) ** 2).sum())

    def slope(parts: Array) -> Array:
        gradient = 2 * (parts[:count] - parts[count:] - offset)
        return np.concatenate([gradient, -gradient])

    found = minimize(
        distance,
        np.zeros(2 * count),
        jac=slope,
        bounds=[(0, top) for top in (*(1 - image), *image)],
        constraints={
            "type": "ineq",
            "fun": lambda parts: radius - parts.sum(),
            "jac": lambda parts: -np.ones(2 * count),
        },
        method="SLSQP",
        options={"ftol": 1e-16, "maxiter": 500},
    )
    return np.asarray(found.x[:count] - found.x[count:])


def ours(offset: Array, image: Array, radius: float) -> Array:
    tensors = (torch.tensor(array)[None] for array in (offset, image))
    found = projected(*tensors, torch.tensor(radius, dtype=torch.float64))
    return np.asarray(found[0].numpy())


@pytest.mark.parametrize("seed", range(20))
def test_projection_equals_that_of_two_independent_solvers(seed: int) -> None:
    case = random_case(seed)
    found = ours(*case)
    np.testing.assert_allclose(found, by_bisection(*case), rtol=0, atol=1e-12)
    np.testing.assert_allclose(found, by_quadratic_programme(*case), rtol=0, atol=1e-6)


CORNERS: dict[str, tuple[list[float], list[float], float, list[float]]] = {
    # offset, image, radius, the projection
    "in ball and box": ([0.1, -0.2], [0.5, 0.5], 1.0, [0.1, -0.2]),
    "on the sphere": ([0.25, -0.25], [0.5, 0.5], 0.5, [0.25, -0.25]),
    "a corner of the box, in the ball": ([2.0, -3.0], [0.75, 0.5], 1.0, [0.25, -0.5]),
    "a corner of the ball": ([2.0, 0.5], [0.0, 0.5], 1.0, [1.0, 0.0]),
    "a full value passes its share on": ([2.0, 1.0], [0.75, 0.5], 0.5, [0.25, 0.25]),
    "no room at all": ([1.0, -1.0], [1.0, 0.0], 0.5, [0.0, 0.0]),
    "equal values share": ([1.0, -1.0], [0.5, 0.5], 0.5, [0.25, -0.25]),
    "radius 0": ([1.0, -0.3], [0.5, 0.5], 0.0, [0.0, 0.0]),
    "nothing to project": ([0.0, 0.0], [0.3, 1.0], 0.5, [0.0, 0.0]),
    "a radius of the whole box": ([5.0, -5.0], [0.25, 0.75], 1.5, [0.75, -0.75]),
}


@pytest.mark.parametrize(("offset", "image", "radius", "expected"), CORNERS.values(), ids=CORNERS)
def test_projection_at_corners(
    offset: list[float], image: list[float], radius: float, expected: list[float]
) -> None:
    found = ours(np.array(offset), np.array(image), radius)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_projection_of_large_images_keeps_its_digits_in_float32() -> None:
    """3 × 32 × 32 values and the radius 12, of E-AT, against float64; ball and box are exact."""
    images = torch.rand((8, 3, 32, 32), generator=generator(1))
    offsets = 0.3 * torch.randn(images.shape, generator=generator(2))
    found = projected(offsets, images, torch.tensor(12.0))
    exact = projected(offsets.double(), images.double(), torch.tensor(12.0).double())
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=2e-6)
    assert (found.flatten(1).norm(p=1, dim=1) <= 12 * (1 + 1e-6)).all()
    assert (found.flatten(1).norm(p=1, dim=1) > 12 * (1 - 1e-5)).all()
    assert (images + found).clamp(0, 1).sub(images + found).abs().max() <= 1e-7


def test_a_projection_is_its_own_projection_and_none_in_the_ball_is_nearer() -> None:
    """Against random points of ball and box; a convex set has one nearest point."""
    for seed in range(5):
        offset, image, radius = random_case(seed, count=6)
        found = ours(offset, image, radius)
        np.testing.assert_allclose(ours(found, image, radius), found, rtol=0, atol=1e-12)
        random = np.random.default_rng(100 + seed)
        tried = random.laplace(size=(2000, 6)) * random.uniform(0, radius, (2000, 1))
        tried *= radius / np.maximum(radius, np.abs(tried).sum(1, keepdims=True))
        tried = np.clip(tried, -image, 1 - image)
        distances = np.linalg.norm(tried - offset, axis=1)
        assert distances.min() >= np.linalg.norm(found - offset) - 1e-12


def test_a_step_moves_the_values_of_largest_gradient_that_have_room() -> None:
    """A twentieth of 40 values is two: of equal gradients all move, at the border none outwards."""
    gradient = torch.zeros(1, 40)
    gradient[0, :4] = torch.tensor([9.0, 5.0, -5.0, 1.0])
    images = torch.full((1, 40), 0.5)
    images[0, 0] = 1.0  # which the largest gradient would raise
    radius, length = torch.tensor(2.0), torch.tensor(0.4)
    moved = move_l1(images, gradient, images, radius, length) - images
    expected = torch.zeros(1, 40)
    expected[0, 1:3] = torch.tensor([0.2, -0.2])
    torch.testing.assert_close(moved, expected)
    assert MOVED_SHARE * 40 == 2


def test_l1_start_is_uniform_in_the_volume_of_the_ball() -> None:
    """(‖δ‖/ε)^d is uniform on [0, 1], signs cancel, and no value has more of it than another."""
    noise = draw_l1((20_000, 1, 2, 2), generator()).flatten(1)
    distances = noise.norm(p=1, dim=1)
    volume = (distances**4).sort().values
    uniform = (torch.arange(20_000) + 0.5) / 20_000
    assert (volume - uniform).abs().max() < 1.63 / math.sqrt(20_000)  # Kolmogorov, 1 % level
    assert noise.mean(0).abs().max() < 0.01
    shares = (noise.abs() / distances[:, None]).mean(0)
    torch.testing.assert_close(shares, torch.full((4,), 0.25), rtol=0, atol=0.01)


class Small(nn.Module):
    """A smooth network for three classes, in float64."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.randn((48, 8), generator=generator(1)).double()
        self.last = torch.randn((8, 3), generator=generator(2)).double()

    def forward(self, images: Tensor) -> Tensor:
        return torch.tanh(images.flatten(1) @ self.first / 4) @ self.last


@pytest.mark.parametrize("loss", [CrossEntropy(), Trades()], ids=["ce", "trades"])
def test_pgd_in_l1_equals_an_obvious_twin(loss: Loss) -> None:
    """One image at a time, with the projection of another solver."""
    epsilon, length, count = 1.0, 0.4, 48
    images = torch.rand((6, 3, 4, 4), generator=generator(3)).double()
    images[0], images[1] = 0.0, 1.0
    labels, model = torch.arange(6) % 3, Small()
    side = Pgd(norm="l1", epsilon=epsilon, steps=4, step_size=length)
    chosen = crafting(side, minimised(loss).inner)
    noise = chosen.draw(tuple(images.shape), generator(4)).double()
    values = {"epsilon": epsilon, "step_length": length}
    numbers = no_numbers(torch.device("cpu"))._replace(
        **{name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}
    )
    crafted = chosen.craft(model, images, labels, noise, numbers, NO_MEMORY)
    is_near = isinstance(loss, Trades)
    for at, x in enumerate(images):
        tried = x + NEAR * noise[at] if is_near else (x + epsilon * noise[at]).clamp(0, 1)
        for _ in range(4):
            leaf = tried.clone().requires_grad_()
            logits = model(leaf[None])
            clean = model(x[None]).softmax(1)
            of_kl = (clean * (clean.log() - logits.log_softmax(1))).sum()
            value = of_kl if is_near else F.cross_entropy(logits, labels[at : at + 1])
            (up,) = torch.autograd.grad(value, leaf)
            slope, place = up.flatten().numpy(), tried.flatten().numpy()
            blocked = ((place >= 1) & (slope > 0)) | ((place <= 0) & (slope < 0))
            sizes = np.where(blocked, 0, np.abs(slope))
            least = np.sort(sizes)[-math.ceil(0.05 * count)]
            signs = np.where((sizes >= least) & (sizes > 0), np.sign(slope), 0)
            step = length * signs / max(1, np.abs(signs).sum())
            original = x.flatten().numpy()
            offset = by_bisection(place + step - original, original, epsilon)
            tried = torch.tensor(original + offset).view(x.shape)
        torch.testing.assert_close(crafted[at], tried, rtol=0, atol=1e-9)
        assert 0 < float((tried - x).abs().sum()) <= epsilon + 1e-12


def test_ball_of_l1_is_one_of_the_balls() -> None:
    assert BALLS["l1"].move is move_l1
    assert BALLS["l1"].draw is draw_l1
