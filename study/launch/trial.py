"""The work of one trial: its training, its evaluation, its run in MLflow and its files.

A finished trial leaves the weights of its best and last epoch, the correctness bits of every sample
at every radius, a picture of adversarial examples, and its whole configuration.
"""

import io
import json
import math
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import torch

from study.launch.restored import Restored, copy_attacks, restore
from study.launch.states import StatesError, TrialContext
from study.plan import naming, space
from study.plan.cost import shape_key
from study.plan.plan import EVALUATED_TAG, LAST_ALONE_TAG
from study.plan.space import Cell, Configuration
from study.plan.stops import rungs_of
from study.plan.times import EVALUATION, START
from study.records import runs, store
from study.records.models import log_model
from study.records.outages import connect_patiently
from study.records.runs import TrialRun
from study.records.values import (
    checkpoint_values,
    cost_values,
    detector_values,
    epoch_values,
    hardware,
    run_params,
    time_values,
)
from trainers.checkpoint import (
    RECIPE,
    CheckpointError,
    load_state,
    recipe,
    save_state,
    save_weights,
)
from trainers.config import TrainConfig
from trainers.data.subset import sample_hash
from trainers.detectors import EpochMetrics
from trainers.engine.engine import Engine
from trainers.engine.program import forget_programs
from trainers.evaluation.evaluate import Evaluation, Examples, adversarial_examples, evaluate
from trainers.networks.start import read_weights, start_from
from trainers.train import (
    TrainState,
    detections,
    evaluated_model,
    evaluated_weights,
    new_state,
    train,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

T = TypeVar("T")

CHECKPOINT_SECONDS = 5.0
"""A cell's state is saved at most this often, so a lost worker costs about this much training."""


class EndedError(RuntimeError):
    """A detector ended the training; another try would end in the same way."""


class Trial:
    """One cell in training: its run, its state, its generator of epochs."""

    def __init__(
        self,
        context: TrialContext,
        ray_config: dict[str, Any],
        ray_trial: str,
        seen: Counter[str],
    ) -> None:
        """Rebuild the cell from Ray's trial config.

        `seen` counts the trials that this worker has had, by shape; this one is added.
        """
        self._run: TrialRun | None = None
        self._context = context
        self._saved = time.monotonic()
        self._cell = _rebuild_cell(context, ray_config)
        self._rungs = rungs_of(context.spec, self._cell)
        self._source = str(ray_config["source"])
        # Another worker of this launch may have recorded the cell's end. Those of earlier launches
        # are gone, but for a cluster's, or another machine's whose lease ran out. To ask the store
        # takes the longer, the more runs it has.
        has_others = context.workers_lock is None or context.store.is_shared
        self._may_be_done = bool(ray_config["again"]) or has_others
        self._restored: Restored | None = None
        self._ray_trial = ray_trial
        self._device = torch.device("cuda" if context.spec.resources.gpu > 0 else "cpu")
        torch.set_num_threads(context.spec.resources.cpu)
        self._canonical = space.canonical(self._cell.config, context.dataset.fingerprint)
        self._later_trials = self._count(seen)
        self._patience = connect_patiently(context.store)
        self._client = cast("MlflowClient", self._patience)
        self._state: TrainState
        self._keeps_state = True
        self._detected: set[str] = set()
        self._labels: dict[str, str] = {}
        self._epochs: Iterator[EpochMetrics] | None = None

    def _count(self, seen: Counter[str]) -> float:
        """Count this trial in `seen`, and return how many more of its shape this worker expects."""
        shape = shape_key(self._canonical)
        self._is_first = not seen  # of its worker
        seen[shape] += 1
        return max(0.0, self._context.expected_trials.get(shape, 0.0) - seen[shape])

    def advance(self) -> dict[str, Any]:
        """Do the next piece of work, an epoch or the evaluation, and return its result for Ray."""
        if self._epochs is None:
            known = self._find_finished() if self._may_be_done else None
            if known is not None:
                return _complete(known, 0.0)
            self._open()
        assert self._epochs is not None
        assert self._run is not None
        epoch = next(self._epochs, None)
        if epoch is None:
            return self._finish(self._run)
        self._label(self._run)
        self._run.log(epoch_values(epoch) | detector_values(self._state.metrics), epoch.epoch)
        self._heed(self._run)
        is_rung = epoch.epoch in self._rungs
        if is_rung or time.monotonic() - self._saved >= CHECKPOINT_SECONDS:
            self._save_state()
            self._saved = time.monotonic()
        if is_rung:  # the launcher may stop the trial here, or be killed: its epochs must be known
            self._run.flush()
        return {
            "done": False,
            "complete": False,
            "run": self._run.id,
            "epoch": epoch.epoch,
            "validation_clean": epoch.validation_clean,
            "validation_robust": epoch.validation_robust,
            "training_seconds": epoch.seconds,
            "validation_seconds": epoch.validation_seconds,
        }

    def _find_finished(self) -> tuple[float, float] | None:
        """Return the objectives of the cell if it is done, else None."""
        checkpoint = self._cell.config.evaluation.checkpoint
        return runs.find_finished(self._client, self._context.runs, self._cell.key, checkpoint)

    def _label(self, run: TrialRun) -> None:
        """Label the run with how epochs are executed, whenever that has changed."""
        if self._labels != self._state.engine:
            self._labels = dict(self._state.engine)
            run.label({f"engine.{name}": value for name, value in self._labels.items()})

    def _heed(self, run: TrialRun) -> None:
        """Label the run with what detectors found; raise `EndedError` if one ends the training."""
        config, history = self._cell.config, self._state.metrics
        found = detections(config, self._context.dataset, history)
        new = [one for one in found if one.name not in self._detected]
        self._detected |= {one.name for one in new}
        if new:
            run.label({f"detected.{one.name}": f"epoch {one.epoch}: {one.text}" for one in new})
        for one in found:
            if one.ends:
                raise EndedError(one.reason)

    def fail(self, reason: str, details: str, would_repeat: bool) -> None:
        """End the trial as FAILED."""
        self._release()
        if self._run is not None:
            self._run.fail(reason, details, would_repeat)
            if would_repeat:
                self._with_states(lambda: self._context.states.delete(self._cell.key))

    def kill(self, reason: str) -> None:
        """End the trial as KILLED."""
        self._release()
        self._patience.seconds = 0.0  # no time to wait for a server now
        if self._run is not None:
            self._run.flush()
            self._run.kill(reason)

    def _release(self) -> None:
        """Drop the training, and on a GPU all memory that this worker holds there."""
        self._epochs = None
        self._restored = None
        # Captured programs keep their memory, which the next cell of this worker may need.
        if self._device.type == "cuda":
            forget_programs()
            torch.cuda.empty_cache()

    def _open(self) -> None:
        """Open the run, and begin the training, or resume it after a worker was lost."""
        config = self._cell.config
        self._run = TrialRun(
            self._client,
            self._context.runs,
            naming.run_name(self._context.spec, self._cell.configuration, self._cell.seed),
            self._tags(),
            run_params(self._context.spec, self._cell),
            lambda: bool(store.silence(self._context.store)),
        )
        self._start_seconds = time.time() - self._context.began
        if self._source:
            self._epochs = self._restore(self._run)
            return
        self._state = self._kept_state() or self._first_state(self._run)
        if self._state.epoch > 0:
            self._run.label({"resumed": f"after epoch {self._state.epoch}"})
        # The run is a new one, so it gets the epochs of the lost worker, too.
        for number, epoch in enumerate(self._state.metrics, 1):
            values = detector_values(self._state.metrics[:number])
            self._run.log(epoch_values(epoch) | values, epoch.epoch)
        self._heed(self._run)
        # The engine weighs what compiling costs against all the steps that it will serve.
        steps = math.ceil(len(self._context.dataset.train.labels) / config.training.batch_size)
        later_steps = round(self._later_trials * steps * config.training.epochs)
        engine = Engine(later_steps=later_steps)
        self._epochs = train(config, self._context.dataset, self._device, self._state, engine)

    def _first_state(self, run: TrialRun) -> TrainState:
        """Return the state before the first epoch, from weights if the cell starts from some."""
        config, dataset = self._cell.config, self._context.dataset
        if config.start == "none":
            return new_state(config, dataset, self._device)
        file = self._context.starts[config.start.weights]
        weights = read_weights(file.content, file.name)

        def start(model: torch.nn.Module) -> None:
            run.label({"started_from": f"{file.name}: {start_from(model, weights, file.name)}"})

        return new_state(config, dataset, self._device, start)

    def _restore(self, run: TrialRun) -> Iterator[EpochMetrics]:
        """Bring back the networks of an earlier run; there is no epoch left to train."""
        restored = restore(
            self._client, self._context, self._cell, self._canonical, self._device, self._source
        )
        self._restored, self._state = restored, restored.state
        for epoch in restored.state.metrics:
            run.log(epoch_values(epoch), epoch.epoch)
        alone = {} if restored.state.best_epoch else {LAST_ALONE_TAG: "true"}
        run.label({**restored.labels, **alone})
        return iter(())

    def _kept_state(self) -> TrainState | None:
        """Return the state that a lost worker left of the cell, or None; delete a damaged one."""
        states, key = self._context.states, self._cell.key
        content = self._with_states(lambda: states.load(key))
        if content is None:
            return None
        try:
            kept = io.BytesIO(content)
            return load_state(kept, self._cell.config, self._context.dataset, self._device, key)
        except CheckpointError:
            self._with_states(lambda: states.delete(key))
            return None

    def _save_state(self) -> None:
        """Save the cell's state, so that another worker can resume it if this one is lost."""
        content = io.BytesIO()
        save_state(content, self._state, self._cell.key)
        self._with_states(lambda: self._context.states.save(self._cell.key, content.getvalue()))

    def _with_states(self, work: Callable[[], T]) -> T | None:
        """Do some work on saved states; once that fails, label the run and go on without them."""
        if not self._keeps_state:
            return None
        try:
            return work()
        except StatesError as error:
            self._keeps_state = False
            assert self._run is not None
            self._run.label({"not_resumable": store.masked(str(error)[:500])})
            return None

    def _tags(self) -> dict[str, str]:
        """Return the run's tags, from which its cell is known even if it is killed at once."""
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
            **({EVALUATED_TAG: self._source} if self._source else {}),
        }

    def _finish(self, run: TrialRun) -> dict[str, Any]:
        """Evaluate both checkpoints on the test set, record everything, end the run."""
        config, state = self._cell.config, self._state
        if self._restored is None:
            metrics = cost_values(state.metrics, len(self._context.dataset.train.labels))
        else:
            metrics = dict(self._restored.metrics)
        with tempfile.TemporaryDirectory(prefix="rhoeps-") as name:
            folder = Path(name)
            started = time.monotonic()
            metrics |= _judge(self._context, self._cell, state, self._device, folder)
            evaluation_seconds = time.monotonic() - started
            resolved = json.dumps(self._resolved(), indent=2, sort_keys=True)
            (folder / "config.json").write_text(resolved + "\n", encoding="utf-8")
            if self._is_first:
                metrics[START] = self._start_seconds
            if self._restored is None:
                metrics |= time_values(state.metrics, evaluation_seconds)
            else:
                metrics[EVALUATION] = evaluation_seconds
                copy_attacks(self._client, self._source, folder)
            run.finish(metrics, folder, lambda: self._log_network(run, folder))
        self._with_states(lambda: self._context.states.delete(self._cell.key))
        clean, robust = runs.objective_names(_checkpoint(config, state))
        seconds = evaluation_seconds if self._restored else metrics["seconds"]
        return _complete((metrics[clean], metrics[robust]), seconds)

    def _log_network(self, run: TrialRun, folder: Path) -> str:
        """Log the checkpoint that the study reads as a model; return why not, if it cannot be."""
        checkpoint = _checkpoint(self._cell.config, self._state)
        values = space.short_values(self._context.spec, self._cell.configuration)
        return log_model(
            self._client,
            self._context.runs,
            run,
            checkpoint,
            folder,
            {"method": self._cell.configuration.method, **values, "seed": self._cell.seed},
            self._context.dataset.image_shape,
        )

    def _resolved(self) -> dict[str, Any]:
        """Return the cell's whole configuration, with the names that no number depends on."""
        return {
            **self._canonical,
            "engine": self._state.engine,
            "cell": self._cell.key,
            "study": self._context.spec.name,
            "method_name": self._cell.configuration.method,
            "data_name": self._cell.config.data.name,
        }


def _checkpoint(config: TrainConfig, state: TrainState) -> str:
    """Return the checkpoint that the study reads: the last one if the state has no best epoch."""
    return config.evaluation.checkpoint if state.best_epoch else "last"


def _judge(
    context: TrialContext, cell: Cell, state: TrainState, device: torch.device, folder: Path
) -> dict[str, float]:
    """Evaluate the best and the last epoch on test; write weights, bits and picture to `folder`.

    Returns the metrics of both checkpoints, or of only the last if the state has no best epoch.
    Afterwards the state's model has the weights of the best epoch.
    """
    config, dataset = cell.config, context.dataset
    epochs = {"last": state.epoch} | ({"best": state.best_epoch} if state.best_epoch else {})
    weights = {"last": evaluated_weights(state), "best": state.best_weights}
    model = evaluated_model(state)
    evaluations: dict[int, Evaluation] = {}
    metrics: dict[str, float] = {}
    threat = (dataset.test, dataset.divisor, config.evaluation, config.seed, device)
    for checkpoint, epoch in epochs.items():
        if checkpoint == "best":
            model.load_state_dict(state.best_weights)
        if epoch not in evaluations:  # the last epoch may be the best one
            evaluations[epoch] = evaluate(model, *threat)
        reached = state.metrics[epoch - 1]
        metrics |= checkpoint_values(checkpoint, config, reached, evaluations[epoch])
        save_weights(
            folder / runs.weights_file(checkpoint),
            weights[checkpoint],
            {
                "cell": cell.key,
                "checkpoint": checkpoint,
                "epoch": epoch,
                RECIPE: recipe(config.model, dataset),
            },
        )
        if checkpoint == _checkpoint(config, state):
            examples = adversarial_examples(model, *threat)
            picture = _draw_adversarial(examples, context)
            (folder / "adversarial_examples.png").write_bytes(picture)
    bits: dict[str, Any] = {name: evaluations[epoch].bits for name, epoch in epochs.items()}
    bits["radii"] = np.array(config.evaluation.radii)
    if config.evaluation.other_norm_radii:
        for name, epoch in epochs.items():
            bits[f"{name}_other"] = evaluations[epoch].other_bits
        bits["other_radii"] = np.array(config.evaluation.other_norm_radii)
    bits["sample_hash"] = np.array(sample_hash(dataset.test))
    np.savez_compressed(folder / runs.BITS_FILE, **bits)
    return metrics


def _draw_adversarial(examples: Examples, context: TrialContext) -> bytes:
    """Draw a trial's adversarial examples as PNG."""
    # matplotlib takes long to import, and the first epochs do not need it.
    from analysis.figures.examples import draw_examples

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


def _complete(objectives: tuple[float, float], seconds: float) -> dict[str, Any]:
    """Return a finished cell's result for Ray: what the search learns from, and the time taken."""
    clean, robust = objectives
    found = {"objective_clean": clean, "objective_robust": robust, "seconds": seconds}
    return {"done": True, "complete": True, **found}


def _rebuild_cell(context: TrialContext, ray_config: Mapping[str, Any]) -> Cell:
    """Build the cell again from what the searcher put into Ray's trial config."""
    configuration = Configuration(
        method=ray_config["method"],
        values=tuple((name, value) for name, value in ray_config["values"]),
        block=ray_config["block"],
        number=ray_config["number"],
    )
    seed = ray_config["seed"]
    config = space.train_config(context.spec, configuration, seed)
    return Cell(key=ray_config["key"], configuration=configuration, seed=seed, config=config)
