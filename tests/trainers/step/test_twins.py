"""Tests of weight sides and base optimisers against pytorch-optimizer, on shared weights and data.

Its SAM and GSAM add 1e-12 to the norm as ours do. Its `adaptive` scales by |w| everywhere and knows
no η: that is our ASAM at η = 0 where every parameter is named a weight; what differs otherwise is
compared with slow twins (`test_weights`). It has no AWP.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from pytorch_optimizer import GSAM, SAM
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from trainers.config import Asam, Gsam, NoWeights, Sam, TrainingConfig, WeightSide
from trainers.step.numbers import ADAM_BETA2, no_numbers
from trainers.step.optimizer import descending, new_moments
from trainers.step.weights import perturbing

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
    side: Gsam

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
    elif isinstance(side, Gsam):
        optimizer = GSAM(model.parameters(), base, model, Constant(base, side), alpha=side.alpha)
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
            optimizer.step(closure if isinstance(optimizer, SAM) else None)
    return model


def ours(model: nn.Module, side: WeightSide, training: TrainingConfig, seed: int) -> nn.Module:
    """Train by our weight side and base optimiser."""
    names, weights = (list(x) for x in zip(*model.named_parameters(), strict=True))
    moments, descend = new_moments(training, weights), descending(training)
    settings = {name: getattr(side, name, 0.0) for name in ("eta", "alpha")}
    for step in range(NUM_STEPS):
        images, labels = batch(seed, step)

        def loss_at(
            moved: list[Tensor] | None, images: Tensor = images, labels: Tensor = labels
        ) -> tuple[Tensor, Tensor]:
            tensors = {} if moved is None else dict(zip(names, moved, strict=True))
            logits = functional_call(model, tensors, (images,))
            return F.cross_entropy(logits, labels), logits

        rho = getattr(side, "rho", 0.0)
        if isinstance(side, Gsam):
            rho = side.rho_min + (side.rho - side.rho_min) * RATES[step] / HIGHEST_RATE
        values = settings | {
            "rho": rho,
            "learning_rate": RATES[step],
            "momentum": MOMENTUM,
            "weight_decay": WEIGHT_DECAY,
            "first_correction": 1 - MOMENTUM ** (step + 1),
            "second_correction": 1 - ADAM_BETA2 ** (step + 1),
        }
        numbers = no_numbers(torch.device("cpu"))._replace(
            **{name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}
        )
        gradients = perturbing(side)(loss_at, weights, names, numbers, []).gradients
        with torch.no_grad():
            descend(weights, moments, gradients, numbers)
    return model


SIDES: dict[str, WeightSide] = {
    "none": NoWeights(),
    "sam": Sam(rho=0.3),
    "asam": Asam(rho=0.8, eta=0.0),
    "gsam": Gsam(rho=0.3, rho_min=0.1, alpha=0.4),
}
OPTIMIZERS = {
    "sgd": {"optimizer": "sgd"},
    "nesterov": {"optimizer": "sgd", "nesterov": True},
    "adamw": {"optimizer": "adamw"},
}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("settings", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("side", SIDES.values(), ids=SIDES)
def test_a_training_equals_that_of_pytorch_optimizer(
    side: WeightSide, settings: dict[str, object], seed: int
) -> None:
    """With a rate that changes, weight decay, and momentum that is kept from step to step."""
    training = TrainingConfig(
        epochs=1,
        batch_size=8,
        learning_rate=HIGHEST_RATE,
        momentum=MOMENTUM,
        weight_decay=WEIGHT_DECAY,
        schedule="cosine",
        **settings,  # type: ignore[arg-type]
    )
    with torch.random.fork_rng():
        start = network(seed, has_bias=not isinstance(side, Asam))
    found = ours(copy.deepcopy(start), side, training, seed)
    expected = theirs(copy.deepcopy(start), side, training, seed)
    for name, weight in found.named_parameters():
        twin = expected.get_parameter(name)
        torch.testing.assert_close(weight, twin, rtol=0, atol=1e-6, msg=name)
        assert not torch.allclose(weight, start.get_parameter(name), atol=1e-2)
