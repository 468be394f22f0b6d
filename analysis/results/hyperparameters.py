"""Hyperparameters: which unknown columns of a table are settings, and which look like outcomes.

An export of a tracker holds losses, run times and names of runs beside the hyperparameters. Taken
for hyperparameters, they would make a configuration of every row. So a column is refused if its
name is one that trackers give to results or to the records of a run, or if its cells differ between
the seeds of what is one configuration without it. A user's own list of hyperparameters decides
otherwise.
"""

import re
import shlex
from collections import defaultdict
from collections.abc import Sequence

from analysis.results.rows import Problems, Row, Rows, number

MEASURES = re.compile(
    "accs?|accurac(y|ies)|auc|auroc|autoattack|correct|duration|elapsed|ece|epoch|err(ors?)?|hours|"
    "iteration|loss(es)?|metrics?|minutes|nll|perplexity|recall|robustness|runtime|score|sec(ond)?s?|"
    "step|time(stamp)?|top1|top5"
)
"""Words in the name of a column of numbers that is an outcome, a time or a progress."""
SETTINGS = re.compile(
    "alpha|beta|coef|coefficient|decay|eps|factor|fn|function|gamma|lambda|limit|lr|max|scale|"
    "scheduler?|size|smoothing|temperature|threshold|type|warmup|weights?"
)
"""Words beside them in the name of a setting after all, as in `loss_weight` or `step_size`."""
RECORDS = re.compile(
    "artifact_uri|(git_)?commit|created(_at)?|date|datetime|done|duration|elapsed|"
    "((run|trial|experiment)_)?id|gpu_(count|type)|host(name)?|job_type|log_?dir|output_dir|"
    "(run_)?name|node_ip|notes|number|pid|source_(name|type)|(start|end)_time|state|sweep|tags|"
    "timestamp|updated|url|user(name)?|uuid"
)
"""Whole names of columns that trackers keep of a run."""
GROUPS = re.compile(r"_|(tags|metrics|system)[./]")
"""How the names of columns begin that a tracker groups as its own, or as results."""
MOST_TWICE = 0.1
"""Share of rows that may be another's twin without a column that still counts as an outcome: some
runs are logged twice."""
UNNUMBERED = "; where each row is a configuration of its own, number its seeds from 0"
_WORDS = re.compile(r"[A-Z]?[a-z]+\d*|[A-Z]+(?![a-z])\d*|\d+")


def hyperparameters(
    rows: Rows, unknown: Sequence[str], declared: Sequence[str], problems: Problems
) -> tuple[str, ...]:
    """Return the hyperparameters among the `unknown` columns; note those that are doubtful.

    `declared`: all hyperparameters, by the user; if empty, names and cells decide.
    """
    for name in declared:
        if name not in unknown:
            rule = "is a column of results" if name in rows.columns else "is not a column"
            text = f"{rule}, and cannot be a hyperparameter (--hyperparameters)"
            problems.add(rows.header, f"{text}; the others are {', '.join(unknown)}", name)
    if declared:
        return tuple(name for name in unknown if name in declared)
    named = [name for name in unknown if _is_named_as_outcome(name, rows)]
    differing = _differing(rows, [name for name in unknown if name not in named])
    kept = tuple(name for name in unknown if name not in (*named, *differing))
    for odd, reason, more in (
        (named, "named like results or records of the run", ""),
        (differing, "different for each seed of a configuration, like results", UNNUMBERED),
    ):
        if odd:
            be, them = ("is", "it") if len(odd) == 1 else ("are", "them")
            text = f"{be} {reason}; ignore {them} (--ignore {_shell(odd)}), or list all "
            text += f"hyperparameters (--hyperparameters {_shell(kept)})"
            problems.add(rows.header, f"{text}{more}", ", ".join(odd))
    return kept


def _shell(names: Sequence[str]) -> str:
    return " ".join(shlex.quote(name) for name in names)


def _is_named_as_outcome(name: str, rows: Rows) -> bool:
    """Return whether a name is one of an outcome or a record, and some cell is not blank."""
    cells = [row.cells[name] for row in rows.rows if name in row.cells]
    if not cells:
        return False
    words = [word.lower() for word in _WORDS.findall(name)]
    if GROUPS.match(name) or RECORDS.fullmatch("_".join(words)):
        return True
    is_measure = any(map(MEASURES.fullmatch, words)) and not any(map(SETTINGS.fullmatch, words))
    # A column `loss` that says ce or trades is a setting; one with numbers is not.
    return is_measure and all(number(cell) is not None for cell in cells)


def _differing(rows: Rows, names: Sequence[str]) -> list[str]:
    """Return the columns that differ between the seeds of what is one configuration without them.

    The columns without which method, seed and the others still tell the rows apart are set aside,
    those of most values first. One of them is an outcome if it nearly always differs between the
    rows that the others leave together: more than half of the differences that are possible. A
    hyperparameter with two seeds for each value has less than half.
    """
    given = [row for row in rows.rows if {"method", "seed"} <= set(row.cells)]
    kinds = {name: {row.cells[name] for row in given if name in row.cells} for name in names}
    varied = [name for name in names if len(kinds[name]) > 1]
    kept = varied
    for name in sorted(varied, key=lambda name: -len(kinds[name])):
        fewer = [other for other in kept if other != name]
        found = {_key(row, ("method", "seed", *fewer)) for row in given}
        if len(given) - len(found) <= MOST_TWICE * len(given):
            kept = fewer
    groups: dict[object, list[Row]] = defaultdict(list)
    for row in given:
        groups[_key(row, ("method", *kept))].append(row)
    return [
        name for name in varied if name not in kept and _mostly_differs(name, list(groups.values()))
    ]


def _mostly_differs(name: str, groups: Sequence[Sequence[Row]]) -> bool:
    cells = [[row.cells[name] for row in group if name in row.cells] for group in groups]
    possible = sum(len(group) - 1 for group in cells if group)
    actual = sum(len(set(group)) - 1 for group in cells if group)
    # One pair may differ by accident: three rows are the least that say anything.
    return possible > 1 and actual > possible / 2


def _key(row: Row, names: Sequence[str]) -> object:
    return tuple(row.cells.get(name) for name in names)
