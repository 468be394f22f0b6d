"""Figures of comparisons: gaps, exchange rates, residuals and attainable robust accuracy.

Accuracies are in percent and differences in percentage points; intervals and bands are 95%.
"""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from analysis.curves.fits import FrontFit
from analysis.curves.gaps import Gap
from analysis.curves.rates import Rate
from analysis.figures.canvas import INK, MUTED, look, new_axes
from analysis.figures.marks import (
    draw_point,
    panel_name,
    spread_heights,
    write_above,
    write_beside,
)
from analysis.figures.palette import MethodStyle, method_styles
from analysis.findings.phrases import points_text
from analysis.fronts.contrasts import Contrast, Contrasts
from analysis.fronts.floors import FloorContrast
from analysis.inference.claims import Interval
from analysis.results.configurations import configurations
from analysis.results.results import Results
from analysis.results.trials import Array
from analysis.results.words import attack_text, percent

MOST_CONTRASTS = 10
"""Further contrasts are only in the table."""
MOST_FLOORS = 16
"""Further floors are only in the table."""
ROW, HEADER = 0.27, 0.62
"""Heights in inches of a row, and of the axis and its title below a block of rows."""
LEAST_RATE, LARGEST_RATE = 0.02, 50.0
"""Range of exchange rates that are drawn: outside it a front is flat, or ends."""
MOST_HALF_WIDTHS = 2.5
"""How far the axis reaches beyond the gap, in median half-widths of its simultaneous band."""
MESSAGE_WIDTH = 62
"""Letters in a line of the message that replaces a figure."""
LEAST_SPAN = 0.01
"""Least range of the vertical axis of a gap, as a fraction, so that noise does not fill it."""


def fig_gap(results: Results, gap: Gap) -> Figure:
    """Draw the gap over the shared range, with simultaneous band, envelope and continuation.

    A refused gap has no numbers, and the figure shows the reason.
    """
    with look():
        figure, axes = new_axes(5.4, 3.9, left=0.13, right=0.8, top=0.92, bottom=0.13)
        if gap.status == "refused":
            return _message(figure, axes, f"No gap is drawn: {gap.reason}.")
        clean = 100 * np.array(gap.clean)
        styles = method_styles(results.methods)
        axes.set_xlabel("Clean accuracy (%)")
        axes.set_ylabel("Gap in robust accuracy (pp)")
        axes.axhline(0.0, color=INK, lw=0.9, zorder=2)
        colour = MUTED
        axes.fill_between(
            clean, 100 * np.array(gap.low), 100 * np.array(gap.high), color=colour, alpha=0.22, lw=0
        )
        low, high = gap_limits(gap)
        axes.set_ylim(low, high)
        for edge in (gap.envelope_low, gap.envelope_high):
            axes.plot(clean, 100 * np.array(edge), color=colour, lw=0.8, ls="--")
        axes.plot(clean, 100 * np.array(gap.estimate), color=INK, lw=1.8, zorder=4)
        _draw_outside(axes, gap)
        for stretch in gap.separated:
            # A bar at the bottom, in the colour of the method that is ahead.
            bar = [100 * stretch.low, 100 * stretch.high]
            axes.plot(
                bar,
                [low, low],
                color=styles[stretch.ahead].colour,
                lw=5,
                solid_capstyle="butt",
                clip_on=False,
                zorder=5,
            )
        _name_sides(axes, gap, styles)
    return figure


def fig_rate(results: Results, rates: Sequence[Rate]) -> Figure:
    """Draw the exchange rates of all methods with a curve, on a log axis, with their knees."""
    with look():
        figure, axes = new_axes(5.4, 3.9, left=0.13, right=0.8, top=0.97, bottom=0.13)
        drawn = [rate for rate in rates if rate.clean]
        if not drawn:
            return _message(figure, axes, "No exchange rate is drawn: no method has a curve.")
        axes.set_yscale("log")
        axes.set_xlabel("Clean accuracy (%)")
        axes.set_ylabel("Robust points gained per clean point given up")
        styles = method_styles(results.methods)
        ends = []
        for rate in drawn:
            style, clean = styles[rate.method], 100 * np.array(rate.clean)
            shown = np.clip([rate.low, rate.estimate, rate.high], LEAST_RATE, LARGEST_RATE)
            axes.fill_between(clean, shown[0], shown[2], color=style.colour, alpha=0.18, lw=0)
            axes.plot(
                clean, shown[1], color=style.colour, lw=1.8, ls="--" if style.searched else "-"
            )
            ends.append((clean[-1], float(shown[1][-1])))
            if rate.knee is not None:
                at = 100 * rate.knee.estimate
                height = float(np.exp(np.interp(at, clean, np.log(shown[1]))))
                axes.plot(
                    [at],
                    [height],
                    marker=style.marker,
                    ms=8,
                    mfc="white",
                    mec=style.colour,
                    mew=1.6,
                )
        everything = np.concatenate(
            [np.clip([*r.low, *r.high], LEAST_RATE, LARGEST_RATE) for r in drawn]
        )
        axes.set_ylim(0.8 * everything.min(), 1.25 * everything.max())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_minor_locator(NullLocator())
        _name_ends(axes, drawn, ends, styles)
    return figure


def fig_residuals(results: Results, fits: Sequence[FrontFit]) -> Figure:
    """Draw the distances of the configurations from the chosen curves, in standard errors."""
    with look():
        drawn = [fit for fit in fits if fit.chosen is not None]
        top = 0.97 - 0.06 * ((len(drawn) + 1) // 2)
        figure, axes = new_axes(5.4, 3.9, left=0.13, right=0.97, top=top, bottom=0.13)
        if not drawn:
            return _message(figure, axes, "No residuals are drawn: no method has a curve.")
        axes.set_xlabel("Clean accuracy (%)")
        axes.set_ylabel("Distance from the curve (standard errors)")
        axes.axhspan(-2, 2, color=MUTED, alpha=0.12, lw=0)
        axes.axhline(0.0, color=INK, lw=0.9)
        styles, found = method_styles(results.methods), configurations(results)
        farthest = 2.5
        for fit in drawn:
            assert fit.chosen is not None, "refused fits were left out"
            style = styles[fit.method]
            clean = [100 * found[row].clean.mean for row in fit.points]
            distances = fit.family(fit.chosen).residuals
            farthest = max(farthest, *(1.15 * abs(distance) for distance in distances))
            axes.plot(
                clean,
                distances,
                ls="",
                marker=style.marker,
                ms=6.5,
                mfc="white" if style.searched else style.colour,
                mec=style.colour,
                label=f"{panel_name(fit.method, 14)} ({fit.chosen})",
            )
        axes.set_ylim(-farthest, farthest)
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(-0.02, 1.0),
            ncols=2,
            frameon=False,
            fontsize=8,
            columnspacing=1.2,
        )
    return figure


def fig_hypervolume(results: Results, contrasts: Contrasts) -> Figure:
    """Draw mean attainable robust accuracy per method, and its differences, with 95% intervals.

    Accuracies in percent are above, and differences in percentage points below. The primary
    contrast has a filled marker and an interval that is not adjusted. The intervals of the others
    hold together.
    """
    values, pairs = contrasts.hypervolumes, contrasts.contrasts[:MOST_CONTRASTS]
    heights = [ROW * max(len(rows), 1) + HEADER for rows in (values, pairs) if rows] or [HEADER]
    with look():
        figure = Figure(figsize=(5.4, sum(heights) + 0.1), dpi=100, facecolor="white")
        tops = [0.1 + sum(heights[:at]) for at in range(len(heights))]
        blocks = [_block(figure, top, height) for top, height in zip(tops, heights, strict=True)]
        if values:
            _draw_values(blocks[0], results, contrasts)
        if pairs:
            _draw_differences(blocks[1], results, pairs)
    return figure


def fig_floors(contrasts: Sequence[FloorContrast]) -> Figure:
    """Draw differences in attained robust accuracy at required clean accuracies, as a forest."""
    rows = [(one, point) for one in contrasts for point in one.points][:MOST_FLOORS]
    height = ROW * len(rows) + HEADER
    with look():
        figure = Figure(figsize=(5.4, height + 0.1), dpi=100, facecolor="white")
        axes = _block(figure, 0.1, height)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        names = [
            f"{panel_name(one.first, 9)} − {panel_name(one.second, 9)}, ≥ {percent(point.clean)}%"
            for one, point in rows
        ]
        axes.set_yticks(range(len(rows)), names, fontsize=8)
        drawn = [Interval(estimate=0.0, low=0.0, high=0.0)]
        for at, (_, point) in enumerate(rows):
            if point.difference is None:
                write_beside(
                    axes, "unknown", (1.0, at), (8, 0), xycoords=axes.get_yaxis_transform()
                )
                continue
            drawn.append(point.difference)
            is_claimed = point.status == "claimed"
            _draw_row(axes, at, point.difference, INK, "o", hollow=not is_claimed)
            _write_row(axes, at, point.difference, INK if is_claimed else MUTED)
        axes.axvline(0.0, color=MUTED, lw=0.9)
        axes.set_xlabel("Difference in attained robust accuracy (pp)", fontsize=8.5)
        _pad(axes, drawn, bounded=False)
    return figure


def gap_limits(gap: Gap) -> tuple[float, float]:
    """Return the vertical range in percent, which includes 0 and room for both names.

    Where a front ends, its band explodes, and a family that the data hardly determine makes the
    envelope useless. The axis therefore follows the gap and its simultaneous band, and what reaches
    farther is cut.
    """
    reach = MOST_HALF_WIDTHS * float(np.median(np.subtract(gap.high, gap.low))) / 2
    low = max(min(*gap.envelope_low, *gap.low), min(gap.estimate) - reach)
    high = min(max(*gap.envelope_high, *gap.high), max(gap.estimate) + reach)
    low, high = min(low, 0.0), max(high, 0.0)
    room = 0.14 * max(high - low, LEAST_SPAN)
    return 100 * (low - room), 100 * (high + room)


def is_cut(gap: Gap) -> bool:
    """Return whether the band or the envelope of a gap extends beyond its figure."""
    low, high = (end / 100 for end in gap_limits(gap))
    return min(*gap.envelope_low, *gap.low) < low or max(*gap.envelope_high, *gap.high) > high


def _message(figure: Figure, axes: Axes, text: str) -> Figure:
    axes.set_axis_off()
    lines = "\n".join(textwrap.wrap(text, MESSAGE_WIDTH))
    figure.text(0.5, 0.5, lines, ha="center", va="center", color=MUTED)
    return figure


def _draw_outside(axes: Axes, gap: Gap) -> None:
    """Continue the gap outside the shared range, dotted: an extrapolation."""
    low, high = 100 * gap.clean[0], 100 * gap.clean[-1]
    margin = 0.25 * (high - low)
    axes.set_xlim(low - margin, min(high + margin, 100.0))
    axes.axvspan(low, high, color=MUTED, alpha=0.06, lw=0, zorder=0)
    for part in (gap.before, gap.beyond):
        if len(part) > 1:
            places: Array = 100 * np.array(part).T
            axes.plot(*places, color=INK, lw=1.2, ls=":", zorder=3)
    write_above(axes, 0.5 * (low + high), "shared range (dotted: extrapolation)", 1.015)


def _name_sides(axes: Axes, gap: Gap, styles: Mapping[str, MethodStyle]) -> None:
    """Write the method that is ahead above 0, and the one that is ahead below 0."""
    low, high = axes.get_ylim()
    named = ((gap.first, 1.0, "top", high > 0), (gap.second, 0.0, "bottom", low < 0))
    for method, height, side, shown in named:
        if shown:
            axes.text(
                1.02,
                height,
                f"{panel_name(method, 14)}\nahead",
                transform=axes.transAxes,
                va=side,
                fontsize=9,
                fontweight="bold",
                color=styles[method].text_colour,
            )


def _name_ends(
    axes: Axes,
    rates: Sequence[Rate],
    ends: list[tuple[float, float]],
    styles: Mapping[str, MethodStyle],
) -> None:
    """Write the methods' names at the right end of their lines, moved apart on the log axis."""
    low, high = np.log(axes.get_ylim())
    heights = [(np.log(end) - low) / (high - low) for _, end in ends]
    for rate, height in zip(rates, spread_heights(heights, 0.055), strict=True):
        axes.text(
            1.015,
            min(height, 0.98),
            panel_name(rate.method, 14),
            transform=axes.transAxes,
            va="center",
            fontweight="bold",
            color=styles[rate.method].text_colour,
        )


def _block(figure: Figure, top: float, height: float) -> Axes:
    """Add axes below `top`, in inches, with room for an axis and its title."""
    whole = figure.get_figheight()
    axes = figure.add_axes(
        (0.33, 1 - (top + height - HEADER) / whole, 0.38, (height - HEADER) / whole)
    )
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    return axes


def _draw_values(axes: Axes, results: Results, contrasts: Contrasts) -> None:
    styles, values = method_styles(results.methods), contrasts.hypervolumes
    axes.set_ylim(len(values) - 0.5, -0.5)
    axes.set_yticks(
        range(len(values)), [panel_name(one.method, 18) for one in values], fontsize=8.5
    )
    for at, (one, tick) in enumerate(zip(values, axes.get_yticklabels(), strict=True)):
        style = styles[one.method]
        tick.set(color=style.text_colour, fontweight="bold")
        _draw_row(axes, at, one.value, style.colour, style.marker, hollow=style.searched)
        _write_row(axes, at, one.value, MUTED)
    attack = attack_text(results.threat, contrasts.radius)
    axes.set_xlabel(f"Mean attainable robust accuracy (%)\n{attack}", fontsize=8.5)
    _pad(axes, [one.value for one in values], bounded=True)


def _draw_differences(axes: Axes, results: Results, pairs: Sequence[Contrast]) -> None:
    axes.set_ylim(len(pairs) - 0.5, -0.5)
    names = [f"{panel_name(one.first, 11)} − {panel_name(one.second, 11)}" for one in pairs]
    axes.set_yticks(range(len(pairs)), names, fontsize=8)
    drawn = []
    for at, (one, tick) in enumerate(zip(pairs, axes.get_yticklabels(), strict=True)):
        low, high = one.ends
        shown = Interval(estimate=one.difference.estimate, low=low, high=high)
        drawn.append(shown)
        tick.set(color=INK, fontweight="bold" if one.primary else "normal")
        _draw_row(axes, at, shown, INK, "o", hollow=not one.primary)
        _write_row(axes, at, shown, INK if one.primary else MUTED)
    axes.axvline(0.0, color=MUTED, lw=0.9)
    if results.margin is not None:
        half = 100 * results.margin
        axes.axvspan(-half, half, color="#EFEFEF", lw=0, zorder=0)
    axes.set_xlabel("Difference (pp)", fontsize=8.5)
    _pad(axes, [*drawn, Interval(estimate=0.0, low=0.0, high=0.0)], bounded=False)


def _draw_row(
    axes: Axes, at: int, shown: Interval, colour: str, marker: str, *, hollow: bool
) -> None:
    axes.plot([100 * shown.low, 100 * shown.high], [at, at], color=colour, lw=1.6, zorder=3)
    draw_point(axes, 100 * shown.estimate, at, marker, colour, hollow=hollow)


def _write_row(axes: Axes, at: int, shown: Interval, colour: str) -> None:
    ends = f"[{points_text(shown.low)}, {points_text(shown.high)}]"
    look = {"xycoords": axes.get_yaxis_transform(), "va": "center", "fontsize": 8, "color": colour}
    write_beside(axes, f"{points_text(shown.estimate)} {ends}", (1.0, at), (8, 0), **look)


def _pad(axes: Axes, shown: Sequence[Interval], *, bounded: bool) -> None:
    """Set the limits of the axis around all intervals; `bounded` ones stay within 0 and 100."""
    low = 100 * min(min(one.low, one.estimate) for one in shown)
    high = 100 * max(max(one.high, one.estimate) for one in shown)
    margin = max(0.05 * (high - low), 0.5)
    ends = low - margin, high + margin
    axes.set_xlim(*((max(ends[0], 0.0), min(ends[1], 100.0)) if bounded else ends))
    axes.locator_params(axis="x", nbins=5)
