"""Forest: what each method's front is worth, and how methods differ, with their intervals."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.canvas import INK, MUTED, look
from analysis.claims import Interval
from analysis.contrasts import Contrast, Contrasts
from analysis.palette import method_styles
from analysis.panels import panel_name
from analysis.phrases import points_text
from analysis.results import Results
from analysis.words import attack_text

MOST_CONTRASTS = 10
"""More are in the table alone."""
ROW, HEADER = 0.27, 0.62
"""Heights in inches: of a row, and of the axis and its title below one block."""


def fig_hypervolume(results: Results, contrasts: Contrasts) -> Figure:
    """Draw mean attainable robust accuracy per method, and its differences, with 95% intervals.

    Points and intervals in percent above, differences in points below. The primary contrast has a
    filled marker and an interval that is not adjusted; the others hold together.
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
    axes.plot(
        [100 * shown.estimate],
        [at],
        ls="",
        marker=marker,
        ms=6.0,
        mfc="white" if hollow else colour,
        mec=colour,
        mew=1.3,
        clip_on=False,
        zorder=4,
    )


def _write_row(axes: Axes, at: int, shown: Interval, colour: str) -> None:
    axes.annotate(
        f"{points_text(shown.estimate)} [{points_text(shown.low)}, {points_text(shown.high)}]",
        (1.0, at),
        xycoords=axes.get_yaxis_transform(),
        xytext=(8, 0),
        textcoords="offset points",
        va="center",
        fontsize=8,
        color=colour,
        annotation_clip=False,
    )


def _pad(axes: Axes, shown: Sequence[Interval], *, bounded: bool) -> None:
    """Set limits around all intervals; accuracies stay within 0 and 100."""
    low = 100 * min(min(one.low, one.estimate) for one in shown)
    high = 100 * max(max(one.high, one.estimate) for one in shown)
    margin = max(0.05 * (high - low), 0.5)
    ends = low - margin, high + margin
    axes.set_xlim(*((max(ends[0], 0.0), min(ends[1], 100.0)) if bounded else ends))
    axes.locator_params(axis="x", nbins=5)
