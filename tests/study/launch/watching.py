"""What tests of launches see of them: records and processes, and waits for both."""

import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from study.records import store
from study.records.runs import find_study
from tests.waits import wait_until


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
