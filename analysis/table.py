"""Table: results from a table of trials, one row for each, wherever they were trained.

Columns: `method`, `seed`, `clean` and `robust_<radius>` for one or more radii, as in `robust_0.031`
or `robust_8/255`: accuracies on the test images, as fractions, robust ones against an attack at
this and all smaller radii. Optional: `validation_clean` and `validation_robust`, `cost`, `seconds`,
`run`, `status` (`done`, else the row is an absent trial), `reason`, `weights` and `inputs` (the
method's sides, say `sam` and `pgd`), `bits` (names the row's array in the file of bits). Any other
column is a hyperparameter, blank where the row's method has none. A report's `seeds.csv` is such a
table.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from analysis.bit_file import BitFile, read_bit_file
from analysis.columns import Columns, read_columns
from analysis.results import (
    AbsentTrial,
    MethodNote,
    Results,
    ResultsError,
    ThreatModel,
    TrialResult,
)
from analysis.rows import Problems, Rows, TableError, number, read_rows
from analysis.trial_rows import TrialRows

SIDES = {"rho": "sam", "epsilon": "pgd"}
"""A method with such a hyperparameter above 0 has this side, if the table has no sides."""
OPTION_NAMES = {
    "images": "num_test",
    "validation_images": "num_validation",
    "classes": "num_classes",
}
"""What options are called by the command, and here."""
NORMS, CHECKPOINTS = ("linf", "l2"), ("best", "last")
UNNAMED_ATTACK = "an unnamed attack"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a table does not say of itself."""

    study: str = ""
    """Name of the study; by default the file's."""
    about: str = ""
    attack: str = UNNAMED_ATTACK
    """Against which the accuracies stand, as it is printed, say `PGD-20, 1 restart`."""
    validation_attack: str = ""
    """By default the attack."""
    norm: Literal["linf", "l2"] = "linf"
    objective_radius: float | None = None
    """By default the radius of the one column `validation_robust_<radius>`; else the middle one
    of the radii, of an even number the smaller of the two in the middle."""
    num_test: int | None = None
    """Test images; needed, unless there are bits."""
    num_validation: int | None = None
    """Validation images; needed if the table has validation accuracies."""
    num_classes: int | None = None
    clean_floor: float | None = None
    """By default chance, 1 / num_classes; 0 if the classes are not known either."""
    checkpoint: Literal["best", "last"] = "last"
    searched: tuple[str, ...] = ()
    """Methods whose configurations a search suggested."""
    ignore: tuple[str, ...] = ()
    """Columns that are neither results nor hyperparameters."""
    margin: float | None = None
    primary: tuple[str, str] | None = None


def read_table(source: Any, *, bits: str | Path | None = None, **options: Any) -> Results:
    """Read results from a table: the path of a CSV file, a data frame, or a list of dicts.

    `options` are the fields of `Options`. `bits` is an `.npz` file with an array (1 + R, n) of
    correctness bits for each row, see `analysis.bit_file`. Raises `TableError`, a `ResultsError`,
    with a message for each mistake.

    >>> rows = [{"method": "sam", "rho": 0.1, "seed": 0, "clean": 0.9, "robust_0.1": 0.4}]
    >>> read_table(rows, num_test=1000).trials[0].robust
    (0.4,)
    """
    told, problems = _options(options), Problems()
    rows = read_rows(source, problems)
    columns = read_columns(rows, told.objective_radius, told.ignore, problems)
    problems.check()  # without columns, every row would be a mistake
    file = read_bit_file(Path(bits)) if bits is not None else None
    _check_options(rows, columns, told, file, problems)
    reader = TrialRows(rows, columns, file, problems)
    problems.check()
    try:
        return _results(rows, columns, told, reader)
    except ResultsError as error:
        raise TableError(f"{rows.name}: {error}") from error


def _options(given: Mapping[str, Any]) -> Options:
    """Check the options of a notebook, as the command does those of a shell."""
    known = Options.__dataclass_fields__
    odd = [name for name in given if name not in known]
    if odd:
        near = difflib.get_close_matches(OPTION_NAMES.get(odd[0], odd[0]), [*known], n=1)
        said = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
        raise TableError(f"{odd[0]} is no option of a table; {said}")
    told = Options(**given)
    for name in ("num_test", "num_validation", "num_classes"):
        count = getattr(told, name)
        if count is not None and (not hasattr(count, "__index__") or count < 1):
            raise TableError(f"{name} must be a whole number from 1 on, got {count!r}")
    if told.norm not in NORMS:
        raise TableError(f"norm must be one of {', '.join(NORMS)}, got {told.norm!r}")
    if told.checkpoint not in CHECKPOINTS:
        raise TableError(f"checkpoint must be one of best, last, got {told.checkpoint!r}")
    for name in ("searched", "ignore"):
        if isinstance(getattr(told, name), str):
            raise TableError(f"{name} must be a list of names, got the text {getattr(told, name)}")
    return told


def _check_options(
    rows: Rows, columns: Columns, told: Options, file: BitFile | None, problems: Problems
) -> None:
    """Ask for what a table cannot say."""
    if told.num_test is None and file is None:
        text = "on how many test images its accuracies stand is not in a table; say so"
        problems.add(rows.name, f"{text} (--images N, num_test=N)")
    if columns.validation and told.num_validation is None:
        text = "on how many images its validation accuracies stand is not in a table; say so"
        problems.add(rows.name, f"{text} (--validation-images N, num_validation=N)")
    for name in told.ignore:
        if name not in rows.columns:
            problems.add(
                rows.name, f"has no column {name} to ignore; it has {', '.join(rows.columns)}"
            )
    methods = {str(row.cells.get("method")) for row in rows.rows}
    for name in (*told.searched, *(told.primary or ())):
        if name not in methods:
            problems.add(rows.name, f"has no method {name}; it has {', '.join(sorted(methods))}")
    if told.norm == "linf" and max(columns.robust.values()) > 1:
        text = "linf radii are parts of the pixel range [0, 1]; write robust_8/255 for 8 of 255"
        problems.add(rows.header, text, max(columns.robust, key=columns.robust.__getitem__))


def _results(rows: Rows, columns: Columns, told: Options, reader: TrialRows) -> Results:
    """Put everything together."""
    floor = 0.0 if told.num_classes is None else 1 / told.num_classes
    num_test = told.num_test if reader.num_samples is None else reader.num_samples
    assert num_test is not None
    every: list[TrialResult | AbsentTrial] = [*reader.trials, *reader.absent]
    seeds = _sorted_seeds(trial.seed for trial in every)
    study = told.study or Path(rows.name).stem
    return Results(
        study=study,
        about=told.about or f"Read from a table of {len(rows.rows)} trials.",
        threat=ThreatModel(
            attack=told.attack,
            validation_attack=told.validation_attack or told.attack,
            norm=told.norm,
            radii=tuple(columns.robust.values()),
            objective_radius=columns.objective_radius,
        ),
        checkpoint=told.checkpoint,
        num_test=num_test,
        num_validation=(told.num_validation or 0) if columns.validation else 0,
        clean_floor=floor if told.clean_floor is None else told.clean_floor,
        seeds=seeds,
        methods=tuple(
            MethodNote(
                name=name,
                sides=_sides(rows, name),
                searched=name in told.searched,
                seeds=None if own == seeds else own,
            )
            for name in dict.fromkeys(trial.method for trial in every)
            if (own := _sorted_seeds(t.seed for t in every if t.method == name))
        ),
        trials=tuple(reader.trials),
        absent=tuple(reader.absent),
        provenance={"table": Path(rows.name).name},
        num_classes=told.num_classes,
        margin=told.margin,
        primary=told.primary,
    )


def _sorted_seeds(seeds: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted(set(seeds)))


def _sides(rows: Rows, method: str) -> str:
    """Name a method's sides: from the columns `weights` and `inputs`, else from its values."""
    own = [row for row in rows.rows if row.cells.get("method") == method]
    if {"weights", "inputs"} & set(rows.columns):
        cells = (
            str(row.cells[side])
            for side in ("weights", "inputs")
            for row in own
            if side in row.cells
        )
        sides = [side for side in dict.fromkeys(cells) if side != "none"]
    else:
        sides = [
            side
            for name, side in SIDES.items()
            if any((number(row.cells[name]) or 0) > 0 for row in own if name in row.cells)
        ]
    return " + ".join(sides) or "none"
