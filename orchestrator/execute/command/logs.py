"""What a trainer of the user's prints, kept up to a limit: the beginning and the end."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from decoder.regular import open_regular

LOGS = ("stdout.log", "stderr.log")  # in the folder of a run
MOST_BYTES = 8 << 20  # of the beginning of a stream, and of its end
_BLOCK = 1 << 16


class BoundedLog:
    """A file that takes any number of bytes and keeps the first and the last ones.

    What comes after the beginning goes to two files beside it in turn, so that nothing is lost if
    this process is killed. `close` puts the three together.

    Args:
        path: the file; an earlier one is replaced.
        most_bytes: limit of the beginning, and of the end.
    """

    def __init__(self, path: Path, most_bytes: int = MOST_BYTES) -> None:
        self._path, self._most = path, most_bytes
        remove_log(path)
        self._file = path.open("wb", buffering=0)
        self._room = most_bytes
        self._n_bytes = 0

    def write(self, content: bytes) -> None:
        """Take these bytes.

        Raises:
            OSError: there is no room on the disk.
        """
        self._n_bytes += len(content)
        while content:
            if not self._room:
                self._next_file()
            now, content = content[: self._room], content[self._room :]
            self._file.write(now)
            self._room -= len(now)

    def close(self) -> None:
        """Put the beginning and the end together, with a line that says what is left out."""
        self._file.close()
        earlier, later = _ends(self._path)
        parts = [path for path in (earlier, later) if path.exists()]
        n_left_out = self._n_bytes - self._path.stat().st_size - sum(map(_size, parts))
        with self._path.open("ab") as whole:
            if n_left_out:
                whole.write(b"\n[... %d bytes left out ...]\n" % n_left_out)
            for path in parts:
                with path.open("rb") as part:
                    shutil.copyfileobj(part, whole, _BLOCK)
        for path in parts:
            path.unlink()

    def _next_file(self) -> None:
        self._file.close()
        earlier, later = _ends(self._path)
        if later.exists():
            later.replace(earlier)
        self._file, self._room = later.open("wb", buffering=0), max(1, self._most // 2)


def log_parts(path: Path) -> Iterator[bytes]:
    """The content of a log that `BoundedLog` wrote or is still writing, in blocks."""
    for part in (path, *_ends(path)):
        with contextlib.suppress(FileNotFoundError), part.open("rb") as file:
            while block := file.read(_BLOCK):
                yield block


def log_end(path: Path, most_lines: int) -> list[str]:
    """The last lines of such a log; of progress bars, the last state. None of a link or pipe."""
    tail = b""
    for part in reversed((path, *_ends(path))):
        with contextlib.suppress(OSError), os.fdopen(open_regular(part), "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _BLOCK))
            tail = file.read() + tail
        if len(tail) >= _BLOCK:
            break
    lines = tail[-_BLOCK:].decode("utf-8", "replace").splitlines()
    return [line.rstrip() for line in lines if line.strip()][-most_lines:]


def rename_log(path: Path, to: Path) -> None:
    """Give such a log another name, whole or as a killed process left it."""
    for part, renamed in zip((path, *_ends(path)), (to, *_ends(to)), strict=True):
        if part.exists():
            part.replace(renamed)


def remove_log(path: Path) -> None:
    """Remove such a log, if there is one."""
    for part in (path, *_ends(path)):
        part.unlink(missing_ok=True)


def _ends(path: Path) -> tuple[Path, Path]:
    return path.with_name(f"{path.name}.end-1"), path.with_name(f"{path.name}.end-2")


def _size(path: Path) -> int:
    return path.stat().st_size
