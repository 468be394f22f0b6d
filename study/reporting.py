"""From records to a report: `read_results` for a notebook, `report_study` for the command."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from analysis.results import AbsentTrial, MethodNote, Results, ThreatModel, TrialResult
from study import naming, space, storage, tracking
from study.launch import current_plan, data_cache
from study.plan import Plan, PlannedCell
from study.spec import StudySpec
from trainers.config import PgdAttack
from trainers.data import Dataset, load_data


def read_results(spec: StudySpec, project: Path) -> Results:
    """Read what a study found, and all that it did not, from its records."""
    from trainers.train import VALIDATION_ATTACK  # torch: a second, only for results

    plan = current_plan(spec, project)
    dataset = load_data(spec.data.name, data_cache(project))
    store = storage.find_store(project)
    client = storage.connect(store) if plan.count("done") else None
    trials, absent = [], []
    for planned in plan.cells:
        if planned.state == "done":
            with storage.recording(store):
                trials.append(_trial_result(spec, client, planned))
        else:
            absent.append(_absent_trial(spec, planned))
    evaluation = spec.evaluation
    floor = spec.analysis.clean_floor if spec.analysis else None
    return Results(
        study=spec.name,
        about=spec.about,
        threat=ThreatModel(
            attack=attack_name(evaluation.attack),
            validation_attack=attack_name(VALIDATION_ATTACK),
            norm=evaluation.norm,
            radii=evaluation.radii,
            objective_radius=evaluation.objective_radius,
        ),
        checkpoint=evaluation.checkpoint,
        num_test=len(dataset.test.labels),
        num_validation=len(dataset.validation.labels),
        clean_floor=1 / len(dataset.classes) if floor is None else floor,
        seeds=spec.seeds,
        methods=_method_notes(spec, plan),
        trials=tuple(trials),
        absent=tuple(absent),
        provenance=_provenance(spec, plan, dataset),
    )


def report_study(spec: StudySpec, project: Path) -> tuple[Path, str]:
    """Write the report bundle to `reports/NAME` and log it on the study's parent run.

    Returns the page's path, and the fragment of its address in the MLflow UI (empty if the study
    was never launched, so that there is no parent run).
    """
    from analysis.report import write_report  # matplotlib: a second, only for a report

    page = write_report(read_results(spec, project), project / "reports" / spec.name)
    store = storage.find_store(project)
    if not storage.store_exists(store):
        return page, ""
    client = storage.connect(store)
    with storage.recording(store):
        runs = tracking.find_study(client, spec.name)
        if runs is None:
            return page, ""
        note = f"{spec.about}\n\nThe report is under Artifacts: `report/index.html`."
        return page, tracking.log_report(client, runs, page.parent, note)


def attack_name(attack: PgdAttack) -> str:
    """Print an evaluation attack as reports name it, say `PGD-20, 1 restart`."""
    restarts = f"{attack.restarts} restart" + ("s" if attack.restarts > 1 else "")
    return f"PGD-{attack.steps}, {restarts}"


def _trial_result(spec: StudySpec, client: object, planned: PlannedCell) -> TrialResult:
    """Read one finished cell."""
    record = planned.record
    assert record is not None
    assert record.objectives is not None
    evaluation, metrics = spec.evaluation, record.metrics
    bits = tracking.read_bits(client, record)  # type: ignore[arg-type]
    names = [
        tracking.robust_name(evaluation.checkpoint, evaluation.norm, radius)
        for radius in evaluation.radii
    ]
    return TrialResult(
        method=planned.cell.configuration.method,
        values=space.short_values(spec, planned.cell.configuration),
        seed=planned.cell.seed,
        clean=metrics[f"{evaluation.checkpoint}/test_clean"],
        robust=tuple(metrics[name] for name in names),
        validation_clean=record.objectives[0],
        validation_robust=record.objectives[1],
        bits=bits[evaluation.checkpoint],
        sample_hash=str(bits["sample_hash"]),
        seconds=metrics["seconds"],
        cost=metrics["cost/passes_per_sample"],
        run=record.run,
    )


def _absent_trial(spec: StudySpec, planned: PlannedCell) -> AbsentTrial:
    """Describe a cell without a result."""
    record, state = planned.record, planned.state
    reason = record.reason if record else "not run yet"
    return AbsentTrial(
        method=planned.cell.configuration.method,
        values=space.short_values(spec, planned.cell.configuration),
        seed=planned.cell.seed,
        status=state if state in ("failed", "given up") else "missing",
        reason="its trial is running" if state == "running" else reason,
        run=record.run if record else "",
    )


def _method_notes(spec: StudySpec, plan: Plan) -> tuple[MethodNote, ...]:
    """Say of each method which sides it has and whether it was searched."""
    searched = {planned.block.method for planned in plan.blocks}
    return tuple(
        MethodNote(name=name, sides=naming.sides_name(spec, name), searched=name in searched)
        for name in spec.methods
    )


def _provenance(spec: StudySpec, plan: Plan, dataset: Dataset) -> Mapping[str, str]:
    """Collect where the numbers come from, each kind once with all its values."""
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
    versions = sorted({key for label in labels for key in label if key.startswith("version.")})
    return {
        "data": f"{dataset.name.partition(':')[0]} ({sizes} images), {dataset.fingerprint}",
        "augmentation": "crop and flip" if dataset.augment else "none",
        "network": f"{spec.model.name}, width {spec.model.width}",
        "training": _shown(
            {name: getattr(spec.training, name) for name in type(spec.training).__annotations__}
        ),
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


def _shown(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in values.items())


def _distinct(values: Iterable[str]) -> str:
    """Join what differs between trials; most often there is one value."""
    return ", ".join(sorted(set(values))) or "none"
