"""Projects to launch in: a folder with a studies file, driven as a user drives it."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from study.records.store import Store, connect, find_store
from study.spec import StudySpec, read_studies
from tests.waits import end_of

TINY = """\
tiny:
  about: Twelve cells of a network too small to learn, for tests of the machinery.
  data: {name: digits}
  model: {name: small_cnn, width: 2}
  training: {epochs: 3, batch_size: 250, learning_rate: 0.1, momentum: 0.9, weight_decay: 0.0,
             schedule: cosine}
  seeds: [0, 1]
  methods:
    standard: {}
    sam: {weights: {sam: {rho: [0.1, 0.2]}}}
    sam_at: {weights: {sam: {rho: {low: 0.05, high: 0.8, log: true}}},
             inputs: {pgd: {norm: linf, epsilon: 0.1, steps: 1}}}
  search: {trials: 3}
  evaluation: {norm: linf, radii: [0.05, 0.1], objective_radius: 0.1,
               attack: {pgd: {steps: 1, restarts: 1}}}
"""


@dataclass(frozen=True)
class Project:
    """A folder with a studies file."""

    folder: Path
    started: "list[subprocess.Popen[str]]" = field(default_factory=list)

    @property
    def file(self) -> Path:
        return self.folder / "studies.yaml"

    def write(self, text: str) -> None:
        self.file.write_text(text, encoding="utf-8")

    def start(self, *words: str, **environment: str) -> "subprocess.Popen[str]":
        """Start `study` in this folder, in a process group of its own."""
        process = subprocess.Popen(
            [sys.executable, "-m", "study", *words],
            cwd=self.folder,
            env={**os.environ, "COLUMNS": "200", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def end(self) -> None:
        """End what a failed test left running."""
        for process in self.started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def run(self, *words: str, **environment: str) -> tuple[int, str]:
        """Run `study` to its end; return exit code and everything it printed."""
        process = self.start(*words, **environment)
        output = end_of(process)
        return process.returncode, output


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path)
    made.write(TINY)
    yield made
    made.end()


@pytest.fixture(scope="module")
def shared_project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """One project for the tests of a file that build on each other's records."""
    made = Project(tmp_path_factory.mktemp("project"))
    made.write(TINY)
    yield made
    made.end()


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., StudySpec]:
    """Read a studies file of one study, `tiny` with more lines below it; `read.text` is `tiny`."""

    def read_text(more: str = "", text: str = TINY) -> StudySpec:
        file = tmp_path / "studies.yaml"
        file.write_text(text + more, encoding="utf-8")
        return next(iter(read_studies(file).values()))

    read_text.text = TINY  # type: ignore[attr-defined]
    return read_text


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return find_store(tmp_path_factory.mktemp("store"))


@pytest.fixture
def client(store: Store) -> Any:
    return connect(store)
