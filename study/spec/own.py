"""Own parts in a studies file: names such as `my_parts:Mine`, found beside the file or installed.

A part's settings are read like those of our own sides: a list is a grid, `{low, high}` a range, and
a dataclass sees every value of them.
"""

from collections.abc import Collection, Mapping
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any, Self, get_type_hints

from pydantic import ValidationError, ValidationInfo
from pydantic_core import InitErrorDetails, PydanticCustomError

from study.spec.mistakes import shown
from study.spec.settings import (
    SIDES,
    Part,
    Side,
    as_side,
    check_side,
    choice_form,
    config_text,
    distinct,
    form,
    read_choice,
    read_side,
    rule_error,
    rule_errors,
    setting_hint,
)
from study.spec.source import Place
from trainers.config import ATTACKS, MODELS, OPTIMIZERS, ConfigError
from trainers.config.own import Own, settings_class
from trainers.config.parts import OwnPart, PartKind, find_part, is_own
from trainers.config.sources import PartError

PART_KINDS: dict[str, PartKind] = {"weights": "weights", "inputs": "inputs", "loss": "losses"}
"""The kinds of own parts by the keys of a method."""

SETTINGS = "settings."
"""Before each setting of a network of one's own, in a side and in dotted paths."""
OPTIMIZER = "optimizer."
"""Before the name of an optimiser of one's own and each of its settings, in the same places."""


class PartName(str):
    """The name of a network or an optimiser of one's own, which knows its part."""

    part: OwnPart

    def __new__(cls, part: OwnPart) -> Self:
        """Return the name of a part."""
        name = super().__new__(cls, part.name)
        name.part = part
        return name

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the part."""
        return (PartName, (self.part,))


_seen: dict[tuple[str, str], OwnPart] = {}
"""The parts that were found last, for messages about their settings."""


def read_method_side(kind: str, value: object, info: ValidationInfo) -> Side:
    """Read a side of a method, ours or an own one."""
    part = own_part(PART_KINDS[kind], value, SIDES[kind], info)
    return read_side(kind, value) if part is None else _own_side(part, kind, value)


def _own_side(part: OwnPart, kind: str, value: object) -> Side:
    """Read an own part whose settings may be grids and ranges; its class checks them."""
    shape = _choice_of(part, kind, may_vary=True)
    return replace(read_side(kind, value, shape, class_of_part(part)), part=part)


def read_own(kind: PartKind, key: str, value: object, info: ValidationInfo) -> Own | None:
    """Read `{my_parts:Mine: {...}}` with plain settings; None if the name is not an own part's."""
    part = own_part(kind, value, ATTACKS if kind == "attacks" else (), info)
    if part is None:
        return None
    name, given = read_choice(key, _choice_of(part, key, may_vary=False), value)
    try:
        own: Own = class_of_part(part)(**given.model_dump())
    except ConfigError as error:
        raise rule_errors([((name, error.field), config_text(error))], "trainers") from None
    return own


def read_network(value: object, info: ValidationInfo) -> tuple[object, tuple[Any, ...]]:
    """Read a network of one's own in a study's or a method's `model`.

    Returns the mapping without what was read, and that as settings of a side: the name, and the
    settings of the part, each under `settings.`; none for a network of ours.
    """
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        return value, ()
    name = value["name"]
    if name in MODELS or not is_own(name, "networks"):
        return value, ()
    part = found_part("networks", name, info, ("name",))
    cls = settings_class(part)
    given = value.get("settings", {})
    try:
        read = _form_of(part).model_validate({} if given is None else given)
        side = as_side("settings", read)
        check_side(cls, side, ())
    except ValidationError as failure:
        raise prefixed(failure, "settings") from None
    rest = {key: item for key, item in value.items() if key != "settings"}
    own = ((f"{SETTINGS}{key}", setting) for key, setting in side.settings)
    return rest, (("name", PartName(part)), *own)


def network_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the trainers' fields of a network, from settings as `read_network` returns them."""
    own, kept = _parted(given, SETTINGS)
    if isinstance(name := given["name"], PartName):
        return {"width": 0, **kept, "name": str(name), "settings": settings_class(name.part)(**own)}
    return kept


def read_optimizer(value: object, info: ValidationInfo) -> object:
    """Read the base optimiser: a word, a grid of words, or an own part as a side."""
    part = own_part("optimizers", value, OPTIMIZERS, info)
    if part is not None:
        return _own_side(part, "optimizer", value)
    words = value if isinstance(value, tuple) else (value,)
    if not all(isinstance(word, str) for word in words) or not words:
        rule = f"must be {' or '.join(OPTIMIZERS)}, a list of both, or {{my_parts:Mine: {{...}}}}"
        way_out = "an own optimiser stands alone, or overrides in a method"
        raise rule_error(f"{rule}, got {shown(value)}; {way_out}")
    return distinct(words) if isinstance(value, tuple) else value


def flat_optimizer(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a training's settings with an own optimiser's name, and its settings beside it.

    Each of these is under `optimizer.NAME.`, also one that is left out, with its default.
    """
    side = settings.get("optimizer")
    if not isinstance(side, Side) or side.part is None:
        return dict(settings)
    defaults = {item.name: item.default for item in fields(class_of_part(side.part))}
    own = defaults | dict(side.settings)  # a setting without a default was given
    above = f"{OPTIMIZER}{side.name}."
    named = {f"{above}{key}": setting for key, setting in own.items()}
    return {**settings, "optimizer": PartName(side.part), **named}


def training_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the trainers' fields of a training, from settings as `flat_optimizer` returns them."""
    own, kept = _parted(given, f"{OPTIMIZER}{given.get('optimizer')}.")
    if isinstance(name := given.get("optimizer"), PartName):
        return {**kept, "optimizer": settings_class(name.part)(**own)}
    return kept


def _parted(given: Mapping[str, Any], above: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings whose names begin with `above`, without it, and the others."""
    own = {key.removeprefix(above): v for key, v in given.items() if key.startswith(above)}
    return own, {key: value for key, value in given.items() if not key.startswith(above)}


def keys_of(setting: str) -> tuple[str, ...]:
    """Return the keys, one in the other, of a setting of training or model.

    The name of a part may have dots, too.

    >>> keys_of("epochs"), keys_of("settings.depth"), keys_of("optimizer.my.parts:lion.beta")
    (('epochs',), ('settings', 'depth'), ('optimizer', 'my.parts:lion', 'beta'))
    """
    first, _, rest = setting.partition(".")
    part, _, name = rest.rpartition(".")
    return tuple(key for key in (first, part, name) if key)


def own_part(
    kind: PartKind, value: object, ours: Collection[str], info: ValidationInfo
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
    return [] if part is None else [item.name for item in fields(settings_class(part))]


@cache
def _choice_of(part: OwnPart, kind: str, *, may_vary: bool) -> type[Part]:
    """Build the model of a mapping that has the part's name as its key."""
    return choice_form(
        kind, {part.name: _form_of(part) if may_vary else form(settings_class(part))}
    )


@cache
def _form_of(part: OwnPart) -> type[Part]:
    """Build the model of a part's settings, each of which may be a grid or a range."""
    cls = settings_class(part)
    hints = {key: get_type_hints(cls)[key] for key in (item.name for item in fields(cls))}
    return form(cls, **{key: setting_hint(key, hint) for key, hint in hints.items()})
