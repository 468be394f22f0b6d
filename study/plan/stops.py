"""Who may be stopped early and who is given seeds one by one, as a study declares it."""

import json
from dataclasses import dataclass

from study.plan.space import Cell
from study.spec import StopSpec, StudySpec, stop_of
from study.spec.search import rung_epochs

STOPPED_TAG = "stopped"
"""Tag of a run that a rung stopped: the epoch after which it stopped."""
RULE_TAG = "stop_rule"
"""Tag of such a run: the rule that stopped it. Under another rule its cell is open again."""


@dataclass(frozen=True, kw_only=True)
class RungRule:
    """At which shares of a training configurations are compared, and how many go on."""

    shares: tuple[float, ...]
    """Rising, in (0, 1)."""
    keep: float
    """The share of the configurations at a rung that goes on, in (0, 1)."""

    def epochs(self, total: int) -> tuple[int, ...]:
        """Return the epochs that are rungs of a training of `total` epochs.

        >>> RungRule(shares=(0.2, 0.5), keep=0.5).epochs(20)
        (4, 10)
        """
        found = rung_epochs(self.shares, total)
        return tuple(dict.fromkeys(epoch for epoch in found if epoch < total))


def stops_of(spec: StudySpec) -> dict[str, StopSpec]:
    """Return the rule of each method whose trainings are stopped."""
    found = {method: stop_of(spec, method) for method in spec.methods}
    return {method: stop for method, stop in found.items() if stop is not None}


def rungs_of(spec: StudySpec, cell: Cell) -> tuple[int, ...]:
    """Return the epochs after which a cell may be stopped; none if it decides for no other."""
    stop = stop_of(spec, cell.configuration.method)
    if stop is None or not is_judge(spec, cell):
        return ()
    return rung_rule(stop).epochs(cell.config.training.epochs)


def rung_rule(stop: StopSpec) -> RungRule:
    """Return a declared rule as rungs compare by it."""
    return RungRule(shares=stop.rungs, keep=stop.keep)


def rule_text(stop: StopSpec) -> str:
    """Return a rule as it is recorded: equal texts are equal rules.

    >>> rule_text(StopSpec(rungs=(0.2, 0.5), keep=0.5))
    '{"keep": 0.5, "rungs": [0.2, 0.5]}'
    """
    return json.dumps({"keep": stop.keep, "rungs": list(stop.rungs)})


def is_adaptive(spec: StudySpec) -> bool:
    """Return whether further seeds run only where they decide who is on a front."""
    return spec.search is not None and spec.search.seeds == "adaptive"


def claimed_methods(spec: StudySpec) -> frozenset[str]:
    """Return the methods that a declared claim compares."""
    return frozenset(name for claim in spec.claims for name in claim.methods)


def group_of(cell: Cell) -> str:
    """Return what a cell is compared within at a rung: its method and its schedule."""
    training = cell.config.training
    schedule = training.schedule, training.epochs, training.milestones
    return " ".join(map(str, (cell.configuration.method, *schedule)))


def is_judge(spec: StudySpec, cell: Cell) -> bool:
    """Return whether a cell decides for its configuration at the rungs: its first seed does."""
    return cell.seed == spec.seeds[0]
