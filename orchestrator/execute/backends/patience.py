"""Lets training in this process write a checkpoint before a signal takes effect."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

from decoder.life import ask_to_stop
from orchestrator.execute.stopping import SIGNALS, TIME_USED_UP, Stopped


class Patience:
    """Keeps back what the process's signal handlers raise, and asks training to stop instead.

    A context manager. After `Stopped.save_seconds` it raises what it keeps wherever the process is;
    before that, `check` raises it. Only a `Stopped` is kept back, and only in the main thread.
    """

    def __init__(self) -> None:
        self._kept: Stopped | None = None
        self._until = 0.0  # `time.monotonic` at which it is raised
        self._alarm: threading.Timer | None = None
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in map(int, SIGNALS):
                handler = signal.getsignal(number)
                if callable(handler) or number == TIME_USED_UP:  # which raises what is overdue
                    self._handlers[number] = handler
                    signal.signal(number, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        ask_to_stop(False)

    def check(self) -> None:
        """Raise what is kept back, if anything is: training has ended, or has not begun."""
        if self._kept is not None:
            raise self._kept

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._kept is not None and time.monotonic() >= self._until:
            raise self._kept
        handler = self._handlers[number]
        if callable(handler):
            with self.keeping():
                handler(number, frame)

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Keep back what the block raises, such as code that delays a signal."""
        try:
            yield
        except Stopped as stop:
            if not self._handlers or self._kept is not None:
                raise
            self._kept, self._until = stop, time.monotonic() + stop.save_seconds
            ask_to_stop()
            self._alarm = threading.Timer(
                stop.save_seconds, signal.pthread_kill, (threading.get_ident(), TIME_USED_UP)
            )
            self._alarm.daemon = True
            self._alarm.start()
