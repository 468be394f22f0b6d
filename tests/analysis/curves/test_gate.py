"""The identifiability gate: each row fails alone, on a data set of its own."""

import math

import numpy as np
import pytest
from scipy.special import logit

from analysis.curves.families import FAMILIES, FamilyName
from analysis.curves.fitting import PointFit, fit_point, jacobian, shape_interval
from analysis.curves.gate import (
    GateRow,
    box_row,
    condition_row,
    converged_row,
    distance_row,
    draws_row,
    point_rows,
    range_row,
)

POWER = np.array([logit(0.949), math.log(0.95), math.log(0.36)])
COVARIANCE = np.array([[4e-6, -3e-6], [-3e-6, 1.6e-5]])


def on_curve(clean: np.ndarray, name: FamilyName = "power", theta: np.ndarray = POWER):
    return np.stack([clean, FAMILIES[name].robust(theta[np.newaxis], clean)[0]], axis=1)


def all_rows(
    points: np.ndarray,
    *,
    name: FamilyName = "power",
    noise: float = 1.0,
    num_seeds: tuple[int, ...] | None = None,
    theta: np.ndarray | None = None,
) -> dict[int, GateRow]:
    """Examine rows 1 to 5, 7 and 8 of a family at points; row 6 and draws are examined apart."""
    family, count = FAMILIES[name], len(points)
    covariances = np.repeat(noise * COVARIANCE[np.newaxis], count, axis=0)
    found = fit_point(family, points, covariances)
    if theta is not None:
        found = PointFit(theta=theta, sampson=0.0, perpendicular=0.0)
    rows = [
        *point_rows(points, covariances, num_seeds or (3,) * count),
        condition_row(family, found.theta, points, covariances),
        box_row(family, found, points, covariances),
        distance_row(found),
        range_row(family, found.theta, points),
    ]
    return {row.number: row for row in rows}


def failed(rows: dict[int, GateRow]) -> list[int]:
    for row in rows.values():
        assert bool(row.way_out) != row.passed
    return [number for number, row in rows.items() if not row.passed]


def test_a_well_measured_front_passes_every_row():
    rows = all_rows(on_curve(np.linspace(0.8, 0.938, 10)))
    assert failed(rows) == []
    assert set(rows) == {1, 2, 3, 4, 5, 7, 8}


def test_row_1_fails_alone_where_points_repeat():
    four = on_curve(np.linspace(0.8, 0.938, 4))
    rows = all_rows(np.repeat(four, 3, axis=0))
    assert failed(rows) == [1]
    assert rows[1].measured == "4 distinct configurations of 12"
    assert rows[1].threshold == "≥ 5"


@pytest.mark.parametrize(
    ("num_seeds", "measured"),
    [((1, *(3,) * 9), "at least 1 seed each, Σ(k - 1) = 18"), ((2,) * 9, "Σ(k - 1) = 9")],
    ids=["a lone seed", "too few residuals"],
)
def test_row_2_fails_alone_with_few_seeds(num_seeds: tuple[int, ...], measured: str):
    rows = all_rows(on_curve(np.linspace(0.8, 0.938, len(num_seeds))), num_seeds=num_seeds)
    assert failed(rows) == [2]
    assert measured in rows[2].measured


def test_row_2_holds_at_five_configurations_of_three_seeds():
    assert failed(all_rows(on_curve(np.linspace(0.8, 0.938, 5)))) == []


def test_row_3_fails_alone_where_clean_accuracy_hardly_moves():
    # A steep line: robust accuracy spans much, clean accuracy five standard errors.
    theta = np.array([15.4, math.log(10.0)])
    rows = all_rows(on_curve(np.linspace(0.938, 0.948, 12), "probit", theta), name="probit")
    assert failed(rows) == [3]
    assert rows[3].measured == "clean span 1.0 pp, robust span 31.2 pp"
    assert rows[3].threshold == "≥ 6 × 0.20 pp, 6 × 0.40 pp"


def test_row_4_fails_alone_on_a_short_piece_far_from_the_end():
    # Precise, but straight: end, height and exponent of the curve trade.
    rows = all_rows(on_curve(np.linspace(0.70, 0.71, 10)), noise=1e-4)
    assert failed(rows) == [4]
    assert rows[4].measured.startswith("condition 4")


def test_row_4_fails_where_a_parameter_has_no_effect():
    # K so large that (r/K)^(1/q) vanishes: a vertical line, whatever K and q are.
    theta = np.array([2.0, 8.5, math.log(0.15)])
    points = on_curve(np.linspace(0.8, 0.938, 8))
    row = condition_row(
        FAMILIES["power"], theta, points, np.repeat(COVARIANCE[np.newaxis], 8, axis=0)
    )
    assert not row.passed
    assert row.measured == "a parameter has no effect"


def test_row_5_fails_alone_where_the_exponent_is_outside_its_box():
    # Convex: its exponent, 3, lies beyond the box's end at 2.
    clean = np.linspace(0.5, 0.75, 10)
    rows = all_rows(np.stack([clean, 4.0 * (0.9 - clean) ** 3], axis=1), noise=9.0)
    assert failed(rows) == [5]
    assert rows[5].measured == "at the edge: optimum of q"


def test_row_5_fails_alone_where_the_profile_reaches_the_edge():
    # Bent upwards a little, and noisy: exponents up to 2 fit.
    theta = np.array([logit(0.95), math.log(3.6), math.log(1.3)])
    rows = all_rows(on_curve(np.linspace(0.80, 0.90, 10), theta=theta), noise=4.0)
    assert failed(rows) == [5]
    assert rows[5].measured == "at the edge: profile interval of q"


def test_row_5_fails_where_replicates_reach_the_edge():
    draws = np.tile(POWER, (1000, 1)) + 0.01 * np.random.default_rng(0).standard_normal((1000, 3))
    assert draws_row(FAMILIES["power"], draws).passed
    draws[:20, 2] = math.log(0.1)
    assert draws_row(FAMILIES["power"], draws).passed
    draws[:60, 2] = math.log(0.1)
    row = draws_row(FAMILIES["power"], draws)
    assert not row.passed
    assert row.measured == "at the edge: central 95% of q"


@pytest.mark.parametrize(("lost", "passed"), [(50, True), (51, False)])
def test_row_6_asks_for_95_percent_of_replicates(lost: int, passed: bool):
    row = converged_row(np.arange(1000) >= lost)
    assert row.passed == passed
    assert row.number == 6
    assert row.measured.endswith("% of 1000")


@pytest.mark.parametrize(
    ("sampson", "perpendicular", "passed"),
    [
        (7.0, 7.3, True),
        (1.0, 1.9, True),
        (8.0, 10.1, False),
        (10.0, 12.4, True),
        (6.9, 60.0, False),
    ],
)
def test_row_7_compares_both_distances(sampson: float, perpendicular: float, passed: bool):
    row = distance_row(PointFit(theta=POWER, sampson=sampson, perpendicular=perpendicular))
    assert (row.number, row.passed) == (7, passed)


def test_row_7_fails_alone_where_a_curve_bends_too_sharply_for_its_noise():
    # An ellipse through points of a steep power curve turns vertical between them.
    rng, theta = np.random.default_rng(8), np.array([logit(0.957), math.log(0.7), math.log(0.25)])
    covariance = np.diag([0.004**2, 0.01**2])
    points = on_curve(np.linspace(0.92, 0.955, 10), theta=theta)
    points += rng.multivariate_normal([0, 0], covariance, size=10)
    covariances = np.repeat(covariance[np.newaxis], 10, axis=0)
    family = FAMILIES["ellipse"]
    found = fit_point(family, points, covariances)
    rows = [
        *point_rows(points, covariances, (3,) * 10),
        condition_row(family, found.theta, points, covariances),
        box_row(family, found, points, covariances),
        distance_row(found),
        range_row(family, found.theta, points),
    ]
    assert [row.number for row in rows if not row.passed] == [7]
    assert rows[5].measured == "χ² 10.5 against 18.7 to the curve"


def test_row_8_fails_alone_where_robust_exceeds_clean():
    clean = np.linspace(0.5, 0.9, 10)
    theta = np.array([logit(0.93), math.log(1.1), math.log(0.5)])
    rows = all_rows(on_curve(clean, theta=theta))
    assert failed(rows) == [8]
    assert rows[8].measured.startswith("f(c) - c at most 22.1 pp")


def test_no_configuration_at_all_is_a_row_and_no_error():
    rows = point_rows(np.empty((0, 2)), np.empty((0, 2, 2)), ())
    assert [row.passed for row in rows] == [False, False, False]


def test_the_profile_interval_of_the_shape_is_that_of_a_quadratic_for_small_noise():
    # χ²⊥ is quadratic in θ near the optimum, so the interval is ± 1.96 standard errors.
    family, clean = FAMILIES["power"], np.linspace(0.8, 0.938, 10)
    points = on_curve(clean)
    covariances = np.repeat(COVARIANCE[np.newaxis], 10, axis=0) * 0.05
    found = fit_point(family, points, covariances)
    low, high = shape_interval(family, found, points, covariances)
    slopes = jacobian(family, found.theta[np.newaxis], points, covariances)[0]
    error = math.sqrt(np.linalg.inv(slopes.T @ slopes)[2, 2])
    assert low is not None
    assert high is not None
    # The ends are the first values tried beyond, on a grid.
    assert 1.9 * error < found.theta[2] - low < 3.5 * error
    assert 1.9 * error < high - found.theta[2] < 3.5 * error
