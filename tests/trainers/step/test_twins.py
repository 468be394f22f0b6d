"""Tests of weight sides and base optimisers against pytorch-optimizer, on shared weights and data.

Its SAM and GSAM add 1e-12 to the norm as ours do. Its `adaptive` scales by |w| everywhere and knows
no η: that is our ASAM at η = 0 where every parameter is named a weight; what differs otherwise is
compared with slow twins (`test_weights`). It has no AWP, and none of the sides in the lower half,
whose twins are written here as their published code has them, but for what our sides name as other.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from pytorch_optimizer import GSAM, SAM, FriendlySAM
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from trainers.config import (
    AdaptiveGsam,
    Asam,
    EigenSam,
    Esam,
    FSam,
    Gsam,
    Msam,
    NoWeights,
    Sam,
    TrainingConfig,
    WeightSide,
    phase_of,
)
from trainers.step.numbers import ADAM_BETA2, no_numbers
from trainers.step.optimizer import descending, new_moments
from trainers.step.weights import new_side_memory, perturbing, reads_momentum

NUM_STEPS = 6
RATES = (0.1, 0.1, 0.05, 0.05, 0.01, 0.2)
MOMENTUM, WEIGHT_DECAY, HIGHEST_RATE = 0.9, 0.05, 0.2
SEEDS = (0, 1)


def network(seed: int, has_bias: bool) -> nn.Module:
    """Two layers with a smooth kink between them, in float64."""
    torch.manual_seed(seed)
    layers = nn.Linear(5, 7, bias=has_bias), nn.Tanh(), nn.Linear(7, 3, bias=has_bias)
    return nn.Sequential(*layers).double()


def batch(seed: int, step: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(100 * seed + step)
    images = torch.randn(8, 5, generator=generator, dtype=torch.float64)
    return images, torch.randint(3, (8,), generator=generator)


@dataclass(frozen=True)
class Constant:
    """What GSAM of pytorch-optimizer asks for its radius: that of the present rate."""

    optimizer: torch.optim.Optimizer
    side: Gsam | AdaptiveGsam

    def step(self) -> float:
        share = self.optimizer.param_groups[0]["lr"] / HIGHEST_RATE
        return self.side.rho_min + (self.side.rho - self.side.rho_min) * share


def theirs(model: nn.Module, side: WeightSide, training: TrainingConfig, seed: int) -> nn.Module:
    """Train by pytorch-optimizer; without a weight side, by torch.optim."""
    kinds: dict[str, Callable[..., torch.optim.Optimizer]] = {
        "sgd": torch.optim.SGD,
        "adamw": torch.optim.AdamW,
    }
    kind = kinds[training.optimizer]
    options = {"momentum": MOMENTUM, "nesterov": training.nesterov}
    if training.optimizer == "adamw":
        options = {"betas": (MOMENTUM, ADAM_BETA2)}  # type: ignore[dict-item]
    options |= {"lr": RATES[0], "weight_decay": WEIGHT_DECAY}  # type: ignore[dict-item]
    base = kind(model.parameters(), **options)
    optimizer: torch.optim.Optimizer = base
    if isinstance(side, Sam | Asam):
        is_adaptive = isinstance(side, Asam)
        optimizer = SAM(model.parameters(), kind, rho=side.rho, adaptive=is_adaptive, **options)
    elif isinstance(side, FSam):
        settings = {"rho": side.rho, "sigma": side.sigma, "lmbda": side.decay}
        optimizer = FriendlySAM(model.parameters(), kind, **settings, **options)  # type: ignore[arg-type]
    elif isinstance(side, Gsam | AdaptiveGsam):
        radius, is_adaptive = Constant(base, side), isinstance(side, AdaptiveGsam)
        optimizer = GSAM(
            model.parameters(), base, model, radius, alpha=side.alpha, adaptive=is_adaptive
        )
    for step in range(NUM_STEPS):
        images, labels = batch(seed, step)
        for group in optimizer.param_groups:
            group["lr"] = RATES[step]

        def closure(images: Tensor = images, labels: Tensor = labels) -> Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
            return loss

        if isinstance(optimizer, GSAM):
            optimizer.update_rho_t()
            optimizer.set_closure(F.cross_entropy, images, labels)
            optimizer.step()
        else:
            closure()
            optimizer.step(closure if isinstance(optimizer, SAM | FriendlySAM) else None)
    return model


class Loss:
    """Our loss of a batch: at weights, with the labels, and what is drawn for the side."""

    def __init__(self, model: nn.Module, seed: int, step: int) -> None:
        self.model = model
        self.images, self.labels = batch(seed, step)
        self.choice = choice(model, seed, step)

    def __call__(
        self,
        moved: list[Tensor] | None,
        *,
        records: bool = False,
        chosen: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        names = [name for name, _ in self.model.named_parameters()]
        tensors = {} if moved is None else dict(zip(names, moved, strict=True))
        some = slice(None) if chosen is None else chosen
        logits = functional_call(self.model, tensors, (self.images[some],))
        return F.cross_entropy(logits, self.labels[some]), logits


def choice(model: nn.Module, seed: int, step: int) -> Tensor:
    generator = torch.Generator().manual_seed(1000 * seed + step)
    return torch.rand(len(list(model.parameters())), generator=generator)


def ours(model: nn.Module, side: WeightSide, training: TrainingConfig, seed: int) -> nn.Module:
    """Train by our weight side and base optimiser."""
    names, weights = (list(x) for x in zip(*model.named_parameters(), strict=True))
    moments, descend = new_moments(training, weights), descending(training)
    memory = moments if reads_momentum(side) else new_side_memory(side, weights)
    for step in range(NUM_STEPS):
        values = side.numbers(RATES[step] / HIGHEST_RATE, 0) | {
            "learning_rate": RATES[step],
            "momentum": MOMENTUM,
            "weight_decay": WEIGHT_DECAY,
            "first_correction": 1 - MOMENTUM ** (step + 1),
            "second_correction": 1 - ADAM_BETA2 ** (step + 1),
        }
        numbers = no_numbers(torch.device("cpu"))._replace(
            **{name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}
        )
        run = perturbing(side, phase_of(side, step, NUM_STEPS))
        gradients = run(Loss(model, seed, step), weights, names, numbers, memory).gradients
        with torch.no_grad():
            descend(weights, moments, gradients, numbers)
    return model


SIDES: dict[str, WeightSide] = {
    "none": NoWeights(),
    "sam": Sam(rho=0.3),
    "asam": Asam(rho=0.8, eta=0.0),
    "gsam": Gsam(rho=0.3, rho_min=0.1, alpha=0.4),
    "adaptive_gsam": AdaptiveGsam(rho=0.8, rho_min=0.1, alpha=0.4, eta=0.0),
    "f_sam": FSam(rho=0.3),
    "f_sam, other settings": FSam(rho=0.3, sigma=0.7, decay=0.3),
}
OPTIMIZERS = {
    "sgd": {"optimizer": "sgd"},
    "nesterov": {"optimizer": "sgd", "nesterov": True},
    "adamw": {"optimizer": "adamw"},
}


def training_of(settings: dict[str, object]) -> TrainingConfig:
    return TrainingConfig(
        epochs=1,
        batch_size=8,
        learning_rate=HIGHEST_RATE,
        momentum=MOMENTUM,
        weight_decay=WEIGHT_DECAY,
        schedule="cosine",
        **settings,  # type: ignore[arg-type]
    )


def assert_same(found: nn.Module, expected: nn.Module, start: nn.Module) -> None:
    for name, weight in found.named_parameters():
        twin = expected.get_parameter(name)
        torch.testing.assert_close(weight, twin, rtol=0, atol=1e-6, msg=name)
        assert not torch.allclose(weight, start.get_parameter(name), atol=1e-2)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("settings", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("side", SIDES.values(), ids=SIDES)
def test_a_training_equals_that_of_pytorch_optimizer(
    side: WeightSide, settings: dict[str, object], seed: int
) -> None:
    """With a rate that changes, weight decay, and momentum that is kept from step to step."""
    training = training_of(settings)
    with torch.random.fork_rng():
        start = network(seed, has_bias=not isinstance(side, Asam | AdaptiveGsam))
    found = ours(copy.deepcopy(start), side, training, seed)
    assert_same(found, theirs(copy.deepcopy(start), side, training, seed), start)


def gradient(model: nn.Module, images: Tensor, labels: Tensor) -> list[Tensor]:
    """The gradient of the mean cross-entropy, by backward()."""
    model.zero_grad()
    F.cross_entropy(model(images), labels).backward()
    return [weight.grad.clone() for weight in model.parameters()]  # type: ignore[union-attr]


def length(tensors: list[Tensor]) -> float:
    return float(sum((tensor**2).sum() for tensor in tensors)) ** 0.5


@torch.no_grad()
def shift(model: nn.Module, offsets: list[Tensor], factor: float) -> None:
    for weight, offset in zip(model.parameters(), offsets, strict=True):
        weight += factor * offset


def twin_esam(model: nn.Module, side: Esam, seed: int, step: int) -> list[Tensor]:
    """As dydjw9/Efficient_SAM, with a tensor left out by a zero and not by `requires_grad`."""
    images, labels = batch(seed, step)
    before = F.cross_entropy(model(images), labels, reduction="none").detach()
    up = gradient(model, images, labels)
    for offset, drawn in zip(up, choice(model, seed, step), strict=True):
        if drawn >= side.beta:
            offset.zero_()
    scale = side.rho / (length(up) + 1e-12) / side.beta
    shift(model, up, scale)
    after = F.cross_entropy(model(images), labels, reduction="none").detach()
    rises = sorted(range(len(labels)), key=lambda sample: float(after[sample] - before[sample]))
    kept = rises[-int(side.gamma * len(labels)) :]
    found = gradient(model, images[kept], labels[kept])
    shift(model, up, -scale)
    return found


def twin_msam(model: nn.Module, side: Msam, momentum: list[Tensor]) -> list[Tensor]:
    """The offset of MarlonBecker/MSAM, which lies along the momentum of the steps before."""
    return [-side.rho * v / (length(momentum) + 1e-12) for v in momentum]


def twin_eigen_sam(
    model: nn.Module, side: EigenSam, seed: int, step: int, vector: Tensor | None
) -> tuple[list[Tensor], Tensor]:
    """The offset of RitianLuo/EigenSAM, by the whole Hessian as a matrix; and the eigenvector."""
    images, labels = batch(seed, step)
    names, weights = zip(*model.named_parameters(), strict=True)
    sizes = [weight.numel() for weight in weights]

    def loss_of(flat: Tensor) -> Tensor:
        parts = [p.view_as(w) for p, w in zip(flat.split(sizes), weights, strict=True)]
        logits = functional_call(model, dict(zip(names, parts, strict=True)), (images,))
        return F.cross_entropy(logits, labels)

    at = torch.cat([weight.detach().flatten() for weight in weights])
    g = torch.cat([x.flatten() for x in gradient(model, images, labels)])
    if step % side.refresh_every == 0 or vector is None:
        hessian = torch.autograd.functional.hessian(loss_of, at)
        vector = g if vector is None else vector
        for _ in range(side.power_steps):
            vector = hessian @ vector
            vector = vector / vector.norm()
    unit = g / g.norm()
    aside = vector - (vector @ unit) * unit
    offset = side.rho * (unit + side.alpha * torch.sign(g @ vector) * aside)
    parts = zip(offset.split(sizes), weights, strict=True)
    return [part.view_as(weight) for part, weight in parts], vector


def by_twins(model: nn.Module, side: WeightSide, seed: int) -> nn.Module:
    """Train by a twin and torch's SGD, whose weight decay is that of the weights not moved."""
    options = {"momentum": MOMENTUM, "weight_decay": WEIGHT_DECAY}
    sgd = torch.optim.SGD(model.parameters(), lr=RATES[0], **options)
    vector: Tensor | None = None
    for step in range(NUM_STEPS):
        sgd.param_groups[0]["lr"] = RATES[step]
        if isinstance(side, Esam):
            found = twin_esam(model, side, seed, step)
        else:
            if isinstance(side, EigenSam):
                offsets, vector = twin_eigen_sam(model, side, seed, step, vector)
            else:
                assert isinstance(side, Msam)
                states = [sgd.state[weight] for weight in model.parameters()]
                zeros = [torch.zeros_like(weight) for weight in model.parameters()]
                momentum = [s.get("momentum_buffer", z) for s, z in zip(states, zeros, strict=True)]
                offsets = twin_msam(model, side, momentum)
            shift(model, offsets, 1.0)
            found = gradient(model, *batch(seed, step))
            shift(model, offsets, -1.0)
        for weight, g in zip(model.parameters(), found, strict=True):
            weight.grad = g
        sgd.step()
    return model


TWINS: dict[str, WeightSide] = {
    "esam": Esam(rho=0.3),
    "esam, three quarters": Esam(rho=0.3, beta=0.75, gamma=0.75),
    "esam, all samples": Esam(rho=0.3, beta=0.4, gamma=1.0),
    "msam": Msam(rho=0.8),
    "eigen_sam": EigenSam(rho=0.3, alpha=0.5, refresh_every=3),
}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("side", TWINS.values(), ids=TWINS)
def test_a_training_equals_that_of_a_slow_twin(side: WeightSide, seed: int) -> None:
    with torch.random.fork_rng():
        start = network(seed, has_bias=True)
    found = ours(copy.deepcopy(start), side, training_of({}), seed)
    assert_same(found, by_twins(copy.deepcopy(start), side, seed), start)
