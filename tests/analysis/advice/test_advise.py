"""What is advised, and that it is written as entries that a study reads."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import yaml

from analysis import analyse
from analysis.advice.narrowing import VarianceParts, spend
from analysis.advice.values import fronts_of
from analysis.advice.words import NOTHING, advice_texts, next_line
from analysis.document import Analysis, read_json, write_json
from analysis.report.data_files import next_yaml
from analysis.report.page import page
from analysis.report.screen import first_screen
from analysis.results.trials import AbsentStatus, AbsentTrial
from tests.analysis.advice.lab import Lab

LAB = Lab(number=4)


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    return analyse(LAB.study(LAB.first()), replicates=200)


def test_no_other_seeds_of_the_same_time_narrow_an_interval_more() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        counts = rng.integers(2, 5, 3)
        parts = VarianceParts(fixed=rng.random(), seeded=rng.random(3), counts=counts)
        seconds = np.ones(3)
        chosen = spend(parts, seconds, 4.0)
        others = itertools.product(range(5), repeat=3)
        spent = [np.array(more) for more in others if sum(more) == chosen.sum()]
        assert parts.after(chosen) == pytest.approx(min(parts.after(more) for more in spent))


def test_a_dearer_trial_gets_fewer_seeds() -> None:
    parts = VarianceParts(fixed=0.0, seeded=np.ones(2), counts=np.array([3, 3]))
    more = spend(parts, np.array([60.0, 110.0]), 1000.0)
    assert more[0] > more[1] > 0
    assert more @ [60, 110] <= 1000


def test_the_contrast_and_the_widest_equivalent_epsilon_are_advised(analysis: Analysis) -> None:
    kinds = {one.kind for one in analysis.advice}
    assert kinds >= {"primary contrast", "equivalent epsilon"}
    gains = [one.gain / one.hours for one in analysis.advice if one.hours]
    assert gains == sorted(gains, reverse=True)
    for one in analysis.advice:
        if one.trials and not one.trials[0].is_new:
            assert one.before is not None
            assert one.after is not None
            assert one.even is not None
            widths = [ends[1] - ends[0] for ends in (one.after, one.even, one.before)]
            assert widths == sorted(widths)
            # Seeds that no trial has: 3 on, as the study has 0 to 2.
            assert all(min(new.seeds) == 3 for new in one.trials)


def test_what_to_run_next_is_in_every_file_of_the_report(analysis: Analysis) -> None:
    assert read_json(write_json(analysis)).advice == analysis.advice
    assert next_line(analysis).startswith("Next: ")
    assert "What to run next" in page(analysis)
    written = yaml.safe_load(next_yaml(analysis))
    [(study, entry)] = written.items()
    assert study == "a laboratory"
    cells = [(new["method"], new["values"], new["seeds"]) for new in entry["more_trials"]]
    assert cells == [
        (new.method, dict(new.values), list(new.seeds))
        for one in analysis.advice
        for new in one.trials
    ]
    assert len(advice_texts(analysis.advice)) == len(analysis.advice)


def test_a_wide_step_is_split_and_an_open_end_doubled() -> None:
    lab = replace(LAB, price=3.0, rhos=(0.1, 0.2, 0.6), epsilons=(0.01, 0.02, 0.08))
    advice = analyse(lab.study(lab.first()), replicates=200).advice
    [split] = [a for a in advice if a.kind == "front step" and a.methods == ("sam",)]
    assert split.values == ({"rho": 0.2}, {"rho": 0.6})
    # Two of equal ratio: 0.2 · √3.
    assert [new.values for new in split.trials] == [{"rho": 0.346}]
    assert split.before is not None
    assert split.after is not None
    assert split.even is not None
    widths = [high - low for low, high in (split.before, split.even, split.after) if low and high]
    assert widths == sorted(widths, reverse=True)
    doubled = [a.trials[0].values for a in advice if a.before and a.before[1] is None]
    assert doubled == [{"rho": 1.2}, {"epsilon": 0.16}]


def test_only_radii_get_new_values_and_none_that_a_training_refuses(analysis: Analysis) -> None:
    view = analysis.primary
    areas = view.contrasts.hypervolumes
    assert {one.name for one, _ in fronts_of(view.responses, areas)} == {"rho", "epsilon"}
    counted = [replace(one, name="steps") for one in view.responses]
    assert fronts_of(counted, areas) == []
    lab = replace(LAB, epsilons=(0.02, 0.05, 0.1, 0.3), scale=0.2)
    far = analyse(lab.study(lab.first()), replicates=100).advice
    assert all(new.values.get("epsilon", 0.0) <= 0.5 for one in far for new in one.trials)


def test_no_end_is_open_where_robustness_falls_again() -> None:
    lab = replace(LAB, top=0.1, images=2000)
    advice = analyse(lab.study(lab.first()), replicates=200).advice
    assert all("rho" not in new.values for a in advice if a.kind == "front end" for new in a.trials)


@pytest.mark.parametrize(
    ("lab", "method", "values"),
    [
        pytest.param(
            replace(LAB, price=3.0, rhos=(0.1, 0.3, 0.6), images=2000),
            "sam",
            [{"rho": 0.173}, {"rho": 0.424}],
            id="three distinct configurations of five",
        ),
        pytest.param(
            replace(LAB, rhos=(0.15, 0.3), images=4000, deviation=0.03),
            "sam, at",
            [{"rho": 0.212}],
            id="two values of ρ for a slope",
        ),
    ],
)
def test_a_refusal_has_its_cure_in_the_list(
    lab: Lab, method: str, values: list[dict[str, float]]
) -> None:
    advice = analyse(lab.study(lab.first()), replicates=200).advice
    [cure] = [a for a in advice if a.need and ", ".join(a.methods) == method]
    assert [new.values for new in cure.trials] == values
    assert (cure.before, cure.after, cure.even) == (None, None, None)
    assert cure.hours == pytest.approx(len(values) * 3 * 60 / 3600)
    assert [one for one in advice_texts(advice) if one.endswith(f"now refused: {cure.need}.")]


def test_with_one_seed_more_seeds_come_first() -> None:
    one = analyse(LAB.study(LAB.first(1), 1), replicates=50)
    assert [advice.kind for advice in one.advice] == ["seed noise"]
    assert yaml.safe_load(next_yaml(one)) == {"a laboratory": {"seeds": [0, 1, 2]}}


def test_seeds_that_a_race_spares_are_not_asked_for() -> None:
    results = LAB.study(LAB.first())
    far = results.trials[-1]
    twins = [t for t in results.trials if (t.method, t.values) == (far.method, far.values)]
    gone = [t for t in twins if t.seed != far.seed]

    def analysed(status: AbsentStatus) -> Analysis:
        absent = tuple(
            AbsentTrial(method=t.method, values=t.values, seed=t.seed, status=status, reason="")
            for t in gone
        )
        trials = tuple(t for t in results.trials if not any(t is one for one in gone))
        return analyse(replace(results, trials=trials, absent=absent), replicates=200)

    missing, spared = analysed("missing"), analysed("spared")
    assert [one.kind for one in missing.advice] == ["seed noise"]
    assert "seed noise" not in [one.kind for one in spared.advice]
    doubts = [first_screen(one, ()).doubts for one in (missing, spared)]
    lacking = f"{len(gone)} trials without a result"
    assert doubts[0][:2] == (lacking, "only one seed, so no interval")
    assert not [one for one in doubts[1] if "result" in one or "one seed" in one]


def test_a_comparison_of_studies_is_advised_nothing() -> None:
    results = replace(LAB.study(LAB.first()), is_comparison=True)
    found = analyse(results, replicates=50)
    assert found.advice == ()
    assert next_line(found) == ""
    assert "more_trials" not in next_yaml(found)
    assert NOTHING in next_yaml(found)
