"""Claims of a study: what it sets out to show, declared before its results are seen."""

import re
from collections.abc import Mapping
from decimal import Decimal
from functools import partial
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Lt
from pydantic import BeforeValidator

from study.spec.mistakes import empty, shown
from study.spec.settings import Part, Radius, distinct, rule_error

Direction = Literal["more", "equal"]
"""`more`: the first method is more robust than the second. `equal`: both are, within a margin."""


def required(key: str, value: object) -> object:
    """Check that a key has a value, even if the key may be left out."""
    if value is None:
        raise rule_error(empty((key,)))
    return value


def read_points(key: str, value: object) -> object:
    """Read a difference of accuracies: a fraction, or percentage points such as `0.5pp`."""
    required(key, value)
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"([0-9]*\.?[0-9]+) ?pp", value)
    if match is None:
        raise rule_error(
            f"must be percentage points or a fraction, got {shown(value)}; write for example "
            f"{key}: 0.5pp"
        )
    # Through decimals, so that 0.5pp is 0.005 and not its neighbour.
    return float(Decimal(match[1]) / 100)


def read_clean_floors(value: object) -> object:
    """Read a list of fractions, or of percentages such as `95%`, and sort it."""
    if not isinstance(value, tuple) or not value:
        got = "an empty list" if value == () else shown(value)
        raise rule_error(
            f"must be a list of clean accuracies, got {got}; write for example "
            "clean_floors: [90%, 95%]"
        )
    floors = [_read_percentage("clean_floors: [90%, 95%]", item) for item in value]
    numbers = [floor for floor in floors if isinstance(floor, float | int)]
    return tuple(sorted(numbers)) if len(numbers) == len(floors) else tuple(floors)


def _read_percentage(example: str, value: object) -> object:
    """Read a fraction, or a percentage such as `95%`."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"([0-9]*\.?[0-9]+) ?%", value)
    if match is None:
        raise rule_error(
            f"must be percentages or fractions, got {shown(value)}; write for example {example}"
        )
    # Through decimals, so that 95% is 0.95 and not its neighbour.
    return float(Decimal(match[1]) / 100)


def _read_at_clean(value: object) -> object:
    """Read one required clean accuracy."""
    return _read_percentage("at_clean: 90%", required("at_clean", value))


def read_pair(value: object) -> object:
    """Read the names of two methods."""
    if not isinstance(value, tuple) or not all(isinstance(name, str) for name in value):
        raise rule_error(f"names two methods in a list, got {shown(value)}; write [at, sam]")
    if len(value) != 2:
        raise rule_error(f"names two methods, got {len(value)}; write [at, sam]")
    return distinct(value)


class ClaimSpec(Part):
    """One claim: how the robust accuracies of two methods compare."""

    methods: Annotated[tuple[str, str], BeforeValidator(read_pair)]
    """The two methods, the one that is claimed to be ahead first."""
    direction: Direction
    """Whether the first is more robust, or both are equally robust within the margin."""
    radius: Annotated[Radius | None, BeforeValidator(partial(required, "radius"))] = None
    """Of the attack, one of the evaluation's radii; None: the objective radius."""
    margin: Annotated[
        Annotated[float, Gt(0), Lt(1)] | None, BeforeValidator(partial(read_points, "margin"))
    ] = None
    """Differences within ±margin count as none; None: as the analysis block says."""
    at_clean: Annotated[Annotated[float, Ge(0), Lt(1)] | None, BeforeValidator(_read_at_clean)] = (
        None
    )
    """Compares what is attained at this clean accuracy or more; None: on average over all that are
    required, as the primary contrast does."""


def claim_text(claim: ClaimSpec) -> str:
    """Format a claim as it is recorded: equal texts are the same claim.

    >>> claim_text(ClaimSpec(methods=("at", "sam"), direction="more", radius=0.1))
    'at more than sam, radius 0.1'
    """
    first, second = claim.methods
    word = "than" if claim.direction == "more" else "to"
    bounds: Mapping[str, float | None] = {
        "radius": claim.radius,
        "margin": claim.margin,
        "clean": claim.at_clean,
    }
    parts = [f"{name} {value:g}" for name, value in bounds.items() if value is not None]
    return ", ".join([f"{first} {claim.direction} {word} {second}", *parts])
