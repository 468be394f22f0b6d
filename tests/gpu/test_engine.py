"""Tests of the engine on a GPU: captured, compiled and rounded steps against plain ones."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from trainers.config import (
    Asam,
    Awp,
    FgsmRs,
    Gsam,
    Mart,
    Method,
    NFgsm,
    Noise,
    Pgd,
    Sam,
    Trades,
    TrainConfig,
)
from trainers.data.dataset import Dataset
from trainers.engine.engine import PLAIN, Engine
from trainers.engine.program import forget_programs
from trainers.evaluation.evaluate import evaluate
from trainers.train import TrainState, new_state, train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning"),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]
MakeConfig = Callable[..., TrainConfig]
GPU = torch.device("cuda")
PGD = Pgd(norm="linf", epsilon=8 / 255, steps=2)
METHODS = {
    "standard": Method(),
    "sam": Method(weights=Sam(rho=0.1)),
    "at": Method(inputs=PGD),
    "sam and at": Method(weights=Sam(rho=0.1), inputs=PGD),
    "at l2": Method(inputs=Pgd(norm="l2", epsilon=0.5, steps=2)),
    "asam and noise": Method(weights=Asam(rho=0.5), inputs=Noise(sigma=0.1)),
    "gsam and trades": Method(weights=Gsam(rho=0.1), inputs=PGD, loss=Trades()),
    "awp and mart": Method(weights=Awp(gamma=0.01), inputs=PGD, loss=Mart()),
    "fgsm_rs": Method(inputs=FgsmRs(norm="linf", epsilon=8 / 255, warmup_epochs=1)),
    "n_fgsm l2 and trades": Method(inputs=NFgsm(norm="l2", epsilon=0.5), loss=Trades()),
}
TRAININGS: dict[str, dict[str, Any]] = {
    "nesterov, clipped": {"nesterov": True, "gradient_clip": 0.5},
    "adamw, averaged": {"optimizer": "adamw", "ema_decay": 0.9, "learning_rate": 1e-3},
}


@pytest.fixture(scope="module")
def images(make_images: Callable[..., Dataset]) -> Dataset:
    """Random RGB images: an epoch takes two whole batches of 64 and one of 32."""
    return make_images((3, 32, 32), count=160)


def run(config: TrainConfig, data: Dataset, engine: Engine) -> TrainState:
    state = new_state(config, data, GPU)
    list(train(config, data, GPU, state, engine))
    return state


def assert_close(ours: TrainState, theirs: TrainState, rel: float) -> None:
    for a, b in zip(ours.metrics, theirs.metrics, strict=True):
        assert a.train_loss == pytest.approx(b.train_loss, rel=rel)


@pytest.mark.parametrize("model", ["small_cnn", "preact_resnet18"])
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_captured_steps_equal_launched_ones(
    method: Method, model: str, make_config: MakeConfig, images: Dataset
) -> None:
    config = make_config(method, model=model, width=8, learning_rate=0.01)
    plain, captured = run(config, images, PLAIN), run(config, images, Engine(compiled="never"))
    assert (plain.engine["step"], captured.engine["step"]) == ("operators", "CUDA graph")
    assert_close(captured, plain, 1e-5)


@pytest.mark.parametrize("training", TRAININGS.values(), ids=TRAININGS)
def test_captured_optimisers_equal_launched_ones(
    training: dict[str, Any], make_config: MakeConfig, images: Dataset
) -> None:
    config = make_config(METHODS["sam"], width=8, **({"learning_rate": 0.01} | training))
    plain, captured = run(config, images, PLAIN), run(config, images, Engine(compiled="never"))
    assert captured.engine["step"] == "CUDA graph"
    assert_close(captured, plain, 1e-5)
    for ours, theirs in zip(captured.memory.averages, plain.memory.averages, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


PAIRS = {
    "sam and at": Method(weights=Sam(rho=0.3), inputs=Pgd(norm="linf", epsilon=2 / 255, steps=2)),
    "gsam and trades": Method(
        weights=Gsam(rho=0.3, rho_min=0.1, alpha=0.1),
        inputs=Pgd(norm="linf", epsilon=2 / 255, steps=2, warmup_epochs=1),
        loss=Trades(beta=1.0),
    ),
    "awp and mart": Method(
        weights=Awp(gamma=0.005, warmup_epochs=1),
        inputs=Pgd(norm="linf", epsilon=2 / 255, steps=2),
        loss=Mart(beta=1.0),
    ),
}


@pytest.mark.parametrize("training", [{}, *TRAININGS.values()], ids=["sgd", *TRAININGS])
@pytest.mark.parametrize(("name", "other"), PAIRS.items(), ids=PAIRS)
def test_a_captured_trial_after_another_equals_the_trial_alone(
    name: str,
    other: Method,
    training: dict[str, Any],
    make_config: MakeConfig,
    images: Dataset,
) -> None:
    first = make_config(METHODS[name], width=8, **training)
    settings = training | {"learning_rate": 0.02, "weight_decay": 0.01, "momentum": 0.5}
    second = make_config(other, width=8, seed=1, **settings)
    run(first, images, Engine())
    after = run(second, images, Engine())
    forget_programs()
    alone = run(second, images, Engine())
    twins = alone.model.state_dict()
    for key, tensor in after.model.state_dict().items():
        assert torch.equal(tensor, twins[key]), key
    kept, twin = after.memory.tensors, alone.memory.tensors
    assert all(torch.equal(a, b) for a, b in zip(kept, twin, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sam", "at", "gsam and trades", "awp and mart"])
def test_compiled_steps_agree_with_plain_ones(
    name: str, make_config: MakeConfig, images: Dataset
) -> None:
    config = make_config(METHODS[name], model="preact_resnet18", width=8, learning_rate=0.01)
    plain, compiled = run(config, images, PLAIN), run(config, images, Engine(compiled="always"))
    assert compiled.engine["update"] == "torch.compile"
    assert compiled.engine["step"] == "CUDA graph"
    assert_close(compiled, plain, 1e-3)  # TF32 convolutions of another order


@pytest.mark.parametrize("name", ["standard", "sam and at"])
def test_a_rounded_body_trains_like_an_exact_one(
    name: str, make_config: MakeConfig, images: Dataset
) -> None:
    runs = [
        run(
            make_config(
                METHODS[name],
                model="preact_resnet18",
                width=16,
                learning_rate=0.01,
                precision=precision,
            ),
            images,
            Engine(),
        )
        for precision in ("float32", "bfloat16")
    ]
    assert_close(runs[1], runs[0], 0.05)
    assert all(weight.dtype == torch.float32 for weight in runs[1].model.parameters())


def test_evaluation_is_the_same_whatever_the_precision_of_the_training(
    make_config: MakeConfig, images: Dataset
) -> None:
    config = make_config(model="preact_resnet18", width=8, precision="bfloat16", epochs=1)
    state = run(config, images, Engine())
    there = evaluate(state.model, images.test, images.divisor, config.evaluation, 0, GPU)
    exact = new_state(make_config(model="preact_resnet18", width=8), images, GPU)
    exact.model.load_state_dict(state.model.state_dict())
    here = evaluate(exact.model, images.test, images.divisor, config.evaluation, 0, GPU)
    assert (there.bits == here.bits).all()
