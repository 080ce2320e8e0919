"""Standard output that holds one document, such as JSON, whatever libraries and processes print."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

_targets: list[TextIO] = []  # of the blocks of `only_documents` that are open


@contextmanager
def only_documents(wanted: bool = True) -> Iterator[None]:
    """Send what is written to standard output to standard error, but for `print_document`.

    This holds for ``print``, for native code that writes to file descriptor 1, and for processes
    that start in the block.

    Args:
        wanted: whether to do anything at all.
    """
    if not wanted:
        yield
        return
    before = sys.stdout
    before.flush()
    kept = os.dup(1) if _is_descriptor_1(before) else None
    if kept is None:  # a test, or another program, has put an object of its own there
        target = before
    else:
        target = os.fdopen(kept, "w", encoding=before.encoding, errors=before.errors)
        os.dup2(2, 1)
    sys.stdout = sys.stderr
    _targets.append(target)
    try:
        yield
    finally:
        _targets.remove(target)
        sys.stdout = before
        if kept is not None:
            before.flush()  # into standard error
            os.dup2(kept, 1)
            target.close()  # `print_document` has flushed it


def print_document(text: str) -> None:
    """Print one document and a line end on standard output, also inside of `only_documents`."""
    print(text, file=_targets[-1] if _targets else sys.stdout, flush=True)


def _is_descriptor_1(stream: TextIO) -> bool:
    try:
        return stream.fileno() == 1
    except (OSError, ValueError):  # it has none, or it is closed
        return False
