"""Carries errors and signals out of Ray's event loop."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from orchestrator.execute.stopping import SIGNALS, Stopped


class Escape:
    """Carries one error out of Ray's code.

    Tune replaces or logs an `Exception`, and Ray's native code drops what a signal handler raises
    unless it is a KeyboardInterrupt. So this object keeps the error and raises a KeyboardInterrupt
    in its place. If that is lost too, `check` raises another; Tune's loop calls it in every step.

    Where packs train, a `Stopped` of a signal handler waits: the loop asks the workers to write
    checkpoints, and carries it out when they have, or when its `save_seconds` are over.

    Attributes:
        error: the error to carry out; the first one if there are several.
        save_until: `time.monotonic` up to which `error` waits; None if it does not.
    """

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.save_until: float | None = None
        self._may_wait = False
        self._handlers: dict[int, Any] = {}

    def throw(self, error: BaseException) -> NoReturn:
        self.error = self.error or error
        raise KeyboardInterrupt from error

    def carry(self, error: BaseException) -> None:
        """Carry an error out: at once, or a `Stopped` where packs train when they have saved."""
        if isinstance(error, Stopped) and self._may_wait and self.error is None:
            self.error, self.save_until = error, time.monotonic() + error.save_seconds
        else:
            self.throw(error)

    def check(self) -> None:
        if self.save_until is not None and time.monotonic() < self.save_until:
            return
        if self.error is not None:
            raise KeyboardInterrupt from self.error

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Where packs train and `check` is called again and again."""
        self._may_wait = True
        try:
            yield
        finally:
            self._may_wait, self.save_until = False, None

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Carry out what the process's signal handlers raise; restore the handlers at the end."""
        if threading.current_thread() is threading.main_thread():
            for number in map(int, SIGNALS):
                handler = signal.getsignal(number)
                if handler is not None:  # None: not set by Python code, so it stays as it is
                    self._handlers[number] = handler
        self.handle_signals()
        try:
            yield
        finally:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)

    def handle_signals(self) -> None:
        """Replace the handlers that Ray sets at its start by the process's own, wrapped."""
        for number, handler in self._handlers.items():
            signal.signal(number, self._wrapped(handler) if callable(handler) else handler)

    def _wrapped(
        self, handler: Callable[[int, FrameType | None], Any]
    ) -> Callable[[int, FrameType | None], None]:
        def handle(number: int, frame: FrameType | None) -> None:
            try:
                handler(number, frame)
            except BaseException as error:
                self.carry(error)

        return handle
