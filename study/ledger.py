"""A study's records during a launch: opened once, and right in every end that a launch can have."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from study import storage, tracking
from study.lease import Lease
from study.plan import RunStatus
from study.spec import StudySpec
from study.storage import Store
from study.tracking import StudyRuns
from study.view import view_tag

if TYPE_CHECKING:
    from mlflow import MlflowClient


class Ledger:
    """MLflow's experiment and parent run of a study, and the lease on a store that others reach."""

    def __init__(self, spec: StudySpec, store: Store, tags: Mapping[str, str]) -> None:
        self._spec = spec
        self._store = store
        self._tags = tags
        self._opened: tuple[MlflowClient, StudyRuns] | None = None
        self.lease: Lease | None = None

    @property
    def client(self) -> "MlflowClient":
        """What runs are recorded through, once the ledger is open."""
        assert self._opened is not None
        return self._opened[0]

    @property
    def runs(self) -> StudyRuns:
        """The ids under which the study is recorded, once the ledger is open."""
        assert self._opened is not None
        return self._opened[1]

    def open(self) -> None:
        """Find or make the study in MLflow, and end what a killed launch left running.

        It takes seconds, as MLflow is imported and its schema made. Opened before, it does nothing.
        Raises `TrackingError`, and `HeldError` if another machine launches the study.
        """
        if self._opened is not None:
            return
        client = storage.connect(self._store)
        with storage.recording(self._store):
            runs = tracking.open_study(client, self._store, self._spec, self._tags)
            client.set_experiment_tag(runs.experiment, *view_tag(self._spec, runs))
            if self._store.is_shared:
                self.lease = Lease(client, runs)
                self.lease.take()
            self._opened = client, runs
            tracking.close_runs(client, runs, "its launch was killed")

    def end(self, status: RunStatus) -> None:
        """End the parent run, and what still runs below it; not opened, there is nothing to end."""
        if self._opened is None:
            return
        with storage.recording(self._store):
            tracking.close_runs(self.client, self.runs, "stopped before its last epoch")
            tracking.end_study(self.client, self.runs, status)
            if self.lease is not None:
                self.lease.release()
