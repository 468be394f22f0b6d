"""Plots: the figures of a study. Accuracies are drawn in percent, means large and seeds faint."""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.canvas import INK, MUTED, look, new_axes
from analysis.choice import Choice, MethodFront, choose, mean_points
from analysis.configurations import ConfigurationResult
from analysis.examples import draw_examples as draw_examples
from analysis.labels import Label, marker_boxes, place_labels, step_boxes
from analysis.palette import MethodStyle, method_styles
from analysis.results import Array, Results
from analysis.words import (
    attack_text,
    count_text,
    percent,
    shortened,
    values_text,
)

MEMBER, OTHER, SEED = 7.5, 5.5, 2.5
"""Sizes of the markers in points: front members, other configurations, single seeds."""
MOST_SEED_POINTS = 400
"""More trials than this are drawn as means alone: single seeds would be one grey cloud."""
LABELLED = 6
"""At most this many points of a method carry their values."""


def fig_front(results: Results, radius: float, *, header: bool = True) -> Figure:
    """Draw robust accuracy at this radius against clean accuracy, all configurations, all fronts.

    The fronts' members are chosen at the objective radius, on validation data where there are any,
    whatever the radius drawn. `header` adds a title and the conditions, for a figure on its own.
    """
    choice, position = choose(results), results.threat.radii.index(radius)
    with look():
        top = 0.83 if header else 0.98
        bottom = 0.155 if header else 0.11
        figure, axes = new_axes(8.0, 6.0, left=0.085, right=0.985, top=top, bottom=bottom)
        axes.set_xlabel("Clean accuracy (%)")
        axes.set_ylabel(f"Robust accuracy (%), {attack_text(results.threat, radius)}")
        _draw_points(axes, results, choice, position)
        if header:
            _write_header(figure, results, choice, radius)
    return figure


def shown_range(clean: Array) -> tuple[float, float]:
    """Choose the clean accuracies (fractions) between which a figure is drawn.

    All of them, unless at most a quarter lies beyond a gap more than three times as wide as the
    range of the rest (counted as 2 points if it is less): one collapsed configuration would press
    all others into a corner. clean: (N,); returns the least and the greatest shown.

    >>> shown_range(np.array([0.99, 0.98, 0.97, 0.96, 0.62]))
    (0.96, 0.99)
    """
    if len(clean) == 0:
        return 0.0, 1.0
    falling = np.sort(clean)[::-1]
    for kept in range(1, len(falling)):
        few_left_out = 4 * (len(falling) - kept) <= len(falling)
        gap = falling[kept - 1] - falling[kept]
        if few_left_out and gap > 3 * max(falling[0] - falling[kept - 1], 0.02):
            return float(falling[kept - 1]), float(falling[0])
    return float(falling[-1]), float(falling[0])


def left_out(results: Results, radius: float) -> list[ConfigurationResult]:
    """List the configurations that lie left of what `fig_front` shows."""
    found = [c for front in choose(results).fronts for c in front.configurations]
    low, _ = shown_range(mean_points(tuple(found), results.threat.radii.index(radius))[:, 0])
    return [c for c in found if c.clean.mean < low]


def out_of_range_text(results: Results, radius: float) -> str:
    """Say which configurations lie outside the figure, and where; empty if none does."""
    position = results.threat.radii.index(radius)
    outside = [
        f"{shortened(c.method, 24)} {values_text(c.values)} at {percent(c.clean.mean)}% clean, "
        f"{percent(c.robust[position].mean)}% robust"
        for c in left_out(results, radius)
    ]
    if not outside:
        return ""
    more = f" and {len(outside) - 3} more" if len(outside) > 3 else ""
    return f"Left of the figure: {'; '.join(outside[:3])}{more}."


def _draw_points(axes: Axes, results: Results, choice: Choice, position: int) -> None:
    styles = method_styles(results.methods)
    found = tuple(c for front in choice.fronts for c in front.configurations)
    means = 100 * mean_points(found, position)
    _set_limits(axes, means)
    if not found:
        axes.text(0.5, 0.5, "No trial has a result.", transform=axes.transAxes, ha="center")
        return
    low = axes.get_xlim()[0]
    with_seeds = len(results.trials) <= MOST_SEED_POINTS
    taken = [marker_boxes(axes, means, OTHER)]
    for front in choice.fronts:
        style = styles[front.note.name]
        corners = _staircase(100 * mean_points(front.members, position), low)
        _draw_staircase(axes, corners, style)
        taken.append(step_boxes(axes, corners))
        if with_seeds:
            seeds = _draw_seeds(axes, front, position, style)
            taken.append(marker_boxes(axes, seeds, SEED))
        _draw_means(axes, front, position, style)
    _name(axes, choice, position, np.vstack(taken))


def _set_limits(axes: Axes, means: Array) -> None:
    low, high = (100 * end for end in shown_range(means[:, 0] / 100))
    margin = max(0.07 * (high - low), 0.4)
    axes.set_xlim(low - margin, high + margin)
    shown = means[means[:, 0] >= low - 1e-9, 1]
    axes.set_ylim(0.0, max(1.09 * shown.max(initial=0.0), 5.0))


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


def _name(axes: Axes, choice: Choice, position: int, taken: Array) -> None:
    """Name the methods at their fronts, then some points by their values."""
    styles = method_styles([front.note for front in choice.fronts])
    low = axes.get_xlim()[0]
    names, values = [], []
    for front in choice.fronts:
        shown = [c for c in front.members if 100 * c.clean.mean > low]
        if not shown:
            continue
        points = {c.key: (100 * c.clean.mean, 100 * c.robust[position].mean) for c in shown}
        by_height = sorted(points.values(), key=lambda point: -point[1])
        colour = styles[front.note.name].text_colour
        name = shortened(front.note.name, 28)
        names.append(
            Label(text=name, anchors=tuple(by_height), colour=colour, size=11.0, bold=True)
        )
        values += [
            Label(text=values_text(c.values), anchors=(points[c.key],), colour=colour)
            for c in _spaced(shown, LABELLED)
            if c.values
        ]
    placed = place_labels(axes, names + values, taken)
    if not all(placed[: len(names)]):
        _draw_legend(axes, choice)


def _spaced(items: Sequence[ConfigurationResult], most: int) -> list[ConfigurationResult]:
    """Keep at most so many items, both ends among them, evenly spread."""
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


def front_subtitle(results: Results, radius: float) -> str:
    """State the conditions of the main figure: how many, of what, against what, which spread."""
    found = sum(len(front.configurations) for front in choose(results).fronts)
    return (
        f"{count_text(found, 'configuration')} × {count_text(len(results.seeds), 'seed')}"
        f" = {count_text(len(results.trials), 'trial')}"
        + (f" ({len(results.absent)} absent)" if results.absent else "")
        + f" · {count_text(results.num_test, 'test image')}"
        f" · {attack_text(results.threat, radius)}"
    )


def front_reading(results: Results, radius: float) -> str:
    """Say how the main figure is read."""
    where = "validation data" if results.num_validation else "these test data"
    searched = any(note.searched for note in results.methods)
    with_seeds = len(results.trials) <= MOST_SEED_POINTS
    parts = [
        f"Large markers and steps: each method's front, chosen on {where} at radius "
        f"{results.threat.objective_radius:g} and drawn at its mean test accuracies",
        "small markers: all other configurations",
        "dots and spokes: single seeds" if with_seeds and len(results.seeds) > 1 else "",
        "hollow and dashed: searched methods" if searched else "",
    ]
    return "; ".join(part for part in parts if part) + "."


def _write_header(figure: Figure, results: Results, choice: Choice, radius: float) -> None:
    title = textwrap.wrap(f"{results.study}: robust against clean accuracy", 70)[:2]
    figure.text(0.015, 0.975, "\n".join(title), va="top", fontsize=12, fontweight="bold", color=INK)
    subtitle = textwrap.wrap(front_subtitle(results, radius), 108)
    figure.text(0.015, 0.92, "\n".join(subtitle), va="top", fontsize=8.5, color=MUTED)
    notes = f"{out_of_range_text(results, radius)} {front_reading(results, radius)}".strip()
    figure.text(
        0.015, 0.012, "\n".join(textwrap.wrap(notes, 116)), va="bottom", fontsize=8, color=MUTED
    )
