"""The race of seeds while a launch runs: which cell is the next to decide who is on a front."""

from collections.abc import Container, Iterable

from study.plan.plan import CLOSED, Plan
from study.plan.seeds import Pair, wanted
from study.plan.space import Cell, Configuration


class SeedRace:
    """The further seeds of a study, handed out one by one where they decide.

    The rule is that of the plan, so a relaunch with the same records goes on with the same cell.
    """

    def __init__(self, plan: Plan, claimed: Container[str] = ()) -> None:
        """Begin with a plan. `claimed`: methods that a claim compares; theirs come first."""
        self._claimed = claimed
        self._cells: dict[Configuration, tuple[Cell, ...]] = {}
        self._known: dict[str, Pair] = {}
        self._closed: set[str] = set()
        """Keys of the cells that this launch runs no more."""
        self._order: list[Configuration] | None = None
        """Who wants a further seed, by what is known; None once that has changed."""
        grouped: dict[Configuration, list[Cell]] = {}
        for planned in plan.cells:
            cell = planned.cell
            if planned.is_further:  # they run in any case, and the plan's rule leaves them out
                continue
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
        self._order = None

    def end(self, cell: Cell, objectives: Pair | None) -> None:
        """Record a cell's result; None if it failed or was stopped, as then it is not run again."""
        self._closed.add(cell.key)
        self._order = None
        if objectives is not None:
            self._known[cell.key] = objectives

    def next_cell(self, running: Container[str]) -> Cell | None:
        """Return the next cell to run; None if the race is over, or waits for running cells.

        `running`: keys of the cells that run. A configuration gets one further seed at a time.
        """
        # Ray asks at each of its steps while a slot is free, and answers change with results only.
        if self._order is None:
            self._order = self._by_urgency()
        for configuration in self._order:
            cells = self._cells[configuration]
            if not any(cell.key in running for cell in cells):
                return next(cell for cell in cells if cell.key not in self._closed)
        return None

    def _by_urgency(self) -> list[Configuration]:
        """Return the configurations that want a further seed, the most urgent first."""
        known = {
            configuration: [self._known[cell.key] for cell in cells if cell.key in self._known]
            for configuration, cells in self._cells.items()
        }
        raced = [configuration for configuration, found in known.items() if found]
        left = [
            sum(cell.key not in self._closed for cell in self._cells[configuration])
            for configuration in raced
        ]
        methods = [configuration.method for configuration in raced]
        chosen = wanted([known[configuration] for configuration in raced], methods, left)
        # Sorting is stable: of the methods of claims, and of the others, the order stays.
        chosen.sort(key=lambda row: methods[row] not in self._claimed)
        return [raced[row] for row in chosen]
