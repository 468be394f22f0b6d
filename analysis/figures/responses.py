"""Figures of responses: accuracy against ρ, ε and the attack radius, and ε against ρ.

Accuracies are in percent; bars and bands are 95% intervals.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis.figures.canvas import INK, MUTED, look, new_axes
from analysis.figures.labels import Label, marker_boxes, place_labels
from analysis.figures.marks import (
    apart,
    draw_interval,
    draw_point,
    draw_survival,
    from_the_middle,
    line_boxes,
    log_axis,
    pairs,
    panel_name,
    spread_heights,
    strength_axis,
    write_beside,
)
from analysis.figures.palette import MethodStyle, method_styles
from analysis.inference.claims import Interval
from analysis.responses.equivalence import FEWEST, Equivalence, Equivalent
from analysis.responses.margins import Margin
from analysis.responses.strength import HeatMap, Response
from analysis.results.configurations import configurations
from analysis.results.results import Results
from analysis.results.trials import Array
from analysis.results.words import SYMBOLS, method_text, percent, shortened, value_text, values_text

SURE_FRONT = 0.5
"""A cross marks cells whose configuration is on the front in at least this share of replicates."""
WIDTH, HEIGHT = 5.4, 3.9
"""Inches: a figure fits a page column of 600 pixels without scaling."""


def fig_response(results: Results, response: Response) -> Figure:
    """Draw clean and robust accuracy of one method against the one strength that it varies.

    The strength has a log axis with 0 set apart. Only fits are drawn as lines: the non-increasing
    fit of clean accuracy against ε. The interval of a known peak is shaded.
    """
    styles = method_styles(results.methods)
    style = styles[response.method]
    with look():
        figure, axes = new_axes(WIDTH, HEIGHT, left=0.11, right=0.98, top=0.97, bottom=0.15)
        name = SYMBOLS.get(response.name, response.name)
        axes.set_xlabel(f"{name} of {method_text(response.method)}")
        axes.set_ylabel("Accuracy (%)")
        places = strength_axis(axes, response.strengths, response.zero_is_standard)
        axes.set_ylim(0.0, 108.0)
        at = [places[strength] for strength in response.strengths]
        found = configurations(results)
        drawn = []
        for row, x, clean, robust in zip(
            response.rows, at, response.clean, response.robust, strict=True
        ):
            own = styles[found[row].method]
            drawn.append(draw_interval(axes, x, clean, own, hollow=True))
            drawn.append(draw_interval(axes, x, robust, own, hollow=False))
        lines = [
            line_boxes(axes, 100 * np.array([[x / 100, value.low], [x / 100, value.high]]))
            for values in (response.clean, response.robust)
            for x, value in zip(at, values, strict=True)
        ]
        if response.clean_fit:
            lines.append(_draw_fit(axes, at, response.clean_fit, style))
        if response.peak is not None and response.peak.at is not None:
            _draw_peak(axes, response.peak.at)
        points = np.array(drawn)
        texts = ("clean", f"robust at {value_text(response.radius)}")
        labels = [
            Label(
                text=text,
                anchors=from_the_middle(points[first::2]),
                colour=style.text_colour,
                size=9.0,
                bold=True,
            )
            for first, text in enumerate(texts)
        ]
        markers = marker_boxes(axes, points, 7.0)
        place_labels(axes, labels, markers, np.vstack(lines), markers[:0])
    return figure


def fig_heat(results: Results, heat: HeatMap) -> Figure:
    """Draw robust accuracy over ρ and ε: a cell, or in a search a disc, for each configuration.

    A cross marks configurations on the study's front in at least half of the replicates.
    """
    rhos, epsilons = (sorted({getattr(c, n) for c in heat.cells}) for n in ("rho", "epsilon"))
    with look():
        figure, axes = new_axes(WIDTH, HEIGHT, left=0.13, right=0.83, top=0.97, bottom=0.13)
        axes.set_xlabel(f"ε of {method_text(heat.method)}")
        axes.set_ylabel("ρ")
        shades = [cell.robust for cell in heat.cells]
        low, high = min(shades), max(shades)
        shade = {c.row: (c.robust - low) / (high - low) if high > low else 0.5 for c in heat.cells}
        if heat.is_grid:
            _draw_cells(axes, heat, rhos, epsilons, shade)
        else:
            _draw_discs(axes, heat, shade)
        _draw_scale(figure, low, high, f"Robust accuracy at {value_text(heat.radius)} (%)")
    return figure


def fig_margins(results: Results, margins: Sequence[Margin]) -> Figure:
    """Draw accuracy against attack radius, for each method's chosen configuration.

    A line with its band is the survival curve; where it was refused, there are points alone. A
    white diamond marks the radius at which half of the clean accuracy is lost, and its bar the
    interval.
    """
    threat, styles = results.threat, method_styles(results.methods)
    found = configurations(results)
    shown = [margin for margin in margins if margin.drawn]
    radii = (0.0, *threat.radii)
    with look():
        figure, axes = new_axes(WIDTH, HEIGHT, left=0.11, right=0.80, top=0.97, bottom=0.13)
        axes.set_xlabel(f"Attack radius ({threat.attack}, {threat.norm})")
        axes.set_ylabel("Accuracy (%)")
        axes.set_xlim(-0.03 * radii[-1], 1.03 * radii[-1])
        axes.set_ylim(0.0, 104.0)
        ticks = apart(radii, 0.07 * radii[-1])
        axes.set_xticks(ticks, [value_text(tick) for tick in ticks], fontsize=8)
        for margin in shown:
            style = styles[found[margin.row].method]
            for x, value in zip(radii, margin.accuracies, strict=True):
                draw_interval(axes, x, value, style, hollow=style.searched)
            _draw_survival(axes, margin, style)
        ends = [100 * margin.accuracies[-1].estimate for margin in shown]
        for margin, height in zip(shown, spread_heights(ends, 5.5, 101.0), strict=True):
            method = found[margin.row].method
            look_of_name = {"va": "center", "color": styles[method].text_colour}
            look_of_name["fontweight"] = "bold"
            write_beside(axes, panel_name(method, 14), (radii[-1], height), (9, 0), **look_of_name)
    return figure


def fig_equivalence(results: Results, equivalence: Equivalence) -> Figure:
    """Draw the training ε that each ρ is worth, on two log axes, with a line of slope 2.

    A marker is a value, with its interval. A dashed bar without a marker ends at the levels between
    which ε lies, with an arrow where a side is open. Dotted lines are the trained ε.
    """
    style = method_styles(results.methods)[equivalence.sam]
    levels = [level for level in (*equivalence.levels, *equivalence.left_out) if level > 0]
    highest = max((_upper(value, levels) for value in equivalence.values), default=levels[-1])
    near = [level for level in levels if level <= highest] or levels[:1]
    with look():
        figure, axes = new_axes(WIDTH, HEIGHT, left=0.14, right=0.98, top=0.97, bottom=0.13)
        axes.set_ylabel(f"Training ε of {method_text(equivalence.adversarial, 24)} as robust")
        axes.set_ylim(near[0] / 2.4, near[-1] * 1.8)
        log_axis(axes, near, vertical=True)
        places = _rho_axis(axes, results, equivalence)
        for level in near:
            axes.axhline(level, color=MUTED, lw=0.6, ls=(0, (1, 3)))
        points = [
            _draw_equivalent(axes, place, value, style)
            for place, value in zip(places, equivalence.values, strict=True)
        ]
        _draw_reference(axes, equivalence, np.array(points))
    return figure


def _rho_axis(axes: Axes, results: Results, equivalence: Equivalence) -> list[float]:
    """Lay out a log axis of ρ, or an axis of names if a ρ is unknown; return the values' places."""
    rhos = [value.rho for value in equivalence.values if value.rho is not None]
    if len(rhos) == len(equivalence.values) and rhos:
        axes.set_xlabel(f"ρ of {method_text(equivalence.sam)}")
        axes.set_xlim(min(rhos) / 1.25, max(rhos) * 1.25)
        log_axis(axes, rhos, vertical=False)
        return rhos
    found = configurations(results)
    places = [float(place) for place in range(len(equivalence.values))]
    names = [values_text(found[value.row].values) for value in equivalence.values]
    axes.set_xlabel(f"Configurations of {method_text(equivalence.sam)}")
    axes.set_xlim(-0.6, len(places) - 0.4)
    axes.set_xticks(places, [shortened(name, 18) for name in names], fontsize=8)
    return places


def _draw_fit(
    axes: Axes, at: Sequence[float], fit: Sequence[Interval], style: MethodStyle
) -> Array:
    """Draw a fit with its band at these places, and return the boxes that its line covers."""
    estimate, low, high = (
        100 * np.array([getattr(value, end) for value in fit])
        for end in ("estimate", "low", "high")
    )
    axes.fill_between(at, low, high, color=style.colour, alpha=0.14, lw=0)
    axes.plot(at, estimate, color=style.colour, lw=1.2)
    return line_boxes(axes, np.column_stack([at, estimate]))


def _draw_peak(axes: Axes, peak: Interval) -> None:
    """Shade the interval of the peak of robust accuracy, on the log axis of `strength_axis`."""
    low, at, high = (math.log10(end) for end in (peak.low, peak.estimate, peak.high))
    axes.axvspan(low, high, color=INK, alpha=0.07, lw=0, zorder=0)
    axes.axvline(at, color=MUTED, lw=1.0, ls="--", zorder=1)
    limits = axes.get_xlim()
    is_left = at > limits[0] + 0.75 * (limits[1] - limits[0])
    side, offset = ("right", -4) if is_left else ("left", 4)
    text = f"peak {value_text(peak.estimate)}"
    write_beside(axes, text, (at, 1.5), (offset, 0), ha=side, fontsize=8, color=MUTED)


def _draw_survival(axes: Axes, margin: Margin, style: MethodStyle) -> None:
    curve, fit = margin.curve, margin.fit
    if curve is None or fit is None:
        return
    draw_survival(axes, curve, style.colour, "--" if style.searched else "-")
    if fit.doubt:
        return
    half = fit.half_radius
    height = 50 * margin.accuracies[0].estimate
    end = curve.radii[-1]
    axes.hlines(height, half.low, min(half.high, end), color=INK, lw=1.6, zorder=5)
    point = half.estimate, height
    draw_point(axes, *point, "D", INK, hollow=True, size=5.5, edge=1.2, above=True)


def _draw_equivalent(
    axes: Axes, rho: float, value: Equivalent, style: MethodStyle
) -> tuple[float, float]:
    """Draw a value or a bracket, and return its middle in data coordinates."""
    low, high = axes.get_ylim()
    if value.epsilon is not None:
        axes.vlines(rho, value.epsilon.low, value.epsilon.high, color=style.colour, lw=1.4)
        draw_point(axes, rho, value.epsilon.estimate, style.marker, style.colour, hollow=False)
        return rho, value.epsilon.estimate
    floor, ceiling = value.floor or low * 1.06, value.ceiling or high / 1.06
    axes.vlines(rho, floor, ceiling, color=style.colour, lw=1.2, linestyles=(0, (2, 2)))
    for is_open, end, arrow in (
        (not value.floor, floor, "v"),
        (value.ceiling is None, ceiling, "^"),
    ):
        axes.plot([rho], [end], ls="", marker=arrow if is_open else "_", ms=7, color=style.colour)
    return rho, math.sqrt(floor * ceiling)


def _upper(value: Equivalent, levels: Sequence[float]) -> float:
    """Return the trained ε up to which the interval or bracket of a value reaches."""
    if value.epsilon is None:
        return value.ceiling or levels[-1]
    high = value.epsilon.high
    return min((level for level in levels if level >= high), default=levels[-1])


def _draw_reference(axes: Axes, equivalence: Equivalence, points: Array) -> None:
    """Draw a line of slope 2 through the middle of the values from which the slope was fitted."""
    rows = equivalence.slope.rows if equivalence.slope else [v.row for v in equivalence.values]
    claimed = [v for v in equivalence.values if v.epsilon and v.rho and v.row in rows]
    # A slope through one or two values would say nothing.
    if len(claimed) < FEWEST or any(value.rho is None for value in equivalence.values):
        return
    x = [math.log10(v.rho) for v in claimed if v.rho is not None]
    y = [math.log10(v.epsilon.estimate) for v in claimed if v.epsilon is not None]
    middle = sum(x) / len(x), sum(y) / len(y)
    limits = [[math.log10(end) for end in ends] for ends in (axes.get_xlim(), axes.get_ylim())]
    reach = [middle[0] + (end - middle[1]) / 2 for end in limits[1]]
    left, right = max(reach[0], limits[0][0]), min(reach[1], limits[0][1])
    at = np.linspace(left, right, 20)
    line = np.column_stack([10**at, 10 ** (middle[1] + 2 * (at - middle[0]))])
    axes.plot(*line.T, color=MUTED, lw=1.0, ls="--", zorder=1)
    label = Label(
        text="if ε grew as ρ²",
        anchors=pairs(line[[15, 4, 17, 10, 2]]),
        colour=MUTED,
    )
    place_labels(
        axes, [label], marker_boxes(axes, points, 9.0), line_boxes(axes, line), np.empty((0, 4))
    )


def _draw_cells(
    axes: Axes,
    heat: HeatMap,
    rhos: Sequence[float],
    epsilons: Sequence[float],
    shade: Mapping[int, float],
) -> None:
    axes.set_xlim(-0.5, len(epsilons) - 0.5)
    axes.set_ylim(-0.5, len(rhos) - 0.5)
    axes.grid(visible=False)
    axes.set_xticks(range(len(epsilons)), [value_text(e) for e in epsilons], fontsize=8)
    axes.set_yticks(range(len(rhos)), [value_text(rho) for rho in rhos], fontsize=8)
    size = min(9.0, 46.0 / len(epsilons), 60.0 / len(rhos))
    for cell in heat.cells:
        x, y = epsilons.index(cell.epsilon), rhos.index(cell.rho)
        colour = _colour(shade[cell.row])
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, fc=colour, ec="white", lw=1.0))
        ink = "white" if shade[cell.row] > 0.55 else INK
        if size >= 5.0:
            text = f"{percent(cell.robust)}\n±{percent(cell.robust_error)}"
            axes.text(x, y, text, ha="center", va="center", fontsize=size, color=ink)
        if cell.on_front >= SURE_FRONT:
            axes.plot([x - 0.4], [y + 0.36], marker="x", ms=5, mew=1.4, color=ink)


def _draw_discs(axes: Axes, heat: HeatMap, shade: Mapping[int, float]) -> None:
    for vertical, name in enumerate(("epsilon", "rho")):
        values = [getattr(cell, name) for cell in heat.cells]
        if min(values) > 0:
            low, high = min(values) / 1.3, max(values) * 1.3
            (axes.set_ylim if vertical else axes.set_xlim)(low, high)
            ticks = [tick for tick in _nice(low, high) if low <= tick <= high]
            log_axis(axes, ticks or values, vertical=bool(vertical))
    for cell in sorted(heat.cells, key=lambda cell: cell.on_front):
        place = [cell.epsilon], [cell.rho]
        colour = _colour(shade[cell.row])
        axes.plot(*place, ls="", marker="o", ms=11, mfc=colour, mec=MUTED, mew=0.8)
        if cell.on_front >= SURE_FRONT:
            ink = "white" if shade[cell.row] > 0.55 else INK
            axes.plot(*place, ls="", marker="x", ms=5.5, mew=1.5, color=ink)


def _nice(low: float, high: float) -> list[float]:
    """List 1, 2 and 5 times the powers of ten around a range."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [float(f"{digit}e{power}") for power in powers for digit in (1, 2, 5)]


def _draw_scale(figure: Figure, low: float, high: float, text: str) -> None:
    """Draw the colours of a heat map beside it."""
    axes = figure.add_axes((0.87, 0.13, 0.025, 0.84))
    axes.grid(visible=False)
    for step in range(40):
        # Each rectangle reaches the top and is covered by the next, so that there are no seams.
        axes.add_patch(Rectangle((0, step / 40), 1, 1 - step / 40, fc=_colour(step / 39), lw=0))
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.yaxis.set_label_position("right")
    ends = ((0.0, low), (0.5, 0.5 * (low + high)), (1.0, high)) if high > low else ((0.5, low),)
    axes.set_yticks([at for at, _ in ends], [percent(end) for _, end in ends], fontsize=8)
    axes.set_ylabel(text, fontsize=8.5)


def _colour(shade: float) -> tuple[float, ...]:
    """Return the colour of a shade from 0, the least robust, to 1; it is readable in grey, too."""
    return tuple(colormaps["Blues"](0.08 + 0.84 * shade))
