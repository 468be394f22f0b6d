"""A whole training against an obvious twin: textbook loops and torch.optim.SGD."""

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainers.config import Method, Pgd, Sam, TrainConfig
from trainers.data.dataset import Dataset
from trainers.engine.engine import generator
from trainers.step.inputs import BALLS
from trainers.train import new_state, train

MakeConfig = Callable[..., TrainConfig]
CPU = torch.device("cpu")
NUM_TRAIN, BATCH_SIZE, EPOCHS = 150, 32, 2
NUM_STEPS = 5 * EPOCHS
LEARNING_RATE, MOMENTUM, WEIGHT_DECAY, RHO = 0.1, 0.8, 0.05, 0.3
LINF = Pgd(norm="linf", epsilon=0.1, steps=3, step_size=0.04)
L2 = Pgd(norm="l2", epsilon=0.5, steps=2)
STEP_LENGTHS = {"linf": 0.04, "l2": 2.5 * 0.5 / 2}


def rate(schedule: str, done: int) -> float:
    """The learning rate of a step, after `done` others."""
    if schedule == "cosine":
        return LEARNING_RATE * (1 + math.cos(math.pi * done / NUM_STEPS)) / 2
    if 10 * done >= 9 * NUM_STEPS:
        return LEARNING_RATE / 100
    return LEARNING_RATE / 10 if 4 * done >= 3 * NUM_STEPS else LEARNING_RATE


def move(x: Tensor, tried: Tensor, gradient: Tensor, side: Pgd) -> Tensor:
    """One step of PGD on one image."""
    if side.norm == "linf":
        offset = tried + STEP_LENGTHS["linf"] * gradient.sign() - x
        offset = offset.clamp(-side.epsilon, side.epsilon)
    else:
        offset = tried + STEP_LENGTHS["l2"] * gradient / gradient.norm() - x
        if offset.norm() > side.epsilon:
            offset = offset * side.epsilon / offset.norm()
    return (x + offset).clamp(0, 1)


def craft(model: nn.Module, images: Tensor, labels: Tensor, noise: Tensor, side: Pgd) -> Tensor:
    """Attack one image after the other, by a network in evaluation mode."""
    model.eval()
    crafted = []
    for x, label, unit in zip(images, labels, noise, strict=True):
        tried = (x + side.epsilon * unit).clamp(0, 1)
        for _ in range(side.steps):
            leaf = tried.clone().requires_grad_()
            F.cross_entropy(model(leaf[None]), label[None]).backward()
            assert leaf.grad is not None
            tried = move(x, tried, leaf.grad, side)
        crafted.append(tried)
    model.train()
    return torch.stack(crafted)


def sam_step(
    model: nn.Module, optimizer: torch.optim.SGD, images: Tensor, labels: Tensor
) -> tuple[float, int]:
    """Move the weights, take a gradient, move back, step; returns loss and number of right ones."""
    optimizer.zero_grad()
    logits = model(images)
    loss = F.cross_entropy(logits, labels)
    loss.backward()
    kept = copy.deepcopy(model.state_dict())
    norm = math.sqrt(sum(float((w.grad**2).sum()) for w in model.parameters()))  # type: ignore[operator]
    with torch.no_grad():
        for weight in model.parameters():
            weight += RHO * weight.grad / norm  # type: ignore[operator]
    optimizer.zero_grad()
    F.cross_entropy(model(images), labels).backward()
    model.load_state_dict(kept)
    optimizer.step()
    return float(loss.detach()), int((logits.argmax(1) == labels).sum())


@pytest.mark.parametrize(
    ("side", "schedule"), [(LINF, "cosine"), (L2, "step")], ids=["linf, cosine", "l2, step"]
)
def test_training_with_sam_and_pgd_equals_an_obvious_twin(
    side: Pgd, schedule: str, make_config: MakeConfig, few_digits: Dataset
) -> None:
    config = make_config(
        Method(weights=Sam(rho=RHO), inputs=side),
        seed=4,
        epochs=EPOCHS,
        batch_size=BATCH_SIZE,
        learning_rate=LEARNING_RATE,
        momentum=MOMENTUM,
        weight_decay=WEIGHT_DECAY,
        schedule=schedule,
    )
    state = new_state(config, few_digits, CPU)
    model = copy.deepcopy(state.model)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY
    )
    images = torch.tensor(few_digits.train.images).float() / 16
    labels = torch.tensor(few_digits.train.labels)
    rates, losses, accuracies = [], [], []
    for epoch in range(EPOCHS):
        stream = generator(4, "batch order", epoch, device=CPU)
        order = torch.randperm(NUM_TRAIN, generator=stream)
        stream = generator(4, "input noise", epoch, device=CPU)
        total, right = 0.0, 0
        for batch in order.split(BATCH_SIZE):
            for group in optimizer.param_groups:
                group["lr"] = rate(schedule, len(rates))
            rates.append(rate(schedule, len(rates)))
            x, y = images[batch], labels[batch]
            noise = BALLS[side.norm].draw(tuple(x.shape), stream)
            loss, correct = sam_step(model, optimizer, craft(model, x, y, noise, side), y)
            total, right = total + loss * len(batch), right + correct
        losses.append(total / NUM_TRAIN)
        accuracies.append(right / NUM_TRAIN)
    assert len(rates) == NUM_STEPS

    metrics = list(train(config, few_digits, CPU, state))
    twins = model.state_dict()
    for name, tensor in state.model.state_dict().items():
        torch.testing.assert_close(tensor, twins[name], rtol=0, atol=1e-3, msg=name)
    for ours, weight in zip(state.memory.moments, model.parameters(), strict=True):
        theirs = optimizer.state[weight]["momentum_buffer"]
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-3)
    assert [m.learning_rate for m in metrics] == pytest.approx([rates[0], rates[5]])
    assert [m.train_loss for m in metrics] == pytest.approx(losses, rel=1e-4)
    assert [m.train_accuracy for m in metrics] == pytest.approx(accuracies, abs=1 / NUM_TRAIN)
