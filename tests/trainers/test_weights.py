"""Tests of the weight side: SAM on a quadratic, at zero, and against a slow twin."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from trainers.config import Sam, TrainConfig
from trainers.data import Dataset
from trainers.models import build_model
from trainers.weights import LossAt, perturbing, sam

MATRIX = torch.tensor([[3.0, 1.0, 0.0], [1.0, 2.0, 0.5], [0.0, 0.5, 1.0]])


def quadratic(weights: list[Tensor]) -> LossAt:
    """½ wᵀ A w over the entries of two tensors together."""

    def loss_at(moved: list[Tensor] | None) -> tuple[Tensor, Tensor]:
        first, second = weights if moved is None else moved
        w = torch.cat([first.flatten(), second.flatten()])
        return w @ MATRIX @ w / 2, torch.zeros(1, 2)

    return loss_at


def leaves(*values: list[float]) -> list[Tensor]:
    return [torch.tensor(value, requires_grad=True) for value in values]


@pytest.mark.parametrize("rho", [0.0, 0.1, 2.0])
def test_sam_on_a_quadratic_takes_the_gradient_at_the_worst_weights(rho: float) -> None:
    """A (w + ρ A w / ‖A w‖), with one norm over both tensors."""
    weights = leaves([1.0], [-2.0, 0.5])
    found = sam(quadratic(weights), weights, torch.tensor(rho))
    w = torch.tensor([1.0, -2.0, 0.5])
    gradient = MATRIX @ w
    expected = MATRIX @ (w + rho * gradient / gradient.norm())
    torch.testing.assert_close(torch.cat(list(found.gradients)), expected)
    torch.testing.assert_close(found.loss.detach(), w @ gradient / 2)


def test_zero_gradient_moves_nothing_and_gives_no_nan() -> None:
    weights = leaves([0.0], [0.0, 0.0])
    found = sam(quadratic(weights), weights, torch.tensor(0.5))
    assert torch.equal(torch.cat(list(found.gradients)), torch.zeros(3))


def test_weights_are_never_written_even_if_the_second_pass_fails() -> None:
    weights = leaves([1.0], [-2.0, 0.5])
    before = [weight.detach().clone() for weight in weights]
    versions = [weight._version for weight in weights]
    inner = quadratic(weights)

    def failing(moved: list[Tensor] | None) -> tuple[Tensor, Tensor]:
        if moved is not None:
            raise RuntimeError("out of memory")
        return inner(moved)

    with pytest.raises(RuntimeError, match="out of memory"):
        sam(failing, weights, torch.tensor(0.5))
    sam(inner, weights, torch.tensor(0.5))
    assert all(torch.equal(now, then) for now, then in zip(weights, before, strict=True))
    assert [weight._version for weight in weights] == versions
    assert all(weight.grad is None for weight in weights)


def test_sam_on_a_network_equals_an_obvious_twin(
    make_config: Callable[..., TrainConfig], digits: Dataset
) -> None:
    """Add e to the weights of a copy, one tensor at a time, and call backward()."""
    config = make_config()
    model = build_model(config.model, digits, torch.Generator().manual_seed(0)).double()
    images = torch.tensor(digits.train.images[:32]).double() / 16
    labels = torch.tensor(digits.train.labels[:32])
    rho = 0.3

    twin = copy.deepcopy(model)
    F.cross_entropy(twin(images), labels).backward()
    gradients = [weight.grad.clone() for weight in twin.parameters() if weight.grad is not None]
    norm = sum(float((gradient**2).sum()) for gradient in gradients) ** 0.5
    twin.zero_grad()
    with torch.no_grad():
        for weight, gradient in zip(twin.parameters(), gradients, strict=True):
            weight += rho * gradient / norm
    F.cross_entropy(twin(images), labels).backward()

    names = [name for name, _ in model.named_parameters()]

    def loss_at(moved: list[Tensor] | None) -> tuple[Tensor, Tensor]:
        tensors = {} if moved is None else dict(zip(names, moved, strict=True))
        logits = torch.func.functional_call(model, tensors, (images,))
        return F.cross_entropy(logits, labels), logits

    found = sam(loss_at, list(model.parameters()), torch.tensor(rho))
    for weight, gradient in zip(twin.parameters(), found.gradients, strict=True):
        torch.testing.assert_close(gradient, weight.grad)


def test_each_side_names_its_passes() -> None:
    counted = {"passes": 0}
    weights = leaves([1.0], [-2.0, 0.5])
    inner = quadratic(weights)

    def counting(moved: list[Tensor] | None) -> tuple[Tensor, Tensor]:
        counted["passes"] += 1
        return inner(moved)

    side = perturbing(Sam(rho=0.1))
    side.gradients(counting, weights, torch.tensor(0.1))
    assert counted["passes"] == side.num_passes
