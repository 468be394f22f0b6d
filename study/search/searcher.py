"""The Ray Tune `Searcher` of a launch: missing cells first, then Optuna's suggestions."""

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState
from ray.tune.search import Searcher

from study.plan import space
from study.plan.budget import LeftOut, Spending, devices_of
from study.plan.plan import (
    CLOSED,
    MAX_FAILURES_OF_A_CELL,
    Plan,
    PlannedBlock,
    PlannedCell,
    mean_objectives,
    taught_objectives,
)
from study.plan.space import Block, Cell, Configuration, Values
from study.plan.stops import claimed_methods, is_adaptive, is_judge, stops_of
from study.plan.times import TimeLeft
from study.search.samplers import distributions, new_study
from study.search.seeds import SeedRace
from study.spec import StopSpec, StudySpec, Value

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

    Where rungs stop configurations, further seeds wait for the first one. Where seeds are adaptive,
    they wait for the whole search, and Optuna is told the first seed's objectives.
    """

    def __init__(self, spec: StudySpec, plan: Plan, began: float = 0.0) -> None:
        """Begin with a plan. `began`: when the launch did, by `time.time()`, for its budget."""
        super().__init__()
        self.failures: list[tuple[Cell, str]] = []
        """Cells that failed in this launch, each with its reason."""
        self.num_broken = 0
        """Failed cells that no detector ended; a broken study has many of them."""
        self._failed = Counter({planned.cell.key: planned.failures for planned in plan.cells})
        """How often each cell has failed, in this launch and before."""
        self.losses: Counter[tuple[str, int]] = Counter()
        """Lost workers of this launch, by the cell's key and the last epoch it reported."""
        self.last_lost: Cell | None = None
        """The cell whose worker was lost last."""
        self.stopped: dict[str, tuple[int, StopSpec]] = {}
        """After which epoch, and by which rule, rungs stopped trials; by Ray's trial id."""
        self.left_out = LeftOut()
        """What did not fit into the budget."""
        self.is_stopping = False
        """Set by the launch; while it is true, no cell is handed out."""
        self._spec = spec
        self._fingerprint = plan.fingerprint
        self._spending: Spending | None = None
        if spec.budget is not None:
            self._times = TimeLeft(spec, plan, 1)
            self._spending = Spending(spec.budget, devices_of(spec), began)
        self._stops = stops_of(spec)
        self._race = SeedRace(plan, claimed_methods(spec)) if is_adaptive(spec) else None
        self._held: defaultdict[Configuration, list[Cell]] = defaultdict(list)
        """Further seeds that wait for the first one, which a rung may stop."""
        self._queue: deque[Cell] = deque()
        self._fill_queue(plan)
        self._sources = {
            planned.cell.key: planned.source.run
            for planned in plan.open_cells
            if planned.source is not None
        }
        self._running: dict[str, Cell] = {}
        self._handed: set[str] = set()
        """Keys of the cells that were handed out."""
        self._epochs: Counter[str] = Counter()
        """The last epoch that each running trial reported."""
        self._reported: Counter[str] = Counter()
        """The number of epochs that each running trial has trained."""
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
        cell = self._next_cell()
        if cell is None:
            # A running cell comes back if its worker is lost, and its result may call for others.
            return None if self._running else Searcher.FINISHED
        self._running[trial_id] = cell
        if self._spending is not None:
            self._spending.start(trial_id, self._times.expected(cell), cell.config.training.epochs)
        again = cell.key in self._handed
        self._handed.add(cell.key)
        return ray_config(cell, self._sources.get(cell.key, ""), again=again)

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
        if self._spending is not None:
            self._spending.end(trial_id, self._reported.pop(trial_id, 0))
            self._times.end(cell, result.get("seconds") or None)
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
            self._release(cell)
            return
        if trial_id in self.stopped:
            self._drop(cell)
            return
        if result.get("failed"):
            self.failures.append((cell, str(result["reason"])))
            self.num_broken += not result.get("ended")
            self._failed[cell.key] += not error
            if result.get("ended") or self._failed[cell.key] >= MAX_FAILURES_OF_A_CELL:
                self._release(cell)  # as the next launch would, which tries this cell no more
        self._tell(cell, None)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Note the last epoch of a running trial."""
        self._epochs[trial_id] = int(result.get("epoch", 0))
        self._reported[trial_id] += 1

    def waiting_for(self, cell: Cell) -> tuple[Cell, ...]:
        """Return the further seeds that wait for a configuration's first one."""
        return tuple(self._held.get(cell.configuration, ()))

    def stop(self, trial_id: str, epoch: int, rule: StopSpec) -> None:
        """Note that a rung stops a running trial, and so its configuration, after an epoch."""
        self.stopped[trial_id] = epoch, rule
        self._reported[trial_id] += 1

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

    def _fill_queue(self, plan: Plan) -> None:
        """Queue the open cells that wait for no other one."""
        judges = {
            planned.cell.configuration: planned.state
            for planned in plan.cells
            if is_judge(self._spec, planned.cell)
        }
        for planned in plan.open_cells:
            cell, configuration = planned.cell, planned.cell.configuration
            is_stoppable = configuration.method in self._stops
            if planned.source is not None or is_judge(self._spec, cell):
                self._queue.append(cell)
            elif self._race is not None and not planned.is_further:
                continue  # which hands them out, by what is then known
            elif is_stoppable and judges.get(configuration, "done") not in CLOSED:
                self._held[configuration].append(cell)
            else:
                self._queue.append(cell)

    def _next_cell(self) -> Cell | None:
        """Return the next cell that fits into the budget; None if there is none, or none yet.

        Methods may suggest the same cell. It waits while it runs for another one.
        """
        running = {cell.key for cell in self._running.values()}
        while True:
            if not self._queue:
                self._ask()
            if self._queue:
                cell = next((one for one in self._queue if one.key not in running), None)
                if cell is None:
                    return None
                self._queue.remove(cell)
            else:
                raced = self._race.next_cell(running) if self._race is not None else None
                if raced is None:
                    return None
                cell = raced
            if self._affords(cell):
                return cell
            further = self._held.pop(cell.configuration, [])
            out = self.left_out
            self.left_out = replace(out, cells=(*out.cells, cell, *further))
            if self._race is not None:
                self._race.end(cell, None)

    def _affords(self, cell: Cell) -> bool:
        """Return whether a cell fits into what is left of the budget."""
        if self._spending is None:
            return True
        epochs = 0 if cell.key in self._sources else cell.config.training.epochs
        refusal = self._spending.refusal(self._times.expected(cell), epochs)
        self.left_out = replace(self.left_out, limit=refusal or self.left_out.limit)
        return not refusal

    def _release(self, cell: Cell) -> None:
        """Queue the further seeds that wait for a cell."""
        self._queue.extendleft(reversed(self._held.pop(cell.configuration, [])))

    def _drop(self, cell: Cell) -> None:
        """Report a stopped configuration to Optuna as pruned, and drop its further seeds."""
        self._held.pop(cell.configuration, None)
        if self._race is not None:
            self._race.end(cell, None)
        for pending in self._pending.pop(cell.key, []):
            for key, others in self._pending.items():
                self._pending[key] = [one for one in others if one is not pending]
            if pending.trial is not None:
                # Two objectives have no intermediate value that Optuna could be told.
                pending.search.study.tell(pending.trial, state=TrialState.PRUNED)

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
            objectives = taught_objectives(
                self._spec,
                (None if cell.record is None else cell.record.objectives for cell in found),
            )
            search.seen.add(configuration.values)
            if objectives is not None:
                _teach(search, _chosen_values(block, configuration), objectives)
            elif found[0].state == "stopped":
                search.study.add_trial(
                    optuna.trial.create_trial(
                        state=TrialState.PRUNED,
                        params=_chosen_values(block, configuration),
                        distributions=distributions(block),
                    )
                )
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
                    for cell in self._taught(found)
                },
            )
            for cell in self._taught(found):
                self._pending[cell.cell.key].append(pending)
        return search

    def _await_grid(self, plan: Plan) -> None:
        """Register the grid's open cells whose configuration can teach a search block."""
        waiting: dict[tuple[Configuration, int], _Pending] = {}
        for planned in plan.cells:
            configuration = planned.cell.configuration
            if configuration.block or not self._taught([planned]):
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
                if planned.state not in CLOSED:
                    self._pending[planned.cell.key].append(pending)

    def _ask(self) -> None:
        """Queue every seed of a new suggestion, from the first block that has any left."""
        search = next((search for search in self._blocks if search.to_search > 0), None)
        if search is None:
            return
        if self._spending is not None and not self._affords(self._corner(search)):
            num_suggestions = self.left_out.num_suggestions + search.to_search
            self.left_out = replace(self.left_out, num_suggestions=num_suggestions)
            search.to_search = 0
            self._ask()
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
        first, *further = cells
        waited = [first] if self._race is not None else cells
        pending = _Pending(
            search=search, trial=trial, objectives={cell.seed: None for cell in waited}
        )
        for cell in waited:
            self._pending[cell.key].append(pending)
        self._queue.append(first)
        if self._race is not None:
            self._race.add(configuration, cells)
        elif configuration.method in self._stops:
            self._held[configuration] = further
        else:
            self._queue.extend(further)

    def _corner(self, search: "_BlockSearch") -> Cell:
        """Return a cell at the upper ends of a block's ranges, in place of a suggestion to come."""
        highest = {name: limits.high for name, limits in search.block.ranges}
        corner = space.suggested(search.block, highest, search.next_number)
        return space.cells(self._spec, corner, self._fingerprint)[0]

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

    def _taught(self, cells: Iterable[PlannedCell]) -> list[PlannedCell]:
        """Keep the cells that Optuna waits for: every seed, or the first one if adaptive."""
        is_first_enough = self._race is not None
        return [c for c in cells if not is_first_enough or is_judge(self._spec, c.cell)]

    def _tell(self, cell: Cell, objectives: tuple[float, float] | None) -> None:
        """Pass a cell's result to every configuration that waits for it."""
        if self._race is not None:
            self._race.end(cell, objectives)
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


def ray_config(cell: Cell, source: str = "", *, again: bool = False) -> dict[str, Any]:
    """Convert a cell to Ray's trial config: small, flat, and enough to build the cell again.

    source: the run whose stored networks are evaluated; empty for a cell that is trained.
    again: whether this launch has handed out the cell before, so that it may be done: its worker
    was lost, or another method suggested it, too.
    """
    return {
        "key": cell.key,
        "method": cell.configuration.method,
        "values": [list(pair) for pair in cell.configuration.values],
        "block": cell.configuration.block,
        "number": cell.configuration.number,
        "seed": cell.seed,
        "source": source,
        "again": again,
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
