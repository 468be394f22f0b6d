"""Ways to search, replayed on the recorded table of trainings: `python benchmarks/replay.py`.

A way to search is a searcher with a scheduler (`replay_loop.py`), run on each method of the table
until it has nothing left to do. Each replay has its own order of seeds and its own draws of the
samplers. Prints what it measures, and writes it to `benchmarks/replay.txt` and `.json`.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler
from replay_loop import SLOTS, Floats, Loop, Replay, Searched, searched
from search_table import CHECK, MAIN, Table, blocks, declared, load

from study.plan.plan import make_plan
from study.plan.space import Block
from study.search.scheduler import RungScheduler
from study.search.searcher import StudySearcher
from study.spec import StudySpec
from study.spec.search import StopSpec

HERE = Path(__file__).parent
Policy = Callable[[Searched, Block, int], tuple[Any, Any]]
"""From a method, its block and the replay's number to a searcher and a scheduler."""
Goal = tuple[float, float]
WITHIN: Goal = (0.99, 0.975)
"""Median and 5th percentile, over replays, of the share of the best hypervolume."""


def ours(
    *,
    seeds: int | Literal["adaptive"] | None = None,
    stop: tuple[tuple[float, ...], float] | None = None,
    scheduler: Callable[[], Any] | None = None,
    **search: Any,
) -> Policy:
    """Search as `study launch` does.

    seeds: how many of the table's; None for all of them, or raced. stop: the rungs, and the share
    kept. scheduler: in place of ours.
    """
    rungs = None if stop is None else StopSpec(rungs=stop[0], keep=stop[1])

    def build(found: Searched, block: Block, number: int) -> tuple[Any, Any]:
        count = seeds if isinstance(seeds, int) else found.measured.shape[1]
        rule = "adaptive" if seeds == "adaptive" else "all"
        settings = {"trials": len(found.truth), "stop": rungs, "seeds": rule, **search}
        spec = spec_of(declared(), found.name, search=settings, seeds=tuple(range(count)))
        # The samplers' seeds follow from the name of the data, so each replay has its own.
        searcher = StudySearcher(spec, make_plan(spec, f"replay {number}", ()))
        return searcher, RungScheduler(spec, searcher) if scheduler is None else scheduler()

    return build


def spec_of(spec: StudySpec, method: str, **changes: Any) -> StudySpec:
    """Keep one method of a study, with other settings of its search."""
    assert spec.search is not None
    search = spec.search.model_copy(update=changes.pop("search", {}))
    kept = {"methods": {method: spec.methods[method]}, "search": search, **changes}
    return spec.model_copy(update=kept)


def asha(grace: int, factor: int) -> Callable[[], Any]:
    """Build Ray's ASHA on the mean of both accuracies."""
    return partial(
        AsyncHyperBandScheduler,
        time_attr="epoch",
        metric="score",
        mode="max",
        max_t=20,
        grace_period=grace,
        reduction_factor=factor,
        stop_last_trials=False,
    )


class Moasha(FIFOScheduler):  # type: ignore[misc]
    """Syne Tune's MOASHA in place of a scheduler of Ray's; `pip install syne-tune` is for it alone.

    As of 0.16.0 its rungs compare as ranks what is the order of the trials, so that the number of
    the worst trial decides whether one goes on. `ranked` repairs that.
    """

    def __init__(self, grace: int, factor: int, *, ranked: bool) -> None:
        from syne_tune.optimizer.schedulers.multiobjective.moasha import (
            MOASHA,
            NonDominatedPriority,
        )

        class Ranked(NonDominatedPriority):
            def priority_unsafe(self, objectives: Floats) -> Any:
                return np.argsort(super().priority_unsafe(objectives))

        super().__init__()
        self._moasha = MOASHA(
            config_space={},
            metrics=["validation_clean", "validation_robust"],
            do_minimize=False,
            time_attr="epoch",
            multiobjective_priority=Ranked() if ranked else NonDominatedPriority(),
            max_t=20,
            grace_period=grace,
            reduction_factor=factor,
        )

    def on_trial_add(self, controller: Any, trial: Any) -> None:
        """Pass a new trial on."""
        self._moasha.on_trial_add(trial)

    def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Return what it decides after an epoch: the words are Ray's."""
        return str(self._moasha.on_trial_result(trial, result))

    def on_trial_complete(self, controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Pass an end on."""
        self._moasha.on_trial_complete(trial, result)


SHARES = np.linspace(0.0, 1.0, 101)
"""Of all epochs: where the curve of a way to search is written down."""
HALF = ((0.5,), 0.5)
MOST = ((0.5,), 0.7)
EARLY = ((0.2, 0.5), 0.5)
POLICIES: Mapping[str, Policy] = {
    "random, all seeds": ours(sampler="random"),
    "random, two seeds": ours(sampler="random", seeds=2),
    "random, one seed": ours(sampler="random", seeds=1),
    "TPE, all seeds": ours(sampler="tpe"),
    "TPE, one seed": ours(sampler="tpe", seeds=1),
    "NSGA-II, all seeds": ours(sampler="nsga2"),
    "NSGA-II, one seed": ours(sampler="nsga2", seeds=1),
    "GP, all seeds": ours(sampler="gp"),
    "GP, one seed": ours(sampler="gp", seeds=1),
    "ASHA 4-8-16, all seeds": ours(sampler="random", scheduler=asha(4, 2)),
    "ASHA 4-8-16, one seed": ours(sampler="random", seeds=1, scheduler=asha(4, 2)),
    "ASHA 1-4-16, one seed": ours(sampler="random", seeds=1, scheduler=asha(1, 4)),
    "MOASHA 4-8-16, one seed": ours(
        sampler="random", seeds=1, scheduler=partial(Moasha, 4, 2, ranked=True)
    ),
    "MOASHA 4-8-16, all seeds": ours(
        sampler="random", scheduler=partial(Moasha, 4, 2, ranked=True)
    ),
    "MOASHA as it is, one seed": ours(
        sampler="random", seeds=1, scheduler=partial(Moasha, 4, 2, ranked=False)
    ),
    "ours: rungs": ours(sampler="random", stop=HALF),
    "ours: seeds": ours(sampler="random", seeds="adaptive"),
    "ours: rungs and seeds": ours(sampler="random", stop=HALF, seeds="adaptive"),
    "ours: rungs (0.7) and seeds": ours(sampler="random", stop=MOST, seeds="adaptive"),
    "ours: early rungs and seeds": ours(sampler="random", stop=EARLY, seeds="adaptive"),
    "ours with TPE: rungs": ours(sampler="tpe", stop=HALF),
    "ours with TPE: seeds": ours(sampler="tpe", seeds="adaptive"),
    "ours with TPE: rungs and seeds": ours(sampler="tpe", stop=HALF, seeds="adaptive"),
}
"""By name. Rungs are at half the epochs, where a half goes on; at 0.7 seven tenths, early ones also
after a fifth. ASHA is Ray's and has its rungs at the epochs in its name; it judges the mean of both
accuracies, MOASHA both. TPE, NSGA-II and GP are Optuna's own, for two objectives; with all seeds
they are told the means."""
SLOW = {"GP, one seed": 10}
"""Ways that decide slowly, with the number of replays that they get at most. With all seeds the GP
takes an hour for 500."""


def replay(table: Table, policy: Policy, number: int) -> dict[str, Replay]:
    """Replay one search of every method."""
    rng = np.random.default_rng(number)
    found = {}
    for method, block in blocks(declared()).items():
        one = searched(table, block, rng)
        found[method] = Loop(one, block, *policy(one, block, number)).run()
    return found


def reached(replays: Sequence[Replay], goal: Goal = WITHIN) -> float:
    """Find the epochs from which on the shares have this median, and this 5th percentile.

    Infinite if they never have.
    """
    times = np.unique(np.concatenate([one.spent for one in replays]))
    at = np.array([held(one, times) for one in replays])
    holds = (np.median(at, axis=0) >= goal[0]) & (np.quantile(at, 0.05, axis=0) >= goal[1])
    if not holds[-1]:
        return float("inf")
    return float(times[np.flatnonzero(~holds)[-1] + 1 if not holds.all() else 0])


def held(one: Replay, times: Floats) -> Floats:
    """Return the share that a search held at each time; 0 before its first."""
    places = np.searchsorted(one.spent, times, side="right")
    shares: Floats = np.concatenate([[0.0], one.share])[places]
    return shares


def summary(replays: Sequence[Mapping[str, Replay]], table: Table) -> dict[str, Any]:
    """Summarise the replays of one way to search."""
    methods = list(replays[0])
    by_method = {method: [one[method] for one in replays] for method in methods}
    full = {method: int(table.epochs[table.rows(method)].sum()) for method in methods}
    everything = sum(full.values())
    each = [one for found in replays for one in found.values()]
    last = np.array([[one[method].share[-1] for method in methods] for one in replays])
    along = np.mean(
        [[held(one, full[m] * SHARES) for one in by_method[m]] for m in methods], axis=0
    )
    goals = {"goal": WITHIN, "median alone": (WITHIN[0], 0.0)}
    epochs = {
        name: {method: reached(by_method[method], goal) for method in methods}
        for name, goal in goals.items()
    }
    true = sum(one.nondominated for one in each)
    return {
        "replays": len(replays),
        "share_to": {n: finite(sum(found.values()) / everything) for n, found in epochs.items()},
        "share_to_by_method": {m: finite(epochs["goal"][m] / full[m]) for m in methods},
        "share_of_epochs": float(np.mean([sum(o.total for o in f.values()) for f in replays]))
        / everything,
        "hypervolume": {
            "median": float(np.median(last)),
            "low": float(np.quantile(last, 0.05)),
        },
        "curve": [round(float(share), 4) for share in np.median(along, axis=0)],
        "lost": sum(one.lost for one in each) / true,
        "stopped": sum(one.stopped for one in each) / true,
        "milliseconds_per_trial": 1000
        * sum(one.seconds for one in each)
        / sum(one.trials for one in each),
    }


def text(found: Mapping[str, Mapping[str, Any]], title: str) -> str:
    """Write the summaries as a table."""
    head = ("n", "99 % at", "median", "ends at", "area", "5th", "lost", "stopped", "ms")
    lines = [title, "", f"{'':<32}" + "".join(f"{name:>9}" for name in head)]
    for name, one in found.items():
        area, to = one["hypervolume"], one["share_to"]
        shares = (
            to["goal"],
            to["median alone"],
            one["share_of_epochs"],
            area["median"],
            area["low"],
            one["lost"],
            one["stopped"],
        )
        numbers = "".join(f"{percent(share):>9}" for share in shares)
        milliseconds = one["milliseconds_per_trial"]
        lines.append(f"{name:<32}{one['replays']:>9}{numbers}{milliseconds:>9.2f}")
    return "\n".join(lines) + "\n"


def percent(share: float | None) -> str:
    """Format a share; None was never reached."""
    return "never" if share is None else f"{share:.1%}"


def finite(value: float) -> float | None:
    """Return None for a time that never came, as JSON has no infinity."""
    return float(value) if np.isfinite(value) else None


def title(table: Table) -> str:
    """Describe the table and the columns."""
    num, seeds, epochs = table.bits.shape[:3]
    return f"""\
{num} configurations of the digits (SAM, AT, SAM with AT) x {seeds} seeds x {epochs} epochs, each
method searched by itself, {SLOTS} trials at once; n replays, in other orders and with other draws.
99 % at  epochs, as a share of all, from which on the median hypervolume of the front found is at
         least 99 % of the best and its 5th percentile at least 97.5 %; median: the first alone
ends at  epochs of the whole search, as a share of all; area, 5th: hypervolume then
lost     truly nondominated configurations that are not on the front found
stopped  those of them that have no finished seed at all
ms       of CPU that searcher and scheduler take for a trial, with all that they decide about it"""


def run(table: Table, name: str, replays: int) -> dict[str, Any]:
    """Replay one way to search, and summarise."""
    count = min(replays, SLOW.get(name, replays))
    return summary([replay(table, POLICIES[name], number) for number in range(count)], table)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--replays", type=int, default=500)
    parser.add_argument("--check", action="store_true", help="on the table that is held back")
    parser.add_argument(
        "--only", nargs="+", choices=POLICIES, default=list(POLICIES), metavar="WAY"
    )
    parser.add_argument("--output", type=Path, default=HERE, help="folder of the .txt and .json")
    told = parser.parse_args()
    table, stem = (load(CHECK), "replay_check") if told.check else (load(MAIN), "replay")
    path = told.output / f"{stem}.json"
    # What an earlier call measured stays, so that one way to search can be measured again alone.
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for name in told.only:
        if name.startswith("MOASHA") and find_spec("syne_tune") is None:
            print(f"{name}: left out, as syne-tune is not installed")
            continue
        found[name] = run(table, name, told.replays)
        found = {known: found[known] for known in POLICIES if known in found}
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        written = text(found, title(table))
        path.with_suffix(".txt").write_text(written, encoding="utf-8")
        print(written, flush=True)


if __name__ == "__main__":
    main()
