"""Selection: the winner's curse, held-out seeds, and where fronts were chosen."""

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from analysis.document import from_plain, to_plain
from analysis.findings.optimism import FEWEST, selection_findings
from analysis.fronts.choice import choose
from analysis.fronts.optimism import Selection, held_out_area, measure_selection, overstatement
from analysis.inference.bootstrap import draw_replicates
from analysis.results.configurations import configurations
from analysis.results.results import Results

Draw = Callable[..., Results]
CELLS = [("at", {"epsilon": 0.01 * i}, 0.95 - 0.01 * i, 0.5 + 0.01 * i) for i in range(1, 9)]


def selection_of(results: Results, count: int = 400) -> Selection:
    found = configurations(results)
    drawn = draw_replicates(results, found, count=count)
    return measure_selection(results, found, choose(results), drawn)


@pytest.mark.parametrize(("count", "expected"), [(2, 0.5642), (5, 1.1630), (20, 1.8675)], ids=str)
def test_the_best_of_equals_overstates_by_the_expected_maximum(count: int, expected: float):
    noise = np.random.default_rng(0).standard_normal((40_000, count))
    assert overstatement(np.zeros(count), noise) == pytest.approx(expected, abs=0.02)


def test_a_clear_winner_overstates_by_nothing():
    noise = np.random.default_rng(0).standard_normal((40_000, 2))
    clear = overstatement(np.array([0.0, 20.0]), noise + np.array([0.0, 20.0]))
    assert clear == pytest.approx(0.0, abs=0.02)
    assert overstatement(np.array([0.5]), noise[:, :1]) == 0.0


def test_nothing_is_said_of_an_optimism_without_noise():
    assert overstatement(np.empty(0), np.empty((9, 0))) is None
    assert overstatement(np.array([0.1, 0.2]), np.tile([0.1, 0.2], (9, 1))) is None


def test_held_out_seeds_of_equal_seeds_give_the_raw_front(draw: Draw):
    results = draw([("at", {"e": 1}, 0.9, 0.5), ("at", {"e": 2}, 0.7, 0.6)], noise=0.0)
    points = {1: (0.9, 0.5), 2: (0.7, 0.6)}
    trials = tuple(
        replace(
            t, bits=None, clean=points[t.values["e"]][0], robust=(points[t.values["e"]][1],) * 4
        )
        for t in results.trials
    )
    found = configurations(replace(results, trials=trials))
    # ((0.9 - 0.7) 0.5 + (0.7 - 0.1) 0.6) / 0.9
    assert held_out_area(found, 1, 0.1) == pytest.approx(0.46 / 0.9, abs=1e-12)


def test_a_member_that_misses_its_requirement_on_the_seed_left_out_counts_less(draw: Draw):
    results = draw([("at", {"e": 1}, 0.9, 0.5)], seeds=(0, 1))
    clean = {0: 0.9, 1: 0.5}
    trials = tuple(
        replace(t, bits=None, clean=clean[t.seed], robust=(0.4,) * 4) for t in results.trials
    )
    found = configurations(replace(results, trials=trials))
    # Chosen at 0.9 and read at 0.5, then chosen at 0.5 and read at 0.9: 0.4 (0.5 - 0.1) both times.
    assert held_out_area(found, 1, 0.1) == pytest.approx(0.4 * 0.4 / 0.9, abs=1e-12)
    assert held_out_area(configurations(draw(CELLS, seeds=(0,))), 1, 0.1) is None


def test_both_bounds_enclose_the_truth_on_average_without_validation_data(draw: Draw):
    cells = [("at", {"e": i}, 0.90, 0.50) for i in range(12)]
    truth, raw, held = 0.5 * 0.8 / 0.9, [], []
    for first in range(0, 90, 3):
        seeds = tuple(range(first, first + 3))
        one = selection_of(draw(cells, num_validation=0, seeds=seeds, num_test=1000), 40)
        raw.append(one.methods[0].attainable)
        held.append(one.methods[0].held_out)
    assert np.mean(held) < truth < np.mean(raw)


def test_members_carry_an_arrow_from_validation_to_test(draw: Draw):
    results = draw(CELLS)
    found, choice = configurations(results), choose(results)
    (one,) = selection_of(results).methods
    assert [found[member.row].key for member in one.members] == [
        c.key for c in choice.fronts[0].members
    ]
    for member in one.members:
        c = found[member.row]
        assert c.validation_clean is not None
        assert c.validation_robust is not None
        assert member.validation == (c.validation_clean.mean, c.validation_robust.mean)
        assert member.test == (c.clean.mean, c.robust[1].mean)
    assert 0 < one.truly <= 1
    assert choice.fronts[0].best is not None
    assert one.best is not None
    assert found[one.best].key == choice.fronts[0].best.key
    (unvalidated,) = selection_of(draw(CELLS, num_validation=0)).methods
    assert all(member.validation is None for member in unvalidated.members)


def test_sentences_name_the_data_and_the_optimism(draw: Draw):
    results = draw(CELLS)
    selection = selection_of(results)
    (said,) = selection_findings(results, selection)
    assert said.status == "claimed"
    assert "on 200 validation images under PGD-10, 1 restart" in said.text
    bias = selection.methods[0].overstatement
    assert bias is not None
    assert f"optimistic by about {100 * bias:.1f} pp" in said.text
    results = draw(CELLS, num_validation=0)
    selection = selection_of(results)
    (said,) = selection_findings(results, selection)
    assert "not selected independently" in said.text
    held = selection.methods[0].held_out
    assert held is not None
    assert f"{100 * held:.1f}% if each seed is evaluated on a front chosen by" in said.text


@pytest.mark.parametrize(
    "options",
    [{"seeds": (0,)}, {"seeds": (0,), "num_validation": 0}, {"noise": 0.0}],
    ids=["one seed", "one seed, no validation", "no noise"],
)
def test_edges_are_findings_without_warnings(draw: Draw, options: dict[str, object]):
    results = draw(CELLS[:FEWEST], **options)
    selection = selection_of(results, 50)
    plain = json.loads(json.dumps(to_plain(selection), allow_nan=False))
    assert from_plain(Selection, plain) == selection
    said = selection_findings(results, selection)
    assert len(said) == 1
    if options.get("seeds") == (0,):
        assert selection.overstatement is None
        assert said[0].status == "bracketed"
    few = draw(CELLS[: FEWEST - 1], **options)
    is_chosen_on_test = few.num_validation == 0
    assert len(selection_findings(few, selection_of(few, 50))) == int(is_chosen_on_test)


def test_no_trials_and_a_single_configuration_have_nothing_to_choose(draw: Draw):
    nothing = replace(draw(CELLS), trials=())
    assert selection_findings(nothing, selection_of(nothing, 20)) == []
    single = draw(CELLS[:1])
    assert selection_of(single).overstatement == 0.0
    assert selection_findings(single, selection_of(single, 20)) == []
