"""Fits of fronts: what is recovered, what is chosen, what is refused, and the trap of q → 0."""

import json
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import least_squares
from scipy.special import expit, logit

from analysis.curves.families import FAMILIES, FamilyName
from analysis.curves.fits import CLOSE, FrontFit, corrected_criterion, fit_fronts, fit_points
from analysis.curves.fitting import (
    fit_batch,
    fit_point,
    fit_replicates,
    fit_scatter,
    normals,
    perpendicular,
    residuals,
    starts,
)
from analysis.document import from_plain, to_plain
from analysis.inference.bootstrap import Replicates, draw_replicates
from analysis.results.configurations import configurations
from analysis.results.methods import MethodNote
from analysis.results.results import Results, ThreatModel
from analysis.results.trials import TrialResult

TRUTHS: dict[FamilyName, np.ndarray] = {
    "power": np.array([logit(0.949), math.log(0.95), math.log(0.36)]),
    "superellipse": np.array([logit(0.957), logit(0.45), math.log(9.0)]),
    "ellipse": np.array([math.log(1.2), 0.9, math.log(0.8)]),
    "probit": np.array([1.5, math.log(1.1)]),
}
RANGES = {
    "power": (0.80, 0.938),
    "superellipse": (0.85, 0.95),
    "ellipse": (0.70, 0.885),
    "probit": (0.6, 0.9),
}
COVARIANCE = np.array([[4e-6, -3e-6], [-3e-6, 1.6e-5]])
SEEDS = 3


def true_points(name: FamilyName, count: int = 10) -> np.ndarray:
    clean = np.linspace(*RANGES[name], count)
    return np.stack([clean, FAMILIES[name].robust(TRUTHS[name][np.newaxis], clean)[0]], axis=1)


def noise_of(count: int) -> np.ndarray:
    return np.repeat(COVARIANCE[np.newaxis], count, axis=0)


def noisy(name: FamilyName, seed: int, count: int = 10, draws: int = 400) -> tuple:
    """Draw measured points (n, 2), their covariances, and replicates around them."""
    rng = np.random.default_rng(seed)
    points = true_points(name, count) + rng.multivariate_normal([0, 0], COVARIANCE, size=count)
    replicates = points + rng.multivariate_normal([0, 0], COVARIANCE, size=(draws, count))
    return points, noise_of(count), np.clip(replicates, 0.0, 1.0)


def fit(points: np.ndarray, covariances: np.ndarray, replicates: np.ndarray, **changes) -> FrontFit:
    settings = {
        "method": "at",
        "radius": 0.1,
        "estimand": "this test set",
        "rows": tuple(range(len(points))),
        "which": "all its configurations",
        "floor": 0.1,
        "seed": 0,
    }
    seeds = changes.pop("num_seeds", (SEEDS,) * len(points))
    return fit_points(points, covariances, replicates, seeds, **{**settings, **changes})


@pytest.mark.parametrize("name", list(TRUTHS))
def test_points_without_noise_give_back_their_curve(name: FamilyName):
    found = fit_point(FAMILIES[name], true_points(name), noise_of(10))
    np.testing.assert_allclose(found.theta, TRUTHS[name], atol=1e-6)
    assert found.sampson < 1e-9
    # The polyline's chords are not quite the curve.
    assert found.perpendicular < 1e-2


@pytest.mark.parametrize("name", list(TRUTHS))
def test_fits_at_once_cost_what_scipy_finds_one_by_one(name: FamilyName):
    family = FAMILIES[name]
    points, covariances, replicates = noisy(name, 1, draws=12)
    start = fit_point(family, points, covariances).theta
    theta, cost, converged = fit_batch(
        family, np.repeat(start[np.newaxis], 12, axis=0), replicates, covariances
    )
    assert converged.all()
    for row, replicate in enumerate(replicates):

        def errors(values: np.ndarray, measured: np.ndarray = replicate) -> np.ndarray:
            return residuals(family, values[np.newaxis], measured, covariances)[0]

        slow = least_squares(errors, start, jac="3-point", xtol=1e-12, ftol=1e-12, gtol=1e-12)
        assert cost[row] == pytest.approx(2 * slow.cost, rel=1e-8), row
        np.testing.assert_allclose(theta[row], slow.x, atol=1e-3)


def test_perpendicular_distance_is_that_of_a_slow_search_along_the_curve():
    family, theta = FAMILIES["superellipse"], TRUTHS["superellipse"]
    points, covariances, _ = noisy("superellipse", 2)
    clean = np.linspace(0.0, 0.957, 400_001)
    curve = np.stack([clean, family.robust(theta[np.newaxis], clean)[0]], axis=1)
    curve = np.vstack([curve, [[0.957, 0.0]]])
    inverse = np.linalg.inv(COVARIANCE)
    slow = 0.0
    for point in points:
        offset = curve - point
        slow += float(np.einsum("gi,ij,gj->g", offset, inverse, offset).min())
    found = float(perpendicular(family, theta[np.newaxis], points, covariances)[0])
    assert found == pytest.approx(slow, rel=2e-3)


def test_first_order_distance_equals_whitened_distance_for_small_noise():
    points, covariances, _ = noisy("power", 3)
    found = fit_point(FAMILIES["power"], points, 1e-4 * covariances)
    assert found.perpendicular > 1.0
    near = true_points("power") + 1e-2 * (points - true_points("power"))
    found = fit_point(FAMILIES["power"], near, 1e-4 * covariances)
    assert found.sampson == pytest.approx(found.perpendicular, rel=2e-2, abs=0.05)


def plain_power_errors(theta: np.ndarray, points: np.ndarray, covariances: np.ndarray):
    """Give the first-order distances of r - K (C - c)^q: wrong where the curve turns vertical."""
    end, height, shape = expit(theta[0]), math.exp(theta[1]), math.exp(theta[2])
    left = np.maximum(end - points[:, 0], 1e-9)
    slope = height * shape * left ** (shape - 1)
    variance = slope**2 * covariances[:, 0, 0] + covariances[:, 1, 1]
    return (points[:, 1] - height * left**shape) / np.sqrt(variance)


def test_the_trap_of_a_vanishing_exponent_gives_the_right_fit():
    # Seed 5: one of 13 among the first 25 at which the plain form runs to the edge of the box.
    rng, family = np.random.default_rng(5), FAMILIES["power"]
    truth = np.array([[logit(0.957), math.log(0.7), math.log(0.25)]])
    covariances = np.repeat(np.diag([0.0015**2, 0.004**2])[np.newaxis], 10, axis=0)
    clean = np.linspace(0.92, 0.955, 10)
    exact = np.stack([clean, family.robust(truth, clean)[0]], axis=1)
    points = exact + rng.multivariate_normal([0, 0], covariances[0], size=10)
    found = fit_point(family, points, covariances)

    ends = [
        least_squares(
            plain_power_errors, start, args=(points, covariances), bounds=(family.low, family.high)
        ).x
        for start in starts(family, points)
    ]
    costs = [float((plain_power_errors(end, points, covariances) ** 2).sum()) for end in ends]
    trapped = ends[int(np.argmin(costs))]
    missed = float(perpendicular(family, trapped[np.newaxis], points, covariances)[0])

    assert min(costs) < 0.6 * found.sampson
    assert math.exp(trapped[2]) < 0.101
    assert missed > 10 * found.perpendicular
    assert math.exp(found.theta[2]) == pytest.approx(0.25, abs=0.06)
    errors = family.robust(found.theta[np.newaxis], clean)[0] - exact[:, 1]
    assert np.abs(errors[:-1]).max() < 0.02
    assert found.sampson == pytest.approx(found.perpendicular, rel=0.04)


def test_aicc_of_a_known_fit_and_of_too_few_points():
    assert corrected_criterion(7.016, 10, 3) == pytest.approx(17.016, abs=1e-12)
    assert corrected_criterion(0.0, 5, 3) == 30.0
    assert corrected_criterion(0.0, 4, 3) is None


def test_replicates_that_fail_are_fitted_again_and_none_is_dropped():
    points, covariances, replicates = noisy("power", 4, draws=60)
    far = np.array([-8.0, 0.0, -1.0])
    lost = fit_batch(FAMILIES["power"], np.tile(far, (60, 1)), replicates, covariances)[2]
    assert 0 < lost.sum() < 60
    draws, converged = fit_replicates(FAMILIES["power"], far, replicates, covariances)
    near, _ = fit_replicates(
        FAMILIES["power"],
        fit_point(FAMILIES["power"], points, covariances).theta,
        replicates,
        covariances,
    )
    assert draws.shape == (60, 3)
    assert converged.all()
    np.testing.assert_allclose(draws, near, atol=1e-3)


@pytest.mark.parametrize("name", ["power", "superellipse", "ellipse"])
def test_a_front_of_a_family_is_chosen_or_close(name: FamilyName):
    found = fit(*noisy(name, 5))
    assert found.refusal == ""
    assert found.chosen == found.close[0]
    best = found.family(found.chosen).aicc
    assert found.family(name).aicc <= best + CLOSE
    assert name in found.close
    for close in found.close:
        assert found.family(close).passed
        assert found.family(close).aicc <= best + CLOSE
    assert [f.aicc for f in found.families] == sorted(f.aicc for f in found.families)


def test_the_band_holds_the_curve_and_the_curve_goes_on_to_its_end():
    found = fit(*noisy("power", 6))
    curve = found.family("power").curve
    assert curve is not None
    low, middle, high = np.array(curve.low), np.array(curve.robust), np.array(curve.high)
    assert ((low <= middle) & (middle <= high)).all()
    assert curve.beyond[0] == (curve.clean[-1], curve.robust[-1])
    assert curve.beyond[-1] == (pytest.approx(found.family("power").parameters[0]), 0.0)
    assert (np.diff(np.array(curve.beyond)[:, 0]) >= 0).all()
    attainable = found.family("power").attainable
    assert attainable is not None
    truth = FAMILIES["power"].area(TRUTHS["power"][np.newaxis], 0.1)[0] / 0.9
    assert attainable.low < truth < attainable.high


def test_the_probit_line_is_a_check_and_never_chosen():
    found = fit(*noisy("probit", 7))
    assert {f.family for f in found.families} == set(FAMILIES)
    assert found.chosen != "probit"
    assert "probit" not in found.close


def test_scatter_beyond_seed_noise_is_estimated_and_widens_the_band():
    rng = np.random.default_rng(4)
    points, covariances, replicates = noisy("power", 4, count=16)
    shifts = 0.012 * rng.standard_normal((16, 1))
    shifted = points + shifts * normals(FAMILIES["power"], TRUTHS["power"], points)
    plain = fit(points, covariances, replicates)
    found = fit(shifted, covariances, replicates + (shifted - points))
    assert plain.scatter is None
    assert found.scatter == pytest.approx(0.012, rel=0.4)
    assert found.chosen is not None

    def width(of: FrontFit) -> float:
        curve = of.family(of.chosen).curve
        return float(np.mean(np.array(curve.high) - np.array(curve.low)))

    assert width(found) > 1.5 * width(plain)


def test_a_front_whose_replicates_do_not_converge_is_refused_for_that_alone():
    rng = np.random.default_rng(2)
    points, covariances, replicates = noisy("power", 2, count=16)
    shifts = 0.012 * rng.standard_normal((16, 1))
    shifts = shifts * normals(FAMILIES["power"], TRUTHS["power"], points)
    found = fit(points + shifts, covariances, replicates + shifts)
    gate = found.family("power").gate
    assert [row.number for row in gate] == list(range(1, 9))
    assert [row.number for row in gate if not row.passed] == [6]
    assert found.family("power").curve is None
    assert "are fitted by the power family, which fits best (replicates conv" in found.refusal
    assert "required: ≥ 95%" in found.refusal


def test_scatter_of_points_with_seed_noise_only_is_next_to_nothing():
    points, covariances, _ = noisy("power", 9)
    family = FAMILIES["power"]
    small = fit_scatter(family, fit_point(family, points, covariances), points, 4 * covariances)
    assert small < 1e-3


@pytest.mark.parametrize("count", [0, 1, 2, 4])
def test_few_configurations_are_refused_with_their_number(count: int):
    found = fit(*noisy("power", 10, count=count))
    assert found.chosen is None
    assert found.families == ()
    assert f"{count} distinct configuration" in found.refusal
    assert "≥ 5" in found.refusal
    assert found.way_out


def test_equal_points_are_refused():
    points = np.repeat([[0.9, 0.3]], 8, axis=0)
    found = fit(points, noise_of(8), np.repeat(points[np.newaxis], 20, axis=0))
    assert "1 distinct configuration of 8" in found.refusal


def test_zero_robust_accuracy_is_refused():
    points = np.stack([np.linspace(0.8, 0.95, 8), np.zeros(8)], axis=1)
    found = fit(points, noise_of(8), np.repeat(points[np.newaxis], 20, axis=0))
    assert "robust span 0.0 pp" in found.refusal


def test_one_seed_is_refused():
    found = fit(*noisy("power", 11), num_seeds=(1,) * 10)
    assert "at least 1 seed each" in found.refusal
    assert found.seeds == (1, 1)


def test_a_fit_survives_being_written():
    found = fit(*noisy("power", 12))
    again = from_plain(FrontFit, json.loads(json.dumps(to_plain(found), allow_nan=False)))
    assert to_plain(again) == to_plain(found)
    assert again.chosen == found.chosen
    assert again.families[0].theta is None
    refused = fit(*noisy("power", 12, count=3))
    assert from_plain(FrontFit, to_plain(refused)) == refused


def test_a_fit_leaves_its_inputs_as_they_were():
    data = noisy("power", 13)
    before = [part.copy() for part in data]
    fit(*data)
    for part, copy in zip(data, before, strict=True):
        np.testing.assert_array_equal(part, copy)


def test_perfectly_correlated_noise_is_no_error():
    points, _, replicates = noisy("power", 14)
    singular = np.repeat(np.array([[[4e-6, 8e-6], [8e-6, 1.6e-5]]]), 10, axis=0)
    found = fit(points, singular, replicates)
    assert all(math.isfinite(family.chi2) for family in found.families)


def front_trials(method: str, name: FamilyName, count: int, seed: int) -> list[TrialResult]:
    """Draw trials whose means lie on a known front, at radii 0.1 and 0.2."""
    rng = np.random.default_rng(seed)
    trials = []
    for level, (clean, robust) in enumerate(true_points(name, count)):
        for number in range(SEEDS):
            a = float(np.clip(clean + 0.003 * rng.standard_normal(), 0, 1))
            b = float(np.clip(robust + 0.006 * rng.standard_normal(), 0, a))
            c = float(np.clip(0.5 * robust + 0.006 * rng.standard_normal(), 0, b))
            trials.append(
                TrialResult(
                    method=method,
                    values={"epsilon": 0.01 * (level + 1)},
                    seed=number,
                    clean=a,
                    robust=(b, c),
                    validation_clean=a,
                    validation_robust=b,
                    cost=7.0,
                )
            )
    return trials


@pytest.fixture(scope="module")
def study() -> Results:
    return Results(
        study="known",
        about="Fronts of known families.",
        threat=ThreatModel(
            attack="PGD-20",
            validation_attack="PGD-10",
            norm="linf",
            radii=(0.1, 0.2),
            objective_radius=0.1,
        ),
        checkpoint="best",
        num_test=10_000,
        num_validation=1000,
        clean_floor=0.1,
        seeds=tuple(range(SEEDS)),
        methods=(
            MethodNote(name="at", sides="none + pgd", searched=False),
            MethodNote(name="sam", sides="sam + none", searched=True),
            MethodNote(name="plain", sides="none + none", searched=False),
        ),
        trials=(
            *front_trials("at", "power", 10, 0),
            *front_trials("sam", "superellipse", 10, 1),
        ),
        absent=(),
        provenance={},
    )


@pytest.fixture(scope="module")
def replicates(study: Results) -> Replicates:
    return draw_replicates(study, configurations(study), count=300)


def test_a_grid_is_fitted_whole_and_a_search_through_its_members(
    study: Results, replicates: Replicates
):
    at, sam, plain = fit_fronts(study, replicates)
    assert at.points == tuple(range(10))
    assert at.which == "all its configurations"
    assert set(sam.points) < set(range(10, 20)) or len(sam.points) == 10
    assert sam.which == "the members chosen on validation"
    assert at.estimand == "this test set"
    assert at.radius == 0.1
    assert at.chosen is not None
    assert plain.points == ()
    assert plain.chosen is None
    assert "0 distinct configurations" in plain.refusal


def test_another_radius_is_fitted_at_that_radius(study: Results, replicates: Replicates):
    near, far = (fit_fronts(study, replicates, radius=radius)[0] for radius in (0.1, 0.2))
    assert far.radius == 0.2
    middles = [
        f.family(f.chosen).curve.robust[30] if f.chosen is not None else 0.0 for f in (near, far)
    ]
    assert middles[1] == pytest.approx(0.5 * middles[0], rel=0.1)


def test_members_without_validation_data_are_said_to_be_dependent(study: Results):
    trials = tuple(
        replace(trial, validation_clean=None, validation_robust=None) for trial in study.trials
    )
    results = replace(study, trials=trials, num_validation=0)
    drawn = draw_replicates(results, configurations(results), count=20)
    assert "not selected independently" in fit_fronts(results, drawn)[1].which


def test_a_study_without_trials_has_refusals_only(study: Results):
    results = replace(study, trials=())
    drawn = draw_replicates(results, (), count=20)
    found = fit_fronts(results, drawn)
    assert [f.chosen for f in found] == [None, None, None]


def test_the_digits_study_gets_refusals_or_curves_and_no_warning(digits: Results):
    drawn = draw_replicates(digits, configurations(digits), count=100)
    for estimand in drawn.estimands:
        for radius in digits.threat.radii:
            for found in fit_fronts(digits, drawn, radius=radius, estimand=estimand):
                assert (found.chosen is None) == bool(found.refusal)
                to_plain(found)


def test_trials_drawn_by_the_shared_fixture_can_be_fitted(draw: Callable[..., Results]):
    cells = [
        ("at", {"epsilon": 0.01 * level}, float(clean), float(robust))
        for level, (clean, robust) in enumerate(true_points("power"), 1)
    ]
    results = draw(cells, num_test=2000, noise=0.01)
    drawn = draw_replicates(results, configurations(results), count=100)
    (found,) = fit_fronts(results, drawn)
    assert found.estimand == "population"
    assert found.chosen is not None or found.refusal


def test_every_start_lies_inside_its_box():
    for family in FAMILIES.values():
        for points in (true_points("power"), np.array([[1.0, 1.0], [0.999, 0.0]])):
            start = starts(family, points)
            assert (start > family.low).all()
            assert (start < family.high).all()
