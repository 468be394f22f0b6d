"""Heat panels: robust accuracy over ρ and ε, in percent."""

import math
from collections.abc import Mapping, Sequence

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis.canvas import INK, MUTED, look, new_axes
from analysis.marks import log_axis
from analysis.response import HeatMap
from analysis.results import Results
from analysis.words import method_text, percent, value_text

WIDTH, HEIGHT = 5.4, 3.9
"""Inches; a page column of 600 pixels shows it at its own size."""
SURE_FRONT = 0.5
"""Cells are crossed whose configuration is on the front in at least this share of replicates."""


def fig_heat(results: Results, heat: HeatMap) -> Figure:
    """Draw robust accuracy over ρ and ε: a cell, or a disc of a search, for each configuration.

    Crossed are configurations that are on the study's front in half of the replicates or more.
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
        # Each reaches to the top and is covered by the next: no seams between them.
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
    """Give the colour of a shade from 0, the least robust, to 1; it reads in grey, too."""
    return tuple(colormaps["Blues"](0.08 + 0.84 * shade))
