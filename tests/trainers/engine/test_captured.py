"""Tests of capturing without a GPU: torch's graphs are replaced by ones that note what to repeat.

As in a CUDA graph, nothing is executed while a step is recorded, and a replay repeats the step on
the tensors that it was recorded with.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from trainers.config import Gsam, LookSam, Method, Pgd, Sam, Trades, TrainConfig
from trainers.data.dataset import Dataset
from trainers.engine import program as programs
from trainers.engine.engine import PLAIN, Engine, narrowed
from trainers.engine.program import WARM_UPS, Program, _key, captured, program_for
from trainers.networks.build import build_model, evaluation_view
from trainers.step.batches import Draw
from trainers.step.step import step
from trainers.train import TrainState, new_state, train

MakeConfig = Callable[..., TrainConfig]
CPU, GPU = torch.device("cpu"), torch.device("cuda")
ENGINE = replace(PLAIN, captured=True)
PGD = Pgd(norm="linf", epsilon=0.1, steps=2)
METHODS = {
    "standard": Method(),
    "sam and pgd": Method(weights=Sam(rho=0.1), inputs=PGD),
    "look_sam": Method(weights=LookSam(rho=0.1, every=2, active=(0.3, 1.0))),
    "gsam and trades": Method(weights=Gsam(rho=0.1), inputs=PGD, loss=Trades()),
}
NUM_GRAPHS = {"standard": 2, "sam and pgd": 2, "look_sam": 5, "gsam and trades": 2}
"""One for whole batches and one for the short one, in each phase that each of them meets."""
SETTINGS: dict[str, dict[str, Any]] = {
    "sgd": {},
    "adamw": {"optimizer": "adamw", "ema_decay": 0.9, "gradient_clip": 0.5, "learning_rate": 0.01},
}


class Stream:
    def wait_stream(self, other: "Stream") -> None:
        pass


class Graphs:
    """The part of `torch.cuda` that capturing uses."""

    def __init__(self) -> None:
        self.recorded: list[list[Callable[[], None]]] = []
        self.is_recording = False

    def do(self, work: Callable[[], None]) -> None:
        """Record work, or do it."""
        if self.is_recording:
            self.recorded[-1].append(work)
        else:
            work()

    @contextmanager
    def graph(self, graph: "Graph", pool: object) -> Iterator[None]:
        self.recorded.append(graph.work)
        self.is_recording = True
        try:
            yield
        finally:
            self.is_recording = False


class Graph:
    def __init__(self) -> None:
        self.work: list[Callable[[], None]] = []

    def replay(self) -> None:
        for work in self.work:
            work()


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Graphs]:
    noted = Graphs()
    for name, value in {
        "CUDAGraph": Graph,
        "Stream": Stream,
        "stream": lambda stream: nullcontext(),
        "current_stream": Stream,
        "graph": noted.graph,
        "graph_pool_handle": object,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(programs, "step", lambda *given: noted.do(lambda: step(*given)))
    programs._pool.cache_clear()
    yield noted
    programs._pool.cache_clear()


def draw_of(*samples: int) -> Draw:
    empty = torch.empty(0)
    return Draw(torch.tensor(samples), empty, empty, empty)


def test_a_recording_leaves_contents_alone_and_is_replayed_with_each_draw(graphs: Graphs) -> None:
    total, runs = torch.tensor(5), []

    def run(draw: Draw) -> None:
        runs.append(draw)
        graphs.do(lambda: total.add_(draw.samples.sum()))  # type: ignore[arg-type,return-value]

    first = draw_of(1, 2)
    replay = captured(run, first, (total,))
    assert (int(total), len(runs)) == (5, WARM_UPS + 1)
    for draw, expected in ((first, 8), (draw_of(10, 20), 38), (first, 41)):
        replay(draw)
        assert int(total) == expected
    assert first.samples.tolist() == [1, 2]


def test_contents_are_put_back_where_a_recording_fails(graphs: Graphs) -> None:
    total = torch.tensor(5)

    def run(draw: Draw) -> None:
        if graphs.is_recording:
            raise RuntimeError("operation not permitted when stream is capturing")
        total.add_(1)

    with pytest.raises(RuntimeError, match="not permitted"):
        captured(run, draw_of(1), (total,))
    assert int(total) == 5


def capturing_program(config: TrainConfig, data: Dataset) -> Program:
    """Prepare the process's program as it would be on a GPU."""
    model = new_state(config, data, CPU).model
    program = program_for(config, data, model, CPU, ENGINE, is_compiled=False)
    program._is_captured = True  # false on a CPU
    return program


def run(config: TrainConfig, data: Dataset, engine: Engine) -> TrainState:
    state = new_state(config, data, CPU)
    list(train(config, data, CPU, state, engine))
    return state


def written(state: TrainState) -> list[Tensor]:
    return [*state.model.state_dict().values(), *state.memory.tensors]


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("name", METHODS)
def test_captured_trainings_equal_launched_ones_bit_for_bit(
    name: str,
    settings: dict[str, Any],
    graphs: Graphs,
    make_config: MakeConfig,
    few_digits: Dataset,
) -> None:
    """Two trials after each other, as the second finds the first one's graphs."""
    for seed in (0, 1):
        config = make_config(METHODS[name], width=2, seed=seed, epochs=2, **settings)
        capturing_program(config, few_digits)
        found, plain = run(config, few_digits, ENGINE), run(config, few_digits, PLAIN)
        assert (found.engine["step"], plain.engine["step"]) == ("CUDA graph", "operators")
        pairs = zip(written(found), written(plain), strict=True)
        assert all(torch.equal(ours, theirs) for ours, theirs in pairs)
        losses = [metrics.train_loss for metrics in plain.metrics]
        assert [metrics.train_loss for metrics in found.metrics] == losses
    assert len(graphs.recorded) == NUM_GRAPHS[name]


def test_where_no_graph_can_be_recorded_steps_are_launched_and_one_line_says_why(
    graphs: Graphs,
    make_config: MakeConfig,
    few_digits: Dataset,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail() -> None:
        raise RuntimeError("CUDA error: operation failed\nCompile with `TORCH_USE_CUDA_DSA`")

    monkeypatch.setattr(torch.cuda, "CUDAGraph", fail)
    config = make_config(METHODS["sam and pgd"], width=2, epochs=2)
    capturing_program(config, few_digits)
    with pytest.warns(RuntimeWarning, match="no CUDA graph could be captured, .*: CUDA error"):
        found = run(config, few_digits, ENGINE)
    assert found.engine["step"] == "operators"
    pairs = zip(written(found), written(run(config, few_digits, PLAIN)), strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)


def test_a_lack_of_memory_is_no_reason_to_launch_steps(
    graphs: Graphs,
    make_config: MakeConfig,
    few_digits: Dataset,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail() -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.cuda, "CUDAGraph", fail)
    config = make_config(width=2, epochs=1)
    capturing_program(config, few_digits)
    with pytest.raises(torch.cuda.OutOfMemoryError, match="out of memory"):
        run(config, few_digits, ENGINE)


def test_the_fused_attack_is_for_a_cpu(make_config: MakeConfig, few_digits: Dataset) -> None:
    model = build_model(make_config().model, few_digits, torch.Generator())
    view, shape = evaluation_view(model), few_digits.image_shape
    assert narrowed(view, shape, GPU, Engine()) is None
    assert narrowed(view, shape, CPU, PLAIN) is None


def test_each_device_and_form_has_a_program_of_its_own(
    make_config: MakeConfig, few_digits: Dataset
) -> None:
    """So has each setting of TF32, which a captured step has fixed."""
    config = make_config()
    keys = {
        _key(config, few_digits, device, engine, is_compiled)
        for device in (CPU, GPU)
        for engine in (Engine(), PLAIN, ENGINE)
        for is_compiled in (False, True)
    }
    assert len(keys) == 2 * 3 * 2
    with torch.backends.cudnn.flags(allow_tf32=not torch.backends.cudnn.allow_tf32):
        assert _key(config, few_digits, GPU, Engine(), False) not in keys
