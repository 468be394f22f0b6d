"""Marks: points with intervals, axes of strengths, and where names stand beside them.

Panels: what the small figures share.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from analysis.figures.canvas import MUTED
from analysis.figures.palette import MethodStyle
from analysis.inference.claims import Interval
from analysis.results.trials import Array
from analysis.results.words import shortened, value_text

LEAST_STUDY = 3
"""Letters of a study's name that are worth keeping before that of its method."""


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


def panel_name(method: str, length: int) -> str:
    """Cut a method's name for a small panel; of `study: method` the study gives way.

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
    """Set a log axis with ticks at these values, as far as their texts leave room."""
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
    """Keep the places, from the last on, that are further apart than `least`.

    >>> apart([0.0, 1.0, 1.5, 4.0], 1.0)
    [0.0, 1.5, 4.0]
    """
    kept: list[float] = []
    for place in sorted(places, reverse=True):
        if not kept or kept[-1] - place > least:
            kept.append(place)
    return kept[::-1]


def draw_interval(
    axes: Axes, x: float, value: Interval, style: MethodStyle, *, hollow: bool, clip: bool = False
) -> tuple[float, float]:
    """Draw an accuracy in percent with its interval; return its point."""
    y = 100 * value.estimate
    axes.vlines(x, 100 * value.low, 100 * value.high, color=style.colour, lw=1.1, alpha=0.7)
    draw_point(axes, x, y, style, hollow=hollow, clip=clip)
    return x, y


def draw_point(
    axes: Axes, x: float, y: float, style: MethodStyle, *, hollow: bool, clip: bool = False
) -> None:
    """Draw one marker of a method."""
    axes.plot(
        [x],
        [y],
        ls="",
        marker=style.marker,
        ms=6.0,
        mfc="white" if hollow else style.colour,
        mec=style.colour,
        mew=1.3,
        clip_on=clip,
        zorder=4,
    )


def spread_between(heights: Sequence[float], gap: float, top: float) -> list[float]:
    """Move heights apart until neighbours differ by `gap`, none of them above `top`.

    >>> spread_between([0.0, 1.0, 99.0, 100.0], 4.0, 100.0)
    [0.0, 4.0, 96.0, 100.0]
    """
    moved = list(heights)
    order = sorted(range(len(moved)), key=moved.__getitem__)
    for lower, upper in pairwise(order):
        moved[upper] = max(moved[upper], moved[lower] + gap)
    ceiling = top
    for at in reversed(order):
        moved[at] = min(moved[at], ceiling)
        ceiling = moved[at] - gap
    return moved


def from_the_middle(points: Array) -> tuple[tuple[float, float], ...]:
    """List the points (N, 2) from the middle of the axis outwards, to name them beside one."""
    middle = 0.5 * (points[:, 0].min() + points[:, 0].max())
    order = np.argsort(np.abs(points[:, 0] - middle), kind="stable")
    return tuple((float(x), float(y)) for x, y in points[order])
