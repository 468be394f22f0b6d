"""The training loop: a generator of `EpochMetrics`; one loop for all methods.

Each epoch draws from random streams decided by the seed, the stream's name and the epoch. So a
training that stops after any epoch and goes on later is the same training, bit for bit if both
parts are executed alike: compiled steps round differently (`TrainState.engine` lists both).
"""

import copy
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainers.config import (
    VALIDATION_ATTACK,
    Phases,
    TrainConfig,
    check,
    check_batches,
    own_parts,
    passes,
    segments,
)
from trainers.data.dataset import Dataset
from trainers.detectors import DIVERGED_LOSS, Detection, EpochMetrics, detect, largest_share
from trainers.engine.engine import Engine, classifier, compiles, generator, repeatable
from trainers.engine.feed import fed
from trainers.engine.program import Program, program_for
from trainers.evaluation.evaluate import Bits, attacked_batches, clean_bits
from trainers.networks.build import build_model
from trainers.step.batches import Draw, border_of, draw_boxes, with_extra
from trainers.step.losses import minimised
from trainers.step.numbers import Memory, Numbers, schedule
from trainers.step.step import new_memory


@dataclass(kw_only=True)
class TrainState:
    """A training between two epochs: all that a later call of `train` needs."""

    model: nn.Module
    """In training mode. Its weights and buffers are written in place."""
    memory: Memory
    """Moments of the base optimiser, moving averages, and what the weight side remembers."""
    epoch: int = 0
    """Finished epochs."""
    best_epoch: int = 0
    """0 until there is one."""
    best_score: float = -math.inf
    """Mean of the best epoch's validation accuracies."""
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    """`evaluated_weights` at the best epoch; empty until there is one."""
    metrics: list[EpochMetrics] = field(default_factory=list)
    """Of all finished epochs."""
    engine: dict[str, str] = field(default_factory=dict)
    """How the epochs were executed, by part. It changes numbers by rounding alone."""


def new_state(
    config: TrainConfig,
    data: Dataset,
    device: torch.device,
    start: Callable[[nn.Module], object] | None = None,
) -> TrainState:
    """Return the state before the first epoch.

    start: writes the weights that `config.start` names into the network, which the seed has drawn.
    """
    check_batches(config.model, config.training.batch_size, len(data.train.labels))
    initial = generator(config.seed, "initial weights", device=torch.device("cpu"))
    model = build_model(config.model, data, initial)
    if start is not None:
        start(model)
    model.to(device).train()
    if device.type == "cuda":
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return TrainState(model=model, memory=new_memory(config, model, len(data.classes)))


def evaluated_weights(state: TrainState) -> dict[str, Tensor]:
    """Return the `state_dict` that is evaluated: the moving averages where they are kept.

    It shares storage with the state.
    """
    weights = dict(state.model.state_dict())
    if state.memory.averages:
        named = (*state.model.named_parameters(), *state.model.named_buffers())
        weights |= {
            name: mean for (name, _), mean in zip(named, state.memory.averages, strict=True)
        }
    return weights


def evaluated_model(state: TrainState) -> nn.Module:
    """Return the network that is evaluated: the model itself, or one of its moving averages."""
    if not state.memory.averages:
        return state.model
    averaged = copy.deepcopy(state.model)
    averaged.load_state_dict(evaluated_weights(state))
    return averaged


def detections(
    config: TrainConfig, data: Dataset, history: Sequence[EpochMetrics]
) -> tuple[Detection, ...]:
    """Return what has gone wrong in a training on `data` so far (`trainers.detectors`)."""
    labels = data.validation.labels
    return detect(config, len(data.classes), len(labels), largest_share(labels), history)


def train(
    config: TrainConfig,
    data: Dataset,
    device: torch.device,
    state: TrainState | None = None,
    engine: Engine | None = None,
) -> Iterator[EpochMetrics]:
    """Train one network; yield each epoch's metrics as it ends.

    The caller may stop after any epoch. `state` is written in place between two epochs only, and is
    all that a later call needs to go on. A detection that ends the training, such as a divergence,
    does so at the end of its epoch.
    engine: the faster forms that the steps may take; by default all that pay.
    """
    engine = engine or Engine()
    check_batches(config.model, config.training.batch_size, len(data.train.labels))
    rule = "needs a state made by new_state from the weights it names"
    check(state is not None or config.start == "none", "start", rule, config.start)
    state = new_state(config, data, device) if state is None else state
    for last, part in segments(config):
        numbers = schedule(part, len(data.train.labels), data.divisor)
        num_steps = max(0, last - state.epoch) * numbers.shape[1]
        is_compiled = compiles(engine, device, num_steps)
        while state.epoch < last and not _has_ended(config, data, state):
            program = program_for(part, data, state.model, device, engine, is_compiled)
            rows = numbers[state.epoch]
            trained = _train_epoch(part, data, device, state, program, rows)
            yield _finish_epoch(config, data, device, state, trained, engine)


def _has_ended(config: TrainConfig, data: Dataset, state: TrainState) -> bool:
    """Return whether a detection ends the training."""
    return any(detection.ends for detection in detections(config, data, state.metrics))


def _train_epoch(
    config: TrainConfig,
    data: Dataset,
    device: torch.device,
    state: TrainState,
    program: Program,
    numbers: Tensor,
) -> dict[str, Any]:
    """Run the steps of an epoch, and return its training metrics. numbers: a row for each step."""
    started = time.perf_counter()
    total, samples = config.training.epochs * len(numbers), Counter[Phases]()
    # Counted over the whole training, so that a resumed one acts on the same steps.
    first = state.epoch * len(numbers)
    phases = [config.method.phases(first + step, total) for step in range(len(numbers))]
    program.load(state.model, state.memory)
    rows = numbers.to(torch.float32).to(device)
    order = _order(config, data, state.epoch, device)
    draws = _draws(config, data, program, state.epoch, order, phases)
    feeding = fed(config, data, program.feed, state.epoch, order, draws)
    with repeatable(), _seeded(config, state.epoch, device), feeding as ready:
        for row, draw, phase in zip(rows, ready, phases, strict=True):
            program.run(row, draw, phase)
            samples[phase] += len(draw.samples)
    trained = _read(program, config, samples)
    program.store(state.model, state.memory)
    minimised(config.method.loss).end_epoch(state.memory.loss)
    seconds = time.perf_counter() - started
    state.engine = _then(state.engine, program.describe())
    learning_rate = float(numbers[0, Numbers._fields.index("learning_rate")])
    return {**trained, "learning_rate": learning_rate, "seconds": seconds}


@contextmanager
def _seeded(config: TrainConfig, epoch: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators for an epoch with own parts, which may draw from them.

    So their dropout, say, is decided by the seed, and a resumed training draws the same. Otherwise
    nothing is touched.
    """
    if not own_parts(config):
        yield
        return
    stream = generator(config.seed, "own parts", epoch, device=torch.device("cpu"))
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(stream.initial_seed())
        yield


def _then(before: dict[str, str], now: dict[str, str]) -> dict[str, str]:
    """Return how the last epoch was executed. Where earlier epochs differ, list both."""
    changed = {name for name, value in now.items() if before.get(name, value) != value}
    kept = {
        n: b if (b := before.get(n, "")).endswith(now[n]) else f"{b}, then {now[n]}"
        for n in changed
    }
    return now | kept


def _order(config: TrainConfig, data: Dataset, epoch: int, device: torch.device) -> Tensor:
    """Draw the order of the training images in an epoch, in which extra ones take their places."""
    stream = generator(config.seed, "batch order", epoch, device=device)
    order = torch.randperm(len(data.train.labels), generator=stream, device=device)
    if not data.extra_share:
        return order
    stream = generator(config.seed, "extra images", epoch, device=device)
    return with_extra(order, data, config.training.batch_size, stream)


def _draws(
    config: TrainConfig,
    data: Dataset,
    program: Program,
    epoch: int,
    order: Tensor,
    phases: Sequence[Phases],
) -> Iterator[Draw]:
    """Draw everything random about the batches of an epoch; `epoch` counts from 0.

    phases: of each batch's step. An input side that rests draws nothing.
    """
    device, shape = order.device, data.image_shape
    num_train, size = len(order), config.training.batch_size
    augmentation = generator(config.seed, "augmentation", epoch, device=device)
    noise = generator(config.seed, "input noise", epoch, device=device)
    choices = generator(config.seed, "weight side", epoch, device=device)
    corner = is_flipped = torch.empty(0, device=device)
    sizes = torch.empty(0, dtype=torch.int64, device=device)
    if border := border_of(data):
        corner = torch.randint(
            2 * border + 1, (num_train, 2), generator=augmentation, device=device
        )
    if data.augmentation != "none":
        is_flipped = torch.randint(2, (num_train,), generator=augmentation, device=device) == 1
        is_flipped &= data.augmentation != "crop"
    for step, phase in enumerate(phases):
        batch = slice(step * size, (step + 1) * size)
        index, corners = order[batch], corner[batch]
        if data.augmentation == "random_resized_crop":
            corners, sizes = draw_boxes(len(index), shape, augmentation)
        drawn = program.draw_noise((len(index), *shape), noise, phase.inputs)
        choice = program.draw_choice(choices, phase.weights)
        yield Draw(index, corners, is_flipped[batch], drawn, sizes, choice)


def _read(program: Program, config: TrainConfig, samples: Counter[Phases]) -> dict[str, Any]:
    """Read the sums of an epoch: the only place where training waits for the device.

    samples: how many were trained on, by what both sides did.
    """
    sums = program.sums
    norms = torch.stack(torch._foreach_norm(program.network.weights))
    is_finite = sums.is_finite & norms.isfinite().all()
    values = [sums.loss, sums.correct, sums.seen, is_finite]
    loss, correct, seen, finite = torch.stack([v.double() for v in values]).tolist()
    each = [(count, passes(config.method, phases)) for phases, count in samples.items()]
    return {
        "train_loss": loss / seen,
        "train_accuracy": correct / seen,
        "forward_passes": int(sum(count * of.forward for count, of in each)),
        "input_backward_passes": int(sum(count * of.input_backward for count, of in each)),
        "weight_backward_passes": int(sum(count * of.weight_backward for count, of in each)),
        "diverged": not finite,
    }


def _finish_epoch(
    config: TrainConfig,
    data: Dataset,
    device: torch.device,
    state: TrainState,
    trained: dict[str, Any],
    engine: Engine,
) -> EpochMetrics:
    """Validate, keep the weights if they are the best so far, and count the epoch as finished."""
    started = time.perf_counter()
    is_late = state.epoch > 0
    limit = DIVERGED_LOSS * math.log(len(data.classes))
    trained["diverged"] |= is_late and trained["train_loss"] > limit
    clean = robust = math.nan
    if not trained["diverged"]:
        clean, robust = validate(config, data, device, evaluated_model(state), engine)
    score = (clean + robust) / 2
    is_best = score > state.best_score
    state.epoch += 1
    if is_best:
        state.best_epoch, state.best_score = state.epoch, score
        tensors = evaluated_weights(state).items()
        state.best_weights = {name: tensor.clone() for name, tensor in tensors}
    metrics = EpochMetrics(
        epoch=state.epoch,
        validation_clean=clean,
        validation_robust=robust,
        validation_seconds=time.perf_counter() - started,
        is_best=is_best,
        **trained,
    )
    state.metrics.append(metrics)
    return metrics


def validate(
    config: TrainConfig, data: Dataset, device: torch.device, model: nn.Module, engine: Engine
) -> tuple[float, float]:
    """Compute clean accuracy, and robust accuracy (nested) at the objective radius."""
    clean, robust = validation_bits(config, data, device, model, engine).mean(axis=1).tolist()
    return clean, robust


@repeatable()
def validation_bits(
    config: TrainConfig, data: Dataset, device: torch.device, model: nn.Module, engine: Engine
) -> Bits:
    """Classify the validation part, unattacked and at the objective radius (nested). (2, n)."""
    view = classifier(model, data.image_shape, device, engine)
    is_right = clean_bits(view, data.validation, data.divisor, device)
    batches = attacked_batches(
        view,
        data.validation,
        data.divisor,
        norm=config.evaluation.norm,
        radius=config.evaluation.objective_radius,
        attack=VALIDATION_ATTACK,
        stream=(config.seed, "validation attack"),
        device=device,
    )
    survives = torch.cat([batch.is_right for batch in batches]).cpu().numpy()
    return np.stack([is_right, is_right & survives])
