"""Diagnosis tables: the checklist over seeds, its warnings and failures, and what was detected."""

from collections.abc import Sequence

from analysis.diagnosis import Diagnosis
from analysis.document import Analysis
from analysis.evidence import VOIDING
from analysis.results import Check, Key, Verdict, configuration_key
from analysis.tables import Cell, Table, method_cell
from analysis.words import values_text

MOST_ROWS = 60
"""So many rows are in the page, the worst first; front.json has all."""
SEVERITY: dict[Verdict, int] = {"fail": 3, "warn": 2, "not run": 1, "pass": 0}
SIGNS: dict[Verdict, str] = {"fail": "✗ ", "warn": "! ", "not run": "", "pass": ""}


def check_table(analysis: Analysis) -> Table:
    """Count the verdicts of each check over the seeds of each configuration, the worst first."""
    groups: dict[Key, list[Diagnosis]] = {}
    for one in analysis.diagnoses:
        if one.checks:
            groups.setdefault(configuration_key(one.method, one.values), []).append(one)
    columns = sorted({(c.number, c.name) for d in analysis.diagnoses for c in d.checks})
    trials = sorted(groups.values(), key=lambda group: -_worst(group))
    more = len(trials) - MOST_ROWS
    return Table(
        key="checks",
        caption="The checklist: verdicts over the trials of each configuration. A fail of checks "
        f"1 to {VOIDING} voids the robust accuracies of its trial, which is then left out; all "
        "other verdicts leave the numbers as they are. A warning asks for a look."
        + (f" {more} more configurations stand in front.json." if more > 0 else ""),
        columns=("Configuration", "Trials", *(f"{number} {name}" for number, name in columns)),
        rows=tuple(
            (
                method_cell(analysis.results, group[0].method, values_text(group[0].values, 4)),
                Cell(text=str(len(group)), order=len(group)),
                *(_verdict_cell(group, column) for column in columns),
            )
            for group in trials[:MOST_ROWS]
        ),
    )


def verdict_table(analysis: Analysis) -> Table:
    """Print the sentence of every check that warned or failed, failures first."""
    found = [
        (one, check)
        for one in analysis.diagnoses
        for check in one.checks
        if check.verdict in ("fail", "warn")
    ]
    found.sort(key=lambda pair: (-SEVERITY[pair[1].verdict], pair[1].number))
    more = len(found) - MOST_ROWS
    return Table(
        key="verdicts",
        caption="What failed and what warned."
        + (f" {more} more warnings stand in front.json." if more > 0 else ""),
        columns=("Trial", "Check", "Verdict", "What was found"),
        rows=tuple(
            (
                _trial_cell(analysis, one),
                Cell(text=f"{check.number} {check.name}", order=check.number),
                Cell(
                    text=check.verdict,
                    below="trial left out" if _voids(one, check) else "",
                    order=-SEVERITY[check.verdict],
                ),
                Cell(text=check.text),
            )
            for one, check in found[:MOST_ROWS]
        ),
    )


def detection_table(analysis: Analysis) -> Table:
    """List what the detectors saw while trials trained."""
    found = [(one, seen) for one in analysis.diagnoses for seen in one.detections]
    more = len(found) - MOST_ROWS
    return Table(
        key="detections",
        caption="Detected while training, with the epoch. The numbers of these trials stand: a "
        "failure of training is a result."
        + (f" {more} more stand in front.json." if more > 0 else ""),
        columns=("Trial", "Detected", "What was seen"),
        rows=tuple(
            (_trial_cell(analysis, one), Cell(text=seen.name), Cell(text=seen.text))
            for one, seen in found[:MOST_ROWS]
        ),
    )


def _worst(group: Sequence[Diagnosis]) -> int:
    return max(SEVERITY[check.verdict] for one in group for check in one.checks)


def _verdict_cell(group: Sequence[Diagnosis], column: tuple[int, str]) -> Cell:
    """Count verdicts, the worst first: `pass` alone where every trial passes."""
    verdicts = [c.verdict for one in group for c in one.checks if (c.number, c.name) == column]
    counts = [(verdict, verdicts.count(verdict)) for verdict in SEVERITY if verdict in verdicts]
    if counts == [("pass", len(group))]:
        return Cell(text="pass")
    texts = [f"{SIGNS[verdict]}{count} {verdict}" for verdict, count in counts]
    return Cell(text=texts[0] if texts else "–", below=", ".join(texts[1:]))


def _voids(one: Diagnosis, check: Check) -> bool:
    return one.is_left_out and check.verdict == "fail" and check.number <= VOIDING


def _trial_cell(analysis: Analysis, one: Diagnosis) -> Cell:
    below = " ".join(part for part in (values_text(one.values, 4), f"seed {one.seed}") if part)
    return method_cell(analysis.results, one.method, below)
