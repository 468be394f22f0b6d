"""Give the studies of a studies file: `StudySpec`, and `read_studies` with every mistake at once.

A file is read as YAML with lines, then validated study by study. Where something is wrong, it is
noted, a good value takes its place, and validation goes on, so that one reading tells it all.
"""

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Lt, MinLen
from pydantic import AfterValidator, BeforeValidator, ValidationInfo

from study.recovery import Notes, validated
from study.settings import (
    SIDES,
    Part,
    Radius,
    Range,
    Setting,
    Side,
    Value,
    WholeRange,
    choice_form,
    choices,
    config_text,
    distinct,
    form,
    read_choice,
    read_part,
    read_side,
    rule_error,
    rule_errors,
)
from study.wording import empty, shown
from study.yaml_source import Place, SpecError, read_yaml
from trainers.config import (
    ATTACKS,
    DEFAULT_WIDTHS,
    ConfigError,
    EvaluationConfig,
    Method,
    ModelConfig,
    TrainConfig,
    TrainingConfig,
)

__all__ = [
    "AnalysisSpec",
    "DataSpec",
    "MethodSpec",
    "Range",
    "ResourcesSpec",
    "SearchSpec",
    "Setting",
    "Side",
    "SpecError",
    "StudySpec",
    "Value",
    "WholeRange",
    "configured",
    "read_studies",
    "settings_of",
    "train_config",
]

MOST_CELLS = 100_000
MOST_ROUNDS = 20

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_NAME_RULE = "a name has letters A-Z a-z, digits, _ - . and starts with none of - ."


def _read_attack(value: Any) -> Any:
    """Make the evaluation attack of `{pgd: {...}}`."""
    if isinstance(value, tuple(ATTACKS.values())):
        return value
    name, part = read_choice("attack", _ATTACK_FORM, value)
    try:
        return ATTACKS[name](**part.model_dump())
    except ConfigError as error:
        raise rule_errors([((name, error.field), config_text(error))], "trainers") from None


def _read_model(value: Any) -> Any:
    """Make the network's configuration, with the usual width of its kind."""
    if isinstance(value, Mapping) and "name" in value and "width" not in value:
        value = {**value, "width": DEFAULT_WIDTHS.get(value["name"], 1)}
    return read_part(ModelConfig, _MODEL_FORM, value)


def _read_methods(value: Any) -> Any:
    """Check the names of the methods; each becomes a part of MLflow's and of file names."""
    if isinstance(value, Mapping):
        problems = [((name,), name_problem(name)) for name in value if name_problem(name)]
        if problems:
            raise rule_errors(problems)
    return value


def _whole_or_fraction(gpu: float) -> float:
    if gpu > 1 and gpu != int(gpu):
        raise rule_error(f"must be a whole number, or a fraction of one GPU, got {gpu!r}; round it")
    return gpu


def _required(key: str, value: Any) -> Any:
    """Refuse a key that is followed by nothing where leaving it out would be allowed."""
    if value is None:
        raise rule_error(empty((key,)))
    return value


def _absolute(name: str, info: ValidationInfo) -> str:
    """Resolve a folder against the folder of the studies file."""
    folder = name.removeprefix("folder:")
    if folder in (name, "") or not info.context:
        return name
    return f"folder:{(info.context['folder'] / Path(folder).expanduser()).absolute()}"


_ATTACK_FORM = choice_form("attack", {name: form(cls) for name, cls in ATTACKS.items()})
_MODEL_FORM = form(ModelConfig)
_TRAINING_FORM = form(TrainingConfig)
_EVALUATION_FORM = form(
    EvaluationConfig,
    radii=tuple[Radius, ...],
    objective_radius=Radius,
    attack=Annotated[Any, BeforeValidator(_read_attack)],
)
_read_training = partial(read_part, TrainingConfig, _TRAINING_FORM)
_read_evaluation = partial(read_part, EvaluationConfig, _EVALUATION_FORM)


class DataSpec(Part):
    """The data set: `digits`, or `folder:PATH`, made absolute on reading."""

    name: Annotated[str, AfterValidator(_absolute)]


class MethodSpec(Part):
    """A weight side, an input side and a loss, any setting of which may be a grid or a range."""

    weights: Annotated[Side, BeforeValidator(partial(read_side, "weights"))] = Side(name="none")
    inputs: Annotated[Side, BeforeValidator(partial(read_side, "inputs"))] = Side(name="none")
    loss: Annotated[Side, BeforeValidator(partial(read_side, "loss"))] = Side(name="cross_entropy")


class SearchSpec(Part):
    """How ranges are searched."""

    trials: Annotated[int, Ge(1)]
    """Configurations that Optuna suggests in each search block; each runs with every seed."""
    sampler: Literal["tpe", "nsga2", "gp", "random"] = "tpe"


class ResourcesSpec(Part):
    """What one trial occupies."""

    cpu: Annotated[int, Ge(1)] = 1
    gpu: Annotated[float, Ge(0), AfterValidator(_whole_or_fraction)] = 0.0
    """A whole number of GPUs, or a fraction of one."""


class AnalysisSpec(Part):
    """What is declared before the results are seen."""

    primary: Literal["hypervolume_difference"] = "hypervolume_difference"
    clean_floor: Annotated[float, Ge(0), Lt(1)]
    """Clean accuracy below which a configuration is of no interest."""


class StudySpec(Part):
    """One entry of a studies file."""

    name: str
    about: str = ""
    data: DataSpec
    model: Annotated[ModelConfig, BeforeValidator(_read_model)]
    training: Annotated[TrainingConfig, BeforeValidator(_read_training)]
    seeds: Annotated[tuple[Annotated[int, Ge(0)], ...], MinLen(1), AfterValidator(distinct)]
    methods: Annotated[Mapping[str, MethodSpec], MinLen(1), BeforeValidator(_read_methods)]
    search: Annotated[SearchSpec | None, BeforeValidator(partial(_required, "search"))] = None
    evaluation: Annotated[EvaluationConfig, BeforeValidator(_read_evaluation)]
    resources: ResourcesSpec = ResourcesSpec()
    analysis: Annotated[AnalysisSpec | None, BeforeValidator(partial(_required, "analysis"))] = None


_PARTS: dict[str, type[Part]] = {
    "data": DataSpec,
    "model": _MODEL_FORM,
    "training": _TRAINING_FORM,
    "search": SearchSpec,
    "evaluation": _EVALUATION_FORM,
    "resources": ResourcesSpec,
    "analysis": AnalysisSpec,
}


def name_problem(name: str) -> str:
    """Say why a study or method cannot be called so; nothing where it can."""
    return "" if _NAME.fullmatch(name) else f"{_NAME_RULE}, got {shown(name)}; rename it"


def settings_of(method: MethodSpec) -> tuple[tuple[str, Setting], ...]:
    """Give every setting of a method under its dotted path, such as `weights.sam.rho`."""
    sides = [(kind, getattr(method, kind)) for kind in SIDES]
    return tuple(
        (f"{kind}.{side.name}.{name}", setting)
        for kind, side in sides
        for name, setting in side.settings
    )


def configured(method: MethodSpec, values: Mapping[str, Value]) -> Method:
    """Make the trainers' method; `values` gives each setting that a list or a range chooses."""
    parts = {}
    for kind in SIDES:
        side: Side = getattr(method, kind)
        chosen = {
            name: values.get(f"{kind}.{side.name}.{name}", setting)
            for name, setting in side.settings
        }
        parts[kind] = SIDES[kind][side.name](**chosen)
    return Method(**parts)


def train_config(
    spec: StudySpec, method: str, values: Mapping[str, Value], seed: int
) -> TrainConfig:
    """Make the configuration of one cell, as the trainers take it."""
    return TrainConfig(
        data=spec.data.name,
        model=spec.model,
        training=spec.training,
        method=configured(spec.methods[method], values),
        evaluation=spec.evaluation,
        seed=seed,
    )


def read_studies(path: Path) -> dict[str, StudySpec]:
    """Read and check a studies file; raise `SpecError` with a line for each of its mistakes.

    A top-level key that starts with a dot is no study: it may hold what studies share (`&name`).
    """
    source = read_yaml(path)
    notes = Notes(source=source, problems=list(source.problems))
    studies = {}
    if not isinstance(source.data, dict):
        text = f"must be a mapping of studies, got {shown(source.data)}; write digits: {{...}}"
        notes.add((), text)
    else:
        names = [name for name in source.data if not name.startswith(".")]
        studies = {name: _study(name, path.parent, notes) for name in names}
        if not studies:
            notes.add((), "declares no study; write one, as in digits: {...}")
    if notes.problems:
        raise SpecError(notes.messages(path))
    return {name: study for name, study in studies.items() if study is not None}


def _study(name: str, folder: Path, notes: Notes) -> StudySpec | None:
    """Validate one study, then what its parts must hold together."""
    declared = notes.source.data[name]
    if name_problem(name):
        notes.add((name,), name_problem(name))
    if not isinstance(declared, Mapping):
        words = (
            empty((name, "study"))
            if declared is None
            else f"must be a mapping, got {shown(declared)}"
        )
        notes.add((name,), words)
        return None
    if _num_cells(declared) > MOST_CELLS:
        text = f"declares {_num_cells(declared)} cells, at most {MOST_CELLS} can be; shorten lists"
        notes.add((name, "methods"), text)
    _check_search(name, declared, notes)
    spec = validated(StudySpec, {"name": name, **declared}, name, _known_keys, folder, notes)
    if spec is not None:
        _check_twins(spec, notes)
        _check_cells(spec, notes)
    return spec


def _known_keys(place: Place) -> Sequence[str]:
    """Give the keys that the grammar knows below a place."""
    match place:
        case (_,):
            return [key for key in StudySpec.model_fields if key != "name"]
        case (_, "methods", _):
            return list(SIDES)
        case (_, "methods", _, str(kind)):
            return list(SIDES[kind])
        case (_, "methods", _, str(kind), str(side)):
            return [item.name for item in fields(SIDES[kind][side])]
        case (_, "methods", *_):
            return list(Range.model_fields)
        case (_, "evaluation", "attack"):
            return list(ATTACKS)
        case (_, "evaluation", "attack", str(attack)):
            return [item.name for item in fields(ATTACKS[attack])]
        case (_, str(part)):
            return list(_PARTS[part].model_fields)
    return []


def _declared_settings(declared: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Give what stands where settings stand, by method, whether it is right or wrong."""
    methods = declared.get("methods")
    settings: dict[str, list[Any]] = {}
    for name, method in methods.items() if isinstance(methods, Mapping) else ():
        kinds = method.values() if isinstance(method, Mapping) else ()
        sides = [side for kind in kinds if isinstance(kind, Mapping) for side in kind.values()]
        settings[name] = [
            item for side in sides if isinstance(side, Mapping) for item in side.values()
        ]
    return settings


def _num_cells(declared: Mapping[str, Any]) -> int:
    """Count the cells of a study before it is validated: lists times trials times seeds."""
    search, seeds = declared.get("search"), declared.get("seeds")
    trials = search.get("trials", 1) if isinstance(search, Mapping) else 1
    trials = trials if isinstance(trials, int) else 1
    configurations = 0
    for settings in _declared_settings(declared).values():
        grid = math.prod(len(item) for item in settings if isinstance(item, tuple))
        is_searched = any(isinstance(item, Mapping) for item in settings)
        configurations += grid * (trials if is_searched else 1)
    return configurations * (len(seeds) if isinstance(seeds, tuple) else 1)


def _check_search(name: str, declared: Mapping[str, Any], notes: Notes) -> None:
    """Ask for `search` if and only if a range stands somewhere, be it right or wrong."""
    settings = _declared_settings(declared)
    searched = [
        method for method, items in settings.items() if any(isinstance(i, Mapping) for i in items)
    ]
    if searched and "search" not in declared:
        text = f"is missing, but {searched[0]} has a range; add search: {{trials: 20}}"
        notes.add((name, "search"), text)
    if not searched and "search" in declared and settings:
        text = "has no effect, as no method has a range; remove it or write a {low, high}"
        notes.add((name, "search"), text)


def _check_twins(spec: StudySpec, notes: Notes) -> None:
    """Refuse two methods that say the same: their cells would be the same cells."""
    first: dict[tuple[Any, ...], str] = {}
    for name, method in spec.methods.items():
        if notes.touches((spec.name, "methods", name)):
            continue
        twin = first.setdefault(_with_defaults(method), name)
        if twin != name:
            text = f"is the same method as {twin}; remove one of the two"
            notes.add((spec.name, "methods", name), text)


def _with_defaults(method: MethodSpec) -> tuple[Any, ...]:
    sides: list[Any] = []
    for kind in SIDES:
        side: Side = getattr(method, kind)
        cls = SIDES[kind][side.name]
        settings = {item.name: item.default for item in fields(cls)} | dict(side.settings)
        sides.append((kind, side.name, *settings.items()))
    return tuple(sides)


def _check_cells(spec: StudySpec, notes: Notes) -> None:
    """Make every grid cell and the corners of every range: no cell may fail later on."""
    for name, method in spec.methods.items():
        paths = [path for path, _ in settings_of(method)]
        for values in itertools.product(*(choices(setting) for _, setting in settings_of(method))):
            chosen = dict(zip(paths, values, strict=True))
            for seed in spec.seeds:
                try:
                    train_config(spec, name, chosen, seed)
                except ConfigError as error:
                    notes.add(_cell_place(spec, name, error), config_text(error))


def _cell_place(spec: StudySpec, method: str, error: ConfigError) -> Place:
    if error.field == "data":
        return (spec.name, "data", "name")
    if error.field in StudySpec.model_fields:
        return (spec.name, error.field)
    return (spec.name, "methods", method)
