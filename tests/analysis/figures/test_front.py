"""Figures: what they show, that nothing collides, and that they leave no state behind."""

import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from itertools import combinations

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.path import Path
from matplotlib.text import Annotation

from analysis.analysing import analyse
from analysis.curves.fits import FrontFit
from analysis.curves.gaps import Gap
from analysis.document import Analysis
from analysis.figures.canvas import layer, look, new_axes, png, svg
from analysis.figures.examples import draw_examples
from analysis.figures.front import _whole_words, fig_column, fig_front, front_reading
from analysis.figures.gaps import gap_limits, is_cut
from analysis.figures.labels import Label, marker_boxes, place_labels, point_text
from analysis.figures.layers import MEMBER, OTHER, SEED, coarse, draw_regions, staircase
from analysis.figures.marks import spread_heights
from analysis.figures.palette import (
    ADVERSARIAL_TRAINING,
    OTHERS,
    SAM,
    STANDARD,
    contrast_on_white,
    method_styles,
)
from analysis.figures.scene import gather, left_out
from analysis.results.methods import MethodNote
from analysis.results.results import Results
from analysis.results.words import values_text

RADII = (0.05, 0.1, 0.15, 0.2)


@pytest.fixture(scope="module")
def analysed(digits: Results) -> Analysis:
    return analyse(digits, replicates=40)


@pytest.fixture(scope="module")
def clear(draw: Callable[..., Results]) -> Analysis:
    """Analyse two fronts apart: power laws, six strengths each."""
    strengths = [0.02, 0.04, 0.06, 0.1, 0.15, 0.2]
    at = [(0.92, 0.30), (0.90, 0.37), (0.88, 0.42), (0.85, 0.48), (0.82, 0.53), (0.79, 0.57)]
    sam = [(0.95, 0.06), (0.935, 0.13), (0.92, 0.18), (0.90, 0.23), (0.88, 0.27), (0.86, 0.305)]
    cells = [("at", {"epsilon": e}, *point) for e, point in zip(strengths, at, strict=True)]
    cells += [("sam", {"rho": e}, *point) for e, point in zip(strengths, sam, strict=True)]
    results = draw(cells, seeds=(0, 1, 2, 3), num_test=4000, noise=0.008, sides=SIDES, radii=(0.1,))
    return analyse(results, replicates=60)


SIDES = {"at": "none + pgd", "sam": "sam + none"}


def texts(figure: Figure) -> list[str]:
    axes = figure.axes[0]
    return [a.get_text() for a in axes.texts if isinstance(a, Annotation) and a.get_text()]


def extents(figure: Figure) -> list[tuple[str, np.ndarray]]:
    renderer = FigureCanvasAgg(figure).get_renderer()
    found = [a for a in figure.axes[0].texts if isinstance(a, Annotation) and a.get_text()]
    return [(a.get_text(), a.get_window_extent(renderer).extents) for a in found]


def assert_labels_are_apart(figure: Figure) -> None:
    boxes = extents(figure)
    frame = figure.axes[0].get_window_extent().extents
    for text, box in boxes:
        assert (box[:2] >= frame[:2] - 1).all(), text
        assert (box[2:] <= frame[2:] + 1).all(), text
    for (one, a), (other, b) in combinations(boxes, 2):
        apart = (a[2:] <= b[:2]).any() or (b[2:] <= a[:2]).any()
        assert apart, f"{one} covers {other}"


@pytest.mark.parametrize("header", [True, False], ids=["alone", "in the page"])
@pytest.mark.parametrize("radius", RADII)
def test_no_label_of_the_front_covers_another_or_leaves_the_axes(
    analysed: Analysis, radius: float, header: bool
):
    assert_labels_are_apart(fig_front(analysed, radius, header=header))


def test_no_label_of_two_fitted_fronts_covers_another(clear: Analysis):
    assert_labels_are_apart(fig_front(clear, 0.1))


def test_nothing_written_around_the_front_leaves_the_figure(analysed: Analysis, clear: Analysis):
    for analysis in (analysed, clear):
        figure = fig_front(analysis, 0.1)
        renderer = FigureCanvasAgg(figure).get_renderer()
        width, height = figure.get_size_inches() * figure.dpi
        written = [*figure.texts, *(t for axes in figure.axes for t in axes.texts)]
        for text in written:
            box = text.get_window_extent(renderer).extents
            assert box[0] >= -1, text.get_text()
            assert box[2] <= width + 1, text.get_text()
            assert box[1] >= -1, text.get_text()
            assert box[3] <= height + 1, text.get_text()


def test_the_front_names_every_method_and_some_strengths(analysed: Analysis):
    named = texts(fig_front(analysed, 0.1))
    assert {"standard", "sam", "at", "sam_at"} <= set(named)
    assert any(text.startswith("ε=") for text in named)
    assert fig_front(analysed, 0.1).axes[0].get_legend() is None


def test_many_methods_in_one_place_get_a_legend(draw: Callable[..., Results]):
    cells = [(f"method_with_a_long_name_{i}", {}, 0.9, 0.5) for i in range(15)]
    results = draw(cells, num_test=100, seeds=(0,), radii=(0.1,))
    figure = fig_front(analyse(results, replicates=20), 0.1)
    assert figure.axes[0].get_legend() is not None


def test_a_configuration_left_of_the_figure_is_pointed_at(analysed: Analysis):
    figure = fig_front(analysed, 0.1)
    assert figure.axes[0].get_xlim()[0] > 80
    assert any(text.startswith("ε=0.25: 6") for text in texts(figure))


def test_a_title_that_is_too_long_ends_between_two_words():
    finding = "at equal clean accuracy " * 20
    cut = _whole_words(finding, 218)
    assert len(cut) <= 218
    assert cut.endswith(" …")
    assert set(cut.removesuffix(" …").split()) == {"at", "equal", "clean", "accuracy"}
    assert len(_whole_words("x" * 300, 218)) == 218


def test_regions_are_those_of_members_and_on_the_page_of_all_to_switch_on(clear: Analysis):
    def rings(figure: Figure) -> int:
        curved = [p.get_path() for p in figure.axes[0].patches if p.get_path().codes is not None]
        return sum(int(np.sum(path.codes == Path.CURVE4)) // 12 for path in curved)

    members = sum(len(front.members) for front in clear.choice.fronts)
    assert rings(fig_front(clear, 0.1)) == members
    on_page = fig_front(clear, 0.1, header=False, layered=True)
    assert rings(on_page) == len(clear.found) * len(clear.estimands)
    drawn = svg(on_page, "key", "title", "words")
    assert drawn.count(" member") == members * len(clear.estimands)
    assert "regions of the means of front members" in front_reading(clear, 0.1, clear.estimand)


def test_the_caption_speaks_of_the_lines_that_are_drawn(analysed: Analysis, clear: Analysis):
    for analysis in (analysed, clear):
        for radius in analysis.results.threat.radii:
            lines = fig_front(analysis, radius).axes[0].lines
            text = front_reading(analysis, radius, analysis.estimand).lower()
            styles = {line.get_linestyle() for line in lines}
            widths = {line.get_linewidth() for line in lines if line.get_linestyle() != "None"}
            assert ("dashed" in text) == ("--" in styles)
            assert ("dotted" in text) == (1.6 in widths)
            assert ("lines: fitted" in text or "lines of" in text) == (2.2 in widths)


def test_the_caption_names_no_line_that_spans_too_little_to_be_drawn(clear: Analysis):
    def short(fit: FrontFit) -> FrontFit:
        curve = fit.curve
        assert curve is not None
        ends = replace(curve, clean=(0.9, 0.9001), robust=(0.3, 0.2999), beyond=())
        families = tuple(replace(family, curve=ends) for family in fit.families)
        return replace(fit, families=families)

    views = [replace(view, fits=tuple(short(fit) for fit in view.fits)) for view in clear.views]
    text = front_reading(replace(clear, views=tuple(views)), 0.1, clear.estimand)
    assert "; steps: robust accuracy" in text
    assert "lines" not in text


@pytest.mark.parametrize("form", ["alone", "page", "column"])
@pytest.mark.parametrize("radius", RADII)
def test_no_label_of_the_front_lies_on_a_mark(analysed: Analysis, radius: float, form: str):
    drawn = {
        "alone": lambda: fig_front(analysed, radius),
        "page": lambda: fig_front(analysed, radius, header=False, layered=True),
        "column": lambda: fig_column(analysed, radius),
    }[form]()
    sizes = [scale * size for size in (MEMBER, OTHER) for scale in (1.0, 0.75)]
    points = drawn_points(drawn, *sizes)
    marks = marker_boxes(drawn.axes[0], points, 4.0)
    for text, box in extents(drawn):
        apart = (box[2:] <= marks[:, :2]).any(axis=1) | (marks[:, 2:] <= box[:2]).any(axis=1)
        assert apart.all(), text


def test_the_figure_of_a_column_has_one_size_of_text(analysed: Analysis):
    figure = fig_column(analysed, 0.1)
    assert figure.get_figwidth() == 3.25
    assert figure.texts == []
    axes = figure.axes[0]
    written = [*axes.texts, axes.xaxis.label, axes.yaxis.label, *axes.get_xticklabels()]
    assert {text.get_fontsize() for text in written if text.get_text()} == {8.0}
    assert_labels_are_apart(figure)


def test_settings_trained_too_strongly_do_not_press_the_rest_together(
    draw: Callable[..., Results],
):
    cells = [
        ("at", {"epsilon": e}, c, r)
        for e, c, r in (
            (0.04, 0.99, 0.6),
            (0.08, 0.985, 0.75),
            (0.15, 0.98, 0.85),
            (0.2, 0.95, 0.8),
            (0.3, 0.9, 0.7),
        )
    ]
    results = draw(cells, noise=0.0, num_test=2000, num_validation=0, radii=(0.1,))
    found = analyse(results, replicates=20)
    assert [c.values["epsilon"] for c in left_out(found.choice)] == [0.2, 0.3]
    assert fig_front(found, 0.1).axes[0].get_xlim()[0] > 96
    wide = [("at", {"epsilon": e}, 0.99 - e, 0.4 + e) for e in (0.01, 0.1, 0.2, 0.3)]
    spread = draw(wide, noise=0.0, num_test=2000, num_validation=0, radii=(0.1,))
    assert left_out(analyse(spread, replicates=20).choice) == ()


def test_a_point_with_many_values_is_named_by_two():
    assert point_text({"rho": 0.1, "weight_decay": 0.0001, "loss": "x", "epsilon": 0.02}) == (
        "ρ=0.1 ε=0.02"
    )
    assert point_text({"a": 1, "b": 2, "c": 3}) == ""


def test_a_gap_s_axis_follows_the_simultaneous_band():
    gap = Gap(
        first="at",
        second="sam",
        radius=0.1,
        estimand="population",
        status="bracketed",
        reason="",
        range=(0.8, 0.9),
        clean=(0.8, 0.85, 0.9),
        estimate=(0.06, 0.05, 0.04),
        low=(0.04, 0.03, -0.3),
        high=(0.08, 0.07, 0.4),
        envelope_low=(-0.5, 0.02, -0.6),
        envelope_high=(0.9, 0.09, 0.7),
    )
    low, high = gap_limits(gap)
    assert -4 < low < 0 < 8 < high < 15
    assert is_cut(gap)
    narrow = replace(gap, low=(0.04, 0.03, 0.02), high=(0.08, 0.07, 0.06))
    near = replace(narrow, envelope_low=narrow.low, envelope_high=narrow.high)
    assert not is_cut(near)
    assert gap_limits(near)[0] <= 0


def test_steps_have_right_angles_and_end_at_the_edge():
    steps = staircase(np.array([[90.0, 10.0], [80.0, 30.0], [85.0, 5.0], [80.0, 30.0]]), 70.0)
    assert steps.tolist() == [[90, 0], [90, 10], [80, 10], [80, 30], [70, 30]]
    assert staircase(np.array([[60.0, 30.0]]), 70.0).tolist() == [[60, 0], [60, 30], [60, 30]]
    assert staircase(np.empty((0, 2)), 70.0).shape == (0, 2)


def test_surfaces_are_drawn_as_mitred_right_angles(analysed: Analysis):
    lines = [line for line in fig_front(analysed, 0.1).axes[0].lines if len(line.get_xdata()) > 3]
    steps = [line for line in lines if line.get_solid_joinstyle() == "miter"]
    assert steps
    for line in steps:
        moves = np.abs(np.diff(line.get_xydata(), axis=0))
        assert (moves.min(axis=1) == 0).all()


def test_regions_hold_95_percent_of_normal_means():
    _, axes = new_axes(2.0, 2.0)
    covariance = np.array([[4.0, 1.0], [1.0, 2.0]])
    style = method_styles([MethodNote(name="m", sides="?", searched=False)])["m"]
    draw_regions(axes, np.array([[50.0, 30.0]]), covariance[np.newaxis], style, "layer:m0")
    ring = axes.patches[0].get_path()
    points = np.random.default_rng(3).multivariate_normal([50.0, 30.0], covariance, 4000)
    polygon = ring.to_polygons()[0]
    inside = np.mean([Path(polygon).contains_point(point) for point in points])
    assert inside == pytest.approx(0.95, abs=0.012)


def test_the_gap_is_an_arrow_as_long_as_it_says(clear: Analysis):
    gap = clear.primary.gaps[0]
    assert gap.range is not None, gap.reason
    (arrow,) = gather(clear, 0.1, (clear.estimand,)).arrows
    middle = len(gap.clean) // 2
    assert arrow.estimate == pytest.approx(100 * gap.estimate[middle])
    label = next(text for text in texts(fig_front(clear, 0.1)) if "pp" in text)
    low, high = 100 * gap.low[middle], 100 * gap.high[middle]
    assert label == f"{arrow.estimate:+.1f} pp\n[{low:.1f}, {high:.1f}]"


def test_bands_of_curves_stay_between_nothing_and_clean(clear: Analysis):
    for collection in fig_front(clear, 0.1).axes[0].collections:
        for path in collection.get_paths():
            assert (path.vertices[:, 1] >= -1e-9).all()
            assert (path.vertices[:, 1] <= path.vertices[:, 0] + 1e-9).all()


def test_a_page_s_figure_has_a_layer_for_each_method_and_estimand(clear: Analysis):
    drawn = svg(fig_front(clear, 0.1, header=False, layered=True), "key", "title", "words")
    classes = set(re.findall(r'<g class="([^"]*)"', drawn))
    assert {"m0", "m1", "m0 population", "m0 test-set", "m0 m1 population"} <= classes
    alone = svg(fig_front(clear, 0.1), "key", "title", "words")
    assert "test-set" not in alone
    assert "layer:" not in drawn + alone


def test_no_two_parts_of_a_figure_have_one_id(clear: Analysis):
    # Without single seeds or members inside the figure, a layer may have nothing to draw.
    figure = fig_front(clear, 0.1, header=False, layered=True)
    for _ in range(2):
        figure.axes[0].plot([], [], gid=layer("m0", "population"))
    drawn = svg(figure, "key", "title", "words")
    ids = re.findall(r'\bid="([^"]*)"', drawn)
    assert len(ids) > 2
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"key-[\w-]+", name) for name in ids), ids


def test_marks_carry_the_title_of_their_configuration(clear: Analysis):
    titles = {f"c{row}": f"row {row} <b>" for row in range(12)}
    drawn = svg(fig_front(clear, 0.1), "key", "title", "words", titles)
    found = re.findall(r'<use[^>]*x="([\d.]+)"[^>]*><title>row (\d+) &lt;b&gt;</title>', drawn)
    assert sorted(int(row) for _, row in found) == list(range(12))
    clean = [clear.found[int(row)].clean.mean for _, row in found]
    assert np.corrcoef(clean, [float(x) for x, _ in found])[0, 1] > 0.9999


def drawn_points(figure: Figure, *sizes: float) -> np.ndarray:
    lines = [a for a in figure.axes[0].lines if a.get_linestyle() == "None"]
    found = [line.get_xydata() for line in lines if line.get_markersize() in sizes]
    points = np.vstack(found)
    return points[np.lexsort(points.T)]


def in_percent(points: list[tuple[float, float]]) -> np.ndarray:
    rows = 100 * np.array(points)
    return rows[np.lexsort(rows.T)]


@pytest.mark.parametrize("radius", [0.05, 0.2])
def test_the_front_is_drawn_at_its_radius_whatever_the_objective(analysed: Analysis, radius: float):
    position = RADII.index(radius)
    figure = fig_front(analysed, radius, header=False, layered=True)
    left = figure.axes[0].get_xlim()[0]
    means = [(c.clean.mean, c.robust[position].mean) for c in analysed.found]
    shown = [point for point in means if 100 * point[0] >= left]
    assert len(shown) == len(means) - len(left_out(analysed.choice)) < len(means)
    seeds = [(t.clean, t.robust[position]) for t in analysed.results.trials]
    np.testing.assert_allclose(drawn_points(figure, MEMBER, OTHER), in_percent(shown), atol=1e-9)
    np.testing.assert_allclose(drawn_points(figure, SEED), in_percent(seeds), atol=1e-9)
    assert f"linf {radius}" in figure.axes[0].get_ylabel()


def test_a_figure_without_any_trial_says_so(digits: Results):
    empty = analyse(replace(digits, trials=(), absent=()), replicates=20)
    figure = fig_front(empty, 0.1)
    assert "No trial has a result." in [text.get_text() for text in figure.axes[0].texts]


def test_corners_too_close_to_see_are_left_out():
    corners = np.column_stack([np.linspace(99, 90, 1000), np.linspace(10, 40, 1000)])
    kept = coarse(corners, 0.1, 0.1)
    assert len(kept) < 320
    assert kept[0].tolist() == corners[0].tolist()
    assert kept[-1].tolist() == corners[-1].tolist()


def test_searched_methods_are_hollow_and_grids_are_full(analysed: Analysis):
    faces = {
        (line.get_marker(), line.get_markerfacecolor())
        for line in fig_front(analysed, 0.1).axes[0].lines
    }
    assert ("^", "white") in faces
    assert ("o", ADVERSARIAL_TRAINING) in faces
    assert ("s", SAM) in faces


def test_figures_leave_no_state_and_need_no_pyplot(analysed: Analysis):
    before = dict(mpl.rcParams)
    png(fig_front(analysed, 0.1), dpi=50)
    assert dict(mpl.rcParams) == before
    code = "import sys, analysis.report; assert 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_package_itself_loads_no_matplotlib():
    code = "import sys, analysis; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_user_s_settings_change_nothing(analysed: Analysis):
    expected = svg(fig_front(analysed, 0.1), "key", "title", "description")
    with mpl.rc_context({"font.size": 20, "axes.grid": False, "svg.fonttype": "path"}):
        assert svg(fig_front(analysed, 0.1), "key", "title", "description") == expected


def test_dollar_signs_in_names_are_no_mathematics(draw: Callable[..., Results]):
    results = draw([("a$b$", {}, 0.9, 0.5), ("$", {}, 0.8, 0.6)], radii=(0.1,))
    assert "a$b$" in svg(
        fig_front(analyse(results, replicates=20), 0.1), "key", "title", "description"
    )


def test_heights_keep_their_distance():
    heights = spread_heights([50.0, 50.0, 51.0, 90.0], 5.0)
    assert sorted(heights) == [50.0, 55.0, 60.0, 90.0]


def test_a_label_without_a_free_place_is_left_out():
    with look():
        _, axes = new_axes(2.0, 2.0, left=0.0, right=1.0, bottom=0.0, top=1.0)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    everything = np.array([[0.0, 0.0, 200.0, 200.0]])
    nothing = np.empty((0, 4))
    label = Label(text="here", anchors=((0.5, 0.5),), colour="#000000")
    assert place_labels(axes, [label], nothing, everything, nothing) == [False]
    assert place_labels(axes, [label], nothing, nothing, everything) == [True]
    boxes = marker_boxes(axes, np.array([[0.5, 0.5]]), 7.2)
    np.testing.assert_allclose(boxes, [[95.0, 95.0, 105.0, 105.0]])


def distance(box: np.ndarray, point: np.ndarray) -> float:
    """Measure from a box (left, bottom, right, top) to a point."""
    nearest = np.clip(point, box[:2], box[2:])
    return float(np.hypot(*(point - nearest)))


CROWDED = {
    "ρ=0.1": (98.99, 21.5),
    "ρ=0.2": (99.21, 24.6),
    "ρ=0.4": (99.10, 27.3),
    "ρ=0.6": (98.88, 28.1),
    "ρ=0.8": (98.95, 26.4),
    "ρ=1": (99.05, 28.9),
    "ε=0.01": (99.0, 27.8),
    "ε=0.025": (99.15, 29.8),
}


def test_a_label_is_nearer_to_its_own_marker_than_to_any_other():
    with look():
        figure, axes = new_axes(3.0, 2.0, left=0.0, right=1.0, bottom=0.0, top=1.0)
    axes.set_xlim(97.0, 100.2)
    axes.set_ylim(0, 60)
    points = np.array(list(CROWDED.values()))
    labels = [Label(text=t, anchors=(p,), colour="#000000") for t, p in CROWDED.items()]
    markers = marker_boxes(axes, points, 5.5)
    placed = place_labels(axes, labels, markers, markers[:0], markers[:0])
    assert sum(placed) >= 3
    assert not all(placed)
    pixels = dict(zip(CROWDED, axes.transData.transform(points), strict=True))
    boxes = extents(figure)
    assert len(boxes) == sum(placed)
    for text, box in boxes:
        others = [distance(box, at) for name, at in pixels.items() if name != text]
        assert distance(box, pixels[text]) < min(others), text


@pytest.mark.parametrize("radius", [0.05, 0.1, 0.15, 0.2])
def test_values_in_the_front_stand_beside_their_own_configuration(
    analysed: Analysis, radius: float
):
    figure = fig_front(analysed, radius)
    transform = figure.axes[0].transData.transform
    means = {
        c.key: transform((100 * c.clean.mean, 100 * c.robust[RADII.index(radius)].mean))
        for c in analysed.found
    }
    named = {values_text(c.values, 2): c.key for c in analysed.found if c.values}
    boxes = [(named[text], box) for text, box in extents(figure) if text in named]
    assert len(boxes) >= 4
    for key, box in boxes:
        assert min(means, key=lambda other: distance(box, means[other])) == key


def test_sides_decide_colours_and_others_differ():
    sides = ("none + none", "none + pgd", "sam + none", "sam + pgd", "awp + pgd", "sam + none")
    notes = [MethodNote(name=str(i), sides=s, searched=False) for i, s in enumerate(sides)]
    styles = method_styles(notes)
    assert [styles[str(i)].colour for i in range(3)] == [STANDARD, ADVERSARIAL_TRAINING, SAM]
    assert [styles[str(i)].colour for i in range(3, 6)] == list(OTHERS[:3])
    assert len({style.marker for style in styles.values()}) == 6


@pytest.mark.parametrize("colour", [ADVERSARIAL_TRAINING, SAM, STANDARD, *OTHERS])
def test_method_names_can_be_read_on_white(colour: str):
    style = method_styles([MethodNote(name="m", sides="?", searched=False)])["m"]
    assert contrast_on_white(style.text_colour) >= 4.5
    assert contrast_on_white(colour) >= 2.0


def draw_some(count: int, channels: int) -> bytes:
    rng = np.random.default_rng(1)
    clean = rng.random((count, channels, 8, 8), dtype=np.float32)
    adversarial = np.clip(clean + 0.1 * rng.choice([-1, 1], clean.shape), 0, 1).astype(np.float32)
    labels = np.arange(count) % 10
    before = [array.copy() for array in (clean, adversarial, labels)]
    picture = draw_examples(
        clean,
        adversarial,
        labels,
        labels,
        (labels + 1) % 10,
        [str(i) for i in range(10)],
        0.1,
        "linf",
    )
    for array, copy in zip((clean, adversarial, labels), before, strict=True):
        np.testing.assert_array_equal(array, copy)
    return picture


def test_examples_are_drawn_as_the_same_picture_every_time():
    assert draw_some(2, 1) == draw_some(2, 1)


@pytest.mark.parametrize(
    ("count", "channels", "size"), [(1, 1, (630, 675)), (11, 3, (1170, 1650))], ids=["one", "many"]
)
def test_more_examples_than_columns_go_below(count: int, channels: int, size: tuple[int, int]):
    assert imread(BytesIO(draw_some(count, channels))).shape[:2] == size


def test_class_names_that_the_font_lacks_are_no_error():
    images, label = np.zeros((1, 1, 8, 8)), np.zeros(1, dtype=int)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = draw_examples(images, images, label, label, label, ["雪"], 0.1, "linf")
    assert drawn.startswith(b"\x89PNG")


def test_examples_of_different_shapes_are_refused():
    images = np.zeros((2, 1, 8, 8))
    none = np.zeros(2, dtype=int)
    with pytest.raises(ValueError, match="must have one shape"):
        draw_examples(images, images[:1], none, none, none, ["a"], 0.1, "linf")
