"""Figures of searches: parallel coordinates, and the importances of hyperparameters."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.canvas import INK, MUTED, look
from analysis.figures.epochs import message
from analysis.figures.marks import write_beside
from analysis.figures.palette import method_styles
from analysis.fronts.choice import Choice, choice_values
from analysis.results.configurations import ConfigurationResult
from analysis.results.results import Results
from analysis.results.trials import Array, Importance, Value
from analysis.results.words import SYMBOLS, count_text, method_text, percent, shortened, value_text

MOST_SEARCHES = 3
"""At most so many methods have parallel coordinates."""
MOST_LINES = 120
"""Most configurations drawn of a search: members, then others evenly by robust accuracy."""
LOG_RATIO = 5.0
"""A hyperparameter whose values span less than this factor never has a log axis."""


def fig_parallel(results: Results, choice: Choice, found: Sequence[ConfigurationResult]) -> Figure:
    """Draw each search as parallel coordinates: hyperparameters, then the accuracies reached.

    found: all configurations of the results. Each configuration is a line, which is darker if its
    robust accuracy is higher, and thick if it is a member of its method's front.
    """
    methods = searched_methods(results, found)[:MOST_SEARCHES]
    height = 0.35 + 2.3 * max(1, len(methods))
    with look():
        figure = Figure(figsize=(5.4, height), dpi=100, facecolor="white")
        if not methods:
            return message(figure, "No search is drawn: no method was searched.")
        figure.subplots_adjust(
            left=0.1, right=0.9, bottom=0.5 / height, top=1 - 0.5 / height, hspace=0.75
        )
        for at, method in enumerate(methods):
            axes = figure.add_subplot(len(methods), 1, at + 1)
            own = tuple(c for c in found if c.method == method)
            _draw_parallel(axes, results, choice, own)
    return figure


def fig_importance(results: Results) -> Figure:
    """Draw the importances of each method as bars: hollow for clean, filled for robust accuracy."""
    methods = list(dict.fromkeys(importance.method for importance in results.importances))
    names = {m: _shared_names(results.importances, m) for m in methods}
    rows = sum(len(shown) for shown in names.values()) + len(methods)
    height = 0.75 + 0.34 * max(3, rows)
    with look():
        figure = Figure(figsize=(5.4, height), dpi=100, facecolor="white")
        if not methods:
            return message(figure, "No importances are drawn: no search is large enough.")
        longest = max(len(_label(name)) for shown in names.values() for name in shown)
        left = 0.06 + 0.014 * longest
        figure.subplots_adjust(left=left, right=0.95, bottom=0.5 / height, top=1 - 0.1 / height)
        axes = figure.add_subplot()
        styles, ticks, labels, line = method_styles(results.methods), [], [], 0.0
        for method in methods:
            style = styles[method]
            axes.text(
                0.5,
                line,
                f"{shortened(method, 24)} (hollow: clean, filled: robust)",
                color=style.text_colour,
                fontsize=8.5,
                fontweight="bold",
                va="center",
            )
            for name in names[method]:
                line += 1
                ticks.append(line)
                labels.append(_label(name))
                for objective, offset in (("clean", -0.2), ("robust", 0.2)):
                    shares = _share(results.importances, method, objective, name)
                    if shares is not None:
                        axes.barh(
                            line + offset,
                            100 * shares,
                            height=0.34,
                            facecolor="white" if objective == "clean" else style.colour,
                            edgecolor=style.colour,
                            lw=1.2,
                        )
            line += 1
        axes.set_ylim(line - 0.4, -0.6)
        axes.set_xlim(0.0, 100.0)
        axes.set_yticks(ticks, labels, fontsize=8.5)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("Share of importance (%)")
    return figure


def searched_methods(results: Results, found: Sequence[ConfigurationResult]) -> tuple[str, ...]:
    """Return the searched methods with at least two configurations that differ in a value."""
    return tuple(
        note.name
        for note in results.methods
        if note.searched and _varied([c for c in found if c.method == note.name])
    )


def parallel_caption(results: Results, found: Sequence[ConfigurationResult]) -> str:
    """Describe the parallel coordinates."""
    methods = searched_methods(results, found)
    counts = [sum(c.method == method for c in found) for method in methods]
    listed = ", ".join(
        f"{method_text(method, 24)}: {count_text(count, 'configuration')}"
        for method, count in zip(methods[:MOST_SEARCHES], counts, strict=False)
    )
    where = "validation" if results.num_validation else "test"
    parts = [f"Searches ({listed}). Each line is a configuration: it joins its hyperparameters"]
    parts.append(f"and the clean and robust accuracy (%) that it reached on {where} images.")
    parts.append("Darker: more robust. Thick: members of the method's front.")
    if any(count > MOST_LINES for count in counts):
        parts.append(f"Of a larger search, only {MOST_LINES} lines are drawn, members first.")
    if len(methods) > MOST_SEARCHES:
        more = count_text(len(methods) - MOST_SEARCHES, "more search", "more searches")
        parts.append(f"Not drawn: {more}.")
    return " ".join(parts)


def importance_caption(results: Results) -> str:
    """Describe what importances show and what they do not."""
    counts = {i.method: i.configurations for i in results.importances}
    listed = ", ".join(
        f"{method_text(method, 24)}: {count_text(count, 'configuration')}"
        for method, count in counts.items()
    )
    evaluators = ", ".join(dict.fromkeys(i.evaluator for i in results.importances))
    return (
        "Importance of each hyperparameter of a search, for accuracy on validation images: its "
        f"share of what sets the best configurations apart from all ({evaluators}; {listed}). The "
        "shares add up to 100% whether or not anything matters: they rank hyperparameters within "
        "the ranges searched, and do not show how large an effect is."
    )


def _varied(own: Sequence[ConfigurationResult]) -> tuple[str, ...]:
    """Return the hyperparameters that all configurations have and that differ among them."""
    names = own[0].values if own else ()
    return tuple(
        name
        for name in names
        if all(name in c.values for c in own) and len({c.values[name] for c in own}) > 1
    )


def _draw_parallel(
    axes: Axes, results: Results, choice: Choice, own: Sequence[ConfigurationResult]
) -> None:
    """Draw one method's search."""
    method = own[0].method
    style = method_styles(results.methods)[method]
    reached = choice_values(tuple(own), results)
    members = {c.key for front in choice.fronts for c in front.members}
    shown = _shown(own, reached[:, 1], [c.key in members for c in own])
    names = _varied(own)
    places, labels = [], []
    for name in names:
        at, ticks, is_log = _value_axis([c.values[name] for c in own])
        places.append(at)
        room = max(5, 64 // (len(names) + 1) - 6 * is_log)
        shown_name = shortened(SYMBOLS.get(name, name), room)
        labels.append((f"{shown_name} (log)" if is_log else shown_name, ticks))
    for column, name in enumerate(("clean", "robust")):
        at, ticks = _accuracy_axis(reached[:, column])
        places.append(at)
        labels.append((f"{name} (%)", ticks))
    lines = np.array(places).T
    span = float(np.ptp(reached[:, 1])) or 1.0
    for row in shown:
        is_member = own[row].key in members
        share = (reached[row, 1] - reached[:, 1].min()) / span
        axes.plot(
            range(len(labels)),
            lines[row],
            color=style.colour,
            alpha=0.15 + 0.75 * float(share),
            lw=2.2 if is_member else 0.9,
            marker=style.marker if is_member else "",
            ms=4,
            mfc="white",
            zorder=4 if is_member else 3,
            clip_on=False,
        )
    _draw_axes(axes, labels)
    count = f"{len(shown)} of {len(own)}" if len(shown) < len(own) else f"{len(own)}"
    axes.set_title(
        f"{shortened(method, 30)}: {count} configurations",
        loc="left",
        pad=18,
        color=style.text_colour,
        fontsize=8.5,
        fontweight="bold",
        x=-0.08,
    )


def _draw_axes(axes: Axes, labels: Sequence[tuple[str, Sequence[tuple[float, str]]]]) -> None:
    """Draw an upright axis for each coordinate, with its name below and its values beside it."""
    axes.set_xlim(-0.1, len(labels) - 0.9)
    axes.set_ylim(-0.04, 1.04)
    axes.grid(visible=False)
    axes.set_yticks([])
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0, pad=12)
    axes.set_xticks(range(len(labels)), [name for name, _ in labels], fontsize=8, color=INK)
    for column, (_, ticks) in enumerate(labels):
        axes.axvline(column, color=MUTED, lw=0.8, zorder=2)
        for height, text in ticks:
            is_end = height in (0.0, 1.0)
            offset = (7.0 if height == 1.0 else -7.0) if is_end else 0.0
            write_beside(
                axes,
                text,
                (column, height),
                (4.0, offset),
                fontsize=7.5,
                color=MUTED,
                va="center",
                zorder=6,
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.3},
            )


def _value_axis(
    values: Sequence[Value],
) -> tuple[list[float], list[tuple[float, str]], bool]:
    """Return places of values between 0 and 1, ticks, and whether the axis is logarithmic.

    Ticks are the ends of the axis, or its words.
    """
    if any(isinstance(value, str) for value in values):
        words = sorted({str(value) for value in values})
        heights = {word: at / max(1, len(words) - 1) for at, word in enumerate(words)}
        ticks = [(height, shortened(word, 8)) for word, height in heights.items()]
        return [heights[str(value)] for value in values], ticks, False
    numbers = np.array([float(value) for value in values])
    low, high = float(numbers.min()), float(numbers.max())
    places, is_log = (numbers - low) / (high - low), False
    if low > 0 and high / low >= LOG_RATIO:
        # The scale on which the values are spread more evenly is likely that of the search.
        in_logs = np.log(numbers / low) / math.log(high / low)
        is_log = bool(abs(np.median(in_logs) - 0.5) < abs(np.median(places) - 0.5))
        places = in_logs if is_log else places
    return places.tolist(), [(0.0, value_text(low, 2)), (1.0, value_text(high, 2))], is_log


def _accuracy_axis(accuracies: Array) -> tuple[list[float], list[tuple[float, str]]]:
    low, high = float(accuracies.min()), float(accuracies.max())
    places = (accuracies - low) / (high - low) if high > low else np.full(len(accuracies), 0.5)
    ends = [(0.0, percent(low)), (1.0, percent(high))] if high > low else [(0.5, percent(low))]
    return places.tolist(), ends


def _shown(own: Sequence[ConfigurationResult], robust: Array, member: Sequence[bool]) -> list[int]:
    """Choose the rows to draw, the least robust first: members, and others evenly."""
    order = np.argsort(robust, kind="stable")
    if len(own) <= MOST_LINES:
        return [int(row) for row in order]
    others = [row for row in order.tolist() if not member[row]]
    members = [row for row in order.tolist() if member[row]][:MOST_LINES]
    kept = np.linspace(0, len(others) - 1, MOST_LINES - len(members)).round().astype(int)
    chosen = {others[at] for at in kept} | set(members)
    return [row for row in order.tolist() if row in chosen]


def _label(name: str) -> str:
    return shortened(SYMBOLS.get(name, name), 22)


def _shared_names(importances: Sequence[Importance], method: str) -> list[str]:
    return list(dict.fromkeys(n for i in importances if i.method == method for n in i.shares))


def _share(
    importances: Sequence[Importance], method: str, objective: str, name: str
) -> float | None:
    shares: Mapping[str, float] = next(
        (i.shares for i in importances if (i.method, i.objective) == (method, objective)), {}
    )
    return shares.get(name)
