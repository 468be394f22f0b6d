"""Tests that the baseline's step is ours: the two sides of every comparison do the same work."""

import copy

import parity
import pytest
from baseline import new_baseline
from cases import Case
from ours import our_state, train_ours

from trainers.config import Norm

EVERY = [(method, norm, "ours") for method, norm in parity.STEPPED]


@pytest.mark.parametrize(("method", "norm", "form"), [*EVERY, ("sam_at_10", "l2", "plain")])
def test_a_step_of_the_baseline_equals_ours(
    method: str, norm: Norm, form: str, digits_case: Case
) -> None:
    found = parity.compare_steps(digits_case, method, norm, form)
    assert found["passes"], found
    assert found["losses"]["ours"][-1] < found["losses"]["ours"][0]
    if method in ("standard", "sam"):
        assert max(found["differences"]["ours"]) <= 1e-5


def test_augmented_steps_are_equal_too(colour_case: Case) -> None:
    found = parity.compare_steps(colour_case, "sam", "linf", "ours")
    assert found["passes"], found


def test_a_wrong_step_is_found(digits_case: Case) -> None:
    config, data, device = digits_case.config("sam", epochs=1), digits_case.data, digits_case.device
    state = our_state(config, data, device, "plain")
    twin = new_baseline(config, data, device)
    (ours,) = train_ours(config, data, device, "plain", copy.deepcopy(state))
    right = parity.twin_epoch(digits_case, config, twin, state, 0)
    assert abs(right - ours["train_loss"]) < parity.USUAL
    wrong = digits_case.config("standard", epochs=1)
    assert abs(parity.twin_epoch(digits_case, wrong, twin, state, 0) - right) > 50 * parity.USUAL
