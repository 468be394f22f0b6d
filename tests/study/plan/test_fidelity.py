"""Fewer attack steps before the rungs: what a study declares, and what becomes of its cells."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from study.plan import space
from study.plan.cost import cost_share, relative_cost, shape_key
from study.plan.naming import fidelity_text, settings_text
from study.plan.plan import make_plan
from study.plan.reasons import reasons
from study.plan.stops import rungs_of
from study.records.values import run_params, time_values
from study.spec import SpecError, StudySpec
from study.summary import print_plan
from tests.records import DATA, finished_trial
from tests.trainers.test_detectors import history
from trainers.config import Fidelity

Read = Callable[..., StudySpec]
EARLY = "stop: {rungs: [0.2, 0.5], keep: 0.5, grids: true}"
FEWER = "stop: {rungs: [0.2, 0.5], keep: 0.5, grids: true, fidelity: {steps: [2, 4, 10]}}"
PASSES = 2 * 10 + 3


def searched(read: Read, stop: str = FEWER, **changes: str) -> StudySpec:
    """Ten epochs of AT in a grid, of SAM + AT in a search, and of methods without an attack."""
    text = read.text  # type: ignore[attr-defined]
    at = "at: {inputs: {pgd: {norm: linf, epsilon: [0.05, 0.1], steps: 10}}}\n    sam_at"
    for old, new in {
        "epochs: 3": "epochs: 10",
        "steps: 1}}}": "steps: 10}}}",
        "    sam_at": f"    {at}",
        "search: {trials: 3}": f"search: {{trials: 3, {stop}}}",
        **changes,
    }.items():
        assert old in text
        text = text.replace(old, new, 1)
    return read(text=text)


def keys(spec: StudySpec) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for made in space.grid_configurations(spec):
        for cell in space.cells(spec, made, DATA):
            found.setdefault(made.method, []).append(cell.key)
    for block in space.search_blocks(spec, DATA):
        found.setdefault(block.method, []).append(block.key)
    return found


def the_cell(spec: StudySpec, method: str = "at", seed: int = 0) -> space.Cell:
    made = next(made for made in space.grid_configurations(spec) if made.method == method)
    return space.cells(spec, made, DATA)[seed]


def test_cells_of_a_method_with_steps_are_others_and_all_else_stays(read: Read) -> None:
    early, fewer = keys(searched(read, EARLY)), keys(searched(read))
    changed = [method for method in early if early[method] != fewer[method]]
    assert changed == ["at", "sam_at"]
    assert not set(early["at"]) & set(fewer["at"])


def test_equal_steps_are_the_same_cells_as_none_declared(read: Read) -> None:
    same = FEWER.replace("[2, 4, 10]", "[10, 10, 10]")
    assert (
        keys(searched(read, same))
        == keys(searched(read, EARLY))
        == keys(searched(read, "stop: never"))
    )
    assert fidelity_text(searched(read, same), "at") == ""


def test_all_seeds_train_with_the_fewer_steps_up_to_the_rungs_epochs(read: Read) -> None:
    spec = searched(read)
    expected = Fidelity(until=(2, 5), steps=(2, 4))
    assert [the_cell(spec, "at", seed).config.fidelity for seed in (0, 1)] == [expected] * 2
    assert the_cell(spec, "sam").config.fidelity == "none"
    assert rungs_of(spec, the_cell(spec)) == (2, 5)
    without_grids = searched(read, FEWER.replace(", grids: true", ""))
    assert the_cell(without_grids).config.fidelity == "none"


def test_a_rung_that_is_no_epoch_before_the_last_leaves_all_steps(read: Read) -> None:
    """Of two epochs both rungs are the first; a training of one epoch has none."""
    for epochs, expected in (("2", Fidelity(until=(1,), steps=(2,))), ("1", "none")):
        spec = searched(read, **{"epochs: 10": f"epochs: {epochs}"})
        assert the_cell(spec).config.fidelity == expected
        assert bool(fidelity_text(spec, "at")) == (expected != "none")
    late = FEWER.replace("[0.2, 0.5]", "[0.5, 0.99]").replace("[2, 4, 10]", "[4, 4, 10]")
    spec = searched(read, late, **{"epochs: 10": "epochs: 3"})
    assert the_cell(spec).config.fidelity == Fidelity(until=(2,), steps=(4,))


def test_a_trainings_cost_is_that_of_its_epochs(read: Read) -> None:
    early, fewer = the_cell(searched(read, EARLY)), the_cell(searched(read))
    assert relative_cost(early.config) == PASSES
    assert relative_cost(fewer.config) == pytest.approx((2 * 7 + 3 * 11 + 5 * 23) / 10)
    assert cost_share(early.config, 3) == pytest.approx(0.3)
    assert cost_share(fewer.config, 3) == pytest.approx((2 * 7 + 11) / 162)
    assert [cost_share(fewer.config, epoch) for epoch in (0, 10)] == [0, 1]
    shapes = [shape_key(space.canonical(cell.config, DATA)) for cell in (early, fewer)]
    assert shapes[0] != shapes[1]


def test_the_time_of_epochs_is_their_median_among_those_of_equal_passes() -> None:
    epochs = [
        replace(epoch, seconds=seconds, forward_passes=passes)
        for epoch, seconds, passes in zip(
            history(robust=[0.4] * 5), (1.0, 2.0, 9.0, 7.0, 30.0), (2, 2, 8, 8, 8), strict=True
        )
    ]
    assert time_values(epochs, 0.0)["cost/training_seconds"] == 2 * 1.5 + 3 * 9.0


def test_plan_runs_and_report_say_which_steps_there_were(
    read: Read, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = searched(read)
    told = "2 to 0.2 of the epochs, 4 to 0.5"
    assert settings_text(spec, "at").endswith(f"; cross_entropy; fewer steps: {told}")
    assert "fewer" not in settings_text(spec, "sam")
    assert run_params(spec, the_cell(spec))["setup.fidelity"] == told
    assert run_params(spec, the_cell(spec, "sam"))["setup.fidelity"] == "none"
    early = searched(read, EARLY)
    assert "setup.fidelity" not in run_params(early, the_cell(early))
    print_plan(spec, make_plan(spec, DATA, []), 2)
    line = f"fewer steps in at, sam_at: {told}; passes of a training: at 70%, sam_at 74%\n"
    assert line in capsys.readouterr().out


def test_a_cell_that_had_fewer_steps_is_open_without_them_and_says_why(read: Read) -> None:
    before, after = searched(read), searched(read, "stop: never")
    cell = the_cell(before)
    labels = {"method": "at", "values": '{"inputs.pgd.epsilon": 0.05}', "seed": "0"}
    plan = make_plan(after, DATA, [finished_trial(cell, labels=labels)])
    why = reasons(after, plan)[the_cell(after).key]
    assert why == (
        'finished under other settings: fidelity {"until": [2, 5], "steps": [2, 4]} → default'
    )


REFUSED = {
    "too few": ("[2, 10]", "search.stop: fidelity needs 3 numbers of steps, one up to each rung"),
    "falling": ("[4, 2, 10]", "fidelity.steps: must not fall, got 2 after 4; sort the numbers"),
    "no step": ("[0, 2, 10]", "fidelity.steps: must be ≥ 1, got 0"),
    "no list": ("10", "fidelity.steps: must be a list"),
    "not to its end": ("[2, 4, 8]", "fidelity.steps: must end with the steps of at, 10, got 8;"),
}


@pytest.mark.parametrize(("steps", "expected"), REFUSED.values(), ids=REFUSED)
def test_steps_that_do_not_fit_are_refused_in_one_line(
    read: Read, steps: str, expected: str
) -> None:
    with pytest.raises(SpecError) as refused:
        searched(read, FEWER.replace("[2, 4, 10]", steps))
    [line] = str(refused.value).splitlines()
    assert expected in line


def test_several_numbers_of_steps_and_none_at_all_are_refused(read: Read) -> None:
    grid = {"epsilon: [0.05, 0.1], steps: 10": "epsilon: 0.1, steps: [4, 10]"}
    with pytest.raises(SpecError, match="must end with the steps of at, 4, 10, got 10; write one"):
        searched(read, **grid)
    unsearched = {", grids: true": "", "rho: {low: 0.05, high: 0.8, log: true}": "rho: 0.1"}
    with pytest.raises(SpecError, match="has no effect, as no method that may be stopped has an"):
        searched(
            read, **unsearched, **{"sam: {rho: [0.1, 0.2]}": "sam: {rho: {low: 0.1, high: 1}}"}
        )
    misspelt = FEWER.replace("steps:", "step:")
    with pytest.raises(SpecError, match=r"fidelity\.step: unknown key; did you mean steps\?"):
        searched(read, misspelt)
