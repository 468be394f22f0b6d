"""Framing: which part of the clean accuracies a figure shows, and what lies outside it."""

import numpy as np

from analysis.choice import Choice, mean_points
from analysis.configurations import ConfigurationResult
from analysis.results import Array
from analysis.words import method_text, percent, values_text


def shown_range(clean: Array) -> tuple[float, float]:
    """Choose the clean accuracies (fractions) between which a figure is drawn.

    All of them, unless at most a quarter lies beyond a gap more than three times as wide as the
    range of the rest (counted as 2 points if it is less): one collapsed configuration would press
    all others into a corner. clean: (N,); returns the least and the greatest shown.

    >>> shown_range(np.array([0.99, 0.98, 0.97, 0.96, 0.62]))
    (0.96, 0.99)
    """
    if len(clean) == 0:
        return 0.0, 1.0
    falling = np.sort(clean)[::-1]
    for kept in range(1, len(falling)):
        few_left_out = 4 * (len(falling) - kept) <= len(falling)
        gap = falling[kept - 1] - falling[kept]
        if few_left_out and gap > 3 * max(falling[0] - falling[kept - 1], 0.02):
            return float(falling[kept - 1]), float(falling[0])
    return float(falling[-1]), float(falling[0])


def frame(choice: Choice, position: int) -> tuple[float, float, float]:
    """Choose least clean, greatest clean and greatest robust accuracy (fractions) of a figure.

    Besides the means shown, their single seeds; seeds far to the left of all means are clipped.
    """
    found = tuple(c for front in choice.fronts for c in front.configurations)
    low, high = shown_range(mean_points(found, position)[:, 0])
    shown = [c for c in found if c.clean.mean >= low]
    reach = low - max(high - low, 0.02)
    seeds = [trial.clean for c in shown for trial in c.trials if trial.clean >= reach]
    top = max((c.robust[position].high for c in shown), default=0.0)
    return min([low, *seeds]), max([high, *seeds]), top


def left_out(choice: Choice) -> tuple[ConfigurationResult, ...]:
    """List the configurations whose mean clean accuracy lies left of the range shown."""
    found = tuple(c for front in choice.fronts for c in front.configurations)
    low, _ = shown_range(mean_points(found, 0)[:, 0])
    return tuple(c for c in found if c.clean.mean < low)


def left_out_text(choice: Choice, position: int) -> str:
    """Say which configurations lie outside the figure of this radius; empty if none does."""
    outside = [
        f"{method_text(c.method, 24)} {values_text(c.values)}".strip()
        + f" ({percent(c.clean.mean)}% clean, {percent(c.robust[position].mean)}% robust)"
        for c in left_out(choice)
    ]
    more = f" and {len(outside) - 3} more" if len(outside) > 3 else ""
    listed = f"Left of the figure: {', '.join(outside[:3])}{more}." if outside else ""
    low, _, _ = frame(choice, position)
    dropped = {c.key for c in left_out(choice)}
    shown = [c for f in choice.fronts for c in f.configurations if c.key not in dropped]
    seeds = sum(trial.clean < low for c in shown for trial in c.trials)
    clipped = f"Single seeds left of the figure: {seeds}." if seeds else ""
    return f"{listed} {clipped}".strip()
