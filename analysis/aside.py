"""Aside: the small panels beside the main figure where it stands alone. Numbers are in percent."""

from collections.abc import Callable, Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

from analysis.canvas import INK, MUTED
from analysis.document import Analysis, View
from analysis.gaps import Gap
from analysis.palette import MethodStyle, method_styles
from analysis.panels import panel_name
from analysis.results import Array
from analysis.words import value_text

Draw = Callable[[Axes], None]
RATES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
"""Ticks of an exchange rate."""
NAME = 16
"""Letters of a method's name in a small panel."""


def asides(analysis: Analysis, view: View) -> list[Draw]:
    """Choose the small panels: gap, rate and attainable robustness, or what there is of them."""
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
    """Choose the part of a gap's axis that is shown: a band may widen without bound at its end."""
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
        axes.annotate(
            f"{100 * value.estimate:.1f} [{ends[0]:.1f}, {ends[1]:.1f}]",
            (ends[1], -place),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
            color=colour,
        )
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
        curve = margin.curve
        low, high = (100 * np.array(end) for end in (curve.low, curve.high))
        axes.fill_between(curve.radii, low, high, color=style.colour, alpha=0.14, lw=0)
        axes.plot(curve.radii, 100 * np.array(curve.robust), color=style.colour, lw=1.4)
        points = [100 * value.estimate for value in margin.accuracies]
        axes.plot(radii, points, ls="", marker=style.marker, ms=4, color=style.colour)
    axes.set_ylim(0.0, 104.0)
    axes.set_xlim(0.0, 1.02 * radii[-1])
    axes.set_xticks(radii, [value_text(radius) for radius in radii])
    axes.set_xlabel(f"Attack radius ({analysis.results.threat.norm})", fontsize=8, color=MUTED)
    _title(axes, "Accuracy (%) of the most robust choices")
