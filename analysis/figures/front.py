"""The main figure of a study: robust against clean accuracy, in percent, with its captions.

It has three forms. On the page, single seeds, regions and bands are there to be switched on. Alone,
it has the finding as its title. For a column of a paper, it is small and has no title.
"""

import textwrap
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.document import Analysis
from analysis.figures import layers
from analysis.figures.canvas import INK, MUTED, layer, look, new_axes
from analysis.figures.labels import (
    Label,
    gap_label,
    left_labels,
    marker_boxes,
    method_labels,
    place_labels,
    reference_labels,
    tail_labels,
    text_boxes,
    value_labels,
)
from analysis.figures.marks import line_boxes
from analysis.figures.scene import Drawn, MethodScene, Scene, gather, left_out_text
from analysis.findings.phrases import ESTIMAND_TEXTS, declared_seeds_text, listed_text
from analysis.fronts.choice import Choice
from analysis.inference.claims import Estimand, Finding
from analysis.results.results import Results
from analysis.results.trials import Array
from analysis.results.words import attack_text, count_text, shortened, value_text

MOST_SEED_POINTS = 400
"""With more trials, only means are drawn: single seeds would be one grey cloud."""
SHORT_FAMILIES = {"power": "power", "superellipse": "superellipse", "ellipse": "Gaussian ellipse"}
LABEL_SIZE = 9.5
LABEL_LETTERS = 56
"""So many letters of an axis label fit beside the figure; a longer label is smaller."""
MARGIN = 2.0
"""Labels keep a distance from marks, in points around the mark."""
READING_LINE = 0.135
"""Height of a line of small print, in inches."""
ALONE, COLUMN, COLUMN_POINTS = (7.2, 4.9), (3.25, 2.7), 8.0
"""Width and height in inches of the figure alone, without its texts, and in a column of a paper,
where every text has so many points."""
COLUMN_LABELS, COLUMN_MARKS, COLUMN_FAINT = 2, 0.75, 0.35
"""In a column, each method has so many labels of points, marks and lines are smaller by a factor,
and regions are fainter."""


def fig_front(
    analysis: Analysis,
    radius: float,
    estimand: Estimand | None = None,
    *,
    header: bool = True,
    layered: bool = False,
) -> Figure:
    """Draw robust accuracy at this radius against clean accuracy: all methods' fronts.

    Whatever the radius drawn, the members of fronts are those chosen at the objective radius, on
    validation data where there are any. `header` adds the finding as title, the conditions and how
    to read the figure, for a figure that stands alone. `layered` draws every estimand, each in a
    layer of its own, for a page that shows one at a time.
    """
    first = estimand or analysis.estimand
    others = [one for one in analysis.estimands if one != first] if layered else []
    scene = gather(analysis, radius, (first, *others))
    with look():
        figure, axes = _canvas(analysis, radius, first, header)
        label = f"Robust accuracy (%), {attack_text(analysis.results.threat, radius)}"
        axes.set_ylabel(label, fontsize=LABEL_SIZE * min(1.0, LABEL_LETTERS / len(label)))
        _fill(axes, analysis, scene, layered=layered)
    return figure


def fig_column(analysis: Analysis, radius: float) -> Figure:
    """Draw the main figure for one column of a paper: 3.25 inches wide, 8 points, no title."""
    scene = gather(analysis, radius, (analysis.estimand,))
    with look():
        figure, axes = new_axes(*COLUMN, left=0.15, right=0.975, top=0.98, bottom=0.15)
        norm = f"{analysis.results.threat.norm} {value_text(radius)}"
        axes.set_ylabel(f"Robust accuracy (%), {norm}", fontsize=COLUMN_POINTS)
        axes.tick_params(labelsize=COLUMN_POINTS)
        _fill(axes, analysis, scene, size=COLUMN_POINTS)
        axes.xaxis.label.set_fontsize(COLUMN_POINTS)
        for line in axes.lines:
            line.set_markersize(COLUMN_MARKS * line.get_markersize())
            line.set_linewidth(COLUMN_MARKS * line.get_linewidth())
        for region in axes.patches:
            region.set_alpha(COLUMN_FAINT)
    return figure


def _fill(
    axes: Axes, analysis: Analysis, scene: Scene, *, layered: bool = False, size: float = 0.0
) -> None:
    """Draw a scene into its axes. size: of every label, in points; 0.0: each as it is."""
    axes.set_xlabel("Clean accuracy (%)")
    axes.set_xlim(scene.limits[:2])
    axes.set_ylim(0.0, scene.limits[2])
    if not scene.methods:
        axes.text(0.5, 0.5, "No trial has a result.", transform=axes.transAxes, ha="center")
        return
    with_seeds = layered and len(analysis.results.trials) <= MOST_SEED_POINTS
    _draw(axes, scene, with_seeds=with_seeds, layered=layered, size=size)


def headline_finding(analysis: Analysis) -> Finding | None:
    """Choose the finding that titles the main figure.

    It is what holds within a declared clean margin, else a claimed gap, else the primary contrast.
    """
    gaps = [
        f
        for kind in ("dominance within the clean margin", "gap")
        for f in analysis.findings
        if f.kind == kind and f.status == "claimed"
    ]
    primary = [f for f in analysis.findings if f.primary]
    claimed = [f for f in primary if f.status == "claimed"]
    return next(iter([*gaps, *claimed, *primary]), None)


def front_title(analysis: Analysis, radius: float) -> str:
    """Return the title of the main figure: its finding, or a plain one if this radius has none."""
    finding = headline_finding(analysis)
    if finding is None or radius != analysis.results.threat.objective_radius:
        return f"{analysis.results.study}: clean accuracy and robust accuracy"
    plain = finding.plain.partition(". ")[0] or finding.text.partition(" (95%")[0]
    return plain.rstrip(" .,;")


def front_conditions(analysis: Analysis, radius: float, estimand: Estimand) -> str:
    """Describe the configurations, seeds, images, attack and intervals behind a front."""
    results = analysis.results
    absent = f", {len(results.absent)} absent" if results.absent else ""
    return (
        f"{count_text(len(analysis.found), 'configuration')} × "
        f"{declared_seeds_text(results)} "
        f"({count_text(len(results.trials), 'trial')}{absent}) · "
        f"{count_text(results.num_test, 'test image')} · {attack_text(results.threat, radius)} · "
        f"95% intervals for {ESTIMAND_TEXTS[estimand]}"
    )


def front_reading(
    analysis: Analysis, radius: float, estimand: Estimand, *, layered: bool = False
) -> str:
    """Describe how to read the main figure, and what is outside it."""
    results, choice = analysis.results, analysis.choice
    scene = gather(analysis, radius, (estimand,))
    lined = {one.note.name for one in scene.methods if len(one.drawn[0].curve)}
    extended = any(len(one.drawn[0].beyond) for one in scene.methods)
    fits = [fit for fit in analysis.view(radius, estimand).fits if fit.method in lined]
    fitted = [fit for fit in fits if fit.curve is not None]
    stepped = [fit.method for fit in fits if fit.curve is None]
    families = ", ".join(
        f"{fit.method}: {SHORT_FAMILIES.get(str(fit.chosen), fit.chosen)}" for fit in fitted
    )
    searched = any(front.note.searched and front.configurations for front in choice.fronts)
    parts = [
        "Each point is the mean of a configuration; reach it for its numbers and its 95% region"
        if layered
        else "rings: 95% regions of the means of front members",
        f"lines: fitted fronts ({families}) with pointwise 95% bands"
        + (", dotted where extrapolated" if extended else "")
        if fitted
        else "",
        f"lines of {listed_text(stepped)}: monotone fits without a formula, with simultaneous 95% "
        "bands"
        if stepped
        else "",
        ("dashed steps" if 0 < len(lined) == len(scene.methods) else "steps")
        + (", dashed beside a line" if 0 < len(lined) < len(scene.methods) else "")
        + ": robust accuracy attained at a clean accuracy or a higher one",
        "hollow: searched" if searched else "",
        "stars: references, each a published single run without an interval"
        if scene.references
        else "",
        _member_text(results, choice, radius, layered=layered),
    ]
    text = "; ".join(part for part in parts if part)
    position = results.threat.radii.index(radius)
    with_seeds = layered and len(results.trials) <= MOST_SEED_POINTS
    outside = left_out_text(choice, position, results.references, with_seeds=with_seeds)
    lost = f"Left out: {analysis.exclusion.named}." if analysis.exclusion else ""
    return " ".join(part for part in (f"{text[0].upper()}{text[1:]}.", outside, lost) if part)


def chosen_text(results: Results) -> str:
    """Describe the data, the attack and the radius by which fronts were chosen."""
    threat = results.threat
    norm, radius = threat.chosen_at or (threat.norm, threat.objective_radius)
    where = (
        f"validation data ({threat.validation_attack})" if results.num_validation else "test data"
    )
    return f"{where} at {'radius' if norm == threat.norm else norm} {value_text(radius)}"


def _member_text(results: Results, choice: Choice, radius: float, *, layered: bool) -> str:
    threat = results.threat
    text = f"large markers: each method's front as chosen on {chosen_text(results)}"
    shifted = choice.on_validation and radius == threat.objective_radius and not threat.chosen_at
    searched = any(front.note.searched and front.members for front in choice.fronts)
    if layered and shifted and searched:
        text += "; arrows, with the single seeds: from validation to test accuracies"
    return text


def _canvas(
    analysis: Analysis, radius: float, estimand: Estimand, header: bool
) -> tuple[Figure, Axes]:
    if not header:
        return new_axes(6.0, 4.7, left=0.095, right=0.985, top=0.975, bottom=0.105)
    title = textwrap.wrap(_whole_words(front_title(analysis, radius), 218), 68)
    conditions = textwrap.wrap(front_conditions(analysis, radius, estimand), 118)
    reading = textwrap.wrap(front_reading(analysis, radius, estimand), 125)
    above = 0.32 + 0.22 * len(title) + 0.17 * len(conditions)
    below = 0.6 + READING_LINE * len(reading)
    height = ALONE[1] + above + below
    ends = {"top": 1 - above / height, "bottom": below / height}
    figure, axes = new_axes(ALONE[0], height, left=0.085, right=0.985, **ends)
    write: dict[str, Any] = {"va": "top", "linespacing": 1.25}
    place, text = 1 - 0.12 / height, "\n".join(title)
    figure.text(0.012, place, text, fontsize=12.5, fontweight="bold", color=INK, **write)
    place -= (0.05 + 0.22 * len(title)) / height
    figure.text(0.012, place, "\n".join(conditions), fontsize=8.5, color=MUTED, **write)
    text = "\n".join(reading)
    figure.text(0.012, 0.08 / height, text, va="bottom", fontsize=7.5, color=MUTED)
    return figure, axes


def _whole_words(text: str, most: int) -> str:
    """Shorten a long text between two words, or anywhere if one word is very long."""
    cut = textwrap.shorten(text, most, placeholder=" …")
    return cut if len(cut) > most // 2 or cut == text else shortened(text, most)


def _draw(axes: Axes, scene: Scene, *, with_seeds: bool, layered: bool, size: float) -> None:
    markers, lines, strokes = [np.empty((0, 4))], [np.empty((0, 4))], [np.empty((0, 4))]
    for method in scene.methods:
        for drawn in method.drawn:
            lines += _draw_estimand(axes, method, drawn, layered=layered)
            if not layered:
                rings = method.points[method.is_member], drawn.covariances[method.is_member]
                strokes.append(layers.region_boxes(axes, *rings))
        if with_seeds:
            gid = layer(method.key, "seed")
            if len(method.seeds) > len(method.points):
                layers.draw_seeds(axes, method.seeds, method.style, gid)
            layers.draw_shifts(axes, *method.shifts, method.style, gid)
        _draw_means(axes, method)
        for kept, width in ((method.is_member, layers.MEMBER), (~method.is_member, layers.OTHER)):
            markers.append(marker_boxes(axes, method.points[kept], width + MARGIN))
    for _, *point in scene.references:
        layers.draw_reference(axes, (point[0], point[1]))
        markers.append(marker_boxes(axes, np.array(point), layers.REFERENCE))
    arrows, gaps = _draw_gaps(axes, scene)
    lines += arrows
    outside = _draw_outside(axes, scene)
    markers += [marker_boxes(axes, np.array(label.anchors), 0.0) for label in outside]
    boxes = [np.vstack(found) for found in (markers, lines, strokes)]
    for label in _sized(gaps, size):
        # Each estimand has its own label in the same place, and only one is visible.
        place_labels(axes, [label], *boxes)
    boxes[1] = np.vstack([boxes[1], *(text_boxes(axes, label.text) for label in gaps)])
    if not _place_names(axes, scene, boxes, size):
        _draw_legend(axes, scene)
    values = value_labels(scene, COLUMN_LABELS) if size else value_labels(scene)
    place_labels(axes, _sized(outside + values, size), *boxes)


def _sized(labels: list[Label], size: float) -> list[Label]:
    """Return the labels, all of this size in points; 0.0 leaves each as it is."""
    return [replace(label, size=size) if size else label for label in labels]


def _place_names(axes: Axes, scene: Scene, boxes: list[Array], size: float) -> bool:
    """Write all names, add them to the solid boxes, and return whether all have room."""
    names = _sized(method_labels(scene) + reference_labels(scene), size)
    unnamed = _left_over(axes, names, boxes)
    tails = _sized(tail_labels(scene, unnamed), size)
    return not _left_over(axes, tails, boxes) and len(tails) == len(unnamed)


def _left_over(axes: Axes, labels: list[Label], boxes: list[Array]) -> list[str]:
    """Place labels, add them to the solid boxes, and return the texts that found no place."""
    placed = place_labels(axes, labels, *boxes)
    found = [label.text for label, is_placed in zip(labels, placed, strict=True) if is_placed]
    boxes[1] = np.vstack([boxes[1], *(text_boxes(axes, text) for text in found)])
    return [label.text for label, is_placed in zip(labels, placed, strict=True) if not is_placed]


def _draw_estimand(axes: Axes, method: MethodScene, drawn: Drawn, *, layered: bool) -> list[Array]:
    """Draw a method's layer of an estimand, and return the boxes of its lines.

    Each region is a layer of its own on the page, which shows one when its point is reached.
    """
    gid, style = layer(method.key, drawn.key), method.style
    fitted = len(drawn.curve) > 0
    band = layer(method.key, drawn.key, "band")
    if layered:
        edges = drawn.pessimistic, drawn.optimistic
        layers.draw_surface_band(axes, *edges, style, band, alone=not fitted)
    layers.draw_surface(axes, drawn.median, style, gid, alone=not fitted)
    for at, is_member in enumerate(method.is_member):
        ring = layer(
            method.key, drawn.key, "ring", f"g{method.rows[at]}", *["member"] * int(is_member)
        )
        if layered or is_member:
            region = method.points[at : at + 1], drawn.covariances[at : at + 1]
            layers.draw_regions(axes, *region, style, ring)
    if not fitted:
        return [line_boxes(axes, layers.staircase(drawn.median, axes.get_xlim()[0])[1:])]
    for other in drawn.close:
        axes.plot(*other[layers.thinned(len(other))].T, color=style.colour, lw=0.6, gid=gid)
    layers.draw_curve(axes, drawn.curve, drawn.band, drawn.beyond, style, gid, band)
    return [layers.curve_boxes(axes, line) for line in (drawn.curve, drawn.beyond) if len(line)]


def _draw_means(axes: Axes, method: MethodScene) -> None:
    for kept, is_member in ((~method.is_member, False), (method.is_member, True)):
        rows = [f"c{row}" for row, here in zip(method.rows, kept, strict=True) if here]
        if rows:
            gid = layer(method.key, *rows)
            layers.draw_means(axes, method.points[kept], method.style, gid, is_member=is_member)


def _draw_outside(axes: Axes, scene: Scene) -> list[Label]:
    """Draw a pointer at the height of each configuration left of the figure; return the labels."""
    left, top = axes.get_xlim()[0], axes.get_ylim()[1]
    styles = {method.note.name: method for method in scene.methods}
    heights = [min(height, top) for height in scene.outside_heights]
    for c, row, height in zip(scene.outside, scene.outside_rows, heights, strict=True):
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
            gid=layer(method.key, f"c{row}"),
        )
    return left_labels(scene, heights)


def _draw_gaps(axes: Axes, scene: Scene) -> tuple[list[Array], list[Label]]:
    """Draw the gap as an arrow, in the layers of both its methods; return what it covers."""
    boxes, labels = [], []
    for number, arrow in enumerate(scene.arrows):
        gid = layer(*arrow.methods, arrow.key)
        layers.draw_arrow(axes, (arrow.clean, arrow.ends[0]), (arrow.clean, arrow.ends[1]), gid)
        boxes.append(line_boxes(axes, np.array([(arrow.clean, end) for end in arrow.ends])))
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
    for name, _, _ in scene.references:
        axes.plot([], [], ls="", marker="*", mfc="white", mec=MUTED, label=shortened(name, 28))
    axes.legend(loc="best", frameon=True, framealpha=0.9, edgecolor="none", fontsize=8)
