"""Panels: what the small figures share."""

from collections.abc import Sequence
from itertools import pairwise


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
