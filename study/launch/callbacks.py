"""What ends a launch early, and what the records need when a worker is lost."""

from typing import Any

from ray import tune

from study.launch.interrupts import Interrupts
from study.launch.locks import Lease
from study.records import store
from study.records.runs import StudyRuns, fail_lost_run
from study.search.searcher import StudySearcher


class Watch(tune.Callback):  # type: ignore[misc]
    """Ray's callbacks that matter for the records, and the reasons to stop.

    A launch stops for a signal, for more than `max_failures` failed cells, or for a store that
    cannot be written. The searcher then hands out nothing more, and running trials are stopped. A
    training that a detector ended is a result, and counts as no failure here.
    """

    def __init__(
        self,
        searcher: StudySearcher,
        client: Any,
        runs: StudyRuns,
        interrupts: Interrupts,
        lease: Lease | None,
        max_failures: int,
    ) -> None:
        self.problem = ""
        self._interrupts = interrupts
        self._lease = lease
        self._searcher = searcher
        self._client = client
        self._runs = runs
        self._max_failures = max_failures

    def __getstate__(self) -> dict[str, Any]:
        """Leave everything out of the experiment state that Ray pickles and nobody restores."""
        return {}

    @property
    def should_stop(self) -> bool:
        """Whether the launch is to end now."""
        broken = self._searcher.num_broken
        if broken > self._max_failures and not self.problem:
            self.problem = (
                f"stopped after {broken} failed trials (more than {self._max_failures}); "
                f"the last one: {self._searcher.failures[-1][1]}"
            )
        is_stopping = self._interrupts.stopped_by is not None or bool(self.problem)
        self._searcher.is_stopping |= is_stopping
        return is_stopping

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Keep the lease; where the store gives no answer, trials will tell soon enough."""
        if self._lease is not None:
            try:
                self._lease.renew()
            except Exception as failure:
                if not store.is_store_failure(failure):
                    raise

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Stop if a trial could not record its results: no other could either."""
        if result.get("store_failed"):
            self.problem = self.problem or f"results cannot be recorded: {result['reason']}"

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """End the run of a trial whose worker was lost; Ray starts it once more."""
        self._fail_lost(trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """End the run of a trial whose worker was lost for the second time."""
        self._fail_lost(trial)

    def _fail_lost(self, trial: Any) -> None:
        error = trial.get_pickled_error() or "unknown"
        reason = store.masked(f"its worker was lost: {' '.join(str(error).split())[:600]}")
        try:
            fail_lost_run(self._client, self._runs, trial.trial_id, reason)
        except Exception as failure:
            if not store.is_store_failure(failure):
                raise
            self.problem = (
                self.problem or f"results cannot be recorded: {store.masked(str(failure))}"
            )


class WatchStopper(tune.Stopper):  # type: ignore[misc]
    """Ask a `Watch` whether the whole launch is to end."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def __getstate__(self) -> dict[str, Any]:
        """Leave everything out of the experiment state that Ray pickles and nobody restores."""
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Never stop a single trial."""
        return False

    def stop_all(self) -> bool:
        """Stop every trial when the launch is to end."""
        return self._watch.should_stop
