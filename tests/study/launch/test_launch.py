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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from study.records import store
from tests.study.launch.watching import (
    await_all_gone,
    await_launch,
    children,
    parent_status,
    runs_of,
    statuses,
    workers,
)
from tests.waits import end_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
KILLS, EPOCHS = (20, 60) if os.environ.get("RHOEPS_MANY_KILLS") == "1" else (3, 24)
"""Kills of one study, before it is launched to its end, and the epochs of its trainings."""

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


def kill_at_any_moment(project: Any, launcher: "subprocess.Popen[str]", seconds: float) -> None:
    time.sleep(0.5 + 8 * seconds)
    launcher.kill()


def kill_in_flight(project: Any, launcher: "subprocess.Popen[str]", seconds: float) -> None:
    await_next_run(project, launcher)
    time.sleep(0.2 * seconds)  # well before a training ends
    launcher.kill()


def interrupt_twice(project: Any, launcher: "subprocess.Popen[str]", seconds: float) -> None:
    # Its own workers, as one that a killed launch left may still record a run.
    await_launch(project, launcher, lambda: bool(workers(launcher)), "tiny")
    os.killpg(launcher.pid, signal.SIGINT)
    time.sleep(0.3)
    os.killpg(launcher.pid, signal.SIGINT)
    output = end_of(launcher)
    assert launcher.returncode == 128 + signal.SIGINT, output
    assert "Traceback" not in output
    assert "ending at once; what is finished is kept; run the same command again" in output


def await_next_run(project: Any, launcher: "subprocess.Popen[str]") -> None:
    ended = len(runs_of(project))
    await_launch(project, launcher, lambda: len(runs_of(project)) > ended, "tiny")


KINDS = (kill_at_any_moment, kill_in_flight, interrupt_twice)


def test_study_killed_again_and_again_ends_with_every_cell_once(project: Any) -> None:
    """As it starts, once trials are in flight, and by a second Ctrl-C; with an edit on the way."""
    text = project.file.read_text().replace("epochs: 3", f"epochs: {EPOCHS}, end_on: []")
    few = text.replace("trials: 3", "trials: 2").replace("rho: [0.1, 0.2]", "rho: [0.1]")
    project.write(few)
    chance = random.Random(20)
    for kill in range(KILLS):
        launcher = project.start("launch", "tiny")
        KINDS[kill % 3](project, launcher, chance.random())
        launcher.wait()
        if kill == KILLS // 2:
            project.write(text)
    print(f"after {KILLS} kills: {dict(statuses(project))}")
    code, output = project.run("launch", "tiny")
    assert code == 0, output
    runs = runs_of(project)
    finished = Counter(run.data.tags["cell"] for run in runs if run.info.status == "FINISHED")
    counts = Counter(run.info.status for run in runs)
    print(f"in the end: {dict(counts)}")
    assert len(finished) == 12, output
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
    assert "did not complete" not in output  # Ray's word on the lost attempts
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


MIXED = """\
grid:
  data: {name: digits}
  model: {name: small_cnn, width: 2}
  training: {epochs: 1, batch_size: 250, learning_rate: 0.1, momentum: 0.9, weight_decay: 0.0,
             schedule: cosine}
  seeds: [0]
  methods:
    fine: {}
    large: {model: {width: 100000}, weights: {sam: {rho: RADII}}}
  evaluation: {norm: linf, radii: [0.1], objective_radius: 0.1,
               attack: {pgd: {steps: 1, restarts: 1}}}
"""
WILD = (
    "    wild: {training: {learning_rate: 1.0e+9, epochs: 3}, weights: {sam: {rho: [0.1, 10]}}}\n"
)


def test_hopeless_study_is_stopped_and_what_fails_twice_or_diverges_is_given_up(
    project: Any,
) -> None:
    """The third launch also runs a trial again whose files are gone, beside all that fails."""
    project.write(re.sub("    large: .*\n", "", MIXED))  # alone, so that no stop ends it early
    code, output = project.run("launch", "grid")
    assert code == 0, output
    radii = [round(0.1 * count, 1) for count in range(1, 17)]
    project.write(MIXED.replace("RADII", str(radii)))
    code, output = project.run("launch", "grid")
    assert code == 1, output
    assert "stopped after 5 failed trials (more than 4)" in output
    assert "the next launch will try it once more" in output
    runs = runs_of(project, "grid")
    [done] = [run for run in runs if run.data.tags["method"] == "fine"]
    assert all("alloc" in run.data.tags["reason"] for run in runs if run is not done)
    counts = statuses(project, "grid")
    assert counts["FAILED"] <= 6
    assert counts["RUNNING"] == 0
    assert parent_status(project, "grid") == "FAILED"

    (Path(done.info.artifact_uri) / "bits.npz").unlink()
    text = MIXED.replace("RADII", str(radii[:2])).replace("  evaluation", f"{WILD}  evaluation")
    project.write(text)
    code, output = project.run("launch", "grid")
    assert code == 1, output
    assert "4 given up" in output
    assert "Traceback" not in output
    by_method = Counter(
        (run.data.tags["method"], run.info.status) for run in runs_of(project, "grid")
    )
    assert by_method["fine", "FINISHED"] == 2
    assert by_method["large", "FAILED"] == counts["FAILED"] + 2
    assert by_method["wild", "FAILED"] == 2
    for run in runs_of(project, "grid"):
        if run.data.tags["method"] == "wild":
            assert re.match(r"diverged in epoch \d: training loss", run.data.tags["reason"])
    code, output = project.run("launch", "grid")
    assert code == 1
    assert "nothing is left to run" in output


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


def test_second_launch_is_told_who_holds_the_first_until_ctrl_c_ends_it_with_every_state_true(
    project: Any,
) -> None:
    project.write(grid(epochs=100_000, seeds="[0, 1]"))
    first = project.start("launch", "grid")
    await_launch(project, first, lambda: statuses(project, "grid")["RUNNING"] == 2)
    code, output = project.run("launch", "grid")
    assert code == 2
    assert f"study grid, process {first.pid}, since " in output
    code, output = project.run("status", "grid")
    assert code == 0
    assert "2 running" in output
    os.killpg(first.pid, signal.SIGINT)
    output = end_of(first)
    assert first.returncode == 128 + signal.SIGINT, output
    assert "Traceback" not in output
    assert "interrupted by SIGINT; what is finished is kept" in output
    assert statuses(project, "grid") == {"KILLED": 2}
    assert parent_status(project, "grid") == "KILLED"


def test_dead_tracking_server_is_said_at_once(project: Any) -> None:
    server = "http://user:secret@127.0.0.1:9"
    for command in ("plan", "status", "launch", "report", "evaluate"):
        code, output = project.run(command, "tiny", MLFLOW_TRACKING_URI=server)
        assert code == 2, output
        [line] = output.splitlines()
        expected = "MLFLOW_TRACKING_URI: no server answers at http://***@127.0.0.1:9 (Connection"
        assert line.startswith(expected)


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
