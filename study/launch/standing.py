"""Keeping current, while a launch runs, what is shown of its study elsewhere.

The work is done in a thread of its own and with pauses, so that it takes a small share of one core.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

SHARE = 0.05
"""The most of the time that such work may take."""
LEAST_PAUSE, MOST_PAUSE = 2.0, 30.0
"""Seconds between two looks at what has changed; with no change at all, work is done after more."""
LOOK_SECONDS = 0.5


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
