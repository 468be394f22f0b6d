"""Tests of the compiled update: the same numbers but for rounding, for every trial of a shape.

Every kernel costs a second of g++, so the network is smaller than ours; with RHOEPS_FULL_COVERAGE=1
it is `small_cnn`.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from trainers.config import LookSam, Method, ModelConfig, Pgd, TrainConfig
from trainers.data.dataset import Dataset
from trainers.engine.compiled import compiled_classifier
from trainers.engine.engine import Engine
from trainers.networks.build import NETWORKS, evaluation_view
from trainers.networks.layers import Normalise
from trainers.train import TrainState, new_state, train

MakeConfig = Callable[..., TrainConfig]
CPU = torch.device("cpu")
NEVER = Engine(compiled="never", narrow=False)
ALWAYS = Engine(compiled="always", narrow=False)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning"),
    pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler"),
]


@pytest.fixture(autouse=True)
def _smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    if os.environ.get("RHOEPS_FULL_COVERAGE") != "1":
        monkeypatch.setitem(NETWORKS, "small_cnn", smallest_cnn)


def smallest_cnn(config: ModelConfig, data: Dataset) -> nn.Module:
    """Build one normalised convolution and a last layer."""
    return nn.Sequential(
        Normalise(data),
        nn.Conv2d(data.image_shape[0], config.width, 3, stride=2, bias=False),
        nn.BatchNorm2d(config.width),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(config.width, len(data.classes)),
    )


def run(config: TrainConfig, data: Dataset, engine: Engine) -> TrainState:
    state = new_state(config, data, CPU)
    list(train(config, data, CPU, state, engine))
    return state


def assert_close(ours: TrainState, theirs: TrainState) -> None:
    for a, b in zip(ours.metrics, theirs.metrics, strict=True):
        assert a.train_loss == pytest.approx(b.train_loss, rel=1e-4)
        assert a.train_accuracy == pytest.approx(b.train_accuracy, abs=1.01 / 150)  # one sample
    for (name, tensor), twin in zip(
        ours.model.state_dict().items(), theirs.model.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(tensor, twin, rtol=1e-2, atol=1e-3, msg=name)


def test_compiled_trials_agree_with_plain_ones_and_share_one_compilation(
    make_config: MakeConfig, few_digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With many parts of a step, SAM's in the next test; every number of the second is another.

    In an empty cache, so that no code that was compiled earlier is what agrees.
    """
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch._dynamo.reset()
    counters = torch._dynamo.utils.counters
    counters.clear()
    common = {"epochs": 2, "optimizer": "adamw"}
    one, other = (Method(inputs=Pgd(norm="linf", epsilon=e, steps=2)) for e in (0.1, 0.02))
    configs = [
        make_config(one, learning_rate=1e-3, ema_decay=0.5, gradient_clip=1.0, **common),
        make_config(
            other,
            learning_rate=5e-4,
            weight_decay=0.01,
            ema_decay=0.9,
            gradient_clip=0.3,
            seed=1,
            **common,
        ),
    ]
    for number, config in enumerate(configs):
        with torch.compiler.set_stance("fail_on_recompile" if number else "default"):
            compiled = run(config, few_digits, ALWAYS)
        assert compiled.engine["update"] == compiled.engine["attack"] == "torch.compile"
        plain = run(config, few_digits, NEVER)
        assert_close(compiled, plain)
        for ours, theirs in zip(compiled.memory.averages, plain.memory.averages, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-2, atol=1e-3)
    assert counters["stats"]["unique_graphs"] == 2  # the update, the attack


def test_compiled_look_sam_agrees_with_operators_and_at_radius_zero_with_standard_training(
    make_config: MakeConfig, few_digits: Dataset
) -> None:
    """One compilation for each phase serves both. Few steps, so that rounding stays what it is."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    settings = {"epochs": 2, "learning_rate": 0.01}
    for rho in (0.2, 0.0):
        look = make_config(Method(weights=LookSam(rho=rho, every=2)), **settings)
        twin = look if rho else make_config(**settings)
        compiled, plain = run(look, few_digits, ALWAYS), run(twin, few_digits, NEVER)
        assert compiled.engine["update"] == "torch.compile"
        for ours, theirs in zip(compiled.model.parameters(), plain.model.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2  # act, reuse


def test_passes_without_a_gradient_and_of_other_sizes_take_no_compilation(
    make_config: MakeConfig, few_digits: Dataset
) -> None:
    config = make_config()
    view = evaluation_view(new_state(config, few_digits, CPU).model)
    images = torch.tensor(few_digits.test.images[:5]) / 16
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    compiled = compiled_classifier(view, images)
    with torch.no_grad():
        assert torch.equal(compiled(images), view(images))
    assert torch.equal(compiled(images[:3]), view(images[:3]))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 0


def test_without_a_compiler_the_training_goes_on_by_operators_with_a_notice(
    make_config: MakeConfig, few_digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch._dynamo.reset()
    config = make_config(width=3)
    with (
        torch._inductor.config.patch({"cpp.cxx": (None, "no-such-compiler")}),
        pytest.warns(RuntimeWarning, match=r"torch\.compile failed, so steps run by operators"),
    ):
        state = run(config, few_digits, ALWAYS)
    assert state.engine["update"] == "operators"
    assert state.engine["attack"] == "operators"
    plain = run(config, few_digits, NEVER)
    assert [m.train_loss for m in state.metrics] == [m.train_loss for m in plain.metrics]
