"""Survival curves against closed forms, and margins of whole studies."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import gamma

from analysis.document import from_plain, to_plain
from analysis.fronts.choice import choose
from analysis.inference.bootstrap import draw_replicates
from analysis.inference.survival import (
    FAMILIES,
    SurvivalName,
    cells,
    fit_survival,
    log_likelihood,
    mean_radius,
    median_radius,
    survival,
)
from analysis.responses.margins import Margin, gate, measure_margins, step_sums
from analysis.results.configurations import configurations
from analysis.results.results import Results
from analysis.results.trials import Array

Draw = Callable[..., Results]
RADII = np.array([1, 2, 4, 8, 16]) / 255
CLEAN, SCALE, SHAPE = 0.87, np.array([0.035]), np.array([1.4])


def accuracies_of(family: SurvivalName, scale: float, shape: float, clean: float = CLEAN) -> Array:
    """Give the exact accuracies (1, 1 + m) of one curve."""
    kept = survival(family, RADII, np.array([scale]), np.array([shape]))
    return clean * np.hstack([np.ones((1, 1)), kept])


def draw_counts(accuracies: Array, images: int, sets: int, seed: int) -> Array:
    """Draw accuracies (sets, 1 + m) of so many images, multinomially."""
    shares = np.concatenate([[1 - accuracies[0, 0]], cells(accuracies)[0]])
    counts = np.random.default_rng(seed).multinomial(images, shares, size=sets)
    return np.cumsum(counts[:, :0:-1], axis=1)[:, ::-1] / images


def measured(results: Results, count: int = 200) -> tuple[Margin, ...]:
    found = configurations(results)
    drawn = draw_replicates(results, found, count=count)
    return measure_margins(results, found, choose(results), drawn, drawn.default)


def test_weibull_closed_forms() -> None:
    expected = [0.83032, 0.76916, 0.62853, 0.36890, 0.09040]
    found = CLEAN * survival("weibull", RADII, SCALE, SHAPE)[0]
    np.testing.assert_allclose(found, expected, atol=5e-6)
    assert median_radius("weibull", SCALE, SHAPE)[0] == pytest.approx(0.0269384, abs=5e-8)
    assert CLEAN * mean_radius("weibull", SCALE, SHAPE)[0] == pytest.approx(0.0277528, abs=5e-8)


def test_log_logistic_closed_forms() -> None:
    two = np.array([2.0])
    assert survival("log-logistic", SCALE, SCALE, two)[0, 0] == 0.5
    assert median_radius("log-logistic", SCALE, two)[0] == SCALE[0]
    assert mean_radius("log-logistic", SCALE, two)[0] == pytest.approx(SCALE[0] * math.pi / 2)
    assert mean_radius("log-logistic", SCALE, np.array([1.0]))[0] == math.inf


def test_mean_margin_is_the_area_below_the_curve() -> None:
    grid = np.linspace(0, 2.0, 400_001)
    for family, shape in (("weibull", 1.4), ("log-logistic", 5.0)):
        area = np.trapezoid(survival(family, grid, SCALE, np.array([shape]))[0], grid)
        assert mean_radius(family, SCALE, np.array([shape]))[0] == pytest.approx(area, rel=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("scale", "shape"), [(0.035, 1.4), (0.01, 0.7), (0.05, 3.0)])
def test_exact_accuracies_return_their_parameters(
    family: SurvivalName, scale: float, shape: float
) -> None:
    fit = fit_survival(family, RADII, accuracies_of(family, scale, shape))
    assert fit.converged.all()
    assert fit.scale[0] == pytest.approx(scale, rel=1e-8)
    assert fit.shape[0] == pytest.approx(shape, rel=1e-8)


@pytest.mark.parametrize("family", FAMILIES)
def test_fisher_scoring_reaches_scipys_optimum(family: SurvivalName) -> None:
    drawn = draw_counts(accuracies_of("weibull", 0.035, 1.4), 300, 12, seed=1)
    fit = fit_survival(family, RADII, drawn)
    reached = log_likelihood(fit, RADII, drawn)
    for row in range(len(drawn)):

        def cost(theta: Array, one: Array = drawn[row : row + 1]) -> float:
            kept = survival(family, RADII, np.exp(theta[:1]), np.exp(theta[1:]))
            shares = cells(np.hstack([np.ones((1, 1)), kept]))
            return -float(np.sum(cells(one) * np.log(np.maximum(shares, 1e-300))))

        best = minimize(cost, np.log([0.03, 1.2]), method="Nelder-Mead", options={"xatol": 1e-9})
        assert -best.fun - reached[row] == pytest.approx(0.0, abs=1e-8)


def test_the_fit_from_a_nearby_one_is_the_same() -> None:
    exact = accuracies_of("weibull", 0.035, 1.4)
    drawn = draw_counts(exact, 500, 200, seed=2)
    far = fit_survival("weibull", RADII, drawn)
    near = fit_survival("weibull", RADII, drawn, fit_survival("weibull", RADII, exact))
    np.testing.assert_allclose(near.scale, far.scale, rtol=1e-6)


def test_four_steps_from_a_nearby_fit_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = accuracies_of("weibull", 0.035, 1.4)
    drawn = draw_counts(exact, 5000, 200, seed=4)
    start = fit_survival("weibull", RADII, exact)
    far = fit_survival("weibull", RADII, drawn)
    monkeypatch.setattr("analysis.inference.survival.STEPS", 4)
    near = fit_survival("weibull", RADII, drawn, start)
    assert near.converged.all()
    np.testing.assert_allclose(near.shape, far.shape, rtol=1e-6)


def test_weibull_is_recovered_within_three_standard_errors() -> None:
    drawn = draw_counts(accuracies_of("weibull", 0.035, 1.4), 10_000, 400, seed=3)
    fit = fit_survival("weibull", RADII, drawn)
    half, mean = (
        median_radius("weibull", fit.scale, fit.shape),
        fit.scale * gamma(1 + 1 / fit.shape),
    )
    known = (0.035, 1.4, 0.0269384, 0.0277528 / CLEAN)
    for values, truth in zip((fit.scale, fit.shape, half, mean), known, strict=True):
        assert abs(values.mean() - truth) < 3 * values.std() / math.sqrt(len(values)) + 2e-4 * truth
        assert np.all(np.abs(values - truth) < 5 * values.std())


@pytest.mark.parametrize("family", FAMILIES)
def test_the_likelihood_prefers_the_true_family(family: SurvivalName) -> None:
    exact = accuracies_of(family, 0.035, 1.6)
    leads = [log_likelihood(fit_survival(f, RADII, exact), RADII, exact)[0] for f in FAMILIES]
    assert FAMILIES[int(np.argmax(leads))] == family


def test_step_sums_contain_the_area() -> None:
    low, high = step_sums(RADII, accuracies_of("weibull", 0.035, 1.4)[0])
    grid = np.linspace(0, RADII[-1], 100_001)
    area = np.trapezoid(CLEAN * survival("weibull", grid, SCALE, SHAPE)[0], grid)
    assert low < area < high


@pytest.mark.parametrize(
    ("radii", "accuracies", "images", "half", "converged", "reason"),
    [
        (RADII[:2], [0.9, 0.5, 0.1], 500, 0.006, True, "2 attack radii, and a curve needs 3"),
        (RADII[:3], [0.9, 0.9, 0.5, 0.0], 500, 0.006, True, "2 of 4 steps"),
        (RADII[:3], [0.9, 0.7, 0.4, 0.1], 10, 0.006, True, "of 4 steps"),
        (RADII[:3], [0.9, 0.7, 0.4, 0.1], 500, 0.006, False, "no survival curve fits"),
        (
            RADII[:3],
            [0.9, 0.8, 0.7, 0.6],
            500,
            0.03,
            True,
            "at the largest radius 4/255 robust accuracy is still 60.0%",
        ),
        (
            RADII[:3],
            [0.9, 0.3, 0.2, 0.1],
            500,
            0.003,
            True,
            "at the smallest radius 1/255 robust accuracy is already 30.0%",
        ),
        (RADII[:3], [0.9, 0.7, 0.4, 0.1], 500, 0.006, True, ""),
    ],
    ids=["radii", "cells", "images", "unfitted", "beyond", "below", "passes"],
)
def test_each_row_of_the_gate_fails_alone(
    radii: Array, accuracies: list[float], images: int, half: float, converged: bool, reason: str
) -> None:
    said = gate(radii, np.array(accuracies), images, half, converged)
    assert reason in said
    assert bool(reason) == bool(said)


def test_the_half_radius_is_extended_by_the_misfit_over_the_slope(draw: Draw) -> None:
    results = draw([("at", {"epsilon": 0.1}, 0.95, 0.55)], num_test=4000, noise=0.005)
    (one,) = measured(results, count=400)
    assert one.fit is not None
    found = configurations(results)
    nested = np.minimum.accumulate(draw_replicates(results, found, count=400).population[:, 0], 1)
    radii, estimate = np.array(results.threat.radii), one.fit.half_radius.estimate
    draws = fit_survival("weibull", radii, nested)
    low, high = np.percentile(median_radius("weibull", draws.scale, draws.shape), (2.5, 97.5))
    scale, shape, clean = one.fit.scale.estimate, one.fit.shape.estimate, one.accuracies[0].estimate
    # Of c · exp(-(e/λ)^κ) at the half: c/2 · κ/e · ln 2.
    more = one.fit.misfit / (0.5 * clean * shape / estimate * math.log(2))
    assert estimate == pytest.approx(scale * math.log(2) ** (1 / shape))
    assert one.fit.half_radius.low == pytest.approx(low - more, abs=1e-5)
    assert one.fit.half_radius.high == pytest.approx(high + more, abs=1e-5)
    assert one.fit.misfit_errors < 1.5


def test_margins_of_a_study_recover_its_curve(draw: Draw) -> None:
    # Cells lie on c · exp(-k e²): the half radius is √(ln 2/k), with k = ln(c/r)/0.1².
    results = draw([("at", {"epsilon": 0.1}, 0.95, 0.55)], num_test=4000, noise=0.005)
    (one,) = measured(results, count=400)
    truth = math.sqrt(math.log(2) / (math.log(0.95 / 0.55) / 0.1**2))
    assert one.fit is not None
    assert one.fit.family == "weibull"
    assert one.fit.half_radius.low < truth < one.fit.half_radius.high
    assert one.fit.half_radius.estimate == pytest.approx(truth, rel=0.03)
    assert one.fit.shape.estimate == pytest.approx(2.0, abs=0.1)
    assert one.fit.misfit < 0.01
    assert one.half_between == (0.1, 0.15)
    assert one.area_low.estimate < one.area_high.estimate
    assert one.curve is not None
    assert one.curve.low[20] <= one.curve.robust[20] <= one.curve.high[20]
    assert from_plain(Margin, to_plain(one)) == one


def test_margins_of_the_digits_have_curves_for_chosen_ones_alone(digits: Results) -> None:
    found, margins = configurations(digits), measured(digits)
    assert [margin.row for margin in margins] == list(range(len(found)))
    drawn = [found[margin.row].method for margin in margins if margin.curve is not None]
    assert len(drawn) == len(set(drawn))
    assert all((margin.fit is None) == bool(margin.refusal) for margin in margins)
    assert all(bool(margin.way_out) == bool(margin.refusal) for margin in margins)


def test_many_configurations_are_fitted_only_where_they_are_drawn(
    draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("analysis.responses.margins.MOST_ROWS", 3)
    results = draw([("at", {"epsilon": 0.01 * n}, 0.9, 0.3 + 0.05 * n) for n in range(1, 6)])
    assert [margin.row for margin in measured(results, count=20)] == [4]


def test_nothing_robust_is_refused_with_its_step_sums(draw: Draw) -> None:
    results = draw([("at", {"epsilon": 0.1}, 0.9, 0.0)], noise=0.0)
    (one,) = measured(results, count=50)
    assert one.fit is None
    assert "1 of 5 steps" in one.refusal
    assert one.half_between == (0.0, 0.05)
    assert one.area_low.high < 0.001


def test_nothing_right_at_all_is_refused(draw: Draw) -> None:
    (one,) = measured(draw([("at", {"epsilon": 0.1}, 0.0, 0.0)], noise=0.0), count=50)
    assert one.fit is None
    assert one.refusal


def test_everything_robust_is_refused_and_asks_for_larger_radii(draw: Draw) -> None:
    (one,) = measured(draw([("at", {"epsilon": 0.1}, 0.99, 0.97)]), count=50)
    assert one.fit is None
    assert one.half_between == (0.2, None)
    assert one.way_out == "evaluate at larger radii, such as 0.4"


def test_one_radius_one_seed_and_no_bits_are_refused_without_warnings(draw: Draw) -> None:
    results = draw([("at", {"epsilon": 0.1}, 0.9, 0.5)], seeds=(0,), radii=(0.1,))
    results = replace(results, trials=tuple(replace(t, bits=None) for t in results.trials))
    (one,) = measured(results, count=20)
    assert "1 attack radius, and a curve needs 3" in one.refusal
    assert not one.seed_noise


def test_no_trials_have_no_margins(digits: Results) -> None:
    assert measured(replace(digits, trials=()), count=5) == ()
