"""Rows: the cells of a table from a CSV file, a data frame or dicts, and the mistakes in it."""

import csv
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from analysis.results.trials import ResultsError, Value

MOST_PROBLEMS = 100
"""More mistakes than this are counted, not shown."""
WORKBOOK = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
"""What the files of spreadsheet programs start with."""
SEPARATOR_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs"}
SEPARATORS = tuple(SEPARATOR_NAMES)
"""What separates cells; commas where two of them split the header into equally many columns."""
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_WHOLE = re.compile(r"[-+]?\d+")
_DECIMAL_COMMA = re.compile(r"[-+]?\d*,\d+([eE][-+]?\d+)?\s*%?")
_THOUSANDS = re.compile(r"[-+]?\d{1,3}([,.'\u2019_\s]\d{3})+([.,]\d+)?")
_NOT_FINITE = re.compile(r"[-+]?(nan|inf|infinity)", re.IGNORECASE)
_MISSING_TYPES = ("NAType", "NaTType")
"""What data frames hold where a cell is blank, besides NaN."""


class TableError(ResultsError):
    """A table that cannot be read: one message for each of its mistakes."""

    def __init__(self, *messages: str) -> None:
        super().__init__("\n".join(messages))
        self.messages = messages


class Problems:
    """The mistakes found so far, so that one reading reports all of them."""

    def __init__(self) -> None:
        self._messages: list[str] = []

    def add(self, place: str, text: str, column: str = "") -> None:
        """Note a mistake at a place, `table.csv:5`, and in a column."""
        self._messages.append(f"{place}: {column}{': ' if column else ''}{text}")

    def check(self) -> None:
        """Raise `TableError` if there are mistakes."""
        if self._messages:
            more = len(self._messages) - MOST_PROBLEMS
            rest = [f"{more} more mistakes are not shown"] if more > 0 else []
            raise TableError(*self._messages[:MOST_PROBLEMS], *rest)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a table."""

    place: str
    """Where it is, for messages: `table.csv:5`."""
    number: int
    """From 1, below the header."""
    cells: Mapping[str, Value]
    """By column; blank cells are left out."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """A table as it was read: plain cells, not yet checked."""

    name: str
    """The path of the file, or `rows`."""
    header: str
    """Where the column names are, for messages."""
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    separator: str = ","
    """Between the cells of a line."""


def read_rows(source: Any, problems: Problems) -> Rows:
    """Read the rows of a CSV file (a path), of a data frame, or of dicts.

    A CSV file is separated by commas, semicolons or tabs. Decimal commas are read only where
    commas do not separate the cells, and only in `with_points`.
    """
    if isinstance(source, str | Path):
        return _csv_rows(Path(source), problems)
    records = source.to_dict("records") if hasattr(source, "to_dict") else source
    is_table = isinstance(records, Iterable) and not isinstance(records, Mapping)
    rows = list(records) if is_table else None
    if rows is None or not all(isinstance(row, Mapping) for row in rows):
        raise TableError(
            "a table is the path of a CSV file, a data frame or a list of dicts, "
            f"got {type(source).__name__}"
        )
    columns = tuple(dict.fromkeys(str(name) for row in rows for name in row))
    return Rows(
        name="rows",
        header="rows",
        columns=columns,
        rows=tuple(
            Row(place=f"row {number}", number=number, cells=_cells(row.items()))
            for number, row in enumerate(rows, start=1)
        ),
    )


def with_points(rows: Rows, problems: Problems) -> Rows:
    """Read decimal commas as points, in a file whose cells are not separated by commas.

    1,234 may be a thousand or a decimal. It is a decimal where no number of the file has a point;
    where one has, the table is refused.
    """
    if rows.separator == ",":
        return rows
    texts = [
        (row.place, name, cell)
        for row in rows.rows
        for name, cell in row.cells.items()
        if isinstance(cell, str)
    ]
    comma = next((text for text in texts if _DECIMAL_COMMA.fullmatch(text[2])), None)
    point = next((text for text in texts if "." in text[2] and number(text[2]) is not None), None)
    if comma and point:
        there = f"{point[2]} in {point[0]}, {point[1]}, has a point"
        text = f"{comma[2]} has a comma and {there}; write each decimal with a point"
        problems.add(comma[0], text, comma[1])
    if not comma or point:
        return rows
    return replace(
        rows,
        rows=tuple(
            replace(row, cells={name: _with_point(cell) for name, cell in row.cells.items()})
            for row in rows.rows
        ),
    )


def _with_point(cell: Value) -> Value:
    is_decimal = isinstance(cell, str) and _DECIMAL_COMMA.fullmatch(cell)
    return str(cell).replace(",", ".") if is_decimal else cell


def without_references(rows: Rows, problems: Problems) -> tuple[Rows, tuple[Row, ...]]:
    """Separate the references, rows of a method without any seed, from the trials.

    In a table without any seed, seeds were forgotten, and all rows are trials.
    """
    seeded = {row.cells.get("method") for row in rows.rows if "seed" in row.cells}
    found: dict[Value, Row] = {}
    for row in rows.rows:
        method = row.cells.get("method")
        if not seeded or method is None or "seed" in row.cells:
            continue
        first = found.setdefault(method, row)
        if first is row and method in seeded:
            text = f"is blank, but other rows of {method} have one; number the seeds of a method, "
            text += "and name a published single run differently"
            problems.add(row.place, text, "seed")
        elif first is not row and method not in seeded:
            text = f"is blank, as in {first.place}, but a published single run has one row; give "
            text += "each run a name of its own, or number the seeds of a method from 0"
            problems.add(row.place, text, "seed")
    references = tuple(row for row in found.values() if row.cells["method"] not in seeded)
    trials = tuple(row for row in rows.rows if row not in references)
    return replace(rows, rows=trials), references


def number(value: Value) -> float | None:
    """Read a cell as a finite number, a fraction or a percentage; None if it is none of these.

    >>> number("0.5"), number("8/255") == 8 / 255, number("50%"), number("auto"), number("nan")
    (0.5, True, 0.5, None, None)
    """
    if not isinstance(value, str):
        return float(value) if math.isfinite(value) else None
    if value.endswith("%"):
        share = number(value[:-1].strip())
        return None if share is None else share / 100
    over, slash, under = value.partition("/")
    if slash:
        parts = number(over.strip()), number(under.strip())
        if "/" in under or None in parts or not parts[1]:
            return None
        assert parts[0] is not None
        return parts[0] / parts[1]
    parsed = float(value) if _NUMBER.fullmatch(value) else math.inf
    return parsed if math.isfinite(parsed) else None


def radius(text: str) -> float | None:
    """Read a radius; within 6 digits of a multiple of 1/255 it is that multiple.

    So tables that were printed with 6 digits keep what was meant.

    >>> radius("8/255") == radius("0.0313725") == 8 / 255, radius("0.031"), radius("big")
    (True, 0.031, None)
    """
    value = number(text)
    if value is None or value <= 0:
        return None
    # A radius of few digits is meant as it is: 0.031 is not 8/255.
    multiple = round(value * 255) / 255
    digits = len(text.replace(".", "").lstrip("0"))
    is_rounded = digits >= 5 and math.isclose(value, multiple, rel_tol=5e-6)
    return multiple if is_rounded else value


def whole(value: Value) -> int | None:
    """Read a cell as a whole number; None if it is not one.

    >>> whole("3"), whole(3.0), whole("3.5"), whole("three")
    (3, 3, None, None)
    """
    found = number(value)
    return None if found is None or found != int(found) else int(found)


def values_of(column: str, rows: Sequence[Row], problems: Problems) -> list[Value | None]:
    """Read a column of hyperparameters: whole numbers, else numbers, else words; None if blank."""
    cells = [row.cells.get(column) for row in rows]
    for row, cell in zip(rows, cells, strict=True):
        if cell is not None and _is_not_finite(cell):
            problems.add(row.place, f"must be finite or blank, got {cell}", column)
        elif isinstance(cell, str) and number(cell) is None and _is_miswritten(cell):
            text = f"must be written like 1000 or 0.5, got {cell}; correct it, or ignore the "
            problems.add(row.place, f"{text}column (--ignore)", column)
    given = [cell for cell in cells if cell is not None]
    if any(number(cell) is None for cell in given):
        return [None if cell is None else str(cell) for cell in cells]
    if all(isinstance(cell, int) or _is_whole_text(cell) for cell in given):
        return [None if cell is None else int(cell) for cell in cells]
    return [None if cell is None else number(cell) for cell in cells]


def _is_whole_text(cell: Value) -> bool:
    return isinstance(cell, str) and _WHOLE.fullmatch(cell) is not None


def _is_miswritten(cell: str) -> bool:
    """Return whether a text is a number with a decimal comma or with marks between thousands."""
    return bool(_DECIMAL_COMMA.fullmatch(cell) or _THOUSANDS.fullmatch(cell))


def _is_not_finite(cell: Value) -> bool:
    if isinstance(cell, str):
        return _NOT_FINITE.fullmatch(cell) is not None
    return not math.isfinite(cell)


def _csv_rows(path: Path, problems: Problems) -> Rows:
    # Line ends are kept, since a quoted cell may hold one; strict, since a lax reader guesses.
    lines = _text(path).splitlines(keepends=True)
    separator = max(SEPARATORS, key=lambda mark: _header_length(lines, mark))
    table = csv.reader(lines, delimiter=separator, strict=True)
    rows: list[Row] = []
    header: list[str] | None = None
    try:
        for cells in table:
            if not any(cell.strip() for cell in cells):
                continue
            if header is None:
                header = _header(path, [cell.strip() for cell in cells], problems)
                continue
            place = f"{path}:{table.line_num}"
            if len(cells) != len(header):
                text = f"has {len(cells)} cells, the header {len(header)}; quote each cell with "
                text += f"{SEPARATOR_NAMES[separator]} in it, and write decimals with a point"
                problems.add(place, text)
            named = _cells(zip(header, cells, strict=False))
            rows.append(Row(place=place, number=len(rows) + 1, cells=named))
    except csv.Error as error:
        raise TableError(f"{path}:{table.line_num}: is not CSV: {error}") from error
    if header is None:
        raise TableError(f"{path}: is empty; it needs a line of column names, then rows")
    if not rows:
        problems.add(str(path), "has no rows below its column names; add one for each trial")
    return Rows(
        name=str(path),
        header=f"{path}:1",
        columns=tuple(header),
        rows=tuple(rows),
        separator=separator,
    )


def _header_length(lines: Sequence[str], separator: str) -> int:
    """Return into how many cells a mark separates the first line that is not blank."""
    table = csv.reader(lines, delimiter=separator, strict=True)
    try:
        return next((len(cells) for cells in table if any(cell.strip() for cell in cells)), 0)
    except csv.Error:
        return 0


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
        if content.startswith(WORKBOOK):
            raise TableError(f"{path}: is a workbook or an archive; save its sheet as UTF-8 CSV")
        # Spreadsheet programs begin UTF-8 with a mark that is not part of the first column's name.
        return content.decode("utf-8-sig")
    except IsADirectoryError as error:
        raise TableError(f"{path}: is a folder; name a CSV file") from error
    except OSError as error:
        raise TableError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        byte = error.object[error.start]
        raise TableError(
            f"{path}:{line}: must be UTF-8, got the byte 0x{byte:02x}; save it as UTF-8 CSV"
        ) from error


def _header(path: Path, columns: list[str], problems: Problems) -> list[str]:
    """Check the column names."""
    for column in dict.fromkeys(columns):
        if columns.count(column) > 1:
            problems.add(
                f"{path}:1", "appears twice in the header; keep one of the columns", column or "''"
            )
    if "" in columns:
        problems.add(f"{path}:1", "has a column without a name; name it, or delete it")
    return columns


def _cells(items: Iterable[tuple[Any, Any]]) -> dict[str, Value]:
    plain = ((str(name), _plain(cell)) for name, cell in items)
    return {name: cell for name, cell in plain if cell is not None}


def _plain(cell: Any) -> Value | None:
    """Read a cell as number or text; None if it is blank, as NaN is in data frames."""
    if cell is None or type(cell).__name__ in _MISSING_TYPES:
        return None
    # Convert numbers of numpy and pandas to Python's own, so that int and float can be told apart.
    if hasattr(cell, "item"):
        cell = cell.item()
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, int | float):
        return None if math.isnan(cell) else cell
    return str(cell).strip() or None
