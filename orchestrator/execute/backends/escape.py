"""The way out of other people's event loops for errors and signals."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn


class Escape:
    """Carries one error out of Ray's code.

    Tune turns an `Exception` into another one or logs it, and Ray's native code drops whatever a
    signal handler raises, unless it is a KeyboardInterrupt. So the error is kept here and a
    KeyboardInterrupt is sent in its place; should that be lost too, `check`, called in every
    step of Tune's loop, sends another.

    Attributes:
        error: what has to get out; the first one, if there are several.
    """

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self._handlers: dict[int, Any] = {}

    def throw(self, error: BaseException) -> NoReturn:
        self.error = self.error or error
        raise KeyboardInterrupt from error

    def check(self) -> None:
        if self.error is not None:
            raise KeyboardInterrupt from self.error

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Let what the process's signal handlers raise escape, and put them back at the end."""
        if threading.current_thread() is threading.main_thread():
            for number in map(int, (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)):
                handler = signal.getsignal(number)
                if handler is not None:  # None: set by other than Python code, and left to it
                    self._handlers[number] = handler
        self.handle_signals()
        try:
            yield
        finally:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)

    def handle_signals(self) -> None:
        """Put the process's handlers, wrapped, in place of the ones Ray sets when it starts."""
        for number, handler in self._handlers.items():
            signal.signal(number, self._wrapped(handler) if callable(handler) else handler)

    def _wrapped(
        self, handler: Callable[[int, FrameType | None], Any]
    ) -> Callable[[int, FrameType | None], None]:
        def handle(number: int, frame: FrameType | None) -> None:
            try:
                handler(number, frame)
            except BaseException as error:
                self.throw(error)

        return handle
