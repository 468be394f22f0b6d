"""Columns: which column of a table holds what."""

import difflib
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from analysis.results.hyperparameters import hyperparameters
from analysis.results.rows import Problems, Rows, radius

REQUIRED = ("method", "seed", "clean")
RESERVED = (
    *REQUIRED,
    *("validation_clean", "validation_robust", "cost", "seconds", "run", "status", "reason"),
    *("weights", "inputs", "bits"),
)
OTHER_NAMES = {
    "method": ("algorithm", "algo", "optimizer", "model", "trainer", "approach"),
    "seed": ("random_seed", "run_seed", "rng_seed", "trial", "repeat"),
    "clean": (
        *("accuracy", "acc", "clean_acc", "clean_accuracy", "natural", "nat_acc", "standard_acc"),
        *("test_acc", "test_accuracy", "test_clean"),
    ),
    "robust_": (
        *("robust_acc", "robust_accuracy", "adv", "adv_acc", "adv_accuracy", "adversarial"),
        *("pgd", "pgd_acc", "aa", "aa_acc", "autoattack"),
    ),
}
"""What other people call the columns that a table needs."""
MOST_NAMED = 12
"""The most columns of a table that a message lists."""
ROBUST, VALIDATION = "robust_", "validation_robust"


@dataclass(frozen=True, kw_only=True)
class Columns:
    """What the columns of a table are."""

    robust: Mapping[str, float]
    """Radius by column, rising."""
    objective_radius: float
    validation: tuple[str, str] | None
    values: tuple[str, ...]


def arranged(
    rows: Rows, rename: Mapping[str, str], ignore: Sequence[str], problems: Problems
) -> Rows:
    """Leave out the columns to ignore, then give others the names of this module.

    `rename`: the new name by the old one.
    """
    has = ", ".join(rows.columns)
    for name in (*ignore, *rename):
        if name not in rows.columns:
            verb = "ignore" if name in ignore else "rename"
            problems.add(rows.name, f"has no column {name} to {verb}; it has {has}")
    kept = [name for name in rows.columns if name not in ignore]
    renamed = {name: rename.get(name, name) for name in kept}
    for new in dict.fromkeys(rename.values()):
        old = [name for name in kept if renamed[name] == new]
        if len(old) > 1:
            text = f"is the new name of {' and '.join(old)}; ignore all but one (--ignore)"
            problems.add(rows.header, text, new)
    return replace(
        rows,
        columns=tuple(dict.fromkeys(renamed.values())),
        rows=tuple(
            replace(row, cells={renamed[n]: cell for n, cell in row.cells.items() if n in renamed})
            for row in rows.rows
        ),
    )


def read_columns(
    rows: Rows, asked: float | None, declared: Sequence[str], problems: Problems
) -> Columns:
    """Sort the columns by what they hold, and note mistakes in their names.

    `asked` is the objective radius; None: by the rule of `Options.objective_radius`. `declared`
    are the hyperparameters, if the user lists them.
    """
    for name in REQUIRED:
        if name not in rows.columns:
            problems.add(rows.header, f"needs a column {name}; {_remedy(name, rows.columns)}")
    robust = _radii(rows, ROBUST, problems)
    validated = _radii(rows, f"{VALIDATION}_", problems)
    unknown = []
    for name in rows.columns:
        if name in RESERVED or name.startswith((ROBUST, f"{VALIDATION}_")) or not name:
            continue
        meant = "" if name in declared else _meant(name)
        # Where a needed column is missing, the message about it names this one.
        needed = meant in REQUIRED or (meant.startswith(ROBUST) and not robust)
        if meant and (meant in rows.columns or not needed):
            text = f"is not a known column; did you mean {meant}? Rename it "
            text += f"({_rename(name, meant)}), or ignore it (--ignore {shlex.quote(name)})"
            problems.add(rows.header, text, name)
        else:
            unknown.append(name)
    if not robust:
        text = f"needs a column {ROBUST}<radius>, as in robust_0.031 or robust_8/255; "
        problems.add(rows.header, text + _remedy(ROBUST, rows.columns))
    # What looks like an outcome may be a column that is missing under its own name.
    is_whole = robust and set(REQUIRED) <= set(rows.columns)
    values = hyperparameters(rows, unknown, declared, problems) if is_whole else ()
    if not robust:
        return Columns(robust={}, objective_radius=0.0, validation=None, values=())
    objective = _objective(rows, asked, tuple(robust.values()), tuple(validated.values()), problems)
    return Columns(
        robust=robust,
        objective_radius=objective,
        validation=_validation(rows, validated, objective, problems),
        values=values,
    )


def _meant(name: str) -> str:
    """Guess the column that a name means; empty if it may well be a hyperparameter."""
    plain = _plain(name)
    if plain.startswith(ROBUST) and radius(plain.removeprefix(ROBUST)) is not None:
        return plain
    near = difflib.get_close_matches(plain, [*RESERVED, ROBUST], n=1, cutoff=0.8)
    return f"{ROBUST}<radius>" if near == [ROBUST] else "".join(near)


def _plain(name: str) -> str:
    return name.lower().strip().replace(" ", "_").replace("-", "_")


def _remedy(name: str, columns: Sequence[str]) -> str:
    """Return how to get a missing column: by renaming what looks like it, or by adding it."""
    example = f"{ROBUST}8/255" if name == ROBUST else name
    like = [
        column
        for column in columns
        if column not in RESERVED
        and not column.startswith(ROBUST)
        and (
            # As in pgd20: the number is that of its steps.
            _plain(column).rstrip("0123456789_") in OTHER_NAMES.get(name, ())
            or _meant(column).startswith(name)
        )
    ]
    if like:
        radius_too = ", with its radius" if name == ROBUST else ""
        return f"if {like[0]} is that, rename it{radius_too} ({_rename(like[0], example)})"
    if name == "seed":
        return "add it, 0 in each row if every configuration was trained once"
    shown = ", ".join(columns[:MOST_NAMED])
    return f"the table has {shown}; rename one (--rename NAME={example}), or add it"


def _rename(name: str, meant: str) -> str:
    """Format the option that renames a column, as a shell reads it."""
    return f"--rename {shlex.quote(f'{name}={meant}')}"


def _radii(rows: Rows, start: str, problems: Problems) -> dict[str, float]:
    """Read the radii in the names of columns, rising."""
    found: dict[str, float] = {}
    for name in (name for name in rows.columns if name.startswith(start)):
        value = radius(name.removeprefix(start).strip())
        if value is None:
            text = f"must end in a radius above 0, as in {start}0.031 or {start}8/255; rename it "
            text += f"(--rename), or ignore it (--ignore {shlex.quote(name)})"
            problems.add(rows.header, text, name)
        elif value in found.values():
            problems.add(rows.header, f"has radius {value:g}, as another column has; drop it", name)
        else:
            found[name] = value
    return dict(sorted(found.items(), key=lambda item: item[1]))


def _objective(
    rows: Rows,
    asked: float | None,
    radii: tuple[float, ...],
    validated: tuple[float, ...],
    problems: Problems,
) -> float:
    """Choose the objective radius: the one asked for, of the validation column, or the middle."""
    if asked is None:
        asked = validated[0] if len(validated) == 1 else radii[(len(radii) - 1) // 2]
    found = [value for value in radii if math.isclose(value, asked, rel_tol=1e-5)]
    if not found:
        known = ", ".join(f"{value:g}" for value in radii)
        text = f"the objective radius {asked:g} must be one of the radii {known}; choose one"
        problems.add(rows.header, f"{text} (--objective-radius)")
    return found[0] if found else radii[0]


def _validation(
    rows: Rows, validated: Mapping[str, float], objective: float, problems: Problems
) -> tuple[str, str] | None:
    """Return the two columns of validation accuracies; None if there are none, or all are blank."""
    at = [n for n, value in validated.items() if math.isclose(value, objective, rel_tol=1e-5)]
    names = [name for name in ("validation_clean", VALIDATION) if name in rows.columns] + at
    if not any(name in row.cells for row in rows.rows for name in (*names, *validated)):
        return None
    if "validation_clean" not in names or len(names) != 2:
        text = "needs validation_clean and one validation_robust at the objective radius"
        got = ", ".join(n for n in rows.columns if n.startswith("validation_"))
        problems.add(rows.header, f"{text} {objective:g}, or neither; got {got}")
        return None
    return names[0], names[1]
