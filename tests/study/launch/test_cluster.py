import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from study.launch import cluster
from study.launch.cluster import ClusterError, attempt, slots
from study.launch.launch import launch
from study.spec import StudySpec
from tests.waits import is_gone, wait_until

Read = Callable[[str], StudySpec]
NODE = "ab" * 28

CASES = [
    pytest.param(1, 0.0, 2, 0, 2, id="a trial for each CPU"),
    pytest.param(2, 0.0, 5, 0, 2, id="what does not fill a trial stays idle"),
    pytest.param(1, 0.5, 16, 1, 2, id="two trials share a GPU"),
    pytest.param(1, 0.4, 16, 2, 4, id="a share never spans two GPUs"),
    pytest.param(1, 1.0, 16, 8, 8, id="a trial on each GPU"),
    pytest.param(8, 0.25, 16, 4, 2, id="the scarcer one decides"),
]


@pytest.mark.parametrize(("cpu", "gpu", "cpus", "gpus", "expected"), CASES)
def test_slots_fill_the_machine(
    read: Read, cpu: int, gpu: float, cpus: int, gpus: int, expected: int
) -> None:
    spec = read(f"  resources: {{cpu: {cpu}, gpu: {gpu}}}\n")
    assert slots(spec, cpus, gpus) == expected


def test_a_trial_larger_than_the_machine_is_refused(read: Read) -> None:
    with pytest.raises(
        ClusterError, match=r"tiny\.resources\.cpu: .* got 3, and it has 2; ask for"
    ):
        slots(read("  resources: {cpu: 3}\n"), 2, 0)
    with pytest.raises(ClusterError, match=r"tiny\.resources\.gpu: .* got 0\.5, and it has 0; set"):
        slots(read("  resources: {gpu: 0.5}\n"), 2, 0)


def test_start_is_tried_again_after_a_failure_and_given_up_in_the_end() -> None:
    failures = [ClusterError("slow"), ClusterError("slow")]
    undone: list[int] = []

    def start() -> None:
        if failures:
            raise failures.pop()

    attempt(start, lambda: undone.append(1), 3)
    assert undone == [1, 1]
    failures[:] = [ClusterError("last"), ClusterError("slow"), ClusterError("slow")]
    with pytest.raises(ClusterError, match="last"):
        attempt(start, lambda: undone.append(1), 3)
    assert len(undone) == 4


def raylet(folder: Path) -> list[str]:
    """The parts of the command of a raylet that tell of its agents."""
    agents = [f"{command}python agent.py --port=0" for command in cluster.AGENT_COMMANDS]
    return ["raylet", f"--session_dir={folder}", f"--node_id={NODE}", *agents, "--head"]


def test_agents_of_a_raylet_have_recorded_their_ports_and_end_with_it(tmp_path: Path) -> None:
    found = cluster._without_agents(raylet(tmp_path))
    rest = [word for word in raylet(tmp_path) if "agent.py" not in word]
    assert found[: len(rest)] == rest
    ports = {file.name: file.read_text() for file in tmp_path.iterdir()}
    assert ports == {f"{name}_{NODE}": str(port) for name, port in cluster.AGENT_PORTS.items()}
    commands = [word.partition("=") for word in found[len(rest) :]]
    assert [f"{option}=" for option, _, _ in commands] == [*cluster.AGENT_COMMANDS]
    script = f"RAY_RAYLET_PID=$$ {commands[0][2]} & echo $!; exec sleep 600"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        agent = int(parent.stdout.readline())
        assert not is_gone(agent)
        parent.kill()
    wait_until(lambda: is_gone(agent))
    assert shlex.split(commands[1][2])[-1] == cluster.IDLE


@pytest.mark.parametrize("reason", ["another program", "another Ray", "an environment"])
def test_agents_stay_where_they_are_needed_or_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    words = raylet(tmp_path)
    if reason == "another program":
        words = ["gcs_server", f"--session_dir={tmp_path}", f"--node_id={NODE}"]
    elif reason == "another Ray":
        monkeypatch.setattr("ray.__version__", "2.61.0")
    else:
        monkeypatch.setitem(os.environ, "RAY_RUNTIME_ENV_HOOK", "own.hook")
    assert cluster._without_agents(words) == words
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("where", ["folder", "command"])
def test_name_that_ray_cannot_pass_on_is_said_before_ray_starts(
    read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    odd = tmp_path / os.fsdecode(b"l\xe9tin")
    if where == "folder":
        odd.mkdir()
        monkeypatch.chdir(odd)
    else:
        monkeypatch.setattr("sys.argv", ["study", "launch", "--file", f"{odd}/studies.yaml"])
    with pytest.raises(ClusterError, match=r"/l\?tin.*: must be UTF-8, .* through a link"):
        launch(read(), tmp_path, lambda plan: None)
