import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from study.launch import locks
from study.launch.locks import HeldError, Lease, await_workers, hold_launch, hold_shared
from study.records.runs import StudyRuns, open_study


def test_second_launch_is_told_who_holds_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "launch.lock"
    with hold_launch(path, "digits"), pytest.raises(HeldError, match=r"study digits, process \d+"):
        hold_launch(path, "other")


def test_released_lock_can_be_taken_again(tmp_path: Path) -> None:
    path = tmp_path / "launch.lock"
    hold_launch(path, "one").close()
    with hold_launch(path, "two"):
        assert path.read_text().startswith("study two, process ")


def test_killed_holder_does_not_block(tmp_path: Path) -> None:
    path = tmp_path / "launch.lock"
    script = (
        "import pathlib, sys, time; from study.launch.locks import hold_launch; "
        "held = hold_launch(pathlib.Path(sys.argv[1]), 'dead'); print('held', flush=True); "
        "time.sleep(3600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(HeldError, match="study dead"):
            hold_launch(path, "next")
        holder.kill()
    hold_launch(path, "next").close()


def test_launch_waits_for_workers_of_an_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "workers.lock"
    first, second = hold_shared(path), hold_shared(path)
    with pytest.raises(HeldError, match="still alive after 0 s"):
        await_workers(path, 0.0)
    first.close()
    with pytest.raises(HeldError):
        await_workers(path, 0.0)
    second.close()
    await_workers(path, 0.0)


class Other(Lease):
    """A launch on another machine."""

    def __init__(self, client: Any, runs: StudyRuns) -> None:
        super().__init__(client, runs)
        self._holder = {"host": "elsewhere", "process": 7}


@pytest.fixture
def opened(store: Any, client: Any, read: Any, request: Any) -> tuple[Any, StudyRuns]:
    spec = read().model_copy(update={"name": request.node.name})
    return client, open_study(client, store, spec, {})


def test_held_lease_is_refused_with_its_holder_until_it_is_released(opened: Any) -> None:
    Other(*opened).take(0)
    with pytest.raises(HeldError, match="process 7 on elsewhere is launching this study"):
        Lease(*opened).take(0)
    Other(*opened).release()
    Lease(*opened).take(0)


def test_own_lease_can_be_taken_again(opened: Any) -> None:
    Lease(*opened).take(0)
    Lease(*opened).take(0)


def test_lease_of_a_dead_holder_expires(opened: Any, monkeypatch: Any) -> None:
    Other(*opened).take(0)
    monkeypatch.setattr(locks, "RESPECTED_SECONDS", 0.0)
    Lease(*opened).take(0)


def test_lease_of_a_process_that_died_here_does_not_block(opened: Any) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    late = Lease(*opened)
    late._holder["process"] = dead.pid
    late.take(0)
    Lease(*opened).take(0)


def test_of_two_who_write_at_once_the_earlier_leaves(opened: Any, monkeypatch: Any) -> None:
    late = Other(*opened)
    monkeypatch.setattr(locks.time, "sleep", lambda seconds: late._write())
    with pytest.raises(HeldError, match="elsewhere"):
        Lease(*opened).take()


def test_renewing_writes_once_a_minute(opened: Any) -> None:
    client, runs = opened
    held = Lease(client, runs)
    held.take(0)
    before = client.get_run(runs.parent).data.tags[locks.TAG]
    held.renew()
    assert client.get_run(runs.parent).data.tags[locks.TAG] == before
    held._renewed = 0.0
    held.renew()
    assert client.get_run(runs.parent).data.tags[locks.TAG] != before


class Silent:
    """A store that does not answer, or fails by a mistake of ours."""

    def __init__(self, failure: Exception) -> None:
        self._failure = failure

    def set_tag(self, *words: str) -> None:
        raise self._failure


def test_renewing_bears_a_store_that_does_not_answer_and_hides_no_mistake(opened: Any) -> None:
    _, runs = opened
    silent: Any = Silent(ConnectionError("no answer"))
    Lease(silent, runs).renew()
    wrong: Any = Silent(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        Lease(wrong, runs).renew()
