"""SIGINT and SIGTERM: stop in good order at the first, at once at the second."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# A stop that hangs (a report that draws, a cluster that does not end) is cut off after this.
GRACE_SECONDS = 28.0
_SHOW_CURSOR = "\x1b[?25h"


class Stopped(BaseException):
    """The user or the system asked the driver to stop.

    Attributes:
        signal_number: SIGINT or SIGTERM.
    """

    def __init__(self, signal_number: int) -> None:
        self.signal_number = signal_number
        super().__init__(f"stopped by {signal.Signals(signal_number).name}")


class StopSwitch:
    """Turns the first signal into `Stopped`, outside of shielded sections."""

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._n_shields = 0
        self._watchdog: threading.Timer | None = None

    @contextmanager
    def shield(self) -> Iterator[None]:
        """Finish what is inside before a signal takes effect; nothing is half recorded."""
        self._n_shields += 1
        before = self.signal_number
        try:
            yield
        finally:
            self._n_shields -= 1
        if self._n_shields == 0 and before is None and self.signal_number is not None:
            raise Stopped(self.signal_number)

    def handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal_number is not None:
            _end_now(number)
        self.signal_number = number
        self._watchdog = threading.Timer(GRACE_SECONDS, _end_now, (number,))
        self._watchdog.daemon = True
        self._watchdog.start()
        if self._n_shields == 0:
            raise Stopped(number)

    def call_off(self) -> None:
        """The stop came to its end in time: nothing is cut off any more."""
        if self._watchdog is not None:
            self._watchdog.cancel()


@contextmanager
def stop_switch() -> Iterator[StopSwitch]:
    """Answer SIGINT and SIGTERM for the duration, in the main thread."""
    switch = StopSwitch()
    if threading.current_thread() is not threading.main_thread():
        yield switch  # signals reach the main thread alone
        return
    before = {n: signal.signal(n, switch.handle) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield switch
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        switch.call_off()


def _end_now(number: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(_SHOW_CURSOR)
        sys.stderr.flush()
    os._exit(128 + number)
