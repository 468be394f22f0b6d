"""An own evaluation attack judges networks as ours do, and must stay within its threat model."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.parts import own, write_parts
from trainers.config import TrainConfig
from trainers.config.sources import PartError
from trainers.data.dataset import Dataset
from trainers.evaluation.evaluate import adversarial_examples, evaluate
from trainers.train import new_state

MORE = """\
import torch

def corners(classify, images, labels, radius):
    return (images + radius * torch.randn_like(images).sign()).clamp(0, 1)

def nothing(classify, images, labels, radius, norm):
    assert norm == "linf"
    return images

def too_far(classify, images, labels, radius):
    return (images + 1.1 * radius).clamp(0, 1)
"""
CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_parts(tmp_path, more=MORE)


def test_an_attack_that_does_nothing_finds_clean_accuracy(
    folder: Path, few_digits: Dataset, make_config: Callable[..., TrainConfig]
) -> None:
    config = make_config()
    model = new_state(config, few_digits, CPU).model
    judged = replace(config.evaluation, attack=own(folder, "attacks", "more:nothing"))
    found = evaluate(model, few_digits.test, few_digits.divisor, judged, 0, CPU)
    assert found.robust == (found.clean,) * 2


def test_an_own_attack_is_the_same_for_a_seed_and_leaves_global_randomness_alone(
    folder: Path, few_digits: Dataset, make_config: Callable[..., TrainConfig]
) -> None:
    config = make_config()
    model = new_state(config, few_digits, CPU).model
    judged = replace(config.evaluation, attack=own(folder, "attacks", "more:corners"))
    arguments = (model, few_digits.test, few_digits.divisor, judged)
    before = torch.get_rng_state()
    first = adversarial_examples(*arguments, 0, CPU)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    again, other = (
        adversarial_examples(*arguments, 0, CPU),
        adversarial_examples(*arguments, 1, CPU),
    )
    assert np.array_equal(first.adversarial, again.adversarial)
    assert not np.array_equal(first.adversarial, other.adversarial)


def test_an_attack_that_leaves_its_ball_is_refused_with_its_line(
    folder: Path, few_digits: Dataset, make_config: Callable[..., TrainConfig]
) -> None:
    config = make_config()
    model = new_state(config, few_digits, CPU).model
    judged = replace(config.evaluation, attack=own(folder, "attacks", "more:too_far"))
    with pytest.raises(
        PartError, match=r"more.py:10: too_far: must stay in the linf ball of radiu"
    ):
        evaluate(model, few_digits.test, few_digits.divisor, judged, 0, CPU)
