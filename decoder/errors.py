"""The errors that a user can cause and mend, and the exit code of each.

    UserError                      a message for a person, shown without a traceback
    ├── ConfigError        exit 2  a key, a value or a combination that no run can be made from
    ├── DataError          exit 3  recordings that cannot be trained on as they are
    └── StorageError       exit 5  disk full, locked folder, unwritable or missing storage
        ├── CheckpointError        a checkpoint that is damaged or of another version
        └── StoreDamagedError      packed recordings that were damaged while they were in use

Our own bugs are ``assert``s and ordinary Python exceptions, which show a traceback.
"""

from collections.abc import Sequence
from typing import ClassVar

from decoder.harmless import harmless

MOST_PROBLEMS = 100  # shown; a person reads the first few
ENOUGH_PROBLEMS = MOST_PROBLEMS + 2  # where the search for more may stop
_MOST_CHARACTERS = 2000  # of one problem


class UserError(Exception):
    """An error that a user can act on: what, where, got, allowed, how to fix it.

    Args:
        problems: one message, or all messages of one pass; each can be read on its own. Long ones
            are cut, those after the first hundred are counted, and characters that change what a
            terminal shows are written as escapes: messages quote files and names.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, problems: str | Sequence[str]) -> None:
        given = (problems,) if isinstance(problems, str) else tuple(problems)
        kept = given if len(given) < ENOUGH_PROBLEMS else given[:MOST_PROBLEMS]
        self.problems = tuple(_shortened(harmless(problem)) for problem in kept)
        if len(kept) < len(given):
            self.problems += (f"and at least {len(given) - MOST_PROBLEMS:,} more mistakes",)
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> tuple[type, tuple[tuple[str, ...]]]:
        return type(self), (self.problems,)


def _shortened(text: str) -> str:
    """A text without its middle if it is too long; what to do about a mistake stands at the end."""
    if len(text) <= _MOST_CHARACTERS:
        return text
    half = _MOST_CHARACTERS // 2
    return f"{text[:half]} ... {text[-half:]}"


class ConfigError(UserError):
    """A specification or configuration from which no run can be made."""

    exit_code = 2


class DataError(UserError):
    """Recordings that are missing, damaged, inconsistent or unfit for CTC."""

    exit_code = 3


class StorageError(UserError):
    """Storage that cannot be written, read or locked."""

    exit_code = 5


class CheckpointError(StorageError):
    """A checkpoint or file of weights that is damaged or of another kind."""


class StoreDamagedError(StorageError):
    """Packed recordings that were damaged while they were in use."""
