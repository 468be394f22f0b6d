"""Trial rows: the rows of a table as finished and absent trials."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, cast

import numpy as np

from analysis.bit_file import BitFile, bits_of
from analysis.columns import Columns
from analysis.results import (
    ROUNDING,
    AbsentTrial,
    TrialResult,
    Value,
    accuracies,
    configuration_key,
)
from analysis.rows import Problems, Row, Rows, number, values_of, whole

STATES = ("done", "missing", "failed", "given up")


class TrialRows:
    """Reads the rows, one after the other, and what can be told only of all of them."""

    def __init__(
        self, rows: Rows, columns: Columns, file: BitFile | None, problems: Problems
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
                self._read_done(row, at + 1, method, values, seed)
            elif status:
                self._read_absent(row, method, values, seed, status)
            first = places.setdefault((configuration_key(method, values), seed), row.place)
            if first != row.place and method and seed >= 0:
                text = "the same method, values and seed as in"
                problems.add(row.place, f"has {text} {first}; each trial has one row, delete one")
        self._tell_percent()
        self._tell_apart(rows.header, read)

    def _tell_apart(self, header: str, read: Mapping[str, Sequence[Value | None]]) -> None:
        """Note columns that make a configuration of every row: identifiers, times, losses."""
        every: list[TrialResult | AbsentTrial] = [*self.trials, *self.absent]
        found = {configuration_key(trial.method, trial.values) for trial in every}
        if len(found) < len(every) or len({trial.seed for trial in every}) < 2:
            return
        for name, cells in read.items():
            given = [cell for cell in cells if cell is not None]
            if len(given) > 2 and len(set(given)) == len(given):
                text = (
                    "differs in every row, so no configuration has two seeds; if it is no "
                    "hyperparameter, ignore it (--ignore), else number each one's seeds from 0"
                )
                self._problems.add(header, text, name)

    def _name(self, row: Row) -> tuple[str, int]:
        """Read method and seed; an empty name or -1 where they are a mistake."""
        method, seed = str(row.cells.get("method", "")), row.cells.get("seed")
        found = None if seed is None else whole(seed)
        if not method:
            self._problems.add(row.place, "is blank; name the method", "method")
        if found is None or found < 0:
            got = "nothing" if seed is None else seed
            text = f"must be a whole number from 0 on, got {got}; write 0 if there is one"
            self._problems.add(row.place, text, "seed")
            return method, -1
        return method, found

    def _status(self, row: Row) -> str:
        """Read the status: done where there is none, nothing where it is a mistake."""
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
            status=cast(Literal["missing", "failed", "given up"], status),
            reason=str(row.cells.get("reason", "")),
            run=str(row.cells.get("run", "")),
        )
        self.absent.append(trial)

    def _read_done(
        self, row: Row, row_number: int, method: str, values: Mapping[str, Value], seed: int
    ) -> None:
        given = self._fractions(row, ("clean", *self._columns.robust))
        validation = self._fractions(row, self._columns.validation or ())
        cost, seconds = self._amount(row, "cost"), self._amount(row, "seconds")
        if given is None or validation is None or self._rises(row, given):
            return
        bits = None
        if self._file is not None:
            bits = bits_of(self._file, row, row_number, np.array(given), self._problems)
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

    def _fractions(self, row: Row, columns: Sequence[str]) -> list[float] | None:
        """Read accuracies; None if one is a mistake."""
        read: list[float] = []
        for column in columns:
            cell = row.cells.get(column)
            found = None if cell is None else number(cell)
            if found is not None and found > 1:
                self._above_one.append((row.place, column, found))
            elif found is None or found < 0:
                got = "nothing" if cell is None else cell
                out = "a trial without results has another status than done" if cell is None else ""
                share = number(str(cell).removesuffix("%").strip())
                if str(cell).endswith("%") and share is not None:
                    out = f"write {share / 100:g}"
                text = f"must be a fraction in [0, 1], got {got}{'; ' if out else ''}{out}"
                self._problems.add(row.place, text, column)
            else:
                read.append(found)
        return read if len(read) == len(columns) else None

    def _amount(self, row: Row, column: str) -> float | None:
        cell = row.cells.get(column)
        found = None if cell is None else number(cell)
        if cell is not None and (found is None or found < 0):
            text = f"must be a number from 0 on, or blank, got {cell}; correct it"
            self._problems.add(row.place, text, column)
        return found

    def _rises(self, row: Row, given: Sequence[float]) -> bool:
        """Note where a robust accuracy is above that of a smaller radius."""
        names = ("clean", *self._columns.robust)
        for (before, smaller), (after, larger) in pairwise(zip(names, given, strict=True)):
            if larger > smaller + ROUNDING:
                text = (
                    f"is {larger:g}, above {before} with {smaller:g}; an image is right only "
                    "if it is so at all smaller radii too: count so, or drop the radius"
                )
                self._problems.add(row.place, text, after)
                return True
        return False

    def _tell_percent(self) -> None:
        """Word all accuracies above 1 as one mistake: most often they are in percent."""
        if self._above_one:
            place, column, value = self._above_one[0]
            more = len(self._above_one) - 1
            text = f"must be a fraction in [0, 1], got {value:g}"
            text += f", and {more} more above 1" if more else ""
            out = "; if the table is in percent, divide its accuracies by 100"
            self._problems.add(place, text + out, column)
