"""Words of advice: what to run next, as sentences and as one line."""

from collections.abc import Sequence
from typing import Protocol

from analysis.advice.entries import Advice, Ends, NewTrials
from analysis.results.words import (
    SYMBOLS,
    count_text,
    method_text,
    percent,
    value_text,
    values_text,
)

NOTHING = "No trial is known that would narrow an interval of this study by much."
MOST_IN_LINE = 2
MOST_NAMED = 3
"""Configurations that one sentence names; further ones are counted."""


class Advised(Protocol):
    """What has advice: an analysis, which lies above this module."""

    @property
    def advice(self) -> tuple[Advice, ...]:
        """Return what to run next, the most useful first."""


def next_line(analysis: Advised) -> str:
    """Return what to run next as one short line; empty if nothing is advised.

    >>> from types import SimpleNamespace
    >>> next_line(SimpleNamespace(advice=()))
    ''
    """
    if not analysis.advice:
        return ""
    best = analysis.advice[0]
    return f"Next: {what_text(best, MOST_IN_LINE)}{_time(best)}."


def advice_texts(advice: Sequence[Advice]) -> list[str]:
    """Return what to run next as sentences, the most useful first."""
    return [
        f"{what[0].upper()}{what[1:]}{_time(one)}: {_effect(one)}{_evenly(one)}."
        for one in advice
        for what in [what_text(one)]
    ]


def what_text(one: Advice, most: int = MOST_NAMED) -> str:
    """Describe the trials or images: `4 more seeds of “at” (ε=0.22)`."""
    if one.images is not None:
        images = count_text(one.images, "test image")
        return f"{images}, if the data have them, on which every trial runs again"
    if one.kind == "seed noise":
        return f"{_range(one.trials)} more {_plural(one.trials)} of every configuration"
    named = [_trials_text(new) for new in one.trials[:most]]
    rest = len(one.trials) - len(named)
    if rest:
        seeds = sum(len(new.seeds) for new in one.trials[most:])
        named.append(f"{count_text(seeds, 'more seed')} of {count_text(rest, 'other')}")
    return f"{', '.join(named[:-1])} and {named[-1]}" if len(named) > 1 else named[0]


def _trials_text(new: NewTrials) -> str:
    values = f" ({values_text(new.values)})" if new.values else ""
    name = f"{method_text(new.method)}{values}"
    if new.is_new:
        return f"the new configuration {name} with {count_text(len(new.seeds), 'seed')}"
    return f"{count_text(len(new.seeds), 'more seed')} of {name}"


def _range(trials: Sequence[NewTrials]) -> str:
    counts = [len(new.seeds) for new in trials]
    return f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"


def _plural(trials: Sequence[NewTrials]) -> str:
    return "seed" if max(len(new.seeds) for new in trials) == 1 else "seeds"


def _time(one: Advice) -> str:
    return f" ({time_text(one)})"


def time_text(one: Advice) -> str:
    """Format how long the trials train; their number where no time is known."""
    if one.hours is not None:
        return f"{hours_text(one.hours)} of training"
    if one.images is not None:
        return "every trial once more"
    return count_text(sum(len(new.seeds) for new in one.trials), "trial")


def hours_text(hours: float) -> str:
    """Format a time of training.

    >>> hours_text(0.004), hours_text(0.5), hours_text(12.3)
    ('14 s', '30 min', '12.3 h')
    """
    seconds = 3600 * hours
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{hours:.3g} h"


def _effect(one: Advice) -> str:
    """Describe what becomes better known, with the interval now and as expected."""
    if one.kind == "seed noise":
        return "without them the noise of training is hardly known, and nothing is claimed"
    if one.need:
        return f"for {target_text(one)}, now refused: {one.need}"
    now, then = span_text(one, one.before), span_text(one, one.after)
    return f"narrows {target_text(one)}, now {now}, to about {then}"


def target_text(one: Advice) -> str:
    """Describe what becomes better known."""
    if one.kind == "seed noise":
        return "the noise of training"
    first, *others = (method_text(name) for name in one.methods)
    if one.kind == "curve":
        return f"the curve of {first}, and its gaps at equal clean accuracy"
    if one.kind == "front end":
        return f"the {_symbol(one)} at which {first} is most robust"
    if one.kind == "front step":
        return (
            f"what {first} attains on average, with what may lie between the {_symbol(one)} tried"
        )
    [second] = others
    if one.kind == "slope":
        return f"how the ε of {second} that {first} is worth grows with ρ"
    if one.kind == "primary contrast":
        return f"the primary contrast of {first} and {second}"
    values = [values_text(values) for values in one.values]
    shown = ", ".join(values[:MOST_NAMED])
    more = len(values) - MOST_NAMED
    shown += f" and {more} more" if more > 0 else ""
    return f"the ε of {second} that {first} with {shown} is worth"


def _symbol(one: Advice) -> str:
    """Return the symbol of the strength that an entry has a new value of."""
    [name] = one.values[0] or one.trials[0].values
    return SYMBOLS.get(name, name)


def span_text(one: Advice, ends: Ends | None) -> str:
    """Format an interval of what becomes better known; a dash if it is unknown."""
    if ends is None:
        return "–"
    low, high = ends
    if one.kind in ("primary contrast", "front step"):
        unit = "%" if one.kind == "front step" else " pp"
        return f"{percent(low or 0.0)} to {percent(high or 0.0)}{unit}".replace("-", "−")
    if high is None:
        return f"above {value_text(low or 0.0)}"
    return f"below {value_text(high)}" if not low else f"{value_text(low)} to {value_text(high)}"


def _evenly(one: Advice) -> str:
    """Return what the same time would do, spent on every configuration alike."""
    if one.even is None or one.images is not None:
        return ""
    if one.even == one.before:
        return "; further seeds would leave it as it is"
    shown = span_text(one, one.even)
    return f"; seeds of every configuration would leave {shown} in the same time"
