"""What earlier launches recorded at the rungs of a study's trainings, and marking who stopped."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from study.plan.plan import Plan, TrialRecord
from study.plan.space import Cell
from study.plan.stops import RULE_TAG, STOPPED_TAG, is_judge, rule_text, stops_of
from study.records.runs import Source, read_epochs
from study.spec import StopSpec, StudySpec

if TYPE_CHECKING:
    from mlflow import MlflowClient

EPOCH = "train/epoch"
OBJECTIVES = ("validation/clean", "validation/robust")


@dataclass(frozen=True, kw_only=True)
class RungRecord:
    """The epochs of a cell that decides at the rungs, and where it was stopped."""

    cell: Cell
    values: Mapping[int, tuple[float, float]]
    """Clean and robust accuracy on validation, by epoch."""
    stopped_at: int
    """The epoch after which a rung stopped it, by the study's rule; 0 if none did."""

    def went_on(self, epoch: int) -> bool | None:
        """Return whether it went on after an epoch; None if that was never decided."""
        if epoch == self.stopped_at:
            return False
        return True if max(self.values, default=0) > epoch else None


def read_rungs(source: Source, spec: StudySpec, plan: Plan) -> tuple[RungRecord, ...]:
    """Read the epochs of every cell of a plan that decides at the rungs."""
    longest: dict[str, TrialRecord] = {}
    for record in plan.records:
        before = longest.get(record.cell_key)
        if before is None or record.metrics.get(EPOCH, 0) >= before.metrics.get(EPOCH, 0):
            longest[record.cell_key] = record
    found: dict[str, RungRecord] = {}
    stops = stops_of(spec)
    for planned in plan.cells:
        cell, state = planned.cell, planned.state
        is_judged = cell.configuration.method in stops and is_judge(spec, cell)
        if not is_judged or cell.key not in longest or cell.key in found:
            continue
        labels = planned.record.labels if planned.record and state == "stopped" else {}
        found[cell.key] = RungRecord(
            cell=cell,
            values={
                epoch: (clean, robust)
                for epoch, (clean, robust) in read_epochs(
                    source, longest[cell.key].run, OBJECTIVES
                ).items()
            },
            stopped_at=int(labels.get(STOPPED_TAG, 0)),
        )
    return tuple(found.values())


def mark_stopped(client: "MlflowClient", run: str, epoch: int, rule: StopSpec) -> None:
    """Label a run as stopped by a rung; its worker ends it."""
    client.set_tag(run, RULE_TAG, rule_text(rule))
    # This one decides, so it comes last.
    client.set_tag(run, STOPPED_TAG, str(epoch))
