"""Tests of checkpoints: exact, atomic, and refused when damaged or foreign."""

import itertools
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from trainers.checkpoint import CheckpointError, load_state, load_weights, save_state, save_weights
from trainers.config import Method, Pgd, Sam, TrainConfig
from trainers.data import Dataset
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
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, restored.model.state_dict()[name]), name
        assert torch.equal(whole.best_weights[name], restored.best_weights[name]), name
    for ours, theirs in zip(whole.momentum, restored.momentum, strict=True):
        assert torch.equal(ours, theirs)
    assert (whole.best_epoch, whole.best_score) == (restored.best_epoch, restored.best_score)
    assert [replace(m, seconds=0, validation_seconds=0) for m in whole.metrics] == [
        replace(m, seconds=0, validation_seconds=0) for m in restored.metrics
    ]


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
