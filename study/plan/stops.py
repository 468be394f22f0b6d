"""Who may be stopped early and who is given seeds one by one, as a study declares it."""

import json

from study.plan.space import Cell
from study.spec import Range, StopSpec, StudySpec, settings_of

STOPPED_TAG = "stopped"
"""Tag of a run that a rung stopped: the epoch after which it stopped."""
RULE_TAG = "stop_rule"
"""Tag of such a run: the rule that stopped it. Under another rule its cell is open again."""


def stop_of(spec: StudySpec, method: str) -> StopSpec | None:
    """Return by which rule a method's trainings are stopped; None if they never are."""
    if spec.search is None or spec.search.stop is None:
        return None
    is_searched = any(isinstance(setting, Range) for _, setting in settings_of(spec, method))
    return spec.search.stop if is_searched or spec.search.stop.grids else None


def rule_text(stop: StopSpec) -> str:
    """Return a rule as it is recorded: equal texts are equal rules.

    >>> rule_text(StopSpec(rungs=(0.2, 0.5), keep=0.5))
    '{"keep": 0.5, "rungs": [0.2, 0.5]}'
    """
    return json.dumps({"keep": stop.keep, "rungs": list(stop.rungs)})


def is_adaptive(spec: StudySpec) -> bool:
    """Return whether further seeds run only where they decide who is on a front."""
    return spec.search is not None and spec.search.seeds == "adaptive"


def group_of(cell: Cell) -> str:
    """Return what a cell is compared within at a rung: its method and its schedule."""
    training = cell.config.training
    schedule = training.schedule, training.epochs, training.milestones
    return " ".join(map(str, (cell.configuration.method, *schedule)))


def is_judge(spec: StudySpec, cell: Cell) -> bool:
    """Return whether a cell decides for its configuration at the rungs: its first seed does."""
    return cell.seed == spec.seeds[0]
