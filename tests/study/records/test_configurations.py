"""Runs of configurations in a real MLflow store: what they hold, and who does not see them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from study.plan.plan import LAST_ALONE_TAG, Plan, make_plan
from study.records.configurations import ConfigurationRuns, configuration_rows, t_interval
from study.records.runs import close_runs, find_study, open_study, read_trials, robust_name, search
from study.spec import StudySpec
from tests.records import DATA, finished_trial
from tests.study.plan.test_plan import grid_cells

Read = Callable[..., StudySpec]


def measured(spec: StudySpec, robust: float) -> dict[str, float]:
    """The metrics of a finished trial that its configuration's run tells."""
    threats = [robust_name("best", "linf", radius) for radius in spec.evaluation.radii]
    return {
        **dict.fromkeys(threats, robust),
        "best/test_clean": 0.9,
        "cost/passes_per_sample": 3.0,
    }


def rows_of(client: Any, experiment: str) -> dict[str, Any]:
    found = search(client, [experiment], "tags.kind = 'configuration'")
    return {run.info.run_name: run for run in found}


@pytest.fixture
def recorded(client: Any, store: Any, read: Read) -> Any:
    """A study whose first two cells, the seeds of standard training, have runs."""
    spec = read().model_copy(update={"name": "summed"})
    runs = open_study(client, store, spec, {})
    cells = grid_cells(spec)
    trials = []
    for cell, robust in zip(cells[:2], (0.2, 0.3), strict=True):
        run = client.create_run(runs.experiment, tags={"mlflow.parentRunId": runs.parent})
        trials.append(
            finished_trial(
                cell,
                study="summed",
                run=run.info.run_id,
                metrics=measured(spec, robust),
                labels=run.data.tags,
            )
        )
    return spec, runs, trials


def planned(spec: StudySpec, trials: list[Any]) -> Plan:
    return make_plan(spec, DATA, trials)


def test_a_configuration_has_one_run_that_grows_with_its_seeds(client: Any, recorded: Any) -> None:
    spec, runs, trials = recorded
    kept = ConfigurationRuns(client, runs)
    kept.record(configuration_rows(spec, planned(spec, trials[:1])))
    [run] = rows_of(client, runs.experiment).values()
    assert run.info.status == "SCHEDULED"
    assert run.data.tags["mlflow.parentRunId"] == runs.parent
    assert run.data.metrics["robust"] == 0.2
    assert "robust_low" not in run.data.metrics
    kept.record(configuration_rows(spec, planned(spec, trials)))
    [again] = rows_of(client, runs.experiment).values()
    assert again.info.run_id == run.info.run_id
    assert again.info.status == "FINISHED"
    assert again.info.end_time >= again.info.start_time > 0
    assert run.info.end_time is None
    low, high = t_interval([0.2, 0.3])
    expected = {"robust": 0.25, "robust_low": round(low, 4), "robust_high": round(high, 4)}
    expected |= {"clean": 0.9, "seeds": 2.0, "robust_0.05": 0.25, "cost": 3.0}
    assert {name: again.data.metrics[name] for name in expected} == expected
    assert again.data.params["method"] == "standard"
    assert "rho" not in again.data.params
    assert (again.data.metrics["rho"], again.data.metrics["epsilon"]) == (0.0, 0.0)
    for trial in trials:
        tags = client.get_run(trial.run).data.tags
        assert (tags["mlflow.parentRunId"], tags["configuration"]) == (run.info.run_id, "standard")


def test_seeds_whose_best_epoch_is_unknown_count_with_their_last_and_are_told(
    read: Read, recorded: Any
) -> None:
    spec, _, [first, second] = recorded
    metrics = {name.replace("best/", "last/"): value for name, value in first.metrics.items()}
    labels = {**first.labels, LAST_ALONE_TAG: "true"}
    [row] = configuration_rows(
        spec, planned(spec, [replace(first, metrics=metrics, labels=labels), second])
    )
    assert (row.metrics["robust"], row.metrics["robust_0.05"]) == (0.25, 0.25)
    note = (
        "2 of 2 seeds, on the test images. 1 of them at their last epoch: the best one is unknown."
    )
    assert note in row.tags["mlflow.note.content"]


def test_a_second_recorder_writes_nothing_that_is_there(client: Any, recorded: Any) -> None:
    spec, runs, trials = recorded
    ConfigurationRuns(client, runs).record(configuration_rows(spec, planned(spec, trials)))
    [run] = rows_of(client, runs.experiment).values()
    labelled = [replace(trial, labels=client.get_run(trial.run).data.tags) for trial in trials]
    again = ConfigurationRuns(client, runs)
    again._client = None  # type: ignore[assignment]
    again.record(configuration_rows(spec, planned(spec, labelled)))
    assert list(rows_of(client, runs.experiment)) == [run.info.run_name]


def test_what_reads_records_takes_no_configuration_for_a_trial(client: Any, recorded: Any) -> None:
    spec, runs, trials = recorded
    before = {record.run for record in read_trials(client, "best")}
    kept = ConfigurationRuns(client, runs)
    kept.record(configuration_rows(spec, planned(spec, trials[:1])))
    [run] = rows_of(client, runs.experiment).values()
    assert {record.run for record in read_trials(client, "best")} == before
    assert find_study(client, "summed") == runs
    close_runs(client, runs, "over")
    assert client.get_run(run.info.run_id).info.status == "SCHEDULED"


def test_a_configuration_no_longer_declared_leaves_the_view_until_it_is_again(
    client: Any, recorded: Any
) -> None:
    spec, runs, trials = recorded
    kept = ConfigurationRuns(client, runs)
    rows = configuration_rows(spec, planned(spec, trials))
    kept.record(rows)
    kept.record(())
    assert rows_of(client, runs.experiment) == {}
    ConfigurationRuns(client, runs).record(rows)
    assert list(rows_of(client, runs.experiment)) == ["standard"]


def test_interval_over_equal_seeds_is_their_value_and_stays_within_zero_and_one() -> None:
    assert t_interval([0.5, 0.5]) == (0.5, 0.5)
    assert t_interval([0.01, 0.2]) == (0.0, 1.0)
