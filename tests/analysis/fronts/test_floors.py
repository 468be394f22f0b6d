"""Floors: attained robust accuracies of known points, and leads that a finer grid would close."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from analysis.document import from_plain, to_plain
from analysis.findings.floors import floor_finding
from analysis.fronts.choice import choose
from analysis.fronts.contrasts import measure_contrasts
from analysis.fronts.floors import FloorContrast, even_floors, measure_floors
from analysis.inference.bootstrap import draw_replicates
from analysis.inference.claims import Finding
from analysis.results.configurations import configurations
from analysis.results.results import Results

Draw = Callable[..., Results]
SIDES = {"at": "none + pgd", "sam": "sam + none"}
POINTS = {"at": [(0.97, 0.30), (0.91, 0.50)], "sam": [(0.95, 0.25), (0.89, 0.30)]}


def outcome(
    draw: Draw,
    points: dict[str, list[tuple[float, float]]],
    floors: tuple[float, ...] = (0.9,),
    noise: float = 0.003,
    pairs: tuple[tuple[str, str], ...] = (("at", "sam"),),
) -> tuple[FloorContrast, Finding]:
    """Measure at these means, with replicates around them of this standard deviation."""
    names = {"at": "epsilon", "sam": "rho"}
    cells = [
        (method, {names[method]: 0.01 * (row + 1)}, *point)
        for method, own in points.items()
        for row, point in enumerate(own)
    ]
    results = draw(cells, sides=SIDES, num_test=50, num_validation=0, seeds=(0, 1, 2, 3, 4, 5))
    results = replace(results, clean_floors=floors)
    found, choice = configurations(results), choose(results)
    drawn = draw_replicates(results, found, count=2)
    means = np.array([[c, r, r, r, r] for own in points.values() for c, r in own])
    shape = (500, len(means), 5)
    around = means + noise * np.random.default_rng(0).standard_normal(shape)
    known = replace(drawn, means=means, population=around, unshrunk=around)
    (one,) = measure_floors(results, found, choice, known, pairs, "population")
    contrasts = measure_contrasts(results, found, choice, known, 0.1, "population")
    return one, floor_finding(results, found, contrasts, one)


def test_a_lead_over_the_next_less_clean_configuration_too_is_claimed(draw: Draw) -> None:
    one, finding = outcome(draw, POINTS)
    (point,) = one.points
    assert point.status == "claimed"
    assert point.first is not None
    assert point.second is not None
    assert point.difference is not None
    assert point.finer is not None
    assert (point.first.estimate, point.second.estimate) == (0.50, 0.25)
    assert point.difference.estimate == pytest.approx(0.25)
    # The next less clean configuration of "sam" has 30%.
    assert point.finer.estimate == pytest.approx(0.20)
    half = 0.003 * np.sqrt(2) * 1.96
    assert point.difference.high - point.difference.low == pytest.approx(2 * half, rel=0.2)
    assert finding.status == "claimed"
    assert finding.text.startswith(
        "At a clean accuracy of at least 90.0%, “at” attains 25.0 pp more robust accuracy than "
        "“sam”: 50.0 against 25.0% (95% interval of the difference 2"
    )
    assert (finding.estimate, finding.range) == (pytest.approx(0.25), (0.9, 0.9))
    assert finding.declared
    assert finding.plain.startswith(
        "At a clean accuracy of at least 90.0%, “at” is 25.0 pp more robust than “sam” [2"
    )
    assert from_plain(FloorContrast, to_plain(one)) == one


def test_a_lead_that_a_finer_grid_would_close_is_only_one_of_the_configurations_tried(draw: Draw):
    one, finding = outcome(draw, POINTS | {"sam": [(0.95, 0.35), (0.89, 0.50)]})
    (point,) = one.points
    assert point.status == "bracketed"
    assert "between those it has" in point.reason
    assert finding.status == "bracketed"
    assert finding.text.startswith("Of the configurations tried, those of “at” attain 15.0 pp more")
    assert "What would help: configurations of “sam” with a clean accuracy near 90.0%" in (
        finding.reason
    )


def test_equal_configurations_are_not_separated(draw: Draw) -> None:
    one, finding = outcome(draw, POINTS | {"sam": POINTS["at"]})
    assert one.points[0].status == "bracketed"
    assert "“at” and “sam” are not separated" in finding.text
    assert "a difference below about" in finding.reason


def test_swapping_the_methods_turns_the_sign(draw: Draw) -> None:
    (point,) = outcome(draw, POINTS)[0].points
    one, finding = outcome(draw, POINTS, pairs=(("sam", "at"),))
    (turned,) = one.points
    assert turned.status == "claimed"
    assert turned.difference is not None
    assert point.difference is not None
    assert turned.difference.estimate == -point.difference.estimate
    assert turned.difference.low == pytest.approx(-point.difference.high, abs=1e-12)
    assert "“at” attains 25.0 pp more robust accuracy than “sam”" in finding.text


def test_a_method_without_a_less_clean_configuration_is_compared_at_its_least_clean_one(draw: Draw):
    tried = {"at": [(0.97, 0.45), (0.91, 0.50)], "sam": [(0.96, 0.25), (0.95, 0.30)]}
    (point,) = outcome(draw, tried)[0].points
    assert point.status == "claimed"
    assert point.finer is not None
    # Only the first configuration of "at" is as clean as 95%, the least clean of "sam".
    assert point.finer.estimate == pytest.approx(0.15)
    wider = tried | {"at": [(0.97, 0.29), (0.91, 0.50)]}
    (point,) = outcome(draw, wider)[0].points
    assert point.status == "bracketed"
    assert "no configuration of “sam” is surely less clean" in point.reason


def test_a_floor_that_a_method_may_not_reach_has_no_difference(draw: Draw) -> None:
    one, finding = outcome(draw, POINTS, floors=(0.9, 0.955))
    assert [point.status for point in one.points] == ["claimed", "refused"]
    assert one.points[1].difference is None
    assert one.adjusted_over == 1
    assert "Open at 95.5%: no configuration of “sam” surely has a clean accuracy" in finding.text
    assert finding.range == (0.9, 0.9)
    nowhere = outcome(draw, POINTS, floors=(0.99,))[1]
    assert (nowhere.status, nowhere.estimate) == ("refused", None)
    assert nowhere.text.startswith("Which of “at” and “sam” is more robust at equal clean accuracy")


def test_methods_that_change_places_have_a_sentence_each(draw: Draw) -> None:
    crossing = {
        "at": [(0.96, 0.10), (0.91, 0.70), (0.85, 0.75)],
        "sam": [(0.95, 0.25), (0.89, 0.26), (0.84, 0.27)],
    }
    text = outcome(draw, crossing, floors=(0.9, 0.94))[1].text
    assert "At a clean accuracy of at least 90.0%, “at” attains 45.0 pp more" in text
    assert "“sam” attain 15.0 pp more robust accuracy than “at” at a clean accuracy of" in text or (
        "Open at 94.0%" in text
    )


def test_without_noise_nothing_is_claimed(draw: Draw) -> None:
    assert outcome(draw, POINTS, noise=0.0)[0].points[0].status == "bracketed"


@pytest.mark.parametrize(
    ("clean", "expected"),
    [
        (((0.81, 0.926), (0.78, 0.96)), (0.85, 0.9)),
        (((0.6, 0.95), (0.55, 0.97)), (0.6, 0.7, 0.8, 0.9)),
        (((0.975, 0.984), (0.62, 0.99)), (0.975, 0.98)),
        # Without a range that both went through, the last that both reach.
        (((0.9, 0.95), (0.7, 0.8514)), (0.851,)),
    ],
)
def test_floors_that_are_not_declared_are_even_steps_of_shared_clean_accuracies(
    clean: tuple[tuple[float, float], ...], expected: tuple[float, ...]
) -> None:
    sides = [(np.array(own), np.array([own])) for own in clean]
    assert even_floors(sides) == expected
