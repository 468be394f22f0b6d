"""More trials: single configurations and seeds beyond a study's lists and seeds.

What to run next is seldom a whole grid: some seeds of two configurations, or one new value. A
report's `next.yaml` has such entries, and pasted into the study they are all that a launch adds.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from annotated_types import Ge, MinLen
from pydantic import AfterValidator, BeforeValidator

from study.spec.mistakes import shown
from study.spec.settings import (
    Part,
    Setting,
    Value,
    choices,
    distinct,
    is_grid,
    is_swept,
    rule_error,
)
from study.spec.start import read_values

EXAMPLE = "write for example more_trials: [{method: at, values: {epsilon: 0.2}, seeds: [3, 4]}]"


class MoreTrials(Part):
    """Trials of one configuration, beside those of the study's lists and seeds."""

    method: Annotated[str, MinLen(1)]
    """The name of one of the study's methods."""
    values: Annotated[Mapping[str, Any], BeforeValidator(read_values)] = {}
    """A value for each setting that the method's lists and ranges choose, by its short name."""
    seeds: (
        Annotated[tuple[Annotated[int, Ge(0)], ...], MinLen(1), AfterValidator(distinct)] | None
    ) = None
    """None: those of the study."""


def read_more(value: object) -> object:
    """Check that more trials are a list of mappings."""
    if not isinstance(value, tuple) or not all(isinstance(one, Mapping) for one in value):
        raise rule_error(f"must be a list of trials, each a mapping; {EXAMPLE}")
    return value


def configuration_values(
    settings: tuple[tuple[str, Setting], ...], given: Mapping[str, Value]
) -> tuple[tuple[str, Value], ...] | str:
    """Return the values of more trials by path, lists first; or what is wrong with them, as text.

    settings: what decides the method's configurations; given: a value for each that a list or a
    range chooses, by the path or an ending of it in whole words.

    >>> settings = (("weights.sam.rho", (0.1, 0.2)), ("inputs.pgd.steps", 4))
    >>> configuration_values(settings, {"rho": 0.4})
    (('weights.sam.rho', 0.4),)
    >>> configuration_values(settings, {"steps": 5})
    'must be values of weights.sam.rho, got steps; name each setting that the method varies, and no\
 other'
    """
    swept = {path: setting for path, setting in settings if is_swept(setting)}
    ordered = sorted(swept, key=lambda path: not is_grid(swept[path]))
    placed: dict[str, Value] = {}
    for name, value in given.items():
        fits = [path for path in ordered if f".{path}".endswith(f".{name}")]
        if len(fits) == 1:
            placed[fits[0]] = value
    if len(placed) == len(given) == len(ordered):
        for path, value in placed.items():
            if all(_kind(value) != _kind(known) for known in choices(swept[path])):
                listed = ", ".join(map(shown, choices(swept[path])))
                return f"{path} must be of the kind of its list, {listed}, got {shown(value)}"
        return tuple((path, placed[path]) for path in ordered)
    got = ", ".join(given) or "none"
    if not ordered:
        return f"must be left out, as the method varies nothing, got {got}"
    rule = f"must be values of {', '.join(ordered)}, got {got}"
    return f"{rule}; name each setting that the method varies, and no other"


def _kind(value: object) -> type:
    """Return the type of a value, one for all numbers."""
    return float if isinstance(value, int | float) and not isinstance(value, bool) else type(value)
