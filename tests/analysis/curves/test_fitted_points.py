"""Which configurations a curve is fitted through."""

from collections.abc import Callable

from analysis.curves.fits import fit_fronts
from analysis.inference.bootstrap import draw_replicates
from analysis.results.configurations import configurations
from analysis.results.results import Results

Draw = Callable[..., Results]
RISING = [("at", {"epsilon": 0.02 * i}, 0.97 - 0.02 * i, 0.2 + 0.1 * i) for i in range(1, 6)]
BEYOND = [("at", {"epsilon": 0.2}, 0.80, 0.50), ("at", {"epsilon": 0.3}, 0.75, 0.40)]


def fitted(results: Results) -> tuple[list[float], str]:
    found = configurations(results)
    (fit,) = fit_fronts(results, draw_replicates(results, found, count=200))
    return [float(found[row].values["epsilon"]) for row in fit.points], fit.which


def test_a_curve_passes_by_what_lies_beyond_the_peak(draw: Draw) -> None:
    strengths, which = fitted(draw(RISING + BEYOND, num_test=2000, noise=0.005))
    assert strengths == [c[1]["epsilon"] for c in RISING]
    assert which == "all but 2 that others dominate"


def test_a_curve_passes_through_all_that_lies_on_one_front(draw: Draw) -> None:
    strengths, which = fitted(draw(RISING, num_test=2000, noise=0.005))
    assert strengths == [c[1]["epsilon"] for c in RISING]
    assert which == "all its configurations"
