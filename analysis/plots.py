"""Plots: the main figure of a study. Accuracies are drawn in percent, means large, seeds faint."""

import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import front_layers as layers
from analysis.aside import asides
from analysis.canvas import INK, MUTED, layer, look, new_axes
from analysis.captions import (
    MOST_RINGS,
    MOST_SEED_POINTS,
    front_conditions,
    front_reading,
    front_title,
)
from analysis.claims import Estimand
from analysis.document import Analysis
from analysis.front_labels import (
    gap_label,
    left_labels,
    method_labels,
    tail_labels,
    value_labels,
)
from analysis.labels import Label, marker_boxes, place_labels, step_boxes, text_boxes
from analysis.results import Array
from analysis.scene import Drawn, MethodScene, Scene, gather
from analysis.words import attack_text, shortened

LABEL_SIZE = 9.5
LABEL_LETTERS = 56
"""So many letters of an axis label fit beside the figure at its size; more are smaller."""
READING_LINE = 0.135
"""Height of a line of small print in inches."""


def fig_front(
    analysis: Analysis,
    radius: float,
    estimand: Estimand | None = None,
    *,
    header: bool = True,
    layered: bool = False,
) -> Figure:
    """Draw robust accuracy at this radius against clean accuracy: all methods' fronts.

    The members of fronts are chosen at the objective radius, on validation data where there are
    any, whatever the radius drawn. `header` adds the finding as title, the conditions and how the
    figure is read, for a figure on its own. `layered` draws every estimand into one figure, each in
    a layer of its own: for a page, which shows one at a time.
    """
    first = estimand or analysis.estimand
    others = [one for one in analysis.estimands if one != first] if layered else []
    scene = gather(analysis, radius, (first, *others))
    with look():
        figure, axes = _canvas(analysis, radius, first, header)
        axes.set_xlabel("Clean accuracy (%)")
        label = f"Robust accuracy (%), {attack_text(analysis.results.threat, radius)}"
        axes.set_ylabel(label, fontsize=LABEL_SIZE * min(1.0, LABEL_LETTERS / len(label)))
        axes.set_xlim(scene.limits[:2])
        axes.set_ylim(0.0, scene.limits[2])
        if scene.methods:
            with_seeds = len(analysis.results.trials) <= MOST_SEED_POINTS
            _draw(axes, scene, with_seeds, all_rings=len(analysis.found) <= MOST_RINGS)
        else:
            axes.text(0.5, 0.5, "No trial has a result.", transform=axes.transAxes, ha="center")
    return figure


def _canvas(
    analysis: Analysis, radius: float, estimand: Estimand, header: bool
) -> tuple[Figure, Axes]:
    if not header:
        return new_axes(6.0, 4.7, left=0.095, right=0.985, top=0.955, bottom=0.105)
    title = textwrap.wrap(_whole_words(front_title(analysis, radius), 218), 111)
    conditions = textwrap.wrap(front_conditions(analysis, radius, estimand), 200)
    reading = textwrap.wrap(front_reading(analysis, radius, estimand), 212)
    above = 0.42 + 0.22 * len(title) + 0.17 * len(conditions)
    below = 0.6 + READING_LINE * len(reading)
    height = 5.7 + above + below
    draws = asides(analysis, analysis.view(radius, estimand))
    ends = {"top": 1 - above / height, "bottom": below / height}
    right = 0.665 if draws else 0.985
    figure, axes = new_axes(12.4, height, left=0.055, right=right, **ends)
    for draw, panel in zip(draws, _column(figure, len(draws), ends), strict=True):
        draw(panel)
    write: dict[str, Any] = {"va": "top", "linespacing": 1.25}
    place, text = 1 - 0.12 / height, "\n".join(title)
    figure.text(0.012, place, text, fontsize=12.5, fontweight="bold", color=INK, **write)
    place -= (0.05 + 0.22 * len(title)) / height
    figure.text(0.012, place, "\n".join(conditions), fontsize=8.5, color=MUTED, **write)
    text = "\n".join(reading)
    figure.text(0.012, 0.08 / height, text, va="bottom", fontsize=7.5, color=MUTED)
    return figure, axes


def _whole_words(text: str, most: int) -> str:
    """Cut a text that is too long between two words; where one word is very long, anywhere."""
    cut = textwrap.shorten(text, most, placeholder=" …")
    return cut if len(cut) > most // 2 or cut == text else shortened(text, most)


def _column(figure: Figure, count: int, ends: Mapping[str, float]) -> list[Axes]:
    """Make so many small axes below each other at the right edge of a figure."""
    if count == 0:
        return []
    gap = 0.85 / figure.get_figheight()
    height = (ends["top"] - ends["bottom"] - gap * (count - 1)) / count
    return [
        figure.add_axes((0.765, ends["top"] - height * (at + 1) - gap * at, 0.225, height))
        for at in range(count)
    ]


def _draw(axes: Axes, scene: Scene, with_seeds: bool, *, all_rings: bool) -> None:
    markers, lines, strokes = [np.empty((0, 4))], [np.empty((0, 4))], [np.empty((0, 4))]
    for method in scene.methods:
        for drawn in method.drawn:
            solid, faint = _draw_estimand(axes, method, drawn, all_rings=all_rings)
            lines += solid
            strokes += faint
        if with_seeds and len(method.seeds) > len(method.points):
            layers.draw_seeds(axes, method.seeds, method.style, layer(method.key))
            strokes.append(marker_boxes(axes, method.seeds, layers.SEED))
        layers.draw_shifts(axes, *method.shifts, method.style, layer(method.key))
        _draw_means(axes, method)
        markers.append(marker_boxes(axes, method.points, layers.OTHER))
    arrows, gaps = _draw_gaps(axes, scene)
    lines += arrows
    outside = _draw_outside(axes, scene)
    markers += [marker_boxes(axes, np.array(label.anchors), 0.0) for label in outside]
    boxes = [np.vstack(found) for found in (markers, lines, strokes)]
    for label in gaps:
        # Each estimand has its own, in the same place: only one is seen.
        place_labels(axes, [label], *boxes)
    boxes[1] = np.vstack([boxes[1], *(text_boxes(axes, label.text) for label in gaps)])
    if not _place_names(axes, scene, boxes):
        _draw_legend(axes, scene)
    place_labels(axes, outside + value_labels(scene), *boxes)


def _place_names(axes: Axes, scene: Scene, boxes: list[Array]) -> bool:
    """Name the methods, and add the names to the solid boxes; tell whether all are named."""
    unnamed = _left_over(axes, method_labels(scene), boxes)
    tails = tail_labels(scene, unnamed)
    return not _left_over(axes, tails, boxes) and len(tails) == len(unnamed)


def _left_over(axes: Axes, labels: list[Label], boxes: list[Array]) -> list[str]:
    """Place labels, add them to the solid boxes, and return the texts that found no place."""
    placed = place_labels(axes, labels, *boxes)
    found = [label.text for label, is_placed in zip(labels, placed, strict=True) if is_placed]
    boxes[1] = np.vstack([boxes[1], *(text_boxes(axes, text) for text in found)])
    return [label.text for label, is_placed in zip(labels, placed, strict=True) if not is_placed]


def _draw_estimand(
    axes: Axes, method: MethodScene, drawn: Drawn, *, all_rings: bool
) -> tuple[list[Array], list[Array]]:
    """Draw what belongs to a method under an estimand; return its solid and its faint boxes."""
    gid, style = layer(method.key, drawn.key), method.style
    fitted = len(drawn.curve) > 0
    layers.draw_surface_band(
        axes, drawn.pessimistic, drawn.optimistic, style, gid, alone=not fitted
    )
    layers.draw_surface(axes, drawn.median, style, gid, alone=not fitted)
    steps = step_boxes(axes, layers.staircase(drawn.median, axes.get_xlim()[0])[1:])
    ringed = method.is_member | all_rings
    regions = method.points[ringed], drawn.covariances[ringed]
    layers.draw_regions(axes, *regions, style, gid)
    faint = [layers.region_boxes(axes, *regions)]
    if not fitted:
        return [steps], faint
    for other in drawn.close:
        axes.plot(*other[layers.thinned(len(other))].T, color=style.colour, lw=0.6, gid=gid)
    layers.draw_curve(axes, drawn.curve, drawn.band, drawn.beyond, style, gid)
    solid = [layers.curve_boxes(axes, line) for line in (drawn.curve, drawn.beyond) if len(line)]
    return solid, [*faint, steps]


def _draw_means(axes: Axes, method: MethodScene) -> None:
    for kept, is_member in ((~method.is_member, False), (method.is_member, True)):
        rows = [f"c{row}" for row, here in zip(method.rows, kept, strict=True) if here]
        if rows:
            gid = layer(method.key, *rows)
            layers.draw_means(axes, method.points[kept], method.style, gid, is_member=is_member)


def _draw_outside(axes: Axes, scene: Scene) -> list[Label]:
    """Point left at the height of each configuration outside the figure; say where it is."""
    left, top = axes.get_xlim()[0], axes.get_ylim()[1]
    styles = {method.note.name: method for method in scene.methods}
    heights = [min(height, top) for height in scene.outside_heights]
    for c, height in zip(scene.outside, heights, strict=True):
        method = styles[c.method]
        axes.plot(
            [left],
            [height],
            marker=8,
            ms=8,
            mew=0,
            color=method.style.colour,
            clip_on=False,
            zorder=5,
            gid=layer(method.key),
        )
    return left_labels(scene, heights)


def _draw_gaps(axes: Axes, scene: Scene) -> tuple[list[Array], list[Label]]:
    """Draw the gap as an arrow, in the layers of both its methods; return what it covers."""
    boxes, labels = [], []
    for number, arrow in enumerate(scene.arrows):
        gid = layer(*arrow.methods, arrow.key)
        layers.draw_arrow(axes, (arrow.clean, arrow.ends[0]), (arrow.clean, arrow.ends[1]), gid)
        boxes.append(step_boxes(axes, np.array([(arrow.clean, end) for end in arrow.ends])))
        labels.append(gap_label(arrow))
        if number == 0:
            layers.draw_shared_range(axes, *arrow.shared, layer(*arrow.methods))
    return boxes, labels


def _draw_legend(axes: Axes, scene: Scene) -> None:
    for method in scene.methods:
        style = method.style
        axes.plot(
            [],
            [],
            color=style.colour,
            marker=style.marker,
            mfc="white" if style.searched else style.colour,
            label=shortened(method.note.name, 28),
        )
    axes.legend(loc="best", frameon=True, framealpha=0.9, edgecolor="none", fontsize=8)
