"""A finished trial's networks, brought back to be evaluated under other settings.

Nothing is trained: the weights, the epochs and what the training cost are those of the first run.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from study.launch.states import TrialContext
from study.plan.plan import TrialRecord, knows_best_epoch
from study.plan.space import Cell
from study.plan.times import TRAINING, VALIDATION
from study.records import runs
from study.records.attacks import FOLDER, METRIC_WORDS
from study.records.values import EPOCH_FIELDS
from trainers.checkpoint import CheckpointError, load_weights
from trainers.detectors import EpochMetrics
from trainers.engine.engine import Engine
from trainers.train import TrainState, new_state, validate

if TYPE_CHECKING:
    from mlflow import MlflowClient

COPIED_TAGS = ("engine.", "detected.")
"""Prefixes of the tags that describe the training, and not its evaluation."""


@dataclass(frozen=True, kw_only=True)
class Restored:
    """What a finished training has left."""

    state: TrainState
    """After its last epoch. `best_epoch` is 0 where the best one was not stored."""
    metrics: dict[str, float]
    """What the training cost, and what AutoAttack found about its networks."""
    labels: dict[str, str]


def restore(
    client: "MlflowClient",
    context: TrialContext,
    cell: Cell,
    canonical: dict[str, object],
    device: torch.device,
    run: str,
) -> Restored:
    """Bring back the training of a run, as it stood after its last epoch.

    If the cell has another norm or objective radius than the run, robust validation accuracy is
    measured again for the last epoch. It is unknown for the other epochs, so none is the best.
    Raises `CheckpointError` or `TrackingError` if its files cannot be read.
    """
    record = runs.read_trial(client, run, "last")
    state = new_state(cell.config, context.dataset, device)
    state.memory.averages.clear()  # if there are averages, they are what is stored
    last_epoch = _load(context, record, "last", state)
    has_best = knows_best_epoch(record, canonical)
    epochs = runs.read_histories(client, run, EPOCH_FIELDS)
    state.metrics = [_epoch(number, epochs, has_best) for number in range(1, last_epoch + 1)]
    state.epoch = last_epoch
    if has_best:
        state.best_epoch = _load(context, record, "best", state)
    else:
        clean, robust = validate(cell.config, context.dataset, device, state.model, Engine())
        reached = vars(state.metrics[-1]) | {"validation_clean": clean}
        state.metrics[-1] = EpochMetrics(**reached | {"validation_robust": robust})
    labels = {name: text for name, text in record.labels.items() if name.startswith(COPIED_TAGS)}
    state.engine = {
        name.removeprefix("engine."): text
        for name, text in labels.items()
        if name.startswith("engine.")
    }
    lost = () if has_best else ("best/",)
    return Restored(state=state, metrics=_kept_metrics(record, lost), labels=labels)


def _load(context: TrialContext, record: TrialRecord, checkpoint: str, state: TrainState) -> int:
    """Read a checkpoint's weights into the state, and return its epoch."""
    with runs.artifact(context.store, record, runs.weights_file(checkpoint)) as path:
        weights, metadata = load_weights(path)
        try:
            if checkpoint == "last":
                state.model.load_state_dict(weights)
            else:
                ours = state.model.state_dict()
                state.best_weights = {n: weights[n].to(ours[n].device) for n in ours}
            return int(metadata["epoch"])
        except (KeyError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(
                f"{path}: is not a network of this study ({reason}); delete it to train again"
            ) from error


def _epoch(
    number: int, histories: dict[str, dict[int, float]], is_robust_known: bool
) -> EpochMetrics:
    """Build an epoch's metrics again; what was not recorded is nan."""
    known = {field: histories[name].get(number, math.nan) for name, field in EPOCH_FIELDS.items()}
    if not is_robust_known:
        known["validation_robust"] = math.nan
    counts = ("forward_passes", "input_backward_passes", "weight_backward_passes")
    whole = {field: int(known[field]) for field in counts if math.isfinite(known[field])}
    return EpochMetrics(
        **known | whole | {"epoch": number},  # type: ignore[arg-type]
        validation_seconds=0.0,
        is_best=False,
        diverged=False,
    )


def _kept_metrics(record: TrialRecord, lost: tuple[str, ...]) -> dict[str, float]:
    """Return the metrics of the training's cost and of the attacks on its networks.

    Those of checkpoints that are `lost`, by the prefix of their names, are left out.
    """
    words = tuple(METRIC_WORDS.values())
    kept = ("seconds", "cost/passes_per_sample", "cost/total_", TRAINING, VALIDATION)
    return {
        name: value
        for name, value in record.metrics.items()
        if name.startswith(kept)
        or (name.partition("/")[2].startswith(words) and not name.startswith(lost))
    }


def copy_attacks(client: "MlflowClient", run: str, folder: Path) -> None:
    """Copy the files of AutoAttack from a run into a folder: the networks are the same."""
    if client.list_artifacts(run, FOLDER):
        client.download_artifacts(run, FOLDER, str(folder))
