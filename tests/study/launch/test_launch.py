"""Real Ray, Optuna and MLflow; the launch is a process; assertions read MLflow alone."""

import os
import random
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import torch
from mlflow import MlflowClient

from study.records import store
from study.records.runs import find_study
from tests.waits import WAIT_SECONDS, end_of, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
KILLS = 20 if os.environ.get("RHOEPS_MANY_KILLS") == "1" else 4
"""Of one study, before it is launched to its end."""

GRID_ONLY = """\
grid:
  data: {name: digits}
  model: {name: small_cnn, width: WIDTH}
  training: {epochs: EPOCHS, batch_size: 250, learning_rate: RATE, momentum: 0.9,
             weight_decay: 0.0, schedule: cosine}
  seeds: SEEDS
  methods: {sam: {weights: {sam: {rho: RHO}}}}
  evaluation: {norm: linf, radii: [0.1], objective_radius: 0.1,
               attack: {pgd: {steps: 1, restarts: 1}}}
"""


def grid(
    width: int = 2, epochs: int = 1, rate: str = "0.1", seeds: str = "[0]", rho: str = "[0.1]"
) -> str:
    values = {"WIDTH": width, "EPOCHS": epochs, "RATE": rate, "SEEDS": seeds, "RHO": rho}
    text = GRID_ONLY
    for name, value in values.items():
        text = text.replace(name, str(value))
    return text


def runs_of(project: Any, name: str = "tiny") -> list[Any]:
    """Every trial run of a study, as MLflow has it."""
    if not (project.folder / "runs" / "mlflow.db").exists():
        return []
    client = store.connect(store.find_store(project.folder))
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        return []
    return list(client.search_runs([experiment.experiment_id], "tags.kind = 'trial'"))


def statuses(project: Any, name: str = "tiny") -> Counter[str]:
    return Counter(run.info.status for run in runs_of(project, name))


def parent_status(project: Any, name: str) -> str:
    client = store.connect(store.find_store(project.folder))
    runs = find_study(client, name)
    assert runs is not None
    return str(client.get_run(runs.parent).info.status)


def await_launch(
    project: Any, launcher: "subprocess.Popen[str]", holds: Callable[[], bool], name: str = "grid"
) -> None:
    """Wait for what a running launch will do, as long as its records and states change."""
    states = project.folder / "runs" / "states"

    def progress() -> tuple[Counter[str], int]:
        return statuses(project, name), len([*states.glob("*.pt")])

    wait_until(holds, launcher, progress)


def await_all_gone(processes: list[tuple[int, str]]) -> None:
    def alive() -> list[str]:
        return [command for pid, command in processes if Path(f"/proc/{pid}").exists()]

    wait_until(lambda: not alive(), progress=alive)


def children(pid: int) -> list[tuple[int, str]]:
    """Every process below a process: pid and command line."""
    found = []
    for child in _children(pid):
        try:
            command = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        found.append((child, command))
        found.extend(children(child))
    return found


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    try:
        return [int(child) for task in tasks for child in task.read_text().split()]
    except OSError:
        return []


def workers(launcher: "subprocess.Popen[str]") -> list[int]:
    return [pid for pid, command in children(launcher.pid) if "Trainable." in command]


def test_study_killed_again_and_again_ends_with_every_cell_once(project: Any) -> None:
    """Half of the kills at any moment of the start, half once trials are in flight; an edit."""
    short = project.file.read_text().replace("epochs: 3", "epochs: 10, end_on: []")
    project.write(short)
    chance = random.Random(20)
    for kill in range(KILLS):
        launcher = project.start("launch", "tiny")
        if kill % 2:
            ended = len(runs_of(project))
            await_launch(
                project, launcher, lambda ended=ended: len(runs_of(project)) > ended, "tiny"
            )
            time.sleep(chance.uniform(0, 2))
        else:
            time.sleep(chance.uniform(0.5, 9))
        launcher.kill()
        launcher.wait()
        if kill == KILLS // 2:
            project.write(short.replace("trials: 3", "trials: 4").replace("0.2]", "0.2, 0.3]"))
    print(f"after {KILLS} kills: {dict(statuses(project))}")
    code, output = project.run("launch", "tiny")
    assert code == 0, output
    runs = runs_of(project)
    finished = Counter(run.data.tags["cell"] for run in runs if run.info.status == "FINISHED")
    counts = Counter(run.info.status for run in runs)
    print(f"in the end: {dict(counts)}")
    assert len(finished) == 12 + 2 + 2, output
    assert set(finished.values()) == {1}
    assert counts["RUNNING"] == counts["FAILED"] == 0
    assert 0 < counts["KILLED"] <= KILLS * 2, "more was lost than the cells in flight"
    assert parent_status(project, "tiny") == "FINISHED"

    code, output = project.run("launch", "tiny")
    assert code == 0
    assert "nothing is left to run" in output
    assert len(runs_of(project)) == len(runs)


@pytest.fixture
def cluster() -> Iterator["tuple[dict[str, str], subprocess.Popen[str]]"]:
    """A cluster of one node that is no child of a launch: how to join it, and its head process."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    words = ["--head", "--block", "--num-cpus=2", "--include-dashboard=false"]
    words += ["--node-ip-address=127.0.0.1", f"--port={address.rpartition(':')[2]}"]
    head = subprocess.Popen(
        [sys.executable, "-m", "ray.scripts.scripts", "start", *words, "--disable-usage-stats"],
        env={**os.environ, "PYTHONUNBUFFERED": "1", **token},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        printed = []
        for line in head.stdout or ():
            printed.append(line)
            if "Ray runtime started" in line:
                break
        else:
            pytest.fail(f"no cluster starts:\n{''.join(printed)}")
        yield {"RAY_ADDRESS": address, **token}, head
    finally:
        below = children(head.pid)
        head.terminate()
        end_of(head)
        await_all_gone(below)


def test_killed_worker_of_a_cluster_is_recorded_and_its_cell_goes_on_where_it_was(
    project: Any, cluster: Any
) -> None:
    environment, head = cluster
    project.write(grid(epochs=100_000, seeds="[0, 1]"))
    launcher = project.start("launch", "grid", **environment)
    states = project.folder / "runs" / "states"
    await_launch(project, launcher, lambda: len([*states.glob("*.pt")]) == 2)
    os.kill(workers(head)[0], signal.SIGKILL)
    await_launch(
        project,
        launcher,
        lambda: any("resumed" in run.data.tags for run in runs_of(project, "grid")),
    )
    launcher.terminate()
    output = end_of(launcher)
    assert launcher.returncode == 128 + signal.SIGTERM, output
    assert "its worker was lost; the trial starts again" in output
    runs = runs_of(project, "grid")
    assert Counter(run.info.status for run in runs) == {"KILLED": 3}
    [lost] = [run for run in runs if "lost" in run.data.tags]
    assert "its worker was lost: The actor died" in lost.data.tags["reason"]
    assert int(lost.data.tags["lost"]) > 0
    [resumed] = [run for run in runs if "resumed" in run.data.tags]
    assert resumed.data.tags["cell"] == lost.data.tags["cell"]
    assert re.fullmatch(r"after epoch \d+", resumed.data.tags["resumed"])
    assert not any("not_resumable" in run.data.tags for run in runs)
    assert {path.stem for path in states.iterdir()} == {run.data.tags["cell"] for run in runs}


def test_trials_that_raise_stop_a_hopeless_study_and_are_given_up_after_two_tries(
    project: Any,
) -> None:
    project.write(grid(width=100_000, seeds=str(list(range(16)))))
    code, output = project.run("launch", "grid")
    assert code == 1, output
    assert "stopped after 5 failed trials (more than 4)" in output
    assert "the next launch will try it once more" in output
    assert all("alloc" in run.data.tags["reason"] for run in runs_of(project, "grid"))
    counts = statuses(project, "grid")
    assert counts["FAILED"] <= 6
    assert counts["RUNNING"] == 0
    assert parent_status(project, "grid") == "FAILED"

    project.write(grid(width=100_000, seeds="[0, 1]"))
    code, output = project.run("launch", "grid")
    assert code == 1, output
    assert "2 given up" in output
    assert statuses(project, "grid")["FAILED"] == counts["FAILED"] + 2
    assert "Traceback" not in output


def test_diverged_trial_is_given_up_at_once_and_the_others_go_on(project: Any) -> None:
    project.write(grid(epochs=3, rho="[0.1, 10]", rate="1.0e+9"))
    code, output = project.run("launch", "grid")
    assert code == 1, output
    reasons = [run.data.tags["reason"] for run in runs_of(project, "grid")]
    assert all(re.match(r"diverged in epoch \d: training loss", reason) for reason in reasons)
    code, output = project.run("launch", "grid")
    assert code == 1
    assert "nothing is left to run" in output


def test_ctrl_c_ends_a_launch_quietly_with_every_state_true(project: Any) -> None:
    project.write(grid(epochs=100_000, seeds="[0, 1]"))
    launcher = project.start("launch", "grid")
    await_launch(project, launcher, lambda: statuses(project, "grid")["RUNNING"] == 2)
    os.killpg(launcher.pid, signal.SIGINT)
    assert_interrupted(project, launcher, signal.SIGINT)


def test_second_ctrl_c_ends_a_launch_at_once_with_a_word(project: Any) -> None:
    project.write(grid(epochs=100_000, seeds="[0, 1]"))
    launcher = project.start("launch", "grid")
    await_launch(project, launcher, lambda: statuses(project, "grid")["RUNNING"] == 2)
    os.killpg(launcher.pid, signal.SIGINT)
    time.sleep(0.3)
    os.killpg(launcher.pid, signal.SIGINT)
    output = end_of(launcher)
    assert launcher.returncode == 128 + signal.SIGINT, output
    assert "Traceback" not in output
    assert "ending at once; what is finished is kept; run the same command again" in output


def assert_interrupted(
    project: Any, launcher: "subprocess.Popen[str]", number: signal.Signals
) -> None:
    output = end_of(launcher)
    assert launcher.returncode == 128 + number, output
    assert "Traceback" not in output
    assert f"interrupted by {number.name}; what is finished is kept" in output
    assert statuses(project, "grid") == {"KILLED": 2}
    assert parent_status(project, "grid") == "KILLED"


@pytest.mark.parametrize("seconds", [0.0, 2.5])
def test_sigterm_while_a_launch_starts_leaves_nothing_running(project: Any, seconds: float) -> None:
    """From the plan on, Ray starts in one thread, and MLflow is imported in another."""
    project.write(grid(epochs=100_000, seeds="[0, 1]"))
    launcher = project.start("launch", "grid")
    while not launcher.stdout.readline().startswith("time: "):
        assert launcher.poll() is None
    time.sleep(seconds)
    below = children(launcher.pid)
    launcher.terminate()
    output = end_of(launcher)
    assert launcher.returncode == 128 + signal.SIGTERM, output
    assert "Traceback" not in output
    assert "interrupted by SIGTERM; what is finished is kept" in output
    assert statuses(project, "grid")["RUNNING"] == 0
    if (project.folder / "runs" / "mlflow.db").exists():
        assert parent_status(project, "grid") == "KILLED"
    await_all_gone(below)


def test_deleted_experiment_is_said_by_a_launch_that_began_to_start_ray(project: Any) -> None:
    project.write(grid())
    client = store.connect(store.find_store(project.folder))
    client.delete_experiment(client.create_experiment("grid"))
    code, output = project.run("launch", "grid")
    assert code == 2, output
    assert "experiment grid: was deleted in MLflow but keeps its name; restore it" in output
    assert "Traceback" not in output


def test_second_launch_is_told_who_holds_the_first_until_sigterm_ends_it(project: Any) -> None:
    project.write(grid(epochs=100_000, seeds="[0, 1]"))
    first = project.start("launch", "grid")
    await_launch(project, first, lambda: statuses(project, "grid")["RUNNING"] == 2)
    code, output = project.run("launch", "grid")
    assert code == 2
    assert f"study grid, process {first.pid}, since " in output
    code, output = project.run("status", "grid")
    assert code == 0
    assert "2 running" in output
    os.killpg(first.pid, signal.SIGTERM)
    assert_interrupted(project, first, signal.SIGTERM)


def test_dead_tracking_server_is_said_at_once(project: Any) -> None:
    server = "http://user:secret@127.0.0.1:9"
    for command in ("plan", "status", "launch", "report", "evaluate"):
        code, output = project.run(command, "tiny", MLFLOW_TRACKING_URI=server)
        assert code == 2, output
        [line] = output.splitlines()
        expected = "MLFLOW_TRACKING_URI: no server answers at http://***@127.0.0.1:9 (Connection"
        assert line.startswith(expected)


def test_runs_carry_what_a_reader_compares(shared_finished: Any) -> None:
    runs = {run.info.run_name: run for run in runs_of(shared_finished, "grid")}
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
    client = MlflowClient(store.find_store(shared_finished.folder).uri)
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert [point.step for point in history] == [1, 2]
    files = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert files == {"adversarial_examples.png", "bits.npz", "checkpoints", "config.json"}


def test_trial_whose_files_are_gone_runs_again(shared_finished: Any) -> None:
    [run] = runs_of(shared_finished, "grid")
    (Path(run.info.artifact_uri) / "bits.npz").unlink()
    code, output = shared_finished.run("launch", "grid")
    assert code == 0, output
    assert statuses(shared_finished, "grid") == {"FINISHED": 2}


@pytest.fixture(scope="module")
def shared_finished(shared_project: Any) -> Any:
    """A project with one finished trial."""
    shared_project.write(grid(epochs=2))
    code, output = shared_project.run("launch", "grid")
    assert code == 0, output
    return shared_project


@pytest.mark.parametrize(("name", "expected"), [("SIGINT", 0), ("SIGTERM", 143)])
def test_ui_shows_the_store_and_leaves_nothing_behind(
    shared_finished: Any, name: str, expected: int
) -> None:
    ui = shared_finished.start("ui", "--port", "5310")
    lines = [ui.stdout.readline() for _ in range(3)]
    assert re.fullmatch(r"MLflow UI: http://127\.0\.0\.1:53\d\d\n", lines[0]), lines
    assert lines[1].startswith("  grid: http://127.0.0.1:53")
    address = lines[0].split()[-1]
    with urlopen(f"{address}/health", timeout=WAIT_SECONDS) as answer:
        assert answer.status == 200
    below = children(ui.pid)
    ui.send_signal(signal.Signals[name])
    end_of(ui)
    assert ui.returncode == expected
    await_all_gone(below)


def test_batch_size_that_leaves_one_sample_costs_no_trial(project: Any) -> None:
    project.write(grid().replace("batch_size: 250", "batch_size: 333"))
    code, output = project.run("launch", "grid")
    assert code == 2, output
    assert "grid.training.batch_size: must not leave a last batch of one of the 1000" in output
    assert statuses(project, "grid") == {}


def test_weights_of_another_network_cost_no_trial(project: Any) -> None:
    torch.save({"conv.weight": torch.ones(3)}, project.folder / "other.pt")
    project.write(grid().replace("  seeds", "  start: other.pt\n  seeds"))
    code, output = project.run("launch", "grid")
    assert code == 2, output
    assert "grid.start: must hold the weights of this network" in output
    assert statuses(project, "grid") == {}


def test_cluster_that_is_not_there_is_said_at_once(project: Any) -> None:
    code, output = project.run("launch", "tiny", RAY_ADDRESS="127.0.0.1:9")
    assert code == 2, output
    assert "RAY_ADDRESS: no cluster can be joined at 127.0.0.1:9" in output
    assert "Traceback" not in output
    assert statuses(project) == {}
