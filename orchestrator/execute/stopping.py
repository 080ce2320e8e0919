"""Answers SIGINT and SIGTERM: the first signal stops in order, the second ends the process."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

# The process ends after this time if an orderly stop hangs, for example in a figure or a cluster.
GRACE_SECONDS = 28.0
_SHOW_CURSOR = "\x1b[?25h"


def end_process(number: int) -> None:
    """End this process at once, with the exit code of the signal `number`."""
    if sys.stderr.isatty():
        sys.stderr.write(_SHOW_CURSOR)
        sys.stderr.flush()
    os._exit(128 + number)


class Stopped(BaseException):
    """The user or the system asked the driver to stop.

    Attributes:
        signal_number: SIGINT or SIGTERM.
    """

    def __init__(self, signal_number: int) -> None:
        self.signal_number = signal_number
        super().__init__(f"stopped by {signal.Signals(signal_number).name}")


class StopSwitch:
    """Raises `Stopped` at the first signal, outside of shielded sections.

    Args:
        grace_seconds: the process ends this long after the first signal.
        end: ends the process, given the signal's number.
    """

    def __init__(
        self, grace_seconds: float = GRACE_SECONDS, end: Callable[[int], None] = end_process
    ) -> None:
        self._grace_seconds, self._end = grace_seconds, end
        self.signal_number: int | None = None
        self._n_shields = 0
        self._watchdog: threading.Timer | None = None

    @contextmanager
    def shield(self) -> Iterator[None]:
        """Let the block finish before a signal takes effect, so that no record is half written."""
        self._n_shields += 1
        before = self.signal_number
        try:
            yield
        finally:
            self._n_shields -= 1
        if self._n_shields == 0 and before is None and self.signal_number is not None:
            raise Stopped(self.signal_number)

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Answer a signal; the signature is that of a Python signal handler."""
        if self.signal_number is not None:
            self._end(number)
        self.signal_number = number
        self._watchdog = threading.Timer(self._grace_seconds, self._end, (number,))
        self._watchdog.daemon = True
        self._watchdog.start()
        if self._n_shields == 0:
            raise Stopped(number)

    def call_off(self) -> None:
        """Cancel the end of the process: the orderly stop is complete."""
        if self._watchdog is not None:
            self._watchdog.cancel()


@contextmanager
def stop_switch(
    grace_seconds: float = GRACE_SECONDS, end: Callable[[int], None] = end_process
) -> Iterator[StopSwitch]:
    """Answer SIGINT and SIGTERM in the main thread, for the duration of the block.

    Args:
        grace_seconds, end: see `StopSwitch`.
    """
    switch = StopSwitch(grace_seconds, end)
    if threading.current_thread() is not threading.main_thread():
        yield switch  # only the main thread receives signals
        return
    before = {n: signal.signal(n, switch.handle) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield switch
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        switch.call_off()
