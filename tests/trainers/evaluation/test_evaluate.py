"""Tests of attacks and evaluation: monotone in steps and restarts, sample by sample, no trace."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainers.config import EvaluationConfig, PgdAttack, TrainConfig
from trainers.data.dataset import Dataset
from trainers.data.subset import Split
from trainers.engine.engine import generator
from trainers.evaluation.evaluate import (
    OTHER_STREAM,
    accuracies,
    adversarial_examples,
    attacked_batches,
    evaluate,
    nested,
    spread,
)
from trainers.evaluation.pgd import pgd
from trainers.networks.build import evaluation_view
from trainers.step.inputs import BALLS
from trainers.train import new_state, train

MakeConfig = Callable[..., TrainConfig]


@pytest.fixture(scope="module")
def trained(make_config: MakeConfig, digits: Dataset, cpu: torch.device) -> nn.Module:
    """A network after three epochs, in training mode: neither perfect nor useless."""
    config = make_config(width=8)
    state = new_state(config, digits, cpu)
    list(train(config, digits, cpu, state))
    return state.model


def evaluation(
    norm: str = "linf",
    radii: tuple[float, ...] = (0.03, 0.06, 0.1),
    steps: int = 5,
    restarts: int = 1,
) -> EvaluationConfig:
    return EvaluationConfig(
        norm=norm,  # type: ignore[arg-type]
        radii=radii,
        objective_radius=radii[-1],
        attack=PgdAttack(steps=steps, restarts=restarts),
    )


RADII = {"linf": (0.03, 0.06, 0.1), "l2": (0.2, 0.4, 0.8)}


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_more_restarts_never_mend_a_sample(
    norm: str, trained: nn.Module, digits: Dataset, cpu: torch.device
) -> None:
    found = [
        evaluate(trained, digits.test, 16, evaluation(norm, RADII[norm], 3, restarts), 0, cpu).bits
        for restarts in (1, 2, 4)
    ]
    assert np.array_equal(found[0][0], found[2][0])
    assert (found[0] >= found[1]).all()
    assert (found[1] >= found[2]).all()
    assert found[0].sum() > found[2].sum()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_more_steps_never_mend_a_sample(
    norm: str, trained: nn.Module, digits: Dataset, cpu: torch.device
) -> None:
    """From ten steps on the step size is a quarter of the radius, whatever their number."""
    found = [
        evaluate(trained, digits.test, 16, evaluation(norm, RADII[norm], steps), 0, cpu).bits
        for steps in (10, 12, 20)
    ]
    assert (found[0] >= found[1]).all()
    assert (found[1] >= found[2]).all()


def test_a_linear_model_is_broken_exactly_where_its_margin_is_small() -> None:
    """Robust at ε if and only if the margin exceeds ε‖w‖₁ (linf) or ε‖w‖₂ (l2)."""
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(16, generator=generator)
    images = 0.4 + 0.2 * torch.rand(200, 1, 4, 4, generator=generator)
    threshold = 0.5 * direction.sum()

    def classify(tried: Tensor) -> Tensor:
        margin = tried.flatten(1) @ direction - threshold
        return torch.stack([torch.zeros_like(margin), margin], dim=1)

    margins = images.flatten(1) @ direction - threshold
    labels = (margins > 0).long()
    for norm, radius, dual in (
        ("linf", 0.008, direction.norm(p=1)),
        ("l2", 0.03, direction.norm()),
    ):
        ball = BALLS[norm]  # type: ignore[index]
        noise = ball.draw((200, 1, 4, 4), generator)
        attacked = pgd(
            classify,
            images,
            labels,
            norm=norm,  # type: ignore[arg-type]
            radius=radius,
            attack=PgdAttack(steps=40, restarts=1),
            draw=lambda restart, noise=noise: noise,
        )
        slack = margins.abs() / (radius * dual)
        decided = (slack - 1).abs() > 0.02
        assert torch.equal(attacked.is_right[decided], slack[decided] > 1)
        assert 0.2 < attacked.is_right.float().mean() < 0.8
        with torch.no_grad():
            is_right = classify(attacked.images).argmax(1) == labels
        assert torch.equal(is_right, attacked.is_right)
        offsets = (attacked.images - images).flatten(1)
        sizes = offsets.abs().amax(1) if norm == "linf" else offsets.norm(dim=1)
        assert sizes.max() <= radius * (1 + 1e-5)


def test_a_misclassified_start_breaks_a_sample_whatever_comes_after() -> None:
    """Wrong only within 0.01 of the start, which the first step leaves by 0.05."""
    images, noise = torch.full((1, 1, 1, 1), 0.5), torch.full((1, 1, 1, 1), 0.2)

    def classify(tried: Tensor) -> Tensor:
        value = tried.flatten(1)[:, 0]
        right = ((value - 0.52).abs() - 0.01).detach() + value - value.detach()
        return torch.stack([torch.zeros_like(right), right], dim=1)

    def attacked(noise: Tensor) -> bool:
        found = pgd(
            classify,
            images,
            torch.tensor([1]),
            norm="linf",
            radius=0.1,
            attack=PgdAttack(steps=1, restarts=1),
            draw=lambda restart: noise,
        )
        return bool(found.is_right)

    assert not attacked(noise)
    assert attacked(torch.zeros_like(noise))


def test_attack_equals_an_obvious_twin(
    trained: nn.Module, digits: Dataset, cpu: torch.device
) -> None:
    """All samples to the end, no shortcut; right only if right at every iterate of every start."""
    judged = evaluation(radii=(0.06,), steps=4, restarts=2)
    few = Split(images=digits.test.images[:60], labels=digits.test.labels[:60])
    found = evaluate(trained, few, 16, judged, 3, cpu)

    model = evaluation_view(trained)
    x, y = torch.tensor(few.images).float() / 16, torch.tensor(few.labels)
    is_right = torch.ones(60, dtype=torch.bool)
    for restart in range(2):
        noise = BALLS["linf"].draw(
            tuple(x.shape), generator(3, "test attack", restart, 0, device=cpu)
        )
        tried = (x + 0.06 * noise).clamp(0, 1)
        for _ in range(5):
            tried = tried.detach().requires_grad_()
            logits = model(tried)
            is_right &= logits.argmax(1) == y
            loss = nn.functional.cross_entropy(logits, y, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, tried)
            step_size = 0.06 * judged.attack.relative_step_size
            offset = (tried.detach() + step_size * gradient.sign() - x).clamp(-0.06, 0.06)
            tried = (x + offset).clamp(0, 1)
    with torch.no_grad():
        clean = model(x).argmax(1) == y
    disagreements = (found.bits[1] != is_right.numpy()).sum()
    assert np.array_equal(found.bits[0], clean.numpy())
    assert disagreements <= 1  # rounding may decide a sample at the border
    assert 0 < is_right.sum() < 60


def test_evaluation_leaves_no_trace(trained: nn.Module, digits: Dataset, cpu: torch.device) -> None:
    trained.train()
    trained[1].eval()  # type: ignore[index]
    modes = [module.training for module in trained.modules()]
    before = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    gradients = [torch.full_like(weight, 0.5) for weight in trained.parameters()]
    for weight, gradient in zip(trained.parameters(), gradients, strict=True):
        weight.grad = gradient.clone()
    torch.manual_seed(7)
    random_state = torch.get_rng_state()
    evaluate(trained, digits.validation, 16, evaluation(), 0, cpu)
    adversarial_examples(trained, digits.validation, 16, evaluation(), 0, cpu)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert [module.training for module in trained.modules()] == modes
    for name, tensor in trained.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    for weight, gradient in zip(trained.parameters(), gradients, strict=True):
        assert weight.requires_grad
        assert torch.equal(weight.grad, gradient)  # type: ignore[arg-type]
        weight.grad = None
    trained.train()


def test_same_seed_gives_same_bits_and_another_seed_another_start(
    trained: nn.Module, digits: Dataset, cpu: torch.device
) -> None:
    one, same, other = (
        evaluate(trained, digits.test, 16, evaluation(steps=1), seed, cpu).bits
        for seed in (0, 0, 1)
    )
    assert np.array_equal(one, same)
    assert np.array_equal(one[0], other[0])
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_every_evaluation_batch_has_noise_of_its_own(
    norm: str, trained: nn.Module, digits: Dataset, cpu: torch.device
) -> None:
    """The same 500 samples twice, in two batches: only the noise can tell them apart."""
    twice = Split(
        images=np.concatenate([digits.test.images] * 2),
        labels=np.concatenate([digits.test.labels] * 2),
    )
    found = evaluate(trained, twice, 16, evaluation(norm, RADII[norm], 1), 0, cpu).bits
    once = evaluate(trained, digits.test, 16, evaluation(norm, RADII[norm], 1), 0, cpu).bits
    assert found.shape == (4, 1000)
    assert np.array_equal(found[:, :500], once)
    assert np.array_equal(found[0, 500:], once[0])
    assert not np.array_equal(found[1:, 500:], once[1:])


def test_bits_have_a_row_for_clean_and_for_each_radius(
    trained: nn.Module, digits: Dataset, cpu: torch.device
) -> None:
    found = evaluate(trained, digits.test, 16, evaluation(), 0, cpu)
    assert found.bits.shape == (4, 500)
    assert found.bits.dtype == np.bool_
    assert (found.clean, found.robust) == accuracies(found.bits)
    assert found.clean > found.robust[0] > found.robust[1] > found.robust[2]


def test_a_row_does_not_depend_on_the_other_radii(
    trained: nn.Module, digits: Dataset, cpu: torch.device
) -> None:
    both = evaluate(trained, digits.test, 16, evaluation(radii=(0.03, 0.06)), 0, cpu)
    one = evaluate(trained, digits.test, 16, evaluation(radii=(0.06,)), 0, cpu)
    assert np.array_equal(both.bits[[0, 2]], one.bits)


@pytest.mark.parametrize(("norm", "other"), [("linf", "l2"), ("l2", "linf")])
def test_the_other_norm_is_judged_as_a_study_of_that_norm_is_from_other_noise(
    norm: str, other: str, trained: nn.Module, digits: Dataset, cpu: torch.device
) -> None:
    """From one stream the bits are those of an evaluation in that norm; the own bits stay."""
    few = Split(images=digits.test.images[:120], labels=digits.test.labels[:120])
    alone = evaluation(norm, RADII[norm], 2)
    both = replace(alone, other_norm_radii=RADII[other])
    found = evaluate(trained, few, 16, both, 0, cpu)
    assert np.array_equal(found.bits, evaluate(trained, few, 16, alone, 0, cpu).bits)

    view = evaluation_view(trained)
    rows = []
    for radius in RADII[other]:
        (batch,) = attacked_batches(
            view,
            few,
            16,
            norm=both.other_norm,
            radius=radius,
            attack=both.attack,
            stream=(0, OTHER_STREAM),
            device=cpu,
        )
        rows.append(batch.is_right.numpy())
    assert (found.other_bits != np.stack(rows)).sum() <= 1  # rounding may decide one at the border
    as_own = evaluate(trained, few, 16, evaluation(other, RADII[other], 2), 0, cpu)
    assert np.abs(np.subtract(found.other_robust, as_own.robust)).max() < 0.1
    assert not np.array_equal(found.other_bits, as_own.bits[1:])
    _, nested_too = accuracies(np.concatenate([found.bits[:1], found.other_bits]))
    assert found.other_robust == nested_too
    assert found.clean > found.other_robust[0] > found.other_robust[2]


def test_without_radii_of_the_other_norm_there_are_no_bits_of_it(
    trained: nn.Module, few_digits: Dataset, cpu: torch.device
) -> None:
    found = evaluate(trained, few_digits.test, 16, evaluation(), 0, cpu)
    assert found.other_bits.shape == (0, 40)
    assert found.other_robust == ()


def test_nested_accuracies_count_a_sample_once_it_is_broken() -> None:
    bits = np.array([[1, 1, 1, 0], [1, 0, 1, 1], [0, 1, 1, 1]], dtype=bool)
    assert nested(bits).tolist() == [[1, 1, 1, 0], [1, 0, 1, 0], [0, 0, 1, 0]]
    assert accuracies(bits) == (0.75, (0.5, 0.25))


def test_examples_show_what_the_attack_did(
    trained: nn.Module, digits: Dataset, cpu: torch.device
) -> None:
    judged = evaluation(radii=(0.1, 0.2))
    judged = replace(judged, objective_radius=0.1)
    found = adversarial_examples(trained, digits.test, 16, judged, 0, cpu, count=20)
    assert found.clean.shape == found.adversarial.shape == (20, 1, 8, 8)
    assert found.radius == 0.1
    assert np.abs(found.adversarial - found.clean).max() <= 0.1 * (1 + 1e-5)
    assert found.adversarial.min() >= 0
    assert found.adversarial.max() <= 1
    assert (found.adversarial_predictions != found.labels).sum() > (
        found.clean_predictions != found.labels
    ).sum()


def test_spread_takes_samples_from_the_whole_split(digits: Dataset) -> None:
    in_order = np.argsort(digits.train.labels, kind="stable")
    split = Split(images=digits.train.images[in_order], labels=digits.train.labels[in_order])
    few = spread(split, 100)
    assert np.abs(np.bincount(few.labels) - 10).max() <= 1
    assert np.array_equal(spread(split, 2000).images, split.images)
