"""Parts that figures share: points with intervals, axes of strengths, and texts beside them."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from analysis.figures.canvas import MUTED
from analysis.figures.palette import MethodStyle
from analysis.inference.claims import Interval
from analysis.responses.margins import SurvivalCurve
from analysis.results.trials import Array
from analysis.results.words import shortened, value_text

LEAST_STUDY = 3
"""Least number of letters of a study's name that are kept before the name of its method."""


def draw_interval(
    axes: Axes, x: float, value: Interval, style: MethodStyle, *, hollow: bool
) -> tuple[float, float]:
    """Draw an accuracy in percent with its interval, and return its point."""
    y = 100 * value.estimate
    axes.vlines(x, 100 * value.low, 100 * value.high, color=style.colour, lw=1.1, alpha=0.7)
    draw_point(axes, x, y, style.marker, style.colour, hollow=hollow)
    return x, y


def draw_point(
    axes: Axes,
    x: float,
    y: float,
    marker: str,
    colour: str,
    *,
    hollow: bool,
    size: float = 6.0,
    edge: float = 1.3,
    above: bool = False,
) -> None:
    """Draw one marker, `above` all others or among them; its size and edge are in points."""
    axes.plot(
        [x],
        [y],
        ls="",
        marker=marker,
        ms=size,
        mfc="white" if hollow else colour,
        mec=colour,
        mew=edge,
        clip_on=above,
        zorder=6 if above else 4,
    )


def draw_survival(axes: Axes, curve: SurvivalCurve, colour: str, dash: str = "-") -> None:
    """Draw a survival curve with its band, against the attack radius."""
    low, high = 100 * np.array(curve.low), 100 * np.array(curve.high)
    axes.fill_between(curve.radii, low, high, color=colour, alpha=0.14, lw=0)
    axes.plot(curve.radii, 100 * np.array(curve.robust), color=colour, lw=1.4, ls=dash)


def write_beside(
    axes: Axes, text: str, point: tuple[float, float], offset: tuple[float, float], **style: Any
) -> None:
    """Write a text at an offset, in typographic points, from a point that may lie at the edge."""
    axes.annotate(
        text, point, xytext=offset, textcoords="offset points", annotation_clip=False, **style
    )


def write_above(axes: Axes, x: float, text: str, height: float, gid: str | None = None) -> None:
    """Write small print above the axes, centred at a place of the horizontal axis.

    height: as a share of that of the axes.
    """
    axes.text(
        x,
        height,
        text,
        transform=axes.get_xaxis_transform(),
        ha="center",
        va="bottom",
        fontsize=8,
        color=MUTED,
        gid=gid,
    )


def spread_heights(heights: Sequence[float], gap: float, top: float = math.inf) -> list[float]:
    """Move heights apart until neighbours differ by `gap`: upwards, but none above `top`.

    >>> spread_heights([10.0, 0.0, 1.0], 4.0), spread_heights([0.0, 1.0, 99.0, 100.0], 4.0, 100.0)
    ([10.0, 0.0, 4.0], [0.0, 4.0, 96.0, 100.0])
    """
    moved = list(heights)
    order = sorted(range(len(moved)), key=moved.__getitem__)
    for lower, upper in pairwise(order):
        moved[upper] = max(moved[upper], moved[lower] + gap)
    # Heights that were pushed above the top move down again, and push those below them.
    for at in reversed(order):
        moved[at] = min(moved[at], top)
        top = moved[at] - gap
    return moved


def panel_name(method: str, length: int) -> str:
    """Shorten a method's name for a small panel; in `study: method`, the study is shortened first.

    >>> panel_name("a_long_study: at", 12), panel_name("a_long_method", 10)
    ('a_long_…: at', 'a_long_me…')
    """
    study, colon, name = method.rpartition(": ")
    room = length - len(colon) - len(name)
    if not study or len(method) <= length or room < LEAST_STUDY:
        return shortened(method, length)
    return f"{shortened(study, room)}{colon}{name}"


def strength_axis(
    axes: Axes, strengths: Sequence[float], zero_is_standard: bool
) -> Mapping[float, float]:
    """Lay out a log axis with 0 apart from it, and return where each strength stands."""
    positive = [strength for strength in strengths if strength > 0]
    places = {strength: math.log10(strength) for strength in positive}
    width = max(places.values()) - min(places.values()) if len(places) > 1 else 0.5
    if 0.0 in strengths:
        places[0.0] = min(places.values()) - 0.16 * width - 0.1
        gap = 0.5 * (places[0.0] + min(places[strength] for strength in positive))
        axes.axvline(gap, color=MUTED, lw=0.8, ls=(0, (1, 3)))
    ends = min(places.values()), max(places.values())
    margin = 0.07 * (ends[1] - ends[0]) or 0.2
    axes.set_xlim(ends[0] - margin, ends[1] + margin)
    shown = apart(list(places.values()), 0.075 * (ends[1] - ends[0]))
    ticks = [strength for strength, place in places.items() if place in shown]
    texts = [
        "0\nstandard" if tick == 0 and zero_is_standard else value_text(tick) for tick in ticks
    ]
    axes.set_xticks([places[tick] for tick in ticks], texts, fontsize=8)
    axes.xaxis.set_minor_locator(NullLocator())
    return places


def log_axis(axes: Axes, values: Sequence[float], *, vertical: bool) -> None:
    """Set a log axis with ticks at those of these values whose texts have room."""
    axis = axes.yaxis if vertical else axes.xaxis
    (axes.set_yscale if vertical else axes.set_xscale)("log")
    logs = [math.log10(value) for value in sorted(set(values))]
    low, high = axes.get_ylim() if vertical else axes.get_xlim()
    room = (0.05 if vertical else 0.09) * (math.log10(high) - math.log10(low))
    ticks = [10**log for log in apart(logs, room)]
    known = {math.log10(value): value for value in values}
    ticks = [known.get(math.log10(tick), tick) for tick in ticks]
    axis.set_ticks(ticks, [value_text(tick) for tick in ticks], fontsize=8)
    axis.set_minor_locator(NullLocator())


def apart(places: Sequence[float], least: float) -> list[float]:
    """Return the places that are more than `least` apart, starting from the last.

    >>> apart([0.0, 1.0, 1.5, 4.0], 1.0)
    [0.0, 1.5, 4.0]
    """
    kept: list[float] = []
    for place in sorted(places, reverse=True):
        if not kept or kept[-1] - place > least:
            kept.append(place)
    return kept[::-1]


def line_boxes(axes: Axes, line: Array) -> Array:
    """Return the boxes in pixels (N - 1, 4) of the pieces of a line through data points (N, 2)."""
    pixels = axes.transData.transform(line.reshape(-1, 2))
    ends = np.stack([pixels[:-1], pixels[1:]])
    return np.hstack([ends.min(axis=0) - 1, ends.max(axis=0) + 1])


def pairs(points: Array) -> tuple[tuple[float, float], ...]:
    """Return the points (N, 2) as plain pairs."""
    return tuple((float(x), float(y)) for x, y in points)


def from_the_middle(points: Array) -> tuple[tuple[float, float], ...]:
    """Return the points (N, 2) from the middle of the axis outwards: labels prefer the middle."""
    middle = 0.5 * (points[:, 0].min() + points[:, 0].max())
    order = np.argsort(np.abs(points[:, 0] - middle), kind="stable")
    return pairs(points[order])
