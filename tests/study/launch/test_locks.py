import subprocess
import sys
from pathlib import Path

import pytest

from study.launch.locks import HeldError, await_workers, hold_launch, hold_shared


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
        "time.sleep(60)"
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
