"""Waits of tests for processes: limits are for hangs alone, and grow on a machine that is busy."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

MOST_SLOWDOWN = 6.0
WAIT_SECONDS, END_SECONDS = 120.0, 240.0
"""Without progress, and to the end of a process, on a machine that does nothing else."""

Process = subprocess.Popen[str]


def slowdown() -> float:
    """Return how many times slower than on an idle machine a process may be now, 1 to 6."""
    return min(max(os.getloadavg()[0] / (os.cpu_count() or 1), 1.0), MOST_SLOWDOWN)


def wait_until(
    holds: Callable[[], bool],
    process: Process | None = None,
    progress: Callable[[], Any] = lambda: None,
    seconds: float = WAIT_SECONDS,
) -> None:
    """Wait until `holds` returns True.

    The test fails at once when `process`, on which it waits, has ended, and after `seconds` in
    which the value of `progress` stayed the same. A second counts less on a loaded machine.
    """
    waited, last, seen = 0.0, time.monotonic(), progress()
    while True:
        begun = time.process_time()
        code = None if process is None else process.poll()
        if holds():  # asked last, as what is waited for may be the last act of the process
            return
        if code is not None:
            pytest.fail(f"waited in vain: the process ended with {code}; {output_of(process)}")
        if waited > seconds:
            pytest.fail(f"waited in vain, last progress: {seen}; {output_of(process)}")
        now, reached = time.monotonic(), progress()
        waited = waited + (now - last) / slowdown() if reached == seen else 0.0
        last, seen = now, reached
        time.sleep(max(0.1, 3 * (time.process_time() - begun)))  # leave the machine to others


def output_of(process: Process | None) -> str:
    """Return what a process has printed and nobody has read, without waiting for more."""
    if process is None or process.stdout is None:
        return "nothing was printed"
    number, printed = process.stdout.fileno(), b""
    os.set_blocking(number, False)
    with contextlib.suppress(BlockingIOError):
        while more := os.read(number, 1 << 16):
            printed += more
    os.set_blocking(number, True)  # as `communicate` expects it
    return f"it printed:\n{printed.decode(errors='replace')}"


def end_of(process: Process, seconds: float = END_SECONDS) -> str:
    """Return the output of a process that leads its group, once it has ended.

    Where it does not end, its group is killed and the test fails with its output.
    """
    waited = 0.0
    while True:
        try:
            return process.communicate(timeout=1)[0]
        except subprocess.TimeoutExpired:
            waited += 1 / slowdown()
        if waited > seconds:
            os.killpg(process.pid, signal.SIGKILL)
            pytest.fail(f"the process does not end; it printed:\n{process.communicate()[0]}")


def is_gone(pid: int) -> bool:
    """Return whether a process has ended; one that nobody has reaped yet has, too."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return status in ("Z", "X")
