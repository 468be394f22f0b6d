"""What is done, what is missing, and what it will cost: records in, a plan out."""

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from statistics import fmean
from typing import Any, Literal

from study.plan import space
from study.plan.space import Block, Cell, Configuration
from study.plan.stops import RULE_TAG, STOPPED_TAG, is_adaptive, rule_text
from study.spec import StudySpec, Value, stop_of

MAX_FAILURES_OF_A_CELL = 2
"""A cell that failed this often is given up: it is listed, and not launched again."""

RunStatus = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]
CellState = Literal[
    "done", "running", "to evaluate", "failed", "given up", "missing", "stopped", "spared"
]
"""`stopped`: at a rung, or of a configuration that was; its epochs and its last state are kept.
`spared`: a further seed that would not decide who is on a front."""
CLOSED: tuple[CellState, ...] = ("done", "given up", "stopped", "spared")
"""States of the cells that the next launch leaves alone."""

EVALUATED_TAG = "evaluated_from"
"""Tag of a run that evaluated the stored networks of another run: that run's id."""
LAST_ALONE_TAG = "last_alone"
"""Tag of a run that evaluated only the last epoch, as nobody knows which one is the best.

A study that reads the best epoch reads the last one of such a run.
"""


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """What MLflow holds about one trial of a cell."""

    run: str
    study: str
    cell_key: str
    block: str
    number: int
    canonical: Mapping[str, Any]
    """What the cell's key is the hash of."""
    status: RunStatus
    reason: str
    would_repeat: bool
    """Whether a detector ended the training: another try would end in the same way."""
    objectives: tuple[float, float] | None
    """Clean and robust accuracy on validation, at the objective radius; None until finished."""
    is_complete: bool
    """Whether it is FINISHED, with all its metrics and artifacts."""
    started: float
    """Seconds since the epoch."""
    seconds: float
    """Wall time so far, or until the trial ended."""
    metrics: Mapping[str, float]
    labels: Mapping[str, str]
    """The run's other tags: commit, versions, hardware."""
    artifacts: str
    """Address of the run's files."""


@dataclass(frozen=True, kw_only=True)
class PlannedCell:
    """A cell of the study and where it stands."""

    cell: Cell
    state: CellState
    record: TrialRecord | None
    """The trial that decides the state; None for a cell without trials."""
    failures: int
    source: TrialRecord | None = None
    """The trial whose stored networks are to be evaluated; None for a cell in any other state."""
    is_further: bool = False
    """Whether it is of the declared further trials, which no race of seeds leaves out."""


@dataclass(frozen=True, kw_only=True)
class TaughtPoint:
    """A complete configuration that a search learns from, with its mean objectives over seeds."""

    chosen: Mapping[str, Value]
    objectives: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class PlannedBlock:
    """A search block: its earlier suggestions, what it learns from, and how many are to come."""

    block: Block
    suggestions: tuple[Configuration, ...]
    taught: tuple[TaughtPoint, ...]
    to_search: int
    next_number: int
    left_out: int
    """Number of earlier suggestions outside today's ranges; they are not analysed."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Plan:
    """A study's cells, in the order they run, and its search blocks."""

    study: str
    fingerprint: str
    """The fingerprint of the data set."""
    cells: tuple[PlannedCell, ...]
    blocks: tuple[PlannedBlock, ...]
    seeds: int
    """How many cells a new suggestion has; further ones are not counted where they are raced."""
    records: tuple[TrialRecord, ...]
    """The trials of every study in the store, earliest first."""

    @property
    def open_cells(self) -> tuple[PlannedCell, ...]:
        """The cells that the next launch runs, each key once."""
        found = {
            planned.cell.key: planned
            for planned in reversed(self.cells)
            if planned.state not in CLOSED
        }
        return tuple(reversed(found.values()))

    @property
    def to_search(self) -> int:
        """The number of cells that are still to be suggested: configurations times seeds."""
        return self.seeds * sum(block.to_search for block in self.blocks)

    @property
    def num_open(self) -> int:
        """The number of trials that a launch would start, if none failed."""
        return len(self.open_cells) + self.to_search

    @property
    def num_cells(self) -> int:
        """The number of the study's cells, with those that are still to be suggested."""
        return len({planned.cell.key for planned in self.cells}) + self.to_search

    @property
    def stops(self) -> Counter[int]:
        """The number of configurations that rungs stopped, by the epoch after which they did."""
        found = {
            p.cell.key: int(p.record.labels[STOPPED_TAG])
            for p in self.cells
            if p.state == "stopped" and p.record is not None and STOPPED_TAG in p.record.labels
        }
        return Counter(found.values())

    def __repr__(self) -> str:
        """Return the study's name and how much of it is done."""
        return f"<Plan of {self.study}: {self.count('done')} of {self.num_cells} trials done>"

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        # `study.notebook` lies above this module, and only a notebook waits for it.
        return str(import_module("study.notebook.pages").plan_page(self))

    def num_trials(self, method: str) -> int:
        """Count a method's cells, with those that are still to be suggested."""
        cells = {p.cell.key for p in self.cells if p.cell.configuration.method == method}
        to_come = sum(block.to_search for block in self.blocks if block.block.method == method)
        return len(cells) + self.seeds * to_come

    def count(self, state: CellState, method: str | None = None) -> int:
        """Count the distinct cells in a state, of one method or of all."""
        keys = {
            planned.cell.key
            for planned in self.cells
            if planned.state == state and method in (None, planned.cell.configuration.method)
        }
        return len(keys)


def make_plan(spec: StudySpec, fingerprint: str, records: Iterable[TrialRecord]) -> Plan:
    """Compare what the study declares with what the tracker holds.

    `records` are the trials of every study in the store, in any order: a cell that another study
    finished is done here too. `fingerprint` is the data set's.
    """
    records = tuple(sorted(records, key=lambda record: record.started))
    stored = _Stored(spec, fingerprint, records)
    declared = space.search_blocks(spec, fingerprint)
    blocks = tuple(
        _plan_block(spec, block, fingerprint, stored, _is_shared(block, declared))
        for block in declared
    )
    configurations = [*space.grid_configurations(spec)]
    for planned in blocks:
        configurations.extend(planned.suggestions)
    cells = [
        _stopped([_plan_cell(one, stored) for one in space.cells(spec, made, fingerprint)])
        for made in configurations
    ]
    return Plan(
        study=spec.name,
        fingerprint=fingerprint,
        cells=(
            *itertools.chain(*_spared(spec, cells)),
            *_more_cells(spec, fingerprint, stored, [*itertools.chain(*cells)]),
        ),
        blocks=blocks,
        seeds=1 if is_adaptive(spec) else len(spec.seeds),
        records=records,
    )


def _more_cells(
    spec: StudySpec, fingerprint: str, stored: "_Stored", planned: Sequence[PlannedCell]
) -> list[PlannedCell]:
    """Plan the declared further trials, each once, without those that are planned already."""
    known = {(one.cell.configuration.method, one.cell.key) for one in planned}
    found = []
    for made, seeds in space.more_trials(spec):
        for cell in space.cells(spec, made, fingerprint, seeds):
            if (made.method, cell.key) not in known:
                known.add((made.method, cell.key))
                found.append(replace(_plan_cell(cell, stored), is_further=True))
    return list(_stopped(found, among=planned))


class _Stored:
    """The trials in the store, grouped as a plan looks for them."""

    def __init__(self, spec: StudySpec, fingerprint: str, records: tuple[TrialRecord, ...]) -> None:
        self._is_best_read = spec.evaluation.checkpoint == "best"
        self._study = spec.name
        self._rules = {method: stop_of(spec, method) for method in spec.methods}
        self._fingerprint = fingerprint
        self.records = records
        self.by_key: dict[str, list[TrialRecord]] = defaultdict(list)
        """By the cell's key, earliest first."""
        self._networks: dict[str, list[TrialRecord]] = defaultdict(list)
        for record in records:
            self.by_key[record.cell_key].append(record)
            if record.is_complete:
                self._networks[space.training_key(record.canonical)].append(record)

    def stopped(self, cell: Cell) -> TrialRecord | None:
        """Find the trial that a rung stopped, if the rule is still the study's, else None."""
        rule = self._rules[cell.configuration.method]
        own = [r for r in self.by_key.get(cell.key, ()) if r.study == self._study]
        if rule is None or not own or STOPPED_TAG not in own[-1].labels:
            return None
        return own[-1] if own[-1].labels.get(RULE_TAG) == rule_text(rule) else None

    def source(self, cell: Cell) -> TrialRecord | None:
        """Find a trial that has trained the cell's networks, so that they need only be evaluated.

        Which epoch is the best one depends on the norm and the objective radius, so trials that
        have the cell's are preferred. Of others the last epoch is evaluated, also where the study
        reads the best one. An evaluation that failed is not repeated.
        """
        canonical = space.canonical(cell.config, self._fingerprint)
        tried = self.by_key.get(cell.key, ())
        failed = {r.labels.get(EVALUATED_TAG) for r in tried if r.status == "FAILED"}
        found = [
            (knows_best_epoch(record, canonical), record)
            for record in self._networks.get(space.training_key(canonical), ())
            if record.run not in failed
        ]
        return max(found, key=lambda pair: (pair[0], pair[1].started))[1] if found else None

    def finished(self, key: str) -> TrialRecord | None:
        """Find a cell's complete trial, the first of them; None if there is none.

        In a study that reads the best epoch, trials that know theirs come first.
        """
        done = [record for record in self.by_key.get(key, ()) if record.is_complete]
        if self._is_best_read:
            done.sort(key=lambda record: LAST_ALONE_TAG in record.labels)
        return done[0] if done else None


def knows_best_epoch(record: TrialRecord, canonical: Mapping[str, Any]) -> bool:
    """Return whether a trial stored the network that is the best epoch's under `canonical`."""
    ours, theirs = canonical["evaluation"], record.canonical["evaluation"]
    decisive = ("norm", "objective_radius")
    is_same = all(ours[name] == theirs[name] for name in decisive)
    return is_same and LAST_ALONE_TAG not in record.labels


def _plan_cell(cell: Cell, stored: _Stored) -> PlannedCell:
    """Decide a cell's state from its trials, and from trials that trained the same network."""
    tried = stored.by_key.get(cell.key, [])
    failed = [record for record in tried if record.status == "FAILED"]
    complete = stored.finished(cell.key)
    running = next((record for record in tried if record.status == "RUNNING"), None)
    # This is looked for last, as it takes two hashes.
    source = stored.source(cell) if complete is None and running is None else None
    given_up = len(failed) >= MAX_FAILURES_OF_A_CELL or any(r.would_repeat for r in failed)
    state: CellState
    record: TrialRecord | None
    if complete is not None:
        state, record = "done", complete
    elif (stopped := stored.stopped(cell)) is not None:  # even if its worker has not closed it
        state, record = "stopped", stopped
    elif running is not None:
        state, record = "running", running
    elif source is not None:
        state, record = "to evaluate", tried[-1] if tried else None
    elif failed:
        state, record = ("given up" if given_up else "failed"), failed[-1]
    else:
        state, record = "missing", tried[-1] if tried else None
    return PlannedCell(cell=cell, state=state, record=record, failures=len(failed), source=source)


def _stopped(
    cells: Sequence[PlannedCell], among: Sequence[PlannedCell] = ()
) -> tuple[PlannedCell, ...]:
    """Mark what is left of stopped configurations: the seed that was stopped decides for them."""
    stopped = {p.cell.configuration for p in (*cells, *among) if p.state == "stopped"}
    left = [p.cell.configuration in stopped and p.state not in CLOSED for p in cells]
    pairs = zip(cells, left, strict=True)
    return tuple(replace(p, state="stopped") if is_left else p for p, is_left in pairs)


def _spared(spec: StudySpec, cells: list[tuple[PlannedCell, ...]]) -> list[tuple[PlannedCell, ...]]:
    """Mark further seeds that are not wanted, or not yet, where seeds are adaptive.

    Of a configuration that wants seeds the next one is open, as its result may end the race.
    """
    if not is_adaptive(spec):
        return cells
    from study.plan.seeds import wanted  # numpy: only where seeds are raced

    known = [
        [p.record.objectives for p in seeds if p.record is not None and p.record.objectives]
        for seeds in cells
    ]
    raced = [row for row, objectives in enumerate(known) if objectives]
    more = [[p for p in cells[row][1:] if p.state not in CLOSED] for row in raced]
    methods = [cells[row][0].cell.configuration.method for row in raced]
    chosen = wanted([known[row] for row in raced], methods, [len(one) for one in more])
    next_seeds = {more[row][0].cell.key for row in chosen}
    kept = (*CLOSED, "to evaluate", "running")
    return [
        (
            seeds[0],
            *(
                p if p.state in kept or p.cell.key in next_seeds else replace(p, state="spared")
                for p in seeds[1:]
            ),
        )
        for seeds in cells
    ]


def _plan_block(
    spec: StudySpec,
    block: Block,
    fingerprint: str,
    stored: _Stored,
    is_shared: bool,
) -> PlannedBlock:
    """Collect a block's earlier suggestions, and every complete configuration it can learn from.

    Methods that differ in their ranges alone share a block's key. Their suggestions are then
    distinguished by the method that a trial was run for.
    """
    searched = [
        record
        for record in stored.records
        if record.study == spec.name
        and record.block
        and (not is_shared or record.labels["method"] == block.method)
    ]
    own = {record.number: record for record in searched if record.block == block.key}
    chosen = {number: space.taught_values(block, own[number].canonical) for number in sorted(own)}
    suggestions = [
        space.suggested(block, values, number)
        for number, values in chosen.items()
        if values is not None
    ]
    left_out = len(chosen) - len(suggestions)
    suggestions += _evaluable(spec, block, fingerprint, stored, searched, suggestions)
    suggested_keys = {
        cell.key
        for configuration in suggestions
        for cell in space.cells(spec, configuration, fingerprint)
    }
    taught = _taught_points(spec, block, fingerprint, stored, suggested_keys)
    assert spec.search is not None
    to_search = max(0, spec.search.trials - len(suggestions))
    size = space.num_points(block)
    if size is not None:  # of whole numbers only: the points may run out before the trials do
        known = {space.suggested(block, point.chosen, 0).values for point in taught}
        known |= {configuration.values for configuration in suggestions}
        known |= _grid_points(spec, block, fingerprint)
        to_search = min(to_search, max(0, size - len(known)))
    return PlannedBlock(
        block=block,
        suggestions=tuple(suggestions),
        taught=taught,
        to_search=to_search,
        next_number=max([*own, *(made.number for made in suggestions)], default=-1) + 1,
        left_out=left_out,
    )


def _evaluable(
    spec: StudySpec,
    block: Block,
    fingerprint: str,
    stored: _Stored,
    searched: Iterable[TrialRecord],
    known: Iterable[Configuration],
) -> list[Configuration]:
    """List suggestions that were made under another evaluation and have stored networks.

    They keep their numbers, so one whose number was given to another suggestion is left out.
    """
    numbers = {made.number for made in known}
    values = {made.values for made in known}
    found: dict[int, Configuration] = {}
    for record in searched:
        if record.block == block.key or record.number in numbers | set(found):
            continue
        chosen = space.trained_values(block, record.canonical)
        if chosen is None:
            continue
        configuration = space.suggested(block, chosen, record.number)
        if configuration.values in values:
            continue
        cells = space.cells(spec, configuration, fingerprint)
        if any(stored.source(cell) is not None for cell in cells):
            found[record.number] = configuration
    return [found[number] for number in sorted(found)]


def _is_shared(block: Block, declared: tuple[Block, ...]) -> bool:
    """Return whether another method of the study has a block of the same key."""
    return sum(other.key == block.key for other in declared) > 1


def _grid_points(spec: StudySpec, block: Block, fingerprint: str) -> set[space.Values]:
    """Collect the study's own grid configurations that the block could have suggested."""
    found = set()
    for configuration in space.grid_configurations(spec):
        config = space.train_config(spec, configuration, spec.seeds[0])
        chosen = space.taught_values(block, space.canonical(config, fingerprint))
        if chosen is not None:
            found.add(space.suggested(block, chosen, 0).values)
    return found


def _taught_points(
    spec: StudySpec,
    block: Block,
    fingerprint: str,
    stored: _Stored,
    suggested_keys: set[str],
) -> tuple[TaughtPoint, ...]:
    """Collect complete configurations of the block's shape that it did not suggest itself."""
    points: dict[tuple[tuple[str, Value], ...], TaughtPoint] = {}
    for key, tried in stored.by_key.items():
        if key in suggested_keys:
            continue
        chosen = space.taught_values(block, tried[0].canonical)
        if chosen is None:
            continue
        configuration = space.suggested(block, chosen, 0)
        if configuration.values in points:
            continue
        objectives = taught_objectives(
            spec,
            (
                None if found is None else found.objectives
                for cell in space.cells(spec, configuration, fingerprint)
                for found in [stored.finished(cell.key)]
            ),
        )
        if objectives is not None:
            points[configuration.values] = TaughtPoint(chosen=chosen, objectives=objectives)
    return tuple(points.values())


def mean_objectives(
    per_seed: Iterable[tuple[float, float] | None],
) -> tuple[float, float] | None:
    """Compute the mean objectives over seeds; None if a seed has none."""
    pairs = list(per_seed)
    known = [pair for pair in pairs if pair is not None]
    if not known or len(known) < len(pairs):
        return None
    return fmean(clean for clean, _ in known), fmean(robust for _, robust in known)


def taught_objectives(
    spec: StudySpec, per_seed: Iterable[tuple[float, float] | None]
) -> tuple[float, float] | None:
    """Compute the mean that a search learns: over all seeds, or those known if adaptive."""
    pairs = list(per_seed)
    if is_adaptive(spec):
        pairs = [pair for pair in pairs if pair is not None]
    return mean_objectives(pairs)
