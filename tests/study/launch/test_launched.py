"""What launches leave: records, the UI on them, and a second study that starts from the first."""

import re
import signal
from pathlib import Path
from urllib.request import urlopen

import pytest
import torch
from mlflow import MlflowClient

import study
from study.launch.launch import plan_of
from study.plan.plan import EVALUATED_TAG, Plan
from study.records.runs import weights_file
from study.records.store import find_store
from study.spec import read_studies
from tests.study.conftest import Project
from tests.study.launch.watching import await_all_gone, children, runs_of
from tests.waits import WAIT_SECONDS, end_of, wait_until
from trainers.checkpoint import load_weights

pytestmark = pytest.mark.slow

LAST_FILE = weights_file("last")

CHAIN = """\
.both: &both
  data: {name: digits}
  model: {name: small_cnn, width: 2}
  training: &training {epochs: 2, batch_size: 250, learning_rate: 0.1, momentum: 0.9,
             weight_decay: 0.0, schedule: cosine}
  seeds: [0, 1]
  evaluation: {norm: linf, radii: [0.1], objective_radius: 0.1,
               attack: {pgd: {steps: 1, restarts: 1}}}
first:
  <<: *both
  methods: {sam: {weights: {sam: {rho: [0.1, 0.2]}}}}
second:
  <<: *both
  start: {from: first, method: sam, values: {rho: 0.2}}
  methods:
    still: {training: {learning_rate: 0.0}}
    at: {inputs: {pgd: {norm: linf, epsilon: 0.1, steps: 1}}}
    one: {start: {from: first, method: sam, values: {rho: 0.1}, seed: 1, checkpoint: last}}
"""


def plan(project: Project, name: str) -> Plan:
    return plan_of(read_studies(project.file)[name], project.folder)[1]


def parameters(address: str, checkpoint: str) -> dict[str, torch.Tensor]:
    """Read a trial's trained tensors; batch statistics move without a step of the optimizer."""
    weights, _ = load_weights(Path(re.sub("^file://", "", address)) / weights_file(checkpoint))
    return {name: t for name, t in weights.items() if name.endswith(("weight", "bias"))}


@pytest.fixture(scope="module")
def launched(shared_project: Project) -> Project:
    """Launch the first study."""
    shared_project.write(CHAIN)
    code, output = shared_project.run("launch", "first")
    assert code == 0, output
    return shared_project


def test_runs_carry_what_a_reader_compares(launched: Project) -> None:
    runs = {run.info.run_name: run for run in runs_of(launched, "first")}
    run = runs["sam ρ0.1 s0"]
    wanted = {
        "method": "sam",
        "rho": "0.1",
        "sides.weights": "sam",
        "sides.inputs": "none",
        "setup.evaluation.radii": "0.1",
    }
    assert {name: run.data.params[name] for name in wanted} == wanted
    assert run.data.metrics.keys() >= {
        "train/loss",
        "validation/clean",
        "validation/robust",
        "best/test_clean",
        "best/test_robust_linf_0.1",
        "last/test_robust_linf_0.1",
        "cost/passes_per_sample",
    }
    assert run.data.metrics["cost/passes_per_sample"] == 6.0
    assert {"cell", "study", "seed", "git_commit", "git_dirty", "hardware"} <= run.data.tags.keys()
    client = MlflowClient(find_store(launched.folder).uri)
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert [point.step for point in history] == [1, 2]
    files = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert files == {"adversarial_examples.png", "bits.npz", "checkpoints", "config.json"}


MOVED = """\
moved:
  data: {name: digits, samples: 600, test_samples: 100}
  model: {name: small_cnn, width: 2}
  training: {epochs: 2, batch_size: 100, learning_rate: 0.05, momentum: 0.9, weight_decay: 0.0,
             schedule: cosine}
  seeds: [0, 1]
  methods: {at: {inputs: {pgd: {norm: linf, epsilon: 0.05, steps: 1}}}}
  evaluation: {norm: linf, radii: [0.05, 0.1], objective_radius: 0.1,
               attack: {pgd: {steps: 1, restarts: 1}}}
  autoattack: {samples: 10}
"""


def test_another_objective_radius_evaluates_the_last_epochs_and_every_reader_is_told(
    project: Project,
) -> None:
    project.write(MOVED)
    code, output = project.run("launch")
    assert code == 0, output
    trained = {run.info.run_id for run in runs_of(project, "moved")}
    project.write(MOVED.replace("objective_radius: 0.1", "objective_radius: 0.05"))
    _, output = project.run("plan")
    assert "which epoch is best at linf 0.05 was not recorded" in output
    assert "so the last one, epoch 2, is evaluated\n" in output
    code, output = project.run("launch")
    assert code == 0, output
    made = [run for run in runs_of(project, "moved") if run.info.run_id not in trained]
    assert {run.data.tags[EVALUATED_TAG] for run in made} == trained
    for words in ("plan", "launch"):
        code, output = project.run(words)
        assert code == 0, output
        assert "2 of the done trials are read at the last epoch" in output
        assert "nothing is left to run\n" in output
    assert len(runs_of(project, "moved")) == 4

    code, output = project.run("evaluate")
    assert code == 0, output
    assert "4 units, 0 done" in output
    _, output = project.run("evaluate")
    assert output.count("nothing to do") == 2
    code, output = project.run("report")
    assert code == 0, output
    findings = (project.folder / "reports" / "moved" / "findings.md").read_text(encoding="utf-8")
    assert "2 of 2 trials are read at the last epoch (“at” 2 of 2)" in findings
    opened = study.open("moved", file=project.file)
    values = {run.data.tags["seed"]: run.data.metrics for run in made}
    for trial in opened.results().trials:
        recorded = values[str(trial.seed)]
        assert trial.is_last_read
        assert trial.clean == recorded["last/test_clean"]
        assert trial.robust[0] == recorded["last/test_robust_linf_0.05"]
        assert [one.attack for one in trial.strong] == ["AutoAttack"]
        [run] = [run for run in made if run.data.tags["seed"] == str(trial.seed)]
        stored, _ = load_weights(Path(re.sub("^file://", "", run.info.artifact_uri)) / LAST_FILE)
        loaded = opened.load("at", seed=trial.seed).state_dict()
        assert all(torch.equal(loaded[name], stored[name]) for name in stored)


def test_ui_shows_the_store_until_ctrl_c_and_leaves_nothing_behind(launched: Project) -> None:
    ui = launched.start("ui", "--port", "5310")
    lines = [ui.stdout.readline() for _ in range(2)]
    shown = (
        r"MLflow UI: (http://127\.0\.0\.1:53\d\d)/#/experiments\?workflowType=machine_learning\n"
    )
    found = re.fullmatch(shown, lines[0])
    assert found is not None, lines
    assert lines[1].startswith("  first: http://127.0.0.1:53")
    with urlopen(f"{found[1]}/health", timeout=WAIT_SECONDS) as answer:
        assert answer.status == 200
    below = children(ui.pid)
    ui.send_signal(signal.SIGINT)
    end_of(ui)
    assert ui.returncode == 0
    await_all_gone(below)


def test_ui_that_is_stopped_as_it_starts_leaves_nothing_behind(launched: Project) -> None:
    ui = launched.start("ui")
    # Imports, too, have children for a moment.
    wait_until(lambda: any(" mlflow ui " in command for _, command in children(ui.pid)), ui)
    below = children(ui.pid)
    ui.terminate()
    end_of(ui)
    assert ui.returncode == 128 + signal.SIGTERM
    await_all_gone(below)


def test_a_study_starts_from_the_trials_of_another(launched: Project) -> None:
    code, output = launched.run("launch", "second")
    assert code == 0, output
    assert "start of still, at: first sam rho=0.2 of the same seed, best (" in output
    assert "start of one: first sam rho=0.1 seed=1, last (" in output

    sources = {
        (record.labels["values"], record.labels["seed"]): record.artifacts
        for record in (planned.record for planned in plan(launched, "first").cells)
        if record is not None
    }
    second = plan(launched, "second")
    assert (second.num_open, second.count("done")) == (0, 6)
    done = {
        (planned.cell.configuration.method, planned.cell.seed): planned.record
        for planned in second.cells
    }
    for seed in (0, 1):
        record = done["still", seed]
        assert record is not None
        source = parameters(sources['{"weights.sam.rho": 0.2}', str(seed)], "best")
        kept = parameters(record.artifacts, "last")
        assert all(torch.equal(kept[name], tensor) for name, tensor in source.items())
        assert "all layers" in record.labels["started_from"]
        changed = done["at", seed]
        assert changed is not None
        moved = parameters(changed.artifacts, "last")
        assert any(not torch.equal(moved[name], tensor) for name, tensor in source.items())
