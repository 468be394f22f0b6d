"""Tests of the choice to compile: closed forms, and what is noted for the next process."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from trainers.config import TrainConfig
from trainers.data.dataset import Dataset
from trainers.engine.engine import Engine
from trainers.engine.payoff import (
    EXPECTED_SECONDS,
    EXPECTED_SHARE,
    LEAST_EPOCHS,
    LOAD_SECONDS,
    Compilation,
    compiling,
    only_here,
    pays,
    read_compilation,
    record_file,
    write_compilation,
)
from trainers.engine.program import shape
from trainers.step.step import update
from trainers.train import new_state, train

MakeConfig = Callable[..., TrainConfig]
CPU = torch.device("cpu")
KNOWN = Compilation(plain_step_seconds=0.010, compiled_step_seconds=0.008)
SLOWER = Compilation(plain_step_seconds=0.010, compiled_step_seconds=0.011)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))


def test_what_was_measured_decides_at_the_cost_of_loading() -> None:
    enough = round(LOAD_SECONDS / 0.002)
    assert not pays(KNOWN, float("inf"), enough - 1, "cpu")
    assert pays(KNOWN, float("inf"), enough + 1, "cpu")
    assert not pays(SLOWER, 0.01, 10**9, "cpu")


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_before_a_measurement_the_expected_cost_decides(device: str) -> None:
    enough = round(EXPECTED_SECONDS[device] / (EXPECTED_SHARE * 0.01))
    assert not pays(None, 0.01, enough - 1, device)
    assert pays(None, 0.01, enough + 1, device)
    assert not pays(None, float("inf"), 10**9, device)  # no step was timed yet


def test_a_measurement_is_read_back_and_damage_is_none(tmp_path: Path) -> None:
    file = record_file(("a", 1), CPU)
    assert file != record_file(("a", 2), CPU)
    assert file.is_relative_to(tmp_path)
    assert read_compilation(file) is None
    with only_here(file):
        write_compilation(file, KNOWN)
    assert read_compilation(file) == KNOWN
    for damage in ("", "{", "[]", '{"other": 1}'):
        file.write_text(damage)
        assert read_compilation(file) is None


def test_only_one_process_compiles_a_shape_at_a_time() -> None:
    file, other = record_file(("a", 1), CPU), record_file(("b", 1), CPU)
    with only_here(file) as first, only_here(file) as second, only_here(other) as third:
        assert (first, second, third) == (True, False, True)
    with only_here(file) as again:
        assert again


def test_a_cache_that_cannot_be_written_costs_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "file"))
    file = record_file(("a", 1), CPU)
    write_compilation(file, KNOWN)
    with only_here(file) as is_only:
        assert not is_only


@pytest.mark.filterwarnings("ignore:torch.compile failed:RuntimeWarning")
@pytest.mark.parametrize("fails", [False, True], ids=["compiles", "fails to compile"])
def test_a_long_training_compiles_once_timed_and_notes_what_it_saves(
    fails: bool, make_config: MakeConfig, few_digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a compilation that takes no time, or fails; what is noted is there for the next."""

    def compiled_update(*arguments: object) -> object:
        if fails:
            raise RuntimeError("no compiler")
        return update

    monkeypatch.setattr("trainers.engine.compiled.compiled_update", compiled_update)
    config, engine = make_config(epochs=9), Engine(later_steps=10**9, narrow=False)
    state = new_state(config, few_digits, CPU)
    forms = [state.engine["update"] for _ in train(config, few_digits, CPU, state, engine)]
    file = record_file((*shape(config), few_digits.image_shape, 10), CPU)
    if fails:
        assert set(forms) == {"operators"}
        assert read_compilation(file) is None
        return
    timed = 1 + LEAST_EPOCHS
    assert forms[:timed] == ["operators"] * timed
    assert forms[timed] == "operators, then torch.compile"
    assert read_compilation(file) is not None


def test_a_short_training_never_compiles_unless_told(
    make_config: MakeConfig, few_digits: Dataset
) -> None:
    for chosen, expected in (("when it pays", False), ("always", True), ("never", False)):
        engine = Engine(compiled=chosen)  # type: ignore[arg-type]
        with compiling(make_config(), few_digits, CPU, engine, 0) as is_compiled:
            assert is_compiled is expected
