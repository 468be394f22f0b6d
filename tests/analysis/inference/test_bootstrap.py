"""Replicates against closed forms and a slow twin."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from analysis.inference.bootstrap import (
    LEAST_FREEDOM,
    Replicates,
    draw_replicates,
    explained_by_seed,
    residual_scales,
    seed_residuals,
)
from analysis.results.configurations import configurations
from analysis.results.results import Results
from analysis.results.trials import nested_bits

Draw = Callable[..., Results]
CELLS = [("at", {"epsilon": 0.01 * i}, 0.95 - 0.02 * i, 0.3 + 0.05 * i) for i in range(1, 7)]


def replicates_of(results: Results, count: int = 400, seed: int = 0) -> Replicates:
    return draw_replicates(results, configurations(results), count=count, seed=seed)


def without_bits(results: Results) -> Results:
    trials = tuple(replace(t, bits=None, sample_hash=None) for t in results.trials)
    return replace(results, trials=trials)


def test_equal_seeds_give_equal_replicates_and_others_give_others(draw: Draw):
    results = draw(CELLS)
    one, other = replicates_of(results), replicates_of(results)
    np.testing.assert_array_equal(one.this_test_set, other.this_test_set)
    np.testing.assert_array_equal(one.population, other.population)
    assert (replicates_of(results, seed=1).this_test_set != one.this_test_set).any()


def test_replicates_scatter_around_the_means_as_the_covariances_say(draw: Draw):
    drawn = replicates_of(draw(CELLS, num_test=2000), count=20_000)
    noise = drawn.this_test_set - drawn.means
    errors = np.sqrt(np.diagonal(drawn.covariances, axis1=1, axis2=2))
    assert np.abs(noise.mean(axis=0) / errors).max() < 0.04
    for row, covariance in enumerate(drawn.covariances):
        measured = np.cov(noise[:, row].T)
        scale = np.outer(errors[row], errors[row])
        np.testing.assert_allclose(measured / scale, covariance / scale, atol=0.06)


def test_replicates_of_unequal_seed_counts_equal_a_slow_loop(draw: Draw):
    results = draw(CELLS[:4], seeds=(0, 1, 2, 3, 4), num_test=50)
    kept = [t for at, t in enumerate(results.trials) if at not in (2, 3, 5, 11)]
    results = replace(results, trials=tuple(kept))
    found = configurations(results)
    drawn = replicates_of(results, count=7)
    assert drawn.num_seeds == (3, 4, 4, 5)
    rng = np.random.default_rng(0)
    pool = []
    for i, c in enumerate(found):
        k = len(c.trials)
        scale = np.sqrt(np.maximum(drawn.means[i] * (1 - drawn.means[i]), 1e-4))
        scale[0] = 1.0
        for t in c.trials:
            off = np.array([t.clean, *t.robust]) - drawn.means[i]
            pool.append(np.sqrt(k / (k - 1)) * off / scale)
    pool = np.array(pool) - np.mean(pool, axis=0)
    deltas = np.zeros(drawn.this_test_set.shape)
    for i, k in enumerate(drawn.num_seeds):
        scale = np.sqrt(np.maximum(drawn.means[i] * (1 - drawn.means[i]), 1e-4))
        scale[0] = 1.0
        chosen = rng.integers(len(pool), size=(7, k))
        for b in range(7):
            deltas[b, i] = scale * np.mean([pool[j] for j in chosen[b]], axis=0)
    weights = rng.standard_exponential((7, 50), dtype=np.float32).astype(np.float64)
    weights /= weights.sum(axis=1, keepdims=True)
    bits = [[nested_bits(t.bits) for t in c.trials if t.bits is not None] for c in found]
    # Residuals hold 1/n of the variance over seeds of an image, weighted as they are pooled.
    interactions = [
        np.var(own, axis=0, ddof=1).mean(axis=-1) / 50 / scale_of(drawn.means[i]) ** 2
        for i, own in enumerate(bits)
    ]
    shared = np.average(interactions, axis=0, weights=drawn.num_seeds)
    kept = np.maximum(1 - shared / np.mean(pool**2, axis=0), 0)
    assert 0 < kept.max() < 1
    for i, c in enumerate(found):
        fixed = drawn.means[i] + deltas[:, i]
        sampled = weights @ np.mean(bits[i], axis=0).T
        free = sampled + np.sqrt(kept) * deltas[:, i]
        assert drawn.unshrunk is not None
        before = np.clip(sampled + deltas[:, i], 0, 1)
        np.testing.assert_allclose(drawn.unshrunk[:, i], before, atol=1e-6)
        np.testing.assert_allclose(drawn.this_test_set[:, i], np.clip(fixed, 0, 1), atol=1e-12)
        assert drawn.population is not None
        np.testing.assert_allclose(drawn.population[:, i], np.clip(free, 0, 1), atol=1e-6)
        expected = np.outer(scale_of(drawn.means[i]), scale_of(drawn.means[i])) / len(c.trials)
        expected *= pool.T @ pool / len(pool)
        np.testing.assert_allclose(drawn.covariances[i], expected, atol=1e-15)


def scale_of(means: np.ndarray) -> np.ndarray:
    return residual_scales(means[np.newaxis])[0]


def test_exponential_weights_have_the_variance_of_a_share(draw: Draw):
    results = draw([("at", {}, 0.9, 0.5)], seeds=(0,), num_test=400, radii=(0.1,))
    trial = results.trials[0]
    bits = np.zeros((2, 400), dtype=np.bool_)
    bits[0], bits[1, :200] = True, True
    trial = replace(trial, bits=bits, clean=1.0, robust=(0.5,))
    drawn = replicates_of(replace(results, trials=(trial,)), count=20_000)
    assert drawn.population is not None
    # a (1 - a) / (n + 1); at n = 10 000 this is the familiar half a point.
    assert drawn.population[:, 0, 1].var() == pytest.approx(0.25 / 401, rel=0.04)
    assert (drawn.population[:, 0, 0] == 1.0).all()
    assert 100 * np.sqrt(0.25 / 10_001) == pytest.approx(0.499975, abs=1e-6)


def test_equal_bits_differ_by_exactly_nothing(draw: Draw):
    results = draw([("at", {"epsilon": e}, 0.9, 0.5) for e in (0.1, 0.2)], seeds=(0,))
    first, second = results.trials
    second = replace(second, bits=first.bits, clean=first.clean, robust=first.robust)
    drawn = replicates_of(replace(results, trials=(first, second)))
    assert drawn.population is not None
    assert (drawn.population[:, 0] == drawn.population[:, 1]).all()
    assert drawn.population.std(axis=0).max() > 0


def test_a_trial_without_bits_leaves_only_this_test_set(draw: Draw):
    results = draw(CELLS[:2])
    lacking = replace(results.trials[0], bits=None)
    drawn = replicates_of(replace(results, trials=(lacking, *results.trials[1:])))
    assert drawn.population is None
    assert drawn.default == "this test set"
    assert drawn.estimands == ("this test set",)
    same = replicates_of(results).this_test_set
    np.testing.assert_array_equal(drawn.this_test_set, same)


def test_one_seed_each_leaves_no_seed_noise_and_the_rounding_of_an_accuracy(draw: Draw):
    drawn = replicates_of(draw(CELLS, seeds=(3,), num_test=500))
    assert drawn.freedom == 0
    assert (drawn.this_test_set == drawn.means).all()
    floor = np.eye(5) / (12 * 500**2)
    np.testing.assert_allclose(drawn.covariances, np.broadcast_to(floor, (6, 5, 5)), atol=0)
    assert drawn.variance_explained_by_seed is None
    assert drawn.population is not None
    assert drawn.population.std(axis=0).min() > 0


def test_no_trials_give_empty_replicates(draw: Draw):
    drawn = replicates_of(replace(draw(CELLS[:1]), trials=()))
    assert drawn.this_test_set.shape == (400, 0, 5)
    assert drawn.population is None
    assert drawn.covariances.shape == (0, 5, 5)


def test_a_method_with_few_seeds_makes_all_share_one_pool(draw: Draw):
    few = draw([*CELLS, ("standard", {}, 0.95, 0.2)])
    many = draw([*CELLS, *(("sam", {"rho": 0.1 * i}, 0.95, 0.2) for i in range(1, 6))])
    assert replicates_of(few).pooled_over_methods
    assert not replicates_of(many).pooled_over_methods
    assert LEAST_FREEDOM == 10
    assert not replicates_of(draw(CELLS[:2])).pooled_over_methods


def test_a_lone_seed_draws_from_the_pool_of_the_others(draw: Draw):
    results = draw(CELLS, seeds=(0, 1, 2))
    kept = tuple(t for t in results.trials if t.seed == 0 or t.values != CELLS[0][1])
    drawn = replicates_of(replace(results, trials=kept), count=4000)
    assert drawn.num_seeds[0] == 1
    variance = drawn.this_test_set[:, 0, 1].var()
    assert variance == pytest.approx(drawn.covariances[0, 1, 1], rel=0.1)


def test_replicates_stay_within_nothing_and_everything(draw: Draw):
    drawn = replicates_of(draw([("at", {"e": e}, 0.999, 0.001) for e in (1, 2, 3)], noise=0.5))
    for estimand in drawn.estimands:
        assert drawn.of(estimand).min() >= 0.0
        assert drawn.of(estimand).max() <= 1.0


def test_a_seed_that_shifts_everything_explains_all_variance(draw: Draw):
    results = without_bits(draw(CELLS, radii=(0.1,)))
    shifted = tuple(replace(t, clean=0.8 + 0.01 * t.seed, robust=(0.5,)) for t in results.trials)
    found = configurations(replace(results, trials=shifted))
    means = np.array([[c.clean.mean, c.robust[0].mean] for c in found])
    assert explained_by_seed(seed_residuals(found, means)) == pytest.approx(1.0)
    # Independent configurations: about one over their number.
    share = replicates_of(draw(CELLS)).variance_explained_by_seed
    assert share is not None
    assert 0.0 <= share < 0.6


def test_clean_and_robust_noise_stay_together(draw: Draw):
    results = without_bits(draw(CELLS, radii=(0.1,)))
    rng = np.random.default_rng(1)
    trials = []
    for t in results.trials:
        shift = 0.01 * rng.standard_normal()
        trials.append(replace(t, clean=0.9 + shift, robust=(0.5 - shift,)))
    drawn = replicates_of(replace(results, trials=tuple(trials)))
    correlation = np.corrcoef(drawn.this_test_set[:, 0].T)[0, 1]
    assert correlation == pytest.approx(-1.0, abs=1e-9)
