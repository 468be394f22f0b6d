"""Tests of rungs: ranking by two objectives, and decisions that depend on the records alone."""

import math
import random

import numpy as np

from analysis.fronts.pareto import nondominated
from study.search.rungs import (
    LEAST,
    Pair,
    RungRecords,
    RungRule,
    farthest_first,
    front_ranks,
    goes_on,
)

RULE = RungRule(shares=(0.2, 0.5), keep=0.5)


def drawn(seed: int, number: int, levels: int = 7) -> list[Pair]:
    """Draw pairs on a coarse grid, so that many objectives and some pairs are equal."""
    rng = random.Random(seed)
    return [(rng.randrange(levels) / levels, rng.randrange(levels) / levels) for _ in range(number)]


def peeled(values: list[Pair]) -> list[int]:
    """Return the ranks by removing one front after another."""
    ranks, left = [-1] * len(values), list(range(len(values)))
    for rank in range(len(values)):
        if left:
            kept = nondominated(np.array([values[row] for row in left]))
            for row, is_kept in zip(tuple(left), kept, strict=True):
                if is_kept:
                    ranks[row] = rank
                    left.remove(row)
    return ranks


def test_ranks_are_those_of_removing_one_front_after_another() -> None:
    for seed in range(40):
        values = drawn(seed, 1 + seed)
        assert front_ranks(values) == peeled(values), f"seed {seed}"


def test_each_of_a_front_by_spread_is_the_farthest_from_those_before() -> None:
    values = [(clean / 10, 1 - (clean / 10) ** 2) for clean in (0, 1, 2, 3, 5, 8, 9, 10)]
    order = farthest_first(values)
    assert order[:2] == [7, 0]  # the cleanest, then the other end
    for place in range(2, len(values)):
        before = [values[row] for row in order[:place]]
        nearest = {row: min(math.dist(values[row], one) for one in before) for row in order[place:]}
        assert nearest[order[place]] == max(nearest.values())


def test_spread_is_the_same_in_another_unit() -> None:
    values = [(0.9, 0.1), (0.8, 0.3), (0.5, 0.35), (0.2, 0.6), (0.1, 0.61)]
    smaller = [(clean, robust / 100) for clean, robust in values]
    assert farthest_first(values) == farthest_first(smaller)


def test_what_nothing_dominates_goes_on() -> None:
    for seed in range(20):
        values = drawn(seed, 15)
        for row, rank in enumerate(front_ranks(values)):
            others = values[:row] + values[row + 1 :]
            if rank == 0:
                assert goes_on(values[row], others, 0.01), f"seed {seed}"


def test_the_first_half_of_a_chain_goes_on() -> None:
    chain = [(place / 10, place / 10) for place in range(10)]
    decisions = [goes_on(one, [other for other in chain if other != one], 0.5) for one in chain]
    assert decisions == [False] * 5 + [True] * 5


def test_of_a_front_at_the_cut_the_spread_ones_go_on() -> None:
    best = [(0.9, 0.9)]
    front = [(0.8, 0.1), (0.79, 0.11), (0.5, 0.5), (0.1, 0.8)]
    values = best + front  # three of five: the best, and two of the next front
    decisions = [goes_on(one, [other for other in values if other != one], 0.6) for one in front]
    assert decisions == [True, False, False, True]


def test_no_rung_with_few_configurations_stops_any() -> None:
    records = RungRecords(RULE)
    falling = [(0.9 - place / 10, 0.9 - place / 10) for place in range(LEAST)]
    decisions = [records.report("at", place, 20, 4, one) for place, one in enumerate(falling)]
    assert decisions == [True] * (LEAST - 1) + [False]


def test_decisions_are_the_same_after_a_relaunch_for_the_same_records() -> None:
    values = drawn(3, 30, levels=100)
    records = RungRecords(RULE)
    first = {place: records.report("at", place, 20, 4, one) for place, one in enumerate(values)}
    assert set(first.values()) == {True, False}
    shuffled = list(enumerate(values))
    random.Random(0).shuffle(shuffled)
    # What was decided stands, although most would now be compared with more.
    relaunched = RungRecords(RULE)
    for place, one in shuffled:
        relaunched.note("at", place, 20, 4, one, first[place])
    assert first == {place: relaunched.report("at", place, 20, 4, one) for place, one in shuffled}
    # And one whose decision was lost is decided by the records, whatever their order.
    for place, one in enumerate(values):
        again = [RungRecords(RULE), RungRecords(RULE)]
        for some, known in zip(again, (list(enumerate(values)), shuffled), strict=True):
            for other, pair in known:
                some.note("at", other, 20, 4, pair, None)
        assert again[0].report("at", place, 20, 4, one) == again[1].report("at", place, 20, 4, one)


def test_only_the_same_share_of_the_same_schedule_is_compared() -> None:
    records = RungRecords(RULE)
    for place in range(9):
        records.note("at", place, 20, 4, (0.9, 0.9), None)
    assert not records.report("at", "low", 20, 4, (0.1, 0.1))
    assert records.report("sam", "other method", 20, 4, (0.1, 0.1))
    assert records.report("at", "longer", 40, 8, (0.1, 0.1))
    assert records.report("at", "later", 20, 10, (0.1, 0.1))
    assert records.report("at", "between", 20, 5, (0.1, 0.1))


def test_numbers_that_are_none_stop_nothing() -> None:
    records = RungRecords(RULE)
    for place in range(9):
        records.note("at", place, 20, 4, (0.9, 0.9), None)
    assert records.report("at", "nan", 20, 4, (math.nan, 0.1))


def test_rungs_lie_within_the_training() -> None:
    assert RULE.epochs(20) == (4, 10)
    assert RULE.epochs(15) == (3, 8)
    assert RULE.epochs(2) == (1,)
    assert RULE.epochs(1) == ()
