"""Tests of how a command ends."""

import subprocess
import sys

import pytest

LATER = """\
import atexit, os, signal, sys
from study.output.ends import run_to_end

signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it
atexit.register(os._exit, 1)  # as a library does that fails while it ends
run_to_end(lambda: {WORK})
"""


@pytest.mark.parametrize(
    ("work", "code"),
    [
        ("sys.exit(130)", 130),
        ("sys.exit(143)", 143),
        ("signal.raise_signal(signal.SIGINT)", 130),
        ("sys.exit(2)", 1),
        ("None", 1),
    ],
)
def test_a_command_that_a_signal_stopped_ends_at_once_with_its_code(work: str, code: int) -> None:
    script = f"import sys; print('kept'); exec({LATER.replace('{WORK}', work)!r})"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert found.returncode == code, found.stderr
    assert "Traceback" not in found.stderr
    if code != 1:
        assert found.stdout == "kept\n"
