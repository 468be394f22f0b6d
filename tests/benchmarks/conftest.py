"""The benchmarks are scripts: their folder is put on the path, last."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parents[2] / "benchmarks"
sys.path.append(str(FOLDER))

import cases  # noqa: E402


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def digits_case() -> cases.Case:
    """80 / 40 / 60 digits in batches of 32; a network of width 4."""
    return _case("digits")


@pytest.fixture(scope="session")
def colour_case() -> cases.Case:
    """80 / 40 / 60 images of 32 × 32 in colour in batches of 32; a network of width 4."""
    return _case("synthetic")


def _case(name: str) -> cases.Case:
    told = cases.options("").parse_args(["--quick", "--device", "cpu", "--data", name])
    case = cases.read_case(told)
    return replace(case, model=replace(case.model, width=4))
