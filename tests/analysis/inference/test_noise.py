"""Noise: which configurations leave the pool of residuals, and what their replicates then are."""

from dataclasses import replace

import numpy as np

from analysis.inference.bootstrap import draw_replicates
from analysis.inference.noise import NOISY, noisy_rows
from analysis.results.configurations import configurations
from tests.analysis.inference.worlds import World, draw_world, front

QUIET = World(points={"at": front(6), "sam": front(5, top=0.4)}, images=300, deviation=0.02)


def test_the_noisiest_leaves_first_and_no_longer_hides_the_next() -> None:
    squares = np.array([[1.0, 1.0]] * 8 + [[1.0, 60.0], [2500.0, 1.0]])
    owner = np.zeros(10, dtype=np.intp)
    found = noisy_rows(squares, np.full(10, 4), owner)
    assert found == {9: 50.0, 8: 60.0**0.5}
    # Each pool has a norm of its own, in which nobody is noisy.
    apart = noisy_rows(squares, np.full(10, 4), np.arange(10))
    assert apart == {}


def test_what_two_seeds_show_by_chance_leaves_nothing() -> None:
    squares = np.array([[1.0]] * 5 + [[(NOISY + 0.5) ** 2]])
    owner = np.zeros(6, dtype=np.intp)
    assert noisy_rows(squares, np.full(6, 2), owner) == {}
    assert set(noisy_rows(squares, np.full(6, 8), owner)) == {5}


def test_single_seeds_and_pools_without_noise_leave_nothing() -> None:
    owner = np.zeros(3, dtype=np.intp)
    assert noisy_rows(np.zeros((3, 2)), np.full(3, 3), owner) == {}
    assert noisy_rows(np.zeros((0, 2)), np.zeros(0, dtype=np.intp), owner[:0]) == {}
    assert noisy_rows(np.array([[0.0], [1.0], [1.0]]), np.array([1, 3, 3]), owner) == {}


def test_a_noisy_configuration_no_longer_widens_the_intervals_of_the_others() -> None:
    world = replace(QUIET, loud=15.0)
    results = draw_world(world, np.random.default_rng(2))
    found = configurations(results)
    drawn = draw_replicates(results, found, count=400)
    assert set(drawn.noisy) == {0}
    assert drawn.noisy[0] > NOISY
    calm = draw_world(QUIET, np.random.default_rng(2))
    usual = draw_replicates(calm, configurations(calm), count=400)
    assert usual.noisy == {}
    spread, before = (x.this_test_set[:, :, 1].std(axis=0) for x in (drawn, usual))
    np.testing.assert_allclose(spread[1:6], before[1:6], rtol=0.25)
    assert spread[0] > 3 * spread[1:6].max()
