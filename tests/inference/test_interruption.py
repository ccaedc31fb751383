"""Ctrl-C and SIGTERM as a request that work honours at its next safe point."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from cxredge.inference.interruption import Interruption

SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@SIGNALS
def test_the_first_signal_is_noted_and_the_second_interrupts(number: signal.Signals) -> None:
    with Interruption() as interruption:
        assert not interruption.requested
        os.kill(os.getpid(), number)
        assert interruption.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)


@SIGNALS
def test_the_previous_handler_is_restored(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with Interruption():
        assert signal.getsignal(number) is not before
    assert signal.getsignal(number) is before


def test_other_threads_install_no_handler() -> None:
    before, seen = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        with Interruption() as interruption:
            seen.extend([signal.getsignal(signal.SIGINT), interruption.requested])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before, False]
