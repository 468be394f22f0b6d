"""The main figure of a study: robust against clean accuracy, in percent, with its captions.

Means are large and seeds are faint. If the figure stands alone, small panels beside it show the
gap, the exchange rate and the attainable robustness.
"""

import textwrap
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

from analysis.curves.gaps import Gap
from analysis.document import Analysis, View
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
from analysis.figures.marks import draw_survival, line_boxes, panel_name, write_beside
from analysis.figures.palette import MethodStyle, method_styles
from analysis.figures.scene import Drawn, MethodScene, Scene, gather, left_out_text
from analysis.findings.phrases import ESTIMAND_TEXTS, declared_seeds_text, listed_text
from analysis.fronts.choice import Choice
from analysis.inference.claims import Estimand, Finding
from analysis.results.results import Results
from analysis.results.trials import Array
from analysis.results.words import attack_text, count_text, shortened, value_text

Draw = Callable[[Axes], None]
RATES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
"""Ticks of an exchange rate."""
NAME = 16
"""Letters of a method's name in a small panel."""
MOST_RINGS = 24
"""With more configurations, only members of fronts have rings: other rings would hide them."""
MOST_SEED_POINTS = 400
"""With more trials, only means are drawn: single seeds would be one grey cloud."""
SHORT_FAMILIES = {"power": "power", "superellipse": "superellipse", "ellipse": "Gaussian ellipse"}
LABEL_SIZE = 9.5
LABEL_LETTERS = 56
"""So many letters of an axis label fit beside the figure; a longer label is smaller."""
READING_LINE = 0.135
"""Height of a line of small print, in inches."""


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
    return finding.text.partition(" (95%")[0].rstrip(" .,;")


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


def front_reading(analysis: Analysis, radius: float, estimand: Estimand) -> str:
    """Describe how to read the main figure, and what is outside it."""
    results, choice = analysis.results, analysis.choice
    view = analysis.view(radius, estimand)
    fitted = [fit for fit in view.fits if fit.chosen]
    stepped = [fit.method for fit in view.fits if fit.steps is not None]
    families = ", ".join(
        f"{fit.method}: {SHORT_FAMILIES.get(str(fit.chosen), fit.chosen)}" for fit in fitted
    )
    several = any(len(c.trials) > 1 for c in analysis.found)
    several = several and len(results.trials) <= MOST_SEED_POINTS
    searched = any(front.note.searched and front.configurations for front in choice.fronts)
    parts = [
        "Dots: single seeds" if several else "",
        "rings: 95% regions of the means of "
        + ("front members" if len(analysis.found) > MOST_RINGS else "configurations"),
        f"lines: fitted fronts ({families}) with pointwise 95% bands, dotted where extrapolated"
        if fitted
        else "",
        f"lines of {listed_text(stepped)}: monotone fits without a formula, with simultaneous 95% "
        "bands"
        if stepped
        else "",
        ("dashed steps" if fitted or stepped else "steps")
        + ": median attainment surface, shaded from its pessimistic to its optimistic edge "
        "(95%, pointwise)",
        "hollow: searched" if searched else "",
        "stars: references, each a published single run without an interval"
        if results.references
        else "",
        _member_text(results, choice, radius),
    ]
    text = "; ".join(part for part in parts if part)
    position = results.threat.radii.index(radius)
    outside = left_out_text(choice, position, results.references)
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


def _asides(analysis: Analysis, view: View) -> list[Draw]:
    """Choose the small panels: gap, rate and attainable robustness, if they exist."""
    styles = method_styles(analysis.results.methods)
    draws: list[Draw] = []
    gap = next((gap for gap in view.gaps if gap.range is not None), None)
    if gap is not None:
        draws.append(lambda axes: _draw_gap(axes, gap))
    if any(rate.clean for rate in view.rates):
        draws.append(lambda axes: _draw_rates(axes, view, styles))
    if view.contrasts.hypervolumes:
        draws.append(lambda axes: _draw_forest(axes, analysis, view, styles))
    if len(draws) < 3 and any(margin.curve for margin in analysis.margins):
        draws.append(lambda axes: _draw_radii(axes, analysis, styles))
    return draws


def _member_text(results: Results, choice: Choice, radius: float) -> str:
    threat = results.threat
    text = f"large markers: each method's front as chosen on {chosen_text(results)}"
    shifted = choice.on_validation and radius == threat.objective_radius and not threat.chosen_at
    if shifted and any(front.note.searched and front.members for front in choice.fronts):
        text += "; thin arrows: from validation to test accuracies"
    return text


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
    draws = _asides(analysis, analysis.view(radius, estimand))
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
    """Shorten a long text between two words, or anywhere if one word is very long."""
    cut = textwrap.shorten(text, most, placeholder=" …")
    return cut if len(cut) > most // 2 or cut == text else shortened(text, most)


def _column(figure: Figure, count: int, ends: Mapping[str, float]) -> list[Axes]:
    """Add `count` small axes below each other at the right edge of a figure."""
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
    for _, *point in scene.references:
        layers.draw_reference(axes, (point[0], point[1]))
        markers.append(marker_boxes(axes, np.array(point), layers.REFERENCE))
    arrows, gaps = _draw_gaps(axes, scene)
    lines += arrows
    outside = _draw_outside(axes, scene)
    markers += [marker_boxes(axes, np.array(label.anchors), 0.0) for label in outside]
    boxes = [np.vstack(found) for found in (markers, lines, strokes)]
    for label in gaps:
        # Each estimand has its own label in the same place, and only one is visible.
        place_labels(axes, [label], *boxes)
    boxes[1] = np.vstack([boxes[1], *(text_boxes(axes, label.text) for label in gaps)])
    if not _place_names(axes, scene, boxes):
        _draw_legend(axes, scene)
    place_labels(axes, outside + value_labels(scene), *boxes)


def _place_names(axes: Axes, scene: Scene, boxes: list[Array]) -> bool:
    """Write all names, add them to the solid boxes, and return whether all have room."""
    unnamed = _left_over(axes, method_labels(scene) + reference_labels(scene), boxes)
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
    """Draw a method's layer of an estimand, and return its solid and its faint boxes."""
    gid, style = layer(method.key, drawn.key), method.style
    fitted = len(drawn.curve) > 0
    layers.draw_surface_band(
        axes, drawn.pessimistic, drawn.optimistic, style, gid, alone=not fitted
    )
    layers.draw_surface(axes, drawn.median, style, gid, alone=not fitted)
    steps = line_boxes(axes, layers.staircase(drawn.median, axes.get_xlim()[0])[1:])
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
    """Draw a pointer at the height of each configuration left of the figure; return the labels."""
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


def _title(axes: Axes, text: str) -> None:
    axes.text(-0.24, 1.035, text, transform=axes.transAxes, fontsize=9, color=INK, va="bottom")
    axes.tick_params(labelsize=8)


def _draw_gap(axes: Axes, gap: Gap) -> None:
    clean, low, high = (100 * np.array(part) for part in (gap.clean, gap.low, gap.high))
    ends = 100 * np.array(gap.envelope_low), 100 * np.array(gap.envelope_high)
    axes.fill_between(clean, *ends, color=INK, alpha=0.06, lw=0)
    axes.fill_between(clean, low, high, color=INK, alpha=0.16, lw=0)
    axes.plot(clean, 100 * np.array(gap.estimate), color=INK, lw=1.8)
    axes.axhline(0.0, color="#8C8C8C", lw=0.9)
    axes.set_xlim(clean[0], clean[-1])
    axes.set_ylim(_seen(100 * np.array(gap.estimate), low, high))
    axes.set_xlabel("Clean accuracy (%)", fontsize=8)
    first, second = (panel_name(name, NAME) for name in (gap.first, gap.second))
    _title(axes, f"Robust accuracy of {first} minus {second} (pp)")


def _seen(estimate: Array, low: Array, high: Array) -> tuple[float, float]:
    """Choose the limits of a gap's axis in points, with 0 inside."""
    # A band may widen without bound at its ends, so it is cut beyond three usual widths.
    usual = 3.0 * float(np.median(high - low))
    ends = max(low.min(), estimate.min() - usual), min(high.max(), estimate.max() + usual)
    margin = 0.08 * max(ends[1], 0.0) - 0.08 * min(ends[0], 0.0)
    return min(ends[0], 0.0) - margin, max(ends[1], 0.0) + margin


def _draw_rates(axes: Axes, view: View, styles: Mapping[str, MethodStyle]) -> None:
    drawn = [rate for rate in view.rates if rate.clean]
    for rate in drawn:
        colour, clean = styles[rate.method].colour, 100 * np.array(rate.clean)
        axes.fill_between(clean, rate.low, rate.high, color=colour, alpha=0.16, lw=0)
        axes.plot(clean, rate.estimate, color=colour, lw=1.8)
    estimates = np.concatenate([rate.estimate for rate in drawn])
    axes.set_yscale("log")
    axes.set_ylim(max(estimates.min() / 2, 0.02), min(estimates.max() * 2.5, 200.0))
    low, high = axes.get_ylim()
    ticks = [tick for tick in RATES if low <= tick <= high]
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("Clean accuracy (%)", fontsize=8)
    _title(axes, "Robust points gained per clean point given up")


def _draw_forest(
    axes: Axes, analysis: Analysis, view: View, styles: Mapping[str, MethodStyle]
) -> None:
    rows = [
        (one.method, one.value, styles[one.method].text_colour, styles[one.method].marker)
        for one in view.contrasts.hypervolumes
    ]
    primary = view.contrasts.primary
    if primary is not None:
        text = f"{panel_name(primary.first, 8)} − {panel_name(primary.second, 8)}"
        rows.append((text, primary.difference, INK, "d"))
    for place, (_, value, colour, marker) in enumerate(rows):
        ends = 100 * value.low, 100 * value.high
        axes.hlines(-place, *ends, color=colour, lw=1.6)
        axes.plot([100 * value.estimate], [-place], marker=marker, ms=5, color=colour, ls="")
        text = f"{100 * value.estimate:.1f} [{ends[0]:.1f}, {ends[1]:.1f}]"
        look_of_text = {"va": "center", "fontsize": 7.5, "color": colour}
        write_beside(axes, text, (ends[1], -place), (6, 0), **look_of_text)
    low = min(0.0, *(100 * value.low for _, value, _, _ in rows))
    high = max(100 * value.high for _, value, _, _ in rows)
    axes.set_xlim(1.05 * low, low + 1.8 * max(high - low, 1.0))
    axes.set_xticks([tick for tick in axes.get_xticks() if low <= tick <= max(1.1 * high, 10.0)])
    axes.set_ylim(-len(rows) + 0.4, 0.6)
    axes.set_yticks(
        [-place for place in range(len(rows))], [panel_name(name, 19) for name, *_ in rows]
    )
    if low < 0:
        axes.axvline(0.0, color="#8C8C8C", lw=0.9)
    axes.set_xlabel("percentage points", fontsize=8)
    floor = f"{100 * analysis.results.clean_floor:g}"
    _title(axes, f"Mean attainable robust accuracy, clean {floor}–100%")


def _draw_radii(axes: Axes, analysis: Analysis, styles: Mapping[str, MethodStyle]) -> None:
    radii = (0.0, *analysis.results.threat.radii)
    for margin in analysis.margins:
        if margin.curve is None:
            continue
        style = styles[analysis.found[margin.row].method]
        draw_survival(axes, margin.curve, style.colour)
        points = [100 * value.estimate for value in margin.accuracies]
        axes.plot(radii, points, ls="", marker=style.marker, ms=4, color=style.colour)
    axes.set_ylim(0.0, 104.0)
    axes.set_xlim(0.0, 1.02 * radii[-1])
    axes.set_xticks(radii, [value_text(radius) for radius in radii])
    axes.set_xlabel(f"Attack radius ({analysis.results.threat.norm})", fontsize=8, color=MUTED)
    _title(axes, "Accuracy (%) of the most robust choices")
