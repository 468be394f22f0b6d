"""Sources: where a number of the report comes from, which a reader looks up in two clicks.

Of the study its provenance, of each trial its run in MLflow, of each configuration what declares
it in a studies file, and a picture of adversarial examples.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import yaml

from analysis.results.results import Results
from analysis.results.trials import Declaration
from study.plan import naming, space
from study.plan.plan import Plan, PlannedCell
from study.records.database import Database
from study.records.runs import Source, artifact, may_have, open_source
from study.records.starts import has_starts
from study.records.store import Store, TrackingError
from study.spec import StudySpec
from trainers.config import DataConfig
from trainers.data.dataset import Dataset

UI = "http://127.0.0.1:5000"
"""Where `study ui` shows the runs of a local store, unless the port is in use."""
PICTURE = "adversarial_examples.png"
"""The artifact of a run that shows what its attack broke."""
LINE = 96
"""Width of a declaration."""


def with_sources(
    spec: StudySpec, store: Store, results: Results, done: Sequence[PlannedCell]
) -> Results:
    """Add where the runs of trials are shown, and how configurations are declared."""
    if not done:
        return results
    places = run_addresses(store, open_source(store), done)
    return replace(
        results,
        trials=tuple(replace(trial, address=places[trial.run]) for trial in results.trials),
        declarations=declarations(spec, done),
    )


def run_addresses(store: Store, source: Source, done: Sequence[PlannedCell]) -> dict[str, str]:
    """Return the address in the MLflow UI of each finished trial's run, by the run's id."""
    server = store.uri if store.uri.startswith(("http://", "https://")) else UI
    records = [planned.record for planned in done if planned.record is not None]
    # A study takes over trials of others, whose runs are in experiments of theirs.
    first = {record.study: record.run for record in reversed(records)}
    experiments = {study: _experiment(source, run) for study, run in first.items()}
    return {
        record.run: f"{server}/#/experiments/{experiments[record.study]}/runs/{record.run}"
        "?workflowType=machine_learning"
        for record in records
    }


def _experiment(source: Source, run: str) -> str:
    if isinstance(source, Database):
        return source.experiment(run)
    return str(source.get_run(run).info.experiment_id)


def declarations(spec: StudySpec, done: Sequence[PlannedCell]) -> tuple[Declaration, ...]:
    """Return how each configuration with a finished trial is declared alone, as a study."""
    firsts: dict[space.Configuration, space.Cell] = {}
    for planned in done:
        firsts.setdefault(planned.cell.configuration, planned.cell)
    seeds = {one: [p.cell.seed for p in done if p.cell.configuration == one] for one in firsts}
    return tuple(
        Declaration(
            method=configuration.method,
            values=space.short_values(spec, configuration),
            text=declared_text(spec, cell, seeds[configuration]),
        )
        for configuration, cell in firsts.items()
    )


def declared_text(spec: StudySpec, cell: space.Cell, seeds: Sequence[int]) -> str:
    """Write a study of one configuration as YAML: launched, its cells have the same keys.

    Of data that are a folder or a file, only the kind is written: a path is of one machine.
    """
    plain = space.canonical(cell.config, "")
    sides = {
        kind: chosen
        for kind, chosen in plain["method"].items()
        if kind != "loss" or chosen != {"cross_entropy": {}}
    }
    method = {kind: _written(chosen) for kind, chosen in sides.items() if chosen != {"none": {}}}
    checkpoint = {"checkpoint": spec.evaluation.checkpoint}
    study: dict[str, Any] = {
        "data": _data(spec.data),
        "model": _written(plain["model"]),
        "training": _written(plain["training"]),
        "seeds": list(seeds),
        "methods": {cell.configuration.method: method},
        "evaluation": {**_written(plain["evaluation"]), **checkpoint},
    }
    notes = "" if spec.start.is_fresh else "# It starts from the weights that the study declares.\n"
    lines = [f"  {name}: {_flow(value)}" for name, value in study.items()]
    return f"{notes}one:\n" + "\n".join(lines) + "\n"


def _data(data: DataConfig) -> dict[str, Any]:
    kind = data.name if data.is_own else data.name.partition(":")[0]
    own = {
        item.name: getattr(data, item.name)
        for item in fields(data)
        if item.name not in ("name", "settings", "transform", "extra")
        and getattr(data, item.name) != item.default
    }
    return {"name": kind, **own}


def _written(plain: Any) -> Any:
    """Drop what a key holds but a studies file does not: the source of a part of one's own."""
    if isinstance(plain, Mapping):
        return {name: _written(value) for name, value in plain.items() if name != "source"}
    return plain


def _flow(value: Any) -> str:
    text = yaml.safe_dump(
        value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=LINE
    )
    return text.removesuffix("\n...\n").strip().replace("\n", "\n   ")


def pictures(store: Store, done: Sequence[PlannedCell]) -> dict[str, bytes]:
    """Read one picture of adversarial examples for each configuration, by the run's id.

    A picture that is missing or cannot be reached is left out: no number depends on it.
    """
    found: dict[str, bytes] = {}
    shown = set()
    for planned in done:
        record, configuration = planned.record, planned.cell.configuration
        if record is None or configuration in shown or not may_have(record, PICTURE):
            continue
        try:
            with artifact(store, record, PICTURE) as path:
                found[record.run] = path.read_bytes()
        except (TrackingError, OSError):
            continue
        shown.add(configuration)
    return found


def provenance(spec: StudySpec, plan: Plan, dataset: Dataset) -> dict[str, str]:
    """Collect where the numbers come from: data, network, commits, hardware, versions."""
    records = [p.record for p in plan.cells if p.state == "done" and p.record is not None]
    labels = [record.labels for record in records]
    sizes = ", ".join(
        f"{len(split.labels)} {name}"
        for name, split in (
            ("training", dataset.train),
            ("validation", dataset.validation),
            ("test", dataset.test),
        )
    )
    if dataset.extra_share:
        sizes += f", {len(dataset.extra.labels)} extra: {dataset.extra_share:.0%} of each batch"
    versions = sorted({key for label in labels for key in label if key.startswith("version.")})
    augmented = dataset.augmentation.replace("crop_flip", "crop and flip")
    return {
        "data": f"{dataset.name.partition(':')[0]} ({sizes} images), {dataset.fingerprint}",
        "augmentation": augmented.replace("_", " "),
        "network": "; ".join(naming.network_names(spec)),
        "training": _shown(naming.training_settings(spec)),
        **({} if spec.start.is_fresh else {"start": naming.start_name(spec.start)}),
        **_cost_note(spec, plan),
        "commit": _distinct(
            f"{label['git_commit'][:12]}" + (" (changed)" if label["git_dirty"] == "true" else "")
            for label in labels
        ),
        "hardware": _distinct(label["hardware"] for label in labels),
        "studies": _distinct(record.study for record in records),
        "command": f"study launch {spec.name}; study report {spec.name}",
        **{
            key.removeprefix("version."): _distinct(label.get(key, "unknown") for label in labels)
            for key in versions
        },
    }


def _cost_note(spec: StudySpec, plan: Plan) -> dict[str, str]:
    """Return what a training cost counts, where that is not plainly the passes of an epoch."""
    epochs = sorted({planned.cell.config.training.epochs for planned in plan.cells})
    said = []
    if len(epochs) > 1:
        said.append(f"of a whole training, divided by the {epochs[-1]} epochs of the longest")
    if has_starts(spec):
        said.append("without the trainings that left the weights to start from")
    return {"cost": "; ".join(said)} if said else {}


def _shown(values: Mapping[str, object]) -> str:
    return ", ".join(
        f"{name.replace('_', ' ')} "
        + (" and ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value))
        for name, value in values.items()
    )


def _distinct(values: Iterable[str]) -> str:
    """Join the distinct values; most often there is only one."""
    return ", ".join(sorted(set(values))) or "none"
