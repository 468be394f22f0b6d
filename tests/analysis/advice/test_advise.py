"""What is advised, and that it is written as entries that a study reads."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import yaml

from analysis import analyse
from analysis.advice.narrowing import VarianceParts, spend
from analysis.advice.words import NOTHING, advice_texts, next_line
from analysis.document import Analysis, read_json, write_json
from analysis.report.data_files import next_yaml
from analysis.report.page import page
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
    assert kinds == {"primary contrast", "equivalent epsilon"}
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


def test_with_one_seed_more_seeds_come_first() -> None:
    one = analyse(LAB.study(LAB.first(1), 1), replicates=50)
    assert [advice.kind for advice in one.advice] == ["seed noise"]
    assert yaml.safe_load(next_yaml(one)) == {"a laboratory": {"seeds": [0, 1, 2]}}


def test_a_comparison_of_studies_is_advised_nothing() -> None:
    results = replace(LAB.study(LAB.first()), is_comparison=True)
    found = analyse(results, replicates=50)
    assert found.advice == ()
    assert next_line(found) == ""
    assert "more_trials" not in next_yaml(found)
    assert NOTHING in next_yaml(found)
