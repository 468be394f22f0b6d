"""Tests of the race of seeds: chances to be on a front, and who wants a further seed."""

import numpy as np
import pytest
from scipy.stats import t as student

from analysis.fronts.pareto import on_front
from study.plan.seeds import Pair, _above_cleaner, _may_be_on_front, front_chances, wanted


def seeds_of(mean: Pair, deviation: float, number: int, seed: int) -> list[Pair]:
    drawn = np.random.default_rng(seed).normal(mean, deviation, (number, 2))
    return [(float(clean), float(robust)) for clean, robust in drawn]


def test_without_a_second_seed_chances_are_those_of_the_points() -> None:
    rows = [[(0.9, 0.1)], [(0.8, 0.3)], [(0.7, 0.2)]]
    assert front_chances(rows, ["at"] * 3).tolist() == [1, 1, 0]
    assert front_chances(rows, ["at", "at", "sam"]).tolist() == [1, 1, 1]


def test_a_chance_is_that_of_a_students_t() -> None:
    """The first is far cleaner, so the second is on the front if it is more robust."""
    first, second = [(0.9, 0.5)] * 2, [(0.5, 0.49), (0.5, 0.51)]
    rows = [first, second]
    # Only the robust accuracy has noise: s² = (0.01² + 0.01²)/2 at two degrees of freedom.
    deviation = np.sqrt(2 * 0.01**2 / 2)
    rows[1] = [(0.5, robust + 0.012) for _, robust in second]
    gap = 0.012 / np.hypot(deviation / np.sqrt(2), deviation / np.sqrt(2))
    expected = student.cdf(gap, df=2)
    found = front_chances(rows, ["at"] * 2, count=20000)
    assert found[0] == 1.0
    assert found[1] == pytest.approx(expected, abs=0.02)


def test_chances_depend_on_no_order_of_the_records() -> None:
    rows = [seeds_of((0.5 + n / 40, 0.5 - n / 50), 0.02, 1 + n % 3, n) for n in range(12)]
    methods = ["at", "sam"] * 6
    chances = front_chances(rows, methods)
    order = np.random.default_rng(1).permutation(12)
    again = front_chances([rows[row] for row in order], [methods[row] for row in order])
    assert again.tolist() == chances[order].tolist()


def test_a_sort_by_one_objective_marks_the_front_where_no_two_are_equal() -> None:
    drawn = np.random.default_rng(0).random((20, 15, 2))
    assert (_above_cleaner(drawn) == on_front(drawn)).all()


def test_what_bounds_leave_out_is_on_no_front_and_changes_none() -> None:
    rng = np.random.default_rng(0)
    for spread in (0.01, 0.1, 0.5):
        # Whole hundredths, so that some are equal.
        drawn = (rng.random((1, 30, 2)) + spread * rng.random((50, 30, 2))).round(2)
        kept = _may_be_on_front(drawn.min(axis=0), drawn.max(axis=0))
        marked = on_front(drawn)
        assert not marked[:, ~kept].any()
        assert (on_front(drawn[:, kept]) == marked[:, kept]).all()
        assert not kept.all()


def test_undecided_ones_want_seeds_before_sure_ones_and_dominated_ones_want_none() -> None:
    sure = seeds_of((0.9, 0.5), 0.002, 2, 0)
    out = seeds_of((0.5, 0.2), 0.002, 2, 1)
    close = [[(0.7, 0.6)], [(0.7005, 0.5995)], [(0.6998, 0.5999)]]
    rows, methods = [sure, out, *close], ["at"] * 5
    chances = front_chances(rows, methods)
    assert chances[0] > 0.95
    assert chances[1] < 0.05
    found = wanted(rows, methods, [1] * 5)
    assert 1 not in found
    assert found[-1] == 0
    gaps = [abs(chances[row] - 0.5) for row in found[:-1]]
    assert gaps == sorted(gaps)


def test_a_configuration_with_all_its_seeds_wants_none() -> None:
    rows = [[(0.9, 0.5)], [(0.5, 0.9)]]
    assert wanted(rows, ["at"] * 2, [0, 2]) == [1]
    assert wanted(rows, ["at"] * 2, [0, 0]) == []
    assert wanted([], [], []) == []
