"""Steps: the monotone fit of a front without a formula, and its band."""

import numpy as np
import pytest

from analysis.curves.steps import Steps, fit_steps
from analysis.inference.intervals import sup_t

POINTS = np.array([[0.80, 0.50], [0.84, 0.40], [0.88, 0.42], [0.92, 0.10], [0.94, 0.05]])
NOISE = 0.002


def fitted(points: np.ndarray = POINTS, noise: float = NOISE) -> Steps | None:
    drawn = points + noise * np.random.default_rng(0).standard_normal((500, *points.shape))
    covariances = np.repeat(noise**2 * np.eye(2)[np.newaxis], len(points), axis=0)
    return fit_steps(points, covariances, drawn)


def test_the_fit_is_the_nearest_falling_sequence_and_the_band_bounds_any_falling_front() -> None:
    one = fitted()
    assert one is not None
    # The second and the third point change places: both become their mean.
    assert [r for _, r in one.knots] == pytest.approx([0.50, 0.41, 0.41, 0.10, 0.05])
    clean, low, high = np.array(one.clean), np.array(one.low), np.array(one.high)
    drawn = POINTS + NOISE * np.random.default_rng(0).standard_normal((500, 5, 2))
    half = sup_t(POINTS.ravel(), drawn.reshape(500, -1)).factor * NOISE
    assert half / NOISE == pytest.approx(2.8, abs=0.15)
    assert (clean[0], clean[-1]) == pytest.approx((0.80 + half, 0.94 - half), abs=2e-4)
    at = int(np.argmin(np.abs(clean - 0.90)))
    # Between 0.88 and 0.92: above the next cleaner point, below the last less clean one.
    assert (low[at], high[at]) == pytest.approx((0.10 - half, 0.42 + half), abs=5e-4)
    robust = np.array(one.robust)
    assert ((low <= robust) & (robust <= high)).all()
    assert (np.diff(robust) <= 1e-12).all()
    assert (np.diff(low) <= 0).all()
    assert (np.diff(high) <= 0).all()


def test_a_point_below_the_front_does_not_lower_it() -> None:
    """A front is what the best of the configurations attains, not each of them."""
    below = np.vstack([POINTS, [[0.79, 0.20]]])
    one, other = fitted(), fitted(below)
    assert one is not None
    assert other is not None
    high = np.interp(0.90, other.clean, other.high)
    assert high == pytest.approx(np.interp(0.90, one.clean, one.high), abs=0.01)


def test_points_without_noise_or_apart_by_less_than_it_bound_nothing() -> None:
    assert fitted(noise=0.0) is None
    assert fitted(noise=0.05) is None
