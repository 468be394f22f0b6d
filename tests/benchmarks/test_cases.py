"""Tests of what the benchmarks train."""

import cases
import numpy as np
import pytest
import train_step
from cases import Case

from trainers.config import (
    AdaptiveGsam,
    EigenSam,
    Esam,
    FSam,
    LookSam,
    Msam,
    NoInputs,
    NoWeights,
    Pgd,
    Sam,
)

SIDES = {
    "standard": (NoWeights(), NoInputs()),
    "sam": (Sam(rho=0.2), NoInputs()),
    "look_sam_5": (LookSam(rho=0.2, every=5), NoInputs()),
    "esam": (Esam(rho=0.2), NoInputs()),
    "f_sam": (FSam(rho=0.2), NoInputs()),
    "msam": (Msam(rho=0.2), NoInputs()),
    "eigen_sam": (EigenSam(rho=0.2), NoInputs()),
    "adaptive_gsam": (AdaptiveGsam(rho=0.2), NoInputs()),
    "at_4": (NoWeights(), Pgd(norm="linf", epsilon=0.1, steps=4)),
    "at_10": (NoWeights(), Pgd(norm="linf", epsilon=0.1, steps=10)),
    "sam_at_10": (Sam(rho=0.2), Pgd(norm="linf", epsilon=0.1, steps=10)),
}


@pytest.mark.parametrize("method", cases.METHODS)
def test_a_method_is_named_by_its_sides(method: str, digits_case: Case) -> None:
    config = digits_case.config(method, seed=3, epochs=7)
    assert (config.method.weights, config.method.inputs) == SIDES[method]
    assert (config.seed, config.training.epochs) == (3, 7)


def test_synthetic_images_tell_their_class() -> None:
    data = cases.synthetic(200)
    assert [len(part.labels) for part in (data.train, data.validation, data.test)] == [200, 20, 40]
    images, labels = data.train.images.astype(float), data.train.labels
    means = np.stack([images[labels == label].mean(axis=0) for label in range(10)])
    tests = data.test.images.astype(float)
    distances = ((tests[:, None] - means) ** 2).sum(axis=(2, 3, 4))
    assert (distances.argmin(axis=1) == data.test.labels).mean() > 0.9


def test_a_quick_run_leaves_recorded_results_alone() -> None:
    parser = cases.options("")
    assert cases.read_output(parser.parse_args(["--quick"])) is None
    assert cases.read_output(parser.parse_args([])) == cases.HERE


def test_operations_are_those_of_the_convolutions(digits_case: Case) -> None:
    width, size = digits_case.model.width, 8 * 8
    first = 2 * 9 * width * size
    second, third = 2 * 9 * width * 2 * width * size, 2 * 9 * 4 * width**2 * size / 4
    last = 2 * 2 * width * 10
    counted = train_step.pass_flops(digits_case)
    assert counted["inputs"] == 2 * (first + second + third + last)
    assert counted["training"] == 3 * (second + third + last) + 2 * first
    steps = {name: train_step.step_flops(digits_case, name, counted) for name in cases.METHODS}
    assert steps["sam"] == 2 * steps["standard"]
    assert steps["msam"] == steps["standard"]
    assert steps["esam"] == pytest.approx((1.5 + 1 / 3) * steps["standard"])
    assert steps["sam_at_10"] == steps["sam"] + 10 * counted["inputs"]
