"""A launch's hold on the records: the parent run, its lease, and the runs of configurations.

The latter are kept current by a thread with pauses, so that this takes a small share of one core.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, cast

from rich.console import Console

from study.launch.locks import Lease
from study.plan.plan import Plan, RunStatus, make_plan
from study.records.claims import has_new_claims
from study.records.configurations import ConfigurationRuns, are_recorded, configuration_rows
from study.records.database import open_database
from study.records.outages import PatientClient
from study.records.runs import (
    StudyRuns,
    close_runs,
    end_study,
    open_source,
    open_study,
    parent_status,
    read_trials,
)
from study.records.store import Store, connect, recording
from study.records.view import view_tags
from study.spec import StudySpec

if TYPE_CHECKING:
    from mlflow import MlflowClient

SHARE = 0.05
"""The most of the time that such work may take."""
LEAST_PAUSE, MOST_PAUSE = 2.0, 30.0
"""Seconds between two looks at what has changed; with no change at all, work is done after more."""
LOOK_SECONDS = 0.5


class Ledger:
    """A launch's hold on the records: the study's experiment and parent run, and their lease.

    There is a lease only on a store that other machines can reach.
    """

    def __init__(
        self,
        spec: StudySpec,
        store: Store,
        tags: Mapping[str, str],
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._spec = spec
        self._is_stopped = is_stopped
        self._store = store
        self.tags = tags
        self._is_open = False
        self._configurations: ConfigurationRuns | None = None
        self.client: MlflowClient
        """Records runs, once the ledger is open."""
        self.runs: StudyRuns
        """The ids under which the study is recorded, once the ledger is open."""
        self.lease: Lease | None = None

    def open(self) -> None:
        """Find or create the study in MLflow, and end what a killed launch left running.

        This takes seconds, as MLflow is imported and its schema created. Later calls do nothing.
        Raises `TrackingError`, and `HeldError` if another machine launches the study.
        """
        if self._is_open:
            return
        patient = PatientClient(connect(self._store), self._store, self._is_stopped)
        self.client = cast("MlflowClient", patient)
        with recording(self._store):
            self.runs = open_study(self.client, self._store, self._spec, self.tags)
            for tag in view_tags(self._spec).items():
                self.client.set_experiment_tag(self.runs.experiment, *tag)
            if self._store.is_shared:
                self.lease = Lease(self.client, self.runs)
                self.lease.take()
            # Without the lease no run may be ended: another machine may be at work on it.
            self._is_open = True
            close_runs(self.client, self.runs, "its launch was killed")

    def is_current(self, plan: Plan) -> bool:
        """Return whether a launch that runs nothing has nothing to record, either.

        That is known only where the store's file can be read without MLflow, whose import takes
        seconds. The parent run's tags stay those of the last launch that ran or recorded something.
        """
        source = None if self._is_open else open_database(self._store)
        held = source.experiment_named(self._spec.name) if source is not None else None
        if source is None or held is None:
            return False
        return (
            held.location == f"{self._store.artifacts}/{self._spec.name}"
            and "RUNNING" not in held.statuses
            and view_tags(self._spec).items() <= held.tags.items()
            and parent_status(source, self._spec.name) == "FINISHED"
            and not has_new_claims(source, self._spec)
            and are_recorded(source, self._spec.name, configuration_rows(self._spec, plan))
        )

    def record(self, plan: Plan) -> None:
        """Record the configurations of a plan, so that MLflow shows their seeds together."""
        with recording(self._store):
            if self._configurations is None:
                self._configurations = ConfigurationRuns(self.client, self.runs)
            self._configurations.record(configuration_rows(self._spec, plan))

    def kept_current(
        self, fingerprint: str, count_changes: Callable[[], int]
    ) -> AbstractContextManager[None]:
        """Record the configurations again and again, from the records as they are then."""
        return kept_current(
            lambda: self.record(_read_plan(self._spec, self._store, fingerprint)), count_changes
        )

    def end(self, status: RunStatus) -> None:
        """End the parent run and what still runs below it, if the ledger was opened."""
        if not self._is_open:
            return
        with recording(self._store):
            close_runs(self.client, self.runs, "stopped before its last epoch")
            end_study(self.client, self.runs, status)
            if self.lease is not None:
                self.lease.release()


def _read_plan(spec: StudySpec, store: Store, fingerprint: str) -> Plan:
    """Compute the plan of a study whose data are known, as its records are now."""
    with recording(store):
        records = read_trials(open_source(store), spec.evaluation.checkpoint)
    return make_plan(spec, fingerprint, records)


def pause_after(seconds: float) -> float:
    """Return how long to pause after work of some length, so that it takes `SHARE` of the time.

    >>> pause_after(0.01), round(pause_after(6.0))
    (2.0, 114)
    """
    return max(LEAST_PAUSE, seconds * (1 / SHARE - 1))


@contextlib.contextmanager
def kept_current(refresh: Callable[[], None], count_changes: Callable[[], int]) -> Iterator[None]:
    """Call `refresh` again and again for as long as the context lasts, and not after.

    It is called when the count has changed, and else every `MOST_PAUSE` seconds. An error ends the
    calls silently: whoever opens the context does the same work last, and meets the error again.
    """
    ended = threading.Event()

    def work() -> None:
        pause, seen = LEAST_PAUSE, -1
        while not ended.wait(pause):
            since = time.monotonic()
            while count_changes() == seen and time.monotonic() - since < MOST_PAUSE:
                if ended.wait(LOOK_SECONDS):
                    return
            seen, began = count_changes(), time.monotonic()
            try:
                refresh()
            except Exception:
                return
            pause = pause_after(time.monotonic() - began)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class Waiting:
    """A line that says what a launch waits for, with a moving sign on a terminal."""

    def __init__(self, text: str, console: Console | None = None) -> None:
        console = console or Console()
        self._status = console.status(text) if console.is_terminal else None
        if self._status is None:
            console.print(text, highlight=False)
        else:
            self._status.start()

    def end(self) -> None:
        """Remove the line from a terminal."""
        if self._status is not None:
            self._status.stop()
            self._status = None
