"""What commands found, as plain values for JSON: the `result` of `study COMMAND --json`.

`answers.json` beside this file is the JSON Schema of all of them, and a test compares the two.
Accuracies are fractions in [0, 1], times are seconds, and what is not known is null.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.launch.launch import Outcome
from study.plan import naming, space
from study.plan.fronts import front_so_far
from study.plan.plan import Plan, PlannedCell
from study.plan.space import Cell, Configuration
from study.plan.times import estimate
from study.records.attacks import CheckRecord
from study.records.runs import checkpoint_read
from study.report.power import Power, expected_power
from study.spec import StudySpec

if TYPE_CHECKING:  # torch
    from study.report.report import Report
    from study.verify.attack import Outcome as Verification

Answer = dict[str, Any]


def studies_answer(studies: Mapping[str, StudySpec]) -> Answer:
    """Return what `study list` prints."""
    found = []
    for name, spec in studies.items():
        grid, searched = count_trials(spec)
        found.append(
            {"name": name, "about": spec.about, "trials": grid + searched, "searched": searched}
        )
    return {"studies": found}


def count_trials(spec: StudySpec) -> tuple[int, int]:
    """Count a study's trials: those that are declared, and those that a search suggests."""
    cells = len(space.grid_configurations(spec)) * len(spec.seeds)
    cells += sum(len(seeds) for _, seeds in space.more_trials(spec))
    blocks = len(space.search_blocks(spec, ""))
    searched = blocks * spec.search.trials * len(spec.seeds) if spec.search else 0
    return cells, searched


def check_answer(file: Path, studies: Iterable[str], warnings: Sequence[str]) -> Answer:
    """Return what `study check` prints of a file without mistakes."""
    return {"file": str(file), "studies": list(studies), "warnings": list(warnings)}


def plan_answer(spec: StudySpec, plan: Plan, num_slots: int | None) -> Answer:
    """Return what `study plan` prints, and every cell.

    `num_slots`: the trials that run at a time; None on a cluster to join.
    """
    found = estimate(spec, plan, num_slots or 1)
    return {
        **_standing(spec, plan),
        "slots": num_slots,
        "estimate": {
            "low_seconds": found.low,
            "high_seconds": found.high,
            "unknown_trials": found.num_unknown,
        },
        "power": _power(expected_power(spec, plan)),
        "cells": _cells(spec, plan),
    }


def status_answer(spec: StudySpec, plan: Plan) -> Answer:
    """Return what `study status` prints, and every cell."""
    return {**_standing(spec, plan), "front": _front(spec, plan), "cells": _cells(spec, plan)}


def launch_answer(spec: StudySpec, outcome: Outcome) -> Answer:
    """Return how a launch ended, and every cell."""
    return {
        **status_answer(spec, outcome.plan),
        "started": outcome.started,
        "failures": [
            {"cell": naming.cell_name(spec, cell), "reason": reason}
            for cell, reason in outcome.failures
        ],
        "stopped_by": outcome.stopped_by and outcome.stopped_by.name,
        "problem": outcome.problem,
        "limit": outcome.left_out.limit,
    }


def verification_answer(spec: StudySpec, outcome: "Verification") -> Answer:
    """Return what `study evaluate` and `study diagnose` print."""
    return {
        "study": spec.name,
        "configurations": [
            naming.configuration_name(spec, member.configuration) for member in outcome.members
        ],
        "checklist": [_checks(spec, cell, checks) for cell, checks in outcome.checklist],
        "failures": [{"cell": what, "reason": reason} for what, reason in outcome.failures],
    }


def report_answer(report: "Report") -> Answer:
    """Return where a report is."""
    return {
        "page": str(report.page),
        "address": report.address,
        "without_results": list(report.without_results),
        "kept": report.kept,
    }


def ui_answer(address: str, studies: Mapping[str, str]) -> Answer:
    """Return where the MLflow UI serves, and the address of each study's runs."""
    found = [{"name": name, "address": place} for name, place in studies.items()]
    return {"address": address, "studies": found}


def _standing(spec: StudySpec, plan: Plan) -> Answer:
    states = sorted({planned.state for planned in plan.cells})
    return {
        "study": spec.name,
        "seeds": list(spec.seeds),
        "trials": plan.num_cells,
        "open": plan.num_open,
        "to_search": plan.to_search,
        "states": {state: plan.count(state) for state in states},
    }


def _power(power: Power | None) -> Answer | None:
    """Return what the study can see; None if it declares no primary contrast."""
    return None if power is None else {**asdict(power), "designs": [*map(asdict, power.designs)]}


def _cells(spec: StudySpec, plan: Plan) -> list[Answer]:
    return [_cell(spec, planned) for planned in plan.cells]


def _cell(spec: StudySpec, planned: PlannedCell) -> Answer:
    cell, record = planned.cell, planned.record
    objectives = record.objectives if record and record.objectives else (None, None)
    wanted = cell.config.evaluation.checkpoint
    is_read = record is not None and record.objectives is not None
    return {
        "key": cell.key,
        **_configuration(spec, cell.configuration),
        "seed": cell.seed,
        "state": planned.state,
        "run": record and record.run,
        "epoch": int(record.metrics.get("train/epoch", 0)) if record else 0,
        "seconds": record and record.seconds,
        "validation_clean": objectives[0],
        "validation_robust": objectives[1],
        "checkpoint": checkpoint_read(record.labels, wanted) if record and is_read else None,
        "reason": record.reason if record else "",
    }


def _configuration(spec: StudySpec, configuration: Configuration) -> Answer:
    return {
        "configuration": naming.configuration_name(spec, configuration),
        "method": configuration.method,
        "values": space.short_values(spec, configuration),
    }


def _front(spec: StudySpec, plan: Plan) -> list[Answer]:
    """Return the nondominated configurations on validation, with their means over seeds."""
    per_seed: dict[Configuration, list[tuple[float, float] | None]] = {}
    for planned in plan.cells:
        objectives = planned.record.objectives if planned.record else None
        per_seed.setdefault(planned.cell.configuration, []).append(objectives)
    front, _ = front_so_far(per_seed)
    return [
        {
            **_configuration(spec, configuration),
            "validation_clean": clean,
            "validation_robust": robust,
        }
        for configuration, (clean, robust) in front
    ]


def _checks(spec: StudySpec, cell: Cell, checks: Sequence[CheckRecord]) -> Answer:
    return {
        "cell": naming.cell_name(spec, cell),
        "checks": [
            {
                "number": check.number,
                "name": check.name,
                "verdict": check.verdict,
                "text": check.text,
            }
            for check in checks
        ],
    }
