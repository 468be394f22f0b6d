"""Alarms on bits that a failing attack would leave."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from analysis.attacks.alarms import Alarm, find_alarms
from analysis.document import from_plain, to_plain
from analysis.results.results import Results
from analysis.results.trials import Bits, accuracies

Draw = Callable[..., Results]
CELL = ("sam", {"rho": 0.4}, 0.9, 0.5)


def bits_of(rows: list[int], samples: int = 500) -> Bits:
    """Make bits (1 + R, samples) in which the first images of each row are right."""
    return np.array([np.arange(samples) < right for right in rows])


def study(draw: Draw, bits: Bits, radii: tuple[float, ...] = (0.05, 0.1, 0.15, 0.2)) -> Results:
    """Make a study of one trial with these bits."""
    drawn = draw([CELL], seeds=(0,), num_test=bits.shape[1], radii=radii, objective_radius=radii[0])
    clean, *robust = accuracies(bits).tolist()
    trial = replace(drawn.trials[0], bits=bits, clean=clean, robust=tuple(robust))
    return replace(drawn, trials=(trial,))


def kinds(alarms: tuple[Alarm, ...]) -> list[tuple[str, str]]:
    return [(alarm.kind, alarm.severity) for alarm in alarms]


def test_honest_bits_raise_no_alarm(draw: Draw, digits: Results) -> None:
    assert find_alarms(digits) == ()
    assert find_alarms(study(draw, bits_of([450, 400, 250, 100, 20]))) == ()


def test_no_trials_raise_no_alarm(draw: Draw) -> None:
    assert find_alarms(replace(draw([CELL]), trials=())) == ()


def test_accuracy_that_rises_is_counted_sample_by_sample(draw: Draw) -> None:
    bits = bits_of([450, 400, 200, 100, 20])
    bits[3, 200:215] = True  # right at 0.15, wrong at 0.1
    bits[3, 85:100] = False
    (alarm,) = find_alarms(study(draw, bits))
    assert (alarm.kind, alarm.severity) == ("a smaller radius breaks more", "warning")
    assert "15 of 500 images (3.0%) right at radius 0.15" in alarm.text
    bits[3, 215:440] = True
    alarms = find_alarms(study(draw, bits))
    assert ("accuracy rises with the radius", "failure") in kinds(alarms)
    text = next(alarm.text for alarm in alarms if "rises" in alarm.kind)
    assert "40.0% at radius 0.1 and 65.0% at radius 0.15, 240 of 500 images (48.0%)" in text
    assert "1 of 1 trial; the strongest, “sam” ρ=0.4 seed 0:" in text


@pytest.mark.parametrize(
    ("gained", "severity"), [(1, None), (2, "warning"), (9, "warning"), (10, "failure")]
)
def test_a_rise_is_judged_by_the_errors_of_the_paired_difference(
    draw: Draw, gained: int, severity: str | None
) -> None:
    # Without losses the rise is the root of the gain in standard errors: 1, 1.4, 3, 3.2.
    alarms = find_alarms(study(draw, bits_of([2000, 1000, 200, 200 + gained, 20], 2000)))
    found = dict(kinds(alarms))
    assert found.get("accuracy rises with the radius") == severity


def test_robust_above_clean_fails(draw: Draw) -> None:
    alarms = find_alarms(study(draw, bits_of([400, 420, 250, 100, 20])))
    assert ("robust above clean", "failure") in kinds(alarms)


@pytest.mark.parametrize(
    ("right", "severity"), [(10, None), (11, "warning"), (50, "warning"), (51, "failure")]
)
def test_accuracy_within_reach_of_grey(draw: Draw, right: int, severity: str | None) -> None:
    alarms = find_alarms(study(draw, bits_of([450, 100, right]), radii=(0.1, 0.5)))
    assert dict(kinds(alarms)).get("accuracy where none should be left") == severity


def test_l2_radii_put_no_grey_image_in_reach(draw: Draw) -> None:
    results = study(draw, bits_of([450, 100, 90]), radii=(0.1, 0.5))
    assert find_alarms(replace(results, threat=replace(results.threat, norm="l2"))) == ()


def test_a_tail_that_stays_level_is_named(draw: Draw) -> None:
    # A masked gradient: the accuracy falls, then the attack stops working.
    alarms = find_alarms(study(draw, bits_of([480, 400, 200, 60, 60])))
    (alarm,) = [alarm for alarm in alarms if alarm.kind == "a tail that no curve follows"]
    assert alarm.severity == "warning"
    assert "12.0% at radius 0.2" in alarm.text
    assert alarm.cells == ("“sam” ρ=0.4",)


def test_failures_come_first_and_cells_by_strength(draw: Draw) -> None:
    one = study(draw, bits_of([400, 403, 250, 100, 20]))
    two = study(draw, bits_of([400, 440, 250, 100, 20]))
    three = study(draw, bits_of([400, 460, 250, 100, 20]))
    trials = tuple(replace(r.trials[0], seed=seed) for seed, r in enumerate((one, two, three)))
    results = replace(one, seeds=(0, 1, 2), trials=trials)
    alarms = [alarm for alarm in find_alarms(results) if alarm.kind == "robust above clean"]
    assert [alarm.severity for alarm in alarms] == ["failure", "warning"]
    assert alarms[0].cells == ("“sam” ρ=0.4 seed 2", "“sam” ρ=0.4 seed 1")
    assert alarms[1].cells == ("“sam” ρ=0.4 seed 0",)


def test_trials_without_bits_are_said_to_be_unchecked(draw: Draw) -> None:
    results = draw([CELL], seeds=(0, 1))
    without = tuple(replace(trial, bits=None) for trial in results.trials)
    (alarm,) = find_alarms(replace(results, trials=without))
    assert alarm.severity == "unchecked"
    assert alarm.text.startswith("2 of 2 trials carry no bits")


def test_nothing_right_raises_no_alarm(draw: Draw) -> None:
    assert find_alarms(study(draw, bits_of([0, 0, 0, 0, 0]))) == ()
    assert find_alarms(study(draw, bits_of([500, 0, 0, 0, 0]))) == ()


def test_alarms_survive_the_codec(draw: Draw) -> None:
    alarms = find_alarms(study(draw, bits_of([400, 420, 250, 60, 60])))
    assert alarms
    assert from_plain(tuple[Alarm, ...], to_plain(alarms), "alarms") == alarms
