"""Records of trials as the tracker would return them, for tests of what is made of them."""

from dataclasses import replace

from study.plan import space
from study.plan.plan import TrialRecord
from study.plan.space import Cell

DATA = "some-data"
"""The fingerprint of data that no test loads."""


def finished_trial(cell: Cell, data: str = DATA, **changes: object) -> TrialRecord:
    """A finished trial of a cell, or one that ended as `changes` say. data: the fingerprint."""
    made = TrialRecord(
        run=f"run of {cell.key[:6]}",
        study="tiny",
        cell_key=cell.key,
        block=cell.configuration.block,
        number=cell.configuration.number,
        canonical=space.canonical(cell.config, data),
        status="FINISHED",
        reason="",
        would_repeat=False,
        objectives=(0.9, 0.5),
        is_complete=True,
        started=1.0,
        seconds=10.0,
        metrics={},
        labels={},
        artifacts="",
    )
    return replace(made, **changes)  # type: ignore[arg-type]
