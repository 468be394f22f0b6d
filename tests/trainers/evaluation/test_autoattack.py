"""Tests of AutoAttack's adapter: it equals a direct call, sample by sample, and leaves no trace."""

import math
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyautoattack
import pytest
import torch
from torch import Tensor, nn

from trainers.config import ConfigError, TrainConfig
from trainers.data.dataset import Dataset
from trainers.data.subset import Split
from trainers.engine.engine import Engine, classifier
from trainers.evaluation.autoattack import (
    AttackError,
    AutoAttacked,
    attack_name,
    attacks_for,
    autoattack,
    check_images,
)
from trainers.networks.build import evaluation_view
from trainers.train import new_state, train

CPU = torch.device("cpu")
DIRECT_NORMS = {"linf": "Linf", "l2": "L2"}
LONG = pytest.mark.skipif(
    os.environ.get("RHOEPS_FULL_COVERAGE") != "1", reason="RHOEPS_FULL_COVERAGE=1 runs it"
)
"""Of cases that are long, and of which a short one is beside them."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A trained network beside a few samples, as images in [0, 1] too."""

    model: nn.Module
    split: Split
    images: Tensor
    labels: Tensor

    def attack(self, norm: str = "linf", radius: float = 0.06, **options: object) -> AutoAttacked:
        settings = {"norm": norm, "radius": radius, "seed": 3, "device": CPU} | options
        return autoattack(self.model, self.split, 16, **settings)  # type: ignore[arg-type]


def case_of(model: nn.Module, split: Split) -> Case:
    images = torch.tensor(split.images).float() / 16
    return Case(model=model, split=split, images=images, labels=torch.tensor(split.labels))


@pytest.fixture(scope="module")
def make_case(digits: Dataset, make_config: Callable[..., TrainConfig]) -> Callable[[int], Case]:
    """Train on the first classes for four epochs; 20 samples of theirs, three mislabelled."""

    def make(classes: int) -> Case:
        def part(split: Split) -> Split:
            index = split.labels < classes
            return Split(images=split.images[index], labels=split.labels[index])

        data = replace(
            digits,
            classes=digits.classes[:classes],
            train=part(digits.train),
            validation=part(digits.validation),
        )
        config = make_config(epochs=4)
        state = new_state(config, data, CPU)
        list(train(config, data, CPU, state))
        few = part(digits.test)
        few = Split(images=few.images[:20], labels=few.labels[:20].copy())
        few.labels[[2, 5, 11]] = (few.labels[[2, 5, 11]] + 1) % classes
        return case_of(state.model, few)

    return make


@pytest.fixture(scope="module")
def case(make_case: Callable[[int], Case]) -> Case:
    return make_case(10)


def direct(
    case: Case, norm: str, radius: float, batch_size: int, attacks: list[str] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Call pyautoattack as its documentation says; the bits and images that it reports."""
    view = classifier(case.model, case.split.images.shape[1:], CPU, Engine())
    version = "standard" if attacks is None else "custom"
    adversary = pyautoattack.AutoAttack(
        view, norm=DIRECT_NORMS[norm], eps=radius, seed=3, version=version, attacks=attacks
    )
    num_classes = view(case.images[:1]).shape[1]
    if num_classes < 10:
        adversary.apgd_targeted.n_target_classes = num_classes - 1
        adversary.fab.n_target_classes = num_classes - 1
    with torch.random.fork_rng(devices=[]):
        images, predicted = adversary.run_standard_evaluation(
            case.images, case.labels, batch_size=batch_size
        )
    return (predicted == case.labels).numpy(), images.numpy()


@pytest.mark.parametrize(
    ("norm", "radius", "batch_size"),
    [
        pytest.param("linf", 0.12, 12, id="linf, two batches, the last one short"),
        pytest.param("l2", 0.55, 6, id="l2, four batches"),
        # Square, of which the next test has a case that always runs.
        pytest.param("linf", 0.06, 12, id="linf, Square too", marks=LONG),
        pytest.param("l2", 0.4, 20, id="l2, Square too", marks=LONG),
    ],
)
def test_ten_classes_equal_a_direct_call_sample_by_sample(
    norm: str, radius: float, batch_size: int, case: Case
) -> None:
    found = case.attack(norm, radius, batch_size=batch_size)
    bits, images = direct(case, norm, radius, batch_size)
    assert found.attacks == ("apgd-ce", "apgd-t", "fab-t", "square")
    assert np.array_equal(found.bits[-1], bits)
    assert np.array_equal(found.images, np.where(bits[:, None, None, None], case.images, images))
    check_rows(found, case, norm, radius)


def check_rows(found: AutoAttacked, case: Case, norm: str, radius: float) -> None:
    """Rows only fall; the first and the last are the network's; images lie in ball and box."""
    assert found.bits.shape == (1 + len(found.attacks), len(case.labels))
    assert (found.bits[:-1] >= found.bits[1:]).all()
    assert found.bits[0].sum() > found.bits[1].sum()
    view = evaluation_view(case.model)
    with torch.no_grad():
        for row, images in ((0, case.images), (-1, torch.tensor(found.images))):
            is_right = view(images).argmax(1) == case.labels
            assert np.array_equal(found.bits[row], is_right.numpy())
    offsets = (found.images - case.images.numpy()).reshape(len(case.labels), -1)
    sizes = np.abs(offsets).max(1) if norm == "linf" else np.linalg.norm(offsets, axis=1)
    assert sizes.max() <= radius * (1 + 1e-5)
    assert 0.5 * radius < sizes.max()
    assert found.images.dtype == np.float32
    assert found.images.min() >= 0
    assert found.images.max() <= 1


@pytest.mark.parametrize(
    ("classes", "radius", "attacks"),
    [
        pytest.param(4, 0.14, None, id="4 classes"),
        pytest.param(3, 0.12, ["apgd-ce", "fab", "square"], id="3 classes"),
        pytest.param(2, 0.25, ["apgd-ce", "fab", "square"], id="2 classes", marks=LONG),
    ],
)
def test_fewer_than_ten_classes_equal_a_direct_call_sample_by_sample(
    classes: int, radius: float, attacks: list[str] | None, make_case: Callable[[int], Case]
) -> None:
    case = make_case(classes)
    found = case.attack(radius=radius)
    bits, images = direct(case, "linf", radius, 500, attacks)
    assert found.attacks == attacks_for(classes)
    assert np.array_equal(found.bits[-1], bits)
    assert np.array_equal(found.images, np.where(bits[:, None, None, None], case.images, images))
    check_rows(found, case, "linf", radius)


def test_only_four_classes_and_more_are_called_autoattack() -> None:
    assert [attack_name(classes) for classes in (4, 10, 100)] == ["AutoAttack"] * 3
    assert {attack_name(classes) for classes in (2, 3)} == {"APGD-CE, FAB, Square"}
    with pytest.raises(ConfigError, match="whole number ≥ 2, got 1"):
        attack_name(1)


def test_a_row_is_what_its_attack_leaves_when_it_comes_first(case: Case) -> None:
    """Batches of all samples that are right: the first attack does not see what comes after."""
    both = case.attack(attacks=("apgd-ce", "apgd-t"))
    one = case.attack(attacks=("apgd-ce",))
    assert np.array_equal(both.bits[:2], one.bits)
    assert both.log.startswith(one.log.partition("(total time")[0])
    assert "apgd-t on the" in both.log


def test_square_alone_is_run_alone(case: Case) -> None:
    found = case.attack(radius=0.35, attacks=("square",))
    assert found.attacks == ("square",)
    assert "SQUARE" in found.log
    assert "APGD" not in found.log
    check_rows(found, case, "linf", 0.35)
    assert found.bits[1].sum() <= 1


def test_another_seed_draws_other_noise_and_the_same_seed_the_same(case: Case) -> None:
    one, same, other = (case.attack(seed=seed, attacks=("apgd-ce",)).images for seed in (3, 3, 4))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_where_nothing_is_right_nothing_is_attacked(case: Case) -> None:
    predicted = evaluation_view(case.model)(case.images).argmax(1).numpy()
    wrong = case_of(case.model, Split(images=case.split.images, labels=(predicted + 1) % 10))
    found = wrong.attack()
    assert found.bits.shape == (5, 20)
    assert not found.bits.any()
    assert np.array_equal(found.images, case.images.numpy())
    assert found.log == ""


def test_attacking_leaves_no_trace(
    case: Case,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Neither in the network, nor in global random states, tracing, files or what is printed."""
    monkeypatch.chdir(tmp_path)
    case.model.train()
    before = {name: tensor.clone() for name, tensor in case.model.state_dict().items()}
    for weight in case.model.parameters():
        weight.grad = torch.full_like(weight, 0.5)
    torch.manual_seed(7)
    random_state, numpy_state = torch.get_rng_state(), str(np.random.get_state())  # noqa: NPY002
    traced: list[str] = []

    def trace(frame: object, event: str, argument: object) -> None:
        traced.append(event)

    earlier = sys.gettrace()
    sys.settrace(trace)
    try:
        found = case.attack(radius=0.2, engine=Engine(narrow=False))
        assert sys.gettrace() is trace
    finally:
        sys.settrace(earlier)
    assert found.bits[-1].sum() == 0
    assert "call" in traced
    assert torch.equal(torch.get_rng_state(), random_state)
    assert str(np.random.get_state()) == numpy_state  # noqa: NPY002
    assert all(module.training for module in case.model.modules())
    for name, tensor in case.model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    for weight in case.model.parameters():
        assert weight.requires_grad
        assert (weight.grad == 0.5).all()  # type: ignore[union-attr]
        weight.grad = None
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_a_network_with_gradients_that_are_no_numbers_is_refused(case: Case) -> None:
    """Its logits are finite, so that the images are the first to tell."""

    class WithoutGradient(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            nothing = (0 * images).abs().sqrt().flatten(1).sum(1, keepdim=True)
            return nn.functional.one_hot(torch.tensor([4]), 10) + nothing

    labels = np.full_like(case.split.labels, 4)
    broken = case_of(WithoutGradient(), Split(images=case.split.images, labels=labels))
    with pytest.raises(AttackError, match=r"apgd-ce: 20 of 20 .* must be finite, got nan"):
        broken.attack("l2", attacks=("apgd-ce",))


HALF = torch.full((3, 1, 2, 2), 0.5)


@pytest.mark.parametrize(
    ("value", "norm", "rule"),
    [
        pytest.param(0.5 + 0.1001, "linf", "must lie within 0.1 in linf, got 0.100", id="ball"),
        pytest.param(0.5 + 0.1001, "l2", "must lie within 0.1 in l2, got 0.100", id="l2 ball"),
        pytest.param(-1e-6, "linf", "no value may lie below 0", id="below the box"),
        pytest.param(1 + 1e-6, "linf", "no value may lie above 1", id="above the box"),
        pytest.param(math.nan, "linf", "every value must be finite", id="NaN"),
        pytest.param(math.inf, "linf", "every value must be finite", id="infinite"),
    ],
)
def test_images_outside_the_threat_model_are_refused(value: float, norm: str, rule: str) -> None:
    found = HALF.clone()
    found[1, 0, 1, 0] = value
    with pytest.raises(AttackError, match=f"an attack: 1 of 3 returned images: {rule}"):
        check_images(found, HALF, norm, 0.1, "an attack")  # type: ignore[arg-type]


@pytest.mark.parametrize("radius", [0.0003, 0.1, 0.4999])
def test_images_on_the_border_of_the_ball_are_let_through(radius: float) -> None:
    clean = torch.rand(50, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    corner = (clean + radius * torch.where(clean < 0.5, 1.0, -1.0)).clamp(0, 1)
    check_images(corner, clean, "linf", radius, "an attack")
    clean = 0.25 + clean / 2
    along = torch.randn(50, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    along = radius * along / along.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    check_images(clean + along, clean, "l2", radius, "an attack")


@pytest.mark.parametrize(
    ("classes", "options", "message"),
    [
        ("10", {"attacks": ("pgd",)}, "attacks: each must be one of apgd-ce, .*got 'pgd'"),
        ("10", {"attacks": ()}, "attacks: needs at least one"),
        ("10", {"attacks": ("square", "square")}, "attacks: must name each once"),
        ("10", {"radius": 0.0}, "radius: must be > 0, got 0"),
        ("10", {"radius": math.nan}, "radius: must be > 0, got nan"),
        ("10", {"norm": "l1"}, "norm: must be one of linf, l2, got 'l1'"),
        ("10", {"batch_size": 0}, "batch_size: must be a whole number ≥ 1"),
        ("3", {"attacks": ("apgd-t",)}, "apgd-t needs at least 4 classes; leave it out, got 3"),
        ("2", {"attacks": ("apgd-dlr",)}, "apgd-dlr needs at least 3 classes; leave it out, got 2"),
    ],
)
def test_what_cannot_be_run_is_refused(
    classes: str, options: dict[str, object], message: str, case: Case
) -> None:
    class Constant(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.zeros(len(images), int(classes))

    with pytest.raises(ConfigError, match=message):
        case_of(Constant(), case.split).attack(**options)  # type: ignore[arg-type]
