from collections.abc import Callable, Sequence

import pytest

from study.plan import space
from study.plan.cost import relative_cost, shape_key
from study.plan.plan import (
    EVALUATED_TAG,
    LAST_ALONE_TAG,
    Plan,
    TrialRecord,
    make_plan,
    mean_objectives,
)
from study.plan.space import Cell, Configuration
from study.spec import StudySpec
from tests.records import DATA, finished_trial
from trainers.config import Sam

Read = Callable[..., StudySpec]


def failed(cell: Cell, **changes: object) -> TrialRecord:
    ended = {"status": "FAILED", "is_complete": False, "objectives": None, "reason": "broke"}
    return finished_trial(cell, **(ended | changes))


def grid_cells(spec: StudySpec) -> list[Cell]:
    return [c for made in space.grid_configurations(spec) for c in space.cells(spec, made, DATA)]


def suggestion(spec: StudySpec, rho: float, number: int) -> Configuration:
    [block] = space.search_blocks(spec, DATA)
    return space.suggested(block, {"weights.sam.rho": rho}, number)


def states(plan: Plan) -> dict[str, str]:
    return {planned.cell.key: planned.state for planned in plan.cells}


def test_fresh_study_misses_every_grid_cell_and_searches_the_rest(read: Read) -> None:
    plan = make_plan(read(), DATA, [])
    assert [planned.state for planned in plan.cells] == ["missing"] * 6
    assert (plan.to_search, plan.num_open, plan.num_cells) == (6, 12, 12)


def test_finished_study_has_nothing_open(read: Read) -> None:
    spec = read()
    found = [suggestion(spec, 0.1 + number / 10, number) for number in range(3)]
    cells = [*grid_cells(spec), *(c for f in found for c in space.cells(spec, f, DATA))]
    plan = make_plan(spec, DATA, map(finished_trial, cells))
    assert (plan.num_open, plan.count("done"), plan.num_cells) == (0, 12, 12)


STATES: list[object] = [
    pytest.param([{}], "done", id="finished"),
    pytest.param([{"is_complete": False}], "missing", id="finished, but its files are gone"),
    pytest.param([{"status": "KILLED", "is_complete": False}], "missing", id="killed"),
    pytest.param([{"status": "RUNNING", "is_complete": False}], "running", id="running"),
    pytest.param([{"status": "FAILED", "is_complete": False}], "failed", id="failed once"),
    pytest.param([{"status": "FAILED", "is_complete": False}] * 2, "given up", id="failed twice"),
    pytest.param(
        [{"status": "FAILED", "is_complete": False, "would_repeat": True}],
        "given up",
        id="diverged",
    ),
    pytest.param(
        [{"status": "FAILED", "is_complete": False}] * 2 + [{}], "done", id="finished after all"
    ),
    pytest.param(
        [{"status": "FAILED", "is_complete": False}, {"status": "KILLED", "is_complete": False}],
        "failed",
        id="failed, then killed",
    ),
]


@pytest.mark.parametrize(("trials", "expected"), STATES)
def test_state_of_a_cell_follows_from_its_trials(
    read: Read, trials: Sequence[dict[str, object]], expected: str
) -> None:
    spec = read()
    cell = grid_cells(spec)[0]
    records = [finished_trial(cell, started=float(at), **trial) for at, trial in enumerate(trials)]
    assert states(make_plan(spec, DATA, records))[cell.key] == expected
    assert states(make_plan(spec, DATA, records[::-1]))[cell.key] == expected


def test_of_two_finished_trials_the_earlier_counts(read: Read) -> None:
    spec = read()
    cell = grid_cells(spec)[0]
    both = [
        finished_trial(cell, run="late", started=2.0),
        finished_trial(cell, run="early", started=1.0),
    ]
    planned = make_plan(spec, DATA, both).cells[0]
    assert planned.record is not None
    assert planned.record.run == "early"


def test_cell_of_another_study_is_done_here_too(read: Read) -> None:
    spec = read()
    plan = make_plan(spec, DATA, [finished_trial(grid_cells(spec)[0], study="elsewhere")])
    assert plan.count("done") == 1


def test_other_data_make_every_cell_missing(read: Read) -> None:
    spec = read()
    plan = make_plan(spec, "other-data", map(finished_trial, grid_cells(spec)))
    assert plan.count("done") == 0


def test_new_seed_opens_one_cell_of_each_configuration(read: Read) -> None:
    spec = read()
    found = suggestion(spec, 0.3, 0)
    cells = [*grid_cells(spec), *space.cells(spec, found, DATA)]
    wider = spec.model_copy(update={"seeds": (0, 1, 2)})
    plan = make_plan(wider, DATA, map(finished_trial, cells))
    opened = plan.open_cells
    assert {planned.cell.seed for planned in opened} == {2}
    assert len(opened) == 4


def test_more_trials_search_only_the_difference(read: Read) -> None:
    spec = read(text=read.text.replace("trials: 3", "trials: 5"))  # type: ignore[attr-defined]
    records = [finished_trial(cell) for cell in space.cells(spec, suggestion(spec, 0.3, 4), DATA)]
    [planned] = make_plan(spec, DATA, records).blocks
    assert (planned.to_search, planned.next_number) == (4, 5)


def test_suggestions_outside_a_narrowed_range_are_left_out(read: Read) -> None:
    spec = read()
    inside, outside = suggestion(spec, 0.3, 0), suggestion(spec, 0.7, 1)
    records = [
        finished_trial(cell) for f in (inside, outside) for cell in space.cells(spec, f, DATA)
    ]
    narrow = read(text=read.text.replace("high: 0.8", "high: 0.5"))  # type: ignore[attr-defined]
    [planned] = make_plan(narrow, DATA, records).blocks
    assert planned.suggestions == (inside,)
    assert (planned.left_out, planned.to_search, planned.next_number) == (1, 2, 2)


def test_suggestions_of_another_study_teach_but_do_not_count(read: Read) -> None:
    spec = read()
    cells = space.cells(spec, suggestion(spec, 0.3, 0), DATA)
    [planned] = make_plan(spec, DATA, [finished_trial(c, study="elsewhere") for c in cells]).blocks
    assert planned.suggestions == ()
    assert planned.to_search == 3
    assert [dict(point.chosen) for point in planned.taught] == [{"weights.sam.rho": 0.3}]


def test_configuration_with_a_missing_seed_does_not_teach(read: Read) -> None:
    spec = read()
    cell, _ = space.cells(spec, suggestion(spec, 0.3, 0), DATA)
    [planned] = make_plan(spec, DATA, [finished_trial(cell, study="elsewhere")]).blocks
    assert planned.taught == ()


def test_shape_ignores_what_only_moves_numbers(read: Read) -> None:
    spec = read()
    shapes = {
        cell.configuration.method: shape_key(space.canonical(cell.config, DATA))
        for cell in grid_cells(spec)
    }
    per_cell = {shape_key(space.canonical(cell.config, DATA)) for cell in grid_cells(spec)}
    assert len(per_cell) == len(shapes) == 2
    longer = read(text=read.text.replace("epochs: 3", "epochs: 4"))  # type: ignore[attr-defined]
    other = shape_key(space.canonical(grid_cells(longer)[0].config, DATA))
    assert other not in per_cell


def test_mean_objectives_needs_every_seed() -> None:
    assert mean_objectives([(0.9, 0.5), (0.7, 0.1)]) == pytest.approx((0.8, 0.3))
    assert mean_objectives([(0.9, 0.5), None]) is None
    assert mean_objectives([]) is None


def test_the_steps_on_which_look_sam_acts_decide_its_shape(read: Read) -> None:
    sides = ["rho: 0.1", "rho: 0.2", "rho: 0.1, every: 2", "rho: 0.1, active: [0.5, 1]"]
    methods = "".join(
        f"    m{n}: {{weights: {{look_sam: {{{side}}}}}}}\n" for n, side in enumerate(sides)
    )
    text = read.text.split("  methods:")[0] + "  methods:\n" + methods  # type: ignore[attr-defined]
    spec = read(text=text + "  evaluation:" + read.text.split("  evaluation:")[1])  # type: ignore[attr-defined]
    shapes = {
        cell.configuration.method: shape_key(space.canonical(cell.config, DATA))
        for cell in grid_cells(spec)
    }
    assert shapes["m0"] == shapes["m1"]
    assert len(set(shapes.values())) == 3


def test_when_a_side_acts_decides_what_is_trained_and_how_long_it_takes(read: Read) -> None:
    """At its default it is in no key, so that recorded cells keep theirs."""
    late = """sam: {weights: {sam: {rho: 0.1, active: [[0, 1], [0.5, 1]]}}}
    whole: {weights: {sam: {rho: 0.1}}}"""
    text = read.text.replace("sam: {weights: {sam: {rho: [0.1, 0.2]}}}", late)  # type: ignore[attr-defined]
    always, half, whole = [
        cell
        for cell in grid_cells(read(text=text))
        if cell.configuration.method in ("sam", "whole") and cell.seed == 0
    ]
    assert always.key == whole.key != half.key
    assert half.config.method.weights == Sam(rho=0.1, active=(0.5, 1.0))
    assert [relative_cost(cell.config) for cell in (always, half)] == [6, 4.5]
    recorded = space.canonical(half.config, DATA)["method"]["weights"]
    assert recorded == {"sam": {"rho": 0.1, "active": [0.5, 1.0]}}
    assert shape_key(space.canonical(half.config, DATA)) != shape_key(
        space.canonical(always.config, DATA)
    )


def test_relative_cost_counts_passes(read: Read) -> None:
    spec = read()
    cells = [*grid_cells(spec), *space.cells(spec, suggestion(spec, 0.3, 0), DATA)]
    costs = {cell.configuration.method: relative_cost(cell.config) for cell in cells}
    assert costs == {"standard": 3, "sam": 6, "sam_at": 6 + 2 * 1}


MORE_RADII = ("radii: [0.05, 0.1]", "radii: [0.02, 0.05, 0.1]")
OTHER_OBJECTIVE = ("objective_radius: 0.1", "objective_radius: 0.05")


def changed(read: Read, *replacements: tuple[str, str]) -> StudySpec:
    text = read.text  # type: ignore[attr-defined]
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new)
    return read(text=text)  # type: ignore[call-arg]


def finished(spec: StudySpec) -> list[TrialRecord]:
    """Every cell of a study, three suggestions among them, as finished trials."""
    found = [suggestion(spec, 0.1 + number / 10, number) for number in range(3)]
    cells = [*grid_cells(spec), *(c for f in found for c in space.cells(spec, f, DATA))]
    return [finished_trial(cell, run=f"run {number}") for number, cell in enumerate(cells)]


def test_cells_of_another_evaluation_are_evaluated_and_suggestions_kept(read: Read) -> None:
    records = finished(read())
    spec = changed(read, MORE_RADII)
    plan = make_plan(spec, DATA, records)
    assert plan.count("to evaluate") == plan.num_open == 12
    assert plan.to_search == 0
    assert len({planned.source.run for planned in plan.cells if planned.source}) == 12
    [block] = plan.blocks
    assert [made.number for made in block.suggestions] == [0, 1, 2]
    assert block.next_number == 3
    again = [finished_trial(c.cell, run=f"new {c.cell.key}", started=2.0) for c in plan.cells]
    assert make_plan(spec, DATA, [*records, *again]).num_open == 0


@pytest.mark.parametrize("change", [("epochs: 3", "epochs: 4"), ("width: 2", "width: 3")])
def test_another_training_is_never_taken_for_the_same(read: Read, change: tuple[str, str]) -> None:
    plan = make_plan(changed(read, MORE_RADII, change), DATA, finished(read()))
    assert [planned.source for planned in plan.cells] == [None] * 6
    assert plan.to_search == 6


LAST = ("restarts: 1}}}", "restarts: 1}}, checkpoint: last}")
LAST_ALONE = {LAST_ALONE_TAG: "true"}


@pytest.mark.parametrize("more", [(), (LAST,)], ids=["best", "last"])
def test_no_cell_is_trained_for_another_objective_whichever_epoch_is_read(
    read: Read, more: tuple[tuple[str, str], ...]
) -> None:
    records = finished(read())
    spec = changed(read, OTHER_OBJECTIVE, *more)
    plan = make_plan(spec, DATA, records)
    assert plan.count("to evaluate") == plan.num_open == 12
    assert plan.to_search == 0
    again = [
        finished_trial(c.cell, run=f"new {c.cell.key}", started=2.0, labels=LAST_ALONE)
        for c in plan.cells
    ]
    after = make_plan(spec, DATA, [*records, *again])
    assert (after.num_open, after.count("done")) == (0, 12)
    [block] = after.blocks
    assert [made.number for made in block.suggestions] == [0, 1, 2]


def test_search_learns_from_trials_whose_best_epoch_is_unknown(read: Read) -> None:
    spec = changed(read, OTHER_OBJECTIVE)
    cells = space.cells(spec, suggestion(spec, 0.3, 0), DATA)
    records = [
        finished_trial(cell, study="other", block="", labels=LAST_ALONE, objectives=(0.8, 0.4))
        for cell in cells
    ]
    fresh = [finished_trial(c, study="other", block="", started=2.0) for c in cells]
    for known, expected in ((records, (0.8, 0.4)), ([*records, *fresh], (0.9, 0.5))):
        [block] = make_plan(spec, DATA, known).blocks
        assert [point.objectives for point in block.taught] == [expected]


def test_trial_that_knows_its_best_epoch_is_read_before_one_that_does_not(read: Read) -> None:
    spec = read()
    [cell, *_] = grid_cells(spec)
    records = [
        finished_trial(cell, run="last alone", started=1.0, labels=LAST_ALONE),
        finished_trial(cell, run="best known", started=2.0),
    ]
    for declared, expected in ((spec, "best known"), (changed(read, LAST), "last alone")):
        record = make_plan(declared, DATA, records).cells[0].record
        assert record is not None
        assert record.run == expected


@pytest.mark.parametrize("more", [(), (LAST,)], ids=["best", "last"])
def test_trial_that_knows_the_best_epoch_is_preferred_as_a_source(
    read: Read, more: tuple[tuple[str, str], ...]
) -> None:
    old, other = grid_cells(changed(read, *more)), grid_cells(changed(read, OTHER_OBJECTIVE, *more))
    records = [
        finished_trial(old[0], run="best known", started=1.0),
        finished_trial(other[0], run="later", started=2.0),
        finished_trial(old[0], run="last alone", started=3.0, labels=LAST_ALONE),
    ]
    plan = make_plan(changed(read, MORE_RADII, *more), DATA, records)
    assert plan.cells[0].source is not None
    assert plan.cells[0].source.run == "best known"


def test_evaluation_that_failed_is_followed_by_a_training(read: Read) -> None:
    records = finished(read())
    spec = changed(read, MORE_RADII)
    cell = grid_cells(spec)[0]
    source = make_plan(spec, DATA, records).cells[0].source
    assert source is not None
    broken = failed(cell, labels={EVALUATED_TAG: source.run})
    planned = make_plan(spec, DATA, [*records, broken]).cells[0]
    assert (planned.state, planned.source) == ("failed", None)
