"""How long a launch takes: closed forms of the prediction, and of the time left."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from study.plan import space
from study.plan.plan import EVALUATED_TAG, TrialRecord, make_plan
from study.plan.space import Cell
from study.plan.times import (
    EVALUATION,
    START,
    START_SECONDS,
    TRAINING,
    USUAL_POWER,
    VALIDATION,
    Estimate,
    TimeLeft,
    estimate,
    evaluation_seconds,
    measured_pace,
    training_seconds,
    trial_seconds,
)
from study.spec import StudySpec
from tests.records import DATA, finished_trial

Read = Callable[..., StudySpec]
STANDARD, SAM = 3.0, 6.0
"""Passes per sample and epoch, in forward passes."""


def record(cell: Cell, seconds: float, cost: float | None = None, **changed: Any) -> TrialRecord:
    """A finished trial of a cell that took so long on a worker at work."""
    parts = {TRAINING: 0.7 * seconds, VALIDATION: 0.2 * seconds, EVALUATION: 0.1 * seconds}
    costs = {} if cost is None else {"cost/passes_per_sample": cost}
    started = {"seconds": seconds + 100}  # with the start of its worker
    return finished_trial(cell, **({"metrics": parts | costs} | started | changed))


def grid(spec: StudySpec, seeds: tuple[int, ...] = (0, 1, 2, 3)) -> tuple[StudySpec, list[Cell]]:
    """The study's grid alone, and its cells: standard first, then SAM at two radii."""
    methods = {name: spec.methods[name] for name in ("standard", "sam")}
    alone = spec.model_copy(update={"methods": methods, "search": None, "seeds": seeds})
    found = space.grid_configurations(alone)
    return alone, [cell for made in found for cell in space.cells(alone, made, DATA)]


def test_nothing_measured_is_nothing_predicted(read: Read) -> None:
    spec, cells = grid(read())
    plan = make_plan(spec, DATA, [])
    assert estimate(spec, plan, 2) == Estimate(low=0.0, high=0.0, num_unknown=len(cells))
    assert TimeLeft(spec, plan, 2).left([]) is None


def test_shape_that_was_measured_takes_its_median_without_the_start_of_workers(read: Read) -> None:
    spec, cells = grid(read())
    took = zip(cells, (9.0, 10.0, 80.0), strict=False)
    measured = [record(cell, seconds, STANDARD) for cell, seconds in took]
    measured += [record(cells[4], 20.0, SAM)]
    measured[0] = replace(measured[0], metrics={**measured[0].metrics, START: 7.0})
    plan = make_plan(spec, DATA, measured)
    open_seconds = 1 * 10.0 + 7 * 20.0
    found = estimate(spec, plan, 2)
    assert (found.low, found.high) == pytest.approx((7.0 + open_seconds / 2,) * 2)
    assert found.num_unknown == 0


def test_other_shapes_are_scaled_by_their_passes_and_said_as_a_range(read: Read) -> None:
    _, cells = grid(read())
    pace = measured_pace([record(cells[0], 9.0, STANDARD)])
    sam = cells[4]
    assert pace.start == START_SECONDS
    assert pace.of(sam.config, space.canonical(sam.config, DATA)) == pytest.approx((18.0, 18.0))

    longer = read(text=read.text.replace("epochs: 3", "epochs: 12"))  # type: ignore[attr-defined]
    both = measured_pace([record(cells[0], 9.0, STANDARD), record(sam, 12.0, SAM)])
    cell = grid(longer)[1][4]
    found = both.of(cell.config, space.canonical(cell.config, DATA))
    assert found == pytest.approx((12.0 * 4, 18.0 * 4)), "SAM's own rate, and that of standard"

    other = read(text=read.text.replace("width: 2", "width: 4"))  # type: ignore[attr-defined]
    cell = grid(other)[1][0]
    assert both.of(cell.config, space.canonical(cell.config, DATA)) is None


def test_time_of_an_evaluation_tells_nothing_of_a_training(read: Read) -> None:
    _, cells = grid(read())
    evaluated = record(cells[0], 1.0, STANDARD, labels={EVALUATED_TAG: "another"})
    assert measured_pace([evaluated]).by_shape == {}


def test_evaluation_takes_the_test_s_time_in_proportion_to_the_attacks(read: Read) -> None:
    radii = "radii: [0.05, 0.1]", "radii: [0.02, 0.05, 0.1]"
    text = read.text.replace(*radii)  # type: ignore[attr-defined]
    wider, _ = grid(read(text=text))
    _, cells = grid(read())
    records = [record(cell, 10.0, STANDARD) for cell in cells]
    plan = make_plan(wider, DATA, records)
    each = 0.1 * 10.0 * (1 + 3) / (1 + 2)
    assert estimate(wider, plan, 1).low == pytest.approx(START_SECONDS + 12 * each)
    assert TimeLeft(wider, plan, 1).left([]) == pytest.approx(12 * each)
    old = replace(records[0], metrics={"cost/epoch_seconds": 2.0, "seconds": 12.0}, seconds=12.0)
    assert evaluation_seconds(old, old.canonical) == pytest.approx(12.0 - 3 * 2.0)


def test_training_alone_is_what_a_report_shows(read: Read) -> None:
    _, cells = grid(read())
    one = record(cells[0], 10.0)
    assert training_seconds(one) == pytest.approx(7.0)
    assert trial_seconds(one) == pytest.approx(10.0)
    older = {"cost/epoch_seconds": 1.5, "last/epoch": 3.0, "seconds": 99.0}
    assert training_seconds(replace(one, metrics=older)) == pytest.approx(4.5)
    assert training_seconds(replace(one, metrics={"seconds": 99.0})) == 99.0


def test_time_left_follows_what_this_launch_measures(read: Read) -> None:
    spec, cells = grid(read())
    left = TimeLeft(spec, make_plan(spec, DATA, []), 2)
    left.end(cells[0], 3.0)
    sam = 3.0 * 2**USUAL_POWER
    assert left.left([]) == pytest.approx((3 * 3.0 + 8 * sam) / 2), "SAM by its passes"
    left.end(cells[4], 10.0)
    assert left.left([]) == pytest.approx((3 * 3.0 + 7 * 10.0) / 2)
    running = [(cells[1], 0.5), (cells[5], 0.9)]
    assert left.left(running) == pytest.approx((3 * 3.0 + 7 * 10.0 - 1.5 - 9.0) / 2)
    for cell in cells[1:4] + cells[5:]:
        left.end(cell, None)
    assert left.left([]) == 0.0


def test_a_worker_s_first_trial_counts_only_until_another_has_ended(read: Read) -> None:
    spec, cells = grid(read())
    left = TimeLeft(spec, make_plan(spec, DATA, []), 1)
    left.end(cells[0], 30.0)
    assert left.left([(cells[1], 0.0)]) > 3 * 30.0
    left.end(cells[1], 2.0)
    assert left.left([]) == pytest.approx(2 * 2.0 + 8 * 2.0 * 2**USUAL_POWER)


def test_epochs_of_a_running_trial_tell_how_long_its_kind_takes(read: Read) -> None:
    spec, cells = grid(read())
    left = TimeLeft(spec, make_plan(spec, DATA, []), 1)
    for cell in cells[:2]:
        for _ in range(3):
            left.note(cell, 1.0, 0.5)
        left.end(cell, 5.5)
    left.note(cells[4], 4.0, 0.5)
    # One second beside the epochs, as the other kind takes.
    assert left.left([]) == pytest.approx(2 * 5.5 + 8 * (3 * 4.5 + 1.0))


def test_time_left_is_known_from_the_start_where_earlier_trials_were_measured(read: Read) -> None:
    spec, cells = grid(read())
    records = [record(cells[0], 9.0, STANDARD), record(cells[4], 12.0, SAM)]
    left = TimeLeft(spec, make_plan(spec, DATA, records), 1)
    assert left.left([]) == pytest.approx(3 * 9.0 + 7 * 12.0)


def test_suggestions_of_any_shape_count_against_the_corner_that_stood_for_them(read: Read) -> None:
    wider = "epsilon: 0.1, steps: 1", "epsilon: 0.1, steps: {low: 1, high: 4}"
    text = read.text.replace(*wider)  # type: ignore[attr-defined]
    spec = read(text=text)
    plan = make_plan(spec, DATA, [])
    left = TimeLeft(spec, plan, 1)
    for planned in plan.cells:
        left.end(planned.cell, 3.0)
    [block] = plan.blocks
    for number in range(block.to_search):
        chosen = {"weights.sam.rho": 0.1 * (number + 1), "inputs.pgd.steps": 1}
        made = space.suggested(block.block, chosen, number)
        for cell in space.cells(spec, made, DATA):
            assert left.left([(cell, 0.5)]) is not None
            left.end(cell, 2.0)
    assert left.left([]) == 0.0


def test_a_batch_size_never_measured_takes_the_rates_of_the_same_network(read: Read) -> None:
    _, cells = grid(read())
    pace = measured_pace([record(cells[0], 9.0, STANDARD)])
    training = replace(cells[0].config.training, batch_size=100, epochs=6)
    other = replace(cells[0].config, training=training)
    assert pace.of(other, space.canonical(other, DATA)) == pytest.approx((18.0, 18.0))
    wider = replace(other, model=replace(other.model, width=3))
    assert pace.of(wider, space.canonical(wider, DATA)) is None
