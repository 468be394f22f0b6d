"""Tests of the weight side: closed forms on a quadratic, limit cases, slow twins."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainers.config import Asam, Awp, Gsam, NoWeights, Sam, TrainConfig, WeightSide
from trainers.data.dataset import Dataset
from trainers.networks.build import build_model
from trainers.step.numbers import Numbers, no_numbers
from trainers.step.weights import Gradients, LossAt, perturbing

MakeConfig = Callable[..., TrainConfig]
NAMES = ["0.weight", "1.weight", "1.bias", "positions"]
START = (
    torch.tensor([[1.0], [-2.0]], dtype=torch.float64),
    torch.tensor([[0.5, -1.5]], dtype=torch.float64),
    torch.tensor([0.7], dtype=torch.float64),
    torch.tensor([[-0.4]], dtype=torch.float64),
)
"""Two layers, and two tensors that are none: of one dimension, and not named a weight."""
FACTOR = torch.tensor(
    [
        [1.5, 0.0, 0.0, 0.0, 0.0, 0.0],
        [0.3, 1.0, 0.0, 0.0, 0.0, 0.0],
        [-0.2, 0.5, 0.8, 0.0, 0.0, 0.0],
        [0.1, -0.4, 0.2, 1.2, 0.0, 0.0],
        [0.6, 0.1, -0.3, 0.2, 0.9, 0.0],
        [-0.5, 0.2, 0.4, -0.1, 0.3, 1.1],
    ],
    dtype=torch.float64,
)
MATRIX = FACTOR @ FACTOR.T
SIDES: dict[str, WeightSide] = {
    "sam": Sam(rho=0.5),
    "asam": Asam(rho=0.5, eta=0.1),
    "gsam": Gsam(rho=0.5, alpha=0.4),
    "awp": Awp(gamma=0.2),
}
every_side = pytest.mark.parametrize("side", SIDES.values(), ids=SIDES)


def numbers(side: WeightSide, dtype: torch.dtype = torch.float64) -> Numbers:
    values = {"rho": getattr(side, "gamma", getattr(side, "rho", 0.0))}
    values |= {name: getattr(side, name, 0.0) for name in ("eta", "alpha")}
    tensors = {name: torch.tensor(value, dtype=dtype) for name, value in values.items()}
    return no_numbers(torch.device("cpu"))._replace(**tensors)


def flat(tensors: Any) -> Tensor:
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


def blocks(vector: Tensor) -> list[Tensor]:
    """Cut a vector of all entries into those of each tensor."""
    return list(vector.split([tensor.numel() for tensor in START]))


class Quadratic:
    """½ wᵀ A w over the entries of all tensors together; keeps where it was evaluated."""

    def __init__(self, matrix: Tensor = MATRIX, start: tuple[Tensor, ...] = START) -> None:
        self.matrix = matrix
        self.weights = [tensor.clone().requires_grad_() for tensor in start]
        self.places: list[Tensor] = []

    def __call__(self, moved: list[Tensor] | None) -> tuple[Tensor, Tensor]:
        weights = self.weights if moved is None else moved
        self.places.append(flat(weights))
        w = torch.cat([weight.flatten() for weight in weights])
        return w @ self.matrix @ w / 2, torch.zeros(1, 2)

    def take(self, side: WeightSide) -> Gradients:
        return perturbing(side)(self, self.weights, NAMES, numbers(side), [])


def closed_form(side: WeightSide, matrix: Tensor, w: Tensor) -> Tensor:
    """The gradient that the optimiser is to get, from each paper's formula."""
    g = matrix @ w
    match side:
        case NoWeights():
            return g
        case Sam(rho=rho):
            return matrix @ (w + rho * g / g.norm())
        case Asam(rho=rho, eta=eta):
            scale = torch.cat([w[:4].abs() + eta, torch.ones(2)])
            return matrix @ (w + rho * scale**2 * g / (scale * g).norm())
        case Gsam(rho=rho, alpha=alpha):
            g2 = matrix @ (w + rho * g / g.norm())
            return g2 - alpha * (g - (g @ g2) * g2 / g2.norm() ** 2)
        case Awp(gamma=gamma):
            offsets = [torch.zeros_like(part) for part in blocks(w)]
            for layer in (0, 1):
                part, up = blocks(w)[layer], blocks(g)[layer]
                offsets[layer] = gamma * part.norm() * up / up.norm()
            return matrix @ (w + torch.cat(offsets))


@pytest.mark.parametrize("radius", [0.0, 0.1, 0.8])
@pytest.mark.parametrize("name", ["none", *SIDES])
def test_a_side_on_a_quadratic_equals_its_formula(name: str, radius: float) -> None:
    side: WeightSide = {
        "none": NoWeights(),
        "sam": Sam(rho=radius),
        "asam": Asam(rho=radius, eta=0.03),
        "gsam": Gsam(rho=radius, alpha=0.7),
        "awp": Awp(gamma=radius),
    }[name]
    loss = Quadratic()
    found = loss.take(side)
    w = flat(START)
    expected = closed_form(side, MATRIX, w)
    torch.testing.assert_close(flat(found.gradients), expected, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(found.loss.detach(), w @ MATRIX @ w / 2)
    assert [g.shape for g in found.gradients] == [tensor.shape for tensor in START]
    if radius == 0 and name != "none":
        assert torch.equal(flat(found.gradients), flat(Quadratic().take(NoWeights()).gradients))


@every_side
def test_zero_gradient_moves_nothing_and_gives_no_nan(side: WeightSide) -> None:
    """At weights of zero, and at others where the loss is flat, in all tensors or in one."""
    for matrix, start in (
        (MATRIX, tuple(torch.zeros_like(tensor) for tensor in START)),
        (torch.zeros_like(MATRIX), START),
    ):
        loss = Quadratic(matrix, start)
        found = loss.take(side)
        assert torch.equal(flat(found.gradients), torch.zeros(6, dtype=torch.float64))
        assert torch.equal(loss.places[1], flat(start))
    partly = MATRIX.clone()
    partly[:2], partly[:, :2] = 0.0, 0.0  # the first layer enters the loss no more
    loss = Quadratic(partly)
    found = loss.take(side)
    assert torch.equal(loss.places[1][:2], flat(START)[:2])
    assert not torch.equal(loss.places[1][2:], flat(START)[2:])
    assert flat(found.gradients).isfinite().all()


@every_side
def test_tensors_share_one_norm_but_in_awp_where_each_layer_has_its_own(side: WeightSide) -> None:
    loss = Quadratic()
    loss.take(side)
    here, there = loss.places
    w, offset = flat(START), there - here
    match side:
        case Awp(gamma=gamma):
            parts = zip(blocks(offset), blocks(w), strict=True)
            shares = torch.stack([part.norm() / weight.norm() for part, weight in parts])
            expected = torch.tensor([gamma, gamma, 0.0, 0.0], dtype=torch.float64)
            torch.testing.assert_close(shares, expected, rtol=1e-6, atol=0)
        case Asam(rho=rho, eta=eta):
            scale = torch.cat([w[:4].abs() + eta, torch.ones(2)])
            assert (offset / scale).norm().item() == pytest.approx(rho)
        case Sam(rho=rho) | Gsam(rho=rho):
            assert offset.norm().item() == pytest.approx(rho)
            torch.testing.assert_close(offset / rho, MATRIX @ w / (MATRIX @ w).norm())


def test_asam_knows_no_scale_of_weights_and_sam_does() -> None:
    """Weights times c in a loss that divides them by c again: e grows by c, so the loss is one."""
    factors = torch.tensor([3.0, 3.0, 0.2, 0.2, 1.0, 1.0], dtype=torch.float64)
    scaled = MATRIX / factors.outer(factors)
    start = tuple(
        (part * factor).view_as(tensor)
        for part, factor, tensor in zip(blocks(flat(START)), blocks(factors), START, strict=True)
    )
    losses: dict[str, list[float]] = {"asam": [], "sam": []}
    for name, side in (("asam", Asam(rho=0.5, eta=0.0)), ("sam", Sam(rho=0.5))):
        for loss in (Quadratic(), Quadratic(scaled, start)):
            loss.take(side)
            losses[name].append(float(loss([*loss.places[1:2]])[0]))
    assert losses["asam"][0] == pytest.approx(losses["asam"][1])
    assert losses["sam"][0] != pytest.approx(losses["sam"][1], rel=0.01)


def test_gsam_lowers_the_gap_and_not_the_perturbed_loss() -> None:
    """What it subtracts is orthogonal to SAM's gradient, and is a share α of that part of g."""
    perturbed = flat(Quadratic().take(Sam(rho=0.5)).gradients)
    removed = perturbed - flat(Quadratic().take(Gsam(rho=0.5, alpha=0.4)).gradients)
    assert abs(float(removed @ perturbed)) < 1e-9
    gradient = MATRIX @ flat(START)
    assert float(removed @ gradient) == pytest.approx(float(removed @ removed) / 0.4)
    without = Quadratic().take(Gsam(rho=0.5, alpha=0.0)).gradients
    assert torch.equal(flat(without), perturbed)


@every_side
def test_weights_are_never_written_even_if_the_second_pass_fails(side: WeightSide) -> None:
    loss = Quadratic()
    versions = [weight._version for weight in loss.weights]

    def failing(moved: list[Tensor] | None) -> tuple[Tensor, Tensor]:
        if moved is not None:
            raise RuntimeError("out of memory")
        return loss(moved)

    with pytest.raises(RuntimeError, match="out of memory"):
        perturbing(side)(failing, loss.weights, NAMES, numbers(side), [])
    loss.take(side)
    assert all(torch.equal(now, then) for now, then in zip(loss.weights, START, strict=True))
    assert [weight._version for weight in loss.weights] == versions
    assert all(weight.grad is None for weight in loss.weights)


@pytest.mark.parametrize("side", [NoWeights(), *SIDES.values()], ids=["none", *SIDES])
def test_a_side_takes_one_pass_at_the_weights_and_at_most_one_elsewhere(side: WeightSide) -> None:
    asked: list[bool] = []
    loss = Quadratic()

    def counting(moved: list[Tensor] | None) -> tuple[Tensor, Tensor]:
        asked.append(moved is None)
        return loss(moved)

    perturbing(side)(counting, loss.weights, NAMES, numbers(side), [])
    assert asked == ([True] if isinstance(side, NoWeights) else [True, False])


def twin_offsets(model: nn.Module, side: WeightSide) -> list[Tensor]:
    """e of each tensor from the gradients that lie in it, one tensor after another."""
    named = [(name, weight, weight.grad.clone()) for name, weight in model.named_parameters()]  # type: ignore[union-attr]
    if isinstance(side, Awp):  # csdongxian/AWP: one step of a copy, rescaled layer by layer
        found = []
        for name, weight, gradient in named:
            if weight.dim() <= 1 or "weight" not in name:
                found.append(torch.zeros_like(gradient))
                continue
            step = 0.01 * gradient
            found.append(side.gamma * weight.detach().norm() / (step.norm() + 1e-20) * step)
        return found
    scales = [torch.ones_like(gradient) for _, _, gradient in named]
    if isinstance(side, Asam):  # SamsungLabs/ASAM
        scales = [
            weight.detach().abs() + side.eta if "weight" in name else torch.ones_like(weight)
            for name, weight, _ in named
        ]
    total = sum(float(((t * g) ** 2).sum()) for t, (_, _, g) in zip(scales, named, strict=True))
    rho = side.rho  # type: ignore[union-attr]
    return [rho * t**2 * g / total**0.5 for t, (_, _, g) in zip(scales, named, strict=True)]


@every_side
def test_a_side_on_a_network_equals_an_obvious_twin(
    side: WeightSide, make_config: MakeConfig, digits: Dataset
) -> None:
    """Add e to the weights of a copy, one tensor at a time, and call backward()."""
    config = make_config()
    model = build_model(config.model, digits, torch.Generator().manual_seed(0)).double()
    images = torch.tensor(digits.train.images[:32]).double() / 16
    labels = torch.tensor(digits.train.labels[:32])
    twin = copy.deepcopy(model)
    F.cross_entropy(twin(images), labels).backward()
    before = [weight.grad.clone() for weight in twin.parameters() if weight.grad is not None]
    offsets = twin_offsets(twin, side)
    twin.zero_grad()
    with torch.no_grad():
        for weight, offset in zip(twin.parameters(), offsets, strict=True):
            weight += offset
    F.cross_entropy(twin(images), labels).backward()
    expected = [weight.grad.clone() for weight in twin.parameters() if weight.grad is not None]
    if isinstance(side, Gsam):  # juntang-zhuang/GSAM
        old, new = flat(before), flat(expected)
        cosine = old @ new / (old.norm() * new.norm())
        expected = [
            g2 - side.alpha * (g - cosine * old.norm() * g2 / new.norm())
            for g, g2 in zip(before, expected, strict=True)
        ]
    names = [name for name, _ in model.named_parameters()]
    assert any("weight" not in name for name in names)

    def loss_at(moved: list[Tensor] | None) -> tuple[Tensor, Tensor]:
        tensors = {} if moved is None else dict(zip(names, moved, strict=True))
        logits = torch.func.functional_call(model, tensors, (images,))
        return F.cross_entropy(logits, labels), logits

    typed: LossAt = loss_at
    found = perturbing(side)(typed, list(model.parameters()), names, numbers(side), [])
    for ours, theirs in zip(found.gradients, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
