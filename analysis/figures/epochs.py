"""Figures of training: accuracy against epoch, a small panel for each method."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.figures.canvas import INK, MUTED, look
from analysis.figures.marks import write_beside
from analysis.figures.palette import MethodStyle, method_styles
from analysis.fronts.choice import Choice
from analysis.responses.epochs import Trained, chosen_training
from analysis.results.configurations import Spread
from analysis.results.results import Results
from analysis.results.trials import Array, History
from analysis.results.words import (
    attack_text,
    count_text,
    percent,
    shortened,
    value_text,
    values_text,
)

MOST_PANELS = 6
"""At most so many methods have a panel; the table has all of them."""


def fig_training(results: Results, choice: Choice) -> Figure:
    """Draw validation accuracy against epoch for each method's chosen configuration.

    Each method has a small panel. Seeds are faint and their mean is strong. Robust accuracy is
    solid and clean accuracy is dashed. A circle marks each seed's checkpoint `best`. The test
    accuracies are above the panel.
    """
    trained = chosen_training(results, choice)[:MOST_PANELS]
    columns = min(2, max(1, len(trained)))
    rows = math.ceil(len(trained) / columns) or 1
    with look():
        figure = Figure(figsize=(5.4, 0.5 + 2.25 * rows), dpi=100, facecolor="white")
        if not trained:
            return message(figure, "No training curves are drawn: no epochs are recorded.")
        height = 0.5 + 2.25 * rows
        figure.subplots_adjust(
            left=0.1,
            right=0.985,
            bottom=0.42 / height,
            top=1 - 0.95 / height,
            hspace=0.95 / 1.3,
            wspace=0.14,
        )
        styles = method_styles(results.methods)
        for at, one in enumerate(trained):
            axes = figure.add_subplot(rows, columns, at + 1)
            _draw_training(axes, one, styles[one.configuration.method])
            axes.set_ylim(0.0, 104.0)
            if at % columns == 0:
                axes.set_ylabel("Validation accuracy (%)", fontsize=8)
            else:
                axes.tick_params(labelleft=False)
            if at + columns >= len(trained):
                axes.set_xlabel("Epoch", fontsize=8)
        figure.text(
            0.02,
            1 - 0.16 / height,
            "dashed: clean · solid: robust · faint: seeds · circle: best checkpoint",
            fontsize=8,
            color=MUTED,
            va="center",
        )
    return figure


def training_caption(results: Results, choice: Choice) -> str:
    """Describe the training curves."""
    threat, trained = results.threat, chosen_training(results, choice)
    more = len(trained) - MOST_PANELS
    verb = "is" if more == 1 else "are"
    left_out = f" {count_text(more, 'more method')} {verb} in the table." if more > 0 else ""
    return (
        "Accuracy on validation images against epoch, of each method's most robust configuration: "
        f"clean (dashed) and robust under {threat.validation_attack}, {threat.norm} "
        f"{value_text(threat.objective_radius)} (solid). Single seeds are faint, and their mean is "
        "strong. Circles: the best checkpoint of each seed, chosen on validation data. Above: test "
        f"accuracies of the best and the last checkpoint, robust under "
        f"{attack_text(threat, threat.objective_radius)}, means over seeds.{left_out}"
    )


def message(figure: Figure, text: str) -> Figure:
    """Write the reason on a figure in which nothing is drawn."""
    figure.set_size_inches(5.4, 1.0)
    figure.text(0.5, 0.5, text, ha="center", va="center", fontsize=9, color=MUTED)
    return figure


def _draw_training(axes: Axes, trained: Trained, style: MethodStyle) -> None:
    """Draw one method's curves and its best epochs, and write its test accuracies above."""
    for name, dash, width in (("clean", (0, (4, 2)), 1.2), ("robust", "-", 1.8)):
        curves = [_curve(history, name) for history in trained.histories]
        if len(curves) > 1:
            for curve in curves:
                axes.plot(*curve.T, color=style.colour, lw=0.7, ls=dash, alpha=0.35)
        mean = _mean_curve(curves)
        marker = "." if len(mean) == 1 else ""
        axes.plot(*mean.T, color=style.colour, lw=width, ls=dash, marker=marker, zorder=4)
    marks = [
        point
        for history in trained.histories
        for point in _curve(history, "robust")
        if point[0] == history.best_epoch
    ]
    if marks:
        axes.plot(
            *np.array(marks).T,
            ls="",
            marker="o",
            ms=5,
            mfc="white",
            mec=INK,
            mew=1.0,
            zorder=5,
            clip_on=False,
        )
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    axes.tick_params(labelsize=7.5)
    last = max(history.epochs[-1] for history in trained.histories)
    axes.set_xlim(0.5, last + 0.5)
    _write_above(axes, trained, style)


def _write_above(axes: Axes, trained: Trained, style: MethodStyle) -> None:
    """Write method, values and test accuracies above the axes, each on a line."""
    c = trained.configuration
    texts = [
        (shortened(c.method, 28), style.text_colour, "bold", 8.5),
        (shortened(values_text(c.values), 38), INK, "normal", 7.5),
        (_test_text(trained.robust_best, trained.robust_last), MUTED, "normal", 7.5),
    ]
    lines = [line for line in texts if line[0]]
    for row, (text, colour, weight, size) in enumerate(lines):
        offset = 0.0, 4.0 + 10.5 * (len(lines) - 1 - row)
        look_of_text = {"color": colour, "fontweight": weight, "fontsize": size}
        write_beside(axes, text, (0.0, 1.0), offset, xycoords="axes fraction", **look_of_text)


def _test_text(best: Spread | None, last: Spread | None) -> str:
    if best is None or last is None:
        return "test: not recorded for both checkpoints"
    return f"test robust: best {percent(best.mean)}, last {percent(last.mean)} %"


def _curve(history: History, name: str) -> Array:
    values = history.validation_clean if name == "clean" else history.validation_robust
    return np.array([history.epochs, [100 * value for value in values]], dtype=np.float64).T


def _mean_curve(curves: Sequence[Array]) -> Array:
    """Return the mean of curves at the epochs that they share, or the first if they share none."""
    shared = sorted(set.intersection(*({float(x) for x in curve[:, 0]} for curve in curves)))
    if not shared:
        return curves[0]
    heights = [dict(zip(curve[:, 0], curve[:, 1], strict=True)) for curve in curves]
    return np.array([(x, np.mean([height[x] for height in heights])) for x in shared])
