"""What a launch may spend: what still fits, while it runs and before it starts."""

import heapq
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from study.plan import space
from study.plan.plan import Plan
from study.plan.space import Cell
from study.plan.times import cells_to_come, measured_pace, seconds_of
from study.spec import BudgetSpec, StudySpec

HOUR = 3600.0


class Spending:
    """What a launch has spent and has promised to the trials that run.

    A trial's time is as predicted while it runs, unless it lasts longer; then as it took. Of a time
    that cannot be predicted only what has passed counts.
    """

    def __init__(
        self,
        budget: BudgetSpec,
        devices: float,
        began: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Begin at `began`, by the clock; a trial occupies `devices` of GPUs or CPUs."""
        self._budget = budget
        self._devices = devices
        self._began = began
        self._clock = clock
        self._running: dict[str, tuple[float, float, int]] = {}
        self._seconds = 0.0
        self._epochs = 0
        self._trials = 0

    def refusal(self, seconds: float | None, epochs: int) -> str:
        """Return which limit a trial would pass that started now; empty if it fits."""
        now, limit, expected = self._clock(), self._budget, seconds or 0.0
        promised = sum(max(known, now - start) for start, known, _ in self._running.values())
        device = (self._seconds + promised + expected) * self._devices
        whole = self._epochs + epochs + sum(promise for _, _, promise in self._running.values())
        passed = {
            "hours": limit.hours is not None and now - self._began + expected > limit.hours * HOUR,
            "device_hours": limit.device_hours is not None and device > limit.device_hours * HOUR,
            "trials": limit.trials is not None and self._trials + 1 > limit.trials,
            "epochs": limit.epochs is not None and whole > limit.epochs,
        }
        return next((name for name, is_passed in passed.items() if is_passed), "")

    def start(self, trial: str, seconds: float | None, epochs: int) -> None:
        """Count a trial that starts."""
        self._running[trial] = self._clock(), seconds or 0.0, epochs
        self._trials += 1

    def end(self, trial: str, epochs: int) -> None:
        """Count what a trial took, by its epochs and the time since it started."""
        started, _, _ = self._running.pop(trial)
        self._seconds += self._clock() - started
        self._epochs += epochs


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """What a launch left out, as it did not fit into the budget."""

    limit: str = ""
    """Which limit was reached last; empty if nothing was left out."""
    cells: tuple[Cell, ...] = ()
    num_suggestions: int = 0
    """Number of configurations that were not suggested."""


@dataclass(frozen=True, kw_only=True)
class Purchase:
    """What a budget buys, by measured times."""

    num_bought: int
    left_out: tuple[tuple[str, int], ...]
    """Methods with the number of their trials that do not fit, in the order of the study."""
    num_unknown: int
    """Trials whose time nobody can predict; they are taken to fit."""


def devices_of(spec: StudySpec) -> float:
    """Return what a trial occupies: GPUs, or CPUs where it takes no GPU."""
    return spec.resources.gpu or float(spec.resources.cpu)


def purchase(spec: StudySpec, plan: Plan, slots: int) -> Purchase:
    """Compute what a study's budget buys, as if trials ran in the order of the plan.

    What rungs may stop is counted in full, and of further seeds only those that are wanted now.
    """
    assert spec.budget is not None
    pace = measured_pace(plan.records)
    now = pace.start
    spending = Spending(spec.budget, devices_of(spec), 0.0, lambda: now)
    ends: list[tuple[float, str, int]] = []
    left_out: Counter[str] = Counter()
    num_bought = num_unknown = 0
    for number, (method, config, evaluation) in enumerate(cells_to_come(spec, plan)):
        if len(ends) == slots:
            now, trial, epochs = heapq.heappop(ends)
            spending.end(trial, epochs)
        known = evaluation
        if known is None:
            known = seconds_of(pace, config, space.canonical(config, plan.fingerprint))
        epochs = 0 if evaluation is not None else config.training.epochs
        if spending.refusal(known, epochs):
            left_out[method] += 1
            continue
        num_bought += 1
        num_unknown += known is None
        spending.start(str(number), known, epochs)
        heapq.heappush(ends, (now + (known or 0.0), str(number), epochs))
    return Purchase(
        num_bought=num_bought,
        left_out=tuple((name, left_out[name]) for name in spec.methods if left_out[name]),
        num_unknown=num_unknown,
    )
