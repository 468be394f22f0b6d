"""What the commands print of a study, and the question before a large launch."""

import sys
from collections.abc import Callable
from dataclasses import replace

import pytest

from study import summary
from study.plan.plan import LAST_ALONE_TAG, make_plan
from study.spec import StudySpec
from tests.records import DATA, finished_trial
from tests.study.plan.test_plan import grid_cells
from trainers.config import StartConfig

Read = Callable[..., StudySpec]
HOUR = 3600.0
LARGE = [
    pytest.param(1200, 1, None, "1,200 trials of unknown length", id="many"),
    pytest.param(1000, 1, None, "", id="not many"),
    pytest.param(61, 2, HOUR, "60 trials, about 30 h", id="long"),
    pytest.param(48, 2, HOUR, "", id="below a day"),
    pytest.param(61, None, HOUR, "", id="long on a cluster of unknown size"),
    pytest.param(1201, None, HOUR, "1,200 trials of unknown length", id="many on a cluster"),
]


def standard_alone(read: Read, seeds: int) -> StudySpec:
    text: str = read.text  # type: ignore[attr-defined]
    start, rest = text.split("    sam: ")
    text = start + "  evaluation:" + rest.split("  evaluation:")[1]
    return read(text=text.replace("[0, 1]", str(list(range(seeds)))))


@pytest.mark.parametrize(("seeds", "slots", "seconds", "expected"), LARGE)
def test_large_launch_needs_a_yes(
    read: Read,
    monkeypatch: pytest.MonkeyPatch,
    seeds: int,
    slots: int | None,
    seconds: float | None,
    expected: str,
) -> None:
    spec = standard_alone(read, seeds)
    measured = [finished_trial(grid_cells(spec)[0], seconds=seconds)] if seconds else []
    plan = make_plan(spec, DATA, measured)
    monkeypatch.setattr(sys, "stdin", None)
    refusal = f"tiny: {expected}: must be confirmed, but there is no terminal; add --yes"
    assert summary.ask(spec, plan, slots) == (refusal if expected else "")


def test_trials_of_unknown_length_are_counted_beside_the_known_time(
    read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = read()
    [first, *_] = grid_cells(spec)
    plan = make_plan(spec, DATA, [finished_trial(first, seconds=100 * HOUR)])
    monkeypatch.setattr(sys, "stdin", None)
    expected = "tiny: 11 trials, about 100 h without 10 of unknown length: must be confirmed"
    assert summary.ask(spec, plan, 2).startswith(expected)


def test_front_is_headed_by_the_radius_as_the_report_prints_it(
    read: Read, capsys: pytest.CaptureFixture[str]
) -> None:
    radii = "radii: [0.05, 0.1], objective_radius: 0.1"
    text = read.text.replace(radii, "radii: [2/255, 8/255], objective_radius: 8/255")  # type: ignore[attr-defined]
    spec = read(text=text)
    plan = make_plan(spec, DATA, [finished_trial(cell) for cell in grid_cells(spec)])
    summary.print_status(spec, plan)
    assert "robust (linf 8/255)\n" in capsys.readouterr().out


def test_a_member_of_the_front_with_seeds_of_its_own_is_marked(
    read: Read, capsys: pytest.CaptureFixture[str]
) -> None:
    text: str = read.text  # type: ignore[attr-defined]
    spec = read(text=f"{text}  more_trials: [{{method: sam, values: {{rho: 0.7}}, seeds: [7]}}]\n")
    cells = [planned.cell for planned in make_plan(spec, DATA, []).cells]
    summary.print_status(spec, make_plan(spec, DATA, [finished_trial(cell) for cell in cells]))
    printed = capsys.readouterr().out
    assert "front on validation, means of 2 seeds" in printed
    assert "sam rho=0.7 (1 seed) " in printed
    assert printed.count("seed)") == 1


def test_trials_at_the_last_epoch_are_counted_beside_those_at_the_best(
    read: Read, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = read()
    [first, second, *_] = grid_cells(spec)
    records = [finished_trial(first, labels={LAST_ALONE_TAG: "true"}), finished_trial(second)]
    plan = make_plan(spec, DATA, records)
    line = (
        "1 of the done trials is read at the last epoch, not at the best: which epoch is best at "
        "linf 0.1 was not recorded\n"
    )
    summary.print_plan(spec, plan, 2)
    assert line in capsys.readouterr().out
    summary.print_status(spec, plan)
    assert line in capsys.readouterr().out
    summary.print_status(spec, make_plan(spec, DATA, records[1:]))
    assert "last epoch" not in capsys.readouterr().out


def test_a_plan_says_what_is_swept_and_what_trainings_start_from(
    read: Read, capsys: pytest.CaptureFixture[str]
) -> None:
    text: str = read.text  # type: ignore[attr-defined]
    text = text.replace("learning_rate: 0.1", "learning_rate: [0.1, 0.2]")
    text = text.replace("standard: {}", "standard: {start: none, training: {epochs: [1, 2]}}")
    spec = read("  start: {from: other, method: sam, values: {rho: 0.2}}\n", text=text)
    found = tuple((seed, StartConfig(weights=f"{seed}" * 64, origin="o")) for seed in (0, 1))
    spec = spec.model_copy(update={"start": replace(spec.start, found=found)})
    summary.print_plan(spec, make_plan(spec, DATA, []), 2)
    printed = capsys.readouterr().out
    for line in (
        "swept in standard: epochs 1 / 2, learning_rate 0.1 / 0.2; 8 trials",
        "swept in sam, sam_at: learning_rate 0.1 / 0.2; 20 trials",
        "start of standard: fresh weights",
        "start of sam, sam_at: other sam rho=0.2 of the same seed, best (00000000, 11111111)",
    ):
        assert f"{line}\n" in printed


def test_a_plan_says_what_may_be_stopped_and_how_many_seeds_may_follow(
    read: Read, capsys: pytest.CaptureFixture[str]
) -> None:
    stop = "search: {trials: 3, stop: {rungs: [0.2, 0.5], keep: 0.5}, seeds: adaptive}"
    spec = read(text=read.text.replace("search: {trials: 3}", stop))  # type: ignore[attr-defined]
    summary.print_plan(spec, make_plan(spec, DATA, []), 2)
    printed = capsys.readouterr().out
    for line in (
        "rungs in sam_at: at 0.2, 0.5 of the epochs, keep 0.5",
        "to run: 6 trials of 1 CPU, 0 GPU each, 2 at a time",
        "  and up to 6 further seeds, where it is undecided who is on a front",
    ):
        assert f"{line}\n" in printed
