"""Tests of fair timing: with clocks that the variants themselves advance."""

import doctest
import json
import os
from pathlib import Path

import machine
import pytest
import torch
from machine import Ratio, Spent


class FakeClock:
    """A clock that shows what has been added to it."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_interleaved_variants_take_turns_and_the_warmup_is_not_counted() -> None:
    wall, cpu, order = FakeClock(), FakeClock(), []
    seconds = {"slow": iter([50.0, 6.0, 4.0, 8.0]), "fast": iter([50.0, 2.0, 2.0, 2.0])}

    def make(name: str) -> None:
        order.append(name)
        wall.seconds += next(seconds[name])
        cpu.seconds += 0.5

    timings = machine.interleave(
        {"slow": lambda: make("slow"), "fast": lambda: make("fast")}, 3, wall=wall, cpu=cpu
    )
    assert order == ["slow", "fast"] * 4
    assert timings["slow"].wall == (6.0, 4.0, 8.0)
    assert timings["fast"].wall == (2.0, 2.0, 2.0)
    assert timings["fast"].cpu == (0.5, 0.5, 0.5)
    found = machine.ratio(timings["slow"].wall, timings["fast"].wall)
    assert found == Ratio(median=3.0, low=2.0, high=4.0)


def test_the_clock_is_read_after_the_device_was_waited_for() -> None:
    wall = FakeClock()
    queued: list[float] = []

    def wait() -> None:
        wall.seconds += sum(queued)
        queued.clear()

    timings = machine.interleave(
        {"queues": lambda: queued.append(3.0), "works": lambda: None},
        2,
        warmup=0,
        wall=wall,
        synchronise=wait,
    )
    assert timings["queues"].wall == (3.0, 3.0)
    assert timings["works"].wall == (0.0, 0.0)


def test_a_variant_that_says_what_it_spent_is_believed() -> None:
    timings = machine.interleave({"one": lambda: Spent(5.0, 4.0)}, 2, wall=FakeClock())
    assert timings["one"].wall == (5.0, 5.0)
    assert timings["one"].cpu == (4.0, 4.0)


@pytest.mark.parametrize(
    ("median", "is_tie"), [(1.0, True), (1.09, True), (0.92, True), (1.11, False), (0.9, False)]
)
def test_a_ratio_near_one_is_a_tie(median: float, is_tie: bool) -> None:
    assert Ratio(median=median, low=0.5, high=2.0).is_tie is is_tie


def test_cpu_time_advances_with_work() -> None:
    before = machine.cpu_seconds()
    machine.peak_rates(torch.device("cpu"), 256)
    assert machine.cpu_seconds() > before


def test_precision_is_put_back() -> None:
    def current() -> tuple[bool, bool, bool]:
        cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
        return cudnn.allow_tf32, products.allow_tf32, cudnn.benchmark

    before = current()
    with machine.precision("tf32", cudnn_benchmark=True):
        assert current() == (True, True, True)
        with machine.precision("ieee"):
            assert current() == (False, False, False)
        assert current() == (True, True, True)
    assert current() == before


def test_a_fresh_cache_is_empty_and_the_old_one_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(machine.CACHE_VARIABLE, "elsewhere")
    with machine.fresh_cache() as folder:
        assert os.environ[machine.CACHE_VARIABLE] == str(folder)
        assert list(folder.iterdir()) == []
    assert os.environ[machine.CACHE_VARIABLE] == "elsewhere"
    assert not folder.exists()
    monkeypatch.delenv(machine.CACHE_VARIABLE)
    with machine.fresh_cache():
        assert machine.CACHE_VARIABLE in os.environ
    assert machine.CACHE_VARIABLE not in os.environ


def test_a_description_names_software_and_hardware_but_not_the_machine() -> None:
    described = machine.describe(torch.device("cpu"))
    assert described["torch"] == torch.__version__
    assert described["threads"] == "1"
    assert float(described["load before"]) >= 0
    assert not any("/" in value for value in described.values())


def test_a_result_is_printed_and_written_as_text_and_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {"title": "A title.", "machine": {"cores": "2"}, "value": 1.5}
    lines = machine.table([("name", "value"), ("longer name", "1.5")])
    machine.publish("some", found, lines, tmp_path)
    text = (tmp_path / "some.txt").read_text(encoding="utf-8")
    assert text == "A title.\ncores 2\n\nname         value\nlonger name  1.5\n"
    assert capsys.readouterr().out == text
    assert json.loads((tmp_path / "some.json").read_text(encoding="utf-8")) == found
    machine.publish("other", found, lines, None)
    assert len(list(tmp_path.iterdir())) == 2


def test_the_examples_in_docstrings_hold() -> None:
    tried = doctest.testmod(machine)
    assert tried.attempted > 3
    assert tried.failed == 0
