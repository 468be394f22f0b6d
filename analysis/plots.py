"""Plots: the figures of a study. Accuracies are drawn in percent, means large and seeds faint."""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.canvas import INK, MUTED, look, new_axes
from analysis.captions import MOST_SEED_POINTS, front_conditions, front_reading
from analysis.choice import Choice, MethodFront, choose, mean_points
from analysis.configurations import ConfigurationResult
from analysis.framing import frame, left_out
from analysis.labels import Label, marker_boxes, place_labels, step_boxes
from analysis.palette import MethodStyle, method_styles
from analysis.results import Array, Key, Results
from analysis.words import attack_text, percent, shortened, values_text

MEMBER, OTHER, SEED = 7.5, 5.5, 2.5
"""Sizes of the markers in points: front members, other configurations, single seeds."""
READING_LINE = 0.13
"""Height of a line of small print in inches."""
LABELLED = 6
"""At most this many points of a method carry their values."""


def fig_front(results: Results, radius: float, *, header: bool = True) -> Figure:
    """Draw robust accuracy at this radius against clean accuracy, all configurations, all fronts.

    The fronts' members are chosen at the objective radius, on validation data where there are any,
    whatever the radius drawn. `header` adds a title and the conditions, for a figure on its own.
    """
    choice, position = choose(results), results.threat.radii.index(radius)
    with look():
        reading = textwrap.wrap(front_reading(results, choice, radius), 128)
        if header:
            below = 0.6 + READING_LINE * len(reading)
            height = 5.5 + below
            figure, axes = new_axes(
                8.0, height, left=0.085, right=0.985, top=1 - 0.8 / height, bottom=below / height
            )
        else:
            figure, axes = new_axes(7.0, 5.3, left=0.09, right=0.98, top=0.99, bottom=0.1)
        axes.set_xlabel("Clean accuracy (%)")
        axes.set_ylabel(f"Robust accuracy (%), {attack_text(results.threat, radius)}")
        _draw_front(axes, results, choice, position)
        if header:
            _write_header(figure, results, choice, radius)
            figure.text(0.015, 0.01, "\n".join(reading), va="bottom", fontsize=7.5, color=MUTED)
    return figure


def _draw_front(axes: Axes, results: Results, choice: Choice, position: int) -> None:
    styles = method_styles(results.methods)
    found = tuple(c for front in choice.fronts for c in front.configurations)
    means = 100 * mean_points(found, position)
    _set_limits(axes, choice, position)
    if not found:
        axes.text(0.5, 0.5, "No trial has a result.", transform=axes.transAxes, ha="center")
        return
    low = axes.get_xlim()[0]
    markers = marker_boxes(axes, means, OTHER)
    lines, strokes = [], []
    for front in choice.fronts:
        style = styles[front.note.name]
        corners = _staircase(100 * mean_points(front.members, position), low)
        _draw_staircase(axes, corners, style)
        lines.append(step_boxes(axes, corners[2:-1]))
        strokes.append(step_boxes(axes, corners))
        if len(results.trials) <= MOST_SEED_POINTS:
            seeds = _draw_seeds(axes, front, position, style)
            strokes.append(marker_boxes(axes, seeds, SEED))
        _draw_means(axes, front, position, style)
    outside = _draw_left_out(axes, choice, position)
    markers = np.vstack([markers, *(_left_marker_box(axes, label) for label in outside)])
    named = _method_labels(axes, choice, position)
    labels = named + outside + _value_labels(axes, choice, position)
    placed = place_labels(axes, labels, markers, np.vstack(lines), np.vstack(strokes))
    if not all(placed[: len(named)]):
        _draw_legend(axes, choice)


def _set_limits(axes: Axes, choice: Choice, position: int) -> None:
    low, high, top = (100 * end for end in frame(choice, position))
    margin = max(0.07 * (high - low), 0.4)
    # Nothing lies beyond 100%: only half a marker may.
    axes.set_xlim(low - margin, min(high + margin, 100.2 + 0.02 * (high - low)))
    axes.set_ylim(0.0, min(max(1.09 * top, 5.0), 104.0))


def _staircase(points: Array, left: float) -> Array:
    """Give the corners of R(c) = max{r_i : c_i >= c} from the bottom right to the left edge."""
    if len(points) == 0:
        return np.empty((0, 2))
    by_clean = points[np.lexsort((points[:, 1], -points[:, 0]))]
    height, corners = 0.0, [(float(by_clean[0, 0]), 0.0)]
    for clean, robust in by_clean.tolist():
        if robust > height:
            corners += [(clean, height), (clean, robust)]
            height = robust
    corners.append((min(left, corners[-1][0]), height))
    return np.array(corners)


def _draw_staircase(axes: Axes, corners: Array, style: MethodStyle) -> None:
    if len(corners) == 0:
        return
    dash = (0, (4, 2)) if style.searched else "solid"
    mitred: dict[str, Any] = {
        "solid_joinstyle": "miter",
        "dash_joinstyle": "miter",
        "solid_capstyle": "butt",
    }
    # Both outer pieces follow from the definition, not from a configuration of their own.
    axes.plot(*corners.T, color=style.colour, lw=0.8, alpha=0.35, ls=dash, zorder=2, **mitred)
    axes.plot(*corners[2:-1].T, color=style.colour, lw=1.5, ls=dash, zorder=2.1, **mitred)


def _draw_seeds(axes: Axes, front: MethodFront, position: int, style: MethodStyle) -> Array:
    seeds, spokes = [], []
    for c in front.configurations:
        mean = (100 * c.clean.mean, 100 * c.robust[position].mean)
        for trial in c.trials:
            point = (100 * trial.clean, 100 * trial.robust[position])
            seeds.append(point)
            spokes += [mean, point, (np.nan, np.nan)]
    if not seeds:
        return np.empty((0, 2))
    axes.plot(*np.array(spokes).T, color=style.colour, lw=0.7, alpha=0.35, zorder=3)
    points = np.array(seeds)
    axes.plot(*points.T, ls="", marker="o", ms=SEED, mew=0, color=style.colour, alpha=0.5, zorder=3)
    return points


def _draw_means(axes: Axes, front: MethodFront, position: int, style: MethodStyle) -> None:
    members = {c.key for c in front.members}
    others = tuple(c for c in front.configurations if c.key not in members)
    for group, size, strength in ((others, OTHER, 0.55), (front.members, MEMBER, 1.0)):
        points = 100 * mean_points(group, position)
        axes.plot(
            *points.T,
            ls="",
            marker=style.marker,
            ms=size,
            mfc="white" if style.searched else style.colour,
            mec=style.colour if style.searched else "white",
            mew=1.4 if style.searched else 0.7,
            alpha=strength,
            zorder=4 + strength,
        )


def _draw_left_out(axes: Axes, choice: Choice, position: int) -> list[Label]:
    """Point left at the height of each configuration outside the figure; say where it is."""
    styles = method_styles([front.note for front in choice.fronts])
    left, top = axes.get_xlim()[0], axes.get_ylim()[1]
    labels = []
    for c in left_out(choice):
        height = min(100 * c.robust[position].mean, top)
        style = styles[c.method]
        axes.plot(
            [left], [height], marker=8, ms=8, mew=0, color=style.colour, clip_on=False, zorder=5
        )
        text = values_text(c.values, 2) or shortened(c.method, 28)
        labels.append(
            Label(
                text=f"{text}: {percent(c.clean.mean)}% clean",
                anchors=((left, height),),
                colour=style.text_colour,
            )
        )
    return labels


def _left_marker_box(axes: Axes, label: Label) -> Array:
    """Give the place of the pointer at the left edge: it lies outside, so it covers nothing."""
    return marker_boxes(axes, np.array(label.anchors), 0.0)


def _shown_points(
    axes: Axes, found: Sequence[ConfigurationResult], position: int
) -> dict[Key, tuple[float, float]]:
    """Give the points of the configurations inside the axes, in percent."""
    low, top = axes.get_xlim()[0], axes.get_ylim()[1]
    points = {c.key: (100 * c.clean.mean, 100 * c.robust[position].mean) for c in found}
    return {key: (x, y) for key, (x, y) in points.items() if x > low and y < top}


def _method_labels(axes: Axes, choice: Choice, position: int) -> list[Label]:
    """Name each method beside the highest member of its front that has a free place."""
    styles = method_styles([front.note for front in choice.fronts])
    labels = []
    for front in choice.fronts:
        members = _shown_points(axes, front.members, position)
        if members:
            labels.append(
                Label(
                    text=shortened(front.note.name, 28),
                    anchors=tuple(sorted(members.values(), key=lambda point: -point[1])),
                    fellows=tuple(_shown_points(axes, front.configurations, position).values()),
                    colour=styles[front.note.name].text_colour,
                    size=11.0,
                    bold=True,
                )
            )
    return labels


def _value_labels(axes: Axes, choice: Choice, position: int) -> list[Label]:
    """Name some points by their values: members first."""
    styles = method_styles([front.note for front in choice.fronts])
    labels = []
    for front in choice.fronts:
        points = _shown_points(axes, front.configurations, position)
        members = [c for c in front.members if c.key in points]
        member_keys = {c.key for c in members}
        others = [c for c in front.configurations if c.key in points.keys() - member_keys]
        chosen = _spaced(members, LABELLED) + _spaced(others, LABELLED - len(members))
        labels += [
            Label(
                text=values_text(c.values, 2),
                anchors=(points[c.key],),
                colour=styles[front.note.name].text_colour,
            )
            for c in chosen
            if c.values
        ]
    return labels


def _spaced(items: Sequence[ConfigurationResult], most: int) -> list[ConfigurationResult]:
    """Keep at most so many items, both ends among them, evenly spread."""
    if most < 1:
        return []
    rows = np.unique(np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int))
    return [items[row] for row in rows]


def _draw_legend(axes: Axes, choice: Choice) -> None:
    styles = method_styles([front.note for front in choice.fronts])
    for front in choice.fronts:
        style = styles[front.note.name]
        axes.plot(
            [],
            [],
            color=style.colour,
            marker=style.marker,
            mfc="white" if style.searched else style.colour,
            ls="--" if style.searched else "-",
            label=shortened(front.note.name, 28),
        )
    axes.legend(loc="best", frameon=True, framealpha=0.9, edgecolor="none", fontsize=8)


def _write_header(figure: Figure, results: Results, choice: Choice, radius: float) -> None:
    height = figure.get_figheight()
    title = shortened(f"{results.study}: clean accuracy and robust accuracy", 72)
    figure.text(
        0.015, 1 - 0.15 / height, title, va="top", fontsize=12, fontweight="bold", color=INK
    )
    conditions = "\n".join(textwrap.wrap(front_conditions(results, choice, radius), 115))
    figure.text(0.015, 1 - 0.42 / height, conditions, va="top", fontsize=8.5, color=MUTED)
