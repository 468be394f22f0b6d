"""Gaps, rates, knees and crossings of known curves: numbers, sentences and figures."""

import json
import math
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.special import logit

from analysis.curves.families import FAMILIES
from analysis.curves.fits import FrontFit, fit_fronts
from analysis.curves.gaps import GRID, Crossing, Gap, crossings, find_crossing, measure_gap
from analysis.curves.rates import Rate, knees, measure_rate
from analysis.document import from_plain, to_plain
from analysis.figures.gaps import fig_gap, fig_rate, fig_residuals
from analysis.findings.gaps import gap_findings, rate_findings, refusal_findings, scatter_findings
from analysis.inference.bootstrap import Replicates, draw_replicates
from analysis.inference.claims import Interval
from analysis.results.configurations import configurations
from analysis.results.methods import MethodNote
from analysis.results.results import Results, ThreatModel
from analysis.results.trials import TrialResult

POWER = np.array([[logit(0.949), math.log(0.95), math.log(0.36)]])
SUPER = np.array([[logit(0.957), logit(0.30), math.log(9.0)]])
RANGES = {"at": (0.80, 0.938), "sam": (0.85, 0.95)}


def height(method: str, clean: np.ndarray) -> np.ndarray:
    family, theta = ("power", POWER) if method == "at" else ("superellipse", SUPER)
    return FAMILIES[family].robust(theta, clean)[0]


def trials(
    method: str, clean: np.ndarray, robust: np.ndarray, seed: int, noise: float, cost: float
) -> list[TrialResult]:
    rng = np.random.default_rng(seed)
    found = []
    for level, (c, r) in enumerate(zip(clean, robust, strict=True), 1):
        for number in range(3):
            a = float(np.clip(c + noise * rng.standard_normal(), 0, 1))
            # Seed noise of a robust accuracy shrinks towards 0 and 1.
            spread = 3 * noise * math.sqrt(r * (1 - r))
            b = float(np.clip(r + spread * rng.standard_normal(), 0, a))
            found.append(
                TrialResult(
                    method=method,
                    values={"strength": 0.01 * level},
                    seed=number,
                    clean=a,
                    robust=(b,),
                    validation_clean=a,
                    validation_robust=b,
                    cost=cost,
                )
            )
    return found


def study(*, equal: bool = False, noise: float = 0.004, seed: int = 1, cost: float = 5.0):
    """Draw a study of AT on the power curve and SAM below it, or on the same curve."""
    parts = []
    for at, method in enumerate(("at", "sam")):
        clean = np.linspace(*RANGES["at" if equal else method], 10)
        robust = height("at" if equal else method, clean)
        parts += trials(
            method, clean, robust, 100 * seed + at, noise, 7.0 if method == "at" else cost
        )
    return Results(
        study="known",
        about="",
        threat=ThreatModel(
            attack="PGD-50",
            validation_attack="PGD-10",
            norm="linf",
            radii=(2 / 255,),
            objective_radius=2 / 255,
        ),
        checkpoint="best",
        num_test=10_000,
        num_validation=1000,
        clean_floor=0.1,
        seeds=(0, 1, 2),
        methods=(
            MethodNote(name="at", sides="none + pgd", searched=False),
            MethodNote(name="sam", sides="sam + none", searched=False),
        ),
        trials=tuple(parts),
        absent=(),
        provenance={},
    )


def analysed(results: Results, count: int = 400) -> tuple[Replicates, list[FrontFit], Gap]:
    drawn = draw_replicates(results, configurations(results), count=count)
    fits = fit_fronts(results, drawn)
    return drawn, fits, measure_gap(results, drawn, *fits)


@pytest.fixture(scope="module")
def results() -> Results:
    return study()


@pytest.fixture(scope="module")
def outcome(results: Results) -> tuple[Replicates, list[FrontFit], Gap]:
    return analysed(results)


@pytest.fixture(scope="module")
def rates(results: Results, outcome: tuple[Replicates, list[FrontFit], Gap]) -> list[Rate]:
    return [measure_rate(results, outcome[0], fit) for fit in outcome[1]]


def test_the_knee_of_a_power_curve():
    assert knees("power", POWER, 0.80, 0.938)[0] == pytest.approx(0.8908190, abs=1e-7)
    end, height_, shape = 0.949, 0.95, 0.36
    ends = height_ * (end - np.array([0.80, 0.938])) ** shape
    slope = (ends[0] - ends[1]) / 0.138
    closed = end - (slope / (height_ * shape)) ** (1 / (shape - 1))
    assert knees("power", POWER, 0.80, 0.938)[0] == pytest.approx(closed, abs=1e-9)


def test_a_convex_curve_has_no_knee():
    theta = np.array([[logit(0.949), 0.0, math.log(1.8)]])
    assert np.isnan(knees("power", theta, 0.5, 0.9)).all()


def test_crossings_are_where_lines_meet_zero():
    clean = np.array([0.0, 0.5, 1.0])
    found = crossings(clean, np.array([[1.0, -1.0, -2.0], [1.0, 2.0, 3.0], [0.0, 1.0, 0.0]]))
    np.testing.assert_allclose(found, [[0.25, np.nan], [np.nan, np.nan], [np.nan, np.nan]])
    through_zero = crossings(clean, np.array([[1.0, 0.0, -1.0], [1.0, 0.0, 1.0]]))
    np.testing.assert_allclose(through_zero, [[np.nan, 0.5], [np.nan, np.nan]])


def line(at: float, clean: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return at - clean, at + noise[:, np.newaxis] - clean


def test_a_crossing_is_told_only_where_nearly_all_replicates_have_it():
    clean = np.linspace(0.0, 1.0, 61)
    noise = np.random.default_rng(0).standard_normal(4000)
    sure = find_crossing(clean, [line(0.5, clean, 0.1 * noise)], (), ())
    assert sure.probability > 0.999
    assert sure.clean is not None
    assert sure.clean.estimate == pytest.approx(0.5, abs=1e-9)
    assert sure.clean.low == pytest.approx(0.5 - 0.196, abs=0.01)
    assert sure.clean.high == pytest.approx(0.5 + 0.196, abs=0.01)
    vague = find_crossing(clean, [line(0.5, clean, 0.5 * noise)], (), ())
    assert vague.clean is None
    assert vague.probability == pytest.approx(0.683, abs=0.03)
    both = [line(0.5, clean, 0.1 * noise), line(0.5, clean, 0.5 * noise)]
    assert find_crossing(clean, both, (), ()).clean is None


def test_a_crossing_outside_the_shared_range_is_an_extrapolation_and_never_claimed():
    clean = np.linspace(0.0, 1.0, 61)
    beyond = tuple((float(c), float(1.2 - c)) for c in np.linspace(1.0, 2.0, 30))
    found = find_crossing(clean, [line(1.2, clean, np.zeros(100))], (), beyond)
    assert found.clean is None
    assert found.probability == 0.0
    assert found.extrapolated == pytest.approx(1.2, abs=1e-9)


def test_the_gap_lies_over_the_range_that_both_were_measured_at(
    outcome: tuple[Replicates, list[FrontFit], Gap],
):
    drawn, _, gap = outcome
    at, sam = drawn.means[:10, 0], drawn.means[10:, 0]
    assert gap.range == (max(at.min(), sam.min()), min(at.max(), sam.max()))
    assert len(gap.clean) == GRID
    low, middle, high = np.array(gap.low), np.array(gap.estimate), np.array(gap.high)
    assert ((low < middle) & (middle < high)).all()
    assert (np.array(gap.envelope_low) <= low).all()
    assert (np.array(gap.envelope_high) >= high).all()
    truth = height("at", np.array(gap.clean)) - height("sam", np.array(gap.clean))
    assert ((np.array(gap.envelope_low) < truth) & (truth < np.array(gap.envelope_high))).all()
    assert gap.configurations == (10, 10)
    assert gap.seeds == (3, 3)
    assert gap.costs == (7.0, 5.0)


def test_swapping_the_methods_turns_the_sign(
    results: Results, outcome: tuple[Replicates, list[FrontFit], Gap]
):
    drawn, fits, gap = outcome
    turned = measure_gap(results, drawn, fits[1], fits[0])
    np.testing.assert_allclose(turned.estimate, -np.array(gap.estimate))
    np.testing.assert_allclose(turned.low, -np.array(gap.high))
    np.testing.assert_allclose(turned.envelope_high, -np.array(gap.envelope_low))
    assert [s.ahead for s in turned.separated] == [s.ahead for s in gap.separated]


def test_the_gap_of_a_method_to_itself_is_zero_and_separates_nothing(
    results: Results, outcome: tuple[Replicates, list[FrontFit], Gap]
):
    drawn, fits, _ = outcome
    single = replace(fits[0], close=fits[0].close[:1])
    gap = measure_gap(results, drawn, single, single)
    assert set(gap.estimate) == {0.0}
    assert gap.separated == ()
    assert gap.status == "bracketed"


def test_a_true_gap_is_claimed_with_its_numbers(
    results: Results, outcome: tuple[Replicates, list[FrontFit], Gap]
):
    gap = outcome[2]
    found = gap_findings(results, gap)
    leading = found[0]
    assert gap.separated
    assert gap.separated[0].ahead == "at"
    assert "“at” is" in leading.text
    assert "more robust than “sam”" in leading.text
    assert "95% simultaneous band" in leading.text
    assert "PGD-50, linf 2/255" in leading.text
    assert "10 + 10 configurations × 3 seeds, 10\N{THIN SPACE}000 test images" in leading.text
    assert "this test set" in leading.text
    assert "costs 1.4 times as much" in leading.text
    assert "significant" not in leading.text
    stretch = gap.separated[0]
    for number in (*stretch.estimate, *stretch.band, stretch.low, stretch.high):
        assert f"{100 * number:.1f}" in leading.text
    assert leading.low == stretch.band[0] > 0


def test_a_claim_on_a_part_says_that_the_rest_is_not_separated(
    results: Results, outcome: tuple[Replicates, list[FrontFit], Gap]
):
    gap = outcome[2]
    assert gap.range is not None
    stretch = replace(gap.separated[0], high=gap.clean[20])
    part = replace(gap, status="bracketed", separated=(stretch,), reason="it holds in part")
    (leading, *_) = gap_findings(results, part)
    assert leading.status == "claimed"
    assert "%, it holds in part." in leading.text
    assert leading.range == (stretch.low, gap.clean[20])


def test_equal_fronts_are_not_separated_and_within_a_wide_margin_told_so():
    results = study(equal=True, cost=7.0)
    _, _, gap = analysed(results)
    assert gap.status == "bracketed"
    (leading, crossing) = gap_findings(results, gap)
    assert "not separated" in leading.text
    assert "more robust than" not in leading.text
    assert "training costs are equal" in leading.text
    assert "No crossing" in crossing.text
    assert "declared margin" not in leading.text
    declared = replace(results, margin=0.9)
    assert "less than the declared margin of 90.0 pp" in gap_findings(declared, gap)[0].text


def test_a_refused_front_has_no_gap_no_rate_and_a_way_out(
    results: Results, outcome: tuple[Replicates, list[FrontFit], Gap]
):
    one = tuple(t for t in results.trials if t.method == "at" or t.values["strength"] < 0.045)
    few = replace(results, trials=one)
    drawn, fits, gap = analysed(few, count=50)
    assert fits[1].chosen is None
    assert (gap.status, gap.range, gap.estimate, gap.crossing) == ("refused", None, (), None)
    assert "“sam”: 4 distinct configurations of 4" in gap.reason
    (finding,) = gap_findings(few, gap)
    assert finding.status == "refused"
    assert finding.estimate is None
    assert "What would help: more values of the strength" in finding.reason
    rate = measure_rate(few, drawn, fits[1])
    assert rate.status == "refused"
    assert rate_findings(few, rate) == []
    (refusal,) = refusal_findings(few, fits)
    assert "No curve is drawn for “sam” under PGD-50, linf 2/255" in refusal.text
    assert "required: ≥ 5" in refusal.text
    other = replace(fits[1], method="at", refusal="it bends", way_out="fewer bends")
    (both,) = refusal_findings(few, [other, fits[1]])
    assert both.text.startswith("No curve is drawn for “at” and “sam” under PGD-50, linf 2/255. ")
    assert "it bends. What would help: fewer bends. “sam” (4 configurations" in both.text
    assert both.reason.endswith("or more seeds.")
    for figure in (fig_gap(few, gap), fig_rate(few, [rate]), fig_residuals(few, fits[1:])):
        assert figure.texts[0].get_text().startswith("No ")


def test_fronts_without_a_shared_range_are_refused(
    results: Results, outcome: tuple[Replicates, list[FrontFit], Gap]
):
    drawn, fits, _ = outcome
    apart = replace(drawn, means=drawn.means - np.where(np.arange(20) < 10, 0.2, 0)[:, np.newaxis])
    gap = measure_gap(results, apart, *fits)
    assert gap.status == "refused"
    assert "no shared range of clean accuracy: " in gap.reason


def test_rates_are_slopes_with_intervals_and_end_before_the_curve_does(rates: list[Rate]):
    at = rates[0]
    assert at.status == "claimed"
    low, middle, high = np.array(at.low), np.array(at.estimate), np.array(at.high)
    assert ((low <= middle) & (middle <= high)).all()
    truth = FAMILIES["power"].rate(POWER, np.array(at.clean))[0]
    inner = slice(10, len(at.clean) - 10)
    assert ((np.minimum(low, at.close_low) < 1.15 * truth)[inner]).all()
    assert ((np.maximum(high, at.close_high) > 0.85 * truth)[inner]).all()
    assert at.knee is not None
    assert at.knee.low < at.knee.estimate < at.knee.high
    assert at.knee.estimate == pytest.approx(0.891, abs=0.02)


def test_rate_findings_name_family_range_and_interval(results: Results, rates: list[Rate]):
    rate, knee = rate_findings(results, rates[0])
    assert "points of robust accuracy for each point of clean accuracy given up" in rate.text
    assert f"{rates[0].family} family" in rate.text
    assert "95% pointwise interval" in rate.text
    assert knee.kind == "knee"
    assert knee.range == rates[0].chord
    assert "another range would have another knee" in knee.text


def test_scatter_is_a_finding(results: Results, outcome: tuple[Replicates, list[FrontFit], Gap]):
    fits = outcome[1]
    assert scatter_findings(results, [replace(fits[0], scatter=None)]) == []
    (finding,) = scatter_findings(results, [replace(fits[0], scatter=0.0123)])
    assert "do not lie on one curve" in finding.text
    assert "1.2 pp" in finding.text


@pytest.mark.parametrize("kind", [Gap, Rate])
def test_outcomes_survive_being_written(
    kind: type, outcome: tuple[Replicates, list[FrontFit], Gap], rates: list[Rate]
):
    for value in (outcome[2],) if kind is Gap else rates:
        plain = json.loads(json.dumps(to_plain(value), allow_nan=False))
        assert from_plain(kind, plain) == value


def test_a_fit_read_from_a_file_cannot_be_measured(
    results: Results, outcome: tuple[Replicates, list[FrontFit], Gap]
):
    drawn, fits, _ = outcome
    read = from_plain(FrontFit, to_plain(fits[0]))
    with pytest.raises(ValueError, match="without replicates"):
        measure_rate(results, drawn, read)


def figures(
    results: Results, outcome: tuple[Replicates, list[FrontFit], Gap], rates: list[Rate]
) -> list[Figure]:
    read = from_plain(Gap, to_plain(outcome[2]))
    fits = [from_plain(FrontFit, to_plain(fit)) for fit in outcome[1]]
    return [fig_gap(results, read), fig_rate(results, rates), fig_residuals(results, fits)]


def test_figures_are_drawn_from_written_outcomes_and_nothing_collides(
    results: Results, outcome: tuple[Replicates, list[FrontFit], Gap], rates: list[Rate]
):
    for figure in figures(results, outcome, rates):
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        renderer = canvas.get_renderer()
        axes = figure.axes[0]
        labels = [*axes.texts, axes.xaxis.label, axes.yaxis.label]
        labels += [t for t in (*axes.get_xticklabels(), *axes.get_yticklabels()) if t.get_text()]
        boxes = [(t.get_text(), t.get_window_extent(renderer).extents) for t in labels]
        width, height_ = figure.canvas.get_width_height()
        for text, box in boxes:
            if text and text in [t.get_text() for t in (*axes.texts, axes.xaxis.label)]:
                assert box[0] >= -1, text
                assert box[1] >= -1, text
                assert box[2] <= width + 1, text
                assert box[3] <= height_ + 1, text
        drawn = [(text, box) for text, box in boxes[: len(axes.texts) + 2] if text]
        for (one, a), (other, b) in combinations(drawn, 2):
            assert (a[2:] <= b[:2]).any() or (b[2:] <= a[:2]).any(), f"{one} covers {other}"


def test_a_crossing_that_is_sure_is_told(
    results: Results, outcome: tuple[Replicates, list[FrontFit], Gap]
):
    at = Interval(estimate=0.9, low=0.88, high=0.92)
    gap = replace(outcome[2], crossing=Crossing(probability=0.97, clean=at, extrapolated=None))
    finding = gap_findings(results, gap)[-1]
    assert finding.status == "claimed"
    assert "cross at 90.0% clean accuracy (95% interval 88.0 to 92.0%" in finding.text


def test_a_gap_that_only_other_families_doubt_is_not_said_to_contain_0(
    results: Results, outcome: tuple[Replicates, list[FrontFit], Gap]
):
    gap = outcome[2]
    doubted = replace(
        gap,
        status="bracketed",
        separated=(),
        low=(0.02,) * len(gap.low),
        high=(0.05,) * len(gap.high),
        envelope_low=(-0.01,) * len(gap.low),
        envelope_high=(0.06,) * len(gap.high),
    )
    text = gap_findings(results, doubted, 3)[0].text
    assert "95% simultaneous band 2.0 to 5.0 pp, −1.0 to 6.0 pp over all families" in text
    assert "excludes 0 nowhere" in text
    assert "exploratory, not adjusted over 3 pairs of methods" in text
    assert "contains 0" not in text
