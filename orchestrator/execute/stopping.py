"""Answers SIGINT, SIGTERM and SIGHUP: the first stops in order, the second ends the process.

SIGHUP says that the terminal is gone, as when an ssh connection is lost. Under ``nohup`` it is
ignored when the process starts, and stays so.
"""

import errno
import os
import signal
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

# The process ends after this time if an orderly stop hangs, for example in a figure or a cluster.
GRACE_SECONDS = 28.0
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SHOW_CURSOR = "\x1b[?25h"


def end_process(number: int) -> None:
    """End this process at once, with the exit code of the signal `number`."""
    if sys.stderr.isatty():
        sys.stderr.write(_SHOW_CURSOR)
        sys.stderr.flush()
    os._exit(128 + number)


def _forget_terminal() -> None:
    """Send output to nowhere if its terminal is gone, since writing to that would fail."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        try:
            termios.tcgetattr(stream)
        except termios.error as error:  # it is no terminal; or one that is gone
            if error.args[0] == errno.EIO:
                os.dup2(nowhere, stream)
    os.close(nowhere)


class Stopped(BaseException):
    """The user or the system asked the driver to stop.

    Attributes:
        signal_number: one of `STOPPING`.
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
        if number == signal.SIGHUP:
            _forget_terminal()
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
    """Answer these signals in the main thread, for the duration of the block.

    A SIGHUP that is ignored, as it is under ``nohup``, stays ignored.

    Args:
        grace_seconds, end: see `StopSwitch`.
    """
    switch = StopSwitch(grace_seconds, end)
    if threading.current_thread() is not threading.main_thread():
        yield switch  # only the main thread receives signals
        return
    is_ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    answered = [n for n in STOPPING if n != signal.SIGHUP or not is_ignored]
    before = {n: signal.signal(n, switch.handle) for n in answered}
    try:
        yield switch
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        switch.call_off()
