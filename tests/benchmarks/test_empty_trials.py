"""Tests of the trials that train nothing."""

from pathlib import Path

import empty_trials

from study.records import store
from study.records.runs import open_source, read_trials


def test_an_empty_trial_leaves_a_finished_run_and_is_timed(tmp_path: Path) -> None:
    spec = empty_trials.declare(tmp_path, [0.1, 0.2, 0.3], 1)
    spent = empty_trials.Bookkeeping(tmp_path, spec, recorded=2).trial()
    assert list(spent) == ["searcher", "callbacks", "MLflow"]
    assert all(seconds > 0 for seconds in spent.values())
    records = read_trials(open_source(store.find_store(tmp_path)), "last")
    assert [record.is_complete for record in records] == [True] * 3
