"""What would fail at launch though the studies file is valid: its data, and the machine.

Data of one's own and the digits are read as a launch would read them. A published set is
read only if it is there, as `study check` downloads nothing. Nothing here imports torch, unless a
GPU is asked for or trainings start from weights.
"""

import itertools
import math
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from study.launch import cluster
from study.launch.launch import data_cache, project_folder
from study.records.starts import StartError, find_starts, has_starts, start_place
from study.records.store import Store, find_store
from study.spec import (
    AROUND,
    StudySpec,
    Value,
    around_of,
    batch_sizes_of,
    cell_config,
    models_of,
    settings_of,
    start_of,
)
from study.spec.mistakes import Notes, dotted
from study.spec.own import keys_of
from study.spec.settings import choices, is_swept, place_of
from study.spec.source import Place, Source, read_yaml
from trainers.config import (
    TORCHVISION_SETS,
    ConfigError,
    DataConfig,
    ModelConfig,
    check_batches,
    check_image,
    own_settings,
)
from trainers.config.own import Own
from trainers.config.parts import OwnPart
from trainers.data.dataset import DataError, Dataset, load_data
from trainers.data.doubts import doubts
from trainers.data.published import is_decoded

LEAST_FREE_BYTES = 1024**3
"""Fewer are soon filled by the weights and records of a study."""
MOST_TRIES = 20
"""Of one own part beyond its first values, so that a check stays quick."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What this machine has for trials."""

    cpus: int
    gpus: int
    free_bytes: int
    """On the disk of the project's folder."""


@dataclass(frozen=True, kw_only=True)
class Foreseen:
    """What is in the way of a launch, as lines of place, rule, value and way out."""

    mistakes: tuple[str, ...]
    """A launch would fail."""
    warnings: tuple[str, ...]
    """A launch would fail on this machine, or not do what was probably meant."""


def this_machine(specs: Iterable[StudySpec], project: Path) -> Machine:
    """Measure this machine. GPUs are counted only if a study asks for one."""
    gpus = 0
    if any(spec.resources.gpu > 0 for spec in specs):
        import torch  # seconds: only where a GPU is asked for

        gpus = torch.cuda.device_count()
    free_bytes = shutil.disk_usage(project).free
    return Machine(cpus=len(os.sched_getaffinity(0)), gpus=gpus, free_bytes=free_bytes)


def foresee(specs: Iterable[StudySpec], file: Path, machine: Machine) -> Foreseen:
    """Find what would fail when the studies of a valid file are launched."""
    source = read_yaml(file)
    mistakes, warnings = Notes(source), Notes(source)
    project = project_folder(file)
    cache = data_cache(project)
    doubtful: list[str] = []
    broken: list[str] = []
    doubted: dict[DataConfig, tuple[str, ...]] = {}
    loaded: dict[DataConfig, Dataset | DataError] = {}
    for spec in specs:
        if not cluster.is_joined():
            _check_resources(spec, machine, warnings)
        if spec.data.name in TORCHVISION_SETS and not is_decoded(spec.data.name, cache):
            continue
        if spec.data not in loaded:
            loaded[spec.data] = _load(spec.data, cache)
        found = loaded[spec.data]
        if isinstance(found, DataError):
            place, text = _data_mistake(found)
            mistakes.add((spec.name, "data", place), text)
        else:
            _check_fit(spec, found, mistakes, warnings)
            if has_starts(spec):
                _check_starts(spec, found, find_store(project), mistakes, warnings)
            if spec.data not in doubted:
                doubted[spec.data] = doubts(found)
            # Not among the notes, which keep one text of a place.
            doubtful += [f"{spec.name}.data: {doubt}" for doubt in doubted[spec.data]]
            broken += _own_breaches(spec, found, source, file)
    told = (*warnings.messages(file), *doubtful)
    if machine.free_bytes < LEAST_FREE_BYTES:
        told = (*told, _disk_warning(project, machine.free_bytes))
    return Foreseen(mistakes=(*mistakes.messages(file), *broken), warnings=told)


def _load(config: DataConfig, cache: Path) -> Dataset | DataError:
    try:
        return load_data(config, cache)
    except DataError as error:
        return error


def _data_mistake(error: DataError) -> tuple[str, str]:
    """Split an error of the data into the key below `data` that it concerns, and its text."""
    text = str(error)
    for key in ("samples", "test_samples", "extra", "augmentation"):
        if text.startswith(f"data.{key}: "):
            return key, text.removeprefix(f"data.{key}: ")
    return "name", text


def _check_fit(spec: StudySpec, data: Dataset, mistakes: Notes, warnings: Notes) -> None:
    """Check every network and batch size against the images."""
    for method in spec.methods:
        model_place = _declared_place(spec, method, "model", "")
        for model in models_of(spec, method):
            try:
                check_image(model, data.image_shape)
            except ConfigError as error:
                text = f"{error.rule}, got {error.value}; choose another network or larger images"
                mistakes.add((*model_place, error.field), text)
        _check_batches(spec, method, len(data.train.labels), mistakes, warnings)
        _check_l1(spec, method, math.prod(data.image_shape), warnings)


def _check_l1(spec: StudySpec, method: str, num_pixels: int, warnings: Notes) -> None:
    """Check that the largest l1 radius of an input side is not one of linf.

    It is negligible if it moves no value of an image from black to white, and if it changes each of
    the `num_pixels` values, when spread over all of them, by less than half a grey level, which
    rounding to 8 bits undoes: below 1, and below `num_pixels` / 510. Papers train with 12 on 3072.
    """
    side = spec.methods[method].inputs
    settings = dict(side.settings)
    if side.part is not None or "epsilon" not in settings:
        return
    if set(choices(settings.get("norm", ""))) != {"l1"}:  # a list may compare norms at one radius
        return
    largest = max(map(float, choices(settings["epsilon"])))
    if 0 < largest < min(1, num_pixels / 510):
        text = (
            f"an l1 radius of {largest:.3g} lets the attack change one pixel by "
            f"{255 * largest:.3g} grey levels of 255, and no other; did you mean norm: linf?"
        )
        warnings.add((spec.name, "methods", method, "inputs", side.name, "epsilon"), text)


def _check_batches(
    spec: StudySpec, method: str, num_train: int, mistakes: Notes, warnings: Notes
) -> None:
    """Check every batch size of a method, those within a range too."""
    place = (*_declared_place(spec, method, "training", "batch_size"), "batch_size")
    sizes = batch_sizes_of(spec, method)
    refused = dict.fromkeys(
        (size, error.rule)
        for model in models_of(spec, method)
        for size in sizes
        if (error := _batch_error(model, size, num_train)) is not None
    )
    for size, rule in list(refused)[:1]:
        is_range = is_swept(around_of(spec, method, "training")["batch_size"]) and len(sizes) > 1
        way_out = "write a list without it" if is_range else "change it by one"
        mistakes.add(place, f"{rule}, got {size}; {way_out}")
    if max(sizes) > num_train:
        rule = f"is larger than the {num_train} training images, so each batch holds all of them"
        warnings.add(place, f"{rule}, got {max(sizes)}; lower it")


def _batch_error(model: ModelConfig, size: int, num_train: int) -> ConfigError | None:
    try:
        check_batches(model, size, num_train)
    except ConfigError as error:
        return error
    return None


def _own_breaches(spec: StudySpec, data: Dataset, source: Source, file: Path) -> list[str]:
    """Check every own part of a study on random images, with each value of its settings once.

    The first values of each method come first, then one other value at a time, of at most
    `MOST_TRIES` values of one part.
    """
    lines: list[str] = []
    checked: set[Own] = set()
    broken: set[Own] = set()
    tries: Counter[OwnPart] = Counter()
    usual: set[tuple[OwnPart, str]] = set()
    for method, values, path in _tried(spec):
        config = cell_config(spec, method, values, spec.seeds[0])
        parts = [one for one in own_settings(config) if one not in checked]
        if path:
            parts = [one for one in parts if tries[one.part] < MOST_TRIES]
            tries.update(one.part for one in parts)
        if not parts or config.model.settings in broken:  # nothing works on a broken network
            continue
        checked.update(parts)
        from trainers.evaluation.contract import breaches  # torch: only where there are own parts

        for own, text in breaches(config, data, parts):
            broken.add(own)
            if path and (own.part, text) in usual:  # whatever this value is
                continue
            place, where = _own_place(spec, method, own), ""
            if path:
                place = _value_place(spec, method, place, path, values[path])
                where = f"at {path.rpartition('.')[2]} {values[path]}: "
            else:
                usual.add((own.part, text))
            lines.append(f"{file}:{source.line(place)}: {dotted(place)}: {where}{text}")
    return list(dict.fromkeys(lines))


def _tried(spec: StudySpec) -> Iterator[tuple[str, dict[str, Value], str]]:
    """Yield each method with its first values; then with one other value, and the path of that."""
    first = {m: {path: choices(s)[0] for path, s in settings_of(spec, m)} for m in spec.methods}
    yield from ((method, values, "") for method, values in first.items())
    for method, values in first.items():
        for path, setting in settings_of(spec, method):
            yield from ((method, {**values, path: v}, path) for v in choices(setting)[1:])


def _own_place(spec: StudySpec, method: str, own: Own) -> Place:
    """Return where a study names an own part."""
    match own.part.kind:
        case "networks":
            return (*_declared_place(spec, method, "model", "name"), "name")
        case "optimizers":
            return (*_declared_place(spec, method, "training", "optimizer"), "optimizer")
        case "attacks":
            return (spec.name, "evaluation", "attack")
        case "transforms":
            return (spec.name, "data", "transform")
        case kind:
            return (spec.name, "methods", method, "loss" if kind == "losses" else kind)


def _value_place(spec: StudySpec, method: str, part: Place, path: str, value: Value) -> Place:
    """Return where a value of a list or a range stands, of a part that is named at `part`."""
    kind, _, rest = path.partition(".")
    side, _, name = rest.rpartition(".")
    found = place_of(name, dict(settings_of(spec, method))[path], value)
    if kind in AROUND:
        return (*_declared_place(spec, method, kind, rest), *keys_of(rest)[:-1], *found)
    return (*part, side, *found)


def _declared_place(spec: StudySpec, method: str, kind: str, name: str) -> Place:
    """Return where the training or model of a method is declared: with the method, or above."""
    own = dict(getattr(spec.methods[method], kind).settings)
    is_own = name in own if name else bool(own)
    return (spec.name, "methods", method, kind) if is_own else (spec.name, kind)


def _check_starts(
    spec: StudySpec, data: Dataset, store: Store, mistakes: Notes, warnings: Notes
) -> None:
    """Check that the weights to start from are there, and that each network takes them."""
    try:
        found, files = find_starts(spec, store)
    except StartError as error:
        wrong = [start_of(spec, m) for m in spec.methods if start_place(spec, m) == error.place]
        # Another study may only have to be launched first; a file has to be there.
        notes = mistakes if (wrong or [spec.start])[0].file else warnings
        notes.add(error.place, error.text)
        return
    # torch takes seconds to import: only where weights are read.
    from trainers.networks.build import fits_start

    for method in found.methods:
        digests = dict.fromkeys(c.weights for _, c in start_of(found, method).found)
        for model, digest in itertools.product(models_of(spec, method), digests):
            try:
                fits_start(model, data, files[digest].content, files[digest].name)
            except ConfigError as error:
                mistakes.add(start_place(spec, method), f"{error.rule}, got {error.value}")


def _check_resources(spec: StudySpec, machine: Machine, warnings: Notes) -> None:
    """Check that a trial fits into this machine; the file may be meant for another one."""
    try:
        cluster.slots(spec, machine.cpus, machine.gpus)
    except cluster.ClusterError as error:
        place, _, text = str(error).removeprefix(f"{spec.name}.").partition(": ")
        warnings.add((spec.name, *place.split(".")), text)


def _disk_warning(project: Path, free_bytes: int) -> str:
    return (
        f"{project}: should have at least {LEAST_FREE_BYTES / 1e9:.1f} GB free for weights and "
        f"records, got {free_bytes / 1e9:.1f} GB; free some, or move the project to another disk"
    )
