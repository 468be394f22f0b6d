"""Files for other programs: the table of seeds, columns that tables share, and the provenance.

Numbers are fractions, never percent. `front.json` is written by `analysis.document`.
"""

import csv
import json
from collections.abc import Mapping
from dataclasses import asdict
from io import StringIO
from statistics import median

from analysis.advice.entries import NewTrials
from analysis.advice.words import NOTHING, advice_texts
from analysis.attacks.alarms import Subject
from analysis.document import Analysis
from analysis.inference.claims import Interval
from analysis.results.results import Results
from analysis.results.trials import TrialResult, Value, strong_key, trial_key


def seeds_csv(results: Results) -> str:
    """Write a row for each cell; absent cells have a status and a reason, references no seed."""
    rows = [trial_row(results, trial) for trial in results.trials]
    row: dict[str, object]
    for absent in results.absent:
        row = {"method": absent.method, **absent.values, "seed": absent.seed}
        row |= {"status": absent.status, "run": absent.run, "reason": absent.reason}
        rows.append(row)
    for one in results.references:
        row = {"method": one.name, "status": "done", "clean": one.clean}
        row |= {f"robust_{r:g}": v for r, v in zip(results.threat.radii, one.robust, strict=True)}
        rows.append(row)
    names = _value_names([t.values for t in results.trials] + [a.values for a in results.absent])
    return csv_text(rows, ["method", *names, "seed", "status"])


def trial_row(results: Results, trial: TrialResult) -> dict[str, object]:
    """Return what `seeds.csv` has of a finished trial, by the name of the column."""
    row: dict[str, object] = {"method": trial.method, **trial.values, "seed": trial.seed}
    row |= {"status": "done", "clean": trial.clean}
    for radius, robust in zip(results.threat.radii, trial.robust, strict=True):
        row[f"robust_{radius:g}"] = robust
    row |= _evidence(trial, results.num_test)
    row["validation_clean"] = trial.validation_clean
    row[f"validation_robust_{results.threat.objective_radius:g}"] = trial.validation_robust
    row |= {"cost": trial.cost, "seconds": trial.seconds, "run": trial.run, "reason": ""}
    return row


def evidence_columns(analysis: Analysis) -> Mapping[int, Mapping[str, float]]:
    """Return each configuration's accuracies under stronger attacks and in other norms, by row.

    Names are those of `seeds_csv`, which hold attack, norm, radius and samples, followed by
    `_seeds`, `_mean`, or `_low` and `_high` for the ends of the 95% interval.
    """
    columns: dict[int, dict[str, float]] = {}
    rows = {c.key: row for row, c in enumerate(analysis.found)}

    def add(row: int, name: str, seeds: int, value: Interval) -> None:
        parts = {"seeds": seeds, "mean": value.estimate, "low": value.low, "high": value.high}
        columns.setdefault(row, {}).update({f"{name}_{k}": v for k, v in parts.items()})

    for tier in analysis.tiers:
        found, norm = tier.analysis.found, tier.analysis.results.threat.norm
        for one in tier.attacked:
            c, num_test = found[one.row], analysis.results.num_test
            name = strong_key(tier.attack, norm, one.radius, tier.samples, num_test)
            add(rows[c.key], name, len(c.trials), one.stronger)
    for other in analysis.others:
        for each in other.configurations:
            for radius, value in zip(other.radii, each.robust, strict=True):
                add(each.row, f"robust_{other.norm}_{radius:g}", each.seeds, value)
    return columns


def _evidence(trial: TrialResult, num_test: int) -> dict[str, float]:
    """Return a trial's accuracies in another norm and under stronger attacks, by column name."""
    named: dict[str, float] = {}
    if trial.other is not None:
        for radius, robust in zip(trial.other.radii, trial.other.robust, strict=True):
            named[f"robust_{trial.other.norm}_{radius:g}"] = robust
    for strong in trial.strong:
        for radius, robust in zip(strong.radii, strong.robust, strict=True):
            key = strong_key(strong.attack, strong.norm, radius, strong.samples, num_test)
            named[key] = robust
    return named


def next_yaml(analysis: Analysis) -> str:
    """Write what to run next as entries for the study in studies.yaml, the most useful first."""
    study, advice = analysis.results.study, analysis.advice
    lines = [f"# What to run next in {study}, most useful first."]
    if not advice:
        return f"{lines[0]}\n# {NOTHING}\n"
    lines += [
        "# Copy the entries that you want into the study in studies.yaml, then launch it again:",
        f"# study launch {study}",
        f"{json.dumps(study, ensure_ascii=False)}:",
    ]
    if advice[0].kind == "seed noise":
        seeds = [*analysis.results.seeds, *(s for new in advice[0].trials for s in new.seeds)]
        lines += [f"  # {advice_texts(advice)[0]}", f"  seeds: {sorted(set(seeds))}"]
        return "\n".join(lines) + "\n"
    lines += ["  more_trials:"] if any(one.trials for one in advice) else []
    for number, (one, text) in enumerate(zip(advice, advice_texts(advice), strict=True), start=1):
        lines.append(f"  # {number}. {' '.join(text.split())}")
        if one.images is not None:
            lines.append(f"  # data: {{test_samples: {one.images}}}")
        lines += [f"  - {_flow(new)}" for new in one.trials]
    return "\n".join(lines) + "\n"


def _flow(new: NewTrials) -> str:
    """Format trials as a mapping on one line, which YAML reads as JSON would."""
    parts = [f"method: {json.dumps(new.method, ensure_ascii=False)}"]
    if new.values:
        values = (f"{k}: {json.dumps(v, ensure_ascii=False)}" for k, v in new.values.items())
        parts.append(f"values: {{{', '.join(values)}}}")
    return f"{{{', '.join(parts)}, seeds: {list(new.seeds)}}}"


def provenance_json(analysis: Analysis) -> str:
    """Write the provenance of the results and of the intervals."""
    results = analysis.results
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
        "replicates": analysis.replicates,
        "replicate_seed": analysis.replicate_seed,
        "estimands": list(analysis.estimands),
        "provenance": dict(results.provenance),
    }
    return json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def mean_of(numbers: list[float | None]) -> float | None:
    """Return the mean of the known numbers, or None if none is known.

    >>> mean_of([1.0, None, 3.0])
    2.0
    """
    known = [number for number in numbers if number is not None]
    return sum(known) / len(known) if known else None


def median_of(numbers: list[float | None]) -> float | None:
    """Return the median of the known numbers, or None if none is known.

    >>> median_of([1.0, None, 3.0, 9.0])
    3.0
    """
    known = [number for number in numbers if number is not None]
    return median(known) if known else None


def alarms_of(analysis: Analysis) -> Mapping[int, tuple[str, ...]]:
    """Return the kinds of alarm of each configuration that has any, by its row."""
    rows: dict[Subject, int] = {}
    for row, c in enumerate(analysis.found):
        rows[c.key, None] = row
        rows.update((trial_key(trial), row) for trial in c.trials)
    kinds: dict[int, dict[str, None]] = {}
    for alarm in analysis.alarms:
        if alarm.severity == "unchecked":
            continue
        for subject in alarm.subjects:
            if subject in rows:
                kinds.setdefault(rows[subject], {})[alarm.kind] = None
    return {row: tuple(found) for row, found in kinds.items()}


def _value_names(values: list[Mapping[str, Value]]) -> list[str]:
    return list(dict.fromkeys(name for some in values for name in some))


def csv_text(rows: list[dict[str, object]], first: list[str]) -> str:
    """Write rows as CSV, with the names `first` before all others."""
    names = list(dict.fromkeys([*first, *(name for row in rows for name in row)]))
    buffer = StringIO()
    table = csv.DictWriter(buffer, names, restval="", lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return buffer.getvalue()
