"""SIGINT and SIGTERM during a launch: the first one ends it quietly, the second one at once."""

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any

ENDED = b"\nending at once; what is finished is kept; run the same command again to continue\n"


class Interrupted(BaseException):
    """A signal that came where nothing needs an orderly end; no `Exception`, just as Ctrl-C's."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(f"interrupted by {number.name}")
        self.signal = number


class Interrupts:
    """Handle the signals of a launch, from its beginning to its end.

    A signal raises `Interrupted` at once, except during work under `deferred`, which has to look at
    `stopped_by` itself. A second signal ends the process, with a word: after it the usual handlers
    are back.
    """

    HANDLED = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.stopped_by: signal.Signals | None = None
        self._is_deferred = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Interrupts":
        """Install the handlers."""
        self._before = {number: signal.getsignal(number) for number in self.HANDLED}
        self.retake()
        return self

    def __exit__(self, *error: object) -> None:
        """Restore the handlers that were there before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def retake(self) -> None:
        """Install the handlers again, as a library may have replaced them; not after a signal."""
        if self.stopped_by is None:
            for number in self.HANDLED:
                signal.signal(number, self._stop)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Record a signal during the work inside, and raise nothing."""
        before, self._is_deferred = self._is_deferred, True
        try:
            yield
        finally:
            self._is_deferred = before

    def check(self) -> None:
        """Raise `Interrupted` if a signal came while it was deferred."""
        if self.stopped_by is not None:
            raise Interrupted(self.stopped_by)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopped_by = signal.Signals(number)
        for handled in self.HANDLED:
            signal.signal(handled, _end)
        if not self._is_deferred:
            raise Interrupted(self.stopped_by)


def _end(number: int, frame: FrameType | None) -> None:
    """End the process as the signal does by default."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with contextlib.suppress(OSError):  # not `print`, which a signal may have broken into
        os.write(2, ENDED)
    signal.raise_signal(number)
