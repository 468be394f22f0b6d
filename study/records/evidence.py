"""Evidence: what is recorded of a trial besides its accuracies, in the form the analysis takes.

Nothing here needs torch.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, cast

import numpy as np

from analysis.results.trials import (
    Check,
    Detection,
    OtherNorm,
    OwnSeeds,
    StrongResult,
    Verdict,
    accuracies,
)
from study.plan import space
from study.plan.plan import Plan, PlannedCell, TrialRecord
from study.plan.space import Configuration
from study.records import runs
from study.records.attacks import (
    METRIC_WORDS,
    AttackRecord,
    CheckRecord,
    Samples,
    Threat,
    is_attacked,
    is_checked,
    is_diagnosed,
    judged_samples,
    metric_name,
    read_checks,
)
from study.records.store import Store
from study.spec import StudySpec
from trainers.config import EvaluationConfig

DETECTED = "detected."
"""The prefix of the detectors' tags; the rest of a tag is the detector's name."""
ENOUGH_SEEDS = 3
"""The number of seeds that an interval over seeds needs."""
ATTACKER = "pyautoattack"
"""The library whose version decides what an attack finds."""
SEEDS_ROW = (11, "seeds")
"""Number and name of the row that depends on the study; several studies may share a network."""


def other_norm(
    evaluation: EvaluationConfig,
    checkpoint: str,
    metrics: Mapping[str, float],
    bits: Mapping[str, Any],
) -> OtherNorm | None:
    """Return the accuracies in the other norm, or None if the study evaluates in one norm alone."""
    norm, radii = evaluation.other_norm, evaluation.other_norm_radii
    if not radii:
        return None
    return OtherNorm(
        norm=norm,
        radii=radii,
        robust=tuple(metrics[runs.robust_name(checkpoint, norm, radius)] for radius in radii),
        bits=bits[f"{checkpoint}_other"],
    )


def strong_results(records: Sequence[AttackRecord]) -> tuple[StrongResult, ...]:
    """Group the records of each sequence of attacks over its radii, by norm and sample count."""
    groups: dict[tuple[object, ...], list[AttackRecord]] = {}
    for record in records:
        key = record.threat.norm, record.attack, record.num_judged, record.attacks
        groups.setdefault(key, []).append(record)
    return tuple(
        _strong_result(sorted(g, key=lambda one: one.threat.radius)) for g in groups.values()
    )


def checks(records: Sequence[CheckRecord]) -> tuple[Check, ...]:
    """Convert a recorded checklist for the analysis."""
    return tuple(
        Check(
            number=record.number,
            name=record.name,
            verdict=cast(Verdict, record.verdict),
            text=record.text,
        )
        for record in records
    )


def read_checklist(
    store: Store, record: TrialRecord, wanted: str, num_seeds: int
) -> tuple[CheckRecord, ...]:
    """Read a network's checklist, with a row on how many seeds this study has for it.

    `wanted`: the checkpoint that the study reads. The checklist is empty where none is recorded.
    Raises `TrackingError` for a damaged file.
    """
    rows = read_checks(store, record, runs.checkpoint_read(record.labels, wanted))
    if not rows:
        return ()
    own = [row for row in rows if (row.number, row.name) != SEEDS_ROW]
    return tuple(sorted([count_seeds(num_seeds), *own], key=lambda row: row.number))


def count_seeds(num_seeds: int) -> CheckRecord:
    """Build the first part of row 11: an interval needs three seeds, and a finding needs two.

    >>> count_seeds(3).verdict, count_seeds(2).verdict, count_seeds(1).verdict
    ('pass', 'warn', 'fail')
    """
    number, name = SEEDS_ROW
    if num_seeds >= ENOUGH_SEEDS:
        text = f"Its configuration has {num_seeds} seeds, so that an interval can be given."
        return CheckRecord(number=number, name=name, verdict="pass", text=text)
    if num_seeds == 1:
        text = "Its configuration has a single seed: no interval, so no finding; add seeds."
        return CheckRecord(number=number, name=name, verdict="fail", text=text)
    text = f"Its configuration has {num_seeds} seeds: an interval over fewer than 3 says little."
    return CheckRecord(number=number, name=name, verdict="warn", text=text)


def basis_of(
    spec: StudySpec, record: TrialRecord, rivals: Sequence[TrialRecord], samples: Samples
) -> str:
    """Return a hash of what decides a diagnosis besides the network: code, rivals, attacks.

    `rivals`: the trials of the same configuration with other seeds.
    """
    evaluation = spec.evaluation
    checkpoint = runs.checkpoint_read(record.labels, evaluation.checkpoint)
    threats = [
        Threat(norm=evaluation.norm, radius=radius, samples=samples) for radius in evaluation.radii
    ]
    recorded = [
        metric_name(checkpoint, attack, threat)
        for attack in METRIC_WORDS
        for threat in threats
        if is_attacked(record, checkpoint, attack, threat)
    ]
    parts = [version("rhoeps"), sorted(rival.cell_key for rival in rivals), recorded]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def outdated_text(
    spec: StudySpec, configurations: Sequence[Sequence[TrialRecord]], samples: Samples
) -> str:
    """Return a sentence that counts the recorded checklists whose basis has changed since.

    `configurations`: the trials of each configuration, one per seed. The text is empty if no basis
    has changed. Outdated checklists still count.
    """
    is_current: dict[str, bool] = {}
    for records in configurations:
        for record in records:
            checkpoint = runs.checkpoint_read(record.labels, spec.evaluation.checkpoint)
            if is_diagnosed(record, checkpoint):
                rivals = [other for other in records if other is not record]
                basis = basis_of(spec, record, rivals, samples)
                is_current[record.run] = is_checked(record, checkpoint, basis)
    num_outdated = list(is_current.values()).count(False)
    if num_outdated == 0:
        return ""
    return (
        f"{num_outdated} of {len(is_current)} diagnoses used other seeds, attacks or another "
        f"version than there are now; study diagnose {spec.name} repeats those of networks on the "
        "fronts"
    )


def provenance(
    spec: StudySpec,
    done: Sequence[PlannedCell],
    attacks: Mapping[str, Sequence[AttackRecord]],
    num_test: int,
) -> dict[str, str]:
    """Return lines on which code attacked the networks, and which checklists are out of date.

    `attacks` is indexed by the cells' keys. What is not recorded, or is up to date, has no line.
    """
    configurations: dict[Configuration, list[TrialRecord]] = {}
    for planned in done:
        if planned.record is not None:
            configurations.setdefault(planned.cell.configuration, []).append(planned.record)
    samples = judged_samples(spec.autoattack.samples, num_test)
    found = [one.versions for records in attacks.values() for one in records]
    said = {
        ATTACKER: ", ".join(sorted({one.get(ATTACKER, "unknown") for one in found})),
        "diagnosis": outdated_text(spec, list(configurations.values()), samples),
    }
    return {name: text for name, text in said.items() if text}


def detections(labels: Mapping[str, str]) -> tuple[Detection, ...]:
    """Return what the detectors recorded in a run's tags, sorted by detector."""
    return tuple(
        Detection(name=name.removeprefix(DETECTED).replace("_", " "), text=text)
        for name, text in sorted(labels.items())
        if name.startswith(DETECTED)
    )


def _strong_result(records: Sequence[AttackRecord]) -> StrongResult:
    """Stack one sequence of attacks over its rising radii.

    A sample that is wrong without an attack in one of the records counts as wrong at every radius.
    """
    first = records[0]
    clean = np.logical_and.reduce([record.bits[0] for record in records])
    survivors = [record.bits[1:] & clean for record in records]
    bits = np.stack([clean, *(right[-1] for right in survivors)])
    measured = accuracies(bits).tolist()
    return StrongResult(
        attack=first.attack,
        norm=first.threat.norm,
        radii=tuple(record.threat.radius for record in records),
        samples=first.num_judged,
        parts=first.attacks,
        clean=measured[0],
        robust=tuple(measured[1:]),
        survivors=tuple(tuple(right.mean(axis=1).tolist()) for right in survivors),
        bits=bits,
        sample_hash=first.sample_hash,
    )


def own_seeds(spec: StudySpec, plan: Plan) -> tuple[OwnSeeds, ...]:
    """Return the seeds of the configurations of further trials, those of the study among them."""
    wanted = {(made.method, made.values) for made, _ in space.more_trials(spec)}
    found: dict[Configuration, set[int]] = {}
    for planned in plan.cells:
        made = planned.cell.configuration
        if (made.method, made.values) in wanted:
            alike = Configuration(method=made.method, values=made.values)
            found.setdefault(alike, set()).add(planned.cell.seed)
    return tuple(
        OwnSeeds(
            method=made.method, values=space.short_values(spec, made), seeds=tuple(sorted(seeds))
        )
        for made, seeds in found.items()
    )
