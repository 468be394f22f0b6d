"""Tests of checkpoints: exact, atomic, and refused when damaged or foreign."""

import io
import itertools
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from trainers.checkpoint import CheckpointError, load_state, load_weights, save_state, save_weights
from trainers.config import (
    Asam,
    Awp,
    Gsam,
    LookSam,
    Mart,
    Method,
    Noise,
    Pgd,
    Sam,
    Trades,
    TrainConfig,
)
from trainers.data.dataset import Dataset
from trainers.engine.program import forget_programs
from trainers.train import TrainState, new_state, train

MakeConfig = Callable[..., TrainConfig]
METHOD = Method(weights=Sam(rho=0.2), inputs=Pgd(norm="linf", epsilon=0.1, steps=2))


@pytest.fixture
def half(make_config: MakeConfig, few_digits: Dataset, cpu: torch.device) -> TrainState:
    """A training that stopped after two of three epochs."""
    config = make_config(METHOD)
    state = new_state(config, few_digits, cpu)
    list(itertools.islice(train(config, few_digits, cpu, state), 2))
    return state


LINF = Pgd(norm="linf", epsilon=0.1, steps=1)
SLOW = replace(LINF, warmup_epochs=2)
TRAININGS: dict[str, tuple[Method, dict[str, Any]]] = {
    "sgd, step": (METHOD, {"schedule": "step", "milestones": (0.4, 0.7)}),
    "nesterov, one_cycle": (Method(), {"nesterov": True, "schedule": "one_cycle"}),
    "adamw": (Method(), {"optimizer": "adamw", "learning_rate": 1e-3}),
    "averages": (Method(weights=Gsam(rho=0.2)), {"ema_decay": 0.95}),
    "adamw, averages, clipped": (
        Method(weights=Asam(rho=0.5)),
        {"optimizer": "adamw", "learning_rate": 1e-3, "ema_decay": 0.9, "gradient_clip": 0.5},
    ),
    "clipped": (Method(inputs=Noise(sigma=0.1)), {"gradient_clip": 0.1}),
    "look_sam and trades, in the middle of a cycle": (
        Method(weights=LookSam(rho=0.2, every=3), inputs=LINF, loss=Trades()),
        {"optimizer": "adamw", "learning_rate": 1e-3, "ema_decay": 0.9},
    ),
    "sam and trades": (Method(weights=Sam(rho=0.2), inputs=LINF, loss=Trades()), {}),
    "warm-ups": (Method(weights=Awp(gamma=0.01, warmup_epochs=1), inputs=SLOW, loss=Mart()), {}),
}


@pytest.mark.parametrize(("method", "training"), TRAININGS.values(), ids=TRAININGS)
def test_going_on_after_any_epoch_equals_not_stopping_bit_for_bit(
    method: Method,
    training: dict[str, Any],
    make_config: MakeConfig,
    few_digits: Dataset,
    cpu: torch.device,
) -> None:
    config = make_config(method, batch_size=75, **training)
    whole, after = new_state(config, few_digits, cpu), []
    for _ in train(config, few_digits, cpu, whole):
        after.append(kept(whole))
    for epoch, content in enumerate(after, 1):
        forget_programs()  # another process, with storage of its own
        restored = load_state(io.BytesIO(content), config, few_digits, cpu, "digest")
        assert restored is not None
        assert restored.epoch == epoch
        assert len(list(train(config, few_digits, cpu, restored))) == 3 - epoch
        assert_equal(restored, whole)


def kept(state: TrainState) -> bytes:
    content = io.BytesIO()
    save_state(content, state, "digest")
    return content.getvalue()


def assert_equal(one: TrainState, other: TrainState) -> None:
    """Assert that two trainings are equal bit for bit, but for the time they took."""
    for name, tensor in one.model.state_dict().items():
        assert torch.equal(tensor, other.model.state_dict()[name]), name
        assert torch.equal(one.best_weights[name], other.best_weights[name]), name
    for ours, theirs in zip(one.memory.tensors, other.memory.tensors, strict=True):
        assert torch.equal(ours, theirs)
    assert (one.best_epoch, one.best_score) == (other.best_epoch, other.best_score)
    assert [replace(m, seconds=0, validation_seconds=0) for m in one.metrics] == [
        replace(m, seconds=0, validation_seconds=0) for m in other.metrics
    ]


def test_resuming_from_a_file_equals_not_stopping_bit_for_bit(
    half: TrainState,
    make_config: MakeConfig,
    few_digits: Dataset,
    cpu: torch.device,
    tmp_path: Path,
) -> None:
    config, path = make_config(METHOD), tmp_path / "deep" / "state.pt"
    save_state(path, half, "digest")
    whole = new_state(config, few_digits, cpu)
    list(train(config, few_digits, cpu, whole))
    restored = load_state(path, config, few_digits, cpu, "digest")
    assert restored is not None
    assert restored.epoch == 2
    assert restored.engine == half.engine
    list(train(config, few_digits, cpu, restored))
    assert_equal(restored, whole)


def test_no_file_is_no_training(
    make_config: MakeConfig, few_digits: Dataset, cpu: torch.device, tmp_path: Path
) -> None:
    assert load_state(tmp_path / "none.pt", make_config(), few_digits, cpu, "digest") is None


def test_damaged_or_foreign_file_is_refused_by_name(
    half: TrainState,
    make_config: MakeConfig,
    few_digits: Dataset,
    cpu: torch.device,
    tmp_path: Path,
) -> None:
    path = tmp_path / "state.pt"

    def load(config: TrainConfig) -> None:
        load_state(path, config, few_digits, cpu, "digest")

    save_state(path, half, "digest")
    whole = path.read_bytes()
    for damaged in (b"", b"not a checkpoint", whole[:-2000], whole[:1000]):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"state\.pt: is damaged .*delete it"):
            load(make_config(METHOD))
    path.write_bytes(whole)
    with pytest.raises(CheckpointError, match=r"state\.pt: is damaged"):
        load(make_config(METHOD, width=5))
    save_state(path, half, "another")
    with pytest.raises(CheckpointError, match="belongs to another training"):
        load(make_config(METHOD))
    save_weights(path, half.model.state_dict(), {})
    with pytest.raises(CheckpointError, match="must be of the format"):
        load(make_config(METHOD))
    for damaged in (b"", whole[:1000]):
        with pytest.raises(CheckpointError, match="the kept training state: is damaged"):
            load_state(io.BytesIO(damaged), make_config(METHOD), few_digits, cpu, "digest")
    averaged = make_config(METHOD, ema_decay=0.9)
    with pytest.raises(CheckpointError, match="is damaged"):
        load_state(io.BytesIO(whole), averaged, few_digits, cpu, "digest")


def test_state_from_before_sides_remembered_is_loaded_or_refused_in_one_line(
    make_config: MakeConfig, few_digits: Dataset, cpu: torch.device, tmp_path: Path
) -> None:
    path = tmp_path / "state.pt"
    for side in (Sam(rho=0.2), LookSam(rho=0.2)):
        config = make_config(Method(weights=side))
        save_state(path, new_state(config, few_digits, cpu), "digest")
        content = torch.load(path, weights_only=True)
        del content["side"]
        torch.save(content, path)
        if isinstance(side, Sam):
            assert load_state(path, config, few_digits, cpu, "digest") is not None
            continue
        with pytest.raises(CheckpointError) as caught:
            load_state(path, config, few_digits, cpu, "digest")
        assert str(caught.value) == (
            f"{path}: is damaged (side: needs 11 tensors, has 0); delete it to start anew"
        )


def test_failed_write_leaves_the_old_file_and_nothing_else(
    half: TrainState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.pt"
    save_state(path, half, "digest")
    before = path.read_bytes()

    def fail(descriptor: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space left"):
        save_state(path, half, "another")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_weights_come_back_with_what_was_said_about_them(half: TrainState, tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    save_weights(path, half.best_weights, {"epoch": half.best_epoch, "model": "small_cnn"})
    weights, metadata = load_weights(path)
    assert metadata == {"epoch": half.best_epoch, "model": "small_cnn"}
    assert weights.keys() == half.best_weights.keys()
    assert all(torch.equal(weights[name], half.best_weights[name]) for name in weights)
    with pytest.raises(CheckpointError, match="there is no such checkpoint"):
        load_weights(tmp_path / "none.pt")
