"""Ray Tune's loop without Ray, in simulated time, on the recorded table of trainings.

A searcher hands out cells, a scheduler hears every epoch and may stop or pause, and the table
answers in place of a training. Searchers and schedulers are the classes that `study launch` uses,
and those of the rivals; nothing of them is copied here. A suggestion is answered by the nearest
configuration of the table that was not tried yet.

Each replay searches one method of the table. It draws which seed of the table is the first, second
and so on. Time is counted in epochs of training. What a search has found at a time is the front of
its finished configurations, by what it has measured; its hypervolume is that of their true
accuracies, the means over all seeds of the table.
"""

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from search_table import Table, to_unit

from analysis.fronts.pareto import comparable, hypervolume, nondominated, on_front
from study.plan.space import Block

SLOTS = 2
"""Trials at once, as the study `digits` runs on two cores."""
CLEAN_FLOOR = 0.9
"""Clean accuracy of the reference point, that of the study `digits`."""
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Searched:
    """A method of the table, in one order of its seeds. N configurations, S seeds, E epochs."""

    name: str
    values: Floats
    """(N, E): places of the configurations in the block's ranges, each from 0 to 1."""
    measured: Floats
    """(N, S, E, 2): accuracies, the seeds in the order in which this replay uses them."""
    bits: NDArray[np.bool_]
    """(N, S, E, 2, n): what they are the means of."""
    ends: NDArray[np.int64]
    """(N, S): epochs until a training ended."""
    truth: Floats
    """(N, 2): means over the seeds of the table, at the last epoch."""

    @property
    def total(self) -> int:
        """Epochs of all configurations with all seeds."""
        return int(self.ends.sum())

    @property
    def best(self) -> float:
        """The hypervolume of all configurations."""
        return area(self.truth)

    @property
    def front(self) -> NDArray[np.bool_]:
        """(N,): the truly nondominated configurations."""
        return nondominated(comparable(self.truth))


@dataclass(kw_only=True)
class Trial:
    """What a searcher and a scheduler see of a trial of Ray Tune, and where it stands."""

    trial_id: str
    config: dict[str, Any]
    row: int
    place: int
    """Position of its seed in the order of this replay."""
    epoch: int = 0
    status: str = "PENDING"
    last_result: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Replay:
    """What one search found, when."""

    spent: Floats
    """(T,) epochs trained when what it had found changed."""
    share: Floats
    """(T,) its hypervolume then, as a share of the best."""
    total: int
    """Epochs of the whole search."""
    lost: int
    """Truly nondominated configurations that are not on its last front."""
    stopped: int
    """Truly nondominated configurations without any finished seed."""
    nondominated: int
    trials: int
    seconds: float
    """CPU time of all that searcher and scheduler decided."""


def area(points: Floats) -> float:
    """Measure the hypervolume above (`CLEAN_FLOOR`, 0)."""
    return float(hypervolume(points, np.array([CLEAN_FLOOR, 0.0]))) if len(points) else 0.0


def searched(table: Table, block: Block, rng: np.random.Generator) -> Searched:
    """Take a method out of the table, its seeds in an order drawn by `rng`."""
    rows = table.rows(block.method)
    order = rng.permutation(len(table.seeds))
    values = [
        [
            to_unit(limits, dict(table.configurations[row].values)[path])
            for path, limits in block.ranges
        ]
        for row in rows
    ]
    measured, ends = table.accuracies[rows][:, order], table.epochs[rows][:, order]
    # A study does not analyse a configuration with a seed that failed.
    is_whole = (ends == measured.shape[2]).all(axis=1)
    return Searched(
        name=block.method,
        values=np.array(values),
        measured=measured,
        bits=table.bits[rows][:, order],
        ends=ends,
        truth=np.where(is_whole[:, np.newaxis], measured[:, :, -1].mean(axis=1), 0.0),
    )


class Loop:
    """Ray Tune's loop: free slots are filled, then each running trial trains one epoch."""

    def __init__(self, found: Searched, block: Block, searcher: Any, scheduler: Any) -> None:
        self.trials: list[Trial] = []
        self._found, self._block = found, block
        self._measured = found.measured.tolist()
        self._searcher, self._scheduler = searcher, scheduler
        self._rows: dict[str, int] = {}
        """The row that answers a suggestion, by its values."""
        self._left = np.ones(len(found.truth), dtype=np.bool_)
        self._finished = np.zeros(len(found.truth), dtype=np.int64)
        """Finished seeds of each configuration."""
        self._sums = np.zeros(found.truth.shape)
        """Of their accuracies."""
        self._failed = np.zeros(len(found.truth), dtype=np.bool_)
        self._last_front = np.zeros(0, dtype=np.intp)
        self._curve: list[tuple[int, float]] = []
        self._numbers = itertools.count()
        self._may_ask = True
        self._spent = self._num_trials = 0
        self._seconds = 0.0

    def get_trials(self) -> list[Trial]:
        """Return the trials that have not ended, as a scheduler asks for them."""
        return self.trials

    def run(self) -> Replay:
        """Search until there is nothing left to run."""
        while True:
            # A searcher that has nothing to hand out is asked again when a trial has ended.
            while self._may_ask and len(self._running()) < SLOTS:
                self._may_ask = self._start()
            running = self._running()
            if not running:
                return self._result()
            for trial in running:
                self._advance(trial)

    def _running(self) -> list[Trial]:
        return [trial for trial in self.trials if trial.status == "RUNNING"]

    def _timed(self, decide: Callable[..., Any], *given: Any) -> Any:
        # CPU time, as other work on the machine is none of theirs.
        started = time.process_time()
        answer = decide(*given)
        self._seconds += time.process_time() - started
        return answer

    def _start(self) -> bool:
        """Start the next trial; return whether there was one."""
        trial_id = f"{next(self._numbers):05d}"
        config = self._timed(self._searcher.suggest, trial_id)
        if isinstance(config, dict):
            trial = Trial(
                trial_id=trial_id,
                config=config,
                row=self._row(config["values"]),
                place=int(config["seed"]),
            )
            self.trials.append(trial)
            self._num_trials += 1
            self._scheduler.on_trial_add(self, trial)
        chosen = self._timed(self._scheduler.choose_trial_to_run, self)
        if chosen is None:
            return False
        chosen.status = "RUNNING"
        return True

    def _row(self, values: Sequence[Sequence[Any]]) -> int:
        """Find the row that answers a suggestion: the nearest one that is left."""
        key = repr(values)
        if key not in self._rows:
            limits = dict(self._block.ranges)
            wanted = np.array([to_unit(limits[path], value) for path, value in values])
            distances = ((self._found.values - wanted) ** 2).sum(axis=1)
            row = int(np.where(self._left, distances, np.inf).argmin())
            assert self._left[row], "the table has no configuration left"
            self._left[row] = False
            self._rows[key] = row
        return self._rows[key]

    def _advance(self, trial: Trial) -> None:
        """Train one epoch of a trial, and do what searcher and scheduler decide."""
        clean, robust = self._measured[trial.row][trial.place][trial.epoch]
        trial.epoch += 1
        self._spent += 1
        result = {
            "epoch": trial.epoch,
            "training_iteration": trial.epoch,
            "validation_clean": clean,
            "validation_robust": robust,
            "score": (clean + robust) / 2,
            "done": False,
            "complete": False,
        }
        trial.last_result = result
        num_epochs = len(self._measured[trial.row][trial.place])
        if trial.epoch == self._found.ends[trial.row, trial.place] < num_epochs:
            self._end(trial, result | {"failed": True, "ended": True, "reason": "ended"})
            return
        action = self._timed(self._scheduler.on_trial_result, self, trial, result)
        if trial.epoch == num_epochs:
            ended = {"complete": True, "objective_clean": clean, "objective_robust": robust}
            self._end(trial, result | ended)
        elif action == "STOP":
            self._end(trial, result)
        else:
            self._searcher.on_trial_result(trial.trial_id, result)
            trial.status = "PAUSED" if action == "PAUSE" else "RUNNING"

    def _end(self, trial: Trial, result: dict[str, Any]) -> None:
        """Tell both that a trial has ended, and see what is found by now."""
        result = result | {"done": True}
        trial.status = "TERMINATED"
        self.trials.remove(trial)
        self._may_ask = True
        self._scheduler.on_trial_complete(self, trial, result)
        self._timed(self._searcher.on_trial_complete, trial.trial_id, result)
        if result.get("failed"):
            self._failed[trial.row] = True
        if result["complete"]:
            self._sums[trial.row] += self._found.measured[trial.row, trial.place, -1]
            self._finished[trial.row] += 1
            front = self._front()
            if not self._curve or not np.array_equal(front, self._last_front):
                share = area(self._found.truth[front]) / self._found.best
                self._curve.append((self._spent, share))
                self._last_front = front

    def _front(self) -> NDArray[np.intp]:
        """Return the rows of the front by what was measured."""
        rows = np.flatnonzero((self._finished > 0) & ~self._failed)
        means = self._sums[rows] / self._finished[rows, np.newaxis]
        return rows[on_front(means)] if len(rows) else rows

    def _result(self) -> Replay:
        is_true = self._found.front
        kept = np.zeros(len(is_true), dtype=np.bool_)
        kept[self._front()] = True
        spent, share = np.array(self._curve, dtype=np.float64).reshape(-1, 2).T
        return Replay(
            spent=spent,
            share=share,
            total=self._spent,
            lost=int((is_true & ~kept).sum()),
            stopped=int((is_true & (self._finished == 0)).sum()),
            nondominated=int(is_true.sum()),
            trials=self._num_trials,
            seconds=self._seconds,
        )
