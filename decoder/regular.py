"""Reads regular files safely: nothing else that stands in their place can hang or flood a reader.

A named pipe would hang whoever opens it, a link to ``/dev/zero`` never ends, and a folder, a socket
or a broken link has no content. Links to whole folders, on the way to a file, are followed.
"""

import errno
import functools
import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Any

MOST_BYTES = 2**30  # of a file that is read as a whole
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFLNK: "a link",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class NotRegularError(OSError):
    """What stands in the place of a file is no regular file, or a far too large one."""


def read_regular(path: Path, most_bytes: int = MOST_BYTES) -> bytes:
    """The content of a regular file.

    Raises:
        FileNotFoundError: there is none.
        NotRegularError: it is something else, or has more than `most_bytes`.
        OSError: it cannot be read.
    """
    descriptor = open_regular(path)
    try:
        n_bytes = os.fstat(descriptor).st_size
        if n_bytes > most_bytes:
            raise _not_regular(path, f"has {n_bytes:,} bytes, more than {most_bytes:,}")
        content = os.read(descriptor, n_bytes + 1)
        while part := os.read(descriptor, 2**20):  # it grew, or came in parts
            content += part
            if len(content) > most_bytes:
                raise _not_regular(path, f"has more than {most_bytes:,} bytes")
        return content
    finally:
        os.close(descriptor)


def open_regular(path: Path) -> int:
    """A descriptor from which a regular file is read; the caller closes it.

    Raises:
        OSError: see `read_regular`.
    """
    try:
        descriptor = os.open(os.fspath(path), _FLAGS)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.ENODEV):  # a link; a socket; a device
            check_regular(path)
        raise
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise _not_regular(path, _is(mode))
    return descriptor


def check_regular(path: Path) -> None:
    """Raise what `read_regular` would raise before it reads, for readers that open by name.

    Raises:
        OSError: see `read_regular`.
    """
    mode = os.lstat(path).st_mode  # noqa: PTH116 (half the time of Path.lstat)
    if not stat.S_ISREG(mode):
        raise _not_regular(path, _is(mode))


def is_regular(path: Path) -> bool:
    """Whether a regular file stands there, and no link to one."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def read_json(path: Path, most_bytes: int = MOST_BYTES) -> Any:
    """The JSON value in a regular file.

    Raises:
        OSError: see `read_regular`.
        ValueError: it is no JSON, or nested too deeply.
    """
    content = read_regular(path, most_bytes)
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _is(mode: int) -> str:
    return f"is {_KINDS.get(stat.S_IFMT(mode), 'something else')}, not a regular file"


def _not_regular(path: Path, what: str) -> NotRegularError:
    return NotRegularError(errno.EINVAL, what, str(path))


def sha256_of_file(path: Path) -> str:
    """The SHA-256 of a file, in hex; computed again only when the file changes.

    Raises:
        OSError: it cannot be read.
    """
    stat = path.stat()
    return _sha256_once(path.resolve(), stat.st_size, stat.st_mtime_ns, stat.st_ino)


@functools.lru_cache(maxsize=256)
def _sha256_once(path: Path, n_bytes: int, changed_ns: int, inode: int) -> str:
    """The digest of a file, computed again when it changes."""
    with os.fdopen(open_regular(path), "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
