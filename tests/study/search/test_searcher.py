"""The searcher without Ray: driven through any order of completion, failure and relaunch."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import get_args

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ray.tune.search import Searcher

from study.launch.callbacks import Watch
from study.launch.interrupts import Interrupts
from study.plan import space
from study.plan.plan import TrialRecord, make_plan
from study.plan.space import Cell
from study.search.samplers import SAMPLERS, make_sampler
from study.search.searcher import MAX_LOSSES, StudySearcher
from study.spec import Sampler, StudySpec

Read = Callable[..., StudySpec]
DATA = "some-data"
SLOTS = 2


@dataclass
class World:
    """What MLflow would hold, and one launch after another that works on it."""

    spec: StudySpec
    records: list[TrialRecord] = field(default_factory=list)
    searcher: StudySearcher | None = None
    trials: dict[str, Cell] = field(default_factory=dict)
    num_trials: int = 0

    def launch(self) -> None:
        """Begin a launch, whatever became of the one before: its trials were killed."""
        for cell in self.trials.values():
            self.note(cell, "KILLED")
        self.trials.clear()
        self.searcher = StudySearcher(self.spec, make_plan(self.spec, DATA, self.records))

    def fill(self) -> bool:
        """Start trials until the slots are full; tell whether any is running."""
        assert self.searcher is not None
        while len(self.trials) < SLOTS:
            name = f"trial{self.num_trials}"
            given = self.searcher.suggest(name)
            if given in (None, Searcher.FINISHED):
                break
            self.num_trials += 1
            self.trials[name] = self.searcher.trial_cells[name]
            assert given["key"] == self.trials[name].key
        return bool(self.trials)

    def end(self, name: str, outcome: str) -> None:
        """Let a running trial finish or fail."""
        assert self.searcher is not None
        cell = self.trials.pop(name)
        if outcome == "FINISHED":
            clean, robust = objectives(cell)
            result = {"complete": True, "objective_clean": clean, "objective_robust": robust}
        else:
            result = {"complete": False, "failed": True, "reason": "broke"}
        self.note(cell, outcome)
        self.searcher.on_trial_complete(name, {"done": True, **result})

    def note(self, cell: Cell, status: str, *, would_repeat: bool = False) -> None:
        is_done = status == "FINISHED"
        self.records.append(
            TrialRecord(
                run=f"run{len(self.records)}",
                study=self.spec.name,
                cell_key=cell.key,
                block=cell.configuration.block,
                number=cell.configuration.number,
                canonical=space.canonical(cell.config, DATA),
                status=status,  # type: ignore[arg-type]
                reason="",
                would_repeat=would_repeat,
                objectives=objectives(cell) if is_done else None,
                is_complete=is_done,
                started=float(len(self.records)),
                seconds=1.0,
                metrics={},
                labels={"method": cell.configuration.method},
                artifacts="",
            )
        )

    def finished(self) -> Counter[str]:
        return Counter(r.cell_key for r in self.records if r.status == "FINISHED")


def objectives(cell: Cell) -> tuple[float, float]:
    """Some smooth trade-off, different for each seed."""
    rho: float = getattr(cell.config.method.weights, "rho", 0.0)
    return 1 - rho / 10 - cell.seed / 1000, min(0.9, rho) - cell.seed / 1000


def run_to_the_end(world: World) -> None:
    while world.fill():
        world.end(next(iter(world.trials)), "FINISHED")


def test_every_sampler_that_a_study_may_name_can_be_built() -> None:
    assert tuple(SAMPLERS) == get_args(Sampler)


def test_an_experimental_sampler_warns_of_nothing(
    read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A warning would be an error here."""
    experimental = optuna.samplers.QMCSampler
    monkeypatch.setitem(SAMPLERS, "tpe", lambda seed, trials: experimental(seed=seed))  # type: ignore[arg-type]
    spec = read()
    [block] = space.search_blocks(spec, DATA)
    assert isinstance(make_sampler(spec, block, 0), experimental)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_cell_is_handed_out_once_and_then_it_finishes(read: Read, sampler: str) -> None:
    world = World(read(text=read.text.replace("trials: 3", f"trials: 3, sampler: {sampler}")))  # type: ignore[attr-defined]
    world.launch()
    run_to_the_end(world)
    assert len(world.finished()) == 12
    assert set(world.finished().values()) == {1}
    world.launch()
    assert world.searcher is not None
    assert world.searcher.suggest("late") == Searcher.FINISHED


def test_grid_cells_come_before_suggestions_and_seeds_follow_each_other(read: Read) -> None:
    world = World(read())
    world.launch()
    assert world.searcher is not None
    cells = []
    for number in range(12):
        world.searcher.suggest(f"trial{number}")
        cells.append(world.searcher.trial_cells[f"trial{number}"])
    assert [bool(cell.configuration.block) for cell in cells] == [False] * 6 + [True] * 6
    assert [cell.seed for cell in cells] == [0, 1] * 6


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_order_of_ends_and_kills_finishes_every_cell_once(
    read: Read, data: st.DataObject
) -> None:
    world = World(read())
    world.launch()
    for _ in range(data.draw(st.integers(0, 25), "events")):
        if not world.fill():
            break
        if data.draw(st.integers(0, 4), "kill?") == 0:
            world.launch()
        else:
            world.end(data.draw(st.sampled_from(sorted(world.trials)), "ends"), "FINISHED")
    world.launch()
    run_to_the_end(world)
    assert len(world.finished()) == 12
    assert set(world.finished().values()) == {1}
    suggested = {r.canonical["method"]["weights"]["sam"]["rho"] for r in world.records if r.block}
    assert len(suggested) == 3


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_failures_cost_their_cell_alone_and_never_more_than_two_tries(
    read: Read, data: st.DataObject
) -> None:
    world = World(read())
    for _ in range(3):
        world.launch()
        while world.fill():
            outcome = data.draw(st.sampled_from(["FINISHED", "FINISHED", "FAILED"]))
            world.end(data.draw(st.sampled_from(sorted(world.trials))), outcome)
    failed = Counter(r.cell_key for r in world.records if r.status == "FAILED")
    assert all(count <= 2 for count in failed.values())
    given_up = {key for key, count in failed.items() if count == 2}
    assert len(world.finished().keys() | given_up) == 12
    assert not world.finished().keys() & given_up
    plan = make_plan(world.spec, DATA, world.records)
    assert (plan.num_open, plan.count("given up")) == (0, len(given_up))


def test_suggestion_is_told_the_mean_over_seeds_when_the_last_is_in(read: Read) -> None:
    world = World(read())
    world.launch()
    run_to_the_end(world)
    assert world.searcher is not None
    [block] = world.searcher._blocks
    trials = block.study.trials
    assert len(trials) == 3
    for trial in trials:
        rho = trial.params["weights.sam.rho"]
        assert trial.values == pytest.approx([1 - rho / 10 - 0.0005, min(0.9, rho) - 0.0005])


def test_rebuilt_search_knows_every_finished_suggestion(read: Read) -> None:
    world = World(read())
    world.launch()
    run_to_the_end(world)
    first = world.searcher
    world.spec = read(text=read.text.replace("trials: 3", "trials: 5"))  # type: ignore[attr-defined]
    world.launch()
    assert first is not None
    assert world.searcher is not None
    old, new = first._blocks[0].study.trials, world.searcher._blocks[0].study.trials
    assert [(t.params, t.values) for t in old] == [(t.params, t.values) for t in new]


def test_interrupted_suggestion_is_finished_with_the_same_values(read: Read) -> None:
    world = World(read())
    world.launch()
    while not any(r.block for r in world.records):
        world.fill()
        world.end(next(iter(world.trials)), "FINISHED")
    [half] = [r for r in world.records if r.block]
    world.launch()
    run_to_the_end(world)
    of_first = [r for r in world.records if r.block and r.number == half.number]
    values = {r.canonical["method"]["weights"]["sam"]["rho"] for r in of_first}
    assert values == {half.canonical["method"]["weights"]["sam"]["rho"]}


def test_grid_cells_of_the_same_sides_teach_the_search(read: Read) -> None:
    grid = (
        "    sam_at_grid: {weights: {sam: {rho: [0.1, 0.4]}},\n"
        "                  inputs: {pgd: {norm: linf, epsilon: 0.1, steps: 1}}}\n"
    )
    text = read.text.replace("  search:", grid + "  search:")  # type: ignore[attr-defined]
    world = World(read(text=text))
    world.launch()
    assert world.searcher is not None
    [block] = world.searcher._blocks
    run_to_the_end(world)
    learnt = [t.params["weights.sam.rho"] for t in block.study.trials if t.values]
    assert {0.1, 0.4} < set(learnt)
    assert len(learnt) == 5
    world.launch()
    known = [t.params["weights.sam.rho"] for t in world.searcher._blocks[0].study.trials]
    assert sorted(known) == sorted(learnt)


def test_small_space_of_whole_numbers_is_used_up_without_a_repeat(read: Read) -> None:
    text = read.text.replace(  # type: ignore[attr-defined]
        "{weights: {sam: {rho: {low: 0.05, high: 0.8, log: true}}},\n"
        "             inputs: {pgd: {norm: linf, epsilon: 0.1, steps: 1}}}",
        "{inputs: {pgd: {norm: linf, epsilon: 0.1, steps: {low: 1, high: 4}}}}",
    ).replace("trials: 3", "trials: 9")
    world = World(read(text=text))
    world.launch()
    while world.fill():
        world.end(next(iter(world.trials)), "FINISHED")
    steps = Counter(
        r.canonical["method"]["inputs"]["pgd"]["steps"] for r in world.records if r.block
    )
    assert steps == {1: 2, 2: 2, 3: 2, 4: 2}
    assert make_plan(world.spec, DATA, world.records).num_open == 0


def test_sampler_draws_other_points_after_a_relaunch(read: Read) -> None:
    spec = read()
    [block] = space.search_blocks(spec, DATA)

    def first_draw(num_known: int) -> float:
        study = optuna.create_study(sampler=make_sampler(spec, block, num_known))
        return study.ask().suggest_float("x", 0, 1)

    assert first_draw(0) == first_draw(0)
    assert len({first_draw(known) for known in range(5)}) == 5


def test_stopped_trial_is_neither_done_nor_failed(read: Read) -> None:
    world = World(read())
    world.launch()
    assert world.searcher is not None
    world.searcher.suggest("one")
    world.searcher.on_trial_complete("one", {"done": True, "complete": False, "epoch": 1})
    assert world.searcher.failures == []
    assert not world.searcher.trial_cells


def test_cell_of_a_lost_worker_is_handed_out_next_and_is_no_failure(read: Read) -> None:
    world = World(read())
    world.launch()
    searcher = world.searcher
    assert searcher is not None
    first = searcher.suggest("trial 0")
    assert not first["again"]
    for loss in range(2 * MAX_LOSSES):
        searcher.on_trial_result(f"trial {loss}", {"epoch": 1 + loss // 2})
        searcher.on_trial_complete(f"trial {loss}", error=True)
        # It got further in the meantime.
        assert searcher.suggest(f"trial {loss + 1}") == first | {"again": True}
    assert searcher.failures == []
    assert searcher.last_lost is not None
    assert searcher.last_lost.key == first["key"]


def test_cell_whose_worker_is_lost_five_times_at_one_epoch_is_left_with_a_hint(read: Read) -> None:
    world = World(read())
    world.launch()
    searcher = world.searcher
    assert searcher is not None
    first = searcher.suggest("trial")
    for loss in range(MAX_LOSSES):
        assert searcher.failures == []
        searcher.on_trial_result("trial", {"epoch": 7})
        searcher.on_trial_complete("trial", error=True)
        handed = searcher.suggest("trial")
        assert (handed["key"] == first["key"]) == (loss < MAX_LOSSES - 1)
    [(cell, reason)] = searcher.failures
    assert cell.key == first["key"]
    assert reason.startswith("its worker was lost 5 times after epoch 7; if the machine is short")


def test_last_cell_comes_back_if_its_worker_is_lost(read: Read) -> None:
    world = World(read())
    world.launch()
    searcher = world.searcher
    assert searcher is not None
    trials = []
    while (handed := searcher.suggest(f"trial {len(trials)}")) is not None:
        trials.append(handed)
    last = f"trial {len(trials) - 1}"
    searcher.on_trial_complete(last, error=True)
    assert searcher.suggest("again") == trials[-1] | {"again": True}
    for trial in [*(f"trial {number}" for number in range(len(trials) - 1)), "again"]:
        done = {"complete": True, "objective_clean": 0.5, "objective_robust": 0.5}
        searcher.on_trial_complete(trial, done)
    assert searcher.suggest("none") == Searcher.FINISHED


def test_trainings_that_detectors_end_stop_no_launch_and_broken_ones_do(read: Read) -> None:
    world = World(read())
    world.launch()
    searcher = world.searcher
    assert searcher is not None
    watch = Watch(searcher, None, None, Interrupts(), None, max_failures=1)
    ended = {"failed": True, "complete": False, "reason": "stuck at chance"}
    for is_ended, number, stops in ((True, 3, False), (False, 1, False), (False, 1, True)):
        for _ in range(number):
            trial = f"trial {len(searcher.failures)}"
            searcher.suggest(trial)
            searcher.on_trial_complete(trial, {**ended, "ended": is_ended})
        assert watch.stop_all() is stops
    assert len(searcher.failures) == 5
    rule = "stopped after 2 failed trials (more than 1); the last failure: "
    assert watch.problem.startswith(rule)


def test_stopping_searcher_hands_out_nothing(read: Read) -> None:
    world = World(read())
    world.launch()
    assert world.searcher is not None
    world.searcher.is_stopping = True
    assert world.searcher.suggest("one") == Searcher.FINISHED


def test_methods_that_differ_in_their_ranges_alone_keep_their_trials_apart(read: Read) -> None:
    narrow = (
        "    narrow: {weights: {sam: {rho: {low: 0.1, high: 0.11}}},\n"
        "             inputs: {pgd: {norm: linf, epsilon: 0.1, steps: 1}}}\n"
    )
    world = World(read(text=read.text.replace("  search:", narrow + "  search:")))  # type: ignore[attr-defined]
    world.launch()
    run_to_the_end(world)
    plan = make_plan(world.spec, DATA, world.records)
    assert {planned.cell.key for planned in plan.cells} == set(world.finished())
    assert (plan.num_open, plan.count("done")) == (0, 18)


def test_range_of_whole_numbers_beside_a_list_of_them_finishes(read: Read) -> None:
    text = read.text.replace(  # type: ignore[attr-defined]
        "{weights: {sam: {rho: {low: 0.05, high: 0.8, log: true}}},\n"
        "             inputs: {pgd: {norm: linf, epsilon: 0.1, steps: 1}}}",
        "{inputs: {pgd: {norm: linf, epsilon: 0.1, steps: {low: 1, high: 4}}}}\n"
        "    listed: {inputs: {pgd: {norm: linf, epsilon: 0.1, steps: [1, 2, 3]}}}",
    )
    world = World(read(text=text))
    assert make_plan(world.spec, DATA, []).to_search == 2
    world.launch()
    run_to_the_end(world)
    assert set(world.finished().values()) == {1}
    assert make_plan(world.spec, DATA, world.records).num_open == 0


def test_cell_that_two_methods_suggest_runs_once_and_is_then_looked_up(read: Read) -> None:
    sides = "inputs: {pgd: {norm: linf, epsilon: 0.1, steps: {low: 1, high: 3}}}"
    text = read.text.replace(  # type: ignore[attr-defined]
        "{weights: {sam: {rho: {low: 0.05, high: 0.8, log: true}}},\n"
        "             inputs: {pgd: {norm: linf, epsilon: 0.1, steps: 1}}}",
        f"{{{sides}}}\n    narrow: {{{sides.replace('3', '2')}}}",
    ).replace("seeds: [0, 1]", "seeds: [0]")
    searcher = StudySearcher(read(text=text), make_plan(read(text=text), DATA, []))
    handed: list[tuple[str, bool]] = []
    names: list[str] = []
    while (given := searcher.suggest(f"trial {len(handed)}")) != Searcher.FINISHED:
        if given is None:  # whatever is left waits for the first of those that run
            done = {"complete": True, "objective_clean": 0.5, "objective_robust": 0.5}
            searcher.on_trial_complete(names.pop(0), done)
            continue
        names.append(f"trial {len(handed)}")
        handed.append((given["key"], given["again"]))
        assert len({cell.key for cell in searcher.trial_cells.values()}) == len(names)
    # Three of the grid, three of the first method, and two of these of the other one.
    assert [again for _, again in handed] == [False] * 6 + [True] * 2


def test_further_seeds_wait_for_a_first_one_until_it_is_given_up(read: Read) -> None:
    stop = "search: {trials: 1, stop: {rungs: [0.5], keep: 0.5}}"
    text = read.text.replace("search: {trials: 3}", stop)  # type: ignore[attr-defined]
    for ended in (True, False):
        world = World(read(text=text))
        world.launch()
        for _ in range(1 if ended else 2):  # failures that are given up
            assert world.searcher is not None
            while world.fill():
                name, cell = next(iter(world.trials.items()))
                is_first = cell.configuration.method == "sam_at" and cell.seed == 0
                if is_first and ended:
                    del world.trials[name]
                    world.note(cell, "FAILED", would_repeat=True)
                    broke = {"failed": True, "ended": True, "reason": "stuck"}
                    world.searcher.on_trial_complete(name, {"done": True, **broke})
                else:
                    world.end(name, "FAILED" if is_first else "FINISHED")
            plan = make_plan(world.spec, DATA, world.records)
            if plan.count("given up") == 0:
                assert plan.count("missing") == 1, "the second seed waits for the next launch"
                world.launch()
        assert (plan.count("given up"), plan.num_open) == (1, 0)
