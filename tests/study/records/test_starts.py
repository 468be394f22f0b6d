"""The weights that a study starts from are found in the records, or one line says why not."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from study.plan import space
from study.plan.naming import start_name
from study.plan.plan import LAST_ALONE_TAG, TrialRecord, make_plan
from study.records.starts import StartError, choose_trial, find_starts
from study.records.store import Store, find_store
from study.spec import Start, StudySpec
from tests.records import DATA, finished_trial
from trainers.config import StartConfig

Read = Callable[..., StudySpec]
START = Start(study="tiny", method="sam", values=(("rho", 0.2),))


@pytest.fixture
def records(read: Read) -> list[TrialRecord]:
    """Every trial of the grid of `tiny`: standard, and SAM at two radii, with seeds 0 and 1."""
    spec = read()
    return [
        finished_trial(cell, labels=labels_of(cell))
        for made in space.grid_configurations(spec)
        for cell in space.cells(spec, made, DATA)
    ]


def labels_of(cell: space.Cell) -> dict[str, str]:
    made = cell.configuration
    values = json.dumps(dict(made.values))
    return {"method": made.method, "seed": str(cell.seed), "values": values}


def test_the_trial_of_the_wanted_values_and_seed_is_chosen(records: list[TrialRecord]) -> None:
    for seed in (0, 1):
        found = choose_trial(records, START, seed, ("s", "start"))
        assert json.loads(found.labels["values"]) == {"weights.sam.rho": 0.2}
        assert found.labels["seed"] == str(seed)
    whole = replace(START, values=(("weights.sam.rho", 0.2),))
    assert choose_trial(records, whole, 0, ("s", "start")).labels["seed"] == "0"


def test_a_suggested_value_is_found_by_its_printed_digits(records: list[TrialRecord]) -> None:
    values = {"0.2": "0.204811", "0.1": "0.20491"}
    edited = []
    for record in records:
        text = record.labels["values"]
        for old, new in values.items():
            text = text.replace(old, new)
        edited.append(replace(record, labels={**record.labels, "values": text}))
    start = replace(START, values=(("rho", 0.2048),))
    found = choose_trial(edited, start, 0, ("s", "start"))
    assert json.loads(found.labels["values"]) == {"weights.sam.rho": 0.204811}


def test_of_equal_trials_the_latest_is_chosen(records: list[TrialRecord]) -> None:
    first = choose_trial(records, START, 0, ("s", "start"))
    later = replace(first, started=5.0, run="later")
    assert choose_trial([later, *records], START, 0, ("s", "start")).run == "later"


def unfinished(records: list[TrialRecord]) -> list[TrialRecord]:
    return [replace(record, is_complete=False) for record in records]


def without_best(records: list[TrialRecord]) -> list[TrialRecord]:
    return [replace(r, labels={**r.labels, LAST_ALONE_TAG: "true"}) for r in records]


REFUSED: dict[str, tuple[dict[str, Any], int, Callable[[Any], Any], str]] = {
    "nothing there": (
        {},
        0,
        lambda records: [],
        "study tiny has no finished trial; study launch tiny first",
    ),
    "not finished": (
        {},
        0,
        unfinished,
        "study tiny has no finished trial; study launch tiny first",
    ),
    "misspelled": (
        {"study": "tinny"},
        0,
        list,
        "study tinny has no finished trial; did you mean tiny?",
    ),
    "another method": (
        {"method": "at"},
        0,
        list,
        "study tiny has no finished trial of method at, only of sam, standard; study launch tiny "
        "first, or name one of these",
    ),
    "another value": (
        {"values": (("rho", 0.3),)},
        0,
        list,
        "no finished trial of tiny sam has ρ=0.3; study launch tiny first, or name values of its "
        "trials",
    ),
    "another seed": (
        {},
        2,
        list,
        "study tiny has no finished trial of seed 2, only of 0, 1; study launch tiny first, or "
        "name one of these",
    ),
    "several": (
        {"values": ()},
        0,
        list,
        "2 configurations of tiny sam fit (ρ=0.1, ρ=0.2); name one with values: {…}",
    ),
    "no best": ({}, 0, without_best, "its trial has no checkpoint best; write checkpoint: last"),
}


@pytest.mark.parametrize(("changes", "seed", "edit", "says"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_there_yet_is_said_in_one_line(
    records: list[TrialRecord],
    changes: dict[str, Any],
    seed: int,
    edit: Callable[[Any], Any],
    says: str,
) -> None:
    with pytest.raises(StartError) as caught:
        choose_trial(edit(records), replace(START, **changes), seed, ("s", "start"))
    assert str(caught.value) == f"s.start: {says}"


def test_the_last_checkpoint_is_there_where_the_best_is_not(records: list[TrialRecord]) -> None:
    found = choose_trial(
        without_best(records), replace(START, checkpoint="last"), 0, ("s", "start")
    )
    assert found.labels["seed"] == "0"


def test_a_file_decides_the_key_by_its_content(read: Read, tmp_path: Path) -> None:
    store = find_store(tmp_path)
    keys = []
    for content in (b"one", b"two", b"one"):
        (tmp_path / "a.pt").write_bytes(content)
        spec, files = find_starts(read("  start: a.pt\n"), store)
        [made, *_] = space.grid_configurations(spec)
        cell = space.cells(spec, made, DATA)[0]
        assert cell.config.start != "none"
        assert files[cell.config.start.weights].content == content
        keys.append(cell.key)
    assert keys[0] == keys[2] != keys[1]
    fresh = read()
    assert space.cells(fresh, space.grid_configurations(fresh)[0], DATA)[0].key not in keys


def test_a_file_that_is_not_there_is_said_in_one_line(read: Read, tmp_path: Path) -> None:
    with pytest.raises(StartError) as caught:
        find_starts(read("  start: nothing.pt\n"), find_store(tmp_path))
    assert str(caught.value) == (
        "tiny.start: must name a file that can be read (No such file or directory), got "
        f"{tmp_path / 'nothing.pt'}; check the path, which is relative to the studies file"
    )


def test_a_study_without_starts_is_itself(read: Read, store: Store) -> None:
    spec = read()
    assert find_starts(spec, store) == (spec, {})


def started(spec: StudySpec) -> StudySpec:
    """Return a study of which each seed starts from weights of its own, of one origin."""
    found = tuple((seed, StartConfig(weights=f"w{seed}", origin="o")) for seed in spec.seeds)
    return spec.model_copy(update={"start": replace(START, study="other", found=found)})


def test_seeds_that_start_from_their_own_weights_share_a_search_block(read: Read) -> None:
    spec = started(read())
    [block] = space.search_blocks(spec, DATA)
    made = space.suggested(block, {"weights.sam.rho": 0.3}, 0)
    cells = space.cells(spec, made, DATA)
    for cell in cells:
        canonical = space.canonical(cell.config, DATA)
        assert space.taught_values(block, canonical) == {"weights.sam.rho": 0.3}
    assert len({cell.key for cell in cells}) == 2
    [plain] = space.search_blocks(read(), DATA)
    assert plain.key != block.key
    plan = make_plan(spec, DATA, [finished_trial(cell) for cell in cells])
    assert [planned.state for planned in plan.cells][-2:] == ["done", "done"]


def test_an_origin_is_one_for_all_seeds_and_another_for_another_checkpoint(read: Read) -> None:
    spec = started(read())
    [made, other, *_] = space.grid_configurations(spec)
    first, second = (space.canonical(cell.config, DATA) for cell in space.cells(spec, made, DATA))
    best = space.origin(first, "best")
    assert best == space.origin(second, "best")
    assert best != space.origin(first, "last")
    third = space.canonical(space.cells(spec, other, DATA)[0].config, DATA)
    assert best != space.origin(third, "best")


def test_a_start_is_named_as_people_speak_of_it() -> None:
    assert start_name(START) == "tiny sam rho=0.2 of the same seed, best"
    assert start_name(replace(START, seed=0, checkpoint="last")) == "tiny sam rho=0.2 seed=0, last"
    assert start_name(Start(file="/a/b/weights.pt")) == "weights.pt"
    assert start_name(Start()) == "fresh weights"
