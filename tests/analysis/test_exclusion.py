"""Trials whose attack failed count for nothing, and the reader is told what that changes."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from analysis.document import analyse, without_bits
from analysis.results import Results, TrialResult, accuracies

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
