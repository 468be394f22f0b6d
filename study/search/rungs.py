"""Rungs: which configurations go on at a share of their training, by two objectives.

The rule is asynchronous. A configuration is compared at once with those that reached the rung
before it, so no trial waits for another: a sampler suggests one by one, and there is no generation
to wait for. Decisions depend on the records at a rung alone, not on their order.

Salinas, Seeger, Klein and others (2021), "A multi-objective perspective on jointly tuning hardware
and hyperparameters", arXiv 2106.05680: ranks by nondominated sorting, ties by farthest first. We
depart from it in two points: what no other dominates always goes on, and so do all while few have
reached the rung.
"""

import math
from collections.abc import Hashable, Sequence

from study.plan.stops import RungRule
from study.spec.search import DIGITS

Pair = tuple[float, float]
"""Clean and robust accuracy on validation."""

LEAST = 4
"""A rung that fewer configurations have reached stops none: half of two is chance."""


def front_ranks(values: Sequence[Pair]) -> list[int]:
    """Return the rank of each pair by nondominated sorting: 0 on the front, 1 on the next, ….

    Both objectives are maximised; equal pairs have equal ranks. N log N steps for two objectives:
    by falling clean accuracy, a front dominates a pair if its most robust member so far does.
    Jensen (2003), IEEE Trans. Evol. Comput. 7(5).

    >>> front_ranks([(0.9, 0.3), (0.8, 0.5), (0.8, 0.4)])
    [0, 0, 1]
    """
    ranks = [0] * len(values)
    tops: list[Pair] = []
    for row in sorted(range(len(values)), key=lambda row: values[row], reverse=True):
        value = values[row]
        low, high = 0, len(tops)
        while low < high:
            middle = (low + high) // 2
            # Each pair before it is as clean, so the top dominates it unless less robust or equal.
            if tops[middle][1] >= value[1] and tops[middle] != value:
                low = middle + 1
            else:
                high = middle
        ranks[row] = low
        tops[low : low + 1] = [value]
    return ranks


def farthest_first(values: Sequence[Pair]) -> list[int]:
    """Return the rows of a front by spread: the cleanest, then always the farthest from all before.

    Distances are Euclidean, each objective divided by its extent. Of equally far rows the cleaner
    one is first, so that the order depends on the values alone.

    >>> farthest_first([(0.7, 0.5), (0.79, 0.41), (0.8, 0.4), (0.9, 0.3)])
    [3, 0, 2, 1]
    """
    rows = sorted(range(len(values)), key=lambda row: values[row], reverse=True)
    extents = [max(column) - min(column) or 1.0 for column in zip(*values, strict=True)]
    distances = dict.fromkeys(rows, math.inf)
    chosen = []
    while distances:
        # The first of the largest: rows are sorted, and a dict keeps their order.
        row = max(distances, key=lambda row: round(distances[row], DIGITS))
        chosen.append(row)
        del distances[row]
        for other in distances:
            gaps = (
                (a - b) / extent
                for a, b, extent in zip(values[row], values[other], extents, strict=True)
            )
            distances[other] = min(distances[other], math.hypot(*gaps))
    return chosen


def goes_on(own: Pair, others: Sequence[Pair], keep: float) -> bool:
    """Return whether a configuration goes on, by its values and those of the others at its rung.

    It does if none of them dominates it, if it is among the first ⌈keep · n⌉ of the ranking of all
    n, or if n is below `LEAST`. Of equal pairs at the cut all go on.
    """
    if len(others) + 1 < LEAST:
        return True
    values = [own, *others]
    ranks = front_ranks(values)
    if ranks[0] == 0:
        return True
    room = math.ceil(round(keep * len(values), DIGITS)) - sum(rank < ranks[0] for rank in ranks)
    # Own comes first of its equals, as its row is the lowest and sorting is stable when reversed.
    equals = [value for value, rank in zip(values, ranks, strict=True) if rank == ranks[0]]
    return room > 0 and 0 in farthest_first(equals)[:room]


class RungRecords:
    """What is known at each rung: who reached it, with which values, and who went on.

    Configurations are compared within a group only: those of one method and schedule.
    """

    def __init__(self, rule: RungRule) -> None:
        self.rule = rule
        self._reached: dict[tuple[Hashable, int, int], dict[Hashable, Pair]] = {}
        self._decided: dict[tuple[Hashable, int], bool] = {}

    def note(
        self,
        group: Hashable,
        configuration: Hashable,
        total: int,
        epoch: int,
        values: Pair,
        went_on: bool | None,
    ) -> None:
        """Record what an earlier launch knew. `went_on`: its decision, None if it took none."""
        clean, robust = values
        if epoch in self.rule.epochs(total) and math.isfinite(clean) and math.isfinite(robust):
            pair = round(clean, DIGITS), round(robust, DIGITS)
            self._reached.setdefault((group, total, epoch), {})[configuration] = pair
        if went_on is not None:
            self._decided[configuration, epoch] = went_on

    def report(
        self, group: Hashable, configuration: Hashable, total: int, epoch: int, values: Pair
    ) -> bool:
        """Record a configuration's values at an epoch; return whether it goes on.

        It does if it went on at every rung so far. A decision that was taken stands; one that was
        lost with a launch is taken now, by what is known at that rung.
        """
        self.note(group, configuration, total, epoch, values, None)
        rungs = [rung for rung in self.rule.epochs(total) if rung <= epoch]
        return all([self._goes_on(group, configuration, total, rung) for rung in rungs])

    def _goes_on(self, group: Hashable, configuration: Hashable, total: int, rung: int) -> bool:
        """Return the decision at a rung, taken before or now."""
        decided = self._decided.get((configuration, rung))
        reached = self._reached.get((group, total, rung), {})
        if decided is None and configuration in reached:
            others = [pair for other, pair in reached.items() if other != configuration]
            decided = goes_on(reached[configuration], others, self.rule.keep)
            self._decided[configuration, rung] = decided
        # Values that are unknown, or no numbers, stop nothing.
        return decided is not False
