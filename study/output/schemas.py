"""The JSON Schema of studies.yaml, built from the classes that read it, and that of the answers.

An editor completes and checks a studies file by it. It is a first check, not the last one: it
knows the keys, their types and the words, while `study check` knows the rules between them. Parts
of one's own (`my_parts:Mine`) are let through, as their settings are known to Python alone.
"""

import ast
import inspect
import json
import textwrap
from collections.abc import Mapping
from dataclasses import MISSING, fields
from importlib import resources
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Lt, MinLen
from pydantic_core import PydanticUndefined

from study.spec.around import AROUND
from study.spec.model import PRIMARY, StudySpec
from study.spec.search import NEVER, StopSpec
from study.spec.settings import RADIUS_FIELDS, SIDES, Part, members_of
from study.spec.start import START_KEYS
from trainers.config import ATTACKS, Active, DataConfig, EvaluationConfig, ExtraData
from trainers.config.training import MODELS, NORM_LAYERS, OPTIMIZERS, PRECISIONS, SCHEDULES

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$"
FRACTION: Schema = {"type": "string", "pattern": r"^[-+]?[0-9]+(\.[0-9]+)? ?/ ?[0-9]+(\.[0-9]+)?$"}
OWN = r"^[^:]+:.+$"
"""The names of parts of one's own."""
SHARES: Schema = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
WORDS = {
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "precision": PRECISIONS,
    "norm_layer": NORM_LAYERS,
}
"""Settings that are text to the trainers, and one of some words."""
LIMITS = {
    Ge: ("ge", "minimum"),
    Gt: ("gt", "exclusiveMinimum"),
    Lt: ("lt", "exclusiveMaximum"),
}


def studies_schema() -> str:
    """Return the JSON Schema of a studies file, as text."""
    schema = {
        "$schema": DIALECT,
        "title": "studies.yaml of rhoeps",
        "type": "object",
        "patternProperties": {r"^\.": True, NAME: _study()},
        "additionalProperties": False,
    }
    return json.dumps(schema, indent=1, ensure_ascii=False)


def answers_schema() -> str:
    """Return the JSON Schema of what commands print with --json, as text."""
    return resources.files("study.output").joinpath("answers.json").read_text(encoding="utf-8")


def _study() -> Schema:
    """Return the schema of one study."""
    start = _start()
    method = {
        **{kind: _choice(SIDES[kind], is_swept=True) for kind in SIDES},
        **{kind: _around(kind, is_override=True) for kind in AROUND},
        "start": start,
    }
    parts = {
        "data": _data(),
        **{kind: _around(kind, is_override=False) for kind in AROUND},
        "start": start,
        "methods": {
            "type": "object",
            "minProperties": 1,
            "patternProperties": {NAME: _object(method)},
            "additionalProperties": False,
        },
        "evaluation": _dataclass(
            EvaluationConfig, attack=_choice(ATTACKS, is_swept=False), norm=_words("linf", "l2")
        ),
    }
    study = _part(StudySpec, **parts)
    study["properties"].pop("name")
    study["required"].remove("name")
    # It is needed where a method has a range, which no schema sees.
    study["properties"]["search"]["required"] = []
    return study


def _data() -> Schema:
    """Return the schema of the data."""
    own: Schema = {"type": ["string", "object"]}
    extra = {"anyOf": [{"const": "none"}, _dataclass(ExtraData)]}
    return _dataclass(DataConfig, settings={"type": "object"}, transform=own, extra=extra)


def _around(kind: str, *, is_override: bool) -> Schema:
    """Return the schema of a training or a model, of which a method overrides single settings."""
    own: Schema = {"type": "object"}
    named = {"anyOf": [{"enum": list(MODELS)}, {"type": "string"}]}
    given = {"model": {"settings": own, "name": named}, "training": {}}[kind]
    schema = _dataclass(AROUND[kind], is_swept=True, **given)
    if is_override:
        schema.pop("required")
    elif kind == "model":
        schema["required"] = ["name"]
    return schema


def _start() -> Schema:
    """Return the schema of what trainings start from."""
    keys: Schema = {key: {"type": "string"} for key in START_KEYS}
    keys |= {"values": {"type": "object"}, "seed": {"type": ["integer", "string"]}}
    keys["checkpoint"] = _words("best", "last")
    return {"anyOf": [{"type": "string"}, _object(keys)]}


def _choice(classes: Mapping[str, type[Any]], *, is_swept: bool) -> Schema:
    """Return the schema of a mapping with one of several names as its key, or of the name alone."""
    ours = {name: _dataclass(cls, is_swept=is_swept) for name, cls in classes.items()}
    mapping = {
        "type": "object",
        "properties": ours,
        "patternProperties": {OWN: {"type": "object"}},
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }
    bare = [name for name, one in ours.items() if not one["required"]]
    return {"anyOf": [mapping, {"enum": bare}, {"type": "string", "pattern": OWN}]}


def _object(properties: Mapping[str, Schema], required: tuple[str, ...] = ()) -> Schema:
    found: Schema = {"type": "object", "properties": dict(properties)}
    return {**found, "required": list(required), "additionalProperties": False}


def _dataclass(cls: type[Any], *, is_swept: bool = False, **given: Schema) -> Schema:
    """Return the schema of a trainers' dataclass. `given`: schemas of fields that need their own.

    is_swept: a setting may also be a list, which is a grid, or a range.
    """
    hints, docs, properties = get_type_hints(cls), _docs(cls), {}
    for item in fields(cls):
        one = given.get(item.name)
        if one is None:
            one = _setting(item.name, hints[item.name], is_swept=is_swept)
        properties[item.name] = {"description": docs[item.name], **one} if docs[item.name] else one
    needed = tuple(item.name for item in fields(cls) if item.default is MISSING)
    return {**_object(properties, needed), "description": _doc(cls)}


def _part(cls: type[Part], **given: Schema) -> Schema:
    """Return the schema of a part of the file that has its own pydantic model."""
    docs, properties = _docs(cls), {}
    for name, item in cls.model_fields.items():
        one = given.get(name) or _hint(name, get_type_hints(cls, include_extras=True)[name])
        if item.default not in (None, PydanticUndefined) and isinstance(item.default, int | str):
            one = {**one, "default": item.default}
        properties[name] = {"description": docs[name], **one} if docs[name] else one
    needed = tuple(name for name, item in cls.model_fields.items() if item.is_required())
    return {**_object(properties, needed), "description": _doc(cls)}


def _setting(name: str, hint: Any, *, is_swept: bool) -> Schema:
    """Return the schema of a setting: a value, and where it may be swept a grid or a range."""
    if hint == Active:
        return {"anyOf": [SHARES, {"type": "array", "items": SHARES, "minItems": 1}]}
    one = _hint(name, hint)
    if not is_swept or one.get("type") == "array":
        return one
    forms = [one, {"type": "array", "items": one, "minItems": 1, "uniqueItems": True}]
    if {int, float} & set(members_of(hint)):
        end = _hint(name, float if float in members_of(hint) else int)
        ends = {"low": end, "high": end, "log": {"type": "boolean", "default": False}}
        forms.append(_object(ends, ("low", "high")))
    if name == "optimizer":
        forms.append({"type": ["string", "object"]})
    return {"anyOf": forms}


def _hint(name: str, hint: Any) -> Schema:
    """Return the schema of a type; of one that is not known here, the schema of anything."""
    own: dict[str, Schema] = {
        "samples": {"anyOf": [{"const": "all"}, {"type": "integer", "minimum": 1}]},
        "primary": {"anyOf": [{"const": PRIMARY}, {"type": "object"}]},
        "clean_margin": {"type": ["number", "string"]},
    }
    if name == "stop":
        return {"anyOf": [{"const": NEVER}, _part(StopSpec)]}
    if name in own:
        return own[name]
    if name in WORDS:
        return _words(*WORDS[name])
    if get_origin(hint) is Annotated:
        inner, *marks = get_args(hint)
        found = _hint(name, inner)
        for mark in marks:
            if type(mark) in LIMITS and "type" in found:
                attribute, keyword = LIMITS[type(mark)]
                found = {**found, keyword: getattr(mark, attribute)}
            elif isinstance(mark, MinLen) and found.get("type") == "array":
                found = {**found, "minItems": mark.min_length}
        return found
    members = [member for member in members_of(hint) if member is not type(None)]
    if len(members) > 1:
        return {"anyOf": [_hint(name, member) for member in members]}
    return _plain(name, members[0])


def _plain(name: str, hint: Any) -> Schema:
    """Return the schema of a type that is no union."""
    if get_origin(hint) is Annotated:
        return _hint(name, hint)
    if get_origin(hint) is Literal:
        return _words(*get_args(hint))
    if get_origin(hint) is tuple and get_args(hint)[-1] is ...:
        return {"type": "array", "items": _hint(name, get_args(hint)[0])}
    if isinstance(hint, type) and issubclass(hint, Part):
        return _part(hint)
    if hint is float and name in RADIUS_FIELDS:
        return {"anyOf": [{"type": "number"}, FRACTION]}
    types = {int: "integer", float: "number", bool: "boolean", str: "string"}
    return {"type": types[hint]} if hint in types else {}


def _words(*words: str) -> Schema:
    return {"enum": list(words)}


def _doc(cls: type[Any]) -> str:
    """Return the first paragraph of a class's docstring."""
    return (inspect.getdoc(cls) or "").split("\n\n")[0].replace("\n", " ")


def _docs(cls: type[Any]) -> dict[str, str]:
    """Read what stands below each field of a class in its source; empty where nothing does."""
    found = dict.fromkeys(get_type_hints(cls), "")
    [body] = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(body, ast.ClassDef)
    for field, after in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(after, ast.Expr):
            text = inspect.cleandoc(str(ast.literal_eval(after.value)))
            found[ast.unparse(field.target)] = text.replace("\n", " ")
    return found
