"""Responses to one strength, and heat maps, against shapes that are known."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from analysis.document import from_plain, to_plain
from analysis.inference.bootstrap import draw_replicates
from analysis.responses.strength import (
    HeatMap,
    Response,
    find_peak,
    measure_heat_maps,
    measure_responses,
    strength_name,
)
from analysis.results.configurations import configurations
from analysis.results.results import Results
from analysis.results.trials import Array

Draw = Callable[..., Results]
SIX = np.array([0.0, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32])


def noisy(means: Array, error: float, seed: int = 0, count: int = 500) -> Array:
    return means + error * np.random.default_rng(seed).standard_normal((count, len(means)))


def parabola(top: float) -> Array:
    return np.concatenate([[0.1], 0.8 - 0.05 * np.log(SIX[1:] / top) ** 2])


def test_a_known_peak_is_found() -> None:
    peak = find_peak(SIX, parabola(0.05), noisy(parabola(0.05), 0.005))
    assert peak is not None
    assert (peak.shape, peak.reason) == ("peak", "")
    assert peak.at is not None
    assert peak.at.estimate == pytest.approx(0.05, rel=1e-9)
    assert peak.at.low < 0.05 < peak.at.high
    assert peak.at.high / peak.at.low < 1.2


@pytest.mark.parametrize(("top", "shape"), [(0.22, "peak"), (0.5, "still rising")])
def test_a_peak_is_named_up_to_the_end_of_the_range_and_not_beyond(top: float, shape: str) -> None:
    means = np.concatenate([[0.1], 0.8 - 0.05 * np.log(SIX[1:] / top) ** 2])
    peak = find_peak(SIX, means, noisy(means, 0.0005))
    assert peak is not None
    assert peak.shape == shape


def test_a_top_before_the_range_is_no_peak() -> None:
    means = np.concatenate([[0.1], 0.8 - 0.05 * np.log(SIX[1:] / 0.005) ** 2])
    peak = find_peak(SIX, means, noisy(means, 0.0005))
    assert peak is not None
    assert (peak.shape, peak.share) == ("cannot tell", 0.0)


def test_strength_zero_takes_no_part_in_a_peak() -> None:
    lifted = parabola(0.05)
    lifted[0] = 0.99
    peak = find_peak(SIX, lifted, noisy(lifted, 0.005))
    assert peak is not None
    assert peak.at is not None
    assert peak.at.estimate == pytest.approx(0.05, rel=1e-9)


def test_four_levels_name_no_peak() -> None:
    means = parabola(0.03)[:5]
    peak = find_peak(SIX[:5], means, noisy(means, 0.001))
    assert peak is not None
    assert peak.shape == "cannot tell"
    assert "4 positive values, and a peak needs 5" in peak.reason


def test_an_accuracy_that_still_rises_is_said_to() -> None:
    means = 0.1 + 0.1 * np.arange(7)
    peak = find_peak(SIX, means, noisy(means, 0.01))
    assert peak is not None
    assert (peak.shape, peak.best, peak.at) == ("still rising", 0.32, None)


def test_noise_alone_names_a_peak_in_few_sets() -> None:
    # Without any effect the best level is random, and a parabola is rarely sure of its top.
    named = 0
    for seed in range(200):
        means = noisy(np.full(7, 0.5), 0.01, seed=seed, count=1)[0]
        peak = find_peak(SIX, means, noisy(means, 0.01, seed=1000 + seed, count=200))
        named += peak is not None and peak.shape != "cannot tell"
    assert named <= 0.1 * 200


def test_a_parabola_that_misses_the_highest_mean_names_nothing() -> None:
    means = np.array([0.1, 0.30, 0.80, 0.78, 0.77, 0.76, 0.40])
    peak = find_peak(SIX, means, noisy(means, 0.001))
    assert peak is not None
    assert peak.shape == "cannot tell"
    assert "it does not fit" in peak.reason


def test_no_positive_strength_has_no_peak() -> None:
    assert find_peak(SIX[:1], np.array([0.5]), np.full((10, 1), 0.5)) is None


def test_equal_means_without_noise_name_nothing() -> None:
    peak = find_peak(SIX, np.zeros(7), np.zeros((10, 7)))
    assert peak is not None
    assert peak.shape == "cannot tell"


def test_responses_of_the_digits(digits: Results) -> None:
    found = configurations(digits)
    drawn = draw_replicates(digits, found, count=200)
    sam, at = measure_responses(digits, found, drawn, 0.1, drawn.default)
    assert (sam.method, sam.name, sam.zero_is_standard) == ("sam", "rho", True)
    assert sam.strengths == (0.0, 0.1, 0.2, 0.4, 0.8)
    assert found[sam.rows[0]].method == "standard"
    assert sam.clean_fit == ()
    assert at.strengths[0] == 0.0
    fitted = [value.estimate for value in at.clean_fit]
    assert fitted == sorted(fitted, reverse=True)
    for value in (*at.clean, *at.robust, *at.clean_fit):
        assert value.low <= value.high
    assert [v.estimate for v in at.robust] == [found[row].robust[1].mean for row in at.rows]
    assert at.peak is not None
    assert at.peak.best == 0.15
    assert from_plain(Response, to_plain(at)) == at


def test_a_method_of_its_own_zero_needs_no_standard(draw: Draw) -> None:
    cells = [("standard", {}, 0.9, 0.1)]
    cells += [("at", {"epsilon": e}, 0.9 - e, 0.1 + e) for e in (0.0, 0.1, 0.2)]
    results = draw(cells, sides={"standard": "none", "at": "pgd"})
    found = configurations(results)
    drawn = draw_replicates(results, found, count=50)
    (at,) = measure_responses(results, found, drawn, 0.1, drawn.default)
    assert not at.zero_is_standard
    assert [found[row].method for row in at.rows] == ["at"] * 3


def test_one_seed_and_one_configuration_are_no_error(draw: Draw) -> None:
    results = draw([("at", {"epsilon": 0.1}, 0.9, 0.5)], seeds=(0,))
    found = configurations(results)
    drawn = draw_replicates(results, found, count=50)
    assert measure_responses(results, found, drawn, 0.1, drawn.default) == ()
    assert measure_heat_maps(results, found, drawn, 0.1, drawn.default) == ()
    results = draw([("at", {"epsilon": e}, 0.9, 0.5) for e in (0.1, 0.2)], seeds=(0,))
    found = configurations(results)
    drawn = draw_replicates(results, found, count=50)
    (at,) = measure_responses(results, found, drawn, 0.1, drawn.default)
    assert not at.seed_noise


def test_no_trials_give_nothing(digits: Results) -> None:
    empty = replace(digits, trials=())
    drawn = draw_replicates(empty, (), count=10)
    assert measure_responses(empty, (), drawn, 0.1, "this test set") == ()
    assert measure_heat_maps(empty, (), drawn, 0.1, "this test set") == ()


def test_a_strength_is_named_only_if_it_varies_alone(digits: Results) -> None:
    found = configurations(digits)
    own = {name: [c for c in found if c.method == name] for name in ("sam", "at", "sam_at")}
    assert strength_name(own["sam"]) == "rho"
    assert strength_name(own["at"]) == "epsilon"
    assert strength_name(own["sam_at"]) is None
    assert strength_name(own["sam"][:1]) is None


def test_heat_map_of_a_grid_and_of_a_search(draw: Draw, digits: Results) -> None:
    found = configurations(digits)
    drawn = draw_replicates(digits, found, count=100)
    (searched,) = measure_heat_maps(digits, found, drawn, 0.1, drawn.default)
    assert not searched.is_grid
    assert len(searched.cells) == 6
    cells = [
        ("both", {"rho": rho, "epsilon": epsilon}, 0.95 - epsilon, 0.3 + rho + 2 * epsilon)
        for rho in (0.05, 0.1)
        for epsilon in (0.02, 0.04, 0.08)
    ]
    results = draw(cells, num_test=2000)
    found = configurations(results)
    drawn = draw_replicates(results, found, count=100)
    (grid,) = measure_heat_maps(results, found, drawn, 0.1, drawn.default)
    assert grid.is_grid
    assert [(cell.rho, cell.epsilon) for cell in grid.cells[:2]] == [(0.05, 0.02), (0.1, 0.02)]
    assert all(0 <= cell.on_front <= 1 and cell.robust_error > 0 for cell in grid.cells)
    assert from_plain(HeatMap, to_plain(grid)) == grid


def test_a_learning_rate_is_no_strength_and_standard_training_no_zero_of_it(draw: Draw) -> None:
    cells = [("standard", {}, 0.9, 0.1)]
    cells += [("at", {"learning_rate": rate}, 0.9 - rate, 0.1 + rate) for rate in (0.1, 0.2)]
    results = draw(cells, sides={"standard": "none", "at": "pgd"})
    found = configurations(results)
    drawn = draw_replicates(results, found, count=50)
    notes = [replace(note, setup=("learning_rate",)) for note in results.methods]
    around = replace(results, methods=tuple(notes))
    assert measure_responses(around, found, drawn, 0.1, drawn.default) == ()
    assert measure_responses(results, found, drawn, 0.1, drawn.default) != ()
