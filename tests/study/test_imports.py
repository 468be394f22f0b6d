"""What a quick command must not import, since it takes seconds."""

import subprocess
import sys
from typing import Any

import pytest

from study.records import runs
from study.records.store import connect, find_store

LIBRARIES = {
    "matplotlib",
    "mlflow",
    "optuna",
    "pandas",
    "ray",
    "scipy",
    "sklearn",
    "sqlalchemy",
    "torch",
}
PROBE = """\
import sys
{before}
sys.argv = ["study", *{words}]
from study.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print("loaded", *sorted(name for name in sys.modules if "." not in name))
"""
QUICK = [("--help",), ("list",), ("check",), ("plan", "tiny"), ("status", "tiny")]


def loaded(project: Any, *words: str, before: str = "") -> set[str]:
    """Run a command in a process of its own; give the slow libraries that it imported."""
    code = PROBE.format(before=before, words=words)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=project.folder,
        check=True,
        capture_output=True,
        text=True,
    )
    return LIBRARIES & set(done.stdout.splitlines()[-1].split())


@pytest.fixture
def recorded(project: Any, read: Any) -> Any:
    """A project whose study has a store."""
    store = find_store(project.folder)
    runs.open_study(connect(store), store, read(), {})
    return project


@pytest.mark.parametrize("words", QUICK, ids=" ".join)
def test_quick_command_imports_no_slow_library(recorded: Any, words: tuple[str, ...]) -> None:
    assert loaded(recorded, *words) == set()


@pytest.mark.parametrize("library", ["pandas", "scipy"])
def test_planted_import_is_seen(project: Any, library: str) -> None:
    assert library in loaded(project, "--help", before=f"import {library}")


def test_help_does_not_even_import_numpy(project: Any) -> None:
    code = PROBE.format(before="", words=("--help",))
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "numpy" not in done.stdout.splitlines()[-1].split()
