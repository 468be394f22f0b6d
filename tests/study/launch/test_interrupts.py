"""One signal ends work in order, two end it at once with a word."""

import signal
import subprocess
import sys

import pytest

from study.launch.interrupts import Interrupted, Interrupts

ENDING = "ending at once; what is finished is kept; run the same command again to continue\n"
TWO_SIGNALS = """\
import signal
from study.launch.interrupts import Interrupts
with Interrupts() as interrupts, interrupts.deferred():
    signal.raise_signal(signal.SIGINT)
    print("at work", flush=True)
    signal.raise_signal(signal.SIGTERM)
    print("not reached", flush=True)
"""


def test_one_signal_raises_at_once_or_is_kept_while_it_is_deferred(
    capfd: pytest.CaptureFixture[str],
) -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted, match="SIGINT"), Interrupts():
        signal.raise_signal(signal.SIGINT)
    with Interrupts() as interrupts:
        with interrupts.deferred():
            signal.raise_signal(signal.SIGINT)
        assert interrupts.stopped_by == signal.SIGINT
    assert signal.getsignal(signal.SIGINT) is before
    assert capfd.readouterr().err == ""


def test_second_ctrl_c_ends_deferred_work_with_a_word(capfd: pytest.CaptureFixture[str]) -> None:
    with Interrupts() as interrupts, interrupts.deferred():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert capfd.readouterr().err.lstrip() == ENDING


def test_second_signal_of_another_kind_ends_the_process_with_a_word() -> None:
    done = subprocess.run([sys.executable, "-c", TWO_SIGNALS], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "at work\n")
    assert done.stderr.lstrip() == ENDING
