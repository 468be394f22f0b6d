"""Why a cell is open: what its own trials say, and which settings an earlier result had.

Also of how many done cells the best epoch is unknown.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from study.plan.naming import threat_name
from study.plan.plan import LAST_ALONE_TAG, Plan, PlannedCell, TrialRecord, knows_best_epoch
from study.plan.space import Cell, canonical
from study.plan.stops import STOPPED_TAG
from study.spec import StudySpec

LOST_TAG = "lost"
"""Tag of a run whose worker was lost: the last epoch that the worker reported."""
MANY_LOSSES = 5
"""So many workers lost after the same epoch no longer look like chance."""
MOST_SETTINGS = 3
"""How many changed settings are named; the rest are counted."""
SOURCE = ".source."
"""Stands in a path before the file or distribution that decides an own part."""
NEVER_RUN = "not run yet"


def reasons(spec: StudySpec, plan: Plan) -> dict[str, str]:
    """Return why each open cell is open, by its key."""
    tried: dict[str, list[TrialRecord]] = {}
    others: dict[tuple[str, str, str], list[TrialRecord]] = {}
    declared = {planned.cell.key for planned in plan.cells}
    for record in plan.records:
        tried.setdefault(record.cell_key, []).append(record)
        if record.is_complete and record.study == spec.name and record.cell_key not in declared:
            others.setdefault(_place(record), []).append(record)
    return {
        planned.cell.key: _reason(
            planned,
            canonical(planned.cell.config, plan.fingerprint),
            tried.get(planned.cell.key, []),
            others.get(_place_of(planned.cell), []),
        )
        for planned in plan.open_cells
    }


def count_last_read(cells: Iterable[PlannedCell]) -> int:
    """Count the done cells that a study of best epochs reads at the last, each key once."""
    found = {
        planned.cell.key
        for planned in cells
        if planned.cell.config.evaluation.checkpoint == "best"
        and planned.state == "done"
        and planned.record is not None
        and LAST_ALONE_TAG in planned.record.labels
    }
    return len(found)


def _reason(
    planned: PlannedCell,
    wanted: Mapping[str, Any],
    tried: list[TrialRecord],
    others: list[TrialRecord],
) -> str:
    """Return why a cell is open: its own last trial first, then what was run in its place."""
    if planned.source is not None:
        changed = changes(planned.source.canonical, wanted)
        text = f"trained, but evaluated under other settings: {changed}" if changed else "trained"
        is_best_read = planned.cell.config.evaluation.checkpoint == "best"
        is_known = not is_best_read or knows_best_epoch(planned.source, wanted)
        return text if is_known else f"{text}; {_unknown_best(planned.source.canonical, wanted)}"
    if tried:
        return _ending(tried)
    if not others:
        return NEVER_RUN
    nearest = min(others, key=lambda record: len(list(_differences(record.canonical, wanted))))
    return f"finished under other settings: {changes(nearest.canonical, wanted)}"


def _unknown_best(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Format why the last epoch is evaluated, although the study reads the best one."""
    then, now = (
        threat_name(one["evaluation"]["norm"], one["evaluation"]["objective_radius"])
        for one in (old, new)
    )
    known = f", as its epochs were validated at {then} alone" if then != now else ""
    return (
        f"which epoch is best at {now} was not recorded{known}, so the last one, epoch "
        f"{new['training']['epochs']}, is evaluated"
    )


def _ending(tried: list[TrialRecord]) -> str:
    """Return how the last trial of a cell ended."""
    last = tried[-1]
    if last.status == "RUNNING":
        return "running"
    if last.status == "FAILED":
        return f"failed: {last.reason}"
    if STOPPED_TAG in last.labels:
        return f"stopped after epoch {last.labels[STOPPED_TAG]}, by another rule than today's"
    if LOST_TAG not in last.labels:
        return last.reason or "stopped before its end"
    epoch = last.labels[LOST_TAG]
    losses = sum(record.labels.get(LOST_TAG) == epoch for record in tried)
    text = f"its worker was lost after epoch {epoch}"
    if losses >= MANY_LOSSES:
        text += f" ({losses} times so far); is the machine short of memory?"
    return text


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Format which settings differ between two canonical forms: `training.epochs 10 → 20`."""
    found = list(_differences(old, new))
    sources = [(path.partition(SOURCE)[2], a, b) for path, a, b in found if SOURCE in path]
    edited = dict.fromkeys(_changed(*source) for source in sources)
    found = [one for one in found if SOURCE not in one[0]]
    shown = [f"{path} {_shown(a)} → {_shown(b)}" for path, a, b in found[:MOST_SETTINGS]]
    more = len(found) - MOST_SETTINGS
    return ", ".join([*edited, *shown, *([f"and {more} more"] if more > 0 else [])])


def _changed(name: str, old: Any, new: Any) -> str:
    """Format what became of a file or a distribution that an own part is made of."""
    if not name.endswith(".py"):
        return f"{name} {_shown(old)} → {_shown(new)}"
    if old is None or new is None:
        return f"{name} is {'imported' if old is None else 'no longer imported'}"
    return f"{name} changed since"


def _differences(old: Any, new: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield the paths at which two canonical forms differ, each with both values."""
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        if old != new:
            yield path, old, new
        return
    for name in dict.fromkeys((*old, *new)):
        yield from _differences(old.get(name), new.get(name), f"{path}.{name}".lstrip("."))


def _shown(value: Any) -> str:
    """Format a setting's value; a setting that is left out has its default."""
    if value is None:
        return "default"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_shown, value))}]"
    if isinstance(value, Mapping):
        return json.dumps(value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)[:24]


def _place(record: TrialRecord) -> tuple[str, str, str]:
    """Return what a trial was run for: method, chosen values and seed."""
    return (
        record.labels.get("method", ""),
        record.labels.get("values", ""),
        record.labels.get("seed", ""),
    )


def _place_of(cell: Cell) -> tuple[str, str, str]:
    configuration = cell.configuration
    return configuration.method, json.dumps(dict(configuration.values)), str(cell.seed)
