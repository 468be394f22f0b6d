"""A tracking server that goes away for a while: calls are repeated until it is back."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from study.records.store import Store, connect, silence

if TYPE_CHECKING:
    from mlflow import MlflowClient

OUTAGE_SECONDS = 600.0
"""How long a server may be away before a launch ends."""
AGAIN_SECONDS = 5.0
PASSING = {"", "INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED"}
"""MLflow's codes of errors that may pass; any other code means that the request is wrong."""


def connect_patiently(store: Store) -> "PatientClient":
    """Wait for a store's server, for up to `OUTAGE_SECONDS`, and open the store.

    Raises `TrackingError` if no server answers by then, or if the store cannot be used.
    """
    until = time.monotonic() + OUTAGE_SECONDS
    while silence(store) and time.monotonic() < until:
        time.sleep(AGAIN_SECONDS)
    return PatientClient(connect(store), store)


class PatientClient:
    """An MLflow client that repeats a call while its server is away.

    It has all the methods of `MlflowClient`. Calls on a store in a file are not repeated, as a full
    disk does not pass by itself.
    """

    def __init__(
        self, client: "MlflowClient", store: Store, is_hurried: Callable[[], bool] = lambda: False
    ) -> None:
        self.seconds = 0.0 if store.is_local else OUTAGE_SECONDS
        """How long a failing call is repeated."""
        self._client = client
        self._is_hurried = is_hurried

    def __getattr__(self, name: str) -> Any:
        """Wrap a method of the client so that calls are repeated while the server is away."""
        method = getattr(self._client, name)
        return lambda *arguments, **named: self._repeat(lambda: method(*arguments, **named))

    def _repeat(self, call: Callable[[], Any]) -> Any:
        until = time.monotonic() + self.seconds
        while True:
            try:
                return call()
            except Exception as error:
                is_late = time.monotonic() >= until or self._is_hurried()
                if is_late or not is_outage(error):
                    raise
            time.sleep(AGAIN_SECONDS)


def is_outage(error: Exception) -> bool:
    """Return whether a call failed because the server was away, not because it was wrong."""
    modules = {kind.__module__.split(".")[0] for kind in type(error).__mro__}
    if not modules & {"mlflow", "requests", "urllib3"}:
        return False
    return str(getattr(error, "error_code", "")) in PASSING
