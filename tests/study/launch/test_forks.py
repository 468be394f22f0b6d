"""Processes that go on as forks of the nursery, and what becomes of them without it."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from study.launch import forks
from tests.waits import is_gone, wait_until

SERVE = """\
import decimal, socket, sys
from study.launch.forks import serve
serve(socket.socket(fileno=int(sys.argv[1])), ("fractions",))
"""
WORKER = """\
import os, sys, time
told = [*sys.argv[1:], os.environ["OWN"], os.path.basename(os.getcwd())]
print(*told, "fractions" in sys.modules, __name__, os.getpid(), flush=True)
open(os.path.join(sys.path[0], "began"), "w").close()
time.sleep(float(os.environ["SECONDS"]))
sys.exit(int(os.environ["SECONDS"] == "0"))
"""


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """The address of a nursery that imports little."""
    path = str(tmp_path / "nursery")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        words = [sys.executable, "-c", SERVE, str(server.fileno())]
        process = subprocess.Popen(words, stdin=subprocess.PIPE, pass_fds=[server.fileno()])
    yield path
    process.communicate()  # ends its input
    assert process.returncode == 0


def ask(folder: Path, *words: str, **environment: str) -> "subprocess.Popen[str]":
    """Start what Ray starts as a worker."""
    script = folder / "worker.py"
    script.write_text(WORKER, encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, str(forks.__file__), str(script), *words],
        stdout=subprocess.PIPE,
        cwd=folder,
        env={**os.environ, "OWN": "told", "SECONDS": "0", **environment},
        text=True,
    )


def test_a_fork_has_what_the_asking_process_was_given_and_the_modules_of_the_nursery(
    tmp_path: Path, address: str
) -> None:
    asked = [ask(tmp_path, word, "--language=PYTHON", RHOEPS_NURSERY=address) for word in "ab"]
    for word, process in zip("ab", asked, strict=True):
        *told, name, pid = process.communicate()[0].split()
        assert told == [word, "told", tmp_path.name, "True"]
        assert name == "__main__"
        assert int(pid) != process.pid
        assert is_gone(int(pid))


@pytest.mark.parametrize("environment", [{}, {"RHOEPS_NURSERY": "/nowhere"}], ids=["", "dead"])
def test_without_a_nursery_the_process_becomes_the_worker(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    process = ask(tmp_path, "a", "--language=PYTHON", **environment)
    assert process.communicate()[0].split() == [
        *("a", "told", tmp_path.name, "False", "__main__", str(process.pid))
    ]
    assert process.returncode == 1, "the worker's own"


def test_a_fork_ends_with_the_process_that_asked(tmp_path: Path, address: str) -> None:
    process = ask(tmp_path, RHOEPS_NURSERY=address, SECONDS="600")
    wait_until(lambda: (tmp_path / "began").exists(), process)
    assert process.stdout is not None
    pid = int(process.stdout.readline().split()[-1])
    assert not is_gone(pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: is_gone(pid))
    process.stdout.close()


def test_a_socket_with_too_long_a_name_starts_no_nursery(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    with forks.nursery({}, 1):
        assert forks.NURSERY not in os.environ
    assert list(folder.iterdir()) == []
