"""Save and restore a training exactly, and the weights of a trained network by themselves.

Files hold tensors, numbers, text, lists and dicts only, so that reading one runs no code. Each is
written beside its place, then renamed (`trainers.data.cache`).
"""

import json
import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor, nn

from trainers.config import ModelConfig, TrainConfig
from trainers.config.own import NO_SETTINGS, settings_class
from trainers.config.parts import OwnPart, find_part, is_own, source_of
from trainers.data.cache import written_aside
from trainers.data.dataset import Dataset
from trainers.data.subset import Split
from trainers.detectors import EpochMetrics
from trainers.networks.build import build_model
from trainers.train import TrainState, new_state

STATE_FORMAT = "rhoeps training state 3"
WEIGHTS_FORMAT = "rhoeps weights 1"
RECIPE = "network"
"""The entry of a weights file's metadata that says how to build the network; old files lack it."""
TENSOR_MAKERS = {
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("collections", "OrderedDict"): OrderedDict,
}
"""All that a weights file may call when it is read; torch itself adds the kinds of storage."""


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; one line with place, rule and way out."""


def save_state(target: Path | IO[bytes], state: TrainState, config_digest: str) -> None:
    """Write a training between two epochs. `config_digest` names the training it belongs to."""
    content = {
        "format": STATE_FORMAT,
        "config_digest": config_digest,
        "model": state.model.state_dict(),
        **{name: list(tensors) for name, tensors in state.memory._asdict().items()},
        "epoch": state.epoch,
        "best_epoch": state.best_epoch,
        "best_score": state.best_score,
        "best_weights": state.best_weights,
        "metrics": [asdict(metrics) for metrics in state.metrics],
        "engine": state.engine,
    }
    if isinstance(target, Path):
        with written_aside(target) as file:
            torch.save(content, file)
    else:
        torch.save(content, target)


def load_state(
    source: Path | IO[bytes],
    config: TrainConfig,
    data: Dataset,
    device: torch.device,
    config_digest: str,
) -> TrainState | None:
    """Return the training that `source` holds, or None where there is no such file.

    Going on from it gives what an uninterrupted training would have given, bit for bit where both
    are executed alike.
    """
    if isinstance(source, Path) and not source.exists():
        return None
    content = _read(source, STATE_FORMAT, device)
    if content["config_digest"] != config_digest:
        raise CheckpointError(
            f"{_name(source)}: belongs to another training, whose digest is "
            f"{content['config_digest']!r} and not {config_digest!r}; delete it to start anew"
        )
    state = new_state(config, data, device)
    try:
        state.model.load_state_dict(content["model"])
        for name, tensors in state.memory._asdict().items():
            # States written before weight sides could remember have no `side`, and need none.
            given = content.get(name, [])
            if len(given) != len(tensors):
                raise ValueError(f"{name}: needs {len(tensors)} tensors, has {len(given)}")
            for ours, saved in zip(tensors, given, strict=True):
                ours.copy_(saved)
        state.epoch = content["epoch"]
        state.best_epoch = content["best_epoch"]
        state.best_score = content["best_score"]
        state.best_weights = content["best_weights"]
        state.metrics = [EpochMetrics(**metrics) for metrics in content["metrics"]]
        state.engine = content["engine"]
    except (KeyError, TypeError, RuntimeError, ValueError) as error:
        raise _damaged(source, error) from error
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
    with written_aside(path) as file:
        torch.save(content, file)


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str | float]]:
    """Read what `save_weights` wrote, onto the CPU."""
    content = _read(path, WEIGHTS_FORMAT, torch.device("cpu"))
    return content["weights"], content["metadata"]


def recipe(config: ModelConfig, data: Dataset) -> str:
    """Return, as JSON, how to build a network without its data set: the network and its images."""
    model = {item.name: getattr(config, item.name) for item in fields(config)}
    source = {"source": source_of(config.settings.part)} if config.is_own else {}
    return json.dumps(
        {
            **source,
            "model": model | {"settings": config.settings.settings if config.is_own else {}},
            "classes": data.classes,
            "image_shape": data.image_shape,
            "mean": data.mean,
            "std": data.std,
        }
    )


def load_network(
    path: Path, find: Callable[[], tuple[ModelConfig, Dataset]], folder: Path
) -> nn.Module:
    """Read a trained network, in evaluation mode, on the CPU, none of its weights to be trained.

    It takes images in [0, 1], (B, C, H, W), and returns logits, all in float32. `find` is called
    only for an older file, which does not say what was trained on which images. The module of an
    own network is looked for in `folder`, then among what is installed. Raises `CheckpointError`,
    and `PartError` if an own network cannot be found.
    """
    content = _read(path, WEIGHTS_FORMAT, torch.device("cpu"))
    known = content["metadata"].get(RECIPE)
    config, data = find() if known is None else _known(known, folder)
    return _filled(str(path), build_model(config, data, torch.Generator()), content["weights"])


def _known(known: str, folder: Path) -> tuple[ModelConfig, Dataset]:
    """Return what a recipe was written of; the data set has no samples."""
    content = json.loads(known)
    model = content["model"]
    own = NO_SETTINGS
    if is_own(model["name"], "networks"):
        part = find_part("networks", model["name"], folder)
        _refuse_edited(part, content.get("source", {}))
        own = settings_class(part)(**model["settings"])
    return ModelConfig(**model | {"settings": own}), _without_samples(content)


def _refuse_edited(part: OwnPart, recorded: Mapping[str, str]) -> None:
    """Raise `CheckpointError` if a file that decides an own network is not what was trained.

    recorded: hashes by file; empty in files from before these were kept. The weights may fit an
    edited network, too, which then computes something else. Versions of distributions may differ.
    """
    now = source_of(part)
    for name, digest in recorded.items():
        if name.endswith(".py") and now.get(name) != digest:
            rule = f"{name} changed since this network was trained"
            raise CheckpointError(f"{part.name}: {rule}; restore it, or launch the study again")


def _filled(name: str, model: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
    try:
        model.load_state_dict(dict(weights))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{name}: is not of this network ({reason})") from error
    return model.eval().requires_grad_(False)


def _without_samples(known: Mapping[str, Any]) -> Dataset:
    """Return a data set of no samples, which has what a network is built from."""
    images = np.zeros((0, *known["image_shape"]), dtype=np.uint8)
    none = Split(images=images, labels=np.zeros(0, dtype=np.int64))
    return Dataset(
        name="of a weights file",
        fingerprint="",
        classes=tuple(known["classes"]),
        divisor=1,
        train=none,
        validation=none,
        test=none,
        mean=tuple(known["mean"]),
        std=tuple(known["std"]),
        augmentation="none",
    )


class Unpickler(pickle.Unpickler):
    """What `mlflow.pytorch.load_model` reads a weights file with, and gets the network from.

    A model that MLflow stores names the module whose `Unpickler` reads it: this one. It makes
    tensors alone, so that reading runs no code of the file.
    """

    def find_class(self, module: str, name: str) -> Any:
        """Return what makes a tensor; raise `UnpicklingError` for anything else."""
        if (module, name) not in TENSOR_MAKERS:
            raise pickle.UnpicklingError(f"must hold tensors and text alone, got {module}.{name}")
        return TENSOR_MAKERS[module, name]

    def load(self) -> nn.Module:
        """Read the file's content and build the network from it."""
        content = pickle.Unpickler.load(self)
        # An own network lies in the current folder, or is installed.
        config, data = _known(content["metadata"][RECIPE], Path())
        return _filled(
            "the model", build_model(config, data, torch.Generator()), content["weights"]
        )


def _read(source: Path | IO[bytes], expected_format: str, device: torch.device) -> dict[str, Any]:
    try:
        content = torch.load(source, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{source}: there is no such checkpoint; check the path") from None
    except Exception as error:  # torch raises a different kind for every kind of damage
        raise _damaged(source, error) from error
    if not isinstance(content, dict) or content.get("format") != expected_format:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise CheckpointError(
            f"{_name(source)}: must be of the format {expected_format!r}, got {found!r}; "
            "another program or version wrote it; use that one"
        )
    return content


def _damaged(source: Path | IO[bytes], error: Exception) -> CheckpointError:
    first_line = str(error).strip().partition("\n")[0]
    return CheckpointError(f"{_name(source)}: is damaged ({first_line}); delete it to start anew")


def _name(source: Path | IO[bytes]) -> str:
    return str(source) if isinstance(source, Path) else "the kept training state"
