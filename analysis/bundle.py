"""Bundle: results as files that other programs read: `front.json`, two tables, provenance.

`front.json` has the schema `rhoeps.front/1`: fractions, never percent; null, never NaN. Additions
keep the number, a changed meaning raises it. It carries all that the report shows, so that the page
can be made again from it alone; it leaves out the correctness bits.
"""

import csv
import json
from collections.abc import Mapping
from dataclasses import asdict
from io import StringIO
from typing import Any

from analysis.choice import Choice, MethodFront, choose
from analysis.configurations import ConfigurationResult, Spread
from analysis.results import (
    AbsentTrial,
    MethodNote,
    Results,
    ResultsError,
    ThreatModel,
    TrialResult,
    Value,
)

SCHEMA = "rhoeps.front/1"


def results_to_json(results: Results) -> str:
    """Write results and the fronts found in them as `front.json`.

    The key `fronts` is derived from the rest, for readers that have no `analysis` at hand.
    """
    choice = choose(results)
    document = {
        "schema": SCHEMA,
        "study": results.study,
        "about": results.about,
        "threat": asdict(results.threat),
        "checkpoint": results.checkpoint,
        "num_test": results.num_test,
        "num_validation": results.num_validation,
        "clean_floor": results.clean_floor,
        "seeds": list(results.seeds),
        "methods": [asdict(note) for note in results.methods],
        "trials": [_trial(trial) for trial in results.trials],
        "absent": [{**asdict(trial), "values": dict(trial.values)} for trial in results.absent],
        "provenance": dict(results.provenance),
        "fronts": _fronts(choice),
    }
    return json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def results_from_json(text: str) -> Results:
    """Read the results in a `front.json`; they carry no bits."""
    document = json.loads(text)
    schema = document["schema"] if isinstance(document, dict) and "schema" in document else None
    if schema != SCHEMA:
        raise ResultsError(f"front.json: schema must be {SCHEMA}, got {schema}")
    threat = {**document["threat"], "radii": tuple(document["threat"]["radii"])}
    trials = [{**trial, "robust": tuple(trial["robust"])} for trial in document["trials"]]
    return Results(
        study=document["study"],
        about=document["about"],
        threat=ThreatModel(**threat),
        checkpoint=document["checkpoint"],
        num_test=document["num_test"],
        num_validation=document["num_validation"],
        clean_floor=document["clean_floor"],
        seeds=tuple(document["seeds"]),
        methods=tuple(MethodNote(**note) for note in document["methods"]),
        trials=tuple(TrialResult(**trial) for trial in trials),
        absent=tuple(AbsentTrial(**trial) for trial in document["absent"]),
        provenance=document["provenance"],
    )


def configurations_csv(results: Results) -> str:
    """Write one row for each configuration: fractions, with their spread over the seeds."""
    choice = choose(results)
    found = [(front, c) for front in choice.fronts for c in front.configurations]
    names = _value_names([c.values for _, c in found])
    rows = []
    for front, c in found:
        row: dict[str, object] = {"method": c.method, **c.values}
        row["seeds"] = len(c.trials)
        row["seeds_absent"] = " ".join(str(seed) for seed in c.absent_seeds)
        for name, over_seeds in _accuracies(results.threat, c):
            row |= {f"{name}_{part}": value for part, value in _columns(over_seeds).items()}
        row["complete"] = c.complete
        row["on_method_front"] = any(member.key == c.key for member in front.members)
        row["on_study_front"] = c.key in choice.study_front
        row["cost"] = mean_of([trial.cost for trial in c.trials])
        row["seconds"] = mean_of([trial.seconds for trial in c.trials])
        rows.append(row)
    return _csv(rows, ["method", *names])


def seeds_csv(results: Results) -> str:
    """Write one row for each cell, absent ones too, with their status and reason."""
    rows = []
    for trial in results.trials:
        row: dict[str, object] = {"method": trial.method, **trial.values, "seed": trial.seed}
        row |= {"status": "done", "clean": trial.clean}
        for radius, robust in zip(results.threat.radii, trial.robust, strict=True):
            row[f"robust_{radius:g}"] = robust
        row["validation_clean"] = trial.validation_clean
        row[f"validation_robust_{results.threat.objective_radius:g}"] = trial.validation_robust
        row |= {"cost": trial.cost, "seconds": trial.seconds, "run": trial.run, "reason": ""}
        rows.append(row)
    for absent in results.absent:
        row = {"method": absent.method, **absent.values, "seed": absent.seed}
        row |= {"status": absent.status, "run": absent.run, "reason": absent.reason}
        rows.append(row)
    names = _value_names([t.values for t in results.trials] + [a.values for a in results.absent])
    return _csv(rows, ["method", *names, "seed", "status"])


def provenance_json(results: Results) -> str:
    """Write where the results come from."""
    document = {
        "schema": "rhoeps.provenance/1",
        "study": results.study,
        "checkpoint": results.checkpoint,
        "seeds": list(results.seeds),
        "threat": asdict(results.threat),
        "num_test": results.num_test,
        "num_validation": results.num_validation,
        "sample_hash": next((t.sample_hash for t in results.trials if t.sample_hash), None),
        "trials": len(results.trials),
        "absent": len(results.absent),
        "provenance": dict(results.provenance),
    }
    return json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def mean_of(numbers: list[float | None]) -> float | None:
    """Average what is known of some numbers; None if nothing is.

    >>> mean_of([1.0, None, 3.0])
    2.0
    """
    known = [number for number in numbers if number is not None]
    return sum(known) / len(known) if known else None


def _trial(trial: TrialResult) -> dict[str, Any]:
    return {
        "method": trial.method,
        "values": dict(trial.values),
        "seed": trial.seed,
        "clean": trial.clean,
        "robust": list(trial.robust),
        "validation_clean": trial.validation_clean,
        "validation_robust": trial.validation_robust,
        "sample_hash": trial.sample_hash,
        "seconds": trial.seconds,
        "cost": trial.cost,
        "run": trial.run,
    }


def _fronts(choice: Choice) -> dict[str, Any]:
    def members(front: MethodFront) -> list[dict[str, Any]]:
        return [
            {
                "values": dict(c.values),
                "clean": asdict(c.clean),
                "robust": [asdict(over_seeds) for over_seeds in c.robust],
            }
            for c in front.members
        ]

    return {
        "chosen_on": "validation" if choice.on_validation else "test",
        "methods": [
            {
                "method": front.note.name,
                "members": members(front),
                "best": dict(front.best.values) if front.best else None,
                "mean_attainable_robustness": front.attainable,
                "mean_attainable_robustness_by_seed": list(front.attainable_by_seed),
                "complete_seeds": list(front.complete_seeds),
            }
            for front in choice.fronts
        ],
        "study_front": [
            {"method": method, "values": dict(values)}
            for method, values in sorted(choice.study_front, key=repr)
        ],
    }


def _accuracies(threat: ThreatModel, c: ConfigurationResult) -> list[tuple[str, Spread]]:
    found = [("clean", c.clean)]
    found += [(f"robust_{e:g}", r) for e, r in zip(threat.radii, c.robust, strict=True)]
    if c.validation_clean is not None and c.validation_robust is not None:
        found.append(("validation_clean", c.validation_clean))
        found.append((f"validation_robust_{threat.objective_radius:g}", c.validation_robust))
    return found


def _columns(over_seeds: Spread) -> dict[str, float | None]:
    return {
        "mean": over_seeds.mean,
        "least": over_seeds.low,
        "greatest": over_seeds.high,
        "deviation": over_seeds.deviation,
    }


def _value_names(values: list[Mapping[str, Value]]) -> list[str]:
    return list(dict.fromkeys(name for some in values for name in some))


def _csv(rows: list[dict[str, object]], first: list[str]) -> str:
    names = list(dict.fromkeys([*first, *(name for row in rows for name in row)]))
    buffer = StringIO()
    table = csv.DictWriter(buffer, names, restval="", lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return buffer.getvalue()
