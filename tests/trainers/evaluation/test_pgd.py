"""Tests of the attacks that others are compared with: one step of the gradient, and mere noise."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from trainers.config import ATTACKS, Norm, PgdAttack
from trainers.evaluation.pgd import FUNCTIONS, classified_right, fgsm, noise, pgd
from trainers.step.inputs import BALLS

RADII: dict[Norm, float] = {"linf": 0.05, "l2": 0.3}
DUAL = {"linf": 1, "l2": 2}


@pytest.fixture
def direction() -> Tensor:
    return torch.randn(16, generator=torch.Generator().manual_seed(0))


def linear(direction: Tensor) -> Callable[[Tensor], Tensor]:
    """Two classes, told apart by the sign of the product with the direction, less a half."""

    def classify(images: Tensor) -> Tensor:
        margin = (images.flatten(1) - 0.5) @ direction
        return torch.stack([torch.zeros_like(margin), margin], dim=1)

    return classify


def images_inside(low: float, high: float, count: int = 50) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return low + (high - low) * torch.rand(count, 1, 4, 4, generator=generator)


@pytest.mark.parametrize("norm", RADII)
def test_one_step_reaches_the_optimum_of_a_linear_model(norm: Norm, direction: Tensor) -> None:
    """Inside the box the margin falls by ε‖w‖₁ (linf), ε‖w‖₂ (l2), and the images are kept."""
    images, labels = images_inside(0.4, 0.6), torch.arange(50) % 2
    before = images.clone()
    found = fgsm(linear(direction), images, labels, norm=norm, radius=RADII[norm])
    moved = (found - images).flatten(1) @ direction
    expected = RADII[norm] * direction.norm(p=DUAL[norm]) * torch.where(labels == 1, -1.0, 1.0)
    torch.testing.assert_close(moved, expected, rtol=1e-4, atol=0)
    assert torch.equal(images, before)
    assert not found.requires_grad


@pytest.mark.parametrize("norm", RADII)
def test_one_step_and_noise_stay_in_the_ball_and_the_box(norm: Norm, direction: Tensor) -> None:
    images, labels = images_inside(0, 1), torch.arange(50) % 2
    unit = BALLS[norm].draw((50, 1, 4, 4), torch.Generator().manual_seed(2))
    by_noise = noise(images, norm=norm, radius=RADII[norm], draw=lambda restart: unit)
    for found in (fgsm(linear(direction), images, labels, norm=norm, radius=RADII[norm]), by_noise):
        offsets = (found - images).flatten(1)
        sizes = offsets.abs().amax(1) if norm == "linf" else offsets.norm(dim=1)
        assert sizes.max() <= RADII[norm] * (1 + 1e-5)
        assert sizes.min() > 0
        assert found.min() >= 0
        assert found.max() <= 1
    inside = images_inside(0.4, 0.6)
    by_noise = noise(inside, norm=norm, radius=RADII[norm], draw=lambda restart: unit)
    torch.testing.assert_close(by_noise - inside, RADII[norm] * unit, rtol=0, atol=1e-6)


@pytest.mark.parametrize("norm", RADII)
def test_noise_is_the_first_start_of_pgd(norm: Norm, direction: Tensor) -> None:
    """What noise misclassifies, PGD with the same draw does: its images are these."""
    images = images_inside(0.3, 0.7, 400)
    classify = linear(direction)
    labels = classify(images).argmax(1)
    units = [
        BALLS[norm].draw((400, 1, 4, 4), torch.Generator().manual_seed(seed)) for seed in (3, 4)
    ]
    found = pgd(
        classify,
        images,
        labels,
        norm=norm,
        radius=RADII[norm],
        attack=PgdAttack(steps=3, restarts=2),
        draw=units.__getitem__,
    )
    noisy = noise(images, norm=norm, radius=RADII[norm], draw=units.__getitem__)
    is_broken = classify(noisy).argmax(1) != labels
    assert 0 < is_broken.sum() < 400
    assert torch.equal(found.images[is_broken], noisy[is_broken])
    assert not found.is_right[is_broken].any()


def test_an_output_that_is_not_finite_is_never_right() -> None:
    logits = torch.tensor([[2.0, 1.0], [torch.nan, torch.nan], [torch.nan, 0.0], [torch.inf, 0.0]])
    labels = torch.zeros(4, dtype=torch.int64)
    assert classified_right(logits, labels).tolist() == [True, False, False, False]


def test_every_attack_that_can_be_declared_has_its_function_and_its_title() -> None:
    assert set(FUNCTIONS) == set(ATTACKS.values())
    assert all(isinstance(cls.title, property) for cls in ATTACKS.values())
    assert PgdAttack(steps=20, restarts=1).title == "PGD-20, 1 restart"
    assert PgdAttack(steps=10, restarts=3).title == "PGD-10, 3 restarts"
