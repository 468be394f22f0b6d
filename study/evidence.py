"""Evidence: what is recorded of a trial beside its accuracies, as the analysis takes it."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from analysis.results import Check, Detection, OtherNorm, StrongResult, Verdict, accuracies
from study import tracking
from study.attack_records import AttackRecord, CheckRecord
from trainers.config import EvaluationConfig

DETECTED = "detected."
"""What the tags of detectors start with; the rest is the detector's name."""


def other_norm(
    evaluation: EvaluationConfig, metrics: Mapping[str, float], bits: Mapping[str, Any]
) -> OtherNorm | None:
    """Give the accuracies in the other norm; None where the study evaluates in one alone."""
    norm, radii, checkpoint = (
        evaluation.other_norm,
        evaluation.other_norm_radii,
        evaluation.checkpoint,
    )
    if not radii:
        return None
    return OtherNorm(
        norm=norm,
        radii=radii,
        robust=tuple(metrics[tracking.robust_name(checkpoint, norm, radius)] for radius in radii),
        bits=bits[f"{checkpoint}_other"],
    )


def strong_results(records: Sequence[AttackRecord]) -> tuple[StrongResult, ...]:
    """Put the radii of each sequence of attacks together, by norm and number of samples."""
    groups: dict[tuple[object, ...], list[AttackRecord]] = {}
    for record in records:
        key = record.norm, record.attack, record.samples, record.attacks
        groups.setdefault(key, []).append(record)
    return tuple(_strong_result(sorted(g, key=lambda one: one.radius)) for g in groups.values())


def checks(records: Sequence[CheckRecord]) -> tuple[Check, ...]:
    """Give the checklist."""
    return tuple(
        Check(
            number=record.number,
            name=record.name,
            verdict=cast(Verdict, record.verdict),
            text=record.text,
        )
        for record in records
    )


def detections(labels: Mapping[str, str]) -> tuple[Detection, ...]:
    """Give what the detectors tagged the run with, by their names."""
    return tuple(
        Detection(name=name.removeprefix(DETECTED).replace("_", " "), text=text)
        for name, text in sorted(labels.items())
        if name.startswith(DETECTED)
    )


def _strong_result(records: Sequence[AttackRecord]) -> StrongResult:
    """Stack one sequence of attacks over its rising radii.

    A sample that one evaluation finds wrong without an attack is right at no radius.
    """
    first = records[0]
    clean = np.logical_and.reduce([record.bits[0] for record in records])
    survivors = [record.bits[1:] & clean for record in records]
    bits = np.stack([clean, *(right[-1] for right in survivors)])
    measured = accuracies(bits).tolist()
    return StrongResult(
        attack=first.attack,
        norm=cast(Any, first.norm),
        radii=tuple(record.radius for record in records),
        samples=first.samples,
        parts=first.attacks,
        clean=measured[0],
        robust=tuple(measured[1:]),
        survivors=tuple(tuple(right.mean(axis=1).tolist()) for right in survivors),
        bits=bits,
        sample_hash=first.sample_hash,
    )
