"""Own parts in a studies file: names such as `my_parts:Mine`, found beside the file or installed.

A part's settings are read like those of our own sides: a list is a grid, `{low, high}` a range, and
a dataclass sees every value of them.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import ValidationError, ValidationInfo
from pydantic_core import InitErrorDetails, PydanticCustomError

from study.spec.settings import (
    SIDES,
    Part,
    Side,
    choice_form,
    config_text,
    form,
    read_choice,
    read_side,
    rule_error,
    rule_errors,
    setting_hint,
)
from study.spec.source import Place
from trainers.config import ATTACKS, MODELS, ConfigError
from trainers.config.own import Own, settings_class
from trainers.config.parts import OwnPart, PartKind, find_part, is_own
from trainers.config.sources import PartError

PART_KINDS: dict[str, PartKind] = {"weights": "weights", "inputs": "inputs", "loss": "losses"}
"""The kinds of own parts by the keys of a method."""

_seen: dict[tuple[str, str], OwnPart] = {}
"""The parts that were found last, for messages about their settings."""


def read_method_side(kind: str, value: object, info: ValidationInfo) -> Side:
    """Read a side of a method, ours or an own one."""
    part = own_part(PART_KINDS[kind], value, SIDES[kind], info)
    if part is None:
        return read_side(kind, value)
    shape = _choice_of(part, kind, may_vary=True)
    return replace(read_side(kind, value, shape, class_of_part(part)), part=part)


def read_own(kind: PartKind, key: str, value: object, info: ValidationInfo) -> Own | None:
    """Read `{my_parts:Mine: {...}}` with plain settings; None if the name is not an own part's."""
    part = own_part(kind, value, ATTACKS if kind == "attacks" else {}, info)
    if part is None:
        return None
    name, given = read_choice(key, _choice_of(part, key, may_vary=False), value)
    try:
        own: Own = class_of_part(part)(**given.model_dump())
    except ConfigError as error:
        raise rule_errors([((name, error.field), config_text(error))], "trainers") from None
    return own


def read_network(name: str, settings: object, info: ValidationInfo) -> Own | None:
    """Read the settings of a network of one's own; None if the name is that of none."""
    if name in MODELS or not is_own(name, "networks"):
        return None
    part = found_part("networks", name, info, ("name",))
    cls = settings_class(part)
    try:
        given = form(cls).model_validate({} if settings is None else settings)
        own: Own = cls(**given.model_dump())
    except ValidationError as failure:
        raise prefixed(failure, "settings") from None
    except ConfigError as error:
        place = ("settings", error.field)
        raise rule_errors([(place, config_text(error))], "trainers") from None
    return own


def own_part(
    kind: PartKind, value: object, ours: Mapping[str, Any], info: ValidationInfo
) -> OwnPart | None:
    """Find the own part that a value names, as a word or as the one key of a mapping.

    None if it names none; the reader of our own parts then says what is wrong. ours: their names.
    """
    name = next(iter(value)) if isinstance(value, Mapping) and len(value) == 1 else value
    if not isinstance(name, str) or name in ours or not is_own(name, kind):
        return None
    return found_part(kind, name, info, (name,) if isinstance(value, Mapping) else ())


def found_part(kind: PartKind, name: str, info: ValidationInfo, place: Place) -> OwnPart:
    """Find an own part. An error is placed at `place`."""
    try:
        part = find_part(kind, name, folder_of(info))
        settings_class(part)
    except PartError as error:
        raise rule_errors([(place, str(error))]) from None
    _seen[kind, name] = _seen[kind, ""] = part
    return part


def prefixed(failure: ValidationError, key: str) -> ValidationError:
    """Return the same errors, each one key deeper."""
    details: list[InitErrorDetails] = []
    for error in failure.errors():
        context = error.get("ctx", {})
        kind: str | PydanticCustomError = error["type"]
        if kind in ("rule", "trainers"):
            kind = rule_error(str(context["text"]))
        place = (key, *error["loc"])
        details.append({"type": kind, "loc": place, "input": error["input"], "ctx": context})
    return ValidationError.from_exception_data("rules", details)


def folder_of(info: ValidationInfo) -> Path:
    """Return the folder of the studies file."""
    return Path(info.context["folder"]) if info.context else Path.cwd()


def class_of_part(part: OwnPart) -> type[Any]:
    """Return the class of a part's settings."""
    return settings_class(part)


def own_settings(kind: str, name: str) -> list[str]:
    """List the settings of an own part that has been read; none if it has not."""
    part = _seen.get((PART_KINDS.get(kind, kind), name))
    return [] if part is None else [*settings_class(part).__dataclass_fields__]


@cache
def _choice_of(part: OwnPart, kind: str, *, may_vary: bool) -> type[Part]:
    """Build the model of a mapping that has the part's name as its key."""
    cls = settings_class(part)
    hints = {key: setting_hint(key, hint) for key, hint in _hints(cls).items()} if may_vary else {}
    return choice_form(kind, {part.name: form(cls, **hints)})


def _hints(cls: type[Any]) -> dict[str, Any]:
    """Return the types of a part's settings, without what its class declares beside them."""
    return {key: get_type_hints(cls)[key] for key in cls.__dataclass_fields__ if key != "part"}
