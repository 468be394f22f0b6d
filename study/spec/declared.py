"""Studies declared in Python: mappings as a studies file would hold them, read by the same checks.

Lists are grids and `{"low": ..., "high": ...}` are ranges, as in the file. NumPy's numbers and
arrays are read as plain numbers and lists.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from study.spec.mistakes import nearest
from study.spec.model import StudySpec
from study.spec.read import check_studies
from study.spec.source import DEEPEST, LARGEST_INTEGER, Place, Source, SpecError


def read_declared(declared: Mapping[str, Any], folder: Path) -> dict[str, StudySpec]:
    """Read studies by name from a mapping that has the shape of a studies file.

    Paths in it are relative to `folder`. Raises `SpecError` with a line for each mistake.
    """
    problems: list[tuple[Place, int, str]] = []
    data = _plain(declared, (), problems)
    return check_studies(Source(data=data, lines={}, problems=tuple(problems)), folder, None)


def choose_study(studies: Mapping[str, StudySpec], name: str | None, place: str) -> StudySpec:
    """Return a study by its name, which may be None if there is only one.

    `place` is where the studies are declared. Raises `SpecError` that lists what there is.
    """
    if name is None and len(studies) == 1:
        return next(iter(studies.values()))
    if name is None:
        raise SpecError(f"{place}: has several studies; name one of {', '.join(studies)}")
    if name in studies:
        return studies[name]
    close = nearest(name, list(studies))
    hint = f"did you mean {close}?" if close else f"it has {', '.join(studies)}"
    raise SpecError(f"{place}: has no study {name}; {hint}")


def _plain(value: Any, place: Place, problems: list[tuple[Place, int, str]]) -> Any:
    """Return a value as the file's reader would; note what no file could hold, and return None."""
    if len(place) > DEEPEST:
        raise SpecError(f"{place[0]}: holds itself, or is nested deeper than {DEEPEST}; write less")
    if isinstance(value, Mapping):
        keys = [key for key in value if not (isinstance(key, str) and key)]
        if keys:
            text = f"a key must be a word, got {keys[0]!r}; write a word"
            problems.append((place, 1, text))
        return {
            key: _plain(inner, (*place, key), problems)
            for key, inner in value.items()
            if isinstance(key, str) and key
        }
    if hasattr(value, "tolist"):  # of NumPy: an array or a single number
        value = value.tolist()
    if isinstance(value, list | tuple | range):
        return tuple(_plain(inner, (*place, at), problems) for at, inner in enumerate(value))
    if isinstance(value, Path):
        return str(value)
    problem = _problem(value)
    if problem:
        problems.append((place, 1, problem))
        return None
    return value


def _problem(value: object) -> str:
    """Return why a single value cannot stand in a study; empty if it can."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"numbers must be finite, got {value}; write a finite number"
    if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        return "a whole number must be below 2^63; write a smaller one"
    if value is None or isinstance(value, bool | int | float | str):
        return ""
    kind = type(value).__name__
    return f"must be a number, text, a boolean, a list or a mapping, got a {kind}; convert it"
