"""Families against closed forms: heights, areas, rates, and the curves they are drawn as."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import logit, ndtr, ndtri

from analysis.curves.families import FAMILIES, POLYLINE, FamilyName
from analysis.fronts.pareto import hypervolume
from analysis.inference.monotone import concave_fit

TRUTHS: dict[FamilyName, np.ndarray] = {
    "power": np.array([logit(0.949), math.log(0.95), math.log(0.36)]),
    "superellipse": np.array([logit(0.95), logit(0.55), math.log(4.0)]),
    "ellipse": np.array([math.log(1.2), 0.9, math.log(0.8)]),
    "probit": np.array([1.5, math.log(1.1)]),
}
EVERY = pytest.mark.parametrize("name", list(TRUTHS))


def of(name: FamilyName, quantity: str, *arguments: object) -> np.ndarray:
    return getattr(FAMILIES[name], quantity)(TRUTHS[name][np.newaxis], *arguments)[0]


@pytest.mark.parametrize(
    ("shape", "area"), [(1, 0.26125), (2, 0.4103705), (4, 0.4843770), (9, 0.5134365)]
)
def test_area_of_a_superellipse(shape: float, area: float):
    theta = np.array([[logit(0.95), logit(0.55), math.log(shape)]])
    assert FAMILIES["superellipse"].area(theta, 0.0)[0] == pytest.approx(area, abs=1e-7)


def test_area_of_a_superellipse_from_a_floor():
    assert of("superellipse", "area", 0.7) == pytest.approx(0.1054494, abs=1e-7)


def test_area_of_a_superellipse_is_that_of_a_fine_staircase():
    clean = np.linspace(0.0, 0.95, 20_001)
    points = np.stack([clean, of("superellipse", "robust", clean)], axis=1)
    stairs = float(hypervolume(points, (0.0, 0.0)))
    assert stairs == pytest.approx(float(of("superellipse", "area", 0.0)), rel=5e-5)


def test_height_rate_and_area_of_a_power_curve():
    at = np.array([0.88])
    assert of("power", "robust", at)[0] == pytest.approx(0.3628351, abs=1e-7)
    assert of("power", "rate", at)[0] == pytest.approx(1.8930526, abs=1e-7)
    assert of("power", "area", 0.7) == pytest.approx(0.1054425, abs=1e-7)


def gaussian_toy() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give Q, its θ and (clean, robust) of linear classifiers on means (1.2, .25√60) at angles."""
    first, second, radius = 1.2, 0.25 * math.sqrt(60), 0.15
    angles = np.array([0.3, 0.8])
    margin = first * np.cos(angles) + second * np.sin(angles)
    loss = radius * (np.cos(angles) + math.sqrt(60) * np.sin(angles))
    points = np.stack([ndtr(margin), ndtr(margin - loss)], axis=1)
    # w = M (cos, sin), so wᵀ Q w = 1 with Q = (M Mᵀ)⁻¹.
    matrix = np.array([[first, second], [first - radius, second - radius * math.sqrt(60)]])
    Q = np.linalg.inv(matrix @ matrix.T)
    lower = np.linalg.cholesky(Q)
    theta = np.array([math.log(lower[0, 0]), lower[1, 0], math.log(lower[1, 1])])
    return Q, theta, points


def test_linear_classifiers_of_gaussians_lie_on_an_ellipse():
    Q, theta, points = gaussian_toy()
    np.testing.assert_allclose(Q, [[1.397353, -2.265312], [-2.265312, 4.259772]], atol=1e-6)
    np.testing.assert_allclose(points, [[0.9571633, 0.8910278], [0.9869662, 0.9009883]], atol=1e-7)
    value, _, _ = FAMILIES["ellipse"].implicit(theta[np.newaxis], *points.T)
    assert np.abs(value).max() < 1e-12


def test_the_arc_of_an_ellipse_runs_from_its_top_to_its_end():
    _, theta, points = gaussian_toy()
    ellipse = FAMILIES["ellipse"]
    curve = ellipse.polyline(theta[np.newaxis])[0]
    top, end = curve[-2], curve[1]
    assert ndtri(top[1]) == pytest.approx(1.3047988, abs=1e-6)
    assert ndtri(end[0]) == pytest.approx(2.2781571, abs=1e-6)
    heights = ellipse.robust(theta[np.newaxis], np.array([*points[:, 0], end[0] + 1e-4, 0.5]))[0]
    # Angle .3 lies left of the top, where f is flat; angle .8 lies on the arc.
    assert heights[0] == pytest.approx(top[1], abs=1e-12)
    assert heights[1] == pytest.approx(points[1, 1], abs=1e-7)
    assert heights[2] == 0.0
    assert heights[3] == pytest.approx(top[1], abs=1e-12)


@EVERY
def test_areas_are_those_of_numerical_integration(name: FamilyName):
    def height(clean: float) -> float:
        return float(of(name, "robust", np.array([clean]))[0])

    ends = sorted({float(c) for c in of(name, "polyline")[[1, -2], 0] if 0.1 < c < 1})
    edges = [0.1, *ends, 1.0]
    area = sum(quad(height, a, b, limit=200)[0] for a, b in pairwise(edges))
    assert float(of(name, "area", 0.1)) == pytest.approx(area, abs=2e-7)


@EVERY
def test_rates_are_slopes(name: FamilyName):
    # Between the top of the ellipse and the ends of all curves.
    end = min(float(of(name, "polyline")[1, 0]), 0.97)
    clean, step = np.linspace(0.5, end - 0.005, 20), 1e-6
    slope = (of(name, "robust", clean - step) - of(name, "robust", clean + step)) / (2 * step)
    np.testing.assert_allclose(of(name, "rate", clean), slope, rtol=1e-4, atol=1e-9)


@EVERY
def test_gradients_are_slopes_of_the_implicit_form(name: FamilyName):
    family, theta = FAMILIES[name], TRUTHS[name][np.newaxis]
    rng, step = np.random.default_rng(0), 1e-6
    clean, robust = rng.uniform(0.6, 0.99, 30), rng.uniform(0.05, 0.6, 30)
    _, by_clean, by_robust = family.implicit(theta, clean, robust)
    up, down = (family.implicit(theta, clean + s, robust)[0] for s in (step, -step))
    np.testing.assert_allclose(by_clean, (up - down) / (2 * step), rtol=1e-4, atol=1e-6)
    up, down = (family.implicit(theta, clean, robust + s)[0] for s in (step, -step))
    np.testing.assert_allclose(by_robust, (up - down) / (2 * step), rtol=1e-4, atol=1e-6)


@EVERY
def test_the_polyline_lies_on_the_curve(name: FamilyName):
    curve = of(name, "polyline")
    assert curve.shape == (POLYLINE, 2)
    assert (np.diff(curve[:, 0]) <= 1e-12).all()
    assert (np.diff(curve[:, 1]) >= -1e-12).all()
    inner = curve[2:-2]
    np.testing.assert_allclose(of(name, "robust", inner[:, 0]), inner[:, 1], atol=1e-6)


@EVERY
def test_curves_never_rise_and_are_never_nan_anywhere_in_the_box(name: FamilyName):
    family = FAMILIES[name]
    rng = np.random.default_rng(1)
    theta = rng.uniform(family.low, family.high, (300, len(family.low)))
    clean = np.concatenate([[0.0], rng.uniform(0, 1, 40), [1.0]])
    clean.sort()
    heights = family.robust(theta, clean)
    assert np.isfinite(heights).all()
    assert (heights >= 0).all()
    assert (np.diff(heights, axis=1) <= 1e-9 * np.maximum(heights[:, :-1], 1)).all()
    rates = family.rate(theta, clean)
    assert not np.isnan(rates).any()
    assert (rates >= 0).all()
    assert np.isfinite(family.area(theta, 0.1)).all()
    assert np.isfinite(family.polyline(theta)).all()
    for part in family.implicit(theta, rng.uniform(0, 1, 42), np.zeros(42)):
        assert np.isfinite(part).all()


@EVERY
def test_a_curve_is_zero_beyond_its_end(name: FamilyName):
    if name == "probit":
        pytest.skip("a line in (u, v) has no end")
    end = float(of(name, "polyline")[0, 0])
    beyond = np.array([end + 1e-6, 1.0])
    assert (of(name, "robust", beyond) == 0).all()
    assert np.isinf(of(name, "rate", beyond)).all()


def covariances(count: int) -> np.ndarray:
    return np.repeat(1e-5 * np.eye(2)[np.newaxis], count, axis=0)


def test_the_concave_fit_goes_through_concave_points():
    clean = np.linspace(0.8, 0.94, 8)
    points = np.stack([clean, of("power", "robust", clean)], axis=1)
    np.testing.assert_allclose(concave_fit(points, covariances(8)), points, atol=1e-9)


def test_the_concave_fit_bridges_what_bends_upwards():
    points = np.array([[0.7, 0.5], [0.8, 0.1], [0.9, 0.0]])
    fitted = concave_fit(points, covariances(3))
    slopes = np.diff(fitted[:, 1]) / np.diff(fitted[:, 0])
    assert slopes[1] <= slopes[0] + 1e-9
    assert (slopes <= 1e-9).all()


def test_the_concave_fit_of_one_clean_accuracy_is_empty():
    assert len(concave_fit(np.array([[0.8, 0.5], [0.8, 0.4]]), covariances(2))) == 0
