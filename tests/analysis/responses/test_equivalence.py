"""The training ε that a ρ is worth, against curves whose inverse is known."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.interpolate import PchipInterpolator
from scipy.optimize import brentq

from analysis.document import from_plain, to_plain
from analysis.inference.bootstrap import Replicates, draw_replicates
from analysis.inference.monotone import invert
from analysis.responses.equivalence import (
    Equivalence,
    fit_slope,
    measure_equivalences,
    order_interval,
    runs_of,
)
from analysis.results.configurations import configurations
from analysis.results.results import Results
from analysis.results.trials import Array

Draw = Callable[..., Results]
SIDES = {"standard": "none", "sam": "sam", "at": "pgd"}
LEVELS = (0.01, 0.02, 0.04, 0.08)


def replicates_of(means: Array, error: float, count: int = 400, seed: int = 0) -> Replicates:
    """Draw replicates with independent Gaussian noise of one standard error."""
    noise = error * np.random.default_rng(seed).standard_normal((count, *means.shape))
    return Replicates(
        seed=seed,
        means=means,
        this_test_set=np.clip(means + noise, 0.0, 1.0),
        population=None,
        covariances=error**2 * np.tile(np.eye(means.shape[1]), (len(means), 1, 1)),
        num_seeds=(3,) * len(means),
        pooled_over_methods=False,
        variance_explained_by_seed=None,
    )


def measure(
    draw: Draw,
    sam: dict[float, float],
    at: dict[float, float],
    *,
    standard: float | None = 0.1,
    error: float = 0.004,
) -> Equivalence:
    """Measure one SAM method against one adversarial training of known robust accuracies."""
    cells = [] if standard is None else [("standard", {}, 0.99, standard)]
    cells += [("sam", {"rho": rho}, 0.99, robust) for rho, robust in sam.items()]
    cells += [("at", {"epsilon": epsilon}, 0.98, robust) for epsilon, robust in at.items()]
    results = draw(cells, seeds=(0,), num_test=50, radii=(0.1,), sides=SIDES)
    found = configurations(results)
    known = {(c[0], *c[1].values()): c[2:] for c in cells}
    means = np.array([known[c.method, *c.values.values()] for c in found])
    drawn = replicates_of(means, error)
    (one,) = measure_equivalences(results, found, drawn, 0.1, "this test set")
    assert from_plain(Equivalence, to_plain(one)) == one
    return one


def saturating(epsilon: float) -> float:
    return 0.1 + 0.7 * (1.0 - math.exp(-epsilon / 0.05))


def test_a_level_of_the_curve_returns_that_level(draw: Draw) -> None:
    at = {level: saturating(level) for level in LEVELS}
    one = measure(draw, {0.1: at[0.02], 0.2: at[0.04]}, at)
    for value, level in zip(one.values, (0.02, 0.04), strict=True):
        assert value.status == "claimed"
        assert value.epsilon is not None
        assert value.epsilon.estimate == pytest.approx(level, rel=1e-12)
        assert value.epsilon.low < level < value.epsilon.high


def test_six_rho_squared_has_slope_two(draw: Draw) -> None:
    at = {level: saturating(level) for level in (*LEVELS, 0.16)}
    sam = {math.sqrt(level / 6): at[level] for level in (0.02, 0.04, 0.08)}
    one = measure(draw, sam, at)
    assert one.slope is not None
    assert one.slope.value.estimate == pytest.approx(2.0, abs=1e-9)
    assert one.slope.verdict == "consistent with 2"
    assert one.slope.range == pytest.approx((math.sqrt(0.02 / 6), math.sqrt(0.08 / 6)))


def test_another_power_differs_from_two(draw: Draw) -> None:
    at = {level: saturating(level) for level in (*LEVELS, 0.16)}
    one = measure(draw, {3 * level: at[level] for level in (0.02, 0.04, 0.08)}, at)
    assert one.slope is not None
    assert one.slope.value.estimate == pytest.approx(1.0, abs=1e-9)
    assert one.slope.verdict == "differs from 2"


def test_a_wide_slope_tells_nothing(draw: Draw) -> None:
    at = {level: 0.3 + 0.12 * math.log2(level / 0.01) for level in (*LEVELS, 0.16, 0.32)}
    sam = {rho: 0.5 + 0.24 * math.log2(rho / 0.1) for rho in (0.08, 0.1, 0.16)}
    one = measure(draw, sam, at, error=0.03)
    assert one.slope is not None
    assert one.slope.verdict == "cannot tell"
    assert one.slope.value.high - one.slope.value.low >= 1.0


@pytest.mark.parametrize("count", [2, 3])
def test_a_slope_is_refused_without_three_values_or_a_factor_two(draw: Draw, count: int) -> None:
    at = {level: saturating(level) for level in LEVELS}
    sam = {0.1 * 1.2**n: saturating(0.02 + 0.01 * n) for n in range(count)}
    one = measure(draw, sam, at)
    assert one.slope is None
    expected = "2 values of ε" if count == 2 else "ρ spans only a factor 1.4"
    assert expected in one.refusal


def test_a_rho_beyond_the_most_robust_one_takes_no_part_in_the_slope(draw: Draw) -> None:
    at = {level: saturating(level) for level in (*LEVELS, 0.16)}
    sam = {math.sqrt(level / 6): at[level] for level in (0.02, 0.04, 0.08)} | {0.4: at[0.02]}
    one = measure(draw, sam, at)
    assert one.slope is not None
    assert one.slope.value.estimate == pytest.approx(2.0, abs=1e-9)
    assert one.slope.rows == tuple(value.row for value in one.values[:3])


def test_below_the_first_level_only_a_bracket_is_given(draw: Draw) -> None:
    at = {level: saturating(level) for level in LEVELS}
    (value,) = measure(draw, {0.1: saturating(0.004)}, at).values
    assert (value.status, value.place, value.epsilon) == ("bracketed", "below", None)
    assert (value.floor, value.ceiling, value.next_level) == (None, 0.01, 0.005)


def test_less_robust_than_standard_is_below_too(draw: Draw) -> None:
    at = {level: saturating(level) for level in LEVELS}
    (value,) = measure(draw, {0.1: 0.05}, at).values
    assert (value.place, value.ceiling, value.inside) == ("below", 0.01, 0.0)


def test_above_every_level_asks_for_a_larger_one(draw: Draw) -> None:
    at = {level: saturating(level) for level in LEVELS}
    (value,) = measure(draw, {0.1: 0.9}, at).values
    assert (value.status, value.place) == ("bracketed", "above")
    assert (value.floor, value.ceiling, value.next_level) == (0.08, None, 0.16)


def test_above_a_peak_no_level_helps(draw: Draw) -> None:
    at = {level: saturating(level) for level in LEVELS} | {0.16: 0.4}
    one = measure(draw, {0.1: 0.9}, at)
    assert one.left_out == (0.16,)
    assert one.levels[-1] == 0.08
    assert (one.values[0].place, one.values[0].next_level) == ("above", None)


def test_a_gap_wider_than_a_factor_two_gives_a_bracket_and_its_middle(draw: Draw) -> None:
    at = {level: saturating(level) for level in (0.01, 0.02, 0.08)}
    (value,) = measure(draw, {0.1: saturating(0.04)}, at).values
    assert (value.place, value.floor, value.ceiling) == ("between", 0.02, 0.08)
    assert value.next_level == pytest.approx(0.04)


def test_without_standard_training_the_curve_starts_at_the_first_level(draw: Draw) -> None:
    at = {level: saturating(level) for level in LEVELS}
    one = measure(draw, {0.1: saturating(0.03), 0.2: 0.12}, at, standard=None)
    assert one.levels == LEVELS
    assert [value.status for value in one.values] == ["claimed", "bracketed"]


def test_noise_that_reverses_two_levels_is_made_monotone(draw: Draw) -> None:
    one = measure(draw, {0.1: 0.45}, {0.01: 0.3, 0.02: 0.5, 0.04: 0.4, 0.08: 0.7}, error=1e-4)
    assert one.fitted == pytest.approx((0.1, 0.3, 0.45, 0.45, 0.7), abs=0.01)
    assert one.values[0].epsilon is None or 0.01 < one.values[0].epsilon.estimate < 0.08


def test_adversarial_training_that_never_helps_leaves_its_levels_out(draw: Draw) -> None:
    one = measure(draw, {0.1: 0.3}, {0.01: 0.09, 0.02: 0.05})
    assert one.levels == (0.0,)
    assert one.left_out == (0.01, 0.02)
    assert (one.values[0].place, one.values[0].next_level) == ("above", None)


def test_the_interval_contains_those_of_both_ways_to_join(draw: Draw) -> None:
    at = {level: saturating(level) for level in LEVELS}
    one = measure(draw, {0.1: saturating(0.06)}, at, error=1e-5)
    epsilon = one.values[0].epsilon
    assert epsilon is not None
    x, y = (0.0, *LEVELS), [saturating(level) for level in (0.0, *LEVELS)]
    linear = float(np.interp(saturating(0.06), y, x))
    assert epsilon.low < min(linear, epsilon.estimate)
    assert epsilon.high > max(linear, epsilon.estimate)
    assert abs(linear - epsilon.estimate) > 1e-4


def test_zero_accuracies_and_equal_points_leave_no_value(draw: Draw) -> None:
    one = measure(draw, {0.1: 0.0}, {0.01: 0.0, 0.02: 0.0}, standard=0.0, error=0.0)
    assert [value.status for value in one.values] == ["bracketed"]


def test_real_replicates_give_one_comparison_for_each_estimand(digits: Results) -> None:
    found = configurations(digits)
    drawn = draw_replicates(digits, found, count=200)
    for estimand in drawn.estimands:
        (one,) = measure_equivalences(digits, found, drawn, 0.1, estimand)
        assert (one.sam, one.adversarial, one.estimand) == ("sam", "at", estimand)
        assert [value.rho for value in one.values] == [0.1, 0.2, 0.4, 0.8]
        assert one.left_out == (0.2, 0.25)


def test_no_trials_and_no_sam_give_nothing(draw: Draw, digits: Results) -> None:
    empty = replace(digits, trials=())
    drawn = draw_replicates(empty, (), count=10)
    assert measure_equivalences(empty, (), drawn, 0.1, "this test set") == ()
    alone = draw([("at", {"epsilon": e}, 0.9, 0.5) for e in LEVELS], sides=SIDES)
    found = configurations(alone)
    drawn = draw_replicates(alone, found, count=10)
    assert measure_equivalences(alone, found, drawn, 0.1, drawn.default) == ()


@pytest.mark.parametrize("seed", range(5))
def test_inversion_equals_a_search_on_scipys_curve(seed: int) -> None:
    rng = np.random.default_rng(seed)
    levels = np.cumsum(rng.random(6) + 0.05)
    heights = np.cumsum(rng.random((40, 6)) ** 3, axis=1)
    targets = heights[:, :1] + rng.random((40, 7)) * (heights[:, -1:] - heights[:, :1])
    found = invert(levels, heights, targets, "pchip")
    for row in range(40):
        curve = PchipInterpolator(levels, heights[row])
        for goal, at in zip(targets[row], found[row], strict=True):
            expected = brentq(lambda x, f=curve, y=goal: f(x) - y, levels[0], levels[-1])
            assert curve(at) == pytest.approx(goal, abs=1e-12)
            assert at == pytest.approx(expected, abs=1e-6)
        linear = np.interp(targets[row], heights[row], levels)
        np.testing.assert_allclose(
            invert(levels, heights[row : row + 1], targets[row : row + 1], "linear")[0],
            linear,
            rtol=1e-12,
        )


def test_a_flat_piece_gives_its_midpoint() -> None:
    levels, heights = np.array([0.0, 1.0, 3.0, 4.0]), np.array([[0.1, 0.5, 0.5, 0.9]])
    for join in ("pchip", "linear"):
        assert invert(levels, heights, np.array([[0.5]]), join)[0, 0] == 2.0


def test_one_level_is_below_at_or_above() -> None:
    found = invert(np.array([2.0]), np.array([[0.5]]), np.array([[0.4, 0.5, 0.6]]), "pchip")
    np.testing.assert_array_equal(found, [[0.0, 2.0, np.inf]])


def test_the_slope_weighs_each_value_by_its_variance() -> None:
    rng = np.random.default_rng(0)
    x, errors = np.log([0.1, 0.2, 0.4]), np.array([0.01, 0.02, 0.2])
    y = np.array([-4.0, -2.7, -0.9])
    drawn = np.vstack([y, y + errors * rng.standard_normal((1000, 3))])
    limits = np.tile([1e-9, 1e9], (3, 1))
    both = {"pchip": np.exp(drawn), "linear": np.exp(drawn)}
    slope, refusal = fit_slope(np.exp(x), both, limits, (0, 1, 2))
    assert slope is not None
    assert refusal == ""
    expected = np.polyfit(x, y, 1, w=1 / drawn[1:].std(axis=0))[0]
    assert slope.value.estimate == pytest.approx(expected, rel=1e-9)


def test_runs_break_where_a_ratio_exceeds_two() -> None:
    assert runs_of([0.0, 0.05, 0.1, 0.2]) == ((0.05, 0.2),)
    assert runs_of([0.01, 0.03, 0.05]) == ((0.03, 0.05),)
    assert runs_of([0.0, 0.1]) == ()


def test_an_order_interval_may_end_at_infinity() -> None:
    draws = np.array([0.0, *([1.0] * 37), np.inf, np.inf])
    assert order_interval(draws) == (0.0, np.inf)
