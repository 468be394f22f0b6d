"""Tests of budgets: what fits while a launch runs, and what one buys before it starts."""

from collections.abc import Callable

import pytest

from study.plan import space
from study.plan.budget import Spending, devices_of, purchase
from study.plan.plan import make_plan
from study.plan.times import EVALUATION, TRAINING, VALIDATION
from study.spec import BudgetSpec, StudySpec
from tests.records import DATA, finished_trial

Read = Callable[..., StudySpec]
HOUR = 3600.0


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def spending(devices: float = 1.0, **limits: float) -> tuple[Spending, Clock]:
    clock = Clock()
    budget = BudgetSpec(**limits)  # type: ignore[arg-type]
    return Spending(budget, devices, began=100.0, clock=clock), clock


def test_nothing_starts_that_would_end_after_the_last_hour() -> None:
    spent, clock = spending(hours=1.0)
    assert not spent.refusal(HOUR, 1)
    assert spent.refusal(HOUR + 1, 1) == "hours"
    clock.now += HOUR / 2
    assert not spent.refusal(HOUR / 2, 1)
    assert spent.refusal(HOUR / 2 + 1, 1) == "hours"
    assert not spent.refusal(None, 1), "a time that nobody knows is taken to fit"
    clock.now += HOUR / 2 + 1
    assert spent.refusal(None, 1) == "hours"


def test_device_hours_count_what_runs_as_promised_and_what_ended_as_it_took() -> None:
    spent, clock = spending(devices=2.0, device_hours=4.0)
    spent.start("a", HOUR, 1)
    assert not spent.refusal(HOUR, 1)
    assert spent.refusal(HOUR + 1, 1) == "device_hours"
    clock.now += HOUR / 2
    spent.end("a", 1)  # in half the time
    assert not spent.refusal(1.5 * HOUR, 1)
    spent.start("b", HOUR, 1)
    clock.now += 1.5 * HOUR  # longer than promised
    assert spent.refusal(1.0, 1) == "device_hours"


def test_trials_and_epochs_are_counted_and_a_stopped_trial_gives_epochs_back() -> None:
    spent, _ = spending(trials=2, epochs=20)
    spent.start("a", None, 10)
    assert spent.refusal(None, 11) == "epochs"
    spent.end("a", 4)
    assert not spent.refusal(None, 16)
    spent.start("b", None, 10)
    assert spent.refusal(None, 1) == "trials"


def test_a_plan_says_what_a_budget_buys_by_measured_times(read: Read) -> None:
    spec = read(more="  budget: {hours: 1}\n")
    measured = {TRAINING: HOUR / 4, VALIDATION: 0.0, EVALUATION: 0.0}
    first = space.cells(spec, space.grid_configurations(spec)[0], DATA)[0]
    plan = make_plan(spec, DATA, [finished_trial(first, metrics=measured)])
    # Standard training lasts a quarter of an hour; the passes of the others were not recorded.
    bought = purchase(spec, plan, 1)
    assert bought.num_bought == plan.num_open
    assert bought.num_unknown == plan.num_open - 1
    metrics = {**measured, "cost/passes_per_sample": 3.0}
    plan = make_plan(spec, DATA, [finished_trial(first, metrics=metrics)])
    # SAM takes half an hour, SAM with one attack step more, and an hour holds one start less.
    bought = purchase(spec, plan, 1)
    assert (bought.num_bought, bought.num_unknown) == (2, 0)
    assert dict(bought.left_out) == {"sam": 3, "sam_at": 6}
    assert sum(number for _, number in bought.left_out) + 2 == plan.num_open
    assert purchase(spec, plan, 2).num_bought == 3


@pytest.mark.parametrize(("gpu", "expected"), [(0.5, 0.5), (0.0, 1.0)])
def test_a_device_is_a_gpu_where_trials_take_any(read: Read, gpu: float, expected: float) -> None:
    assert devices_of(read(more=f"  resources: {{cpu: 1, gpu: {gpu}}}\n")) == expected
