"""Tests that the baseline is correct: being faster than a broken loop would mean nothing."""

import copy
import math
from dataclasses import replace

import baseline
import baseline_evaluation
import baseline_step
import numpy as np
import pytest
import torch
from baseline import evaluate_baseline, make_loader, new_baseline, train_baseline
from cases import Case
from torch import Tensor, nn

from trainers.config import Method, Norm, Pgd, PgdAttack, Sam
from trainers.evaluation import evaluate, pgd
from trainers.train import new_state

CPU = torch.device("cpu")
EPSILONS: dict[Norm, float] = {"linf": 0.1, "l2": 0.5}


def trained(case: Case, method: str = "standard", epochs: int = 5) -> nn.Module:
    state = new_baseline(case.config(method, epochs=epochs), case.data, CPU)
    for _ in train_baseline(case.config(method, epochs=epochs), case.data, CPU, state=state):
        pass
    return state.model


def batch(case: Case) -> tuple[Tensor, Tensor]:
    images = torch.tensor(case.data.validation.images).float() / case.data.divisor
    return images, torch.tensor(case.data.validation.labels)


def lengths(offset: Tensor, norm: Norm) -> Tensor:
    return offset.flatten(1).norm(dim=1, p=math.inf if norm == "linf" else 2)


@pytest.mark.parametrize("name", ["digits_case", "colour_case"])
def test_images_are_loaded_as_their_stored_values(
    name: str, request: pytest.FixtureRequest
) -> None:
    case: Case = request.getfixturevalue(name)
    ((images, labels),) = make_loader(case.data.validation, case.data, CPU)
    expected, expected_labels = batch(case)
    torch.testing.assert_close(images, expected, rtol=0, atol=1e-6)
    assert images.is_contiguous()
    assert labels.tolist() == expected_labels.tolist()


def test_an_epoch_has_every_image_once_and_digits_as_they_are(digits_case: Case) -> None:
    split = digits_case.data.train
    torch.manual_seed(0)
    batches = list(make_loader(split, digits_case.data, CPU, batch_size=32))
    assert [len(labels) for _, labels in batches] == [32, 32, 16]
    seen = torch.cat([images for images, _ in batches]).mul(16).round().to(torch.uint8)
    assert sorted(map(bytes, seen.numpy())) == sorted(map(bytes, split.images))


def test_colour_images_are_crops_of_their_reflection(colour_case: Case) -> None:
    split = colour_case.data.train
    one = replace(split, images=split.images[:1], labels=split.labels[:1])
    padded = np.pad(one.images[0], ((0, 0), (4, 4), (4, 4)), mode="reflect")
    crops = set()
    for top in range(9):
        for left in range(9):
            crop = padded[:, top : top + 32, left : left + 32]
            crops |= {crop.tobytes(), crop[:, :, ::-1].tobytes()}
    torch.manual_seed(0)
    loader = make_loader(one, colour_case.data, CPU, batch_size=1)
    drawn = {
        images[0].mul(255).round().to(torch.uint8).numpy().tobytes()
        for _ in range(20)
        for images, _ in loader
    }
    assert len(drawn) > 10
    assert drawn <= crops


def test_sam_climbs_by_rho_along_the_gradient_and_returns() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    before = [weight.detach().clone() for weight in model.parameters()]
    model(torch.tensor([[1.0, -2.0]])).sum().backward()
    gradient = torch.cat([weight.grad.flatten() for weight in model.parameters()])
    old = baseline_step.first_step(model, 0.3)
    moved = torch.cat(
        [
            (weight - start).flatten()
            for weight, start in zip(model.parameters(), before, strict=True)
        ]
    )
    torch.testing.assert_close(moved.detach(), 0.3 * gradient / gradient.norm())
    baseline_step.second_step(model, old)
    for weight, start in zip(model.parameters(), before, strict=True):
        assert torch.equal(weight, start)


def test_the_second_pass_of_sam_leaves_batch_statistics_alone(digits_case: Case) -> None:
    images, labels = batch(digits_case)
    statistics = []
    for sides in (Method(), Method(weights=Sam(rho=2.0))):
        state = new_baseline(digits_case.config("standard"), digits_case.data, CPU)
        model, optimizer = state.model, state.optimizer
        baseline_step.baseline_step(model, optimizer, sides, images, images, labels)
        norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
        statistics.append(torch.cat([norm.running_mean for norm in norms]))
        assert all(norm.momentum == 0.1 for norm in norms)
    assert torch.equal(*statistics)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_an_attack_stays_in_ball_and_box_and_leaves_no_gradient(
    norm: Norm, digits_case: Case
) -> None:
    model, (images, labels) = trained(digits_case), batch(digits_case)
    side = Pgd(norm=norm, epsilon=EPSILONS[norm], steps=4)
    buffers = copy.deepcopy(dict(model.named_buffers()))
    start = baseline_step.random_start(images, norm, side.epsilon)
    crafted = baseline_step.pgd(model, images, start, labels, side)
    for tried in (start, crafted):
        assert float(lengths(tried - images, norm).max()) <= side.epsilon + 1e-6
        assert float(tried.min()) >= 0
        assert float(tried.max()) <= 1
    assert all(weight.grad is None for weight in model.parameters())
    assert all(torch.equal(tensor, buffers[name]) for name, tensor in model.named_buffers())
    with torch.no_grad():
        raised = [nn.functional.cross_entropy(model(x), labels).item() for x in (crafted, start)]
    assert raised[0] > raised[1]


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_starts_fill_the_ball(norm: Norm) -> None:
    torch.manual_seed(0)
    images = torch.full((4000, 1, 2, 2), 0.5)
    distances = lengths(baseline_step.random_start(images, norm, 0.2) - images, norm) / 0.2
    assert float(distances.max()) <= 1 + 1e-6
    assert float(distances.pow(4).mean()) == pytest.approx(0.5, abs=0.02)  # uniform in volume


@pytest.mark.parametrize("method", ["sam", "at_4"])
def test_a_radius_of_zero_is_standard_training(method: str, digits_case: Case) -> None:
    case = replace(digits_case, rho=0.0, epsilon=0.0)
    for kept in ("standard", method):
        state = new_baseline(case.config(kept), case.data, CPU)
        images, labels = batch(case)
        sides = case.config(kept).method
        baseline_step.baseline_step(state.model, state.optimizer, sides, images, images, labels)
        weights = torch.cat([weight.detach().flatten() for weight in state.model.parameters()])
        if kept == "standard":
            expected = weights
    torch.testing.assert_close(weights, expected, rtol=0, atol=1e-6)


def test_clean_bits_are_those_of_our_evaluation(digits_case: Case) -> None:
    model, data = trained(digits_case, epochs=15), digits_case.data
    threat = digits_case.evaluation
    theirs = evaluate_baseline(model, data.test, data, threat, CPU)
    same = new_state(digits_case.config("standard"), data, CPU).model
    same.load_state_dict(model.state_dict())
    ours = evaluate.evaluate(same, data.test, data.divisor, threat, 0, CPU)
    assert theirs.bits.shape == ours.bits.shape
    assert np.array_equal(theirs.bits[0], ours.bits[0])
    assert theirs.clean == ours.clean
    assert theirs.robust == pytest.approx(ours.robust, abs=0.1)  # other random starts
    assert theirs.robust == tuple(sorted(theirs.robust, reverse=True))


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_attacked_bits_are_ours_on_the_same_starts(norm: Norm, digits_case: Case) -> None:
    model, (images, labels) = trained(digits_case, epochs=15).eval(), batch(digits_case)
    attack, radius = PgdAttack(steps=5, restarts=2), EPSILONS[norm] / 2
    torch.manual_seed(3)
    theirs = baseline_evaluation.survives(model, images, labels, norm, radius, attack)
    torch.manual_seed(3)
    noise = [
        (baseline_step.random_start(images * 0 + 0.5, norm, 0.5) - 0.5) / 0.5 for _ in range(2)
    ]
    if norm == "l2":  # drawn to the border of the unit ball, and no further
        assert max(float(lengths(one, norm).max()) for one in noise) <= 1 + 1e-6
    ours = pgd.pgd(
        model,
        images,
        labels,
        norm=norm,
        radius=radius,
        attack=attack,
        draw=noise.__getitem__,
    ).is_right
    assert 5 <= int(ours.sum()) <= len(labels) - 5
    assert int((ours != theirs).sum()) <= 1  # rounding may decide one


def test_radius_zero_leaves_the_clean_bits(digits_case: Case) -> None:
    model, data = trained(digits_case), digits_case.data
    loader = make_loader(data.test, data, CPU)
    attack = PgdAttack(steps=3, restarts=2)
    clean, attacked = baseline_evaluation.find_bits(model, loader, "linf", [(0.0, attack)], CPU)
    assert np.array_equal(clean, attacked)


def test_more_restarts_never_raise_accuracy(digits_case: Case) -> None:
    model, (images, labels) = trained(digits_case).eval(), batch(digits_case)
    kept = []
    for restarts in (1, 3):
        torch.manual_seed(5)
        attack = PgdAttack(steps=3, restarts=restarts)
        kept.append(baseline_evaluation.survives(model, images, labels, "linf", 0.1, attack))
    assert not bool((kept[1] & ~kept[0]).any())


def test_training_lowers_the_loss_and_keeps_the_best_epoch(digits_case: Case) -> None:
    config = digits_case.config("sam_at_10", epochs=6)
    state = new_baseline(config, digits_case.data, CPU)
    epochs = list(train_baseline(config, digits_case.data, CPU, state=state))
    assert [epoch["epoch"] for epoch in epochs] == list(range(1, 7))
    assert epochs[-1]["train_loss"] < epochs[0]["train_loss"]
    scores = [(epoch["validation_clean"] + epoch["validation_robust"]) / 2 for epoch in epochs]
    assert state.best_score == max(scores)
    assert state.best_weights.keys() == state.model.state_dict().keys()
    assert state.optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-9)


def test_a_trial_evaluates_both_checkpoints(digits_case: Case) -> None:
    config = digits_case.config("standard", epochs=1)
    found = baseline.baseline_trial(config, digits_case.data, CPU)
    assert found.keys() == {"last_clean", "last_robust", "best_clean", "best_robust"}
    assert found["last_clean"] == found["best_clean"]  # of the one epoch
