"""How long a launch will take, from what trials of the same kind took.

A trial's time is what it takes in a worker that has already started. The time until the workers
have started is added once.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Any

from study.plan import space
from study.plan.cost import evaluation_work, network_key, relative_cost, setting_key, shape_key
from study.plan.plan import EVALUATED_TAG, Plan, PlannedBlock, TrialRecord
from study.spec import StudySpec
from trainers.config import TrainConfig

START_SECONDS = 12.0
"""The time from a launch to its first epoch, where none was measured; typical of two CPU cores."""
TRAINING = "cost/training_seconds"
VALIDATION = "cost/validation_seconds"
EVALUATION = "cost/evaluation_seconds"
START = "cost/start_seconds"
"""Metrics of a trial: the time of its epochs at their median, of their validation likewise, of the
evaluation on test, and, for a worker's first trial, from the launch to its first epoch."""

LATEST_EPOCHS = 5
TINY = 1e-9
USUAL_POWER, PRIOR_SPREAD = 0.85, 0.5
"""Between the times that epochs take and their passes, and how firmly; in logarithms of costs."""
Range = tuple[float, float]
"""Seconds: the least and the most."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """How long a launch will take."""

    low: float
    """Seconds, for the trials whose time can be estimated."""
    high: float
    num_unknown: int
    """Number of trials unlike any that was ever run; they are not in the sum."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How long finished trials took."""

    by_shape: Mapping[str, float]
    """Median seconds of a trial, by shape of the training."""
    rates: Mapping[str, Range]
    """Least and most seconds per pass and epoch among the shapes of the same data and network, by
    `setting_key` and by `network_key`."""
    start: float
    """Median seconds from the beginning of a launch to a worker's first epoch."""

    def of(self, config: TrainConfig, canonical: Mapping[str, Any]) -> Range | None:
        """Return how long a training takes; None if none on its data and network was measured.

        If its own shape was not measured, this is its passes times the rates of shapes that were.
        """
        known = self.by_shape.get(shape_key(canonical))
        if known is not None:
            return known, known
        # A searched batch size was hardly ever measured, and changes a rate less than a network.
        rate = self.rates.get(setting_key(canonical)) or self.rates.get(network_key(canonical))
        if rate is None:
            return None
        work = relative_cost(config) * config.training.epochs
        return work * rate[0], work * rate[1]


def measured_pace(records: Iterable[TrialRecord]) -> Pace:
    """Collect how long finished trials took."""
    seconds: dict[str, list[float]] = defaultdict(list)
    works: dict[str, tuple[tuple[str, str], float]] = {}
    starts = []
    for record in records:
        if not record.is_complete or EVALUATED_TAG in record.labels:
            continue
        shape = shape_key(record.canonical)
        seconds[shape].append(trial_seconds(record))
        cost = record.metrics.get("cost/passes_per_sample")
        if cost is not None:
            work = cost * record.canonical["training"]["epochs"]
            works[shape] = (setting_key(record.canonical), network_key(record.canonical)), work
        if START in record.metrics:
            starts.append(record.metrics[START])
    by_shape = {shape: median(times) for shape, times in seconds.items()}
    rates: dict[str, list[float]] = defaultdict(list)
    for shape, (settings, work) in works.items():
        for setting in settings:
            rates[setting].append(by_shape[shape] / work)
    return Pace(
        by_shape=by_shape,
        rates={setting: (min(found), max(found)) for setting, found in rates.items()},
        start=median(starts) if starts else START_SECONDS,
    )


def trial_seconds(record: TrialRecord) -> float:
    """Return how long a finished trial took; where it is known, without its worker's start."""
    parts = [record.metrics.get(name) for name in (TRAINING, VALIDATION, EVALUATION)]
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else record.seconds


def training_seconds(record: TrialRecord) -> float:
    """Return how long a trial trained, without validation, test and the start of its worker.

    Where that was not recorded, every epoch is taken to be as long as the last one.
    """
    known = record.metrics.get(TRAINING)
    if known is not None:
        return known
    epoch = record.metrics.get("cost/epoch_seconds")
    return record.metrics["seconds"] if epoch is None else epoch * record.metrics["last/epoch"]


def evaluation_seconds(source: TrialRecord, canonical: Mapping[str, Any]) -> float:
    """Estimate how long it takes to evaluate a finished trial's networks as `canonical` says.

    Where the time of the trial's own test was not recorded, it is the trial's time less its epochs.
    """
    measured = source.metrics.get(EVALUATION)
    if measured is None:
        epochs = source.canonical["training"]["epochs"]
        measured = source.seconds - epochs * source.metrics.get("cost/epoch_seconds", 0.0)
    return max(0.0, measured) * evaluation_work(canonical) / evaluation_work(source.canonical)


def open_configs(spec: StudySpec, plan: Plan) -> list[TrainConfig]:
    """List what a launch will train; a point to come stands at the upper ends of its ranges."""
    configs = [planned.cell.config for planned in plan.open_cells if planned.source is None]
    for planned, config in _corners(spec, plan):
        configs.extend([config] * (planned.to_search * plan.seeds))
    return configs


def cells_to_come(spec: StudySpec, plan: Plan) -> Iterator[tuple[str, TrainConfig, float | None]]:
    """Yield what a launch will run, in its order: method, training, and seconds if only evaluated.

    A point to come stands at the upper ends of its ranges.
    """
    evaluations = _evaluations(plan)
    for planned in plan.open_cells:
        cell = planned.cell
        yield cell.configuration.method, cell.config, evaluations.get(cell.key)
    for block, config in _corners(spec, plan):
        for _ in range(block.to_search * plan.seeds):
            yield block.block.method, config, None


def seconds_of(pace: Pace, config: TrainConfig, canonical: Mapping[str, Any]) -> float | None:
    """Return how long a training takes, in the middle of its range; None if nobody can tell."""
    found = pace.of(config, canonical)
    return None if found is None else sum(found) / 2


def _corners(spec: StudySpec, plan: Plan) -> Iterator[tuple[PlannedBlock, TrainConfig]]:
    """Yield each search block with the training at the upper ends of its ranges."""
    for planned in plan.blocks:
        highest = {name: limits.high for name, limits in planned.block.ranges}
        corner = space.suggested(planned.block, highest, 0)
        yield planned, space.train_config(spec, corner, spec.seeds[0])


def estimate(spec: StudySpec, plan: Plan, slots: int) -> Estimate:
    """Estimate the wall time of a launch that runs `slots` trials at a time."""
    pace = measured_pace(plan.records)
    configs = open_configs(spec, plan)
    found = [pace.of(config, space.canonical(config, plan.fingerprint)) for config in configs]
    known = [one for one in found if one is not None]
    known += [(seconds, seconds) for seconds in _evaluations(plan).values()]
    if not known:
        return Estimate(low=0.0, high=0.0, num_unknown=len(found))

    def wall(seconds: list[float]) -> float:
        # It lasts at least as long as the longest trial, which more slots do not shorten.
        return pace.start + max(sum(seconds) / max(1, slots), *seconds)

    return Estimate(
        low=wall([low for low, _ in known]),
        high=wall([high for _, high in known]),
        num_unknown=len(found) - sum(one is not None for one in found),
    )


def _evaluations(plan: Plan) -> dict[str, float]:
    """Estimate the seconds of each cell that is only evaluated, by its key."""
    return {
        planned.cell.key: evaluation_seconds(
            planned.source, space.canonical(planned.cell.config, plan.fingerprint)
        )
        for planned in plan.open_cells
        if planned.source is not None
    }


class TimeLeft:
    """The time that a launch still needs, estimated from its own trials and recorded ones.

    A trial of a kind that has ended takes as long as those did. One of another kind takes its
    epochs, as long as those of a running trial of its kind or else by the passes in them, and as
    long for validation and evaluation as any trial. A worker's first trial counts only until
    another has ended, as it has imported and perhaps compiled something.
    """

    def __init__(self, spec: StudySpec, plan: Plan, slots: int) -> None:
        self._slots = max(1, slots)
        self._fingerprint = plan.fingerprint
        self._pace = measured_pace(plan.records)
        self._evaluations = _evaluations(plan)
        self._open: Counter[str] = Counter()
        self._before: dict[str, Range | None] = {}
        self._trainings: dict[str, _Training] = {}
        self._num_ended = 0
        for config in open_configs(spec, plan):
            self._add(config)
        for key, seconds in self._evaluations.items():
            self._open[key] += 1
            self._before[key] = seconds, seconds
        self._evaluated: dict[str, list[float]] = defaultdict(list)
        # What is suggested may be of another shape than the corner that was counted for it.
        self._declared = {planned.cell.key for planned in plan.cells}
        self._corners = {
            planned.block.key: shape_key(space.canonical(config, plan.fingerprint))
            for planned, config in _corners(spec, plan)
        }

    def _add(self, config: TrainConfig) -> None:
        canonical = space.canonical(config, self._fingerprint)
        kind = shape_key(canonical)
        self._open[kind] += 1
        self._before[kind] = self._pace.of(config, canonical)
        self._trainings[kind] = _Training(
            network=network_key(canonical),
            epochs=config.training.epochs,
            cost=relative_cost(config),
        )

    def _kind(self, cell: space.Cell) -> str:
        """Return the key of a cell's time: its own if it is only evaluated, else its shape's."""
        if cell.key in self._evaluations:
            return cell.key
        if cell.key not in self._declared:
            return self._corners[cell.configuration.block]
        return shape_key(space.canonical(cell.config, self._fingerprint))

    def add(self, cell: space.Cell) -> None:
        """Count a cell that was not foreseen, such as a further seed of a race."""
        self._open[self._kind(cell)] += 1

    def expected(self, cell: space.Cell) -> float | None:
        """Return how long a cell takes from start to end; None if nobody can tell."""
        return self._expected(self._kind(cell))

    def note(self, cell: space.Cell, training: float, validation: float) -> None:
        """Note how long the training and the validation of an epoch took."""
        noted = self._trainings.get(self._kind(cell))
        if noted is not None:
            noted.trained.append(training)
            noted.validated.append(validation)

    def end(self, cell: space.Cell, seconds: float | None) -> None:
        """Count a cell as ended. `seconds`: how long it took; None if it failed."""
        kind = self._kind(cell)
        self._open[kind] -= 1
        if seconds is None:
            return
        if kind in self._evaluations:
            self._evaluated[kind].append(seconds)
            return
        self._num_ended += 1
        is_first = self._num_ended <= self._slots
        self._trainings[kind].ended.append((is_first, seconds))

    def left(self, running: Iterable[tuple[space.Cell, float]]) -> float | None:
        """Estimate the seconds left; None before anything similar was measured.

        `running`: the cells that are running, each with the share of its passes that is done.
        """
        total = 0.0
        for kind, number in self._open.items():
            if number > 0:
                expected = self._expected(kind)
                if expected is None:
                    return None
                total += number * expected
        for cell, share in running:
            total -= share * (self._expected(self._kind(cell)) or 0.0)
        return max(0.0, total) / self._slots

    def _expected(self, kind: str) -> float | None:
        """Return how long a trial takes: as measured now, else as before, else by its passes."""
        if self._evaluated[kind]:
            return median(self._evaluated[kind])
        known = self._trainings.get(kind)
        if known is not None and (warm := known.times(has_others=self._has_warm())):
            return median(warm)
        before = self._before.get(kind)
        is_certain = before is not None and before[0] == before[1]
        if known is not None and not is_certain:
            by_passes = self._by_passes(known)
            if by_passes is not None:
                return by_passes
        return None if before is None else sum(before) / 2

    def _has_warm(self) -> bool:
        return self._num_ended > self._slots

    def _by_passes(self, kind: "_Training") -> float | None:
        """Estimate a kind that has not ended; None before any kind has."""
        has_warm = self._has_warm()
        found = [one for one in self._trainings.values() if one.times(has_others=has_warm)]
        found = [one for one in found if one.network == kind.network] or found
        if not found:
            return None
        rests = [rest for one in found for rest in one.rests(has_others=has_warm)]
        validated = [median(one.validated) for one in (kind, *found) if one.validated]
        if kind.trained:
            epoch = kind.epoch(has_others=has_warm)
        else:
            seconds = [one.epoch(has_others=has_warm) for one in found]
            epoch = _scaled(kind.cost, [one.cost for one in found], seconds)
        return kind.epochs * (epoch + (min(validated) if validated else 0.0)) + median(rests)


@dataclass(kw_only=True)
class _Training:
    """What a launch has seen of the trainings of one shape."""

    network: str
    epochs: int
    cost: float
    """Forward passes that a sample of an epoch costs."""
    trained: list[float] = field(default_factory=list)
    """Seconds of the training in each epoch that was reported."""
    validated: list[float] = field(default_factory=list)
    ended: list[tuple[bool, float]] = field(default_factory=list)
    """Of each trial whether it was the first of its worker, and its seconds."""

    def times(self, *, has_others: bool) -> list[float]:
        """Return the seconds of trials; without first ones, where there are others of any kind."""
        return [seconds for is_first, seconds in self.ended if not (is_first and has_others)]

    def epoch(self, *, has_others: bool) -> float:
        """Return the seconds of the training in one epoch; the latest ones count.

        Where no epoch was reported, that is a share of a trial.
        """
        if not self.trained:
            return median(self.times(has_others=has_others)) / self.epochs
        return median(self.trained[-LATEST_EPOCHS:])

    def rests(self, *, has_others: bool) -> list[float]:
        """Return what trials took besides their epochs."""
        if not self.trained:
            return [0.0]
        epochs = self.epochs * (self.epoch(has_others=has_others) + median(self.validated))
        return [max(0.0, s - epochs) for s in self.times(has_others=has_others)]


def _scaled(cost: float, costs: Sequence[float], seconds: Sequence[float]) -> float:
    """Return the seconds of an epoch by those of other costs: in proportion to cost to the power β.

    Small networks spend a part of an epoch on what no pass costs, so that β is below 1. It is
    fitted by least squares, drawn to `USUAL_POWER` where costs hardly differ.
    """
    x, y = [math.log(one) for one in costs], [math.log(max(TINY, one)) for one in seconds]
    mean_x, mean_y = fmean(x), fmean(y)
    spread = sum((one - mean_x) ** 2 for one in x)
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    beta = (slope + PRIOR_SPREAD * USUAL_POWER) / (spread + PRIOR_SPREAD)
    return math.exp(mean_y + min(1.0, max(0.5, beta)) * (math.log(cost) - mean_x))
