"""What of a report could not be made: each fault is a line in it and a remark, never its end."""

import logging
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

from decoder.errors import UserError
from orchestrator.terminal import Say

T = TypeVar("T")
S = TypeVar("S")
logger = logging.getLogger(__name__)


class Fault(NamedTuple):
    """One figure, table or other part that is missing from a report.

    Attributes:
        line: what is missing and why, in a sentence.
        traceback: the whole traceback, for a report of the fault.
    """

    line: str
    traceback: str


class Faults:
    """Makes the parts of a report, and keeps an account of those that cannot be made.

    Args:
        say: receives a line for each of them; None logs it as a warning.
    """

    def __init__(self, say: Say | None = None) -> None:
        self._say = say or logger.warning
        self.found: list[Fault] = []

    def attempt(self, what: str, make: Callable[[], T], instead: S) -> T | S:
        """What `make` gives, or `instead` where it fails by a fault of ours.

        Args:
            what: the part with its article: ``the figure 'Final PER by arm'``.

        Raises:
            UserError: `make` raised it; a user can mend it, for instance a full disk.
        """
        try:
            return make()
        except UserError:
            raise
        except Exception as error:  # by any means: hours of training must not end without a report
            last = traceback.extract_tb(error.__traceback__)[-1]
            line = (
                f"{what} could not be made: {type(error).__name__}: {error} "
                f"({Path(last.filename).name}, line {last.lineno})"
            )
            line = " ".join(f"{line[:1].upper()}{line[1:]}".split())
            self.found.append(Fault(line, "".join(traceback.format_exception(error))))
            self._say(f"report: {line}; the rest of the report is complete")
            return instead
