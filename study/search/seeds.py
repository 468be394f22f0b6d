"""The race of seeds while a launch runs: which cell is the next to decide who is on a front."""

from collections.abc import Container, Iterable

from study.plan.plan import CLOSED, Plan
from study.plan.seeds import Pair, wanted
from study.plan.space import Cell, Configuration


class SeedRace:
    """The further seeds of a study, handed out one by one where they decide.

    The rule is that of the plan, so a relaunch with the same records goes on with the same cell.
    """

    def __init__(self, plan: Plan) -> None:
        self._cells: dict[Configuration, tuple[Cell, ...]] = {}
        self._known: dict[str, Pair] = {}
        self._closed: set[str] = set()
        """Keys of the cells that this launch runs no more."""
        grouped: dict[Configuration, list[Cell]] = {}
        for planned in plan.cells:
            cell = planned.cell
            grouped.setdefault(cell.configuration, []).append(cell)
            if planned.record is not None and planned.record.objectives is not None:
                self._known[cell.key] = planned.record.objectives
            if planned.state in CLOSED and planned.state != "spared":
                self._closed.add(cell.key)
        for configuration, cells in grouped.items():
            self.add(configuration, cells)

    def add(self, configuration: Configuration, cells: Iterable[Cell]) -> None:
        """Add a configuration with a cell for each seed."""
        self._cells[configuration] = tuple(cells)

    def end(self, cell: Cell, objectives: Pair | None) -> None:
        """Record a cell's result; None if it failed or was stopped, as then it is not run again."""
        self._closed.add(cell.key)
        if objectives is not None:
            self._known[cell.key] = objectives

    def next_cell(self, running: Container[str]) -> Cell | None:
        """Return the next cell to run; None if the race is over, or waits for running cells.

        `running`: keys of the cells that run. A configuration gets one further seed at a time.
        """
        rows, methods, more = [], [], []
        for configuration, cells in self._cells.items():
            known = [self._known[cell.key] for cell in cells if cell.key in self._known]
            if known:
                is_busy = any(cell.key in running for cell in cells)
                left = [cell for cell in cells if cell.key not in self._closed]
                rows.append(known)
                methods.append(configuration.method)
                more.append([] if is_busy else left)
        chosen = wanted(rows, methods, [len(left) for left in more])
        return more[chosen[0]][0] if chosen else None
