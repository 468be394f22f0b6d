"""Why cells are open: no reason may be false."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from study.plan import space
from study.plan.plan import LAST_ALONE_TAG, TrialRecord, make_plan
from study.plan.reasons import (
    LOST_TAG,
    MANY_LOSSES,
    NEVER_RUN,
    changes,
    count_last_read,
    reasons,
)
from study.plan.space import Cell
from study.plan.stops import STOPPED_TAG
from study.spec import StudySpec
from tests.records import DATA, finished_trial

Read = Callable[..., StudySpec]


def first_cell(spec: StudySpec) -> Cell:
    return space.cells(spec, space.grid_configurations(spec)[1], DATA)[0]


def finished(cell: Cell, **changed: Any) -> TrialRecord:
    configuration = cell.configuration
    labels = {
        "method": configuration.method,
        "values": json.dumps(dict(configuration.values)),
        "seed": str(cell.seed),
    }
    extra = changed.pop("labels", {})
    return finished_trial(cell, labels=labels | extra, **changed)


def why(spec: StudySpec, *records: TrialRecord) -> str:
    found = reasons(spec, make_plan(spec, DATA, records))
    return found[first_cell(spec).key]


OPEN = {"is_complete": False, "objectives": None}
ENDINGS: list[Any] = [
    pytest.param([], NEVER_RUN, id="none"),
    pytest.param(
        [{"reason": "its file a/bits.npz is gone"}], "its file a/bits.npz is gone", id="files gone"
    ),
    pytest.param([{"status": "FAILED", "reason": "diverged"}], "failed: diverged", id="failed"),
    pytest.param(
        [{"status": "KILLED", "reason": "its launch was killed"}],
        "its launch was killed",
        id="killed",
    ),
    pytest.param(
        [{"status": "KILLED", "reason": "stopped before its end", "labels": {STOPPED_TAG: "2"}}],
        "stopped after epoch 2, by another rule than today's",
        id="stopped by a rung",
    ),
    pytest.param(
        [{"status": "KILLED", "reason": "its worker was lost: x", "labels": {LOST_TAG: "3"}}],
        "its worker was lost after epoch 3",
        id="lost",
    ),
    pytest.param(
        [{"status": "KILLED", "labels": {LOST_TAG: "3"}}] * MANY_LOSSES,
        "its worker was lost after epoch 3 (5 times so far); is the machine short of memory?",
        id="lost often",
    ),
    pytest.param(
        [{"status": "KILLED", "labels": {LOST_TAG: str(epoch)}} for epoch in range(9)],
        "its worker was lost after epoch 8",
        id="lost often, but each time further on",
    ),
]


@pytest.mark.parametrize(("trials", "expected"), ENDINGS)
def test_cell_is_open_for_what_its_last_trial_ended_by(
    read: Read, trials: list[dict[str, Any]], expected: str
) -> None:
    spec = read()
    cell = first_cell(spec)
    records = [
        finished(cell, started=float(at), **(OPEN | trial)) for at, trial in enumerate(trials)
    ]
    assert why(spec, *records) == expected


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "epochs: 3",
            "epochs: 4",
            "finished under other settings: training.epochs 3 → 4",
        ),
        (
            "radii: [0.05, 0.1]",
            "radii: [0.1]",
            "trained, but evaluated under other settings: evaluation.radii [0.05, 0.1] → [0.1]",
        ),
        (
            "objective_radius: 0.1",
            "objective_radius: 0.05",
            "trained, but evaluated under other settings: evaluation.objective_radius 0.1 → 0.05; "
            "which epoch is best at linf 0.05 was not recorded, as its epochs were validated at "
            "linf 0.1 alone, so the last one, epoch 3, is evaluated",
        ),
        ("rho: [0.1, 0.2]", "rho: [0.3]", NEVER_RUN),
        ("seeds: [0, 1]", "seeds: [5]", NEVER_RUN),
    ],
    ids=["training", "evaluation", "objective", "new value", "new seed"],
)
def test_cell_is_open_for_what_was_edited(read: Read, old: str, new: str, expected: str) -> None:
    before = finished(first_cell(read()))
    spec = read(text=read.text.replace(old, new))  # type: ignore[attr-defined]
    assert why(spec, before) == expected


def test_best_epoch_that_an_evaluation_did_not_know_stays_unknown(read: Read) -> None:
    before = finished(first_cell(read()), labels={LAST_ALONE_TAG: "true"})
    text = read.text.replace("radii: [0.05, 0.1]", "radii: [0.1]")  # type: ignore[attr-defined]
    assert why(read(text=text), before) == (
        "trained, but evaluated under other settings: evaluation.radii [0.05, 0.1] → [0.1]; which "
        "epoch is best at linf 0.1 was not recorded, so the last one, epoch 3, is evaluated"
    )
    last = text.replace("restarts: 1}}}", "restarts: 1}}, checkpoint: last}")
    assert why(read(text=last), before).endswith("evaluation.radii [0.05, 0.1] → [0.1]")


def test_cells_read_at_their_last_epoch_are_counted_where_the_best_is_wanted(read: Read) -> None:
    spec = read()
    records = [
        finished(first_cell(spec), labels={LAST_ALONE_TAG: "true"}),
        finished(space.cells(spec, space.grid_configurations(spec)[0], DATA)[0]),
    ]
    assert count_last_read(make_plan(spec, DATA, records).cells) == 1
    text = read.text.replace("restarts: 1}}}", "restarts: 1}}, checkpoint: last}")  # type: ignore[attr-defined]
    assert count_last_read(make_plan(read(text=text), DATA, records).cells) == 0


def test_result_that_is_still_declared_is_no_reason_for_another_cell(read: Read) -> None:
    spec = read()
    configuration = space.grid_configurations(spec)[1]
    one, two = space.cells(spec, configuration, DATA)
    found = reasons(spec, make_plan(spec, DATA, [finished(one)]))
    assert found[two.key] == NEVER_RUN
    assert one.key not in found


def test_many_changes_are_counted() -> None:
    old = {"a": 1, "b": {"c": 0.5, "d": "x"}, "e": [1, 2]}
    new = {"a": 2, "b": {"c": 0.25}, "e": [1], "f": 3}
    assert changes(old, new) == "a 1 → 2, b.c 0.5 → 0.25, b.d x → default, and 2 more"
    assert changes(old, old) == ""
