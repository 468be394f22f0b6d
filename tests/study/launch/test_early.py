"""A launch with rungs, raced seeds and a budget, in Ray: killed once, then gone on with."""

from collections import Counter
from typing import Any

import pytest

from analysis.fronts.choice import choose
from analysis.report.limits import limits
from study.launch.launch import current_plan
from study.plan.plan import Plan
from study.plan.stops import STOPPED_TAG, is_judge
from study.records import store
from study.report.report import read_results
from study.spec import read_studies
from tests.waits import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

EARLY = """\
early:
  data: {name: digits}
  model: {name: small_cnn, width: 2}
  training: {epochs: 5, batch_size: 250, learning_rate: 0.1, momentum: 0.9, weight_decay: 0.0,
             schedule: cosine, end_on: []}
  seeds: [0, 1]
  methods:
    standard: {training: {learning_rate: [0.5, 0.2, 0.1, 0.01, 0.003, 0.001]}}
    sam: {weights: {sam: {rho: {low: 0.05, high: 5.0, log: true}}}}
  search: {trials: 5, stop: {rungs: [0.2, 0.6], keep: 0.5, grids: true}, seeds: adaptive}
  budget: {trials: 100}
  evaluation: {norm: linf, radii: [0.1], objective_radius: 0.1,
               attack: {pgd: {steps: 1, restarts: 1}}}
"""


def runs_of(project: Any) -> list[Any]:
    if not (project.folder / "runs" / "mlflow.db").exists():
        return []
    client = store.connect(store.find_store(project.folder))
    experiment = client.get_experiment_by_name("early")
    if experiment is None:
        return []
    return list(client.search_runs([experiment.experiment_id], "tags.kind = 'trial'"))


def plan_of(project: Any) -> Plan:
    return current_plan(read_studies(project.file)["early"], project.folder)


def test_a_launch_that_stops_trainings_survives_a_kill(
    project: Any,
) -> None:
    project.write(EARLY)
    launcher = project.start("launch", "early")
    wait_until(
        lambda: any(STOPPED_TAG in run.data.tags for run in runs_of(project)),
        launcher,
        lambda: Counter(run.info.status for run in runs_of(project)),
    )
    launcher.kill()
    launcher.wait()
    before = {p.cell.key: p.state for p in plan_of(project).cells if p.state == "stopped"}
    assert before
    code, output = project.run("launch", "early")
    assert code == 0, output
    spec = read_studies(project.file)["early"]
    plan, runs = plan_of(project), runs_of(project)
    assert plan.num_open == 0, output
    assert {run.info.status for run in runs} <= {"FINISHED", "KILLED"}, output
    finished = Counter(run.data.tags["cell"] for run in runs if run.info.status == "FINISHED")
    assert set(finished.values()) == {1}, output
    stopped = {p.cell.key for p in plan.cells if p.state == "stopped"}
    assert before.keys() <= stopped
    assert not stopped & finished.keys()
    judges = {p.cell.key for p in plan.cells if is_judge(spec, p.cell)}
    assert judges <= finished.keys() | stopped
    by_cell = {run.data.tags["cell"]: run for run in runs if STOPPED_TAG in run.data.tags}
    for key in judges & stopped:
        epoch = int(by_cell[key].data.tags[STOPPED_TAG])
        assert epoch in (1, 2, 3, 4), "a rung, or an epoch later after the kill"
        assert by_cell[key].data.metrics["train/epoch"] == epoch, "its epochs are visible"
        assert (project.folder / "runs" / "states" / f"{key}.pt").exists()
    results = read_results(spec, project.folder)
    assert "stopped early, by validation accuracy" in " ".join(
        limit.text for limit in limits(results, choose(results))
    )
