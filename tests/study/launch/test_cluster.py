from collections.abc import Callable

import pytest

from study.launch.cluster import ClusterError, attempt, slots
from study.spec import StudySpec

Read = Callable[[str], StudySpec]

CASES = [
    pytest.param(1, 0.0, 2, 0, 2, id="a trial for each CPU"),
    pytest.param(2, 0.0, 5, 0, 2, id="what does not fill a trial stays idle"),
    pytest.param(1, 0.5, 16, 1, 2, id="two trials share a GPU"),
    pytest.param(1, 0.4, 16, 2, 4, id="a share never spans two GPUs"),
    pytest.param(1, 1.0, 16, 8, 8, id="a trial on each GPU"),
    pytest.param(8, 0.25, 16, 4, 2, id="the scarcer one decides"),
]


@pytest.mark.parametrize(("cpu", "gpu", "cpus", "gpus", "expected"), CASES)
def test_slots_fill_the_machine(
    read: Read, cpu: int, gpu: float, cpus: int, gpus: int, expected: int
) -> None:
    spec = read(f"  resources: {{cpu: {cpu}, gpu: {gpu}}}\n")
    assert slots(spec, cpus, gpus) == expected


def test_a_trial_larger_than_the_machine_is_refused(read: Read) -> None:
    with pytest.raises(
        ClusterError, match=r"tiny\.resources\.cpu: .* got 3, and it has 2; ask for"
    ):
        slots(read("  resources: {cpu: 3}\n"), 2, 0)
    with pytest.raises(ClusterError, match=r"tiny\.resources\.gpu: .* got 0\.5, and it has 0; set"):
        slots(read("  resources: {gpu: 0.5}\n"), 2, 0)


def test_start_is_tried_again_after_a_failure_and_given_up_in_the_end() -> None:
    failures = [ClusterError("slow"), ClusterError("slow")]
    undone: list[int] = []

    def start() -> None:
        if failures:
            raise failures.pop()

    attempt(start, lambda: undone.append(1), 3)
    assert undone == [1, 1]
    failures[:] = [ClusterError("last"), ClusterError("slow"), ClusterError("slow")]
    with pytest.raises(ClusterError, match="last"):
        attempt(start, lambda: undone.append(1), 3)
    assert len(undone) == 4
