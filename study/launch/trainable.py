"""The Ray trainable: advances a trial by epochs, reports to Ray, and closes its run in any case."""

import traceback
from collections import Counter
from typing import TYPE_CHECKING, Any

from ray import tune

from study.launch.locks import hold_shared
from study.launch.states import TrialContext
from study.records import store

if TYPE_CHECKING:
    from study.launch.trial import Trial


class CellTrainable(tune.Trainable):  # type: ignore[misc]
    """Train the network of one cell: each `step` is an epoch, and the last one evaluates.

    A reused actor runs many cells, one after another. However a trial ends, its run is closed:
    FINISHED after the evaluation, FAILED with a reason, KILLED when stopped from outside.
    """

    def setup(self, config: dict[str, Any], context: TrialContext) -> None:
        """Store the context; nothing is opened before the first `step`."""
        self._context = context
        self._trial: Trial | None = None
        self._seen: Counter[str] = Counter()
        self._lock = context.workers_lock and hold_shared(context.workers_lock)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Close the last cell; the first `step` builds the next one from the new config."""
        self._close("stopped before its last epoch")
        return True

    def cleanup(self) -> None:
        """Close the cell, as the worker ends."""
        self._close("stopped before its last epoch")

    def step(self) -> dict[str, Any]:
        """Train one epoch, or evaluate after the last; never raise for the trial's own failure."""
        # torch takes seconds to import: only in workers, as the launcher reads this module, too.
        from study.launch.trial import Trial

        try:
            if self._trial is None:
                self._trial = Trial(self._context, self.config, self.trial_id, self._seen)
            result = self._trial.advance()
        except Exception as error:
            result = self._fail(error)
        if result["done"]:
            self._trial = None
        return result

    def _fail(self, error: Exception) -> dict[str, Any]:
        """Record a trial's own failure; report the trial as done, so that Ray does not retry it."""
        from study.launch.trial import EndedError  # imports torch, as above

        is_ended = isinstance(error, EndedError)
        is_store_failure = store.is_store_failure(error)
        reason = str(error) if is_ended else f"{type(error).__name__}: {error}"
        reason = store.masked(" ".join(reason.split())[:500])
        trace = "" if is_ended else "".join(traceback.format_exception(error))
        details = store.masked(trace)
        try:
            if self._trial is not None:
                self._trial.fail(reason, details, would_repeat=is_ended)
        except Exception as second:  # most likely of the store; the launcher will correct the run
            is_store_failure = is_store_failure or store.is_store_failure(second)
            reason = f"{reason}; and this could not be recorded: {store.masked(str(second))}"
        return {
            "done": True,
            "complete": False,
            "failed": True,
            "ended": is_ended,
            "reason": reason,
            "store_failed": is_store_failure,
        }

    def _close(self, reason: str) -> None:
        """End an open trial as KILLED."""
        trial, self._trial = self._trial, None
        if trial is not None:
            trial.kill(reason)
