"""Tests of what is executed by what: when torch.compile is worth its time."""

import pytest
import torch

from trainers.engine.engine import PLAIN, STEPS_THAT_REPAY, Engine, compiles

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("engine", "device", "steps", "expected"),
    [
        (Engine(), CPU, 10 * STEPS_THAT_REPAY, False),
        (Engine(), GPU, STEPS_THAT_REPAY, True),
        (Engine(), GPU, STEPS_THAT_REPAY - 1, False),
        (Engine(later_steps=STEPS_THAT_REPAY), GPU, 1, True),
        (Engine(compiled="always"), CPU, 1, True),
        (PLAIN, GPU, 10 * STEPS_THAT_REPAY, False),
    ],
)
def test_a_compilation_is_for_a_gpu_and_for_many_steps(
    engine: Engine, device: torch.device, steps: int, expected: bool
) -> None:
    assert compiles(engine, device, steps) is expected
