"""When a worker counts as hung, and how it is ended.

A worker counts its signs of life (`decoder.life`) and reports them. It hangs if it trains and the
counter stands still for `hang_seconds`, or for `SLOWEST` times the longest time between two signs
so far if that is longer. A process that reports nothing for `SILENT_SHARE` of `hang_seconds` was
stopped, or its machine is gone.
"""

import contextlib
import math
import os
import signal
import time
from collections.abc import Callable

from decoder.processes import process_start
from orchestrator.spec.configuration import Pack
from orchestrator.terminal import time_text

SLOWEST = 20.0
SILENT_SHARE = 0.2
_MOST_NAMED = 3  # runs that a remark names


class Stillness:
    """Measures for how long a value has not changed; None stands for no value.

    A time in which this process itself was stopped, as with Ctrl-Z, does not count.

    Args:
        most_between: the longest time between two looks that counts, in seconds.
        clock: gives monotonic seconds.

    Attributes:
        longest: the longest that a value stayed the same before it changed.
    """

    def __init__(self, most_between: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most_between, self._clock = most_between, clock
        self._value: object = None
        self.longest = 0.0
        self._seconds, self._looked = 0.0, clock()

    def seconds(self, value: object) -> float:
        """Look at the value; gives the seconds for which it has been this one."""
        now = self._clock()
        passed, self._looked = min(now - self._looked, self._most_between), now
        if value == self._value:
            self._seconds += passed
            return self._seconds
        if self._value is not None:
            self.longest = max(self.longest, self._seconds)
        self._value, self._seconds = value, 0.0
        return 0.0


def look_every(hang_seconds: float | None) -> float:
    """Seconds between two reports of a worker, and between two looks at them."""
    return 1.0 if hang_seconds is None else min(1.0, hang_seconds / 20)


def hang_limit(hang_seconds: float | None, longest_seconds: float) -> float:
    """After how many seconds without a sign a process hangs.

    Args:
        hang_seconds: as in `Execution`.
        longest_seconds: the longest time between two signs so far.
    """
    return math.inf if hang_seconds is None else max(hang_seconds, SLOWEST * longest_seconds)


def silence_limit(hang_seconds: float | None) -> float:
    """After how many seconds without a report a process was stopped, or is gone."""
    return math.inf if hang_seconds is None else SILENT_SHARE * hang_seconds


def hang_text(pack: Pack, what: str, seconds: float, step: int, then: str) -> str:
    """One line on a pack whose worker hangs: which runs, since when, and what is done.

    Args:
        what: what the worker does not do, such as "no sign of life".
        then: what is done.
    """
    names = [run.run_id for run in pack.runs]
    named = ", ".join(names[:_MOST_NAMED])
    if len(names) > _MOST_NAMED:
        named += f" and {len(names) - _MOST_NAMED} more"
    return (
        f"pack {pack.pack_id[:6]} (seed {pack.seed}, runs {named}): {what} for "
        f"{time_text(seconds)}, since step {step}; {then}"
    )


def kill_process(pid: int, started: str | None) -> bool:
    """Kill a process of this machine, stopped or not, unless its id has passed to another.

    Args:
        started: as `process_start` gave it when the process was known.

    Returns:
        Whether it was there.
    """
    if process_start(pid) != started:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return True
    return False
