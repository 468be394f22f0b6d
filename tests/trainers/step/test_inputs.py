"""Tests of the input side: closed forms on linear models, slow twins, ball and box, what stays."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainers.config import (
    NORMS,
    CrossEntropy,
    Dkl,
    EAt,
    FgsmRs,
    Ikl,
    InputSide,
    Loss,
    Mart,
    NFgsm,
    NoInputs,
    Noise,
    Pgd,
    Trades,
)
from trainers.networks.build import evaluation_view
from trainers.step.inputs import BALLS, NEAR, crafting, new_input_memory
from trainers.step.losses import minimised, new_loss_memory
from trainers.step.numbers import NO_MEMORY, Memory, Numbers, no_numbers

SHAPE = (16, 2, 4, 4)
DIMENSIONS = 32
EPSILON = 0.1


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def memory(side: InputSide, loss: Loss, num_classes: int = 3) -> Memory:
    cpu = torch.device("cpu")
    of_loss = [tensor.double() for tensor in new_loss_memory(loss, num_classes, cpu)]
    return NO_MEMORY._replace(inputs=new_input_memory(side, cpu), loss=of_loss)


def numbers(side: InputSide) -> Numbers:
    radius = side.sigma if isinstance(side, Noise) else getattr(side, "epsilon", 0.0)
    length = getattr(side, "step_length", 0.0)
    values = {"epsilon": torch.tensor(radius), "step_length": torch.tensor(length)}
    if isinstance(side, EAt):
        values |= {name: torch.tensor(value) for name, value in side.numbers(None).items()}
    return no_numbers(torch.device("cpu"))._replace(**values)


def noise_of(side: InputSide, loss: Loss, shape: tuple[int, ...] = SHAPE) -> Tensor:
    return crafting(side, minimised(loss).inner).draw(shape, generator(1))


def craft_by(
    side: InputSide,
    model: Any,
    images: Tensor,
    labels: Tensor,
    loss: Loss | None = None,
    noise: Tensor | None = None,
) -> Tensor:
    loss = loss or CrossEntropy()
    noise = noise_of(side, loss, tuple(images.shape)) if noise is None else noise
    chosen = crafting(side, minimised(loss).inner)
    kept = memory(side, loss, 2 if isinstance(model, Linear) else 3)
    noise = noise.to(images.dtype)
    return chosen.craft(model, images, labels, noise, numbers(side), kept)


def craft(
    norm: str, model: Any, images: Tensor, labels: Tensor, epsilon: float, **more: Any
) -> Tensor:
    side = Pgd(norm=norm, epsilon=epsilon, **({"steps": 10} | more))  # type: ignore[arg-type]
    return craft_by(side, model, images, labels)


def sides(epsilon: float = EPSILON) -> dict[str, tuple[InputSide, Loss]]:
    """Every input side that moves images, in all norms and with each start, and its loss."""
    found: dict[str, tuple[InputSide, Loss]] = {"noise": (Noise(sigma=epsilon), CrossEntropy())}
    for loss in (CrossEntropy(), Trades(), Ikl()):
        name = type(loss).__name__.lower()
        found[f"pgd l1 of {name}"] = Pgd(norm="l1", epsilon=epsilon, steps=3), loss
        alternating = EAt(epsilon_linf=epsilon, epsilon_l1=4 * epsilon, steps=3)
        found[f"e_at of {name}"] = alternating, loss
    for norm in NORMS:
        pgd = Pgd(norm=norm, epsilon=epsilon, steps=3)
        found |= {
            f"pgd {norm}": (pgd, CrossEntropy()),
            f"pgd {norm} of trades": (pgd, Trades()),
            f"pgd {norm} of mart": (pgd, Mart()),
            f"pgd {norm} of dkl": (pgd, Dkl()),
            f"pgd {norm} of ikl": (pgd, Ikl()),
            f"fgsm_rs {norm}": (FgsmRs(norm=norm, epsilon=epsilon), CrossEntropy()),
            f"fgsm_rs {norm} of trades": (FgsmRs(norm=norm, epsilon=epsilon), Trades()),
            f"n_fgsm {norm}": (NFgsm(norm=norm, epsilon=epsilon), CrossEntropy()),
            f"n_fgsm {norm} of trades": (NFgsm(norm=norm, epsilon=epsilon), Trades()),
        }
    return found


every_side = pytest.mark.parametrize(("side", "loss"), sides().values(), ids=sides())


class Small(nn.Module):
    """A smooth network with batch normalisation, for three classes, in float64."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.body = nn.Conv2d(2, 3, 3, padding=1)
            self.norm = nn.BatchNorm2d(3)
            self.head = nn.Linear(48, 3)
        self.double().train()
        self(torch.rand(SHAPE, generator=generator(4)).double())  # statistics of their own

    def forward(self, images: Tensor) -> Tensor:
        features = torch.tanh(self.norm(self.body(images)))
        logits: Tensor = self.head(features.flatten(1))
        return logits


IMAGES = torch.rand(SHAPE, generator=generator(5)).double()
IMAGES[0], IMAGES[1] = 0.0, 1.0  # at the border of the box
LABELS = torch.arange(16) % 3


def norms(x: Tensor, norm: str) -> Tensor:
    flat = x.flatten(1)
    return flat.norm(p={"linf": math.inf, "l2": 2, "l1": 1}[norm], dim=1)


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
@pytest.mark.parametrize("name", sides())
def test_crafted_images_keep_to_ball_and_box(name: str, epsilon: float) -> None:
    """N-FGSM reaches (1 + noise_scale) ε, by design; noise has no ball."""
    side, loss = sides(epsilon)[name]
    images = torch.rand(SHAPE, generator=generator())
    images[:4], images[4:8] = 0.0, 1.0  # at the border of the box
    labels = torch.arange(16) % 2
    before = images.clone()
    crafted = craft_by(side, Linear(), images, labels, loss)
    assert crafted.min() >= 0
    assert crafted.max() <= 1
    assert torch.equal(images, before)
    if epsilon == 0:
        assert torch.equal(crafted, images)
    if isinstance(side, Noise):
        return
    if isinstance(side, EAt):
        found = [norms(crafted - images, norm).max().item() for norm in ("linf", "l1")]
        assert found[0] <= epsilon + 1e-7 or found[1] <= 4 * epsilon * (1 + 1e-5)
        return
    reach = 1 + side.noise_scale if isinstance(side, NFgsm) else 1.0
    rounding = 1e-7  # of x + δ near 1, in float32
    furthest = norms(crafted - images, side.norm).max()  # type: ignore[union-attr]
    assert furthest <= reach * epsilon * (1 + 1e-5) + rounding
    if isinstance(side, NFgsm) and epsilon == 0.1:
        assert furthest > 1.5 * epsilon


@pytest.mark.parametrize("norm", BALLS)
def test_a_step_moves_by_the_step_size(norm: str) -> None:
    images = torch.full(SHAPE, 0.5)
    gradient = torch.randn(SHAPE, generator=generator())
    radius, step_length = torch.tensor(0.3), torch.tensor(0.1)
    moved = BALLS[norm].move(images, gradient, images, radius, step_length)  # type: ignore[index]
    torch.testing.assert_close(norms(moved - images, norm), torch.full((16,), 0.1))
    assert ((moved - images) * gradient >= 0).all()


@pytest.mark.parametrize("size", [1e-10, 1e-15, 1e-20, 1e-28])
@pytest.mark.parametrize("norm", BALLS)
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
    moved = BALLS[norm].ascend(images, gradient, step_length)  # type: ignore[index]
    torch.testing.assert_close(moved, expected)


@pytest.mark.parametrize("norm", BALLS)
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


@every_side
def test_crafting_leaves_the_network_as_it_was(side: InputSide, loss: Loss) -> None:
    """Weights, their gradients and flags, buffers and modes; of the view that attacks see, too."""
    model = Small()
    model.head.weight.grad = torch.ones(3, 48, dtype=torch.float64)
    model.body.bias.requires_grad_(False)  # type: ignore[union-attr]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for classify in (evaluation_view(model), model.eval()):
        modes = [module.training for module in model.modules()]
        craft_by(side, classify, IMAGES, LABELS, loss)
        assert [module.training for module in model.modules()] == modes
        assert torch.equal(model.head.weight.grad, torch.ones(3, 48, dtype=torch.float64))
        others = [weight for weight in model.parameters() if weight is not model.head.weight]
        assert all(weight.grad is None for weight in others)
        flags = {name: weight.requires_grad for name, weight in model.named_parameters()}
        assert [name for name, flag in flags.items() if not flag] == ["body.bias"]
        after = model.state_dict()
        assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


@every_side
def test_a_crafted_image_does_not_depend_on_its_batch(side: InputSide, loss: Loss) -> None:
    view = evaluation_view(Small())
    noise = noise_of(side, loss)
    whole = craft_by(side, view, IMAGES, LABELS, loss, noise)
    for part in (slice(0, 5), slice(7, 8)):
        alone = craft_by(side, view, IMAGES[part], LABELS[part], loss, noise[part])
        torch.testing.assert_close(whole[part], alone, rtol=0, atol=1e-7)


@every_side
def test_crafted_images_raise_what_their_attack_maximises(side: InputSide, loss: Loss) -> None:
    """The cross-entropy, or for TRADES the divergence from the clean prediction; noise need not."""
    view, inner = evaluation_view(Small()), minimised(loss).inner
    if isinstance(side, Noise):
        return
    inside = 0.25 + IMAGES / 2
    targets = inner.targets(view, inside, LABELS, memory(side, loss).loss)
    crafted = craft_by(side, view, inside, LABELS, loss)
    for sample in range(16):
        part = slice(sample, sample + 1)
        before = inner.sum_of_losses(view(inside[part]), targets[part])
        assert inner.sum_of_losses(view(crafted[part]), targets[part]) > before


def gradient_of(model: nn.Module, tried: Tensor, label: Tensor, clean: Tensor | None) -> Tensor:
    """Of one image by backward(): of the cross-entropy, or of KL(p(clean) ‖ p(tried))."""
    leaf = tried.detach().clone().requires_grad_()
    logits = model(leaf[None])
    if clean is None:
        loss = F.cross_entropy(logits, label[None])
    else:
        p = model(clean[None]).softmax(1).detach()
        loss = (p * (p.log() - logits.softmax(1).log())).sum()
    loss.backward()
    assert leaf.grad is not None
    return leaf.grad


def projected(offset: Tensor, epsilon: float, norm: str) -> Tensor:
    if norm == "linf":
        return offset.clamp(-epsilon, epsilon)
    return offset * epsilon / max(epsilon, float(offset.norm()))


def direction(gradient: Tensor, norm: str) -> Tensor:
    return gradient.sign() if norm == "linf" else gradient / gradient.norm()


def moved(x: Tensor, offset: Tensor, norm: str, is_near: bool) -> Tensor:
    """Return the image at an offset: ball, then box; of TRADES and MART box, then ball."""
    if is_near:
        return x + projected(in_box(x, offset), EPSILON, norm)
    return (x + projected(offset, EPSILON, norm)).clamp(0, 1)


def in_box(x: Tensor, offset: Tensor) -> Tensor:
    """Shorten δ so that x + δ lies in [0, 1], as FGSM-RS and N-FGSM write it."""
    return torch.max(torch.min(offset, 1 - x), 0 - x)


@pytest.mark.parametrize("loss", [CrossEntropy(), Trades(), Mart()], ids=["ce", "trades", "mart"])
@pytest.mark.parametrize("norm", NORMS)
def test_pgd_equals_an_obvious_twin(norm: str, loss: Loss) -> None:
    """One image at a time. TRADES and MART start 0.001 N(0, 1) away, perhaps outside [0, 1]."""
    model = Small().eval()
    side = Pgd(norm=norm, epsilon=EPSILON, steps=3, step_size=0.04)  # type: ignore[arg-type]
    noise = noise_of(side, loss)
    crafted = craft_by(side, evaluation_view(model), IMAGES, LABELS, loss, noise)
    for x, label, unit, found in zip(IMAGES, LABELS, noise, crafted, strict=True):
        is_near = not isinstance(loss, CrossEntropy)
        tried = x + NEAR * unit if is_near else (x + EPSILON * unit).clamp(0, 1)
        for _ in range(3):
            up = gradient_of(model, tried, label, x if isinstance(loss, Trades) else None)
            tried = moved(x, tried + 0.04 * direction(up, norm) - x, norm, is_near)
        torch.testing.assert_close(found, tried, rtol=0, atol=1e-7)


@pytest.mark.parametrize("norm", NORMS)
def test_fgsm_rs_equals_an_obvious_twin(norm: str) -> None:
    """As locuslab/fast_adversarial, with l2 besides: δ is kept in the box, then in the ball."""
    model = Small().eval()
    side = FgsmRs(norm=norm, epsilon=EPSILON)  # type: ignore[arg-type]
    noise = noise_of(side, CrossEntropy())
    crafted = craft_by(side, evaluation_view(model), IMAGES, LABELS, noise=noise)
    for x, label, unit, found in zip(IMAGES, LABELS, noise, crafted, strict=True):
        delta = in_box(x, EPSILON * unit)
        up = gradient_of(model, x + delta, label, None)
        delta = projected(delta + 1.25 * EPSILON * direction(up, norm), EPSILON, norm)
        torch.testing.assert_close(found, x + in_box(x, delta), rtol=0, atol=1e-7)


@pytest.mark.parametrize("norm", NORMS)
def test_n_fgsm_equals_an_obvious_twin(norm: str) -> None:
    """As pdejorge/N-FGSM, with l2 besides: noise of 2 ε in the box, a step of ε, no projection."""
    model = Small().eval()
    side = NFgsm(norm=norm, epsilon=EPSILON)  # type: ignore[arg-type]
    noise = noise_of(side, CrossEntropy())
    crafted = craft_by(side, evaluation_view(model), IMAGES, LABELS, noise=noise)
    for x, label, unit, found in zip(IMAGES, LABELS, noise, crafted, strict=True):
        eta = in_box(x, 2 * EPSILON * unit)
        up = gradient_of(model, x + eta, label, None)
        delta = in_box(x, eta + EPSILON * direction(up, norm))
        torch.testing.assert_close(found, x + delta, rtol=0, atol=1e-7)


def test_noise_is_normal_of_its_deviation() -> None:
    """Far from the border of the box nothing is clamped: ‖δ‖ is about σ √d."""
    images = torch.full((200, 1, 8, 8), 0.5)
    crafted = craft_by(Noise(sigma=0.05), None, images, torch.zeros(200, dtype=torch.int64))
    offset = (crafted - images) / 0.05
    assert offset.mean().abs() < 4 / math.sqrt(offset.numel())
    assert offset.std().item() == pytest.approx(1, abs=4 / math.sqrt(2 * offset.numel()))
    assert offset.flatten(1).norm(dim=1).mean().item() == pytest.approx(8, rel=0.02)


@pytest.mark.parametrize("norm", NORMS)
def test_one_step_reaches_the_worst_image_of_a_linear_model(norm: str) -> None:
    """FGSM-RS with 2 ε does in linf, and N-FGSM without its noise in both norms."""
    model = Linear()
    images = 0.4 + 0.2 * torch.rand(SHAPE, generator=generator())
    labels = torch.arange(16) % 2
    dual = model.direction.detach().norm(p=1 if norm == "linf" else 2)
    towards_wrong = torch.where(labels == 1, -1.0, 1.0)
    tried: list[InputSide] = [NFgsm(norm=norm, epsilon=EPSILON, noise_scale=0.0)]  # type: ignore[arg-type]
    if norm == "linf":
        tried.append(FgsmRs(norm="linf", epsilon=EPSILON, step_size=2 * EPSILON))
    for side in tried:
        crafted = craft_by(side, model, images, labels)
        with torch.no_grad():
            change = (model(crafted) - model(images))[:, 1]
        torch.testing.assert_close(change, towards_wrong * EPSILON * dual, rtol=1e-4, atol=1e-6)


def test_no_input_side_returns_the_images_and_draws_nothing() -> None:
    chosen, images = crafting(NoInputs(), minimised(CrossEntropy()).inner), torch.rand(SHAPE)
    fresh = generator()
    before = fresh.get_state()
    noise = chosen.draw(SHAPE, fresh)
    assert noise.numel() == 0
    assert torch.equal(fresh.get_state(), before)
    assert chosen.craft(Linear(), images, LABELS, noise, numbers(NoInputs()), NO_MEMORY) is images
