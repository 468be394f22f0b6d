"""When a side acts: in which share of a training, and on every how many of its steps.

The host decides this before each step, as a compiled or captured step has no branches. Every weight
side and every input side has the setting `active`, every weight side `every` too. The weights, the
momentum and the moving averages are kept across a switch, as one base optimiser runs throughout.
"""

import math
from decimal import Decimal
from typing import Any, Literal, NamedTuple

from trainers.config.checks import check, check_count

Active = tuple[float, float]
"""Two shares of a training, in [0, 1]: a side acts from the first one on, up to the second."""
ALWAYS: Active = (0.0, 1.0)
SET_BY_HOST = ("active", "every", "refresh_every")
"""Settings that decide on which steps a side acts. None of them decides the shape of a step."""

Phase = Literal["act", "refresh", "reuse", "rest"]
"""What a side does at a step: `act` does all that it is for; `refresh` also renews what it
remembers; `reuse` adds what it remembers of the last full gradient; `rest` does nothing."""


class Phases(NamedTuple):
    """What both sides of a method do at a step."""

    weights: Phase
    inputs: Phase


def check_active(active: Any) -> None:
    """Raise `ConfigError` unless the pair holds two shares of a training, in order."""
    is_pair = isinstance(active, tuple) and len(active) == 2
    rule = "must be a pair of shares of the training [from, to], 0 ≤ from ≤ to ≤ 1"
    numbers = is_pair and all(
        isinstance(share, int | float) and not isinstance(share, bool) for share in active
    )
    check(numbers and 0 <= active[0] <= active[1] <= 1, "active", rule, active)


def check_steps(active: Active, every: int) -> None:
    """Raise `ConfigError` unless both settings say on which steps a weight side acts."""
    check_active(active)
    check_count(every, "every", 1)


def active_of(side: object) -> Active:
    """Return when a side acts; a side without the setting, such as `none`, always does."""
    active: Active = getattr(side, "active", ALWAYS)
    return active


def share_of(side: object) -> float:
    """Return the share of a training in which a side acts."""
    start, end = active_of(side)
    return end - start


def active_steps(side: object, total: int) -> range:
    """Return the steps, counted from 0, between which a side acts in a training of `total` steps.

    Both shares are rounded up to whole steps. A side whose shares differ acts on one at least.
    """
    start, end = active_of(side)
    if start == end:
        return range(0)
    # Rounded, as 0.07 × 100 is above 7 in floating point.
    first = min(math.ceil(round(start * total, 6)), total - 1)
    return range(first, max(math.ceil(round(end * total, 6)), first + 1))


def is_active_epoch(side: object, epoch: int, epochs: int) -> bool:
    """Return whether a side acts throughout an epoch, counted from 1, of a training of `epochs`."""
    start, end = (round(share * epochs, 6) for share in active_of(side))
    return start <= epoch - 1 and epoch <= end


def phase_of(side: object, step: int, total: int) -> Phase:
    """Return what a side does at a step, counted from 0, of a training of `total` steps.

    From its first step on, a side acts on every k-th one, where `every` is k. In between it rests,
    or reuses what it remembers. Some renew this on every n-th of the steps on which they act.
    """
    steps = active_steps(side, total)
    if step not in steps:
        return "rest"
    turn, between = divmod(step - steps.start, getattr(side, "every", 1))
    if between:
        resting: Phase = getattr(side, "between", "rest")
        return resting
    renewed = getattr(side, "refresh_every", 0)
    return "refresh" if renewed and turn % renewed == 0 else "act"


def active_text(active: Active) -> str:
    """Format when a side acts, as one word.

    >>> active_text((0.9, 1)), active_text((0, 0.00005))
    ('0.9-1', '0-0.00005')
    """
    return "-".join(f"{Decimal(repr(share)).normalize():f}" for share in active)


def read_active(text: str) -> Active:
    """Read what `active_text` formats.

    >>> read_active("0.9-1")
    (0.9, 1.0)
    """
    start, end = text.split("-")
    return float(start), float(end)


def since_start(side: object, steps: Any, total: int) -> Any:
    """Count steps from the first on which a side acts; earlier ones are 0. steps: a tensor."""
    return (steps - active_steps(side, total).start).clamp(min=0)
