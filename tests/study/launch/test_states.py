"""Where the states of cells in training are kept: in files, and in files across a cluster."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from study.launch.states import ClusterStates, FileStates, StatesError, keep_here
from tests.waits import wait_until

KEY = "0123456789abcdef"


def test_a_state_is_what_was_saved_last_until_it_is_deleted(tmp_path: Path) -> None:
    states = FileStates(folder=tmp_path / "deep" / "states")
    assert states.load(KEY) is None
    states.delete(KEY)
    for content in (b"first", b"second", b""):
        states.save(KEY, content)
        states.save("another", b"other")
        assert states.load(KEY) == content
    assert {path.name for path in states.folder.iterdir()} == {f"{KEY}.pt", "another.pt"}
    states.delete(KEY)
    assert states.load(KEY) is None
    assert states.load("another") == b"other"


def test_a_save_that_fails_leaves_the_state_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = FileStates(folder=tmp_path)
    states.save(KEY, b"before")

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StatesError, match=rf"{KEY}\.pt: cannot be written \(No space left"):
        states.save(KEY, b"after")
    assert states.load(KEY) == b"before"
    assert len([*tmp_path.iterdir()]) == 1


def test_a_folder_that_is_none_is_said_by_every_call(tmp_path: Path) -> None:
    (tmp_path / "states").write_text("a file")
    states = FileStates(folder=tmp_path / "states")
    for call in (lambda: states.save(KEY, b""), lambda: states.load(KEY)):
        with pytest.raises(StatesError, match=r"states/0123456789abcdef\.pt: cannot be"):
            call()
    (tmp_path / f"{KEY}.pt").mkdir()
    with pytest.raises(StatesError, match="cannot be deleted"):
        FileStates(folder=tmp_path).delete(KEY)


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    import ray

    ray.init(
        address="local",
        num_cpus=1,
        include_dashboard=False,
        logging_level="error",
        log_to_driver=False,
    )
    yield ray
    ray.shutdown()


@pytest.mark.slow
def test_a_worker_anywhere_uses_the_launchers_files(ray: Any, tmp_path: Path) -> None:
    """Also where the keeper was lost in between, and while the one CPU is the worker's."""
    states = keep_here(tmp_path / "states")

    @ray.remote(num_cpus=1)
    def work(kept: ClusterStates) -> tuple[bytes | None, bytes | None, int]:
        before = kept.load("new")
        kept.save("new", b"made by a worker" * 100_000)
        return before, kept.load("known"), os.getpid()

    FileStates(folder=tmp_path / "states").save("known", b"from an earlier launch")
    before, known, worker = ray.get(work.remote(states))
    assert (before, known) == (None, b"from an earlier launch")
    assert worker != os.getpid()
    files = FileStates(folder=tmp_path / "states")
    assert files.load("new") == b"made by a worker" * 100_000
    ray.kill(states.keeper, no_restart=False)
    again, _, _ = ray.get(work.remote(states))
    assert again == b"made by a worker" * 100_000
    states.delete("new")
    assert files.load("new") is None


@pytest.mark.slow
def test_a_keepers_own_failure_and_its_loss_are_said_in_a_line(ray: Any, tmp_path: Path) -> None:
    (tmp_path / "states").write_text("a file")
    states = keep_here(tmp_path / "states")
    with pytest.raises(StatesError) as error:
        states.save(KEY, b"content")
    assert f"{KEY}.pt: cannot be written" in str(error.value)
    assert "\n" not in str(error.value)
    ray.kill(states.keeper, no_restart=True)
    answers: list[str] = []

    def is_lost() -> bool:
        with pytest.raises(StatesError) as error:
            states.load(KEY)
        answers.append(str(error.value))
        return "cannot be" not in answers[-1]

    wait_until(is_lost)
    assert answers[-1].startswith("the launcher's node does not answer: ")
    assert "\n" not in answers[-1]
