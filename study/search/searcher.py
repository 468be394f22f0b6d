"""The one Ray Tune `Searcher`: missing cells first, then Optuna's suggestions, then finished."""

import hashlib
import logging
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState
from ray.tune.search import Searcher

from study.plan import space
from study.plan.plan import Plan, PlannedBlock, mean_objectives
from study.plan.space import Block, Cell, Configuration
from study.spec import StudySpec, Value

RANDOM_TRIALS = 10
"""Points that TPE draws at random first, as Optuna does; at most half of a small budget."""
MAX_DUPLICATES = 20
"""After so many suggestions that were seen before, a point not yet tried is drawn instead."""


@dataclass
class _Pending:
    """A configuration whose seeds are not all in."""

    configuration: Configuration
    objectives: dict[int, tuple[float, float] | None]
    """By seed; None until it is in."""
    block: "_BlockSearch | None" = None
    trial: optuna.Trial | None = None
    has_failed: bool = False


@dataclass
class _BlockSearch:
    """A search block's Optuna study, in memory, and what was seen of its points."""

    block: Block
    study: optuna.Study
    to_search: int
    next_number: int
    seen: set[tuple[tuple[str, Value], ...]] = field(default_factory=set)


class StudySearcher(Searcher):  # type: ignore[misc]
    """Hand out a plan's open cells, then what Optuna suggests, each with every seed.

    Ray Tune asks `suggest` for one cell at a time and tells `on_trial_complete` how it ended. A
    configuration is one Optuna trial: told the mean of its seeds' objectives when the last is in,
    told to have failed when one of them has. It is RUNNING in the meantime, so that parallel
    suggestions keep apart (`constant_liar`). The studies live in memory: they are rebuilt from the
    plan at every launch, and saved nowhere.
    """

    def __init__(self, spec: StudySpec, plan: Plan) -> None:
        super().__init__()
        self.failures: list[tuple[Cell, str]] = []
        """Cells that failed in this launch, each with its reason."""
        self.num_broken = 0
        """Those of them that no detector ended: what a broken study has many of."""
        self.is_stopping = False
        """Set from outside: nothing more is handed out."""
        self._spec = spec
        self._fingerprint = plan.fingerprint
        self._queue: deque[Cell] = deque(planned.cell for planned in plan.open_cells)
        self._running: dict[str, Cell] = {}
        self._pending: dict[str, list[_Pending]] = {}
        self._blocks = [self._rebuild(planned, plan) for planned in plan.blocks]
        self._await_grid(plan)

    def __getstate__(self) -> dict[str, Any]:
        """Leave everything out of the experiment state that Ray pickles and nobody restores."""
        return {}

    @property
    def trial_cells(self) -> Mapping[str, Cell]:
        """The cells handed out and not yet ended, by Ray's trial id."""
        return self._running

    def suggest(self, trial_id: str) -> Any:
        """Give Ray the next cell as a small dict, or `Searcher.FINISHED`."""
        if self.is_stopping:
            return Searcher.FINISHED
        if not self._queue:
            self._ask()
        if not self._queue:
            return Searcher.FINISHED
        cell = self._queue.popleft()
        self._running[trial_id] = cell
        return ray_config(cell)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Note how a trial ended; a trial stopped early counts as neither done nor failed."""
        cell = self._running.pop(trial_id, None)
        if cell is None:
            return
        result = result or {}
        if result.get("complete"):
            objectives = (result["objective_clean"], result["objective_robust"])
            self._tell(cell, objectives)
            return
        if error or result.get("failed"):
            reason = str(result.get("reason") or "its worker was lost")
            self.failures.append((cell, reason))
            self.num_broken += not result.get("ended")
        self._tell(cell, None)

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """Accept whatever Ray sets: the objectives are the study's."""
        return True

    def save(self, checkpoint_path: str) -> None:
        """Write an empty file: the tracker holds all there is to know."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Refuse: a study is continued by launching it again."""
        raise NotImplementedError("launch the study again: it continues from its records")

    def _rebuild(self, planned: PlannedBlock, plan: Plan) -> _BlockSearch:
        """Make a block's Optuna study from all that is known of its points."""
        block = planned.block
        study = optuna.create_study(
            directions=["maximize", "maximize"],
            sampler=make_sampler(self._spec, block, planned.next_number + len(planned.taught)),
        )
        search = _BlockSearch(
            block=block,
            study=study,
            to_search=planned.to_search,
            next_number=planned.next_number,
        )
        for point in planned.taught:
            self._teach(search, point.chosen, point.objectives)
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
                self._teach(search, chosen_values(block, configuration), objectives)
            elif not any(cell.state == "given up" for cell in found):
                incomplete.append((configuration, found))
        for configuration, found in incomplete:
            study.enqueue_trial(chosen_values(block, configuration))
            trial = study.ask(distributions(block))
            pending = _Pending(
                configuration=configuration,
                objectives={
                    cell.cell.seed: None if cell.record is None else cell.record.objectives
                    for cell in found
                },
                block=search,
                trial=trial,
            )
            for cell in found:
                self._pending.setdefault(cell.cell.key, []).append(pending)
        return search

    def _await_grid(self, plan: Plan) -> None:
        """Watch the grid's open cells whose configuration could teach a search block."""
        by_configuration: dict[Configuration, _Pending] = {}
        for planned in plan.cells:
            configuration = planned.cell.configuration
            if configuration.block:
                continue
            canonical = space.canonical(planned.cell.config, self._fingerprint)
            for search in self._blocks:
                chosen = space.taught_values(search.block, canonical)
                if chosen is None:
                    continue
                search.seen.add(space.suggested(search.block, chosen, 0).values)
                pending = by_configuration.setdefault(
                    configuration,
                    _Pending(configuration=configuration, objectives={}, block=search),
                )
                record = planned.record
                pending.objectives[planned.cell.seed] = record.objectives if record else None
                if planned.state not in ("done", "given up"):
                    self._pending.setdefault(planned.cell.key, []).append(pending)

    def _ask(self) -> None:
        """Ask the first block that still has something to search, and queue every seed."""
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
            configuration=configuration,
            objectives=dict.fromkeys((cell.seed for cell in cells), None),
            block=search,
            trial=trial,
        )
        for cell in cells:
            self._pending.setdefault(cell.key, []).append(pending)
            self._queue.append(cell)

    def _new_point(self, search: _BlockSearch) -> optuna.Trial | None:
        """Ask until a point comes that was not seen; then draw one of those that remain."""
        asked = distributions(search.block)
        for _ in range(MAX_DUPLICATES):
            trial = search.study.ask(asked)
            if space.suggested(search.block, trial.params, 0).values not in search.seen:
                return trial
            search.study.tell(trial, state=TrialState.FAIL)
        if space.num_points(search.block) is None:
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
        """Pass a cell's end on to every configuration that waits for it."""
        for pending in self._pending.pop(cell.key, []):
            pending.objectives[cell.seed] = objectives
            pending.has_failed |= objectives is None
            if pending.block is None:
                continue
            mean = mean_objectives(pending.objectives.values())
            if pending.trial is None and mean is not None:
                canonical = space.canonical(cell.config, self._fingerprint)
                chosen = space.taught_values(pending.block.block, canonical)
                assert chosen is not None
                self._teach(pending.block, chosen, mean)
            elif pending.trial is not None and mean is not None:
                pending.block.study.tell(pending.trial, mean)
            elif pending.trial is not None and not self._is_awaited(pending):
                pending.block.study.tell(pending.trial, state=TrialState.FAIL)

    def _is_awaited(self, pending: _Pending) -> bool:
        """Tell whether a seed of the configuration is still to come."""
        return any(pending is other for others in self._pending.values() for other in others)

    @staticmethod
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


def ray_config(cell: Cell) -> dict[str, Any]:
    """Give a cell as Ray's trial config: small, flat, and enough to build it again."""
    return {
        "key": cell.key,
        "method": cell.configuration.method,
        "values": [list(pair) for pair in cell.configuration.values],
        "block": cell.configuration.block,
        "number": cell.configuration.number,
        "seed": cell.seed,
    }


def chosen_values(block: Block, configuration: Configuration) -> dict[str, Value]:
    """Give a suggestion's values at the block's ranges."""
    values = dict(configuration.values)
    return {name: values[name] for name, _ in block.ranges}


def distributions(block: Block) -> dict[str, BaseDistribution]:
    """Give a block's ranges as Optuna's distributions."""
    return {
        name: IntDistribution(int(limits.low), int(limits.high), log=limits.log)
        if limits.is_integer
        else FloatDistribution(float(limits.low), float(limits.high), log=limits.log)
        for name, limits in block.ranges
    }


def make_sampler(spec: StudySpec, block: Block, num_known: int) -> optuna.samplers.BaseSampler:
    """Make a block's sampler, seeded by the block and by how many of its points are known.

    A seed that stayed the same would draw its first points again after every relaunch.
    """
    assert spec.search is not None
    logging.getLogger("optuna").setLevel(logging.ERROR)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    digest = hashlib.sha256(f"{block.key} {num_known}".encode()).digest()
    seed = int.from_bytes(digest[:4], "big")
    match spec.search.sampler:
        case "tpe":
            num_random = min(RANDOM_TRIALS, spec.search.trials // 2)
            return optuna.samplers.TPESampler(seed=seed, n_startup_trials=num_random)
        case "nsga2":
            return optuna.samplers.NSGAIISampler(seed=seed)
        case "gp":
            return optuna.samplers.GPSampler(seed=seed)
        case "random":
            return optuna.samplers.RandomSampler(seed=seed)
