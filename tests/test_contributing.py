"""What docs/contributing.md says: its commands run, its files are there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8")
COMMANDS = [
    line.partition("#")[0].split() for line in re.findall(r"^    ((?:make|\.venv).*)$", PAGE, re.M)
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_command_runs(words: list[str]) -> None:
    """Targets of make are shown, and tests collected: the rest of a command runs."""
    program, *rest = words
    if program == "make":
        command = [str(shutil.which("make")), "-n", *rest]
    elif program.endswith("pytest"):
        command = [sys.executable, "-m", "pytest", "--collect-only", "-q", *rest]
    elif program.endswith("python"):
        command = [sys.executable, *rest]
    else:
        command = [str(Path(sys.executable).with_name(Path(program).name)), *rest]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_make_runs_writes_bytecode_whatever_the_shell_says() -> None:
    """Without it every process compiles all that it imports: a launch costs three times as much."""
    done = subprocess.run(
        ["make", "--eval", "shown: ; @env", "shown"],
        cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "RAY_USAGE_STATS_ENABLED=0" in done.stdout
    assert "PYTHONDONTWRITEBYTECODE" not in done.stdout


def test_files_named_are_there() -> None:
    named = re.findall(r"`((?:study|trainers|analysis|tests|benchmarks)/[\w/.]*)`", PAGE)
    assert len(named) > 10
    for name in named:
        assert (ROOT / name).exists(), name


def test_tables_named_are_in_the_files_beside_them() -> None:
    """An errand names tables and classes in backticks, and ends each part with its file."""
    rows = re.findall(r"^\| an? .*$", PAGE, re.M)
    parts = [part for row in rows for part in row.split(";")]
    named = [
        (name, file)
        for part in parts
        for name in re.findall(r"`([A-Z]\w+)`", part)
        for file in re.findall(r"`([\w/]+\.py)`", part)
    ]
    assert len(named) > 8
    for name, file in named:
        text = (ROOT / file).read_text(encoding="utf-8")
        assert re.search(rf"^(class )?{name}\b *[=:]", text, re.M), f"{file}: {name}"


def test_picture_shows_every_folder() -> None:
    picture = re.findall(r"```\n(study/.*?)```", PAGE, re.DOTALL)[0]
    for init in sorted(ROOT.glob("*/*/__init__.py")):
        if init.parts[-3] in ("study", "trainers", "analysis"):
            assert init.parent.name in picture.replace("|", " ").split(), init.parent
