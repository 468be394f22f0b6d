"""Tests of the detectors: made-up histories on either side of every threshold."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from trainers.config import DETECTORS, Awp, FgsmRs, Method, NFgsm, Noise, Pgd, Sam, TrainConfig
from trainers.data.dataset import Dataset
from trainers.detectors import (
    HEADLINES,
    Detection,
    EpochMetrics,
    best_minus_last,
    detect,
    largest_fall,
    largest_share,
)
from trainers.train import detections

MakeConfig = Callable[..., TrainConfig]
FGSM = Method(inputs=FgsmRs(norm="linf", epsilon=0.1))
PGD = Method(inputs=Pgd(norm="linf", epsilon=0.1, steps=2))
NUM_VALIDATION = 1000


def history(**columns: Sequence[float]) -> list[EpochMetrics]:
    """Epochs of a healthy training, with the columns that a test wants to differ."""
    count = len(next(iter(columns.values())))
    healthy = {"train_loss": 1.0, "train_accuracy": 0.6, "clean": 0.7, "robust": 0.4}
    rows = {name: columns.get(name, [value] * count) for name, value in healthy.items()}
    return [
        EpochMetrics(
            epoch=number + 1,
            learning_rate=0.1,
            train_loss=rows["train_loss"][number],
            train_accuracy=rows["train_accuracy"][number],
            validation_clean=rows["clean"][number],
            validation_robust=rows["robust"][number],
            forward_passes=1,
            input_backward_passes=0,
            weight_backward_passes=1,
            seconds=1.0,
            validation_seconds=1.0,
            is_best=False,
            diverged=math.isnan(rows["robust"][number]),
        )
        for number in range(count)
    ]


def found(config: TrainConfig, epochs: list[EpochMetrics]) -> dict[str, int]:
    """Names of the detectors that found something among ten classes, each with its epoch."""
    seen = detect(config, 10, NUM_VALIDATION, 0.1, epochs)
    return {detection.name: detection.epoch for detection in seen}


def test_a_healthy_training_is_left_alone(make_config: MakeConfig) -> None:
    rising = [0.1, 0.2, 0.3, 0.4, 0.5, 0.5]
    for method in (Method(), FGSM, PGD):
        assert found(make_config(method, epochs=6), history(robust=rising, clean=rising)) == {}
        assert found(make_config(method, epochs=6), []) == {}


def test_divergence_always_ends(make_config: MakeConfig) -> None:
    nan = math.nan
    epochs = history(train_loss=[1.0, 8.5], robust=[0.4, nan], clean=[0.5, nan])
    [one] = detect(make_config(epochs=5, end_on=()), 10, NUM_VALIDATION, 0.1, epochs)
    expected = Detection(name="diverged", epoch=2, text="training loss 8.5", ends=True)
    assert one == expected
    assert one.reason == "diverged in epoch 2: training loss 8.5"


CHANCE = 2.3
LIMIT = 0.1 + 3 * math.sqrt(0.1 * 0.9 / NUM_VALIDATION)
STUCK = {
    # epochs, loss of all, clean accuracy of all: the epoch at which it is found
    "a fifth of the epochs": (40, CHANCE, 0.1, 8),
    "a fifth, rounded up": (41, CHANCE, 0.1, 9),
    "a short training has five epochs": (10, CHANCE, 0.1, 5),
    "loss just above": (40, 0.98 * math.log(10) + 1e-6, 0.1, 8),
    "loss just below": (40, 0.98 * math.log(10) - 1e-6, 0.1, None),
    "accuracy just below": (40, CHANCE, LIMIT - 1e-6, 8),
    "accuracy just above": (40, CHANCE, LIMIT + 1e-6, None),
    "a training of four epochs": (4, CHANCE, 0.1, None),
}


@pytest.mark.parametrize(("epochs", "loss", "clean", "epoch"), STUCK.values(), ids=STUCK)
def test_a_training_at_chance_is_stuck_after_a_fifth_of_its_epochs(
    epochs: int, loss: float, clean: float, epoch: int | None, make_config: MakeConfig
) -> None:
    made = history(train_loss=[loss] * epochs, clean=[clean] * epochs)
    expected = {} if epoch is None else {"stuck": epoch}
    assert found(make_config(epochs=epochs), made) == expected


def test_a_warm_up_delays_the_verdict(make_config: MakeConfig) -> None:
    made = history(train_loss=[CHANCE] * 30, clean=[0.1] * 30)
    slow = Pgd(norm="linf", epsilon=0.1, steps=2, warmup_epochs=12)
    assert found(make_config(Method(inputs=slow), epochs=30), made) == {"stuck": 13}
    late = Method(weights=Awp(gamma=0.01, warmup_epochs=20), inputs=slow)
    assert found(make_config(late, epochs=30), made) == {"stuck": 21}


def test_the_largest_class_is_no_achievement(make_config: MakeConfig) -> None:
    made = history(train_loss=[0.69] * 5, clean=[0.9] * 5)
    [one] = detect(make_config(epochs=5), 2, 100, 0.9, made)
    assert (one.name, one.epoch, one.ends) == ("stuck", 5, True)
    assert one.reason == (
        "stuck at chance in epoch 5: training loss 0.69 is above 0.98 ln 2 = 0.6793, and "
        "validation accuracy, at best 90.0%, was never above the largest class's 90.0% by 3 "
        "standard errors of 3.0%"
    )
    assert detect(make_config(epochs=5), 2, 100, 0.5, made) == ()
    assert largest_share(np.array([2, 0, 2, 2])) == 0.75


def test_one_epoch_above_chance_is_no_standstill(make_config: MakeConfig) -> None:
    for lucky in (0, 3, 4):
        clean = [0.1] * 5
        clean[lucky] = 0.2
        assert found(make_config(epochs=5), history(train_loss=[CHANCE] * 5, clean=clean)) == {}


FALLS = {
    # robust accuracy and training accuracy of three epochs: whether it is found, in the third
    "robust falls, training rises": ([0.3, 0.4, 0.15], [0.5, 0.6, 0.7], True),
    "robust falls, training stays": ([0.3, 0.4, 0.15], [0.5, 0.6, 0.6], True),
    "training falls by just less than half": ([0.3, 0.4, 0.15], [0.5, 0.6, 0.476], True),
    "training falls by just more than half": ([0.3, 0.4, 0.15], [0.5, 0.6, 0.474], False),
    "a fall of less than 20 points": ([0.3, 0.4, 0.201], [0.5, 0.6, 0.7], False),
    "a fall of 25 points over two epochs": ([0.45, 0.32, 0.2], [0.5, 0.6, 0.7], False),
}


@pytest.mark.parametrize(("robust", "train", "is_found"), FALLS.values(), ids=FALLS)
def test_catastrophic_overfitting_is_a_fall_that_training_does_not_follow(
    robust: list[float], train: list[float], is_found: bool, make_config: MakeConfig
) -> None:
    made = history(robust=robust, train_accuracy=train)
    expected = {"catastrophic_overfitting": 3} if is_found else {}
    assert found(make_config(FGSM), made) == expected


def test_catastrophic_overfitting_needs_a_single_step(make_config: MakeConfig) -> None:
    made = history(robust=[0.5, 0.1], train_accuracy=[0.5, 0.6])
    one_step = Pgd(norm="linf", epsilon=0.1, steps=1)
    for inputs in (FgsmRs(norm="linf", epsilon=0.1), NFgsm(norm="l2", epsilon=0.5), one_step):
        method = Method(weights=Sam(rho=0.1), inputs=inputs)
        assert found(make_config(method), made) == {"catastrophic_overfitting": 2}
    for method in (Method(), PGD, Method(inputs=Noise(sigma=0.1))):
        assert found(make_config(method), made) == {}


def test_overfitting_is_looked_for_only_where_images_are_crafted(make_config: MakeConfig) -> None:
    """Robust accuracy falls after the last crafted image, and may differ before the first one."""
    sudden = history(robust=[0.5, 0.5, 0.1, 0.1], train_accuracy=[0.5, 0.6, 0.7, 0.7])
    lasting = history(**overfitting(0.1, lasting=8))
    for active, expected in (
        ((0.0, 1.0), [{"catastrophic_overfitting": 3}, {"robust_overfitting": 17}]),
        ((0.0, 0.5), [{}, {}]),
        ((0.5, 1.0), [{}, {"robust_overfitting": 17}]),
        ((0.6, 1.0), [{}, {}]),
    ):
        methods = [
            Method(inputs=FgsmRs(norm="linf", epsilon=0.1, active=active)),
            Method(inputs=Pgd(norm="linf", epsilon=0.1, steps=2, active=active)),
        ]
        pairs = zip(methods, (4, 20), (sudden, lasting), strict=True)
        assert [found(make_config(m, epochs=e), made) for m, e, made in pairs] == expected, active


def overfitting(gap: float, epochs: int = 20, lasting: int = 5) -> dict[str, list[float]]:
    """Robust accuracy 0.5 in one epoch, less by `gap` in those after it."""
    before = [0.4] * (epochs - lasting - 1)
    robust = [*before, 0.5, *[0.5 - gap] * lasting]
    return {"robust": robust, "train_accuracy": [0.3 + 0.01 * i for i in range(epochs)]}


def test_robust_overfitting_is_a_lasting_gap_beyond_its_errors(make_config: MakeConfig) -> None:
    config = make_config(PGD, epochs=20)
    low = 0.5 - 0.0446
    error = math.sqrt((0.5 * 0.5 + low * (1 - low)) / NUM_VALIDATION)
    assert 2 * error == pytest.approx(0.0446, abs=1e-4)
    assert found(config, history(**overfitting(0.044))) == {}
    assert found(config, history(**overfitting(0.045))) == {"robust_overfitting": 20}
    assert found(config, history(**overfitting(0.1, lasting=4))) == {}
    assert found(config, history(**overfitting(0.1, lasting=8))) == {"robust_overfitting": 17}


def test_a_gap_that_closes_in_between_counts_anew(make_config: MakeConfig) -> None:
    made = overfitting(0.1, lasting=9)
    made["robust"][-5] = 0.49
    assert found(make_config(PGD, epochs=20), history(**made)) == {}


def test_two_points_are_the_least_gap_however_many_images(make_config: MakeConfig) -> None:
    config = make_config(PGD, epochs=20)
    for gap, names in ((0.019, []), (0.021, ["robust_overfitting"])):
        seen = detect(config, 10, 10**6, 0.1, history(**overfitting(gap)))
        assert [one.name for one in seen] == names


def test_robust_overfitting_lasts_longer_in_a_longer_training(make_config: MakeConfig) -> None:
    config = make_config(PGD, epochs=200)
    made = history(**overfitting(0.1, epochs=60, lasting=30))
    assert found(config, made) == {"robust_overfitting": 50}


def test_robust_overfitting_needs_crafted_images_that_are_learnt(make_config: MakeConfig) -> None:
    made = overfitting(0.1)
    assert found(make_config(PGD, epochs=20), history(**made)) == {"robust_overfitting": 20}
    for method in (Method(), Method(weights=Sam(rho=0.1)), Method(inputs=Noise(sigma=0.1))):
        assert found(make_config(method, epochs=20), history(**made)) == {}
    flat = made | {"train_accuracy": [0.5] * 20}
    assert found(make_config(PGD, epochs=20), history(**flat)) == {}


def test_a_study_says_which_detections_end_a_training(make_config: MakeConfig) -> None:
    made = history(
        train_loss=[CHANCE] * 9,
        clean=[0.1] * 9,
        robust=[0.5, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1],
        train_accuracy=[0.5, *[0.6] * 8],
    )

    def ending(**training: Any) -> list[str]:
        config = make_config(FGSM, epochs=9, **training)
        seen = detect(config, 10, NUM_VALIDATION, 0.1, made)
        assert [one.epoch for one in seen] == [2, 5, 6]
        assert {one.name for one in seen} == set(DETECTORS)
        return [one.name for one in seen if one.ends]

    assert ending() == ["stuck"]
    assert ending(end_on=()) == []
    assert ending(end_on=("robust_overfitting",)) == ["robust_overfitting"]
    assert ending(end_on=DETECTORS) == ["catastrophic_overfitting", "stuck", "robust_overfitting"]


def test_what_is_found_once_is_found_ever_after(make_config: MakeConfig) -> None:
    config = make_config(FGSM, epochs=30)
    robust = [0.1, 0.5, 0.2, 0.3, 0.2, 0.3, 0.4, 0.6, 0.1, 0.1, 0.1, 0.6]
    rising = [0.05 * i for i in range(12)]
    made = history(robust=robust, train_accuracy=rising, train_loss=[CHANCE] * 12)
    before: tuple[Detection, ...] = ()
    for count in range(13):
        now = detect(config, 10, NUM_VALIDATION, 0.1, made[:count])
        assert now[: len(before)] == before, count
        before = now
    assert {one.name for one in before} == {"catastrophic_overfitting", "robust_overfitting"}


def test_every_detector_has_a_headline() -> None:
    assert {*HEADLINES} == {"diverged", *DETECTORS}


def test_falls_and_gaps_are_measured_whatever_the_method() -> None:
    made = history(robust=[0.2, 0.5, 0.4, 0.1, 0.3])
    assert largest_fall(made) == pytest.approx(0.3)
    assert best_minus_last(made) == pytest.approx(0.2)
    assert (largest_fall(made[:2]), best_minus_last(made[:2])) == (0.0, 0.0)
    assert (largest_fall([]), best_minus_last([])) == (0.0, 0.0)
    diverged = [*made[:4], *history(robust=[math.nan])]
    assert (largest_fall(diverged), best_minus_last(diverged)) == (
        largest_fall(made[:4]),
        best_minus_last(made[:4]),
    )


def test_chance_is_that_of_the_validation_images(
    make_config: MakeConfig, few_digits: Dataset
) -> None:
    labels = few_digits.validation.labels
    config = make_config(epochs=5)
    made = history(train_loss=[CHANCE] * 5, clean=[0.25] * 5)
    assert detections(config, few_digits, made) == detect(
        config, 10, 40, max((labels == label).mean() for label in range(10)), made
    )
    assert [one.name for one in detections(config, few_digits, made)] == ["stuck"]
    assert detect(config, 10, 4000, largest_share(labels), made) == ()
