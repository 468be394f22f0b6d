"""Fronts under noise, contrasts, dominance: closed forms, edges, sentences."""

import json
import re
from collections.abc import Callable
from dataclasses import astuple, replace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from analysis.document import from_plain, to_plain
from analysis.figures.canvas import png
from analysis.figures.gaps import fig_hypervolume
from analysis.findings.dominance import dominance_findings
from analysis.findings.fronts import contrast_findings
from analysis.fronts.areas import area_intervals, attainable_intervals, matched_rows
from analysis.fronts.attainment import (
    Fronts,
    extended_edges,
    measure_fronts,
    points_at,
)
from analysis.fronts.choice import choose
from analysis.fronts.contrasts import Contrasts, measure_contrasts
from analysis.fronts.pareto import (
    attained,
    attainment_surface,
    mean_attainable_robustness,
    on_front,
)
from analysis.inference.bootstrap import draw_replicates
from analysis.inference.claims import Finding
from analysis.inference.intervals import sup_t
from analysis.report.front_tables import contrast_table, cost_table, dominance_table
from analysis.results.configurations import configurations
from analysis.results.results import Results

Draw = Callable[..., Results]
SIDES = {"at": "none + pgd", "sam": "sam + none", "standard": "none + none"}
AT = [("at", {"epsilon": 0.01 * i}, 0.97 - 0.02 * i, 0.40 + 0.05 * i) for i in range(1, 7)]
SAM = [("sam", {"rho": 0.1 * i}, 0.93 - 0.01 * i, 0.20 + 0.02 * i) for i in range(1, 6)]
TABLES = (contrast_table, cost_table, dominance_table)


def contrasts_of(results: Results, count: int = 400) -> Contrasts:
    found = configurations(results)
    drawn = draw_replicates(results, found, count=count)
    radius = results.threat.objective_radius
    return measure_contrasts(results, found, choose(results), drawn, radius, drawn.default)


def fronts_of(results: Results, count: int = 400) -> Fronts:
    found = configurations(results)
    drawn = draw_replicates(results, found, count=count)
    radius = results.threat.objective_radius
    return measure_fronts(results, found, choose(results), drawn, radius, drawn.default)


def findings_of(results: Results) -> list[Finding]:
    contrasts = contrasts_of(results)
    return contrast_findings(results, contrasts) + dominance_findings(results, contrasts)


def of_kind(findings: list[Finding], kind: str) -> list[Finding]:
    return [finding for finding in findings if finding.kind == kind]


def without_bits(results: Results) -> Results:
    trials = tuple(replace(t, bits=None, sample_hash=None) for t in results.trials)
    return replace(results, trials=trials)


@pytest.mark.parametrize(
    ("columns", "factor"), [(1, 1.960), (10, 2.800)], ids=["one", "ten independent"]
)
def test_the_simultaneous_factor_is_known(columns: int, factor: float):
    noise = np.random.default_rng(0).standard_normal((100_000, columns))
    assert sup_t(np.zeros(columns), noise).factor == pytest.approx(factor, abs=0.02)


def test_ten_identical_estimates_need_the_factor_of_one():
    noise = np.random.default_rng(0).standard_normal((100_000, 1))
    assert sup_t(np.zeros(10), np.repeat(noise, 10, axis=1)).factor == pytest.approx(1.96, abs=0.02)


def test_estimates_without_noise_keep_no_width_and_no_part_in_the_factor():
    noise = np.random.default_rng(0).standard_normal((5000, 2))
    noise[:, 1] = 0.1
    both = sup_t(np.array([0.0, 0.1]), noise)
    assert both.low[1] == both.high[1] == 0.1
    alone = sup_t(np.zeros(1), noise[:, :1]).factor
    assert both.factor == pytest.approx(alone, abs=1e-12)
    assert sup_t(np.array([0.3]), np.full((9, 1), 0.3)).factor == 0.0


def test_area_intervals_are_centred_and_extended_against_the_lift_by_twice_its_size():
    replicates = np.linspace(0.0, 1.0, 1001)[:, np.newaxis]
    (plain,) = area_intervals(np.array([0.5]), replicates, replicates)
    assert (plain.low, plain.high) == pytest.approx((0.025, 0.975), abs=1e-12)
    (lifted,) = area_intervals(np.array([0.4]), replicates, replicates)
    assert (lifted.low, lifted.high) == pytest.approx((-0.075 - 0.2, 0.875), abs=1e-12)
    (lowered,) = area_intervals(np.array([0.6]), replicates, replicates)
    assert (lowered.low, lowered.high) == pytest.approx((0.125, 1.075 + 0.2), abs=1e-12)
    assert area_intervals(np.empty(0), np.empty((9, 0)), np.empty((9, 0))) == []


def test_the_lift_is_that_of_the_replicates_before_shrinking():
    before = np.linspace(0.0, 1.0, 1001)[:, np.newaxis]
    (found,) = area_intervals(np.array([0.4]), 0.4 + 0.5 * (before - 0.5), before)
    assert (found.low, found.high) == pytest.approx((0.4 - 0.2375 - 0.2, 0.6375), abs=1e-12)


def test_edges_are_extended_by_their_lift_but_not_beside_a_step():
    grid = np.array([0.7, 0.8, 0.9])
    high, low = np.array([[0.9, 0.3], [0.7, 0.6]]), np.array([[0.9, 0.2], [0.7, 0.5]])
    one, other = extended_edges(high, low, grid, np.array([0.1, 0.1, 0.0]))
    assert attained(one, grid).tolist() == [0.6, 0.3, 0.3]
    # At 0.8 the edge stays at 0.2, as it is at least so high at 0.9.
    assert attained(other, grid) == pytest.approx([0.4, 0.2, 0.2])
    one, other = extended_edges(high, low, grid, np.array([-0.1, -0.5, -0.1]))
    assert attained(one, grid) == pytest.approx([0.7, 0.7, 0.4])
    assert attained(other, grid).tolist() == [0.5, 0.2, 0.2]
    assert len(extended_edges(high, np.empty((0, 2)), grid, np.zeros(3))[1]) == 0


def test_intervals_of_attainable_accuracies_stay_in_their_range():
    replicates = np.random.default_rng(4).uniform(0.0, 0.4, (400, 1))
    (open_below,) = area_intervals(np.array([0.02]), replicates, replicates)
    (kept,) = attainable_intervals(np.array([0.02]), replicates, replicates)
    assert open_below.low < 0
    assert (kept.low, kept.high) == (0.0, open_below.high)
    (kept,) = attainable_intervals(np.array([0.98]), 1 - replicates, 1 - replicates)
    assert kept.high == 1.0


def test_fronts_hold_the_shares_and_areas_of_their_replicates(draw: Draw):
    results = draw(AT + SAM, sides=SIDES)
    found = configurations(results)
    drawn = draw_replicates(results, found, count=300)
    fronts = measure_fronts(results, found, choose(results), drawn, 0.15, "this test set")
    means, points = points_at(results, drawn, 0.15, "this test set")
    assert points.shape == (300, 11, 2)
    np.testing.assert_array_equal(points[..., 1], drawn.this_test_set[..., 3])
    study = on_front(points).mean(axis=0)
    assert [one.on_study_front for one in fronts.configurations] == study.tolist()
    own = on_front(points[:, :6]).mean(axis=0)
    at = [one for one in fronts.configurations if one.method == "at"]
    assert [one.on_method_front for one in at] == own.tolist()
    measured = np.array([one.covariance for one in fronts.configurations])
    expected = np.array([np.cov(points[:, row].T) for row in range(11)])
    np.testing.assert_allclose(measured, expected, atol=1e-15)
    surface = fronts.method("at")
    assert surface is not None
    assert surface.attainable.estimate == mean_attainable_robustness(means[:6], 0.1)


def test_drawn_surfaces_follow_the_exact_ones(draw: Draw):
    results = draw(AT, sides=SIDES)
    found = configurations(results)
    drawn = draw_replicates(results, found, count=200)
    radius = results.threat.objective_radius
    fronts = measure_fronts(results, found, choose(results), drawn, radius, "population")
    _, points = points_at(results, drawn, radius, "population")
    surface = fronts.methods[0]
    clean = np.linspace(0.80, 0.97, 60)
    named = ((surface.optimistic, 0.025), (surface.median, 0.5), (surface.pessimistic, 0.975))
    for corners, share in named:
        exact = attainment_surface(points, share)
        drawn_heights = attained(np.array(corners), clean)
        # Edges are extended outwards against the lift, the median is not.
        if share >= 0.5:
            assert (drawn_heights <= attained(exact, clean) + 1e-5).all()
        # Between grid points it is lower by a step, never by more than the exact one falls there.
        if share <= 0.5:
            assert (drawn_heights >= attained(exact, clean + 0.012) - 1e-5).all()
        assert corners[0][0] == pytest.approx(exact[0, 0], abs=1e-6)
    heights = [attained(np.array(corners), clean) for corners, _ in named]
    assert (heights[0] >= heights[1]).all()
    assert (heights[1] >= heights[2]).all()


def test_a_search_enters_with_its_members_on_validation_and_a_grid_with_everything(draw: Draw):
    results = draw(AT + SAM, sides=SIDES, searched=("sam",))
    found, choice = configurations(results), choose(results)
    members = {c.key for front in choice.fronts for c in front.members if c.method == "sam"}
    surface = fronts_of(results).method("sam")
    assert surface is not None
    assert surface.which == "the members chosen on validation"
    assert {found[row].key for row in surface.rows} == members
    grid = fronts_of(results).method("at")
    assert grid is not None
    assert grid.rows == tuple(range(6))
    unvalidated = draw(AT + SAM, sides=SIDES, searched=("sam",), num_validation=0)
    everything = fronts_of(unvalidated).method("sam")
    assert everything is not None
    assert len(everything.rows) == 5


def test_a_known_difference_is_claimed_and_the_better_method_named_first(draw: Draw):
    results = draw(AT + SAM, sides=SIDES)
    contrasts = contrasts_of(results)
    assert contrasts.primary is not None
    assert (contrasts.primary.first, contrasts.primary.second) == ("at", "sam")
    values = {one.method: one.value.estimate for one in contrasts.hypervolumes}
    expected = values["at"] - values["sam"]
    assert contrasts.primary.difference.estimate == pytest.approx(expected, abs=1e-15)
    reversed_pair = replace(results, primary=("sam", "at"))
    for study in (results, reversed_pair):
        (said,) = of_kind(findings_of(study), "hypervolume difference")
        assert said.status == "claimed"
        assert said.primary
        assert said.text.startswith("“at” attains ")
        assert said.estimate == pytest.approx(expected, abs=1e-15)
        assert said.low is not None
        assert said.low > 0


def test_equal_methods_are_not_separated_or_within_a_declared_margin(draw: Draw):
    cells = [*AT, *(("sam", {"rho": v["epsilon"]}, c, r) for _, v, c, r in AT)]
    results = draw(cells, sides=SIDES, num_test=2000)
    (said,) = of_kind(findings_of(results), "hypervolume difference")
    assert said.status == "bracketed"
    assert "not separated" in said.text
    assert "This is undecided: a difference smaller than about" in said.text
    (within,) = of_kind(findings_of(replace(results, margin=0.1)), "hypervolume difference")
    assert within.status == "claimed"
    assert "differ by less than the declared margin of 10.0 pp" in within.text
    (narrow,) = of_kind(findings_of(replace(results, margin=0.001)), "hypervolume difference")
    assert narrow.status == "bracketed"


def test_only_the_objective_radius_and_the_default_estimand_have_a_primary_contrast(draw: Draw):
    results = draw(AT + SAM, sides=SIDES)
    found = configurations(results)
    drawn = draw_replicates(results, found, count=100)
    for radius in results.threat.radii:
        for estimand in drawn.estimands:
            contrasts = measure_contrasts(results, found, choose(results), drawn, radius, estimand)
            chief = radius == 0.1 and estimand == "population"
            assert (contrasts.primary is not None) is chief


def test_all_pairs_are_adjusted_together_and_wider_for_it(digits: Results):
    contrasts = contrasts_of(digits, count=2000)
    assert len(contrasts.contrasts) == 6
    assert sum(one.primary for one in contrasts.contrasts) == 1
    assert contrasts.contrasts[0].primary
    for one in contrasts.contrasts:
        alone = one.difference.high - one.difference.low
        assert one.adjusted_high - one.adjusted_low > alone
        ends = (one.difference.low, one.difference.high)
        assert one.ends == (ends if one.primary else (one.adjusted_low, one.adjusted_high))


def test_a_configuration_that_is_far_better_in_both_is_said_to_dominate(draw: Draw):
    cells = [("at", {"epsilon": 0.01}, 0.95, 0.6), ("at", {"epsilon": 0.1}, 0.8, 0.75), *SAM[2:]]
    results = draw(cells, sides=SIDES, num_test=4000)
    contrasts = contrasts_of(results)
    (pair,) = contrasts.dominances
    assert [one.claimed for one in pair.each] == [True, True, True]
    assert {one.first for one in pair.each} == {0}
    assert pair.pairs == 6
    said = of_kind(dominance_findings(results, contrasts), "dominance")[0]
    assert said.status == "claimed"
    assert said.text.startswith("3 of 3 configurations of “sam” are dominated")
    assert "ρ=0.3 by ε=0.01" in said.text


def test_a_better_robust_accuracy_alone_does_not_dominate(draw: Draw):
    cells = [("at", {"epsilon": 0.1}, 0.90, 0.7), ("sam", {"rho": 0.1}, 0.90, 0.2)]
    contrasts = contrasts_of(draw(cells, sides=SIDES, seeds=(0, 1, 2, 3, 4)))
    (one,) = contrasts.dominances[0].each
    assert not one.claimed
    assert 0.05 < one.share < 0.95
    assert one.robust.low > 0 > one.clean.low
    results = draw(cells, sides=SIDES, seeds=(0, 1, 2, 3, 4))
    said = of_kind(dominance_findings(results, contrasts), "dominance")[0]
    assert said.status == "bracketed"
    assert "Of 1 configuration" in said.text
    assert f"P = {one.share:.2f}" in said.text


@pytest.mark.parametrize(("firsts", "seconds"), [(1, 1), (1, 4), (4, 1), (3, 2)])
def test_shares_of_dominance_are_those_of_the_replicates(draw: Draw, firsts: int, seconds: int):
    """Also of a method with a single configuration, whose replicates lie otherwise in memory."""
    results = draw(AT[:firsts] + SAM[:seconds], sides=SIDES)
    found = configurations(results)
    drawn = draw_replicates(results, found, count=300)
    radius = results.threat.objective_radius
    (pair,) = measure_contrasts(
        results, found, choose(results), drawn, radius, "population"
    ).dominances
    _, accuracies = points_at(results, drawn, radius, "population")
    for one in pair.each:
        first, second = accuracies[:, one.first], accuracies[:, one.second]
        assert one.share == np.mean(((first >= second) & (first != second)).all(axis=1))
        assert one.reverse == np.mean(((second >= first) & (first != second)).all(axis=1))
        assert one.share > 0.5 > one.reverse


def test_dominance_is_adjusted_like_sup_t_of_all_differences(draw: Draw):
    results = draw(AT + SAM, sides=SIDES)
    found = configurations(results)
    drawn = draw_replicates(results, found, count=300)
    means, points = points_at(results, drawn, 0.1, "population")
    off = (points[:, :6, None] - points[:, None, 6:]).reshape(300, -1)
    expected = sup_t((means[:6, None] - means[None, 6:]).reshape(-1), off)
    contrasts = measure_contrasts(results, found, choose(results), drawn, 0.1, "population")
    (pair,) = contrasts.dominances
    assert pair.factor == pytest.approx(expected.factor, abs=1e-12)
    low = expected.low.reshape(6, 5, 2)
    for one in pair.each:
        assert one.clean.low == pytest.approx(low[one.first, one.second - 6, 0], abs=1e-12)
        assert one.robust.low == pytest.approx(low[one.first, one.second - 6, 1], abs=1e-12)


def test_a_claim_of_dominance_rests_on_one_sided_bounds(draw: Draw):
    results = draw(AT[:3] + SAM[:2], sides=SIDES)
    found = configurations(results)
    drawn = draw_replicates(results, found, count=300)
    (pair,) = measure_contrasts(
        results, found, choose(results), drawn, 0.1, "population"
    ).dominances
    means, accuracies = points_at(results, drawn, 0.1, "population")
    gaps = (accuracies[:, :3, np.newaxis] - accuracies[:, np.newaxis, 3:]).reshape(300, -1)
    estimates = (means[:3, np.newaxis] - means[3:]).ravel()
    errors = gaps.std(axis=0, ddof=1)
    factor = np.quantile(((gaps - estimates) / errors).max(axis=1), 0.95)
    lows = (estimates - factor * errors).reshape(3, 2, 2)
    assert factor < pair.factor
    for one in pair.each:
        expected = lows[one.first, one.second - 3]
        assert (one.clean_low, one.robust_low) == pytest.approx(tuple(expected), abs=1e-9)
        assert one.claimed == (expected > 0).all()


def test_what_costs_no_more_than_the_declared_margin_is_claimed_with_its_least_lead(draw: Draw):
    cells = [("at", {"epsilon": 0.1}, 0.90, 0.7), *(("sam", {"rho": r}, 0.9, 0.2) for r in (1, 2))]
    results = draw(cells, sides=SIDES, seeds=(0, 1, 2, 3, 4), num_test=4000, noise=0.01)
    plain = contrasts_of(results)
    assert plain.dominances[0].within == ()
    assert not of_kind(dominance_findings(results, plain), "dominance within the clean margin")
    declared = replace(results, clean_margin=0.02)
    contrasts = contrasts_of(declared)
    (pair,) = contrasts.dominances
    assert [one.claimed for one in pair.each] == [False, False]
    assert [one.second for one in pair.within] == [1, 2]
    (said,) = of_kind(dominance_findings(declared, contrasts), "dominance within the clean margin")
    least = min(one.robust_low or 0.0 for one in pair.within)
    assert (said.status, said.low) == ("claimed", least)
    assert said.text.startswith(
        f"“at” is at least {100 * least:.1f} pp more robust than “sam” and costs at most 2.0 pp "
        "clean accuracy (95% lower bounds"
    )


def test_a_claim_that_fails_is_said_to_fail_by_how_much(draw: Draw):
    cells = [("at", {"epsilon": 0.1}, 0.90, 0.7), ("sam", {"rho": 0.1}, 0.91, 0.2)]
    results = replace(draw(cells, sides=SIDES, seeds=(0, 1, 2, 3, 4, 5, 6)), clean_margin=0.001)
    contrasts = contrasts_of(results)
    (one,) = contrasts.dominances[0].each
    assert one.clean_low is not None
    half = one.clean.estimate - one.clean_low
    said = dominance_findings(results, contrasts)
    assert [finding.status for finding in said] == ["bracketed"] * 3
    by = f"{100 * one.clean.estimate:.1f} pp clean ± {100 * half:.1f} after adjusting for 1 pair"
    for finding in said:
        assert by.replace("-", "−") in finding.text


def costing(results: Results, costs: dict[str, list[float | None]]) -> Results:
    """Give each method's configurations these costs, in the order of their values."""
    found = configurations(results)
    orders = {name: [c.key for c in found if c.method == name] for name in costs}
    by_key = {key: costs[name][at] for name in costs for at, key in enumerate(orders[name])}
    keys = {id(t): c.key for c in found for t in c.trials}
    return replace(
        results, trials=tuple(replace(t, cost=by_key[keys[id(t)]]) for t in results.trials)
    )


def test_a_budget_admits_only_what_it_pays_for(draw: Draw):
    results = draw(AT[:3] + SAM[:2], sides=SIDES)
    paid = costing(results, {"at": [5.0, 9.0, 13.0], "sam": [6.0, 6.0]})
    contrasts = contrasts_of(paid)
    (cost,) = contrasts.costs
    assert cost.first_costs == (5.0, 13.0)
    assert cost.second_costs == (6.0, 6.0)
    assert [point.budget for point in cost.points] == [6.0, 9.0, 13.0]
    assert [point.first_rows for point in cost.points] == [(0,), (0, 1), (0, 1, 2)]
    last, whole = cost.points[-1], contrasts.contrasts[0]
    found, expected = astuple(last.difference), astuple(whole.difference)
    assert found == pytest.approx(expected, abs=1e-12)
    text = of_kind(findings_of(paid), "hypervolume difference at equal training cost")[0].text
    assert text.startswith("At a training cost of at most 6 ")
    assert "“at” costs 5 to 13, “sam” costs 6" in text
    assert "Of 3 budgets up to 13" in text


@pytest.mark.parametrize(
    ("costs", "said", "status"),
    [
        ({"at": [13.0], "sam": [6.0]}, "every configuration of “at” costs more", "claimed"),
        (
            {"at": [6.0], "sam": [6.0]},
            "of both methods cost this much",
            "claimed",
        ),
        ({"at": [6.0], "sam": [None]}, "training cost of “sam” is not recorded", "refused"),
    ],
    ids=["no equal cost", "equal", "unknown"],
)
def test_costs_that_cannot_be_equal_are_named(
    draw: Draw, costs: dict[str, list[float | None]], said: str, status: str
):
    results = draw([AT[5], SAM[0]], sides=SIDES, seeds=(0, 1, 2, 3, 4, 5, 6), num_test=2000)
    findings = of_kind(
        findings_of(costing(results, costs)), "hypervolume difference at equal training cost"
    )
    assert said in findings[0].text
    assert findings[0].status == status


def test_many_more_configurations_on_the_same_places_are_warned_of(draw: Draw):
    many = [("sam", {"rho": i}, 0.9, 0.5) for i in range(12)]
    results = draw([("at", {"epsilon": 0.1}, 0.9, 0.5), *many], sides=SIDES)
    (contrast,) = contrasts_of(results).contrasts
    assert contrast.lift < 0
    assert contrast.ends[1] > contrast.difference.estimate
    (said,) = of_kind(findings_of(results), "hypervolume difference")
    assert "“sam” has 12 configurations against 1, and noise favours the larger number" in said.text
    (plain,) = of_kind(findings_of(draw(AT + SAM, sides=SIDES)), "hypervolume difference")
    assert "noise favours" not in plain.text


def test_a_finer_grid_on_the_same_curve_is_not_called_better(draw: Draw):
    curve = [(0.6 + 0.03 * i, 0.56 - 0.0045 * i**2) for i in range(11)]
    cells = [("at", {"epsilon": i}, c, r) for i, (c, r) in enumerate(curve)]
    cells += [("sam", {"rho": i}, c, r) for i, (c, r) in enumerate(curve[::5])]
    results = draw(cells, sides=SIDES, num_test=4000, noise=0.01)
    contrasts = contrasts_of(results)
    (one,) = contrasts.contrasts
    assert one.difference.low > 0
    assert one.matched is not None
    assert (one.matched.method, one.matched.of, one.matched.against) == ("at", 11, 3)
    assert len(one.matched.rows) == 3
    assert one.matched.difference.low < 0 < one.matched.difference.high
    assert not one.is_claimed
    said = contrast_findings(results, contrasts)[0]
    assert said.status == "bracketed"
    finer = one.difference.estimate - one.matched.difference.estimate
    by = f"{100 * finer:.1f} of {100 * one.difference.estimate:.1f} pp come from the finer grid"
    assert by in said.text
    # A method that is ahead at equal numbers, too, is claimed to be.
    better = [(m, v, c, r + 0.03 if m == "at" else r) for m, v, c, r in cells]
    (one,) = contrasts_of(draw(better, sides=SIDES, num_test=4000, noise=0.01)).contrasts
    assert one.is_claimed


def test_the_larger_method_keeps_the_nearest_in_clean_accuracy_once():
    means = np.array([[0.9, 0.1], [0.8, 0.3], [0.7, 0.4], [0.81, 0.2], [0.79, 0.3]])
    assert matched_rows([0, 1, 2], [3], means) == ((1,), (3,))
    assert matched_rows([3, 4], [0, 1, 2], means) == ((3, 4), (1,))


def test_one_seed_each_claims_nothing(draw: Draw):
    findings = findings_of(draw(AT + SAM, sides=SIDES, seeds=(0,)))
    assert findings
    assert {finding.status for finding in findings} == {"refused"}
    assert all("no configuration has two seeds" in finding.text for finding in findings)
    assert all(finding.low is None for finding in findings)


def test_without_bits_only_this_test_set_is_spoken_of_with_its_resolution(draw: Draw):
    results = without_bits(draw(AT + SAM, sides=SIDES))
    (said,) = of_kind(findings_of(results), "hypervolume difference")
    assert said.estimand == "this test set"
    assert "same images, which resolve an accuracy of" in said.text


def test_a_search_without_validation_data_is_marked(draw: Draw):
    results = draw(AT + SAM, sides=SIDES, searched=("sam",), num_validation=0)
    (said,) = of_kind(findings_of(results), "hypervolume difference")
    assert "“sam” was searched without validation data and not selected" in said.text


EDGES = {
    "no trials": ([("at", {"epsilon": 0.1}, 0.9, 0.5)], {}),
    "one configuration": ([("at", {"epsilon": 0.1}, 0.9, 0.5)], {}),
    "one seed": (AT[:2] + SAM[:2], {"seeds": (0,)}),
    "nothing robust": ([("at", {"e": 1}, 0.9, 0.0), ("sam", {"r": 1}, 0.9, 0.0)], {}),
    "equal and perfect": (
        [("at", {"e": 1}, 1.0, 1.0), ("sam", {"r": 1}, 1.0, 1.0)],
        {"noise": 0.0},
    ),
    "below the floor": ([("at", {"e": 1}, 0.05, 0.01), ("sam", {"r": 1}, 0.06, 0.02)], {}),
    "all dominated": ([("at", {"e": 1}, 0.99, 0.9), *SAM], {}),
}


@pytest.mark.parametrize("with_bits", [True, False], ids=["bits", "no bits"])
@pytest.mark.parametrize("name", EDGES)
def test_every_edge_is_a_finding_or_a_refusal(draw: Draw, name: str, with_bits: bool):
    cells, options = EDGES[name]
    results = draw(cells, sides=SIDES, **options)
    results = replace(results, trials=()) if name == "no trials" else results
    results = results if with_bits else without_bits(results)
    contrasts, fronts = contrasts_of(results, 60), fronts_of(results, 60)
    findings = contrast_findings(results, contrasts) + dominance_findings(results, contrasts)
    assert findings
    for finding in findings:
        assert finding.text.endswith(".")
        assert "nan" not in finding.text
        assert finding.reason or finding.status == "claimed"
    for outcome in (contrasts, fronts):
        text = json.dumps(to_plain(outcome), allow_nan=False)
        assert from_plain(type(outcome), json.loads(text)) == outcome
    for table in TABLES:
        made = table(results, contrasts)
        assert all(len(row) == len(made.columns) for row in made.rows)
    assert png(fig_hypervolume(results, contrasts), dpi=30).startswith(b"\x89PNG")


def test_every_number_of_a_sentence_comes_from_the_outcomes(digits: Results):
    contrasts = contrasts_of(digits)
    assert contrasts.primary is not None
    said = contrast_findings(digits, contrasts)[0]
    values = {one.method: one.value for one in contrasts.hypervolumes}
    difference, matched = contrasts.primary.difference, contrasts.primary.matched
    assert matched is not None
    equal = matched.difference
    printed = {
        f"{100 * number:.1f}"
        for number in (
            *(difference.estimate, difference.low, difference.high, 0.1, 1.0),
            *(equal.estimate, equal.low, equal.high),
            *(values["at"].estimate, values["sam"].estimate),
        )
    }
    decimals = set(re.findall(r"\d+\.\d", said.text.replace("linf 0.1", "")))
    assert decimals <= printed
    assert said.n == "8 + 4 configurations × 2 to 3 seeds, 500 test images"
    for finding in findings_of(digits):
        assert "significant" not in finding.text
        if finding.status != "refused":
            assert "PGD-20, 1 restart, linf 0.1" in finding.text
            assert "500 test images" in finding.text
            assert "population" in finding.text


def test_names_of_any_length_stay_inside_the_forest(draw: Draw):
    long = "sharpness_aware_minimisation_with_momentum"
    other = "adversarial_training_with_many_steps"
    results = draw([(long, {"rho": 0.1}, 0.9, 0.5), (other, {"epsilon": 0.1}, 0.8, 0.6)])
    figure = fig_hypervolume(results, contrasts_of(results, 60))
    FigureCanvasAgg(figure).draw()
    inside = figure.bbox
    for axes in figure.axes:
        texts = [*axes.get_yticklabels(), *axes.texts, axes.xaxis.label]
        for text in texts:
            box = text.get_window_extent()
            assert box.x0 >= inside.x0, text.get_text()
            assert box.x1 <= inside.x1, text.get_text()
            assert box.y0 >= inside.y0, text.get_text()


def test_a_method_below_the_clean_floor_is_said_to_be(draw: Draw):
    cells = [*AT, *((name, values, 0.5, robust) for name, values, _, robust in SAM)]
    results = replace(draw(cells, sides=SIDES), clean_floor=0.8)
    said = of_kind(findings_of(results), "hypervolume difference")[0]
    assert "against 0.0%, as no configuration of “sam” reaches the lowest" in said.text
    (plain,) = of_kind(
        findings_of(replace(draw(AT + SAM, sides=SIDES), clean_floor=0.8)), "hypervolume difference"
    )
    assert "no configuration" not in plain.text
