import subprocess
from typing import Any

import pytest

from study.launch import locks as lease
from study.launch.locks import HeldError, Lease
from study.records.runs import StudyRuns, open_study


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
    with pytest.raises(HeldError, match="process 7 on elsewhere launches this study"):
        Lease(*opened).take(0)
    Other(*opened).release()
    Lease(*opened).take(0)


def test_own_lease_can_be_taken_again(opened: Any) -> None:
    Lease(*opened).take(0)
    Lease(*opened).take(0)


def test_lease_of_a_dead_holder_expires(opened: Any, monkeypatch: Any) -> None:
    Other(*opened).take(0)
    monkeypatch.setattr(lease, "RESPECTED_SECONDS", 0.0)
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
    monkeypatch.setattr(lease.time, "sleep", lambda seconds: late._write())
    with pytest.raises(HeldError, match="elsewhere"):
        Lease(*opened).take()


def test_renewing_writes_once_a_minute(opened: Any) -> None:
    client, runs = opened
    held = Lease(client, runs)
    held.take(0)
    before = client.get_run(runs.parent).data.tags[lease.TAG]
    held.renew()
    assert client.get_run(runs.parent).data.tags[lease.TAG] == before
    held._renewed = 0.0
    held.renew()
    assert client.get_run(runs.parent).data.tags[lease.TAG] != before
