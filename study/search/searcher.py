"""The Ray Tune `Searcher` of a launch: missing cells first, then Optuna's suggestions."""

from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState
from ray.tune.search import Searcher

from study.plan import space
from study.plan.plan import Plan, PlannedBlock, mean_objectives
from study.plan.space import Block, Cell, Configuration, Values
from study.search.samplers import distributions, new_study
from study.spec import StudySpec, Value

MAX_DUPLICATES = 20
"""After so many repeated suggestions, a point not yet tried is taken instead."""
MAX_LOSSES = 5
"""A cell whose worker was lost so often at one epoch is left to the next launch."""


class StudySearcher(Searcher):  # type: ignore[misc]
    """Hand out a plan's open cells, then the configurations that Optuna suggests, with every seed.

    Ray Tune asks `suggest` for one cell at a time and tells `on_trial_complete` how it ended. A
    cell whose worker was lost is handed out again, as that is no failure of its training. A
    configuration is one Optuna trial. It is told the mean of its seeds' objectives when the last
    seed is in, or that it failed when a seed has failed. In the meantime it is RUNNING, so that
    Optuna sees which suggestions are under way. The studies live in memory: they are rebuilt from
    the plan at every launch, and saved nowhere.
    """

    def __init__(self, spec: StudySpec, plan: Plan) -> None:
        super().__init__()
        self.failures: list[tuple[Cell, str]] = []
        """Cells that failed in this launch, each with its reason."""
        self.num_broken = 0
        """Failed cells that no detector ended; a broken study has many of them."""
        self.losses: Counter[tuple[str, int]] = Counter()
        """Lost workers of this launch, by the cell's key and the last epoch it reported."""
        self.last_lost: Cell | None = None
        """The cell whose worker was lost last."""
        self.is_stopping = False
        """Set by the launch; while it is true, no cell is handed out."""
        self._spec = spec
        self._fingerprint = plan.fingerprint
        self._queue: deque[Cell] = deque(planned.cell for planned in plan.open_cells)
        self._sources = {
            planned.cell.key: planned.source.run
            for planned in plan.open_cells
            if planned.source is not None
        }
        self._running: dict[str, Cell] = {}
        self._epochs: Counter[str] = Counter()
        """The last epoch that each running trial reported."""
        self._pending: defaultdict[str, list[_Pending]] = defaultdict(list)
        """The configurations that wait for a cell, by the cell's key."""
        self._blocks = [self._rebuild(planned, plan) for planned in plan.blocks]
        self._await_grid(plan)

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing to pickle, as the experiment state that Ray saves is never restored."""
        return {}

    @property
    def trial_cells(self) -> Mapping[str, Cell]:
        """The cells handed out and not yet ended, by Ray's trial id."""
        return self._running

    def suggest(self, trial_id: str) -> Any:
        """Return the next cell as Ray's trial config, `Searcher.FINISHED`, or None to wait."""
        if self.is_stopping:
            return Searcher.FINISHED
        if not self._queue:
            self._ask()
        if not self._queue:
            # A running cell comes back if its worker is lost.
            return None if self._running else Searcher.FINISHED
        cell = self._queue.popleft()
        self._running[trial_id] = cell
        return ray_config(cell, self._sources.get(cell.key, ""))

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Record how a trial ended; a trial stopped early counts as neither done nor failed.

        `error`: its worker was lost. The cell is then the next to be handed out, but not after
        `MAX_LOSSES` at one epoch.
        """
        cell = self._running.pop(trial_id, None)
        epoch = self._epochs.pop(trial_id, 0)
        if cell is None:
            return
        result = result or {}
        if error:
            self.last_lost = cell
            self.losses[cell.key, epoch] += 1
            if self.losses[cell.key, epoch] < MAX_LOSSES:
                self._queue.appendleft(cell)
                return
            result = {"failed": True, "reason": loss_text(epoch, MAX_LOSSES)}
        if result.get("complete"):
            objectives = (result["objective_clean"], result["objective_robust"])
            self._tell(cell, objectives)
            return
        if result.get("failed"):
            self.failures.append((cell, str(result["reason"])))
            self.num_broken += not result.get("ended")
        self._tell(cell, None)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Note the last epoch of a running trial."""
        self._epochs[trial_id] = int(result.get("epoch", 0))

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """Accept and ignore what Ray sets: the study decides the objectives."""
        return True

    def save(self, checkpoint_path: str) -> None:
        """Write an empty file, as Ray expects one; everything needed is in MLflow."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Raise `NotImplementedError`: a study is continued by launching it again."""
        raise NotImplementedError("launch the study again: it continues from its records")

    def _rebuild(self, planned: PlannedBlock, plan: Plan) -> "_BlockSearch":
        """Build a block's Optuna study from all its points with known results."""
        block = planned.block
        search = _BlockSearch(
            block=block,
            study=new_study(self._spec, block, planned.next_number + len(planned.taught)),
            to_search=planned.to_search,
            next_number=planned.next_number,
        )
        for point in planned.taught:
            _teach(search, point.chosen, point.objectives)
        states = {planned_cell.cell.key: planned_cell for planned_cell in plan.cells}
        incomplete = []
        for configuration in planned.suggestions:
            cells = space.cells(self._spec, configuration, self._fingerprint)
            found = [states[cell.key] for cell in cells]
            objectives = mean_objectives(
                None if cell.record is None else cell.record.objectives for cell in found
            )
            search.seen.add(configuration.values)
            if objectives is not None:
                _teach(search, _chosen_values(block, configuration), objectives)
            elif not any(cell.state == "given up" for cell in found):
                incomplete.append((configuration, found))
        # After the finished points, so that the sampler sees them all when it is asked.
        for configuration, found in incomplete:
            search.study.enqueue_trial(_chosen_values(block, configuration))
            pending = _Pending(
                search=search,
                trial=search.study.ask(distributions(block)),
                objectives={
                    cell.cell.seed: None if cell.record is None else cell.record.objectives
                    for cell in found
                },
            )
            for cell in found:
                self._pending[cell.cell.key].append(pending)
        return search

    def _await_grid(self, plan: Plan) -> None:
        """Register the grid's open cells whose configuration can teach a search block."""
        waiting: dict[tuple[Configuration, int], _Pending] = {}
        for planned in plan.cells:
            configuration = planned.cell.configuration
            if configuration.block:
                continue
            canonical = space.canonical(planned.cell.config, self._fingerprint)
            for position, search in enumerate(self._blocks):
                chosen = space.taught_values(search.block, canonical)
                if chosen is None:
                    continue
                search.seen.add(space.suggested(search.block, chosen, 0).values)
                key = configuration, position
                pending = waiting.setdefault(key, _Pending(search=search))
                record = planned.record
                pending.objectives[planned.cell.seed] = record.objectives if record else None
                if planned.state not in ("done", "given up"):
                    self._pending[planned.cell.key].append(pending)

    def _ask(self) -> None:
        """Queue every seed of a new suggestion, from the first block that has any left."""
        search = next((search for search in self._blocks if search.to_search > 0), None)
        if search is None:
            return
        trial = self._new_point(search)
        if trial is None:  # every point of this block is known
            search.to_search = 0
            self._ask()
            return
        configuration = space.suggested(search.block, trial.params, search.next_number)
        search.seen.add(configuration.values)
        search.next_number += 1
        search.to_search -= 1
        cells = space.cells(self._spec, configuration, self._fingerprint)
        pending = _Pending(
            search=search, trial=trial, objectives={cell.seed: None for cell in cells}
        )
        for cell in cells:
            self._pending[cell.key].append(pending)
            self._queue.append(cell)

    def _new_point(self, search: "_BlockSearch") -> optuna.Trial | None:
        """Return a point that was not seen before, or None if the block has none left.

        A sampler may repeat itself, most of all on a small grid of whole numbers. After
        `MAX_DUPLICATES` repetitions the lowest remaining point of such a grid is returned.
        """
        asked = distributions(search.block)
        for _ in range(MAX_DUPLICATES):
            trial = search.study.ask(asked)
            if space.suggested(search.block, trial.params, 0).values not in search.seen:
                return trial
            search.study.tell(trial, state=TrialState.FAIL)
        if space.num_points(search.block) is None:  # a continuous range cannot be listed
            return None
        unseen = next(
            (
                point
                for point in space.points(search.block)
                if space.suggested(search.block, point, 0).values not in search.seen
            ),
            None,
        )
        if unseen is None:
            return None
        search.study.enqueue_trial(dict(unseen))
        return search.study.ask(asked)

    def _tell(self, cell: Cell, objectives: tuple[float, float] | None) -> None:
        """Pass a cell's result to every configuration that waits for it."""
        for pending in self._pending.pop(cell.key, []):
            search = pending.search
            pending.objectives[cell.seed] = objectives
            mean = mean_objectives(pending.objectives.values())
            if pending.trial is None and mean is not None:
                canonical = space.canonical(cell.config, self._fingerprint)
                chosen = space.taught_values(search.block, canonical)
                assert chosen is not None
                _teach(search, chosen, mean)
            elif pending.trial is not None and mean is not None:
                search.study.tell(pending.trial, mean)
            elif pending.trial is not None and not self._is_awaited(pending):
                search.study.tell(pending.trial, state=TrialState.FAIL)

    def _is_awaited(self, pending: "_Pending") -> bool:
        """Return whether a seed of the configuration is still awaited."""
        return any(pending is other for others in self._pending.values() for other in others)


def loss_text(epoch: int, losses: int) -> str:
    """Return what is said of a cell whose worker was lost repeatedly after the same epoch."""
    return (
        f"its worker was lost {losses} times after epoch {epoch}; if the machine is short of "
        "memory, run fewer trials at a time (resources.cpu) or choose a smaller batch_size"
    )


def ray_config(cell: Cell, source: str = "") -> dict[str, Any]:
    """Convert a cell to Ray's trial config: small, flat, and enough to build the cell again.

    source: the run whose stored networks are evaluated; empty for a cell that is trained.
    """
    return {
        "key": cell.key,
        "method": cell.configuration.method,
        "values": [list(pair) for pair in cell.configuration.values],
        "block": cell.configuration.block,
        "number": cell.configuration.number,
        "seed": cell.seed,
        "source": source,
    }


@dataclass(kw_only=True)
class _BlockSearch:
    """A search block's Optuna study, and which of its points were tried."""

    block: Block
    study: optuna.Study
    to_search: int
    next_number: int
    seen: set[Values] = field(default_factory=set)


@dataclass(kw_only=True)
class _Pending:
    """A configuration whose seeds are not all done, and the search that learns from it."""

    search: _BlockSearch
    trial: optuna.Trial | None = None
    """The trial that Optuna suggested; None for a configuration of the grid."""
    objectives: dict[int, tuple[float, float] | None] = field(default_factory=dict)
    """The objectives by seed; None until the seed is done."""


def _teach(
    search: _BlockSearch, chosen: Mapping[str, Value], objectives: tuple[float, float]
) -> None:
    """Add a finished configuration to a block's Optuna study."""
    search.study.add_trial(
        optuna.trial.create_trial(
            params=dict(chosen),
            distributions=distributions(search.block),
            values=[float(objectives[0]), float(objectives[1])],
        )
    )
    search.seen.add(space.suggested(search.block, chosen, 0).values)


def _chosen_values(block: Block, configuration: Configuration) -> dict[str, Value]:
    """Return a suggestion's values at the block's ranges."""
    values = dict(configuration.values)
    return {name: values[name] for name, _ in block.ranges}
