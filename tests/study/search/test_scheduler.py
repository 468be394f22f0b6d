"""Rungs and raced seeds without Ray: launches that are killed at any moment and go on."""

import copy
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from ray.tune.search import Searcher

from study.plan.plan import Plan, TrialRecord, make_plan
from study.plan.space import Cell
from study.plan.stops import RULE_TAG, STOPPED_TAG, group_of, is_judge, rule_text
from study.search.recorded import read_rungs
from study.search.scheduler import RungScheduler
from study.search.searcher import StudySearcher
from study.spec import StudySpec, stop_of
from tests.records import DATA, finished_trial

Read = Callable[..., StudySpec]
SLOTS = 2
STOP = "stop: {rungs: [0.2, 0.5], keep: 0.5, grids: true}"
EARLY = f"search: {{trials: 6, {STOP}, seeds: adaptive}}"


def early(read: Read, search: str = EARLY) -> StudySpec:
    """A study with a grid of ten and a search, of ten epochs each."""
    text = read.text  # type: ignore[attr-defined]
    for old, new in {
        "epochs: 3": "epochs: 10",
        "search: {trials: 3}": search,
        "seeds: [0, 1]": "seeds: [0, 1, 2]",
        "rho: [0.1, 0.2]": f"rho: {[round(0.1 * n, 1) for n in range(1, 11)]}",
    }.items():
        text = text.replace(old, new)
    return read(text=text)


def values(cell: Cell, epoch: int) -> tuple[float, float]:
    """A trade-off with an optimum, which noise of its seed and its epoch covers at first."""
    rho: float = getattr(cell.config.method.weights, "rho", 0.0)
    noise = random.Random(f"{cell.key} {epoch}")
    blur = 0.01 + 0.05 / epoch
    clean = 0.9 - 0.3 * rho + blur * (noise.random() - 0.5)
    return clean, 0.2 + rho * (1 - rho) + blur * (noise.random() - 0.5)


@dataclass
class Attempt:
    """A trial while it lasts, and its epochs as the tracker has them."""

    cell: Cell
    run: str
    began: float
    epoch: int = 0
    status: str = "RUNNING"
    labels: dict[str, str] = field(default_factory=dict)
    is_done: bool = False

    @property
    def record(self) -> TrialRecord:
        return finished_trial(
            self.cell,
            run=self.run,
            status=self.status,
            started=self.began,
            metrics={"train/epoch": self.epoch},
            labels={"method": self.cell.configuration.method, **self.labels},
            objectives=values(self.cell, 10) if self.is_done else None,
            is_complete=self.is_done,
        )


class World:
    """The tracker, the kept states, and one launch after another."""

    def __init__(self, spec: StudySpec) -> None:
        self.spec = spec
        self.attempts: list[Attempt] = []
        self.states: dict[str, int] = {}
        self.trials: dict[str, Attempt] = {}
        self.trained: Counter[str] = Counter()
        self.decisions: list[tuple[str, int, bool]] = []

    def get_metric_history(self, run: str, name: str) -> list[Any]:
        """Answer as MLflow's client does."""
        attempt = next(one for one in self.attempts if one.run == run)
        side = ("validation/clean", "validation/robust").index(name)
        epochs = range(1, attempt.epoch + 1)
        return [SimpleNamespace(step=e, value=values(attempt.cell, e)[side]) for e in epochs]

    def plan(self) -> Plan:
        return make_plan(self.spec, DATA, [one.record for one in self.attempts])

    def launch(self) -> None:
        """Begin a launch; what ran in the one before was killed."""
        for attempt in self.trials.values():
            attempt.status = "KILLED"
        self.trials.clear()
        self.searcher = StudySearcher(self.spec, self.plan())
        self.scheduler = self.rebuilt()

    def rebuilt(self) -> RungScheduler:
        known = read_rungs(self, self.spec, self.plan())  # type: ignore[arg-type]
        return RungScheduler(self.spec, self.searcher, known)

    def fill(self) -> bool:
        while len(self.trials) < SLOTS:
            name = f"trial{len(self.attempts)}"
            if self.searcher.suggest(name) in (None, Searcher.FINISHED):
                break
            cell = self.searcher.trial_cells[name]
            start = self.states.get(cell.key, 0)
            run = f"run{len(self.attempts)}"
            attempt = Attempt(cell=cell, run=run, began=float(len(self.attempts)), epoch=start)
            self.attempts.append(attempt)
            self.trials[name] = attempt
        return bool(self.trials)

    def step(self, name: str) -> None:
        """Train a running trial's next epoch, or evaluate it."""
        attempt = self.trials[name]
        cell, trial = attempt.cell, SimpleNamespace(trial_id=name)
        if attempt.epoch == 10:
            attempt.is_done, attempt.status = True, "FINISHED"
            clean, robust = values(cell, 10)
            result = {"complete": True, "objective_clean": clean, "objective_robust": robust}
            del self.trials[name]
            self.searcher.on_trial_complete(name, {"done": True, "seconds": 1.0, **result})
            return
        attempt.epoch += 1
        self.trained[cell.key] += 1
        clean, robust = values(cell, attempt.epoch)
        result = {"epoch": attempt.epoch, "validation_clean": clean, "validation_robust": robust}
        result |= {"done": False, "complete": False}
        if attempt.epoch in (2, 5):
            self.states[cell.key] = attempt.epoch
        if self.scheduler.on_trial_result(None, trial, dict(result)) == "CONTINUE":
            self.searcher.on_trial_result(name, result)
            return
        rule = stop_of(self.spec, cell.configuration.method)
        assert rule is not None
        attempt.labels = {STOPPED_TAG: str(attempt.epoch), RULE_TAG: rule_text(rule)}
        attempt.status = "KILLED"
        del self.trials[name]
        self.searcher.on_trial_complete(name, {**result, "done": True})

    def run(self, rng: random.Random, kills: int = 0) -> None:
        """Work to the end; each launch but the last is killed after some epochs."""
        for number in range(kills + 1):
            self.launch()
            left = rng.randrange(60) if number < kills else 10**6
            while left and self.fill():
                left -= 1
                self.step(rng.choice(list(self.trials)))

    def count(self, state: str) -> int:
        return self.plan().count(state)  # type: ignore[arg-type]

    def finished(self) -> Counter[str]:
        return Counter(one.cell.key for one in self.attempts if one.is_done)

    def stopped(self) -> dict[str, int]:
        return {
            one.cell.key: int(one.labels[STOPPED_TAG])
            for one in self.attempts
            if STOPPED_TAG in one.labels
        }


@pytest.mark.parametrize("seed", range(4))
def test_launches_killed_at_any_moment_finish_each_survivor_once(read: Read, seed: int) -> None:
    world, rng = World(early(read)), random.Random(seed)
    world.run(rng, kills=4)
    finished, stopped = world.finished(), world.stopped()
    assert set(finished.values()) == {1}, f"seed {seed}"
    assert not finished.keys() & stopped.keys(), f"seed {seed}"
    tags = Counter(one.cell.key for one in world.attempts if STOPPED_TAG in one.labels)
    assert set(tags.values()) == {1}, f"seed {seed}: a stopped cell ran again"
    plan = world.plan()
    assert plan.num_open == 0
    for planned in plan.cells:
        if is_judge(world.spec, planned.cell):
            assert planned.state in ("done", "stopped"), f"seed {seed}"
    assert plan.count("stopped") > 0
    world.launch()
    assert not world.fill(), "a launch after the last one starts nothing"


def test_decisions_are_those_of_a_relaunch_with_the_same_records(read: Read) -> None:
    world, rng, compared = World(early(read)), random.Random(3), Counter[bool]()
    world.launch()
    for _ in range(150):
        if not world.fill():
            break
        world.step(rng.choice(list(world.trials)))
        again = world.rebuilt()
        for attempt in world.trials.values():
            if attempt.epoch + 1 in (2, 5) and is_judge(world.spec, attempt.cell):
                cell, epoch = attempt.cell, attempt.epoch + 1
                place = group_of(cell), cell.key, 10, epoch, values(cell, epoch)
                answers = [
                    copy.deepcopy(scheduler._records[cell.configuration.method]).report(*place)
                    for scheduler in (world.scheduler, again)
                ]
                assert answers[0] == answers[1]
                compared[answers[0]] += 1
    assert compared[True]
    assert compared[False]


def test_a_stop_that_was_not_recorded_is_decided_by_the_next_epoch(read: Read) -> None:
    """The launcher was killed between a rung's report and its record."""
    world = World(early(read))
    world.launch()
    while not world.stopped():
        assert world.fill()
        world.step(next(iter(world.trials)))
    [key] = world.stopped()
    lost = next(one for one in world.attempts if STOPPED_TAG in one.labels)
    lost.labels = {}
    world.launch()
    while key not in world.stopped():
        assert world.fill()
        name = next(name for name, one in world.trials.items() if one.cell.key == key)
        world.step(name)
    assert world.stopped()[key] == lost.epoch + 1
    assert world.trained[key] == lost.epoch + 1, "it went on from its kept state"


def test_a_relaunch_that_stops_never_goes_on_from_the_kept_states(read: Read) -> None:
    world = World(early(read, f"search: {{trials: 2, {STOP}}}"))
    world.run(random.Random(0))
    stopped = world.stopped()
    assert stopped
    world.spec = early(read, "search: {trials: 2, stop: never}")
    assert world.count("stopped") == 0
    world.run(random.Random(0))
    assert world.plan().count("done") == world.plan().num_cells
    assert all(world.trained[key] == 10 for key in stopped)


def test_another_rule_opens_what_the_last_one_stopped(read: Read) -> None:
    world = World(early(read))
    world.run(random.Random(0))
    assert world.count("stopped") > 0
    world.spec = early(read, EARLY.replace("keep: 0.5", "keep: 0.9"))
    assert world.count("stopped") == 0
    world.spec = early(read, EARLY.replace(", grids: true", ""))
    assert not {p.cell.configuration.method for p in world.plan().cells if p.state == "stopped"} & {
        "sam"
    }


def test_further_seeds_of_a_configuration_follow_its_first_one(read: Read) -> None:
    world = World(early(read, f"search: {{trials: 6, {STOP}}}"))
    world.run(random.Random(1))
    first = {one.cell.configuration: one for one in reversed(world.attempts)}
    assert all(is_judge(world.spec, one.cell) for one in first.values())
    stopped = {one.cell.configuration for one in world.attempts if STOPPED_TAG in one.labels}
    for configuration in first:
        cells = [one for one in world.attempts if one.cell.configuration == configuration]
        assert len(cells) == (1 if configuration in stopped else 3)
    assert world.plan().count("spared") == 0


def test_configurations_far_from_the_front_are_spared_further_seeds(read: Read) -> None:
    world = World(early(read, "search: {trials: 3, seeds: adaptive}"))
    world.run(random.Random(1), kills=2)
    seeds = Counter(one.cell.configuration for one in world.attempts if one.is_done)
    far = [made for made in seeds if dict(made.values).get("weights.sam.rho", 0) == 1.0]
    near = [made for made in seeds if dict(made.values).get("weights.sam.rho", 0) == 0.2]
    assert [seeds[made] for made in (*far, *near)] == [1, 3]
    plan = world.plan()
    assert plan.num_open == 0
    assert plan.count("spared") == plan.num_cells - plan.count("done") > 0


def test_optuna_is_told_that_a_stopped_configuration_was_pruned(read: Read) -> None:
    world = World(early(read, EARLY.replace("trials: 6", "trials: 12")))
    world.run(random.Random(2))

    def told() -> Counter[TrialState]:
        study: optuna.Study = world.searcher._blocks[0].study
        return Counter(trial.state for trial in study.trials)

    pruned = sum(
        bool(one.cell.configuration.block) for one in world.attempts if STOPPED_TAG in one.labels
    )
    assert pruned > 0
    assert told() == {TrialState.PRUNED: pruned, TrialState.COMPLETE: 12 - pruned}
    world.launch()
    assert told() == {TrialState.PRUNED: pruned, TrialState.COMPLETE: 12 - pruned}


@pytest.mark.parametrize(("claims", "first"), [("", "standard"), ("[sam, sam_at]", "sam")])
def test_methods_that_a_claim_compares_are_given_their_seeds_first(
    read: Read, claims: str, first: str
) -> None:
    search = "search: {trials: 3, seeds: adaptive}"
    if claims:
        search += f"\n  claims: [{{methods: {claims}, direction: more}}]"
    world = World(early(read, search))
    world.launch()
    further: list[Cell] = []
    while not further:
        assert world.fill()
        world.step(next(iter(world.trials)))
        further = [one.cell for one in world.attempts if not is_judge(world.spec, one.cell)]
    assert further[0].configuration.method == first


@pytest.mark.parametrize("seeds", ["all", "adaptive"])
def test_declared_further_trials_run_unless_their_configuration_is_stopped(
    read: Read, seeds: str
) -> None:
    more = (
        "{method: sam, values: {rho: 1.0}, seeds: [7, 8]}, "
        "{method: sam, values: {rho: 1.6}}, {method: sam, values: {rho: 0.25}}, "
        "{method: sam_at, values: {rho: 0.2}, seeds: [7]}"
    )
    search = f"search: {{trials: 3, {STOP}, seeds: {seeds}}}\n  more_trials: [{more}]"
    world = World(early(read, search))
    world.run(random.Random(1), kills=2)
    assert world.plan().num_open == 0
    states = Counter((p.cell.configuration.values, p.state) for p in world.plan().cells)
    rho = "weights.sam.rho"
    assert states[((rho, 1.0),), "stopped"] == 5, "of a configuration that lists have, too"
    assert states[((rho, 1.6),), "stopped"] == 3
    assert states[((rho, 0.25),), "done"] == 3
    assert states[((rho, 0.2),), "done"] == 3 + 1, "of two methods, one seed without a first one"
    world.launch()
    assert not world.fill()
