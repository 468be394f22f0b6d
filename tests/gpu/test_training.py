"""Tests of the training on a GPU: the host never waits within an epoch, and runs repeat exactly."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from trainers import train as training
from trainers.checkpoint import load_state, save_state
from trainers.config import (
    Asam,
    Awp,
    Gsam,
    InputSide,
    Mart,
    Method,
    NFgsm,
    Noise,
    Pgd,
    Sam,
    Trades,
    TrainConfig,
    WeightSide,
)
from trainers.data.dataset import Dataset
from trainers.detectors import EpochMetrics
from trainers.engine.engine import PLAIN, Engine, repeatable
from trainers.evaluation.evaluate import evaluate
from trainers.train import new_state, train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]
MakeConfig = Callable[..., TrainConfig]
GPU = torch.device("cuda")
LINF = Pgd(norm="linf", epsilon=0.1, steps=2)
L2 = Pgd(norm="l2", epsilon=0.1, steps=2)
METHODS = {
    "sam and at": Method(weights=Sam(rho=0.2), inputs=LINF),
    "sam and at l2": Method(weights=Sam(rho=0.2), inputs=L2),
    "gsam and trades": Method(weights=Gsam(rho=0.2), inputs=LINF, loss=Trades()),
    "awp and mart l2": Method(weights=Awp(gamma=0.01), inputs=L2, loss=Mart()),
    "asam and n_fgsm": Method(weights=Asam(rho=0.5), inputs=NFgsm(norm="linf", epsilon=0.1)),
    "noise": Method(inputs=Noise(sigma=0.1)),
}
TRAININGS: dict[str, dict[str, Any]] = {
    "sgd": {},
    "adamw, averaged and clipped": {
        "optimizer": "adamw",
        "ema_decay": 0.9,
        "gradient_clip": 0.5,
        "learning_rate": 1e-3,
    },
}


@contextmanager
def watched() -> Iterator[None]:
    """Make any wait for the device an error, from an epoch's first draw to its last step."""
    with repeatable():
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("engine", [PLAIN, Engine()], ids=["launched", "captured"])
@pytest.mark.parametrize("training_settings", TRAININGS.values(), ids=TRAININGS)
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_no_epoch_waits_for_the_device_before_its_end(
    method: Method,
    training_settings: dict[str, Any],
    engine: Engine,
    make_config: MakeConfig,
    few_digits: Dataset,
    make_images: Callable[..., Dataset],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first training captures its steps, which may wait; the second one only replays them."""
    config = make_config(method, **training_settings)
    for data in (few_digits, make_images((3, 32, 32), count=96)):
        list(train(config, data, GPU, engine=engine))
        with monkeypatch.context() as patch:
            patch.setattr(training, "repeatable", watched)
            assert len(list(train(config, data, GPU, engine=engine))) == 3


def judged(metrics: EpochMetrics) -> tuple[float, ...]:
    """What an epoch is judged by: neither times nor passes, which differ between methods."""
    return (
        metrics.train_loss,
        metrics.train_accuracy,
        metrics.validation_clean,
        metrics.validation_robust,
        metrics.is_best,
    )


ZERO_WEIGHTS = [Sam(rho=0.0), Asam(rho=0.0), Gsam(rho=0.0), Awp(gamma=0.0)]
ZERO_INPUTS = [
    Pgd(norm="linf", epsilon=0.0, steps=2),
    Pgd(norm="l2", epsilon=0.0, steps=2),
    NFgsm(norm="linf", epsilon=0.0),
    Noise(sigma=0.0),
]


@pytest.mark.parametrize(
    ("weights", "inputs"), list(zip(ZERO_WEIGHTS, ZERO_INPUTS, strict=True)), ids=str
)
def test_zero_radius_and_resuming_are_exact(
    weights: WeightSide,
    inputs: InputSide,
    make_config: MakeConfig,
    few_digits: Dataset,
    tmp_path: Path,
) -> None:
    zero = Method(weights=weights, inputs=inputs)
    standard, twin = (
        new_state(make_config(), few_digits, GPU),
        new_state(make_config(zero), few_digits, GPU),
    )
    list(train(make_config(), few_digits, GPU, standard))
    list(itertools.islice(train(make_config(zero), few_digits, GPU, twin), 1))
    save_state(tmp_path / "state.pt", twin, "digest")
    resumed = load_state(tmp_path / "state.pt", make_config(zero), few_digits, GPU, "digest")
    assert resumed is not None
    list(train(make_config(zero), few_digits, GPU, resumed))
    for name, tensor in standard.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name
    assert [judged(m) for m in resumed.metrics] == [judged(m) for m in standard.metrics]
    assert (resumed.best_epoch, resumed.best_score) == (standard.best_epoch, standard.best_score)


def test_evaluation_agrees_with_the_cpu(make_config: MakeConfig, few_digits: Dataset) -> None:
    config = make_config()
    state = new_state(config, few_digits, GPU)
    list(train(config, few_digits, GPU, state))
    there = evaluate(state.model, few_digits.test, 16, config.evaluation, 0, GPU)
    here = evaluate(
        state.model.cpu(), few_digits.test, 16, config.evaluation, 0, torch.device("cpu")
    )
    assert abs(there.clean - here.clean) <= 1 / 40
    assert all(abs(a - b) <= 0.15 for a, b in zip(there.robust, here.robust, strict=True))
