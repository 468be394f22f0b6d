"""Ray's callbacks for the records: what ends a launch early, and what a lost worker leaves open."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ray import tune

from study.launch.interrupts import Interrupts
from study.launch.locks import Lease
from study.records import store
from study.records.runs import StudyRuns, end_lost_run
from study.search.recorded import mark_stopped
from study.search.searcher import StudySearcher

if TYPE_CHECKING:
    from mlflow import MlflowClient


class Watch(tune.Callback, tune.Stopper):  # type: ignore[misc]
    """Keep the records right while Ray runs trials, and decide when the launch has to end.

    A launch stops for a signal, for more than `max_failures` failed cells, or for a store that
    cannot be written. The searcher then hands out no more cells, and running trials are stopped. A
    training that a detector ended is a result, and does not count as a failure here.

    A callback cannot stop Ray Tune, so this class is its stopper, too.
    """

    def __init__(
        self,
        searcher: StudySearcher,
        client: "MlflowClient",
        runs: StudyRuns,
        interrupts: Interrupts,
        lease: Lease | None,
        max_failures: int,
    ) -> None:
        self.problem = ""
        """Why the launch has to end early; empty while it need not."""
        self._interrupts = interrupts
        self._lease = lease
        self._searcher = searcher
        self._client = client
        self._runs = runs
        self._max_failures = max_failures

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing to pickle: nobody restores the experiment state that Ray saves."""
        return {}

    def stop_all(self) -> bool:
        """Return whether the launch has to end now, as Ray asks after each of its steps."""
        broken = self._searcher.num_broken
        if broken > self._max_failures and not self.problem:
            self.problem = (
                f"stopped after {broken} failed trials (more than {self._max_failures}); "
                f"the last failure: {self._searcher.failures[-1][1]}"
            )
        is_stopping = self._interrupts.stopped_by is not None or bool(self.problem)
        self._searcher.is_stopping |= is_stopping
        return is_stopping

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Return False: a single trial is never stopped."""
        return False

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Renew the lease on a store that other machines reach."""
        if self._lease is not None:
            self._lease.renew()

    def on_trial_result(
        self,
        iteration: int,
        trials: list[Any],
        trial: "RayTrial",
        result: dict[str, Any],
        **info: Any,
    ) -> None:
        """Record that a rung stopped a trial; stop the launch if no results can be recorded."""
        if result.get("store_failed"):
            self.problem = self.problem or f"results cannot be recorded: {result['reason']}"
        stop = self._searcher.stopped.get(trial.trial_id)
        if stop is not None:
            self._recorded(lambda: mark_stopped(self._client, result["run"], *stop))

    def on_trial_error(
        self, iteration: int, trials: list[Any], trial: "RayTrial", **info: Any
    ) -> None:
        """End the run of a lost worker as KILLED, as the worker itself no longer can."""
        reason = store.masked(f"its worker was lost: {_loss(trial)}")
        epoch = int(trial.last_result.get("epoch", 0))
        self._recorded(
            lambda: end_lost_run(self._client, self._runs, trial.trial_id, epoch, reason)
        )

    def _recorded(self, work: Callable[[], None]) -> None:
        """Write to the records; a store that fails ends the launch."""
        try:
            work()
        except Exception as failure:
            if not store.is_store_failure(failure):
                raise
            self.problem = (
                self.problem or f"results cannot be recorded: {store.masked(str(failure))}"
            )


def _loss(trial: "RayTrial") -> str:
    """Return what Ray wrote of a lost worker, in one line, without the heading of its file."""
    if trial.error_file is None:
        return "Ray does not say why"
    try:
        _, _, text = Path(trial.error_file).read_text(errors="replace").partition("\n")
    except OSError as error:
        text = str(error)
    return " ".join(text.split())[:600]


class RayTrial(Protocol):
    """The part of Ray's trials that callbacks use; Ray has no types."""

    trial_id: str
    last_result: dict[str, Any]
    """Empty before the first result."""
    error_file: str | None
    """Where Ray wrote the error that ended the trial's worker."""
