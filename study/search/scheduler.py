"""The Ray Tune scheduler of a launch: stops at the rungs what the study need not finish.

It only hears epochs and answers; the rule and its memory are in `study.search.rungs`.
"""

from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from study.plan.space import Cell
from study.plan.stops import group_of, is_judge, rung_rule, stops_of
from study.search.recorded import RungRecord
from study.search.rungs import RungRecords
from study.search.searcher import StudySearcher
from study.spec import StudySpec


class RungScheduler(FIFOScheduler):  # type: ignore[misc]
    """Decide after each epoch whether a trial runs on or is stopped.

    A configuration's first seed is judged; what is decided for it holds for its further seeds,
    which start after it. What an earlier launch decided stands.
    """

    def __init__(
        self, spec: StudySpec, searcher: StudySearcher, known: tuple[RungRecord, ...] = ()
    ) -> None:
        """Begin with what earlier launches recorded at the rungs."""
        super().__init__()
        self._spec = spec
        self._searcher = searcher
        # Read once: to find the ranges of a method takes longer than a decision.
        self._stops = stops_of(spec)
        self._records = {m: RungRecords(rung_rule(stop)) for m, stop in self._stops.items()}
        for record in known:
            for epoch, values in record.values.items():
                self._records[record.cell.configuration.method].note(
                    *_place(record.cell), epoch, values, record.went_on(epoch)
                )

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing to pickle: nobody restores the experiment state that Ray saves."""
        return {}

    def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Return whether Ray continues a trial after an epoch, or stops it."""
        cell = self._searcher.trial_cells.get(trial.trial_id)
        # An evaluation of stored networks reports no epoch.
        if cell is None or "epoch" not in result or not is_judge(self._spec, cell):
            return str(TrialScheduler.CONTINUE)
        method, epoch = cell.configuration.method, result["epoch"]
        rule = self._stops.get(method)
        values = result["validation_clean"], result["validation_robust"]
        if rule is None or self._records[method].report(*_place(cell), epoch, values):
            return str(TrialScheduler.CONTINUE)
        self._searcher.stop(trial.trial_id, epoch, rule)
        return str(TrialScheduler.STOP)


def _place(cell: Cell) -> tuple[str, str, int]:
    """Return a cell's group, the name of its configuration and the length of its training."""
    return group_of(cell), cell.key, cell.config.training.epochs
