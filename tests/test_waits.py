"""Tests of the waits: they end at once when nothing can come, and bear a machine that is busy."""

import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from tests import waits
from tests.waits import end_of, is_gone, wait_until

Start = Callable[[str], waits.Process]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[waits.Process] = []

    def python(code: str) -> waits.Process:
        words = [sys.executable, "-c", code]
        started.append(
            subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True)
        )
        return started[-1]

    yield python
    for process in started:
        process.kill()
        process.communicate()


def never() -> bool:
    return False


def test_a_wait_for_a_process_that_ended_fails_at_once_with_its_output(start: Start) -> None:
    ended = start("print('its last words'); raise SystemExit(3)")
    with pytest.raises(pytest.fail.Exception, match=r"ended with 3; it printed:\nits last words"):
        wait_until(never, ended, seconds=1e9)


def test_what_a_process_did_last_is_seen_after_its_end(start: Start) -> None:
    ended = start("")
    ended.wait()
    answers = iter([True])
    wait_until(lambda: next(answers), ended)


def test_a_wait_without_progress_fails_with_what_was_reached_and_printed(start: Start) -> None:
    running = start("import time; print('begun', flush=True); time.sleep(600)")
    assert running.stdout is not None
    assert running.stdout.readline() == "begun\n"
    with pytest.raises(pytest.fail.Exception, match=r"last progress: 7; it printed:\n$"):
        wait_until(never, running, lambda: 7, seconds=0.2)


def test_progress_keeps_a_wait_alive() -> None:
    counts, asked = itertools.count(), itertools.count()
    wait_until(lambda: next(asked) == 5, None, lambda: next(counts), seconds=0.0)


@pytest.mark.parametrize(("load", "expected"), [(0.5, 1.0), (6.0, 3.0), (1000.0, 6.0)])
def test_a_second_counts_less_on_a_loaded_machine(
    monkeypatch: pytest.MonkeyPatch, load: float, expected: float
) -> None:
    monkeypatch.setattr(waits.os, "getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr(waits.os, "cpu_count", lambda: 2)
    assert waits.slowdown() == expected


def test_a_process_that_does_not_end_is_killed_and_its_output_shown(start: Start) -> None:
    running = start("import time; print('begun', flush=True); time.sleep(600)")
    with pytest.raises(pytest.fail.Exception, match="does not end; it printed:"):
        end_of(running, seconds=0.0)
    assert running.returncode is not None
    assert is_gone(running.pid)
    assert not is_gone(start("import time; time.sleep(600)").pid)
    assert end_of(start("print('whole')")) == "whole\n"
