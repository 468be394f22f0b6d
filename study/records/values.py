"""The names and values of a trial's parameters and metrics, as they are recorded."""

import math
import os
import platform
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from study.plan import space
from study.plan.naming import fidelity_text, start_name
from study.plan.space import Cell
from study.plan.times import EVALUATION, TRAINING, VALIDATION
from study.records import runs
from study.records.starts import has_starts
from study.spec import StudySpec, fidelity_of, start_of
from study.spec.settings import class_of
from trainers.config import Passes, TrainConfig, TrainingConfig, active_text
from trainers.config.own import Own
from trainers.detectors import EpochMetrics, best_minus_last, largest_fall

if TYPE_CHECKING:
    import torch

    from trainers.evaluation.evaluate import Evaluation


def run_params(spec: StudySpec, cell: Cell) -> dict[str, object]:
    """Flatten a cell into MLflow's parameters, named alike in every trial of a study.

    A setting of a side that is off is `none`, so that the UI's comparisons find a value everywhere.
    A radius that a method lacks is left out: 0 would read as one that was chosen. The UI draws only
    the first parameters that differ, in alphabetical order, so the names that studies compare by
    come first in that order.
    """
    config = cell.config
    params: dict[str, object] = {
        "method": cell.configuration.method,
        "seed": config.seed,
        "setup.data": config.data.name,
    }
    for declared in spec.methods.values():
        for side in ("weights", "inputs", "loss"):
            cls = class_of(side, getattr(declared, side))
            names = {item.name for item in fields(cls)} - {"rho", "epsilon"}
            params |= {f"sides.{side}.{name}": "none" for name in names}
    for side, name in space.side_names(config.method).items():
        params[f"sides.{side}"] = name
        for key, value in asdict(getattr(config.method, side)).items():
            shown = active_text(value) if key == "active" else value
            params[key if key in ("rho", "epsilon") else f"sides.{side}.{key}"] = shown
    extent = asdict(config.data)
    params |= {f"setup.data.{key}": value for key, value in extent.items() if key != "name"}
    network = asdict(config.model)
    own = network.pop("settings")
    if config.model.is_own:
        network = {"name": config.model.name, **own}
    params |= {f"setup.model.{key}": value for key, value in network.items()}
    params |= {f"setup.{key}": value for key, value in _optimised(config.training).items()}
    if has_starts(spec):
        params["setup.start"] = start_name(start_of(spec, cell.configuration.method))
    if any(fidelity_of(spec, method) for method in spec.methods):
        params["setup.fidelity"] = fidelity_text(spec, cell.configuration.method) or "none"
    evaluation = asdict(config.evaluation)
    attack = evaluation.pop("attack")
    params |= {f"setup.evaluation.{key}": value for key, value in evaluation.items()}
    params |= {f"setup.evaluation.{key}": value for key, value in attack.items()}
    return {name: _listed(value) for name, value in params.items()}


def _optimised(training: TrainingConfig) -> dict[str, object]:
    """Return the settings of a training by name; those of an own optimiser among them."""
    found = {item.name: getattr(training, item.name) for item in fields(training)}
    if isinstance(training.optimizer, Own):
        own = training.optimizer
        found["optimizer"] = own.part.name
        found |= {f"optimizer.{key}": value for key, value in own.settings.items()}
    return found


def _listed(value: object) -> object:
    """Format a list with commas, an empty one as `none`; return anything else as it is."""
    if not isinstance(value, tuple):
        return value
    shown = (f"{item:.6g}" if isinstance(item, float) else str(item) for item in value)
    return ", ".join(shown) or "none"


EPOCH_FIELDS = {
    "train/epoch": "epoch",
    "train/loss": "train_loss",
    "train/accuracy": "train_accuracy",
    "validation/clean": "validation_clean",
    "validation/robust": "validation_robust",
    "train/learning_rate": "learning_rate",
    "cost/epoch_seconds": "seconds",
    "cost/forward_passes": "forward_passes",
    "cost/input_backward_passes": "input_backward_passes",
    "cost/weight_backward_passes": "weight_backward_passes",
}
"""The fields of an epoch's metrics by their names in MLflow."""


def epoch_values(epoch: EpochMetrics) -> dict[str, float]:
    """Return an epoch's metrics under their names in MLflow, without values that are not finite."""
    values = {name: getattr(epoch, field) for name, field in EPOCH_FIELDS.items()}
    return {name: value for name, value in values.items() if math.isfinite(value)}


def checkpoint_values(
    checkpoint: str, config: TrainConfig, epoch: EpochMetrics, evaluation: "Evaluation"
) -> dict[str, float]:
    """Return one checkpoint's accuracies on validation and test, under their names in MLflow."""
    radii = dict(config.evaluation.threats)
    norm, other = config.evaluation.norm, config.evaluation.other_norm
    robust = {norm: evaluation.robust, other: evaluation.other_robust}
    return {
        f"{checkpoint}/epoch": epoch.epoch,
        f"{checkpoint}/validation_clean": epoch.validation_clean,
        f"{checkpoint}/validation_robust": epoch.validation_robust,
        f"{checkpoint}/test_clean": evaluation.clean,
        **{
            runs.robust_name(checkpoint, norm, radius): value
            for norm in radii
            for radius, value in zip(radii[norm], robust[norm], strict=True)
        },
    }


def detector_values(history: Sequence[EpochMetrics]) -> dict[str, float]:
    """Return what the detectors watch: the falls of robust accuracy in the epochs so far, ≥ 0."""
    return {
        "detect/largest_robust_fall": largest_fall(history),
        "detect/best_minus_last_robust": best_minus_last(history),
    }


def cost_values(history: Sequence[EpochMetrics], num_train: int) -> dict[str, float]:
    """Count a training's passes: its totals in samples, and the cost per sample and epoch.

    That cost is in forward passes (`trainers.config.Passes`); standard training costs 3. A backward
    pass to the inputs costs one, and a backward pass to weights and inputs costs two.
    """
    total = Passes(
        forward=sum(epoch.forward_passes for epoch in history),
        input_backward=sum(epoch.input_backward_passes for epoch in history),
        weight_backward=sum(epoch.weight_backward_passes for epoch in history),
    )
    return {
        "cost/total_forward_passes": total.forward,
        "cost/total_input_backward_passes": total.input_backward,
        "cost/total_weight_backward_passes": total.weight_backward,
        "cost/passes_per_sample": total.cost / (num_train * len(history)),
    }


def time_values(history: Sequence[EpochMetrics], evaluation_seconds: float) -> dict[str, float]:
    """Return how long a trial took, counting each of its epochs at their median time.

    A worker's first epoch may be longer, as it may compile something. Epochs that differ in passes
    have medians of their own. `seconds` is the sum.
    """
    alike: dict[tuple[int, ...], list[float]] = defaultdict(list)
    for epoch in history:
        alike[epoch.forward_passes, epoch.weight_backward_passes].append(epoch.seconds)
    found = {
        TRAINING: sum(len(seconds) * median(seconds) for seconds in alike.values()),
        VALIDATION: len(history) * median(epoch.validation_seconds for epoch in history),
        EVALUATION: evaluation_seconds,
    }
    return {**found, "seconds": sum(found.values())}


def hardware(device: "torch.device") -> str:
    """Return the name of the processor that a trial runs on."""
    if device.type == "cuda":
        import torch  # takes seconds, and is imported by whoever has such a device

        return torch.cuda.get_device_name(device)
    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    return f"{model}, {os.cpu_count()} cores"
