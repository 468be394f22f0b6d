"""Choice: validation chooses, test numbers are reported."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from analysis.figures.scene import frame, left_out, left_out_text
from analysis.fronts.choice import choose
from analysis.fronts.pareto import comparable, mean_attainable_robustness, nondominated
from analysis.results.configurations import configurations
from analysis.results.results import Results
from analysis.results.trials import TrialResult


def with_validation(results: Results, chosen: dict[float, tuple[float, float]]) -> Results:
    def changed(trial: TrialResult) -> TrialResult:
        clean, robust = chosen[float(trial.values["rho"])]
        return replace(trial, validation_clean=clean, validation_robust=robust)

    return replace(results, trials=tuple(changed(trial) for trial in results.trials))


@pytest.fixture
def three(draw: Callable[..., Results]) -> Results:
    cells = [("sam", {"rho": rho}, 0.99 - 0.1 * rho, 0.2 + 0.3 * rho) for rho in (0.1, 0.2, 0.4)]
    return draw(cells)


def test_members_are_chosen_on_validation_even_against_the_test_numbers(three: Results):
    turned = with_validation(three, {0.1: (0.9, 0.9), 0.2: (0.95, 0.1), 0.4: (0.8, 0.1)})
    choice = choose(turned)
    front = choice.fronts[0]
    assert choice.on_validation
    assert [c.values["rho"] for c in front.members] == [0.2, 0.1]
    assert front.best is not None
    assert front.best.values == {"rho": 0.1}
    assert front.best.robust[1].mean == np.mean([t.robust[1] for t in three.trials[:3]])


def test_without_validation_the_test_numbers_choose(three: Results):
    trials = [replace(t, validation_clean=None, validation_robust=None) for t in three.trials]
    choice = choose(replace(three, num_validation=0, trials=tuple(trials)))
    assert not choice.on_validation
    assert choice.fronts[0].best is not None
    assert choice.fronts[0].best.values == {"rho": 0.4}


def test_equal_configurations_are_all_members_and_the_first_is_best(three: Results):
    equal = with_validation(three, dict.fromkeys((0.1, 0.2, 0.4), (0.9, 0.5)))
    front = choose(equal).fronts[0]
    assert len(front.members) == 3
    assert front.best is not None
    assert front.best.values == {"rho": 0.1}


def test_the_study_front_crosses_methods(digits: Results):
    choice = choose(digits)
    members = {c.key for front in choice.fronts for c in front.members}
    assert choice.study_front <= members
    assert {method for method, _ in choice.study_front} > {"at"}


def test_a_method_without_results_has_an_empty_front(digits: Results):
    without = replace(digits, trials=tuple(t for t in digits.trials if t.method != "sam"))
    front = choose(without).fronts[1]
    assert (front.note.name, front.members, front.best) == ("sam", (), None)
    assert (front.attainable, front.complete_seeds) == (None, ())


def counted(results: Results, counts: dict[float, tuple[tuple[int, ...], int]]) -> Results:
    """Give validation accuracies as counts of 297 images: clean ones by seed, and a robust one."""

    def trial(t: TrialResult) -> TrialResult:
        clean, robust = counts[float(t.values["rho"])]
        return replace(t, validation_clean=clean[t.seed] / 297, validation_robust=robust / 297)

    kept = [t for t in results.trials if t.values["rho"] in counts]
    return replace(results, trials=tuple(trial(t) for t in kept))


def test_equal_totals_over_the_seeds_tie_whatever_their_rounding(three: Results):
    results = counted(three, {0.1: ((288, 288, 294), 100), 0.2: ((288, 289, 293), 200)})
    found = configurations(results)
    means = [c.validation_clean.mean for c in found if c.validation_clean is not None]
    assert means[0] > means[1], "rounding makes them differ"
    choice = choose(results)
    assert [c.values["rho"] for c in choice.fronts[0].members] == [0.2]
    assert choice.study_front == {("sam", (("rho", 0.2),))}


def test_a_count_of_one_image_is_no_rounding():
    samples, seeds = 10_000_000, 5
    values = np.array([[7 / (samples * seeds)], [8 / (samples * seeds)]])
    assert nondominated(comparable(values)).tolist() == [False, True]


def test_configurations_that_lack_a_seed_are_not_ranked(three: Results):
    best = with_validation(three, {0.1: (0.9, 0.5), 0.2: (0.8, 0.4), 0.4: (0.95, 0.9)})
    choice = choose(replace(best, trials=best.trials[:-1]))
    front = choice.fronts[0]
    assert [c.values["rho"] for c in front.configurations] == [0.1, 0.2, 0.4]
    assert [c.values["rho"] for c in front.members] == [0.1]
    assert front.best is not None
    assert front.best.values == {"rho": 0.1}
    assert choice.study_front == {("sam", (("rho", 0.1),))}


def test_where_every_configuration_lacks_a_seed_all_are_ranked(three: Results):
    best = with_validation(three, {0.1: (0.9, 0.5), 0.2: (0.8, 0.4), 0.4: (0.95, 0.9)})
    trials = tuple(t for t in best.trials if t.seed != 1)
    assert [c.values["rho"] for c in choose(replace(best, trials=trials)).fronts[0].members] == [
        0.4
    ]


def test_seeds_that_lack_a_member_are_not_compared(digits: Results):
    partial = tuple(t for t in digits.trials if t.method != "sam" or t.seed != 2)
    front = choose(replace(digits, trials=partial)).fronts[1]
    assert {"rho": 0.8} in [dict(c.values) for c in front.members]
    assert front.complete_seeds == (0, 1)
    slow = [
        float(
            mean_attainable_robustness(
                np.array(
                    [(t.clean, t.robust[1]) for c in front.members for t in c.trials if t.seed == s]
                ),
                0.1,
            )
        )
        for s in (0, 1)
    ]
    assert front.attainable_by_seed == tuple(slow)
    assert front.attainable == pytest.approx(np.mean(slow))


def test_a_collapsed_configuration_is_left_out_of_the_frame_and_named(digits: Results):
    choice = choose(digits)
    assert [c.values for c in left_out(choice)] == [{"epsilon": 0.25}]
    low, high, _ = frame(choice, 1)
    assert low > 0.9
    assert high <= 1.0
    assert left_out_text(choice, 1).startswith("Left of the figure: “at” ε=0.25 (6")


def test_a_front_that_spans_the_range_is_shown_whole(draw: Callable[..., Results]):
    clean = (0.99, 0.98, 0.96, 0.9, 0.8, 0.7, 0.6)
    choice = choose(draw([("at", {"epsilon": 1 - c}, c, 1.2 - c) for c in clean], noise=0.0))
    assert left_out(choice) == ()
    assert left_out_text(choice, 1) == ""
    assert frame(choice, 1)[0] < 0.62


def test_a_single_collapsed_seed_is_clipped_and_counted(draw: Callable[..., Results]):
    cells = [("at", {"epsilon": e}, 0.98 - e / 10, 0.4 + e) for e in (0.1, 0.2, 0.3)]
    results = draw(cells, noise=0.0, num_validation=2000)
    collapsed = replace(results.trials[0], clean=0.6, robust=(0.1,) * 4, bits=None)
    choice = choose(replace(results, trials=(collapsed, *results.trials[1:])))
    assert frame(choice, 1)[0] > 0.6
    assert left_out(choice) == ()
    assert left_out_text(choice, 1, with_seeds=False) == ""
    assert "Single seeds left of the figure: 1." in left_out_text(choice, 1)
