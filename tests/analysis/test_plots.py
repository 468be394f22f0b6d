"""Figures: what they show, that nothing collides, and that they leave no state behind."""

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
from matplotlib.text import Annotation

from analysis.canvas import look, new_axes, png, svg
from analysis.configurations import configurations
from analysis.examples import draw_examples
from analysis.labels import Label, marker_boxes, place_labels
from analysis.palette import (
    ADVERSARIAL_TRAINING,
    OTHERS,
    SAM,
    STANDARD,
    contrast_on_white,
    method_styles,
)
from analysis.panels import fig_radii, fig_strength, spread_heights
from analysis.plots import MEMBER, OTHER, SEED, fig_front
from analysis.results import MethodNote, Results
from analysis.words import values_text

RADII = (0.05, 0.1, 0.15, 0.2)


def texts(figure: Figure) -> list[str]:
    axes = figure.axes[0]
    return [artist.get_text() for artist in axes.texts if isinstance(artist, Annotation)]


def extents(figure: Figure) -> list[tuple[str, np.ndarray]]:
    renderer = FigureCanvasAgg(figure).get_renderer()
    found = [a for a in figure.axes[0].texts if isinstance(a, Annotation)]
    return [(a.get_text(), a.get_window_extent(renderer).extents) for a in found]


@pytest.mark.parametrize("radius", [0.05, 0.1, 0.15, 0.2])
def test_no_label_of_the_front_covers_another_or_leaves_the_axes(digits: Results, radius: float):
    figure = fig_front(digits, radius)
    boxes = extents(figure)
    frame = figure.axes[0].get_window_extent().extents
    for text, box in boxes:
        assert (box[:2] >= frame[:2] - 1).all(), text
        assert (box[2:] <= frame[2:] + 1).all(), text
    for (one, a), (other, b) in combinations(boxes, 2):
        apart = (a[2:] <= b[:2]).any() or (b[2:] <= a[:2]).any()
        assert apart, f"{one} covers {other}"


def test_the_front_names_every_method_and_some_strengths(digits: Results):
    named = texts(fig_front(digits, 0.1))
    assert {"standard", "sam", "at", "sam_at"} <= set(named)
    assert "ε=0.1" in named
    assert fig_front(digits, 0.1).axes[0].get_legend() is None


def test_many_methods_in_one_place_get_a_legend(draw: Callable[..., Results]):
    cells = [(f"method_with_a_long_name_{i}", {}, 0.9, 0.5) for i in range(25)]
    figure = fig_front(draw(cells, num_test=100, seeds=(0,)), 0.1)
    assert figure.axes[0].get_legend() is not None


def test_a_configuration_left_of_the_figure_is_pointed_at(digits: Results):
    figure = fig_front(digits, 0.1)
    assert figure.axes[0].get_xlim()[0] > 90
    assert any(text.startswith("ε=0.25: 6") for text in texts(figure))


def test_the_steps_are_those_of_the_staircase(draw: Callable[..., Results]):
    cells = [
        ("sam", {"rho": rho}, clean, robust)
        for rho, clean, robust in [(0.1, 0.9, 0.2), (0.2, 0.8, 0.4), (0.4, 0.7, 0.3)]
    ]
    results = draw(cells, noise=0.0, num_validation=0)
    trials = {t.values["rho"]: t for t in results.trials if t.seed == 0}
    one_seed = replace(results, seeds=(0,), trials=tuple(trials.values()))
    lines = fig_front(one_seed, 0.1).axes[0].lines
    a, b = (100 * np.array([trials[rho].clean, trials[rho].robust[1]]) for rho in (0.1, 0.2))
    corners = np.array([a, [b[0], a[1]], b])
    steps = [
        line
        for line in lines
        if line.get_xydata().shape == (3, 2) and np.allclose(line.get_xydata(), corners)
    ]
    assert [line.get_solid_joinstyle() for line in steps] == ["miter"]


def drawn_points(figure: Figure, *sizes: float) -> np.ndarray:
    lines = [a for a in figure.axes[0].lines if a.get_linestyle() == "None"]
    found = [line.get_xydata() for line in lines if line.get_markersize() in sizes]
    points = np.vstack(found)
    return points[np.lexsort(points.T)]


def in_percent(points: list[tuple[float, float]]) -> np.ndarray:
    rows = 100 * np.array(points)
    return rows[np.lexsort(rows.T)]


@pytest.mark.parametrize("radius", [0.05, 0.2])
def test_the_front_is_drawn_at_its_radius_whatever_the_objective(digits: Results, radius: float):
    position, figure = RADII.index(radius), fig_front(digits, radius)
    means = [(c.clean.mean, c.robust[position].mean) for c in configurations(digits)]
    seeds = [(t.clean, t.robust[position]) for t in digits.trials]
    np.testing.assert_allclose(drawn_points(figure, MEMBER, OTHER), in_percent(means), atol=1e-9)
    np.testing.assert_allclose(drawn_points(figure, SEED), in_percent(seeds), atol=1e-9)
    assert f"linf {radius}" in figure.axes[0].get_ylabel()


@pytest.mark.parametrize("radius", [0.1, 0.2])
def test_the_strength_figure_is_at_the_objective_radius(digits: Results, radius: float):
    threat = replace(digits.threat, objective_radius=radius)
    lines = fig_strength(replace(digits, threat=threat), "at").axes[0].lines
    robust = next(
        line.get_ydata()
        for line in lines
        if line.get_marker() == "o" and line.get_markerfacecolor() == ADVERSARIAL_TRAINING
    )
    expected = [
        100 * c.robust[RADII.index(radius)].mean for c in configurations(digits) if c.method == "at"
    ]
    np.testing.assert_allclose(robust, expected, atol=1e-9)


def test_searched_methods_are_hollow_and_grids_are_full(digits: Results):
    faces = {
        (line.get_marker(), line.get_markerfacecolor())
        for line in fig_front(digits, 0.1).axes[0].lines
    }
    assert ("^", "white") in faces
    assert ("o", ADVERSARIAL_TRAINING) in faces
    assert ("s", SAM) in faces


def test_figures_leave_no_state_and_need_no_pyplot(digits: Results):
    before = dict(mpl.rcParams)
    png(fig_front(digits, 0.1), dpi=50)
    assert dict(mpl.rcParams) == before
    code = "import sys, analysis.report; assert 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_package_itself_loads_no_matplotlib():
    code = "import sys, analysis; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_user_s_settings_change_nothing(digits: Results):
    expected = svg(fig_front(digits, 0.1), "key", "title", "description")
    with mpl.rc_context({"font.size": 20, "axes.grid": False, "svg.fonttype": "path"}):
        assert svg(fig_front(digits, 0.1), "key", "title", "description") == expected


def test_dollar_signs_in_names_are_no_mathematics(draw: Callable[..., Results]):
    results = draw([("a$b$", {}, 0.9, 0.5), ("$", {}, 0.8, 0.6)])
    assert "a$b$" in svg(fig_front(results, 0.1), "key", "title", "description")


def test_the_radii_start_at_clean_accuracy(digits: Results):
    axes = fig_radii(digits).axes[0]
    standard = [t for t in digits.trials if t.method == "standard"]
    first = next(line for line in axes.lines if line.get_marker() == "D").get_xydata()
    assert first[0].tolist() == [0.0, pytest.approx(100 * np.mean([t.clean for t in standard]))]
    assert len(first) == 5


def test_a_strength_of_zero_stands_apart_and_is_standard(digits: Results):
    axes = fig_strength(digits, "at").axes[0]
    ticks = dict(
        zip([t.get_text() for t in axes.get_xticklabels()], axes.get_xticks(), strict=True)
    )
    assert ticks["0\nstandard"] < ticks["0.005"]
    assert ticks["0.05"] - ticks["0.005"] == pytest.approx(1.0)


def test_a_method_with_two_strengths_has_no_strength_figure(digits: Results):
    with pytest.raises(ValueError, match="no single strength varies"):
        fig_strength(digits, "sam_at")


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
def test_values_in_the_front_stand_beside_their_own_configuration(digits: Results, radius: float):
    figure = fig_front(digits, radius)
    transform = figure.axes[0].transData.transform
    means = {
        c.key: transform((100 * c.clean.mean, 100 * c.robust[RADII.index(radius)].mean))
        for c in configurations(digits)
    }
    named = {values_text(c.values, 2): c.key for c in configurations(digits) if c.values}
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
