"""The work of one trial: its run in MLflow, its training, its evaluation, its files."""

import json
import math
import os
import platform
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from study import naming, space, storage, tracking
from study.context import TrialContext
from study.cost import shape_key
from study.settings import SIDES
from study.space import Cell, Configuration
from study.spec import StudySpec
from study.tracking import TrialRun
from trainers.checkpoint import CheckpointError, load_state, save_state, save_weights
from trainers.config import TrainConfig
from trainers.data import sample_hash
from trainers.engine import Engine
from trainers.evaluate import Evaluation, Examples, adversarial_examples, evaluate
from trainers.program import forget_programs
from trainers.train import EpochMetrics, TrainState, new_state, train

CHECKPOINT_SECONDS = 5.0
"""A cell's state is saved at most this often: what a killed worker loses."""


class DivergedError(RuntimeError):
    """A training whose loss left every useful range: trying it again would repeat it."""


class Trial:
    """One cell in training: its run, its state, its generator of epochs."""

    def __init__(
        self,
        context: TrialContext,
        ray_config: dict[str, Any],
        ray_trial: str,
        seen: Counter[str],
    ) -> None:
        """Rebuild the cell. seen: trials that this worker had before, by shape; counts this one."""
        self._run: TrialRun | None = None
        self._context = context
        self._started = time.monotonic()
        self._saved = time.monotonic()
        self._cell = _rebuild_cell(context, ray_config)
        self._ray_trial = ray_trial
        self._device = torch.device("cuda" if context.spec.resources.gpu > 0 else "cpu")
        torch.set_num_threads(context.spec.resources.cpu)
        self._canonical = space.canonical(self._cell.config, context.dataset.fingerprint)
        self._later_trials = self._count(seen)
        self._client = storage.connect(context.store)
        self._state_file = context.states / f"{self._cell.key}.pt"
        self._state: TrainState
        self._labels: dict[str, str] = {}
        self._epochs: Iterator[EpochMetrics] | None = None

    def _count(self, seen: Counter[str]) -> float:
        """Count this trial; returns how many more of its shape this worker can expect."""
        shape = shape_key(self._canonical)
        seen[shape] += 1
        return max(0.0, self._context.expected_trials.get(shape, 0.0) - seen[shape])

    def advance(self) -> dict[str, Any]:
        """Do the next piece of work and give what Ray is told of it."""
        if self._epochs is None:
            checkpoint = self._cell.config.evaluation.checkpoint
            known = tracking.find_finished(
                self._client, self._context.runs, self._cell.key, checkpoint
            )
            if known is not None:
                return _complete(known)
            self._open()
        assert self._epochs is not None
        assert self._run is not None
        epoch = next(self._epochs, None)
        if epoch is None:
            return self._finish(self._run)
        self._label(self._run)
        self._run.log(epoch_values(epoch), epoch.epoch)
        if epoch.diverged:
            raise DivergedError(
                f"diverged in epoch {epoch.epoch}: training loss {epoch.train_loss:.4g}"
            )
        if time.monotonic() - self._saved >= CHECKPOINT_SECONDS:
            save_state(self._state_file, self._state, self._cell.key)
            self._saved = time.monotonic()
        return {
            "done": False,
            "complete": False,
            "epoch": epoch.epoch,
            "validation_clean": epoch.validation_clean,
            "validation_robust": epoch.validation_robust,
        }

    def _label(self, run: TrialRun) -> None:
        """Say on the run what the training is executed by, whenever that is news."""
        if self._labels != self._state.engine:
            self._labels = dict(self._state.engine)
            run.label({f"engine.{name}": value for name, value in self._labels.items()})

    def fail(self, reason: str, details: str, would_repeat: bool) -> None:
        """End the trial as FAILED."""
        self._let_go()
        if self._run is not None:
            self._run.fail(reason, details, would_repeat)

    def kill(self, reason: str) -> None:
        """End the trial as KILLED."""
        self._let_go()
        if self._run is not None:
            self._run.flush()
            self._run.kill(reason)

    def _let_go(self) -> None:
        """Let go of the training, and on a GPU of all that this worker holds there."""
        self._epochs = None
        if self._device.type == "cuda":
            forget_programs()
            torch.cuda.empty_cache()

    def _open(self) -> None:
        """Open the run, and take up the cell's state where a worker was lost."""
        config = self._cell.config
        self._run = TrialRun(
            self._client,
            self._context.runs,
            naming.cell_name(self._context.spec, self._cell),
            self._tags(),
            run_params(self._context.spec, self._cell),
        )
        state = None
        try:
            state = load_state(
                self._state_file, config, self._context.dataset, self._device, self._cell.key
            )
        except CheckpointError:
            self._state_file.unlink(missing_ok=True)
        self._state = state or new_state(config, self._context.dataset, self._device)
        for epoch in self._state.metrics:
            self._run.log(epoch_values(epoch), epoch.epoch)
        steps = math.ceil(len(self._context.dataset.train.labels) / config.training.batch_size)
        later_steps = round(self._later_trials * steps * config.training.epochs)
        engine = Engine(later_steps=later_steps)
        self._epochs = train(config, self._context.dataset, self._device, self._state, engine)

    def _tags(self) -> dict[str, str]:
        """Name the trial so that a run killed in its first second still tells its cell."""
        configuration = self._cell.configuration
        return {
            **self._context.tags,
            "study": self._context.spec.name,
            "cell": self._cell.key,
            "method": configuration.method,
            "seed": str(self._cell.seed),
            "block": configuration.block,
            "number": str(configuration.number),
            "values": json.dumps(dict(configuration.values)),
            "config": json.dumps(self._canonical, sort_keys=True),
            "ray_trial": self._ray_trial,
            "hardware": hardware(self._device),
        }

    def _finish(self, run: TrialRun) -> dict[str, Any]:
        """Evaluate both checkpoints on the test set, record everything, end the run."""
        config, state = self._cell.config, self._state
        metrics = cost_values(state.metrics, len(self._context.dataset.train.labels))
        with tempfile.TemporaryDirectory(prefix="rhoeps-") as name:
            folder = Path(name)
            metrics |= self._evaluate(folder)
            resolved = json.dumps(self._resolved(), indent=2, sort_keys=True)
            (folder / "config.json").write_text(resolved + "\n", encoding="utf-8")
            metrics["seconds"] = time.monotonic() - self._started
            run.finish(metrics, folder)
        self._state_file.unlink(missing_ok=True)
        clean, robust = tracking.objective_names(config.evaluation.checkpoint)
        return _complete((metrics[clean], metrics[robust]))

    def _resolved(self) -> dict[str, Any]:
        """Give the cell's whole config, defaults included, with what only names it."""
        return {
            **self._canonical,
            "engine": self._state.engine,
            "cell": self._cell.key,
            "study": self._context.spec.name,
            "method_name": self._cell.configuration.method,
            "data_name": self._cell.config.data.name,
        }

    def _evaluate(self, folder: Path) -> dict[str, float]:
        """Evaluate the best and the last epoch; leave weights, bits and picture in `folder`."""
        config, dataset, state = self._cell.config, self._context.dataset, self._state
        epochs = {"last": state.epoch, "best": state.best_epoch}
        evaluations: dict[int, Evaluation] = {}
        metrics: dict[str, float] = {}
        threat = (dataset.test, dataset.divisor, config.evaluation, config.seed, self._device)
        for checkpoint, epoch in epochs.items():
            if checkpoint == "best":
                state.model.load_state_dict(state.best_weights)
            if epoch not in evaluations:
                evaluations[epoch] = evaluate(state.model, *threat)
            reached = state.metrics[epoch - 1]
            metrics |= checkpoint_values(checkpoint, config, reached, evaluations[epoch])
            save_weights(
                folder / "checkpoints" / f"{checkpoint}.pt",
                state.model.state_dict(),
                {"cell": self._cell.key, "checkpoint": checkpoint, "epoch": epoch},
            )
            if checkpoint == config.evaluation.checkpoint:
                examples = adversarial_examples(state.model, *threat)
                picture = draw_adversarial(examples, self._context)
                (folder / "adversarial_examples.png").write_bytes(picture)
        np.savez_compressed(
            folder / tracking.BITS_FILE,
            best=evaluations[epochs["best"]].bits,
            last=evaluations[epochs["last"]].bits,
            radii=np.array(config.evaluation.radii),
            sample_hash=np.array(sample_hash(dataset.test)),
        )
        return metrics


def draw_adversarial(examples: Examples, context: TrialContext) -> bytes:
    """Draw a trial's adversarial examples as PNG."""
    from analysis.examples import draw_examples  # matplotlib, which the first epochs do not need

    return draw_examples(
        examples.clean,
        examples.adversarial,
        examples.labels,
        examples.clean_predictions,
        examples.adversarial_predictions,
        context.dataset.classes,
        examples.radius,
        context.spec.evaluation.norm,
    )


def _complete(objectives: tuple[float, float]) -> dict[str, Any]:
    """Report a finished cell with the objectives that a search is told."""
    clean, robust = objectives
    return {"done": True, "complete": True, "objective_clean": clean, "objective_robust": robust}


def _rebuild_cell(context: TrialContext, ray_config: Mapping[str, Any]) -> Cell:
    """Make the cell again from what the searcher put into Ray's trial config."""
    configuration = Configuration(
        method=ray_config["method"],
        values=tuple((name, value) for name, value in ray_config["values"]),
        block=ray_config["block"],
        number=ray_config["number"],
    )
    seed = ray_config["seed"]
    config = space.train_config(context.spec, configuration, seed)
    return Cell(key=ray_config["key"], configuration=configuration, seed=seed, config=config)


def run_params(spec: StudySpec, cell: Cell) -> dict[str, object]:
    """Flatten a cell into MLflow's parameters, the same names for every trial of a study.

    A side that is off has radius 0, which is what it means, and `none` for its other settings:
    so the UI's comparisons find a value everywhere. The names that studies compare by come first
    in the alphabet of those that differ, as the UI draws the first ones.
    """
    config = cell.config
    params: dict[str, object] = {
        "method": cell.configuration.method,
        "rho": 0.0,
        "epsilon": 0.0,
        "seed": config.seed,
        "setup.data": config.data.name,
    }
    for declared in spec.methods.values():
        for side in ("weights", "inputs", "loss"):
            cls = SIDES[side][getattr(declared, side).name]
            names = {item.name for item in fields(cls)} - {"rho", "epsilon"}
            params |= {f"sides.{side}.{name}": "none" for name in names}
    for side, name in space.side_names(config.method).items():
        params[f"sides.{side}"] = name
        for key, value in asdict(getattr(config.method, side)).items():
            params[key if key in ("rho", "epsilon") else f"sides.{side}.{key}"] = value
    extent = asdict(config.data)
    params |= {f"setup.data.{key}": value for key, value in extent.items() if key != "name"}
    params |= {f"setup.model.{key}": value for key, value in asdict(config.model).items()}
    params |= {f"setup.{key}": value for key, value in asdict(config.training).items()}
    evaluation = asdict(config.evaluation)
    attack = evaluation.pop("attack")
    for name in ("radii", "other_norm_radii"):
        radii = ", ".join(f"{radius:.6g}" for radius in evaluation[name])
        evaluation[name] = radii or "none"
    params |= {f"setup.evaluation.{key}": value for key, value in evaluation.items()}
    params |= {f"setup.evaluation.{key}": value for key, value in attack.items()}
    return params


def epoch_values(epoch: EpochMetrics) -> dict[str, float]:
    """Name an epoch's metrics for MLflow; what is not finite is left out."""
    values = {
        "train/epoch": epoch.epoch,
        "train/loss": epoch.train_loss,
        "train/accuracy": epoch.train_accuracy,
        "validation/clean": epoch.validation_clean,
        "validation/robust": epoch.validation_robust,
        "train/learning_rate": epoch.learning_rate,
        "cost/epoch_seconds": epoch.seconds,
        "cost/forward_passes": epoch.forward_passes,
        "cost/input_backward_passes": epoch.input_backward_passes,
        "cost/weight_backward_passes": epoch.weight_backward_passes,
    }
    return {name: value for name, value in values.items() if math.isfinite(value)}


def checkpoint_values(
    checkpoint: str, config: TrainConfig, epoch: EpochMetrics, evaluation: Evaluation
) -> dict[str, float]:
    """Name what one checkpoint reached, on validation and on test."""
    norm = config.evaluation.norm
    return {
        f"{checkpoint}/epoch": epoch.epoch,
        f"{checkpoint}/validation_clean": epoch.validation_clean,
        f"{checkpoint}/validation_robust": epoch.validation_robust,
        f"{checkpoint}/test_clean": evaluation.clean,
        **{
            tracking.robust_name(checkpoint, norm, radius): value
            for radius, value in zip(config.evaluation.radii, evaluation.robust, strict=True)
        },
    }


def cost_values(history: list[EpochMetrics], num_train: int) -> dict[str, float]:
    """Count the training's cost in forward passes per sample and epoch; standard training is 3.

    A backward pass to the inputs costs one forward pass, one to weights and inputs two.
    """
    passes = sum(
        epoch.forward_passes + epoch.input_backward_passes + 2 * epoch.weight_backward_passes
        for epoch in history
    )
    return {"cost/passes_per_sample": passes / (num_train * len(history))}


def hardware(device: torch.device) -> str:
    """Name the processor that a trial runs on."""
    if device.type == "cuda":
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
