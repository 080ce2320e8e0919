"""Which of the rules of `orchestrator.spec.endings` decided how a run of a trainer ended."""

import errno
import signal
from collections.abc import Sequence
from typing import NamedTuple

from orchestrator.execute.command.course import Course
from orchestrator.spec.endings import Rule

_SHELL = 128  # what a shell adds to the number of a signal
_KILLS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP)
_NO_ROOM = ("No space left on device", "Disk quota exceeded")


class Ending(NamedTuple):
    """Which rule decided, and what was seen.

    Attributes:
        step: of a diverged run, where it became so.
    """

    rule: Rule
    seen: str
    step: int = 0

    def __str__(self) -> str:
        return f"{self.rule}: {self.seen}"

    @property
    def is_result(self) -> bool:
        return self.rule in ("not finite", "finished")


class TrainerFailed(Exception):
    """A trainer of the user's failed in a way that trying again does not mend.

    Attributes:
        ending: which rule decided.
    """

    def __init__(self, ending: Ending, text: str) -> None:
        self.ending = ending
        super().__init__(text)

    def __reduce__(self) -> tuple[type, tuple[Ending, str]]:
        return type(self), (self.ending, str(self))


class MachineFault(OSError):
    """A fault of the machine ended a trainer of the user's; it can be tried again."""

    def __str__(self) -> str:
        return str(self.strerror)


def judge(
    code: int | None,
    course: Course,
    errors: Sequence[str],
    held: str,
    *,
    over_hours: float | None = None,
) -> Ending:
    """How a run ended that we did not stop.

    Args:
        code: its exit code, see `orchestrator.execute.command.process.Ended`.
        course: what it reported.
        errors: the end of what it wrote to stderr.
        held: what its course holds, in words.
        over_hours: the limit, if it took longer.
    """
    if (found := course.not_finite()) is not None:
        step, name, value = found
        return Ending(
            "not finite", f"{name} is {value} at step {step:,} ({_code_text(code)})", step
        )
    if over_hours is not None:
        return Ending("time limit", f"it took longer than {over_hours:g} hours")
    if code is None or code < 0 or code - _SHELL in _KILLS:
        return Ending("machine", _code_text(code))
    if code and any(words in line for line in errors for words in _NO_ROOM):
        return Ending("machine", f"no room on the disk ({_code_text(code)})")
    if code:
        last = f"; stderr ends with: {errors[-1].strip()}" if errors else ""
        return Ending("exit code", f"{code}{last}")
    if not course.history():
        return Ending("no metric", f"the trainer ended without an evaluation; {held}")
    return Ending("finished", f"exit code 0, last evaluation at step {course.last_evaluation:,}")


def fault_of(ending: Ending, text: str) -> MachineFault:
    """The fault of the machine, to be raised."""
    number = errno.ENOSPC if "no room" in ending.seen else errno.EINTR
    fault = MachineFault(number, f"{ending}")
    fault.add_note(text)
    return fault


def without_frames(text: str) -> str:
    """What the traceback of a `MachineFault` says, without the lines of this program."""
    _, named, said = text.rpartition(f"{MachineFault.__name__}: ")
    return said.partition("\n")[2].strip() if named else text


def _code_text(code: int | None) -> str:
    if code is None:
        return "the process that watches over it was killed"
    number = -code if code < 0 else code - _SHELL
    if code < 0 or number in _KILLS:
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        return f"killed by {name}"
    return f"exit code {code}"
