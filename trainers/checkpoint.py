"""Save and restore a training exactly, and the weights of a trained network by themselves.

Files hold tensors, numbers, text, lists and dicts only, so that reading one runs no code. Each is
written aside and renamed: a reader sees the old file or the new one, whenever the writer dies.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainers.config import TrainConfig
from trainers.data import Dataset
from trainers.train import EpochMetrics, TrainState, new_state

STATE_FORMAT = "rhoeps training state 3"
WEIGHTS_FORMAT = "rhoeps weights 1"


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; one line with place, rule and way out."""


def save_state(path: Path, state: TrainState, config_digest: str) -> None:
    """Write a training that stands between two epochs. `config_digest` names what it belongs to."""
    content = {
        "format": STATE_FORMAT,
        "config_digest": config_digest,
        "model": state.model.state_dict(),
        "moments": list(state.moments),
        "averages": list(state.averages),
        "epoch": state.epoch,
        "best_epoch": state.best_epoch,
        "best_score": state.best_score,
        "best_weights": state.best_weights,
        "metrics": [asdict(metrics) for metrics in state.metrics],
        "engine": state.engine,
    }
    _write(path, content)


def load_state(
    path: Path, config: TrainConfig, data: Dataset, device: torch.device, config_digest: str
) -> TrainState | None:
    """Return the training that `path` holds, or None where there is no such file.

    Going on from it gives what an uninterrupted training would have given, bit for bit where both
    are executed alike.
    """
    if not path.exists():
        return None
    content = _read(path, STATE_FORMAT, device)
    if content["config_digest"] != config_digest:
        raise CheckpointError(
            f"{path}: belongs to another training, whose digest is {content['config_digest']!r} "
            f"and not {config_digest!r}; delete it to start anew"
        )
    state = new_state(config, data, device)
    try:
        state.model.load_state_dict(content["model"])
        for name in ("moments", "averages"):
            for ours, saved in zip(getattr(state, name), content[name], strict=True):
                ours.copy_(saved)
        state.epoch = content["epoch"]
        state.best_epoch = content["best_epoch"]
        state.best_score = content["best_score"]
        state.best_weights = content["best_weights"]
        state.metrics = [EpochMetrics(**metrics) for metrics in content["metrics"]]
        state.engine = content["engine"]
    except (KeyError, TypeError, RuntimeError, ValueError) as error:
        raise _damaged(path, error) from error
    return state


def save_weights(
    path: Path, weights: Mapping[str, Tensor], metadata: Mapping[str, str | float]
) -> None:
    """Write the `state_dict` of a network, with what a reader should know about it."""
    content = {
        "format": WEIGHTS_FORMAT,
        "weights": {name: tensor.detach().cpu() for name, tensor in weights.items()},
        "metadata": dict(metadata),
    }
    _write(path, content)


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str | float]]:
    """Read what `save_weights` wrote, onto the CPU."""
    content = _read(path, WEIGHTS_FORMAT, torch.device("cpu"))
    return content["weights"], content["metadata"]


def _write(path: Path, content: dict[str, Any]) -> None:
    """Write aside, force it to the disk, and rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with aside.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _read(path: Path, expected_format: str, device: torch.device) -> dict[str, Any]:
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: there is no such checkpoint; check the path") from None
    except Exception as error:  # torch raises a different kind for every kind of damage
        raise _damaged(path, error) from error
    if not isinstance(content, dict) or content.get("format") != expected_format:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise CheckpointError(
            f"{path}: must be of the format {expected_format!r}, got {found!r}; "
            "it was written by something else"
        )
    return content


def _damaged(path: Path, error: Exception) -> CheckpointError:
    first_line = str(error).strip().partition("\n")[0]
    return CheckpointError(f"{path}: is damaged ({first_line}); delete it to start anew")
