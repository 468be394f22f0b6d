"""Write the reference pages: of studies.yaml, of the commands, and of Python."""

import inspect
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, ForwardRef, Literal, Union, get_args, get_origin, get_type_hints

from sphinx.pycode import ModuleAnalyzer

import analysis
import study
from study.spec import AROUND
from study.spec import model as spec
from study.spec.start import START_KEYS, MoreTrials
from trainers import config
from trainers.config.data import AUGMENTATIONS, ExtraData
from trainers.config.training import (
    ATTACKS,
    MODELS,
    NORM_LAYERS,
    PRECISIONS,
    SCHEDULES,
    ModelConfig,
    TrainingConfig,
)

HIDDEN = ("settings", "transform")
"""Settings that a section of their own explains."""


def write(folder: Path) -> None:
    """Write the three pages to a folder."""
    folder.mkdir(exist_ok=True)
    pages = {"yaml.md": yaml_page(), "commands.md": commands_page(), "python.md": python_page()}
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8")


def yaml_page() -> str:
    """Return the reference of studies.yaml, from the models that read it."""
    parts: list[str] = [
        "# studies.yaml",
        "Each entry of the file is a study. *Swept* settings take a list (a grid: every value "
        "runs) or `{low: …, high: …, log: true}` (a range, searched by Optuna) in place of a "
        "value. Radii may be written as fractions, `8/255`. An unknown key is refused, with the "
        "nearest known one.",
        "## A study",
        _table(spec.StudySpec, left_out=("name",)),
    ]
    around = (
        ("data", config.DataConfig, False),
        ("data.extra", ExtraData, False),
        ("model", ModelConfig, True),
        ("training", TrainingConfig, True),
    )
    for name, cls, is_swept in around:
        parts += [f"## {name}", _doc(cls), _swept(is_swept), _table(cls, left_out=HIDDEN)]
    parts += ["## more_trials", _doc(MoreTrials), _table(MoreTrials)]
    parts += [
        "## start",
        f"A file of weights, or a trial of another study: {_code_list(START_KEYS)}. "
        "`seed: same` starts each seed from the trial of the same seed.",
        "## methods",
        "Each method has a name of your choice, and what it does to weights, inputs and loss. A "
        "method may override settings of `training`, `model` and `start`.",
        _table(spec.MethodSpec),
    ]
    sides = (
        ("weights", config.WEIGHT_SIDES),
        ("inputs", config.INPUT_SIDES),
        ("loss", config.LOSSES),
    )
    for kind, members in sides:
        parts.append(f"## methods.NAME.{kind}")
        for name, cls in members.items():
            parts += [f"### {kind}: {name}", _doc(cls), _table(cls)]
    parts += ["## evaluation", _doc(config.EvaluationConfig), _table(config.EvaluationConfig)]
    for name, cls in ATTACKS.items():
        parts += [f"### attack: {name}", _doc(cls), _table(cls)]
    for name, field in spec.StudySpec.model_fields.items():
        cls = next((one for one in _listed(field.annotation) if _is_part(one)), None)
        if cls is not None:
            parts += [f"## {name}", _doc(cls), _table(cls)]
    for name, cls in (("stop", spec.StopSpec), ("stop.fidelity", spec.FidelitySpec)):
        parts += [f"## search.{name}", _doc(cls), _table(cls)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _listed(hint: object) -> Iterator[object]:
    """Yield the types of which a hint is a union, and those of the entries of a list."""
    for one in _members(hint):
        yield from get_args(one) if get_origin(one) is tuple else (one,)


def _is_part(hint: object) -> bool:
    return isinstance(hint, type) and issubclass(hint, spec.Part)


def _swept(is_swept: bool) -> str:
    return "Every setting may be swept." if is_swept else ""


def _members(hint: object) -> Iterator[object]:
    """Yield the types of which a hint is a union, without None."""
    if get_origin(hint) in (Union, UnionType):
        for one in get_args(hint):
            yield from _members(one)
    elif hasattr(hint, "__metadata__"):
        yield from _members(hint.__origin__)  # type: ignore[attr-defined]
    elif hint is not type(None):
        yield hint


def _doc(cls: type[Any]) -> str:
    return _markdown(inspect.getdoc(cls) or "")


def _table(cls: type[Any], left_out: Iterable[str] = ()) -> str:
    """Return a table of a class's settings: name, values, default and meaning."""
    rows = [row for row in _rows(cls) if row[0] not in left_out]
    if not rows:
        return "No settings."
    lines = [
        f"| `{name}` | {_cell(values)} | {_cell(default)} | {_cell(text)} |"
        for name, values, default, text in rows
    ]
    return "\n".join(["| key | values | default | meaning |", "|---|---|---|---|", *lines])


def _rows(cls: type[Any]) -> Iterator[tuple[str, str, str, str]]:
    texts = _attribute_texts(cls)
    if is_dataclass(cls):
        hints = get_type_hints(cls)
        for item in fields(cls):
            default = "" if item.default is MISSING else _shown(item.default)
            words = CHOICES.get(f"{cls.__name__}.{item.name}")
            values = _code_list(words) if words else _values(hints[item.name])
            yield item.name, values, default, texts.get(item.name, "")
    else:
        for name, field in cls.model_fields.items():
            default = "" if field.is_required() else _shown(field.default)
            yield name, _values(field.annotation), default, texts.get(name, "")


def _attribute_texts(cls: type[Any]) -> dict[str, str]:
    """Return the texts below a class's attributes, and those of its bases."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if base.__module__.startswith(("study", "trainers")):
            docs = ModuleAnalyzer.for_module(base.__module__).find_attr_docs()
            found |= {
                name: " ".join(lines).strip()
                for (owner, name), lines in docs.items()
                if owner == base.__qualname__
            }
    return found


def _values(hint: object) -> str:
    """Return what a hint admits, in words."""
    if hint == config.Active:
        return "`[from, to]`, shares of the training"
    words = []
    for one in _members(hint):
        if get_origin(one) is Literal:
            words.append(" or ".join(f"`{value}`" for value in get_args(one)))
        elif get_origin(one) is tuple:
            entries = _values(get_args(one)[0])
            words.append("list, see below" if entries == "see below" else f"list of {entries}")
        elif one in _WORDS:
            words.append(_WORDS[one])
        elif isinstance(one, ForwardRef) or not isinstance(one, type):
            words.append("mapping")
        else:
            words.append("see below")
    return ", ".join(dict.fromkeys(words))


_WORDS: dict[object, str] = {
    bool: "`true` or `false`",
    int: "whole number",
    float: "number",
    str: "word",
    Any: "see below",
}
CHOICES: dict[str, Iterable[str]] = {
    "ModelConfig.name": MODELS,
    "ModelConfig.norm_layer": NORM_LAYERS,
    "TrainingConfig.schedule": SCHEDULES,
    "TrainingConfig.precision": PRECISIONS,
    "DataConfig.augmentation": AUGMENTATIONS,
}
"""The words that a setting may be, where its type does not say them."""


def _shown(value: object) -> str:
    """Return a default as the file would have it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, int | float | str):
        return f"`{value}`" if value != "" else ""
    if isinstance(value, tuple):
        return f"`[{', '.join(str(one) for one in value)}]`"
    name = getattr(value, "name", "")
    return f"`{name}`" if name and name not in AROUND else ""


def _cell(text: str) -> str:
    return " ".join(_markdown(text).split()).replace("|", "\\|")


def _markdown(text: str) -> str:
    """Return a docstring as Markdown, which it is but for signs that Markdown reads otherwise."""
    pieces = text.split("`")
    for index in range(0, len(pieces), 2):
        for sign in "*_<[":
            pieces[index] = pieces[index].replace(sign, "\\" + sign)
    return "`".join(pieces)


def _code_list(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def commands_page() -> str:
    """Return the help of every command, as it is printed."""
    names = _command_names()
    parts = ["# Commands", "What `study --help` and the help of each command print.", _help()]
    for name in names:
        parts += [f"## study {name}", _help(name)]
    return "\n\n".join(parts) + "\n"


def _command_names() -> list[str]:
    from study.cli import app

    return [
        command.name or command.callback.__name__  # type: ignore[union-attr]
        for command in app.registered_commands
    ]


def _help(*words: str) -> str:
    command = [sys.executable, "-m", "study", *words, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return f"```text\n{done.stdout.strip()}\n```"


def python_page() -> str:
    """Return the public names of `study` and `analysis`, with their docstrings."""
    parts = [
        "# Python",
        "What is named here stays; every other name may change from one version to the next.",
    ]
    for module in (study, analysis):
        parts += [f"## {module.__name__}", _markdown(inspect.getdoc(module) or "")]
        for name in module.__all__:
            parts += list(_entry(f"{module.__name__}.{name}", getattr(module, name)))
    return "\n\n".join(parts) + "\n"


def _entry(name: str, target: Any) -> Iterator[str]:
    """Yield the heading, signature and docstring of a name, and those of a class's methods."""
    yield f"### {name}"
    if inspect.isclass(target):
        yield _docstring(target)
        if is_dataclass(target):
            texts = _attribute_texts(target) if target.__module__.startswith("study") else {}
            yield _fields(target, texts)
        for method, function in vars(target).items():
            if inspect.isfunction(function) and not method.startswith("_"):
                yield f"```python\n{name}.{method}{inspect.signature(function)}\n```"
                yield _docstring(function)
    elif callable(target):
        yield f"```python\n{name}{inspect.signature(target)}\n```"
        yield _docstring(target)
    else:
        yield _markdown(str(target))


def _fields(cls: type[Any], texts: dict[str, str]) -> str:
    names = [item.name for item in fields(cls) if not item.name.startswith("_")]
    return f"Fields: {_code_list(names)}." if names else ""


def _docstring(target: Any) -> str:
    """Return a docstring; its examples become a block of code."""
    text = inspect.getdoc(target) or ""
    blocks = []
    for paragraph in text.split("\n\n"):
        is_code = paragraph.startswith((">>>", " ")) or "\n    " in paragraph
        blocks.append(f"```text\n{paragraph}\n```" if is_code else _markdown(paragraph))
    return "\n\n".join(blocks)
