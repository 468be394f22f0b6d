"""Reading a studies file: `read_studies`, which finds every mistake at once.

The file is read as YAML with the line of each value, then validated study by study. Last come the
checks that concern several parts of a study.
"""

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from study.spec.around import AROUND
from study.spec.claims import claim_text
from study.spec.mistakes import Notes, good_value, nearest, shown, validated
from study.spec.model import (
    StudySpec,
    around_config,
    around_of,
    cell_config,
    claims_of,
    fidelity_of,
    known_keys,
    name_problem,
    settings_of,
    start_of,
)
from study.spec.settings import SIDES, Range, Side, choices, class_of, config_text, place_of
from study.spec.source import Place, Source, SpecError, read_yaml
from study.spec.start import Start, configuration_values
from trainers.config import ConfigError

MOST_CELLS = 100_000
"""Of one study; counted before they are built, as a few long lists could fill the memory."""


def read_studies(path: Path) -> dict[str, StudySpec]:
    """Read and check a studies file. Raises `SpecError` with a line for each of its mistakes.

    A top-level key that begins with a dot is not a study: it may hold what studies share (`&name`).
    """
    return check_studies(read_yaml(path), path.parent, path)


def check_studies(source: Source, folder: Path, path: Path | None) -> dict[str, StudySpec]:
    """Check the studies of a source, whose own paths are relative to `folder`.

    `path` is the file that messages name; None for a source that was no file. Raises `SpecError`.
    """
    notes = Notes(source)
    studies = {}
    if not isinstance(source.data, dict):
        text = f"must be a mapping of studies, got {shown(source.data)}; write digits: {{...}}"
        notes.add((), text)
    else:
        names = [name for name in source.data if not name.startswith(".")]
        _check_case(names, (), notes)
        studies = {name: _study(name, folder, notes) for name in names}
        if not studies:
            notes.add((), "declares no study; write one, such as digits: {...}")
    if notes.problems:
        raise SpecError(*notes.messages(path))
    return {name: study for name, study in studies.items() if study is not None}


def _study(name: str, folder: Path, notes: Notes) -> StudySpec | None:
    """Validate one study, then run the checks that concern several of its parts."""
    declared = notes.source.data[name]
    if name_problem(name):
        notes.add((name,), name_problem(name))
    if not isinstance(declared, Mapping):
        needed = ", ".join(
            key for key, item in StudySpec.model_fields.items() if item.is_required()
        )
        fault = "is empty" if declared is None else f"must be a mapping, got {shown(declared)}"
        notes.add((name,), f"{fault}; it needs {needed.removeprefix('name, ')}")
        return None
    data = dict(declared)
    if "name" in data:
        text = f"unknown key; {name} is the study's name already, remove it"
        notes.add((name, "name"), text)
    if isinstance(data.get("methods"), Mapping):
        _check_case(data["methods"], (name, "methods"), notes)
    _check_search(name, data, notes)
    num_cells = _num_cells(data)
    if num_cells > MOST_CELLS:
        most = f"must have at most {MOST_CELLS} cells, seeds included"
        text = f"{most}, got {num_cells}; shorten its lists"
        notes.add((name, "methods"), text)
        data |= {key: good_value([key]) for key in ("methods", *AROUND)}
    data["name"] = name
    spec = validated(StudySpec, data, name, known_keys, folder, notes)
    if spec is not None:
        _check_twins(spec, notes)
        _check_primary(spec, notes)
        _check_claims(spec, notes)
        _check_starts(spec, notes)
        _check_more(spec, notes)
        _check_fidelity(spec, notes)
        _check_cells(spec, notes)
    return spec


def _check_case(names: Iterable[str], above: Place, notes: Notes) -> None:
    """Check that no two names differ only in case: some disks take them for the same folder."""
    first: dict[str, str] = {}
    for name in names:
        twin = first.setdefault(name.casefold(), name)
        if twin != name:
            text = f"differs from {twin} only in case; rename one of the two"
            notes.add((*above, name), text)


def _declared_settings(declared: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Collect the values of all settings by method, valid or not."""
    methods = declared.get("methods")
    settings: dict[str, list[Any]] = {}
    for name, method in methods.items() if isinstance(methods, Mapping) else ():
        method = method if isinstance(method, Mapping) else {}
        kinds = [method[kind] for kind in SIDES if isinstance(method.get(kind), Mapping)]
        sides = [side for kind in kinds for side in kind.values() if isinstance(side, Mapping)]
        settings[name] = [item for side in sides for item in side.values()]
        for kind, cls in AROUND.items():
            around = [above.get(kind) for above in (declared, method)]
            merged = {k: v for one in around if isinstance(one, Mapping) for k, v in one.items()}
            lists = {item.name for item in fields(cls) if isinstance(item.default, tuple)}
            own = [merged.pop("settings", None)]  # of a network of one's own
            if isinstance(merged.get("optimizer"), Mapping):
                own += merged.pop("optimizer").values()
            settings[name] += [item for key, item in merged.items() if key not in lists]
            for one in own:
                settings[name] += one.values() if isinstance(one, Mapping) else ()
    return settings


def _num_cells(declared: Mapping[str, Any]) -> int:
    """Count a study's cells before it is validated: lists times trials times seeds."""
    search, seeds = declared.get("search"), declared.get("seeds")
    trials = search.get("trials", 1) if isinstance(search, Mapping) else 1
    trials = trials if isinstance(trials, int) else 1
    configurations = 0
    for settings in _declared_settings(declared).values():
        grid = math.prod(len(item) for item in settings if isinstance(item, tuple))
        is_searched = any(isinstance(item, Mapping) for item in settings)
        configurations += grid * (trials if is_searched else 1)
    return configurations * (len(seeds) if isinstance(seeds, tuple) else 1)


def _check_search(name: str, declared: dict[str, Any], notes: Notes) -> None:
    """Check that `search` is present if some setting is a range, and that each of its keys acts.

    A study without ranges may stop trainings and race seeds; it then needs no number of trials.
    """
    settings = _declared_settings(declared)
    searched = [
        method for method, items in settings.items() if any(isinstance(i, Mapping) for i in items)
    ]
    search = declared.get("search")
    if searched and "search" not in declared:
        text = f"is missing, but {searched[0]} has a range; add search: {{trials: 20}}"
        notes.add((name, "search"), text)
    if searched or not settings or "search" not in declared:
        return
    no_range = "has no effect, as no method has a range; remove it"
    if not isinstance(search, Mapping) or not {"stop", "seeds"} & set(search):
        notes.add((name, "search"), f"{no_range}, or give a setting {{low, high}}")
        return
    for key in ("trials", "sampler"):
        if key in search:
            notes.add((name, "search", key), no_range)
    stop = search.get("stop")
    if isinstance(stop, Mapping) and not stop.get("grids"):
        text = "must be true, as no method has a range; add grids: true, or remove stop"
        notes.add((name, "search", "stop", "grids"), text)
    declared["search"] = {"trials": 1, **search}


def _check_twins(spec: StudySpec, notes: Notes) -> None:
    """Check that no two methods are the same: their cells would be the same cells."""
    first: dict[tuple[Any, ...], str] = {}
    for name in spec.methods:
        if notes.touches((spec.name, "methods", name)):
            continue
        twin = first.setdefault(_with_defaults(spec, name), name)
        if twin != name:
            text = f"is the same method as {twin}; remove one of the two"
            notes.add((spec.name, "methods", name), text)


def _check_primary(spec: StudySpec, notes: Notes) -> None:
    """Check that the study has the methods of its primary contrast."""
    named = (spec.analysis and spec.analysis.primary) or ()
    _check_named(spec, named, (spec.name, "analysis", "primary"), notes)


def _check_named(spec: StudySpec, named: Iterable[str], place: Place, notes: Notes) -> None:
    """Check that the study has these methods, which stand at `place`."""
    for name in named:
        if name in spec.methods:
            continue
        match = nearest(name, list(spec.methods))
        hint = f"did you mean {match}?" if match else f"it has {', '.join(spec.methods)}"
        text = f"names the method {shown(name)}, which the study does not have; {hint}"
        notes.add(place, text, [(spec.name, "methods")])


def _check_claims(spec: StudySpec, notes: Notes) -> None:
    """Check each claim against the study: its methods, its radius, its margin, and its twins."""
    if notes.touches((spec.name, "claims")):
        return
    first: dict[str, int] = {}
    for number, (claim, whole) in enumerate(zip(spec.claims, claims_of(spec), strict=True)):
        place, radii = (spec.name, "claims", number), spec.evaluation.radii
        _check_named(spec, claim.methods, (*place, "methods"), notes)
        if whole.radius not in radii:
            text = f"must be one of the radii {', '.join(f'{one:.6g}' for one in radii)}"
            text += f", got {whole.radius:.6g}; add it to evaluation.radii, or name one of them"
            notes.add((*place, "radius"), text, [(spec.name, "evaluation")])
        if claim.direction == "equal" and whole.margin is None:
            text = "is missing, as equal means within a margin; add margin: 1pp"
            notes.add((*place, "margin"), text, [(spec.name, "analysis")])
        twin = first.setdefault(claim_text(whole), number)
        if twin != number:
            text = f"the claims {twin + 1} and {number + 1} are the same; remove one of the two"
            notes.add(place, text)


def _check_starts(spec: StudySpec, notes: Notes) -> None:
    """Check that no training starts from a trial of the study itself."""
    starts: dict[Place, Start | None] = {("start",): spec.start}
    starts |= {("methods", name, "start"): m.start for name, m in spec.methods.items()}
    for place, start in starts.items():
        if start is not None and start.study == spec.name:
            text = f"must name another study, got {spec.name}; name the one that trains the weights"
            notes.add((spec.name, *place), text)


def _check_more(spec: StudySpec, notes: Notes) -> None:
    """Check that more trials are configurations of the study's methods, which can be built."""
    for position, one in enumerate(spec.more_trials):
        place = (spec.name, "more_trials", position)
        if one.method not in spec.methods:
            match = nearest(one.method, list(spec.methods))
            hint = f"did you mean {match}?" if match else f"it has {', '.join(spec.methods)}"
            text = f"names the method {shown(one.method)}, which the study does not have; {hint}"
            notes.add((*place, "method"), text)
            continue
        values = configuration_values(settings_of(spec, one.method), one.values)
        if isinstance(values, str):
            notes.add((*place, "values"), values)
        elif _is_built(spec, one.method, dict(values), notes):
            try:
                cell_config(spec, one.method, dict(values), spec.seeds[0])
            except ConfigError as error:
                notes.add((*place, "values"), config_text(error))


def _check_fidelity(spec: StudySpec, notes: Notes) -> None:
    """Check that a fidelity has an effect, and ends with the steps of each of its methods."""
    stop = spec.search.stop if spec.search else None
    if stop is None or stop.fidelity is None:
        return
    place = (spec.name, "search", "stop", "fidelity")
    methods = [name for name in spec.methods if fidelity_of(spec, name) is not None]
    if not methods:
        text = "has no effect, as no method that may be stopped has an input side with steps"
        notes.add(place, f"{text} (pgd, e_at); remove it", [(spec.name, "methods")])
    last = stop.fidelity.steps[-1]
    for name in methods:
        steps = dict(spec.methods[name].inputs.settings)["steps"]
        if choices(steps) != (last,):
            got = " to " if isinstance(steps, Range) else ", "
            text = f"must end with the steps of {name}, {got.join(map(str, choices(steps)))}"
            text += f", got {last}; write one number of steps in every method that may be stopped"
            notes.add((*place, "steps"), text, [(spec.name, "methods"), place])


def _with_defaults(spec: StudySpec, name: str) -> tuple[Any, ...]:
    """Return all settings of a method, with the defaults of those that are left out."""
    method = spec.methods[name]
    sides: list[Any] = [tuple(around_of(spec, name, kind).items()) for kind in AROUND]
    sides.append(start_of(spec, name))
    for kind in SIDES:
        side: Side = getattr(method, kind)
        cls = class_of(kind, side)
        settings = {item.name: item.default for item in fields(cls)} | dict(side.settings)
        sides.append((kind, side.name, *settings.items()))
    return tuple(sides)


def _check_cells(spec: StudySpec, notes: Notes) -> None:
    """Build every grid cell and the corners of every range, so that no cell can fail later on."""
    for name in spec.methods:
        settings = settings_of(spec, name)
        paths = [path for path, _ in settings]
        for values in itertools.product(*(choices(setting) for _, setting in settings)):
            chosen = dict(zip(paths, values, strict=True))
            if not _is_built(spec, name, chosen, notes):
                continue
            for seed in spec.seeds:
                try:
                    cell_config(spec, name, chosen, seed)
                except ConfigError as error:
                    notes.add(_cell_place(spec, name, error), config_text(error))


def _is_built(spec: StudySpec, method: str, chosen: Mapping[str, Any], notes: Notes) -> bool:
    """Build a method's training and model, which it may override; note what they refuse."""
    for kind in AROUND:
        try:
            around_config(spec, method, kind, chosen)
        except ConfigError as error:
            notes.add(_around_place(spec, method, kind, error), config_text(error))
            return False
    return True


def _around_place(spec: StudySpec, method: str, kind: str, error: ConfigError) -> Place:
    """Return the place of a refused setting of the training or the model."""
    own = dict(getattr(spec.methods[method], kind).settings)
    if error.field not in own:
        return (spec.name, "methods", method, kind)
    setting = own[error.field]
    return (spec.name, "methods", method, kind, *place_of(error.field, setting, error.value))


def _cell_place(spec: StudySpec, method: str, error: ConfigError) -> Place:
    """Return the place in the file of an error that concerns several parts of a cell."""
    if error.field in StudySpec.model_fields:
        return (spec.name, error.field)
    for kind in AROUND:
        if error.field in dict(getattr(spec.methods[method], kind).settings):
            return (spec.name, "methods", method, kind, error.field)
    if error.field == "precision":
        return (spec.name, "training", error.field)
    return (spec.name, "methods", method)
