"""The mistakes in a studies file: all found at once, each with place, rule, value and way out.

A check that reads several settings can run only when each of them is valid by itself. So each
mistake is noted and replaced by a valid value, and validation is repeated until it finds no more.
"""

import copy
import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from study.spec.settings import MOST_PROBLEMS, RADIUS_FIELDS, SIDES, fraction
from study.spec.source import Place, Source
from trainers.config import ATTACKS, ConfigError

EXAMPLES: dict[str, Any] = {
    "about": "what this study compares",
    "data": {"name": "digits"},
    "data.name": "digits",
    "extra": {"name": "npz:generated.npz", "share": 0.7},
    "extra.name": "npz:generated.npz",
    "share": 0.7,
    "model": {"name": "small_cnn"},
    "model.name": "small_cnn",
    "width": 16,
    "training": {
        "epochs": 20,
        "batch_size": 64,
        "learning_rate": 0.1,
        "momentum": 0.9,
        "weight_decay": 0.0005,
        "schedule": "cosine",
    },
    "seeds": (0, 1, 2),
    "methods": {"standard": {}},
    "weights": "none",
    "inputs": "none",
    "loss": "cross_entropy",
    "rho": 0.1,
    "epsilon": "8/255",
    "step_size": "auto",
    "low": 0.05,
    "high": 0.5,
    "log": True,
    "search": {"trials": 20},
    "sampler": "tpe",
    "stop": {"rungs": (0.5,), "keep": 0.5},
    "rungs": (0.5,),
    "keep": 0.5,
    "grids": True,
    "fidelity": {"steps": (2, 10)},
    "fidelity.steps": (2, 10),
    "search.seeds": "adaptive",
    "budget": {"hours": 8},
    "hours": 8,
    "device_hours": 8,
    "budget.trials": 20,
    "budget.epochs": 200,
    "evaluation": {
        "norm": "linf",
        "radii": ("4/255", "8/255"),
        "objective_radius": "8/255",
        "attack": {"pgd": {"steps": 20, "restarts": 1}},
    },
    "steps": 10,
    "restarts": 1,
    "checkpoint": "best",
    "resources": {"cpu": 1, "gpu": 0},
    "cpu": 1,
    "gpu": 0.5,
    "analysis": {"clean_floor": 0.9},
    "primary": "hypervolume_difference",
    "margin": 0.01,
    "clean_margin": "0.5pp",
    "clean_floors": ("90%", "95%"),
    "claims": ({"methods": ("at", "sam"), "direction": "more", "margin": "1pp"},),
    "claims.methods": ("at", "sam"),
    "claims.margin": "1pp",
    "direction": "more",
    "at_clean": "90%",
    "radius": 0.1,
}
for _part in ("training", "search", "evaluation", "analysis"):
    EXAMPLES |= EXAMPLES[_part]


def _good_settings(cls: type[Any]) -> dict[str, Any]:
    """Return a good value for each setting that has no default: 1 or 0.5 where none is known."""
    required = [item.name for item in fields(cls) if item.default is MISSING]
    for unknown in (1, 0.5):
        good = {name: EXAMPLES.get(name, unknown) for name in required}
        values = {key: fraction(str(value)) or value for key, value in good.items()}
        try:
            cls(**values)
        except ConfigError:
            continue
        return good
    raise AssertionError(f"{cls.__name__}: add an example of its settings to EXAMPLES")


for _kind, _classes in {**SIDES, "attack": ATTACKS}.items():
    for _name, _class in _classes.items():
        EXAMPLES[f"{_kind}.{_name}"] = _good_settings(_class)
EXAMPLES["attack.pgd"] = EXAMPLES["attack"]["pgd"]  # with more steps than the side of a training
"""A good value for each key: shown if one is missing, and used to find further mistakes. Keys are
the last word of a place, or the last two where the last one alone has several meanings."""

MOST_ROUNDS = 20
"""Each round repairs what the previous one found; after so many, validation is given up."""

Model = TypeVar("Model", bound=BaseModel)

_JUDGED_BY = {
    "objective_radius": ("radii",),
    "radii": ("norm",),
    "epsilon": ("norm",),
    "settings": ("name",),
}
"""Fields whose check reads another field: not checked while that field is itself a mistake."""
_TYPES = {
    "float_type": "must be a number",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "tuple_type": "must be a list",
    "model_type": "must be a mapping",
    "dict_type": "must be a mapping",
    "mapping_type": "must be a mapping",
    "finite_number": "must be finite",
}
_SCALARS = ("float_type", "int_type", "bool_type", "string_type", "literal_error")
_REFUSED_KEYS = {
    "pruner": "two objectives give no single value to prune by; trials are stopped by search.stop",
    "scheduler": "trials are scheduled by the study; they are stopped early by search.stop",
}
_RANGE_KEYS = {"low", "high"}


class Notes:
    """The mistakes found so far, without those that may only be consequences of others."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.problems = list(source.problems)
        self._noted = {place for place, _, _ in self.problems if place}
        self._around = {place[:end] for place in self._noted for end in range(1, len(place))}

    def touches(self, place: Place) -> bool:
        """Return whether a mistake is noted at a place, above it or below it."""
        is_below = any(place[:end] in self._noted for end in range(1, len(place) + 1))
        return is_below or place in self._around

    def add(self, place: Place, text: str, judged_by: Iterable[Place] = ()) -> None:
        """Add a mistake, unless it may be a consequence of one that is already noted."""
        if any(self.touches(other) for other in (place, *judged_by)):
            return
        self.problems.append((place, self.source.line(place), text))
        if place:
            self._noted.add(place)
            self._around.update(place[:end] for end in range(1, len(place)))

    def messages(self, path: Path | None) -> tuple[str, ...]:
        """Format each mistake as one line, in the order of the file; None: there is no file."""
        problems = sorted(self.problems, key=lambda problem: problem[1])
        # Once each, as several entries of a list may be wrong in the same way.
        lines = list(
            dict.fromkeys(
                f"{f'{path}:{line}: ' if path else ''}{dotted(place)}{': ' if place else ''}{text}"
                for place, line, text in problems[:MOST_PROBLEMS]
            )
        )
        if len(problems) > MOST_PROBLEMS:
            more = f"{len(problems) - MOST_PROBLEMS} more mistakes are not shown"
            lines.append(f"{path}: {more}" if path else more)
        return tuple(lines)


def validated(
    model: type[Model],
    declared: Mapping[str, Any],
    name: str,
    known_keys: Callable[[Place], Sequence[str]],
    folder: Path,
    notes: Notes,
) -> Model | None:
    """Validate the study `name`, and note its mistakes.

    Returns the study, with valid values in place of mistakes; None if it could not be repaired.
    `known_keys` lists the keys that are allowed below a place; `folder` is the folder of the file.
    """
    data: dict[str, Any] = copy.deepcopy(dict(declared))
    repaired: set[Place] = set()
    for _ in range(MOST_ROUNDS):
        try:
            return model.model_validate(data, context={"folder": folder})
        except ValidationError as failure:
            errors = failure.errors()[:MOST_PROBLEMS]
        places = [_place(error["loc"]) for error in errors]
        unknown = [p for e, p in zip(errors, places, strict=True) if e["type"] == "extra_forbidden"]
        meant = {(*p[:-1], nearest(str(p[-1]), known_keys((name, *p[:-1])))) for p in unknown}
        for error, place in zip(errors, places, strict=True):
            if error["type"] == "missing" and place in meant:
                continue  # it is present, under a misspelled key
            known = known_keys((name, *place[:-1])) if place in unknown else ()
            text = _in_words(error, (name, *place), known)
            notes.add((name, *place), text, _judged_by((name, *place), error["type"]))
        for error, place in zip(errors, places, strict=True):
            _repair(data, place, error["type"], repaired)
    return None


def good_value(keys: Sequence[str | int]) -> Any:
    """Return a valid value for the last of some keys, None if none is known."""
    words = [str(key) for key in keys[-2:]]
    if words[:-1] == ["methods"]:
        return {}
    return EXAMPLES.get(".".join(words), EXAMPLES.get(words[-1] if words else ""))


def empty(place: Place) -> str:
    """Return the message for a key that is followed by nothing."""
    return f"is empty; write {_example(place) or '{} for the defaults'}"


def shown(value: object) -> str:
    """Format a value of the file, short enough for a line."""
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        ends = [key for key in value if key in _RANGE_KEYS]
        return f"{{{', '.join(ends)}}}" if ends else "a mapping" if value else "{}"
    if isinstance(value, tuple):
        return "a list"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:56]}...'"


def nearest(key: str, known: Sequence[str]) -> str | None:
    """Return the known key that was probably meant, in any case; None if no key is near."""
    folded = {name.casefold(): name for name in known}
    match = difflib.get_close_matches(key[:100].casefold(), folded, n=1, cutoff=0.6)
    return folded[match[0]] if match else None


def _place(location: tuple[int | str, ...]) -> Place:
    """Remove from a location the tags of a setting's shapes, which pydantic adds."""
    return tuple(part for part in location if not str(part).startswith("<"))


def _judged_by(place: Place, kind: str) -> list[Place]:
    """List the other places that the trainers read when they check a place."""
    keys = [part for part in place if isinstance(part, str) and part not in ("low", "high")]
    others = _JUDGED_BY.get(keys[-1], ()) if kind == "trainers" else ()
    return [(*keys[:-1], other) for other in others]


def _repair(data: dict[str, Any], place: Place, kind: str, repaired: set[Place]) -> None:
    """Replace the value at a place by a valid one, or remove it if no valid one is known.

    If that is not possible, or did not help before, the place above is repaired.
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
    """Return the mapping at a place, None if there is none."""
    inner: Any = data
    for key in place:
        inner = inner.get(key) if isinstance(inner, dict) else None
    return inner if isinstance(inner, dict) else None


def _in_words(error: Mapping[str, Any], place: Place, known: Sequence[str]) -> str:
    """Format a mistake at a place: the rule, the value, the way out."""
    kind, value = error["type"], error["input"]
    context = error.get("ctx", {})
    key = str(place[-1])
    if kind in ("rule", "trainers"):
        return str(context["text"])
    if kind == "missing":
        if key == "objective_radius":
            return "is missing; add objective_radius: and one of the radii"
        return "is missing; add " + (_example(place) or f"a value for {key}")
    if kind == "extra_forbidden":
        return _unknown(key, place, known)
    if value is None:
        return empty(place)
    if kind == "literal_error":
        words = re.findall(r"'([^']*)'", context["expected"])
        rule = f"must be {'one of ' if len(words) > 1 else ''}{', '.join(words)}"
    elif kind == "too_short":
        return f"needs at least one entry, but has none; write {_example(place) or 'one'}"
    elif kind == "union_tag_invalid":
        return f"only numbers have ranges, got {shown(value)}; write a value or a list"
    elif kind.startswith(("greater_than", "less_than")):
        sign = {"greater_than": ">", "greater_than_equal": "≥", "less_than": "<"}.get(kind, "≤")
        [bound] = context.values()
        rule = f"must be {sign} {bound:g}"
    else:
        rule = _TYPES.get(kind, str(error["msg"]))
    return f"{rule}, got {shown(value)}{_way_out(kind, value, place)}"


def _unknown(key: str, place: Place, known: Sequence[str]) -> str:
    refused = _REFUSED_KEYS.get(key)
    if refused:
        return f"{refused}; remove {key}"
    match = nearest(key, known)
    if match:
        return f"unknown key; did you mean {match}?"
    if not known:
        return f"unknown key; {place[-2]} has no settings, remove it"
    return f"unknown key; known here: {', '.join(known)}"


def _way_out(kind: str, value: object, place: Place) -> str:
    """Return what to write in place of a value of the wrong type."""
    if isinstance(value, str):
        number = fraction(value)
        if kind == "float_type" and re.search(r"/ ?0+$", value):
            return "; the divisor of a fraction must not be 0"
        if kind == "float_type" and number is not None:
            allowed = "epsilon, sigma, step sizes and radii"
            return f"; fractions are allowed in {allowed} only, write {number:.6g}"
    if kind == "tuple_type" and place[-1] in RADIUS_FIELDS and isinstance(value, int | float):
        return f"; did you mean [{value:g}/255]?" if 1 < value <= 255 else _for_example(place)
    may_vary = place[1:2] in (("methods",), ("training",), ("model",))
    if isinstance(value, Mapping) and _RANGE_KEYS & set(value):
        if isinstance(place[-1], int) and may_vary:
            return f"; use either a list or a range for {place[-2]}"
        if not may_vary:
            return "; only settings under methods, training and model have ranges"
    if isinstance(value, tuple):
        if may_vary and place[-1] in _RANGE_KEYS:
            return f"; use either a list or a range for {place[-2]}"
        if isinstance(place[-1], int) and kind in _SCALARS:
            return "; a list may hold plain values only"
        if not may_vary and kind in _SCALARS:
            return "; only settings under methods, training and model have lists"
    return _for_example(place)


def _for_example(place: Place) -> str:
    written = _example(place)
    return f"; write for example {written}" if written else ""


def _example(place: Place) -> str:
    """Format a valid entry for the key of a place as YAML; empty if none is known."""
    keys = [part for part in place if isinstance(part, str)]
    value = good_value(keys)
    return "" if value is None else f"{keys[-1]}: {_as_yaml(value)}"


def _as_yaml(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_as_yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_as_yaml, value)) + "]"
    return shown(value) if isinstance(value, bool) else str(value)


def dotted(place: Place) -> str:
    """Format a place as its keys, joined by dots; an unusual key is quoted."""
    keys = [part for part in place if isinstance(part, str)]
    return ".".join(
        key if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,99}", key) else shown(key)
        for key in keys
    )
