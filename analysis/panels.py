"""Panels: the small figures, one quantity each, of accuracies in percent."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from analysis.canvas import MUTED, look, new_axes
from analysis.choice import MethodFront, choose
from analysis.configurations import ConfigurationResult, Spread
from analysis.labels import Label, marker_boxes, place_labels
from analysis.palette import MethodStyle, is_standard, method_styles
from analysis.results import Array, Results
from analysis.words import SYMBOLS, method_text, shortened, value_text

Rows = Sequence[tuple[float, Spread]]
"""Positions on the horizontal axis with the accuracies there."""


def fig_radii(results: Results) -> Figure:
    """Draw accuracy against attack radius, for each method's chosen configuration.

    One network's accuracies at several radii belong together, so a line joins them; radius 0 is
    its clean accuracy.
    """
    threat, styles = results.threat, method_styles(results.methods)
    with look():
        figure, axes = new_axes(5.4, 3.9, left=0.11, right=0.81, top=0.97, bottom=0.13)
        axes.set_xlabel(f"Attack radius ({threat.attack}, {threat.norm})")
        axes.set_ylabel("Accuracy (%)")
        axes.set_xlim(-0.03 * threat.radii[-1], 1.03 * threat.radii[-1])
        axes.set_ylim(0.0, 104.0)
        ticks = (0.0, *threat.radii)
        axes.set_xticks(ticks, [value_text(tick) for tick in ticks], fontsize=8)
        chosen = [front.best for front in choose(results).fronts if front.best is not None]
        for c in chosen:
            over_radii = (c.clean, *c.robust)
            rows = list(zip((0.0, *threat.radii), over_radii, strict=True))
            style = styles[c.method]
            points = _draw_spreads(axes, rows, style, hollow=style.searched)
            axes.plot(*points.T, color=style.colour, lw=1.3, ls="--" if style.searched else "-")
        ends = [100 * c.robust[-1].mean for c in chosen]
        for c, height in zip(chosen, spread_heights(ends, 5.5), strict=True):
            axes.annotate(
                shortened(c.method, 14),
                (threat.radii[-1], height),
                xytext=(9, 0),
                textcoords="offset points",
                va="center",
                color=styles[c.method].text_colour,
                fontweight="bold",
                annotation_clip=False,
            )
    return figure


def spread_heights(heights: Sequence[float], gap: float) -> list[float]:
    """Move heights apart, upwards and no more than needed, until neighbours differ by `gap`.

    >>> spread_heights([10.0, 0.0, 1.0], 4.0)
    [10.0, 0.0, 4.0]
    """
    moved = list(heights)
    order = sorted(range(len(moved)), key=moved.__getitem__)
    for lower, upper in pairwise(order):
        moved[upper] = max(moved[upper], moved[lower] + gap)
    return moved


def strength_name(front: MethodFront) -> str | None:
    """Name the one strength that varies within a method; None if none does, or several do."""
    names = {name for c in front.configurations for name in c.values}
    if len(names) != 1 or len(front.configurations) < 2:
        return None
    name = names.pop()
    strengths = [c.values.get(name) for c in front.configurations]
    if not all(isinstance(value, float | int) and value >= 0 for value in strengths):
        return None
    return (
        name if any(isinstance(value, float | int) and value > 0 for value in strengths) else None
    )


def fig_strength(results: Results, method: str) -> Figure:
    """Draw a method's clean and robust accuracy against the one strength that it varies.

    The strength has a log axis with 0 apart from it; at 0 stands standard training, where the
    study has it. No line joins the points: each is another configuration.
    """
    fronts = {front.note.name: front for front in choose(results).fronts}
    name = strength_name(fronts[method])
    if name is None:
        raise ValueError(f"{method}: no single strength varies")
    strengths = {strength_of(c, name): c for c in fronts[method].configurations}
    standard = _standard(fronts.values()) if 0.0 not in strengths else None
    with look():
        figure, axes = new_axes(5.4, 3.9, left=0.11, right=0.98, top=0.97, bottom=0.15)
        axes.set_xlabel(f"{SYMBOLS.get(name, name)} of {method_text(method)}")
        axes.set_ylabel("Accuracy (%)")
        places = _strength_axis(axes, sorted(strengths), standard is not None)
        styles = method_styles(results.methods)
        groups = [([(places[x], c) for x, c in strengths.items()], styles[method])]
        if standard is not None:
            groups.append(([(places[0.0], standard)], styles[standard.method]))
        axes.set_ylim(0.0, 108.0)
        drawn, at = [], results.threat.objective
        for placed, style in groups:
            clean = [(x, c.clean) for x, c in placed]
            robust = [(x, c.robust[at]) for x, c in placed]
            drawn.append(_draw_spreads(axes, clean, style, hollow=True))
            drawn.append(_draw_spreads(axes, robust, style, hollow=False))
        radius = value_text(results.threat.objective_radius)
        labels = [
            Label(
                text=text,
                anchors=_from_the_middle(points),
                colour=styles[method].text_colour,
                size=9.0,
                bold=True,
            )
            for text, points in zip(("clean", f"robust at {radius}"), drawn[:2], strict=True)
        ]
        taken = marker_boxes(axes, np.vstack(drawn), 7.0)
        place_labels(axes, labels, taken, taken[:0], taken[:0])
    return figure


def strength_of(c: ConfigurationResult, name: str) -> float:
    """Give the strength of a configuration as a number."""
    return float(c.values[name])


def _standard(fronts: Iterable[MethodFront]) -> ConfigurationResult | None:
    found = [c for front in fronts if is_standard(front.note) for c in front.configurations]
    return found[0] if found else None


def _strength_axis(
    axes: Axes, strengths: Sequence[float], with_zero: bool
) -> Mapping[float, float]:
    """Lay out a log axis with 0 apart, and return where each strength stands on it."""
    positive = [strength for strength in strengths if strength > 0]
    places = {strength: math.log10(strength) for strength in positive}
    width = max(places.values()) - min(places.values()) if len(places) > 1 else 0.5
    if with_zero or 0.0 in strengths:
        places[0.0] = min(places.values()) - 0.16 * width - 0.1
        gap = 0.5 * (places[0.0] + min(places[strength] for strength in positive))
        axes.axvline(gap, color=MUTED, lw=0.8, ls=(0, (1, 3)))
    ends = min(places.values()), max(places.values())
    margin = 0.07 * (ends[1] - ends[0]) or 0.2
    axes.set_xlim(ends[0] - margin, ends[1] + margin)
    ticks: list[float] = []
    for strength in sorted(places, key=places.__getitem__, reverse=True):
        # Tick labels closer than this would run into each other.
        if all(places[other] - places[strength] > 0.075 * (ends[1] - ends[0]) for other in ticks):
            ticks.append(strength)
    texts = [value_text(tick) if tick > 0 or not with_zero else "0\nstandard" for tick in ticks]
    axes.set_xticks([places[tick] for tick in ticks], texts, fontsize=8)
    axes.xaxis.set_minor_locator(NullLocator())
    return places


def _draw_spreads(axes: Axes, rows: Rows, style: MethodStyle, hollow: bool) -> Array:
    """Draw means with bars from the least to the greatest seed; return the points (N, 2)."""
    points = np.array([(x, 100 * over_seeds.mean) for x, over_seeds in rows])
    lows = np.array([100 * over_seeds.low for _, over_seeds in rows])
    highs = np.array([100 * over_seeds.high for _, over_seeds in rows])
    axes.vlines(points[:, 0], lows, highs, color=style.colour, lw=1.1, alpha=0.6, zorder=3)
    axes.plot(
        *points.T,
        ls="",
        marker=style.marker,
        ms=6.0,
        mfc="white" if hollow else style.colour,
        mec=style.colour,
        mew=1.3,
        clip_on=False,
        zorder=4,
    )
    return points


def _from_the_middle(points: Array) -> tuple[tuple[float, float], ...]:
    """List the points from the middle of the axis outwards, to name them beside one."""
    middle = 0.5 * (points[:, 0].min() + points[:, 0].max())
    order = np.argsort(np.abs(points[:, 0] - middle), kind="stable")
    return tuple((float(x), float(y)) for x, y in points[order])
