"""A study's records at the two ends of a launch."""

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from study.launch import launch
from study.launch.ledger import Ledger
from study.plan import space
from study.records import runs
from study.records.claims import read_claims, record_claims
from study.records.runs import TrialRun
from study.records.store import find_store
from study.spec import StudySpec
from trainers.data.dataset import DIGITS_FINGERPRINT

Read = Callable[..., StudySpec]


def record_trial(ledger: Ledger, spec: StudySpec, end: str) -> TrialRun:
    """Record a trial of the study's first cell, which ends so."""
    cell = space.cells(spec, space.grid_configurations(spec)[0], DIGITS_FINGERPRINT)[0]
    labels = {
        "study": spec.name,
        "cell": cell.key,
        "method": "standard",
        "block": "",
        "number": "-1",
        "config": json.dumps(space.canonical(cell.config, DIGITS_FINGERPRINT)),
    }
    run = TrialRun(ledger.client, ledger.runs, "a run", labels, {})
    if end == "FAILED":
        run.fail("once", "", would_repeat=False)
    return run


def status_of(client: Any, run: str) -> str:
    return str(client.get_run(run).info.status)


def test_ledger_that_was_never_opened_ends_without_a_trace(tmp_path: Path, read: Read) -> None:
    spec = read()
    folder = tmp_path / "project"
    ledger = Ledger(spec, find_store(folder), {})
    ledger.end("FAILED")
    assert not folder.exists()


def test_opening_ends_what_a_killed_launch_left_and_ending_what_this_one_leaves(
    tmp_path: Path, read: Read
) -> None:
    spec, store = read(), find_store(tmp_path)
    killed = Ledger(spec, store, {})
    killed.open()
    runs.begin_study(killed.client, killed.runs)
    left = record_trial(killed, spec, "RUNNING")
    ledger = Ledger(spec, store, {"git_commit": "abc"})
    ledger.open()
    assert status_of(ledger.client, left.id) == "KILLED"
    assert ledger.runs == killed.runs
    again = record_trial(ledger, spec, "RUNNING")
    ledger.open()
    assert status_of(ledger.client, again.id) == "RUNNING", "it was open"
    ledger.end("FINISHED")
    assert status_of(ledger.client, again.id) == "KILLED"
    parent = ledger.client.get_run(ledger.runs.parent)
    assert (parent.info.status, parent.data.tags["git_commit"]) == ("FINISHED", "abc")


def test_a_launch_that_begins_records_what_its_study_claims(tmp_path: Path, read: Read) -> None:
    spec = read("  claims: [{methods: [sam_at, sam], direction: more}]\n")
    store = find_store(tmp_path)
    ledger = Ledger(spec, store, {})
    ledger.open()
    launch._begin(spec, ledger, launch.current_plan(spec, tmp_path))
    assert status_of(ledger.client, ledger.runs.parent) == "RUNNING"
    told = read_claims(runs.open_source(store), spec.name)
    assert told == {"sam_at more than sam, radius 0.1": 0}


def test_plan_before_and_after_opening_is_the_same(tmp_path: Path, read: Read) -> None:
    spec, store = read(), find_store(tmp_path)
    killed = Ledger(spec, store, {})
    killed.open()
    for end in ("FAILED", "FAILED", "RUNNING"):
        record_trial(killed, spec, end)
    seen = launch.current_plan(spec, tmp_path)
    assert [seen.count(state) for state in ("running", "given up")] == [1, 0]
    before = launch._plan(spec, tmp_path, store, is_alone=True)
    assert [before.count(state) for state in ("running", "given up")] == [0, 1]
    ledger = Ledger(spec, store, {})
    ledger.open()
    after = launch.current_plan(spec, tmp_path)
    assert [cell.state for cell in after.cells] == [cell.state for cell in before.cells]
    assert after.open_cells == before.open_cells


def closed(spec: StudySpec, folder: Path) -> Ledger:
    """The ledger of a later launch, in a store where an earlier one has ended."""
    ledger = Ledger(spec, find_store(folder), {})
    ledger.open()
    record_trial(ledger, spec, "FAILED")
    record_claims(ledger.client, ledger.runs, spec, 0)
    ledger.record(launch.current_plan(spec, folder))
    ledger.end("FINISHED")
    return Ledger(spec, find_store(folder), {})


def test_a_launch_that_runs_nothing_sees_in_the_file_that_nothing_is_to_be_recorded(
    tmp_path: Path, read: Read
) -> None:
    spec = read("  claims: [{methods: [sam_at, sam], direction: more}]\n")
    assert not Ledger(spec, find_store(tmp_path), {}).is_current(
        launch.current_plan(spec, tmp_path)
    )
    ledger = closed(spec, tmp_path)
    plan = launch.current_plan(spec, tmp_path)
    assert ledger.is_current(plan)
    other = read("  claims: [{methods: [sam_at, standard], direction: more}]\n")
    assert not Ledger(other, find_store(tmp_path), {}).is_current(plan), "a new claim"
    assert not ledger.is_current(replace(plan, cells=())), "a configuration is a former one"
    ledger.open()
    record_trial(ledger, spec, "FAILED")
    again = Ledger(spec, find_store(tmp_path), {})
    assert not again.is_current(launch.current_plan(spec, tmp_path)), "a trial is no child yet"
    record_trial(ledger, spec, "RUNNING")
    assert not again.is_current(plan), "a trial runs"


def test_commit_is_known_beside_a_file_whose_name_is_not_utf8(tmp_path: Path) -> None:
    for words in ("init --quiet", "config core.quotePath false"):
        subprocess.run(["git", "-C", str(tmp_path), *words.split()], check=True)
    (tmp_path / os.fsdecode(b"r\xe9sultat.txt")).touch()
    tags = launch.launch_tags(tmp_path)
    assert (tags["git_commit"], tags["git_dirty"]) == ("none", "true")
