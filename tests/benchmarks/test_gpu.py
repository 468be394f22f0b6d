"""Tests of what runs all that needs a GPU: with real processes that pass, fail and run over."""

import contextlib
import importlib
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import gpu
import gpu_study
import pytest
from gpu import PASSED, Part, Result

from tests.waits import is_gone, slowdown, wait_until
from trainers.data.cache import DataError

LIMIT = 1200.0
"""Of parts that end by themselves, however busy the machine."""
STUBBORN = (
    "import signal, subprocess, sys, time; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
    "open(sys.argv[1], 'w').write(str(child.pid)); time.sleep(600)"
)


def part(code: str, *words: str, seconds: float = LIMIT, **more: tuple[str, ...]) -> Part:
    return Part(name=code[:20], words=("-c", code, *words), seconds=seconds, **more)


def outcomes(*parts: Part, grace_seconds: float = gpu.GRACE_SECONDS) -> list[str]:
    return [result.result for result in gpu.run_parts(parts, grace_seconds)]


def test_parts_run_on_after_one_that_fails_and_one_that_lacks_a_package() -> None:
    found = outcomes(
        part("raise SystemExit(3)"),
        part("open('never', 'w')", needs=("torch", "no-such-package")),
        part("import trainers.config, machine"),
        part("import trainers.config"),
    )
    assert found[:2] == ["failed: exit code 3", "left out: needs no-such-package"]
    assert found[2:] == ["failed: exit code 1", PASSED]
    assert not (gpu.ROOT / "never").exists()


def time_to_begin() -> float:
    """Return a limit that a part overruns, after it has surely begun."""
    return round(5 * slowdown(), 1)


def test_a_part_that_runs_over_is_interrupted_and_may_tidy_up(tmp_path: Path) -> None:
    file = tmp_path / "tidied"
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background\n"
        "try:\n    time.sleep(600)\n"
        "except KeyboardInterrupt:\n    open(sys.argv[1], 'w').close()\n"
    )
    limit = time_to_begin()
    found = outcomes(part(code, str(file), seconds=limit), part("pass"), grace_seconds=LIMIT)
    assert found == [f"ran over its {limit:g} s", PASSED]
    assert file.exists()


def test_a_part_that_ignores_its_interrupt_ends_with_its_children(tmp_path: Path) -> None:
    file = tmp_path / "child"
    limit = time_to_begin()
    found = outcomes(part(STUBBORN, str(file), seconds=limit), grace_seconds=0.5)
    assert found == [f"ran over its {limit:g} s"]
    child = int(file.read_text())
    wait_until(lambda: is_gone(child))


def test_the_table_has_a_row_for_every_part() -> None:
    results = [Result(part="one", result=PASSED, seconds=1.25)]
    results.append(Result(part="two", result="failed: exit code 1", seconds=0.0))
    assert gpu.rows(results) == [
        ("part", "result", "seconds"),
        ("one", "passed", "1.2"),
        ("two", "failed: exit code 1", "0.0"),
    ]


def test_all_parts_with_their_ends_by_force_fit_into_eight_minutes() -> None:
    parts = gpu.parts("cuda", Path("results"))
    assert sum(one.seconds + gpu.GRACE_SECONDS for one in parts) <= gpu.TOTAL_SECONDS == 8 * 60
    assert [one.name for one in parts][:3] == ["tests/gpu", "parity", "train_step"]
    for one in parts[1:]:
        assert Path(one.words[0]).is_file()
        assert one.words[-4:] == ("--device", "cuda", "--output", "results")


def test_without_a_gpu_one_line_says_so() -> None:
    done = subprocess.run(
        [sys.executable, str(gpu.HERE / "gpu.py")],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(gpu.ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("gpu: needs a GPU, and torch ")


def test_without_torch_one_line_says_so() -> None:
    bare = [sys.executable, "-S", str(gpu.HERE / "gpu.py")]  # without installed packages
    done = subprocess.run(bare, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("gpu: needs torch, which ")


def test_the_gpu_tests_are_collected_without_the_projects_settings() -> None:
    """A machine that only trains may have pytest without the plugins that the settings name."""
    plain = ("-p", "no:timeout", "-p", "no:xdist", "--collect-only")
    collecting = Part(name="tests", words=(*gpu.TESTS.words, *plain), seconds=LIMIT)
    assert gpu.run_part(collecting).result == PASSED


def run_main(name: str, words: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a benchmark's `main` in this process, which has imported torch."""
    monkeypatch.setattr(sys, "argv", [name, *words])
    importlib.import_module(name).main()


@pytest.mark.parametrize("name", [one.name for one in gpu.BENCHMARKS if one.name != "gpu_study"])
def test_every_benchmark_knows_the_options_of_its_part(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A data set that is not there comes after the options."""
    (chosen,) = (one for one in gpu.parts("cuda", tmp_path) if one.name == name)
    words = (*chosen.words[1:], "--data", f"folder:{tmp_path / 'missing'}")
    with pytest.raises(DataError, match="missing"):
        run_main(name, words, monkeypatch)


def test_an_option_that_a_benchmark_does_not_know_ends_it_with_two(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(SystemExit) as ended:
        run_main("parity", ["--no-such"], monkeypatch)
    assert ended.value.code == 2


@pytest.mark.slow
def test_a_study_of_six_trials_runs_on_a_cpu_too(tmp_path: Path) -> None:
    (chosen,) = (one for one in gpu.parts("cpu", tmp_path) if one.name == "gpu_study")
    quick = Part(name="gpu_study", words=(*chosen.words, "--quick"), seconds=LIMIT)
    assert gpu.run_part(quick).result == PASSED
    found = json.loads((tmp_path / "gpu_study-cpu-synthetic.json").read_text(encoding="utf-8"))
    assert found["executions"]["engine.device"] == {"cpu": gpu_study.NUM_TRIALS}


def test_only_trials_that_finished_are_counted_by_their_device(tmp_path: Path) -> None:
    store = tmp_path / "mlflow.db"
    assert gpu_study.executions(store) == {"engine.device": {}, "engine.step": {}}
    runs = [("a", "FINISHED", "cuda"), ("b", "FINISHED", "cuda"), ("c", "FAILED", "cuda")]
    with contextlib.closing(sqlite3.connect(store)) as connection, connection:
        connection.execute("CREATE TABLE runs (run_uuid, status)")
        connection.execute("CREATE TABLE tags (key, value, run_uuid)")
        for name, status, device in runs:
            connection.execute("INSERT INTO runs VALUES (?, ?)", (name, status))
            connection.execute("INSERT INTO tags VALUES ('engine.device', ?, ?)", (device, name))
    assert gpu_study.executions(store) == {"engine.device": {"cuda": 2}, "engine.step": {}}
