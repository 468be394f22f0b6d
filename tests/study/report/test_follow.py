"""The page that follows a launch, without a launch: what it shows, and when it ends."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from study.plan.plan import make_plan
from study.records.runs import begin_study, end_study, open_study
from study.report import follow
from study.report.follow import Follower, Step, is_at_work, pause, strip
from study.spec import StudySpec
from tests.records import DATA, finished_trial
from tests.study.plan.test_plan import grid_cells

Read = Callable[..., StudySpec]


@pytest.fixture
def follower(read: Read, tmp_path: Path) -> Follower:
    steps = [
        Step(trials=number, estimate=30.0, low=30.0 - half, high=30.0 + half)
        for number, half in ((4, 20.0), (8, 10.0))
    ]
    return Follower(spec=read(), project=tmp_path, slots=2, steps=steps)


def test_the_strip_tells_what_runs_the_time_left_and_how_the_interval_shrinks(
    follower: Follower,
) -> None:
    first, second, third, *_ = grid_cells(follower.spec)
    epoch = {"train/epoch": 2.0}
    running = {"status": "RUNNING", "is_complete": False, "objectives": None, "metrics": epoch}
    cost = {"cost/passes_per_sample": 3.0}
    trials = [finished_trial(one, metrics=cost) for one in (first, second)]
    plan = make_plan(follower.spec, DATA, [*trials, replace(finished_trial(third), **running)])
    text = strip(follower, plan, is_over=False)
    assert "2 of 12 trials done · 1 running · 0 failed · about " in text
    assert "sam rho=0.1 seed=0 (epoch 2 of 3)" in text
    assert "30.0 pp of robust accuracy [20.0, 40.0] after 8 trials" in text
    assert "±20.0 → ±10.0" in text
    assert text.count("<circle") == 2
    assert "no longer changes" in strip(follower, plan, is_over=True)
    cells = (*plan.cells[:-1], replace(plan.cells[-1], state="stopped"))
    text = strip(follower, replace(plan, cells=cells), is_over=True)
    assert "2 of 12 trials done · 1 stopped · 0 failed" in text


def test_the_page_reads_the_strip_from_the_script_beside_it(follower: Follower) -> None:
    follower.folder.mkdir(parents=True)
    follow._write_strip(follower, None, is_over=False)
    script = (follower.folder / "live.js").read_text(encoding="utf-8")
    told = json.loads(script.strip().removeprefix("show(").removesuffix(")"))
    assert told["report"] == 0
    assert "waiting for a launch to begin" in told["html"]
    page = follow._page("tiny")
    for name in ("live.js", "../tiny/index.html", "function show("):
        assert name in page


def test_a_launch_is_at_work_as_long_as_its_process_lives(
    read: Read, store: Any, client: Any, tmp_path: Path
) -> None:
    spec = read().model_copy(update={"name": "followed"})
    project = store.path.parents[1]
    assert not is_at_work(spec, tmp_path), "there is no store"
    runs = open_study(client, store, spec, {})
    lock = project / "runs" / "launch.lock"
    ours = f"study {spec.name}, process {os.getpid()}, since today"
    lock.write_text(ours)
    assert not is_at_work(spec, project), "its parent run is not running yet"
    begin_study(client, runs)
    assert is_at_work(spec, project)
    lock.write_text(ours.replace(f"{os.getpid()}", "4194304"))
    assert not is_at_work(spec, project), "it was killed"
    lock.write_text(ours.replace(spec.name, "other"))
    assert not is_at_work(spec, project), "another study is launched"
    lock.write_text(ours)
    end_study(client, runs, "FINISHED")
    assert not is_at_work(spec, project)
    lock.unlink()


def test_analyses_take_their_share_of_the_machine_and_no_more() -> None:
    cores = len(os.sched_getaffinity(0))
    used = 3.0
    assert used / (cores * (used / cores + pause(used))) <= 0.05
