"""Equal tuning effort: exact expectations over subsets, and what is said of them."""

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest

from analysis.analysing import analyse
from analysis.findings.optimism import effort_findings
from analysis.fronts.effort import (
    EffortContrast,
    EffortPoint,
    layer_areas,
    repeated_weights,
    subset_weights,
)
from analysis.fronts.pareto import mean_attainable_robustness
from analysis.inference.claims import Interval
from analysis.report.front_tables import effort_table
from analysis.results.results import Results

Draw = Callable[..., Results]
SIDES = {"at": "none + pgd", "sam": "sam + none"}
AT = [("at", {"epsilon": 0.01 * i}, 0.97 - 0.01 * i, 0.40 + 0.03 * i) for i in range(1, 13)]
SAM = [("sam", {"rho": 0.1 * i}, 0.93 - 0.01 * i, 0.20 + 0.02 * i) for i in range(1, 5)]
FLOOR = 0.3


@pytest.mark.parametrize("count", [1, 2, 5, 7])
def test_the_expectation_over_subsets_is_that_of_an_enumeration(count: int) -> None:
    points = np.random.default_rng(count).random((3, count, 2))
    if count == 5:  # copies, a tie in clean accuracy, nothing robust, and one below the floor
        points[:, 1], points[:, 2, 0], points[:, 3, 1] = points[:, 0], points[:, 4, 0], 0.0
        points[0, 4, 0] = 0.1
    layers = layer_areas(points, FLOOR)
    for tries in range(1, count + 1):
        listed = [
            mean_attainable_robustness(points[:, list(some)], FLOOR)
            for some in combinations(range(count), tries)
        ]
        found = layers @ subset_weights(count, [tries])[0]
        np.testing.assert_allclose(found, np.mean(listed, axis=0), atol=1e-14)
        if count < 7:
            again = [
                mean_attainable_robustness(points[:, list(some)], FLOOR)
                for some in product(range(count), repeat=tries)
            ]
            found = layers @ repeated_weights(count, [tries])[0]
            np.testing.assert_allclose(found, np.mean(again, axis=0), atol=1e-14)


def effort(sides: list[int], configurations: tuple[int, int] = (4, 4)) -> EffortContrast:
    """Make a contrast in which the first method is ahead where a side is 1."""
    some = Interval(estimate=0.5, low=0.4, high=0.6)
    return EffortContrast(
        first="at",
        second="sam",
        radius=0.1,
        estimand="population",
        configurations=configurations,
        attained=(0.55, 0.5),
        points=tuple(
            EffortPoint(
                tries=number,
                first=some,
                second=some,
                difference=Interval(estimate=0.1 * side, low=-0.1, high=0.2),
                adjusted_low=0.1 * side - 0.05,
                adjusted_high=0.1 * side + 0.05,
                ahead=side,
            )
            for number, side in enumerate(sides, start=1)
        ),
    )


SAID = {
    "always": ([1, 1, 1, 1], "“at” is ahead of “sam” at every number up to 4 tries. After 4"),
    "from some on": ([0, 0, 1, 1], "“at” is ahead of “sam” only from 3 tries on. After 4"),
    "both": (
        [1, 0, 0, -1],
        "“sam” is ahead of “at” only from 4 tries on, while “at” is ahead up to 1. After 4",
    ),
    "up to some": ([1, 1, 0, 0], "“at” is ahead of “sam” with 2 tries, but not with more. After 2"),
    "never": ([0, 0, 0, 0], "“at” and “sam” are not separated at any number up to 4 tries. After"),
}


@pytest.mark.parametrize(("sides", "says"), SAID.values(), ids=SAID)
def test_it_is_said_from_which_number_of_tries_on_a_method_is_ahead(
    sides: list[int], says: str, draw: Draw
) -> None:
    results = draw(AT[:4] + SAM, sides=SIDES, num_test=20)
    (finding,) = effort_findings(results, [effort(sides)])
    assert f"At equal numbers of tries, {says}" in finding.text
    assert finding.status == ("claimed" if any(sides) else "bracketed")
    assert "tuned more" not in finding.text


def test_a_method_that_was_tuned_more_is_compared_at_equal_numbers(draw: Draw) -> None:
    results = draw(AT + SAM, sides=SIDES, searched=("at",))
    analysis = analyse(results, replicates=200)
    (one,) = analysis.efforts
    assert (one.first, one.second, one.configurations) == ("at", "sam", (12, 4))
    assert [point.tries for point in one.points] == [1, 2, 3, 4]
    assert all(point.ahead == 1 for point in one.points)
    (finding,) = effort_findings(results, analysis.efforts)
    assert (
        "“at” was tuned more, in 12 configurations against 4: with all of them it" in finding.text
    )
    assert "“at” was searched: tries are drawn as if none had learnt" in finding.text
    assert len(effort_table(analysis).rows) == 4
    few = replace(results, trials=tuple(t for t in results.trials if t.values.get("rho") != 0.1))
    assert analyse(few, replicates=20).efforts == ()


def test_with_all_tries_a_grid_attains_what_its_front_does(draw: Draw) -> None:
    analysis = analyse(draw(AT[:5] + SAM, sides=SIDES), replicates=50)
    values = {one.method: one.value.estimate for one in analysis.primary.contrasts.hypervolumes}
    (one,) = analysis.efforts
    assert one.attained == pytest.approx((values["at"], values["sam"]), abs=1e-12)
    assert one.points[-1].second.estimate == pytest.approx(values["sam"], abs=1e-12)
