"""Panels: what the small figures share."""

from collections.abc import Sequence
from itertools import pairwise

from analysis.words import shortened

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
