"""Trained networks by method, values and seed, or by run, wherever their records are."""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.results.words import value_text
from study.launch.launch import current_plan, data_cache
from study.plan import naming, space
from study.plan.plan import PlannedCell, TrialRecord
from study.records.runs import (
    TAGS,
    artifact,
    checkpoint_read,
    read_trial,
    recorded_checkpoints,
    weights_file,
)
from study.records.store import Store, connect, find_store, recording, store_exists
from study.spec import StudySpec, Value
from study.spec.mistakes import nearest
from trainers.checkpoint import load_network
from trainers.config import DataConfig, ModelConfig
from trainers.data.dataset import Dataset, load_data

if TYPE_CHECKING:
    from torch import nn

MOST_LISTED = 12
"""Configurations that a message lists."""
NO_RUN = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""MLflow's codes for the id of no run."""


class LoadError(LookupError):
    """No trial, or several, are what was asked for; one line that lists what there is."""

    def __str__(self) -> str:
        """Return the line as it is; a `LookupError` may quote it."""
        return str(self.args[0])


def load_trial(
    spec: StudySpec,
    project: Path,
    method: str,
    values: Mapping[str, Value],
    seed: int,
    checkpoint: str | None,
) -> "nn.Module":
    """Load the network of one finished trial of a study. Raises `LoadError`."""
    planned = chosen_cell(spec, current_plan(spec, project).cells, method, values, seed)
    name = naming.cell_name(spec, planned.cell)
    if planned.record is None or planned.state != "done":
        raise LoadError(
            f"{spec.name}: {name} is {planned.state}, and has no network; launch the study first"
        )
    config = planned.cell.config.model
    return _load(
        find_store(project),
        planned.record,
        checkpoint or checkpoint_read(planned.record.labels, spec.evaluation.checkpoint),
        project,
        lambda: (config, load_data(spec.data, data_cache(project))),
    )


def load_run(run: str, checkpoint: str | None, project: Path) -> "nn.Module":
    """Load the network of a run, whichever study it belongs to. Raises `LoadError`."""
    store = find_store(project)
    if not store_exists(store):
        raise LoadError(f"{store.shown}: there are no runs yet; name the project's folder")
    client = connect(store)
    with recording(store):
        try:
            row = client.get_run(run)
        except Exception as error:
            if getattr(error, "error_code", "") not in NO_RUN:
                raise
            text = f"run {run}: is not in {store.shown}; name the run of a trial"
            raise LoadError(text) from None
        if not row.data.tags.keys() >= TAGS:
            raise LoadError(f"run {run}: is not a trial of a study; name the run of a trial")
        record = read_trial(client, run, "last")
    if record.status != "FINISHED":
        raise LoadError(f"run {run}: ended as {record.status}, and has no network; name another")
    held = recorded_checkpoints(record.labels)

    def find() -> tuple[ModelConfig, Dataset]:
        with artifact(store, record, "config.json") as path:
            name = json.loads(path.read_text(encoding="utf-8"))["data_name"]
        data = load_data(DataConfig(name=name), data_cache(project))
        return ModelConfig(**record.canonical["model"]), data

    return _load(store, record, checkpoint or held[0], project, find)


def _load(
    store: Store,
    record: TrialRecord,
    checkpoint: str,
    project: Path,
    find: Callable[[], tuple[ModelConfig, Dataset]],
) -> "nn.Module":
    """Load a run's checkpoint. `find`: network and data, of a run that does not say it itself."""
    held = recorded_checkpoints(record.labels)
    if checkpoint not in held:
        there = " and ".join(held)
        raise LoadError(f"run {record.run}: has no checkpoint {checkpoint}; it has {there}")
    with artifact(store, record, weights_file(checkpoint)) as path:
        return load_network(path, find, project)


def chosen_cell(
    spec: StudySpec,
    cells: Iterable[PlannedCell],
    method: str,
    values: Mapping[str, Value],
    seed: int,
) -> PlannedCell:
    """Return the one cell of these values and seed. Raises `LoadError` if there is none, or more.

    Values have short names, or the dotted ones of the studies file. They match to ten digits, or
    else as they are printed, to four.
    """
    if method not in spec.methods:
        close = nearest(method, list(spec.methods))
        hint = f"did you mean {close}?" if close else f"it has {', '.join(spec.methods)}"
        raise LoadError(f"{spec.name}: has no method {method}; {hint}")
    found = [planned for planned in cells if planned.cell.configuration.method == method]
    for name in values:
        if not all(name in _names(spec, planned) for planned in found):
            known = dict.fromkeys(
                short for one in found for short in space.short_values(spec, one.cell.configuration)
            )
            there = f"it has {', '.join(known)}" if known else "it has none; leave it out"
            raise LoadError(f"{spec.name}: {method} has no values of {name}; {there}")
    matches: Sequence[PlannedCell] = []
    for equal in (_is_equal, _looks_equal):
        matches = matches or [
            planned
            for planned in found
            if all(equal(_names(spec, planned)[name], value) for name, value in values.items())
        ]
    asked = _text(values)
    there = _listed(spec, matches or found)
    if not matches:
        raise LoadError(f"{spec.name}: {method} has no trial with {asked}; it has {there}")
    if len({planned.cell.configuration for planned in matches}) > 1:
        text = f"{method} has several configurations with {asked}" if asked else f"{method} varies"
        raise LoadError(f"{spec.name}: {text}; choose one of {there}")
    for planned in matches:
        if planned.cell.seed == seed:
            return planned
    seeds = ", ".join(str(planned.cell.seed) for planned in matches)
    raise LoadError(f"{spec.name}: {method} has no seed {seed!r}; it has {seeds}")


def _names(spec: StudySpec, planned: PlannedCell) -> dict[str, Value]:
    """Return the values of a cell under their short and their dotted names."""
    configuration = planned.cell.configuration
    return {**dict(configuration.values), **space.short_values(spec, configuration)}


def _is_equal(ours: Value, asked: Value) -> bool:
    if isinstance(ours, str) or isinstance(asked, str):
        return ours == asked
    return math.isclose(ours, asked, rel_tol=1e-10)


def _looks_equal(ours: Value, asked: Value) -> bool:
    return value_text(ours, 4) == value_text(asked, 4)


def _listed(spec: StudySpec, cells: Iterable[PlannedCell]) -> str:
    """List the configurations of cells by their values."""
    values = [space.short_values(spec, planned.cell.configuration) for planned in cells]
    texts = list(dict.fromkeys(_text(one) for one in values if one))
    more = f" and {len(texts) - MOST_LISTED} more" if len(texts) > MOST_LISTED else ""
    return "; ".join(texts[:MOST_LISTED]) + more if texts else "no values"


def _text(values: Mapping[str, Value]) -> str:
    """Format values as they are asked for: `rho=0.1, epsilon=8/255`."""
    return ", ".join(f"{name}={value_text(value, 4)}" for name, value in values.items())
