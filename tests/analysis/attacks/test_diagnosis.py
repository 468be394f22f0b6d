"""Checks void what cannot be trusted, detections are told, another norm is a table of its own."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from analysis.analysing import analyse
from analysis.document import Analysis, read_json, write_json
from analysis.report.attack_tables import check_table, detection_table, verdict_table
from analysis.report.configurations import configurations_csv
from analysis.report.page import page
from analysis.results.results import Results
from analysis.results.trials import (
    Check,
    Detection,
    OtherNorm,
    ResultsError,
    TrialResult,
    Verdict,
    accuracies,
)

CELLS = [("at", {"epsilon": 0.1 * level}, 0.95 - 0.02 * level, 0.4) for level in range(1, 3)]
CELLS += [("sam", {"rho": 0.1 * level}, 0.96 - 0.01 * level, 0.2) for level in range(1, 3)]
NAMES = {1: "returned images", 5: "zero gradients", 7: "plateau"}
CELL = "“at” ε=0.1 seed 0"


def checked(trial: TrialResult, failing: int = 0, verdict: Verdict = "fail") -> TrialResult:
    checks = tuple(
        Check(
            number=number,
            name=name,
            verdict=verdict if number == failing else "pass",
            text=f"Sentence {number}.",
        )
        for number, name in NAMES.items()
    )
    return replace(trial, checks=checks)


def in_l2(trial: TrialResult) -> TrialResult:
    assert trial.bits is not None
    raw = trial.bits[[2, 1]]  # not nested: more is right at the larger radius
    robust = accuracies(np.vstack([trial.bits[:1], raw]))[1:]
    other = OtherNorm(norm="l2", radii=(0.5, 1.0), robust=tuple(robust.tolist()), bits=raw)
    return replace(trial, other=other)


@pytest.fixture(scope="module")
def plain(draw: Callable[..., Results]) -> Results:
    return draw(CELLS, num_test=100, radii=(0.05, 0.1))


def with_first(results: Results, change: Callable[[TrialResult], TrialResult]) -> Results:
    first, *others = results.trials
    return replace(results, trials=(change(first), *(checked(trial) for trial in others)))


def analysed(results: Results) -> Analysis:
    return analyse(results, replicates=30)


def test_a_fail_of_an_early_check_leaves_its_trial_out_and_says_why(plain: Results):
    found = analysed(with_first(plain, lambda trial: checked(trial, failing=5)))
    assert len(found.results.trials) == len(plain.trials) - 1
    (told,) = [f for f in found.findings if f.kind == "left out"]
    assert f"{CELL}, because check 5 (zero gradients) fails." in told.text
    (alarm,) = [alarm for alarm in found.alarms if alarm.check]
    assert (alarm.severity, alarm.cells) == ("failure", (CELL,))
    text = page(found)
    assert "<b>Failure.</b> Check 5 (zero gradients) fails, in 1 of 12 checked trials; " in text
    assert f"Left out: {CELL}, because check 5 (zero gradients) fails." in text
    # The checklist still holds the trial.
    assert [len(one.checks) for one in found.diagnoses] == [3] * 12
    assert [one.is_left_out for one in found.diagnoses].count(True) == 1


def test_what_is_said_is_that_of_the_trials_kept(plain: Results):
    found = analysed(with_first(plain, lambda trial: checked(trial, failing=5)))
    without = analysed(replace(plain, trials=plain.trials[1:]))
    assert found.primary.contrasts == without.primary.contrasts


def test_a_fail_of_a_later_check_warns_and_leaves_nothing_out(plain: Results):
    found = analysed(with_first(plain, lambda trial: checked(trial, failing=7)))
    assert found.exclusion is None
    (alarm,) = [alarm for alarm in found.alarms if alarm.check]
    assert alarm.severity == "warning"
    assert alarm.text == f"Check 7 (plateau) fails, in 1 of 12 checked trials; {CELL}: Sentence 7."


def test_a_warning_is_in_the_tables_alone(plain: Results):
    found = analysed(with_first(plain, lambda trial: checked(trial, failing=5, verdict="warn")))
    assert not [alarm for alarm in found.alarms if alarm.check]
    table = check_table(found)
    assert table.columns[2:] == ("1 returned images", "5 zero gradients", "7 plateau")
    first, *others = table.rows
    assert [(cell.text, cell.below) for cell in first[2:]] == [
        ("pass", ""),
        ("! 1 warn", "2 pass"),
        ("pass", ""),
    ]
    assert {cell.text for row in others for cell in row[2:]} == {"pass"}
    (row,) = verdict_table(found).rows
    assert [cell.text for cell in row] == ["at", "5 zero gradients", "warn", "Sentence 5."]
    assert row[0].below == "ε=0.1 seed 0"


def test_detections_are_listed_with_their_trials(plain: Results):
    seen = Detection(name="robust overfitting", text="It fell at epoch 7.")
    found = analysed(with_first(plain, lambda trial: replace(trial, detections=(seen,))))
    (row,) = detection_table(found).rows
    assert [cell.text for cell in row] == ["at", "robust overfitting", "It fell at epoch 7."]
    assert "It fell at epoch 7." in page(found)


def test_another_norm_is_nested_and_names_its_attack(plain: Results):
    found = analysed(replace(plain, trials=tuple(in_l2(trial) for trial in plain.trials)))
    (other,) = found.others
    for one in other.configurations:
        trials = found.found[one.row].trials
        for at, value in enumerate(one.robust):
            robust = [t.other.robust[at] for t in trials if t.other is not None]
            assert value.estimate == pytest.approx(np.mean(robust))
        assert one.robust[1].estimate <= one.robust[0].estimate
    text = page(found)
    assert "<h2>Other norms</h2>" in text
    assert "Robust accuracy in % under PGD-20, 1 restart, l2, on 100 test images" in text
    assert "robust_l2_0.5_mean" in configurations_csv(found)
    assert page(read_json(write_json(found))) == text
    # Nothing is chosen by it.
    assert found.views == analysed(plain).views


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"norm": "linf"}, "must differ from the study's linf"),
        ({"radii": (1.0, 0.5)}, "strictly increasing"),
        ({"robust": (0.9, 0.95)}, "do not rise"),
        ({"bits": np.ones((2, 7), dtype=bool)}, "must be bool of shape"),
        ({"bits": np.zeros((2, 100), dtype=bool)}, "are not those of the bits"),
    ],
)
def test_another_norm_that_does_not_fit_is_refused(
    plain: Results, change: dict[str, object], message: str
):
    trial = in_l2(plain.trials[0])
    assert trial.other is not None
    odd = replace(trial, other=replace(trial.other, **change))  # type: ignore[arg-type]
    with pytest.raises(ResultsError, match=message):
        replace(plain, trials=(odd,))


def test_a_check_stands_once(plain: Results):
    twice = replace(plain.trials[0], checks=checked(plain.trials[0]).checks * 2)
    with pytest.raises(ResultsError, match="list each check once"):
        replace(plain, trials=(twice,))
