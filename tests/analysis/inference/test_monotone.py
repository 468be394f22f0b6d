"""Isotonic regression against closed forms and scipy."""

import numpy as np
import pytest
from scipy.optimize import isotonic_regression

from analysis.inference.monotone import falling, isotonic


@pytest.mark.parametrize("seed", range(20))
def test_isotonic_equals_scipy_with_weights_and_ties(seed: int) -> None:
    rng = np.random.default_rng(seed)
    length = int(rng.integers(1, 15))
    values = np.round(rng.random((30, length)), int(rng.integers(1, 6)))
    weights = rng.random(length) + 0.01
    expected = [isotonic_regression(row, weights=weights).x for row in values]
    np.testing.assert_allclose(isotonic(values, weights), expected, rtol=0, atol=1e-14)
    expected = [isotonic_regression(row, weights=weights, increasing=False).x for row in values]
    np.testing.assert_allclose(falling(values, weights), expected, rtol=0, atol=1e-14)


def test_a_monotone_sequence_is_its_own_fit() -> None:
    rising = np.array([0.1, 0.1, 0.4, 0.9])
    np.testing.assert_array_equal(isotonic(rising), rising)
    np.testing.assert_array_equal(falling(rising[::-1]), rising[::-1])


def test_a_falling_sequence_becomes_its_weighted_mean() -> None:
    fitted = isotonic(np.array([3.0, 2.0, 1.0]), np.array([1.0, 1.0, 2.0]))
    np.testing.assert_allclose(fitted, 1.75)


def test_a_block_is_flat_to_the_last_bit() -> None:
    rng = np.random.default_rng(5)
    fitted = isotonic(np.sort(rng.random((50, 9)), axis=-1)[:, ::-1])
    assert np.all(fitted == fitted[:, :1])


def test_one_value_and_leading_axes_keep_their_shape() -> None:
    assert isotonic(np.zeros((2, 3, 1))).shape == (2, 3, 1)
    np.testing.assert_array_equal(isotonic(np.array([0.7])), [0.7])


def test_input_is_not_modified() -> None:
    values = np.array([3.0, 1.0, 2.0])
    kept = values.copy()
    isotonic(values)
    np.testing.assert_array_equal(values, kept)


def test_a_weight_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="weights must be positive"):
        isotonic(np.array([1.0, 2.0]), np.array([1.0, 0.0]))
