"""Tests of the trials that train nothing."""

import subprocess
import sys
from pathlib import Path

import empty_trials
import pytest

from study.records import store
from study.records.runs import open_source, read_trials


def test_an_empty_trial_leaves_a_finished_run_and_is_timed(tmp_path: Path) -> None:
    spec = empty_trials.declare(tmp_path, [0.1, 0.2, 0.3], 1)
    spent = empty_trials.Bookkeeping(tmp_path, spec, recorded=2).trial()
    assert list(spent) == ["searcher", "callbacks", "MLflow"]
    assert all(seconds > 0 for seconds in spent.values())
    records = read_trials(open_source(store.find_store(tmp_path)), "last")
    assert [record.is_complete for record in records] == [True] * 3


@pytest.mark.slow
def test_empty_trials_run_through_ray(tmp_path: Path) -> None:
    overhead = Path(empty_trials.__file__).with_name("overhead.py")
    command = [sys.executable, str(overhead), "--launch", str(tmp_path), "3"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    records = read_trials(open_source(store.find_store(tmp_path)), "last")
    assert [record.is_complete for record in records] == [True] * 3
