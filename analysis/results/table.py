"""Table: results read from a table with one row for each trial, wherever it was trained.

Columns: `method`, `seed`, `clean` and `robust_<radius>` for one or more radii, as in `robust_0.031`
or `robust_8/255`: accuracies on the test images, as fractions, robust ones against an attack at
this and all smaller radii. Optional: `validation_clean` and `validation_robust`, `cost`, `seconds`,
`run`, `status` (`done`, else the row is an absent trial), `reason`, `weights` and `inputs` (the
method's sides, say `sam` and `pgd`), `bits` (names the row's array in the file of bits). Any other
column is a hyperparameter, blank where the row's method has none; one that looks like an outcome
(`train_loss`, `runtime`) is refused until it is ignored or all hyperparameters are listed. Columns
with other names may be renamed while reading. A report's `seeds.csv` is such a table; its numbers
under stronger attacks and in other norms are refused until they are ignored.

A file is separated by commas, semicolons or tabs. With semicolons or tabs it may have decimal
commas. Percentages are read as fractions; numbers with marks between thousands are refused.

The correctness bits of the rows may be given in an `.npz` file. It holds one array (1 + R, n) of
booleans, or of 0 and 1, for each row: first without an attack, then at each radius, rising; the n
test samples have one order throughout. An array is named by the row's cell in the column `bits`;
without that column by the row's number, from 1, below the header. The array `sample_hash`, a text,
names the test samples, so that studies can be compared.

A row without a seed, of a method without any seed, is a published single run: a reference. It
needs `clean` and one robust accuracy. It is shown beside the methods and never compared with them.
"""

import difflib
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, cast, get_args
from zipfile import BadZipFile

import numpy as np

from analysis.results.columns import Columns, arranged, read_columns
from analysis.results.methods import MethodNote
from analysis.results.results import Results, ThreatModel
from analysis.results.rows import (
    Problems,
    Row,
    Rows,
    TableError,
    number,
    read_rows,
    values_of,
    whole,
    with_points,
    without_references,
)
from analysis.results.trials import (
    ROUNDING,
    AbsentStatus,
    AbsentTrial,
    Array,
    Bits,
    Reference,
    ResultsError,
    TrialResult,
    Value,
    accuracies,
    configuration_key,
)

AGREEMENT = 1e-3
"""A table's accuracy may differ from that of its bits by this much: tables are rounded."""


@dataclass(frozen=True, kw_only=True)
class BitFile:
    """The arrays of a file, by name."""

    path: Path
    arrays: Mapping[str, Any]
    sample_hash: str
    """As the file gives it; else made of the file's content, equal to that of no other file."""
    num_samples: int
    """n, of the first array."""


def read_bit_file(path: Path) -> BitFile:
    """Read a file of bits; raises `TableError` if it is not one."""
    try:
        content = path.read_bytes()
        # Files come from anywhere, and a pickle runs what it holds.
        stored = np.load(BytesIO(content), allow_pickle=False)
        arrays = {name: stored[name] for name in getattr(stored, "files", ())}
    except IsADirectoryError as error:
        raise TableError(f"{path}: is a folder; name an .npz file") from error
    except (ValueError, KeyError, EOFError, BadZipFile) as error:
        raise TableError(
            f"{path}: is not an .npz file of plain arrays; write it with numpy.savez"
        ) from error
    except OSError as error:
        raise TableError(f"{path}: cannot be read: {error.strerror or error}") from error
    named = arrays.pop("sample_hash", None)
    sizes = [array.shape[1] for array in arrays.values() if array.ndim == 2 and array.size]
    if not sizes:
        raise TableError(f"{path}: holds no array of shape (1 + radii, images); add one for a row")
    own = f"unnamed-{hashlib.sha256(content).hexdigest()[:12]}"
    return BitFile(
        path=path,
        arrays=arrays,
        sample_hash=own if named is None else str(named),
        num_samples=sizes[0],
    )


def bits_of(file: BitFile, row: Row, given: Array, problems: Problems) -> Bits | None:
    """Return a row's bits (1 + R, n), if they fit its accuracies `given` (1 + R,)."""
    name = str(row.cells.get("bits", row.number))
    if name not in file.arrays:
        text = f"{file.path} has no array {name}; add it, or write the name of the row's array here"
        problems.add(row.place, text, "bits")
        return None
    array, shape = file.arrays[name], (len(given), file.num_samples)
    if array.shape != shape or not np.isin(array, (0, 1)).all():
        text = f"array {name} must hold 0 and 1 in shape {shape}, got {array.dtype} {array.shape}"
        problems.add(
            row.place, f"{text}; one row without an attack, then one for each radius", "bits"
        )
        return None
    bits: Bits = array.astype(np.bool_)
    counted = accuracies(bits)
    if np.abs(counted - given).max() > AGREEMENT:
        shown = ", ".join(f"{value:.4f}" for value in counted)
        text = f"array {name} has the accuracies {shown}, but the row has others; "
        text += "does the array belong to this row?"
        problems.add(row.place, text, "bits")
        return None
    return bits


STATES = ("done", *get_args(AbsentStatus))


class TrialRows:
    """Reads the rows one by one, then checks what only all rows together show."""

    def __init__(
        self,
        rows: Rows,
        references: Sequence[Row],
        columns: Columns,
        file: BitFile | None,
        problems: Problems,
    ) -> None:
        self.trials: list[TrialResult] = []
        self.absent: list[AbsentTrial] = []
        self.num_samples = None if file is None else file.num_samples
        self._columns, self._file, self._problems = columns, file, problems
        self._above_one: list[tuple[str, str, float]] = []
        read = {name: values_of(name, rows.rows, problems) for name in columns.values}
        places: dict[Any, str] = {}
        for at, row in enumerate(rows.rows):
            values = {name: cell for name in read if (cell := read[name][at]) is not None}
            method, seed = self._name(row)
            status = self._status(row)
            if status == "done":
                self._read_done(row, method, values, seed)
            elif status:
                self._read_absent(row, method, values, seed, status)
            first = places.setdefault((configuration_key(method, values), seed), row.place)
            if first != row.place and method and seed >= 0:
                text = f"has the same method, values and seed as in {first}; each trial has one "
                text += "row: delete one, or add the hyperparameter that differs"
                problems.add(row.place, text)
        self.references = [one for row in references if (one := self._reference(row)) is not None]
        self._tell_percent()

    def _name(self, row: Row) -> tuple[str, int]:
        """Read method and seed; an empty name or -1 where they are a mistake."""
        method, seed = str(row.cells.get("method", "")), row.cells.get("seed")
        found = None if seed is None else whole(seed)
        if not method:
            self._problems.add(row.place, "is blank; name the method", "method")
        if found is None or found < 0:
            got = "nothing" if seed is None else seed
            text = f"must be a whole number of at least 0, got {got}; write 0 if there is only "
            self._problems.add(row.place, f"{text}one seed", "seed")
            return method, -1
        return method, found

    def _status(self, row: Row) -> str:
        """Read the status: done where the cell is blank, an empty text where it is a mistake."""
        status = str(row.cells.get("status", "done")).lower().replace("_", " ")
        if status in STATES:
            return status
        text = f"must be one of {', '.join(STATES)}, got {status}; write done if it has results"
        self._problems.add(row.place, text, "status")
        return ""

    def _read_absent(
        self, row: Row, method: str, values: Mapping[str, Value], seed: int, status: str
    ) -> None:
        trial = AbsentTrial(
            method=method,
            values=values,
            seed=seed,
            status=cast(AbsentStatus, status),
            reason=str(row.cells.get("reason", "")),
            run=str(row.cells.get("run", "")),
        )
        self.absent.append(trial)

    def _read_done(self, row: Row, method: str, values: Mapping[str, Value], seed: int) -> None:
        names = ("clean", *self._columns.robust)
        given = self._fractions(row, names)
        validation = self._fractions(row, self._columns.validation or ())
        cost, seconds = self._amount(row, "cost"), self._amount(row, "seconds")
        if given is None or validation is None or self._rises(row, names, given):
            return
        bits = None
        if self._file is not None:
            bits = bits_of(self._file, row, np.array(given), self._problems)
        # A table is rounded, its bits are not: where both are given, the bits count.
        measured = given if bits is None else accuracies(bits).tolist()
        trial = TrialResult(
            method=method,
            values=values,
            seed=seed,
            clean=measured[0],
            robust=tuple(measured[1:]),
            validation_clean=validation[0] if validation else None,
            validation_robust=validation[1] if validation else None,
            bits=bits,
            sample_hash=None if self._file is None else self._file.sample_hash,
            cost=cost,
            seconds=seconds,
            run=str(row.cells.get("run", "")),
        )
        self.trials.append(trial)

    def _reference(self, row: Row) -> Reference | None:
        """Read a published single run, which may lack radii; None if it has a mistake."""
        robust = [name for name in self._columns.robust if name in row.cells]
        names = ("clean", *(robust or self._columns.robust))
        given = self._fractions(row, names)
        if self._status(row) not in ("done", ""):
            self._problems.add(row.place, "must be done without a seed; add its seed", "status")
        if given is None or self._rises(row, names, given):
            return None
        read = dict(zip(names, given, strict=True))
        return Reference(
            name=str(row.cells["method"]),
            clean=read["clean"],
            robust=tuple(read.get(name) for name in self._columns.robust),
        )

    def _fractions(self, row: Row, columns: Sequence[str]) -> list[float] | None:
        """Read accuracies; None if one of them is a mistake."""
        read: list[float] = []
        for column in columns:
            cell = row.cells.get(column)
            found = None if cell is None else number(cell)
            if found is not None and found > 1:
                self._above_one.append((row.place, column, found))
            elif found is None or found < 0:
                got = "nothing" if cell is None else cell
                out = "if the trial has no results, change its status" if cell is None else ""
                text = f"must be a fraction in [0, 1], got {got}{'; ' if out else ''}{out}"
                self._problems.add(row.place, text, column)
            else:
                read.append(found)
        return read if len(read) == len(columns) else None

    def _amount(self, row: Row, column: str) -> float | None:
        cell = row.cells.get(column)
        found = None if cell is None else number(cell)
        if cell is not None and (found is None or found < 0):
            text = f"must be a number of at least 0, or blank, got {cell}; correct it"
            self._problems.add(row.place, text, column)
        return found

    def _rises(self, row: Row, names: Sequence[str], given: Sequence[float]) -> bool:
        """Note where a robust accuracy is above that of a smaller radius."""
        for (before, smaller), (after, larger) in pairwise(zip(names, given, strict=True)):
            if larger > smaller + ROUNDING:
                text = (
                    f"is {larger:g}, above {before} with {smaller:g}; an image is right only "
                    "if it is right at all smaller radii; count it so, or drop the radius"
                )
                self._problems.add(row.place, text, after)
                return True
        return False

    def _tell_percent(self) -> None:
        """Report all accuracies above 1 as one mistake: most often they are in percent."""
        if self._above_one:
            place, column, value = self._above_one[0]
            more = len(self._above_one) - 1
            text = f"must be a fraction in [0, 1], got {value:g}"
            text += f", and {more} more above 1" if more else ""
            out = "; if the table is in percent, divide its accuracies by 100"
            self._problems.add(place, text + out, column)


SIDES = {"rho": "sam", "epsilon": "pgd"}
"""A method with such a hyperparameter above 0 has this side, if the table has no sides."""
OPTION_NAMES = {
    "images": "num_test",
    "validation_images": "num_validation",
    "classes": "num_classes",
}
"""The name of an option in the command, and its field of `Options`."""
NORMS, CHECKPOINTS = ("linf", "l2"), ("best", "last")
UNNAMED_ATTACK = "an unnamed attack"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a table does not say about itself."""

    study: str = ""
    """Name of the study; by default the file's."""
    about: str = ""
    attack: str = UNNAMED_ATTACK
    """The attack that robust accuracies were measured under, as printed: `PGD-20, 1 restart`."""
    validation_attack: str = ""
    """The attack of validation accuracies; by default the same."""
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
    """Columns that are neither results nor hyperparameters, as the table names them."""
    rename: Mapping[str, str] = field(default_factory=dict)
    """The name of a column here by its name in the table: `{"acc": "clean"}`."""
    hyperparameters: tuple[str, ...] = ()
    """All columns that are hyperparameters, by their names here; the other unknown ones are left
    out. By default every unknown column, and one that looks like an outcome is an error."""
    margin: float | None = None
    primary: tuple[str, str] | None = None


def read_table(source: Any, *, bits: str | Path | None = None, **options: Any) -> Results:
    """Read results from a table: the path of a CSV file, a data frame, or a list of dicts.

    `options` are the fields of `Options`. `bits` is an `.npz` file with an array (1 + R, n) of
    correctness bits for each row, as described at the head of this module. Raises `TableError`,
    a `ResultsError`, with a message for each mistake. A row without a seed, of a method without
    any, is a published single run, one of `Results.references`.

    >>> rows = [{"method": "sam", "rho": 0.1, "seed": 0, "clean": 0.9, "robust_0.1": 0.4}]
    >>> read_table(rows, num_test=1000).trials[0].robust
    (0.4,)
    """
    told, problems = _options(options), Problems()
    found = arranged(read_rows(source, problems), told.rename, told.ignore, problems)
    rows, references = without_references(with_points(found, problems), problems)
    columns = read_columns(rows, told.objective_radius, told.hyperparameters, problems)
    problems.check()  # without columns, every row would be a mistake
    file = read_bit_file(Path(bits)) if bits is not None else None
    _check_options(rows, columns, told, file, problems)
    reader = TrialRows(rows, references, columns, file, problems)
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
        said = f"did you mean {near[0]}?" if near else f"the options are {', '.join(known)}"
        raise TableError(f"{odd[0]} is not an option of read_table; {said}")
    told = Options(**given)
    for name in ("num_test", "num_validation", "num_classes"):
        count = getattr(told, name)
        if count is not None and (not hasattr(count, "__index__") or count < 1):
            raise TableError(f"{name} must be a whole number of at least 1, got {count!r}")
    if told.norm not in NORMS:
        raise TableError(f"norm must be one of {', '.join(NORMS)}, got {told.norm!r}")
    if told.checkpoint not in CHECKPOINTS:
        raise TableError(f"checkpoint must be one of best, last, got {told.checkpoint!r}")
    for name in ("searched", "ignore", "hyperparameters"):
        if isinstance(getattr(told, name), str):
            raise TableError(f"{name} must be a list of names, got the text {getattr(told, name)}")
    if not isinstance(told.rename, Mapping):
        raise TableError(f"rename must map old names to new ones, got {told.rename!r}")
    return told


def _check_options(
    rows: Rows, columns: Columns, told: Options, file: BitFile | None, problems: Problems
) -> None:
    """Note the options that the table needs, and those that do not fit it."""
    if told.num_test is None and file is None:
        text = "the number of test images is not in a table; give it"
        problems.add(rows.name, f"{text} (--images N, num_test=N)")
    if columns.validation and told.num_validation is None:
        text = "the number of validation images is not in a table; give it"
        problems.add(rows.name, f"{text} (--validation-images N, num_validation=N)")
    methods = {str(row.cells.get("method")) for row in rows.rows}
    for name in (*told.searched, *(told.primary or ())):
        if name not in methods:
            problems.add(rows.name, f"has no method {name}; it has {', '.join(sorted(methods))}")
    if told.norm == "linf" and max(columns.robust.values()) > 1:
        text = "linf radii are parts of the pixel range [0, 1]; write robust_8/255 for 8 of 255"
        problems.add(rows.header, text, max(columns.robust, key=columns.robust.__getitem__))


def _results(rows: Rows, columns: Columns, told: Options, reader: TrialRows) -> Results:
    """Build the results from the parts of a table."""
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
        references=tuple(reader.references),
        provenance={"table": Path(rows.name).name},
        num_classes=told.num_classes,
        margin=told.margin,
        primary=told.primary,
    )


def _sorted_seeds(seeds: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted(set(seeds)))


def _sides(rows: Rows, method: str) -> str:
    """Return a method's sides: from the columns `weights` and `inputs`, else from its values."""
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
