"""Codec: frozen dataclasses as JSON and back, by their declared types."""

import math
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from analysis.results import ResultsError

T = TypeVar("T")

UNWRITTEN = {"written": False}
"""Metadata of a field that stays in memory: it has a default, and is not written."""


def to_plain(value: Any, place: str = "") -> Any:
    """Turn dataclasses into dicts and tuples into lists; what JSON cannot hold is an error.

    Fields marked `UNWRITTEN` are left out. No NaN and no infinity: they are None where they mean
    something.

    >>> from analysis.claims import Interval
    >>> to_plain(Interval(estimate=0.5, low=0.25, high=0.75))
    {'estimate': 0.5, 'low': 0.25, 'high': 0.75}
    """
    if is_dataclass(value):
        return {
            field.name: to_plain(getattr(value, field.name), f"{place}.{field.name}")
            for field in fields(value)
            if field.metadata.get("written", True)
        }
    if isinstance(value, Mapping):
        return {str(key): to_plain(item, f"{place}.{key}") for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [to_plain(item, f"{place}[{at}]") for at, item in enumerate(value)]
    if isinstance(value, bool | str | int | None):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    raise TypeError(f"{place}: cannot be written as JSON: {value!r} ({type(value).__name__})")


def from_plain(kind: type[T], plain: Any, place: str = "") -> T:
    """Make a value of this type from what `to_plain` wrote; `ResultsError` names what is odd.

    >>> from analysis.claims import Interval
    >>> from_plain(Interval, {"estimate": 0.5, "low": 0.25, "high": 0.75})
    Interval(estimate=0.5, low=0.25, high=0.75)
    """
    return typing.cast(T, _read(kind, plain, place or kind.__name__))


def _read(kind: Any, plain: Any, place: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if isinstance(kind, type) and is_dataclass(kind):
        return _read_dataclass(kind, plain, place)
    if origin is tuple:
        return _read_tuple(arguments, plain, place)
    if origin in (typing.Union, types.UnionType):
        return _read_union(arguments, plain, place)
    if origin is typing.Literal:
        if plain not in arguments:
            raise ResultsError(f"{place}: must be one of {arguments}, got {plain!r}")
        return plain
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(plain, dict):
            raise ResultsError(f"{place}: must be an object, got {plain!r}")
        return {key: _read(arguments[1], item, f"{place}.{key}") for key, item in plain.items()}
    if kind is float and isinstance(plain, int) and not isinstance(plain, bool):
        return float(plain)
    if not isinstance(plain, kind) or (kind in (int, float) and isinstance(plain, bool)):
        raise ResultsError(f"{place}: must be {kind.__name__}, got {plain!r}")
    return plain


def _read_dataclass(kind: Any, plain: Any, place: str) -> Any:
    if not isinstance(plain, dict):
        raise ResultsError(f"{place}: must be an object, got {plain!r}")
    hints = get_type_hints(kind)
    written = [field for field in fields(kind) if field.metadata.get("written", True)]
    values = {}
    for field in written:
        if field.name in plain:
            values[field.name] = _read(
                hints[field.name], plain[field.name], f"{place}.{field.name}"
            )
    try:
        return kind(**values)
    except TypeError as error:
        needed = [one for one in written if one.default is MISSING]
        lacking = [field.name for field in needed if field.name not in plain]
        raise ResultsError(f"{place}: lacks {', '.join(lacking)}") from error


def _read_tuple(arguments: tuple[Any, ...], plain: Any, place: str) -> Any:
    if not isinstance(plain, list):
        raise ResultsError(f"{place}: must be a list, got {plain!r}")
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(_read(arguments[0], item, f"{place}[{at}]") for at, item in enumerate(plain))
    if len(plain) != len(arguments):
        raise ResultsError(f"{place}: must have {len(arguments)} entries, got {len(plain)}")
    return tuple(
        _read(kind, item, f"{place}[{at}]")
        for at, (kind, item) in enumerate(zip(arguments, plain, strict=True))
    )


def _read_union(arguments: tuple[Any, ...], plain: Any, place: str) -> Any:
    if plain is None and type(None) in arguments:
        return None
    # Exact types first: 1 is not 1.0 where both are allowed.
    for kind in arguments:
        if isinstance(kind, type) and type(plain) is kind:
            return plain
    for kind in arguments:
        if kind is not type(None):
            try:
                return _read(kind, plain, place)
            except ResultsError:
                continue
    raise ResultsError(f"{place}: must be one of {arguments}, got {plain!r}")
