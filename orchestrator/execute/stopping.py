"""Answers signals: the first one stops in order, the second one ends the process.

SIGINT, SIGTERM, SIGHUP and SIGUSR1 come from outside; SIGALRM says that the time of a call is used
up.

SIGHUP says that the terminal is gone, as when an ssh connection is lost. Under ``nohup`` it is
ignored when the process starts, and stays so.
"""

import errno
import os
import signal
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

# The process ends after this time if an orderly stop hangs, for example in a figure or a cluster.
GRACE_SECONDS = 28.0
TIME_USED_UP = signal.SIGALRM
_SAVE_SHARE = 0.5  # of the grace time: how long training may take to write its checkpoints
_SAVE_SECONDS_IN_TIME = 120.0  # the same where nothing ends the process
_SLURM_MARGIN_SECONDS = 10.0  # before the end of a job
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
SIGNALS = (*STOPPING, TIME_USED_UP)
_SHOW_CURSOR = "\x1b[?25h"


def end_process(number: int) -> None:
    """End this process at once, with the exit code of the signal `number`."""
    show_cursor()
    os._exit(128 + number)


def show_cursor() -> None:
    """Show the cursor that a live display hides, before this process ends at once."""
    if sys.stderr.isatty():
        sys.stderr.write(_SHOW_CURSOR)
        sys.stderr.flush()


def grace_seconds(number: int) -> float:
    """How long after a signal this process may still run.

    A warning signal of SLURM (``--signal=B:USR1@120``) comes before the end of the job, which
    SLURM names; after every other signal the process is killed soon.
    """
    end = os.environ.get("SLURM_JOB_END_TIME", "")
    if number == signal.SIGUSR1 and end.isdecimal():
        return max(GRACE_SECONDS, int(end) - time.time() - _SLURM_MARGIN_SECONDS)
    return GRACE_SECONDS


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
        signal_number: one of `SIGNALS`; SIGALRM at the end of the time of a call.
        save_seconds: how long training may take to write its checkpoints.
    """

    def __init__(self, signal_number: int, save_seconds: float = 0.0) -> None:
        self.signal_number, self.save_seconds = signal_number, save_seconds
        super().__init__(f"stopped by {signal.Signals(signal_number).name}")


class StopSwitch:
    """Raises `Stopped` at the first signal, outside of shielded sections.

    Args:
        grace_seconds: the process ends this long after the first signal; None takes what SLURM
            says, or `GRACE_SECONDS`. After the end of the time of a call, it may take any time.
        end: ends the process, given the signal's number.
    """

    def __init__(
        self, grace_seconds: float | None = None, end: Callable[[int], None] = end_process
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
            raise self._stopped(self.signal_number)

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Answer a signal; the signature is that of a Python signal handler."""
        if number == signal.SIGHUP:
            _forget_terminal()
        if self._watchdog is not None and number != TIME_USED_UP:
            self._end(number)
        if self.signal_number is not None and number == TIME_USED_UP:
            return  # it is stopping already
        if number != TIME_USED_UP:
            self._watchdog = threading.Timer(self._grace(number), self._end, (number,))
            self._watchdog.daemon = True
            self._watchdog.start()
        is_first = self.signal_number is None
        self.signal_number = number
        if self._n_shields == 0 and is_first:
            raise self._stopped(number)

    def _grace(self, number: int) -> float:
        return grace_seconds(number) if self._grace_seconds is None else self._grace_seconds

    def _stopped(self, number: int) -> Stopped:
        in_time = number == TIME_USED_UP
        return Stopped(
            number, _SAVE_SECONDS_IN_TIME if in_time else _SAVE_SHARE * self._grace(number)
        )

    @contextmanager
    def limited(self, until: float | None) -> Iterator[None]:
        """Stop the block in order when its time is used up; without a limit, do nothing.

        Args:
            until: `time.monotonic` at that time.
        """
        if until is None or threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(TIME_USED_UP, self.handle)
        try:
            signal.setitimer(signal.ITIMER_REAL, max(until - time.monotonic(), 1e-3))
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(TIME_USED_UP, before)

    def call_off(self) -> None:
        """Cancel the end of the process: the orderly stop is complete."""
        if self._watchdog is not None:
            self._watchdog.cancel()


@contextmanager
def stop_switch(
    grace_seconds: float | None = None, end: Callable[[int], None] = end_process
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
