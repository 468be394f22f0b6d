"""Trials whose attack failed count for nothing, and the reader is told what that changes."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from analysis.analysing import analyse, without_bits
from analysis.document import read_json, write_json
from analysis.report.data_files import alarms_of
from analysis.results.results import Results
from analysis.results.trials import (
    Check,
    TrialResult,
    Value,
    accuracies,
    configuration_key,
    trial_key,
)

CELLS = [("at", {"epsilon": 0.05 * level}, 0.95 - 0.02 * level, 0.3) for level in range(1, 4)]
CELLS += [("sam", {"rho": 0.1 * level}, 0.96 - 0.01 * level, 0.1) for level in range(1, 4)]


def masked(trial: TrialResult) -> TrialResult:
    """Let the attack at the largest radius break nothing that no attack does not break."""
    assert trial.bits is not None
    bits = trial.bits.copy()
    bits[-1] = bits[0]
    counted = accuracies(bits)
    return replace(trial, bits=bits, robust=tuple(counted[1:].tolist()))


def with_masked_trials(results: Results, *rows: int) -> Results:
    trials = [masked(t) if at in rows else t for at, t in enumerate(results.trials)]
    return replace(results, trials=tuple(trials))


def test_a_trial_with_a_failing_alarm_is_absent_and_named(draw: Callable[..., Results]) -> None:
    results = with_masked_trials(draw(CELLS, num_test=400), 2)
    found = analyse(results, replicates=100)
    assert len(found.results.trials) == len(results.trials) - 1
    (absent,) = found.results.absent
    lost = results.trials[2]
    assert (absent.method, absent.values, absent.seed) == (lost.method, lost.values, lost.seed)
    assert "left out" in absent.reason
    (told,) = [f for f in found.findings if f.kind == "left out"]
    assert told.text.startswith("1 of 18 trials was left out")
    assert found.exclusion is not None
    assert found.exclusion.with_all is not None
    assert told.estimate == found.exclusion.with_all.difference.estimate


LONG = "a-wide-residual-network-of-34-layers-sgd-"
Cells = list[tuple[str, dict[str, Value], float, float]]
ALIKE: list[Cells] = [
    [("sam", {"rho": 0.12341}, 0.95, 0.6), ("sam", {"rho": 0.12339}, 0.95, 0.5)],
    [(f"{LONG}sam1", {}, 0.95, 0.6), (f"{LONG}sam2", {}, 0.95, 0.5)],
]


@pytest.mark.parametrize("cells", ALIKE)
@pytest.mark.parametrize(("number", "is_lost"), [(5, True), (7, False)])
def test_a_trial_that_is_printed_alike_is_neither_lost_nor_alarmed(
    draw: Callable[..., Results], cells: Cells, number: int, is_lost: bool
) -> None:
    drawn = draw(cells, num_test=120, radii=(0.05, 0.1), seeds=(0, 1))
    first, *others = drawn.trials
    bad = Check(number=number, name="some name", verdict="fail", text="A sentence.")
    passed = tuple(replace(t, checks=(replace(bad, verdict="pass"),)) for t in others)
    drawn = replace(drawn, trials=(replace(first, checks=(bad,)), *passed))
    found = analyse(drawn, replicates=20)
    lost = [trial_key(first)] if is_lost else []
    assert [trial_key(absent) for absent in found.results.absent] == lost
    told = [one for one in found.diagnoses if one.is_left_out]
    assert [(configuration_key(one.method, one.values), one.seed) for one in told] == lost
    (alarm,) = found.alarms
    assert alarm.subjects == (trial_key(first),)
    # A trial that was left out alarms for nothing in the table.
    row = next(at for at, c in enumerate(found.found) if c.key == trial_key(first)[0])
    assert alarms_of(found) == ({} if is_lost else {row: ("a check fails",)})
    assert read_json(write_json(found)).alarms == found.alarms


def test_both_of_two_trials_that_are_printed_alike_are_counted(
    draw: Callable[..., Results],
) -> None:
    drawn = draw(ALIKE[0], num_test=120, radii=(0.05, 0.1), seeds=(0,))
    bad = Check(number=7, name="plateau", verdict="fail", text="A sentence.")
    drawn = replace(drawn, trials=tuple(replace(t, checks=(bad,)) for t in drawn.trials))
    (alarm,) = analyse(drawn, replicates=20).alarms
    assert "in 2 of 2 checked trials" in alarm.text
    assert set(alarms_of(analyse(drawn, replicates=20))) == {0, 1}


def test_what_is_said_is_that_of_the_trials_kept(draw: Callable[..., Results]) -> None:
    results = draw(CELLS, num_test=400)
    kept = replace(results, trials=results.trials[:2] + results.trials[3:])
    one = analyse(with_masked_trials(results, 2), replicates=100).primary.contrasts
    assert one == analyse(kept, replicates=100).primary.contrasts


def test_without_a_failing_alarm_nothing_is_left_out(draw: Callable[..., Results]) -> None:
    results = draw(CELLS, num_test=400)
    found = analyse(results, replicates=100)
    assert found.exclusion is None
    assert found.results == without_bits(results)
    assert not [f for f in found.findings if f.kind == "left out"]


def test_if_every_trial_fails_nothing_is_claimed(draw: Callable[..., Results]) -> None:
    results = with_masked_trials(draw(CELLS, num_test=400), *range(18))
    found = analyse(results, replicates=100)
    assert not found.results.trials
    assert not [f for f in found.findings if f.status == "claimed"]
    assert np.all([absent.status == "failed" for absent in found.results.absent])
