"""From records to a report: `read_results` for notebooks, `report_studies` for the command."""

import contextlib
import csv
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from analysis.results.methods import MethodNote
from analysis.results.results import DeclaredClaim, Results, ThreatModel
from analysis.results.trials import ON_PURPOSE, AbsentTrial, History, TrialResult
from study.launch.launch import current_plan, data_cache
from study.plan import naming, space
from study.plan.plan import Plan, PlannedCell, TrialRecord
from study.plan.reasons import reasons
from study.plan.stops import STOPPED_TAG
from study.plan.times import training_seconds
from study.records import evidence
from study.records.attacks import AttackRecord, hash_of_first, read_attacks
from study.records.claims import read_claims
from study.records.configurations import configuration_rows
from study.records.runs import (
    BITS_FILE,
    CHECKPOINTS,
    MOST_NOTE_CHARACTERS,
    Source,
    checkpoint_read,
    open_source,
    read_bits,
    read_epochs,
    recorded_checkpoints,
    robust_name,
)
from study.records.starts import with_starts
from study.records.store import Store, TrackingError, find_store, recording, store_exists
from study.records.view import MOST_FRAME_CHARACTERS, view_tags
from study.report import sources
from study.report.filing import Entry, Filing, file_here
from study.report.importance import measure_importances
from study.spec import AnalysisSpec, StudySpec, claim_text, claims_of
from study.spec.settings import class_of
from trainers.config import VALIDATION_ATTACK, EvaluationConfig
from trainers.data.dataset import Dataset, load_data
from trainers.data.doubts import doubts
from trainers.data.subset import sample_hash

MOST_HISTORIES = 100
"""If a study has more trials, epochs are read only of each method's chosen configuration."""
EPOCH_METRICS = ("train/accuracy", "validation/clean", "validation/robust")
FINDINGS = "findings.md"
"""The file of a report whose text becomes the run's note."""
REST = "The report has more."


@dataclass(frozen=True, kw_only=True)
class Report:
    """Where a report is, and which of its studies have no results."""

    page: Path
    address: str
    """The fragment of its address in the MLflow UI; empty if no study was ever launched."""
    without_results: tuple[str, ...]
    """Studies without a single finished trial."""
    kept: str = ""
    """Why the previous report was not replaced; empty if it was, or if there was none."""

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        # `study.notebook` lies above this module, and only a notebook waits for it.
        return str(import_module("study.notebook.pages").report_page(self))


def read_results(spec: StudySpec, project: Path) -> Results:
    """Read the results of a study from its records, including which cells have none."""
    return _read(spec, project)[0]


def _read(spec: StudySpec, project: Path) -> tuple[Results, list[PlannedCell]]:
    """Read the results of a study, and the cells that are done."""
    spec = with_starts(spec, project)
    plan = current_plan(spec, project)
    dataset = load_data(spec.data, data_cache(project))
    store = find_store(project)
    done = [planned for planned in plan.cells if planned.state == "done"]
    test_hash = sample_hash(dataset.test)
    seeds = Counter(planned.cell.configuration for planned in done)
    longest = max((p.cell.config.training.epochs for p in plan.cells), default=1)
    with recording(store):
        attacks = _read_attacks(spec, store, done, dataset)
        trials = tuple(
            _trial_result(
                spec,
                store,
                planned,
                attacks[planned.cell.key],
                num_seeds=seeds[planned.cell.configuration],
                test_hash=test_hash,
                longest=longest,
            )
            for planned in done
        )
    evaluation, why = spec.evaluation, reasons(spec, plan)
    results = Results(
        study=spec.name,
        about=spec.about,
        threat=_threat_model(evaluation),
        checkpoint=evaluation.checkpoint,
        num_test=len(dataset.test.labels),
        num_validation=len(dataset.validation.labels),
        seeds=spec.seeds,
        methods=_method_notes(spec, plan),
        trials=trials,
        absent=tuple(_absent_trial(spec, p, why) for p in plan.cells if p.state != "done"),
        provenance=sources.provenance(spec, plan, dataset)
        | evidence.provenance(spec, done, attacks, len(dataset.test.labels)),
        num_classes=len(dataset.classes),
        claims=_claims(spec, store, len(done)),
        **_declared(spec.analysis or AnalysisSpec(), dataset),
        importances=measure_importances(spec, plan),
        data_doubts=doubts(dataset),
        own_seeds=evidence.own_seeds(spec, plan),
    )
    with recording(store):
        results = replace(results, histories=_histories(spec, store, results, done))
        return sources.with_sources(spec, store, results, done), done


def _claims(spec: StudySpec, store: Store, done: int) -> tuple[DeclaredClaim, ...]:
    """Return the claims, each with the number of trials that were done before it was declared."""
    if not spec.claims:
        return ()
    recorded: Mapping[str, int] = {}
    if store_exists(store):
        with recording(store):
            recorded = read_claims(open_source(store), spec.name)
    return tuple(
        DeclaredClaim(
            first=claim.methods[0],
            second=claim.methods[1],
            direction=claim.direction,
            radius=claim.radius or spec.evaluation.objective_radius,
            margin=claim.margin,
            at_clean=claim.at_clean,
            # A claim that no launch has recorded is younger than every trial.
            trials_before=recorded.get(claim_text(claim), done),
        )
        for claim in claims_of(spec)
    )


def _declared(declared: AnalysisSpec, dataset: Dataset) -> dict[str, Any]:
    """Return what the analysis block declares, as fields of the results."""
    floor = declared.clean_floor
    return {
        "clean_floor": 1 / len(dataset.classes) if floor is None else floor,
        "margin": declared.margin,
        "clean_margin": declared.clean_margin,
        "clean_floors": declared.clean_floors or (),
        "primary": declared.primary,
    }


def _threat_model(evaluation: EvaluationConfig) -> ThreatModel:
    return ThreatModel(
        attack=evaluation.attack.title,
        validation_attack=VALIDATION_ATTACK.title,
        norm=evaluation.norm,
        radii=evaluation.radii,
        objective_radius=evaluation.objective_radius,
    )


def report_study(spec: StudySpec, project: Path) -> Report:
    """Write the report of one study, as `report_studies` does."""
    return report_studies((spec,), project)


def report_studies(
    specs: Sequence[StudySpec], project: Path, *, is_forced: bool = False, is_filed: bool = True
) -> Report:
    """Write the report bundle of a study, or of several side by side, and log it in MLflow.

    One study: `reports/NAME`, and `report` on its parent run, whose note becomes the findings.
    Several: `reports/A+B`, and `comparison/A+B` on the parent run of each. The address is
    that of the first study that was ever launched. If there is a report of more trials already, it
    is kept, also in MLflow, unless `is_forced`: the new one is written to `reports/NAME@fewer`, or
    not at all if it would be empty. Unless `is_filed`, nothing is logged. Raises `ResultsError` if
    studies cannot be compared.
    """
    from analysis.results.combine import combine  # numpy: half a second of every other command

    store = find_store(project)
    folder = project / "reports" / _report_name(specs)
    with contextlib.ExitStack() as stack:
        file: Callable[[Path, Sequence[Entry]], list[str]] | None = None
        if is_filed and store_exists(store):
            # A process that has imported MLflow already, as a notebook's may have, needs no other.
            if "mlflow" in sys.modules:
                file = partial(file_here, store)
            else:
                file = stack.enter_context(Filing(store)).file
        read = [_read(spec, project) for spec in specs]
        found = [results for results, _ in read]
        results = found[0] if len(found) == 1 else combine(found)
        pictures = sources.pictures(store, [cell for _, done in read for cell in done])
        empty = tuple(one.study for one in found if not one.trials)
        held = 0 if is_forced else count_reported(folder)
        if len(results.trials) < held:
            return _write_beside(folder, results, held, empty, pictures)
        page = _write(results, folder, pictures)
        addresses = []
        if file is not None:
            entries = [_entry(spec, specs, folder, project) for spec in specs]
            addresses = file(page.parent, entries)
    address = addresses[0] if addresses else ""
    return Report(page=page, address=address, without_results=empty)


def count_reported(folder: Path) -> int:
    """Count the finished trials of the report in a folder; 0 where there is none."""
    try:
        with (folder / "seeds.csv").open(encoding="utf-8", newline="") as file:
            return sum(row.get("status") == "done" for row in csv.DictReader(file))
    except (OSError, ValueError, csv.Error):
        return 0


def _write_beside(
    folder: Path,
    results: Results,
    held: int,
    empty: tuple[str, ...],
    pictures: Mapping[str, bytes],
) -> Report:
    """Keep a report of more trials; write the new one beside it, unless it holds no trial."""
    fewer = folder.with_name(f"{folder.name}@fewer")
    page = _write(results, fewer, pictures) if results.trials else folder / "index.html"
    place = f"the new report is in reports/{fewer.name}" if results.trials else "none is written"
    kept = (
        f"reports/{folder.name}: holds {held} trials, but only {len(results.trials)} are done as "
        f"the study is declared now; it is kept, and {place}; add --replace to replace it"
    )
    return Report(page=page, address="", without_results=empty, kept=kept)


def _write(results: Results, folder: Path, pictures: Mapping[str, bytes]) -> Path:
    """Write the bundle and return its page."""
    from analysis.report.bundle import write_report  # matplotlib: a second, only for a report

    return write_report(results, folder, pictures=pictures)


def _report_name(specs: Sequence[StudySpec]) -> str:
    return "+".join(spec.name for spec in specs)


def _entry(spec: StudySpec, specs: Sequence[StudySpec], folder: Path, project: Path) -> Entry:
    """Return where to file the report for a study, with a note if it is about this study alone."""
    if len(specs) == 1:
        found = with_starts(spec, project)
        return Entry(
            study=spec.name,
            place="report",
            note=study_note(spec, folder),
            configurations=configuration_rows(found, current_plan(found, project)),
            views=view_tags(spec),
        )
    return Entry(study=spec.name, place=f"comparison/{_report_name(specs)}", note="")


def study_note(spec: StudySpec, folder: Path) -> str:
    """Return the findings as the note of the parent run; `framed_note` adds links and the front.

    Lines that do not fit into a note of MLflow are left out.
    """
    if not (folder / FINDINGS).is_file():
        return spec.about
    text = (folder / FINDINGS).read_text(encoding="utf-8").strip()
    room = MOST_NOTE_CHARACTERS - MOST_FRAME_CHARACTERS - len(REST) - 2
    if len(text) > room:
        # A piece of a line may be half a table row or half a number.
        whole_lines = text[: max(0, text.rfind("\n", 0, room))].strip()
        text = f"{whole_lines}\n\n{REST}".strip()
    return text


def _read_attacks(
    spec: StudySpec, store: Store, done: Sequence[PlannedCell], dataset: Dataset
) -> dict[str, tuple[AttackRecord, ...]]:
    """Read the results of attacks, by the cell's key."""
    wanted, samples = spec.evaluation.checkpoint, spec.autoattack.samples
    first_hash = hash_of_first(dataset.test)
    return {
        planned.cell.key: read_attacks(
            store,
            planned.record,
            checkpoint_read(planned.record.labels, wanted),
            samples,
            first_hash,
        )
        for planned in done
        if planned.record is not None
    }


def _trial_result(
    spec: StudySpec,
    store: Store,
    planned: PlannedCell,
    attacks: Sequence[AttackRecord],
    *,
    num_seeds: int,
    test_hash: str,
    longest: int,
) -> TrialResult:
    """Read one finished cell. `num_seeds`: how many seeds of its configuration are done.

    `longest`: the epochs of the study's longest training. Where their numbers differ, a cost is
    counted per epoch of that one, so that budgets are those of whole trainings.
    """
    record = planned.record
    assert record is not None
    assert record.objectives is not None
    evaluation, metrics = spec.evaluation, record.metrics
    bits = read_bits(store, record)
    if str(bits["sample_hash"]) != test_hash:
        raise TrackingError(
            f"run {record.run}: {BITS_FILE}: must be of the test samples {test_hash}, got "
            f"{bits['sample_hash']}; delete it, then launch the study: its cell runs again"
        )
    checkpoint = checkpoint_read(record.labels, evaluation.checkpoint)
    names = [robust_name(checkpoint, evaluation.norm, radius) for radius in evaluation.radii]
    return TrialResult(
        method=planned.cell.configuration.method,
        values=space.short_values(spec, planned.cell.configuration),
        seed=planned.cell.seed,
        clean=metrics[f"{checkpoint}/test_clean"],
        robust=tuple(metrics[name] for name in names),
        validation_clean=record.objectives[0],
        validation_robust=record.objectives[1],
        bits=bits[checkpoint],
        sample_hash=str(bits["sample_hash"]),
        seconds=training_seconds(record),
        cost=metrics["cost/passes_per_sample"] * (planned.cell.config.training.epochs / longest),
        run=record.run,
        other=evidence.other_norm(evaluation, checkpoint, metrics, bits),
        strong=evidence.strong_results(attacks),
        checks=evidence.checks(
            evidence.read_checklist(store, record, evaluation.checkpoint, num_seeds)
        ),
        detections=evidence.detections(record.labels),
        is_last_read=checkpoint != evaluation.checkpoint,
    )


def _histories(
    spec: StudySpec, store: Store, results: Results, done: Sequence[PlannedCell]
) -> tuple[History, ...]:
    """Read the epochs of all trials, or of the chosen configurations if there are many trials."""
    from analysis.fronts.choice import choose  # numpy, which a study without results spares

    runs = {trial.run for trial in results.trials}
    if len(runs) > MOST_HISTORIES:
        chosen = [front.best for front in choose(results).fronts if front.best is not None]
        runs = {trial.run for configuration in chosen for trial in configuration.trials}
    if not runs:
        return ()
    source = open_source(store)
    return tuple(
        history
        for planned in done
        if planned.record is not None and planned.record.run in runs
        for history in [_history(spec, source, planned, planned.record)]
        if history is not None
    )


def _history(
    spec: StudySpec, source: Source, planned: PlannedCell, record: TrialRecord
) -> History | None:
    """Read one trial's epochs; None if it recorded none."""
    epochs = read_epochs(source, record.run, EPOCH_METRICS)
    if not epochs:
        return None
    train, clean, robust = zip(*epochs.values(), strict=True)
    metrics, evaluation = record.metrics, spec.evaluation
    ends = [
        (
            metrics[f"{checkpoint}/test_clean"],
            metrics[robust_name(checkpoint, evaluation.norm, evaluation.objective_radius)],
        )
        if checkpoint in recorded_checkpoints(record.labels)
        else None
        for checkpoint in CHECKPOINTS
    ]
    return History(
        method=planned.cell.configuration.method,
        values=space.short_values(spec, planned.cell.configuration),
        seed=planned.cell.seed,
        epochs=tuple(epochs),
        train_accuracy=train,
        validation_clean=clean,
        validation_robust=robust,
        best_epoch=int(metrics["best/epoch"]) if "best/epoch" in metrics else None,
        test_best=ends[0],
        test_last=ends[1],
    )


def _absent_trial(spec: StudySpec, planned: PlannedCell, why: Mapping[str, str]) -> AbsentTrial:
    """Describe a cell without a result. why: by key, why open cells are open."""
    record, state = planned.record, planned.state
    reason = why.get(planned.cell.key, "") or (record.reason if record else "")
    if record is not None and state in ("failed", "given up"):
        reason = record.reason
    if state in ON_PURPOSE:
        reason = _sparing(planned)
    return AbsentTrial(
        method=planned.cell.configuration.method,
        values=space.short_values(spec, planned.cell.configuration),
        seed=planned.cell.seed,
        status=state if state in ("failed", "given up", "stopped", "spared") else "missing",
        reason="its trial is running" if state == "running" else reason,
        run=record.run if record else "",
    )


def _sparing(planned: PlannedCell) -> str:
    """Return why a cell was stopped, or not started."""
    if planned.state == "spared":
        return "by what is known so far, it would not decide who is on a front"
    epoch = planned.record.labels.get(STOPPED_TAG) if planned.record is not None else None
    if epoch is None:
        return "not started: its configuration was stopped"
    return f"stopped at epoch {epoch} of {planned.cell.config.training.epochs}"


def _method_notes(spec: StudySpec, plan: Plan) -> tuple[MethodNote, ...]:
    """Return each method's sides, settings, and whether it was searched."""
    searched = {planned.block.method for planned in plan.blocks}
    return tuple(
        MethodNote(
            name=name,
            sides=naming.sides_name(spec, name),
            searched=name in searched,
            settings=naming.settings_text(spec, name),
            weights=class_of("weights", declared.weights).kind,
            inputs=class_of("inputs", declared.inputs).kind,
            setup=naming.setup_names(spec, name),
            fewer_steps=naming.fidelity_text(spec, name),
        )
        for name, declared in spec.methods.items()
    )
