"""Validate past a mistake: note it, put a good value in its place, go on to the next."""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from study.settings import MOST_PROBLEMS
from study.wording import dotted, good_value, in_words, nearest
from study.yaml_source import Place, Source

Model = TypeVar("Model", bound=BaseModel)

MOST_ROUNDS = 20

_JUDGED_BY = {"objective_radius": ("radii",), "radii": ("norm",), "epsilon": ("norm",)}
"""Fields whose check reads another field: not judged while that one is itself a mistake."""


class Notes:
    """The mistakes found so far; one that may follow from another is left out."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.problems = list(source.problems)
        self._noted = {place for place, _, _ in self.problems if place}
        self._around = {place[:end] for place in self._noted for end in range(1, len(place))}

    def touches(self, place: Place) -> bool:
        """Tell whether a mistake is noted at a place, above it or below it."""
        is_below = any(place[:end] in self._noted for end in range(1, len(place) + 1))
        return is_below or place in self._around

    def add(self, place: Place, text: str, judged_by: Iterable[Place] = ()) -> None:
        """Note a mistake, unless it may follow from one that is noted."""
        if any(self.touches(other) for other in (place, *judged_by)):
            return
        self.problems.append((place, self.source.line(place), text))
        if place:
            self._noted.add(place)
            self._around.update(place[:end] for end in range(1, len(place)))

    def messages(self, path: Path) -> tuple[str, ...]:
        """Write one line for each mistake, in the order of the file."""
        problems = sorted(self.problems, key=lambda problem: problem[1])
        lines = [
            f"{path}:{line}: {dotted(place)}{': ' if place else ''}{text}"
            for place, line, text in problems[:MOST_PROBLEMS]
        ]
        if len(problems) > MOST_PROBLEMS:
            lines.append(f"{path}: {len(problems) - MOST_PROBLEMS} more mistakes are not shown")
        return tuple(lines)


def validated(
    model: type[Model],
    declared: Mapping[str, Any],
    name: str,
    known_keys: Callable[[Place], Sequence[str]],
    folder: Path,
    notes: Notes,
) -> Model | None:
    """Validate the study `name`; after a mistake, the study with good values in its place."""
    data: dict[str, Any] = copy.deepcopy(dict(declared))
    repaired: set[Place] = set()
    for _ in range(MOST_ROUNDS):
        try:
            return model.model_validate(data, context={"folder": folder})
        except ValidationError as failure:
            errors = failure.errors()[:MOST_PROBLEMS]
        places = [_place(error["loc"]) for error in errors]
        renamed = _misspelled(errors, places, name, known_keys)
        for error, place in zip(errors, places, strict=True):
            if error["type"] == "missing" and place in renamed:
                continue
            known = known_keys((name, *place[:-1])) if error["type"] == "extra_forbidden" else ()
            text = in_words(error, (name, *place), known)
            notes.add((name, *place), text, _judged_by((name, *place), error["type"]))
        for error, place in zip(errors, places, strict=True):
            _repair(data, place, error["type"], repaired)
    return None


def _place(location: tuple[int | str, ...]) -> Place:
    """Drop what pydantic adds to a location: the tags of the shapes of a setting."""
    return tuple(part for part in location if not str(part).startswith("<"))


def _judged_by(place: Place, kind: str) -> list[Place]:
    """Give the places that the trainers read when they judge a place."""
    keys = [part for part in place if isinstance(part, str) and part not in ("low", "high")]
    others = _JUDGED_BY.get(keys[-1], ()) if kind == "trainers" else ()
    return [(*keys[:-1], other) for other in others]


def _misspelled(
    errors: Sequence[Any],
    places: Sequence[Place],
    name: str,
    known_keys: Callable[[Place], Sequence[str]],
) -> set[Place]:
    """Give the places that are missing only because their key is misspelled."""
    renamed: set[Place] = set()
    for error, place in zip(errors, places, strict=True):
        if error["type"] == "extra_forbidden":
            match = nearest(str(place[-1]), known_keys((name, *place[:-1])))
            if match:
                renamed.add((*place[:-1], match))
    return renamed


def _repair(data: dict[str, Any], place: Place, kind: str, repaired: set[Place]) -> None:
    """Put a good value at a place, or remove what has none.

    Where that is not possible, or was done before and did not help, the same is done one level up.
    """
    for length in range(len(place), 0, -1):
        parent, key = _mapping_at(data, place[: length - 1]), place[length - 1]
        is_unknown = kind == "extra_forbidden" and length == len(place)
        is_method = length == 2 and place[0] == "methods"
        if parent is None or not isinstance(key, str) or place[:length] in repaired:
            continue
        if is_method or (is_unknown and key in parent):
            repaired.add(place[:length])
            parent.pop(key, None)
            return
        value = good_value(place[:length])
        if value is not None and not is_unknown:
            repaired.add(place[:length])
            parent[key] = copy.deepcopy(value)
            return


def _mapping_at(data: dict[str, Any], place: Place) -> dict[str, Any] | None:
    """Give the mapping at a place; None where something else stands, or nothing."""
    inner: Any = data
    for key in place:
        inner = inner.get(key) if isinstance(inner, dict) else None
    return inner if isinstance(inner, dict) else None
