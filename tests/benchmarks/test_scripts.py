"""The scripts themselves, in their quick form.

In this process, without its imports; the processes that they start run as scripts.
"""

import json
import math
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import packing
import parity
import pytest
import train_step
import trial

pytestmark = pytest.mark.slow
RunQuick = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture
def run_quick(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> RunQuick:
    """Run a script; return its exit code, what it wrote and what it printed."""

    def run(script: ModuleType, *words: str) -> tuple[int, dict[str, Any], str]:
        quick = ("--quick", "--device", "cpu", "--output", str(tmp_path))
        monkeypatch.setattr(sys, "argv", [str(script.__file__), *quick, *words])
        code = 0
        try:
            script.main()
        except SystemExit as end:
            code = int(end.code or 0)
        (found,) = tmp_path.glob("*.json")
        (text,) = tmp_path.glob("*.txt")
        assert found.stem == text.stem == f"{script.__name__}-cpu-digits"
        printed = capsys.readouterr().out
        assert text.read_text(encoding="utf-8") == printed
        return code, json.loads(found.read_text(encoding="utf-8")), printed

    return run


def ratios(value: Any) -> Iterator[dict[str, float]]:
    """Find every ratio of a result."""
    if isinstance(value, dict) and value.keys() == {"median", "low", "high"}:
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from ratios(inner)


def assert_ratios(found: dict[str, Any], count: int) -> None:
    every = list(ratios(found))
    assert len(every) == count
    for one in every:
        assert 0 < one["low"] <= one["high"] < math.inf
        assert one["median"] > 0


def test_steps_are_measured_against_baseline_and_limit(run_quick: RunQuick) -> None:
    methods = ["standard", "esam", "sam_at_10"]
    code, found, text = run_quick(train_step, "--methods", *methods)
    assert code == 0
    # Wall and CPU time of ours against the baseline; with ESAM of our SAM and against it, too.
    assert_ratios(found, 3 * 2 + 2 * 2)
    assert [result["method"] for result in found["results"]] == methods
    for result in found["results"]:
        for side in result["sides"].values():
            assert 0 < side["share_of_peak"]["float32"] < 1
            assert side["samples_per_second"] > 0
        assert result["engines"]["uncompiled"]["device"] == "cpu"
    assert re.search(r"sam_at_10 +baseline", text)


def test_trials_are_measured_in_one_process_and_in_fresh_ones(run_quick: RunQuick) -> None:
    code, found, _ = run_quick(trial, "--methods", "sam_at_10", "--epochs", "1")
    assert code == 0
    assert {result["in"] for result in found["results"]} == {"one process", "fresh processes"}
    for result in found["results"]:
        for side in result["sides"].values():
            assert side["seconds"][0] > 0
            assert all(0 <= accuracy <= 1 for accuracy in side["reached"].values())
    assert_ratios(found, 2 * 2 * len(found["results"]))


def test_trials_at_once_are_measured_against_one(run_quick: RunQuick) -> None:
    code, found, _ = run_quick(packing, "--seconds", "0.2")
    assert code == 0
    (result,) = found["results"]
    assert result["trials"].keys() == {"1", "2"}
    assert result["trials"]["1"]["against_one"]["median"] == 1.0
    assert_ratios(found, 2)


def test_parity_holds_step_by_step_and_its_exit_code_says_what_the_tables_say(
    run_quick: RunQuick,
) -> None:
    code, found, text = run_quick(parity, "--methods", "sam", "--epochs", "1")
    assert all(one["passes"] for one in found["steps"]), text
    assert len(found["steps"]) == 6
    assert len(found["seeds"]) == 2
    assert code == int(not all(one["passes"] for one in found["seeds"]))
    for one in found["seeds"]:
        assert len(one["ours"]) == len(one["baseline"]) == 2
