"""Atomic writing of files, storage errors, and checksums."""

import contextlib
import errno
import hashlib
import os
import secrets
from pathlib import Path

from decoder.errors import StorageError
from decoder.owners import temporary_name


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is either complete or absent, even after a crash.

    Writes a temporary file in the same folder, flushes and syncs it, renames it to `path`, and
    syncs the folder. Creates missing parent folders. The name of the temporary file says which
    process owns it, so that a file of a process that was killed can be told from one in use.

    Raises:
        StorageError: no room, no permission, or a read-only file system; names path and bytes.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not mkstemp: its files are private, and a results folder is often shared by a group.
        temporary = path.with_name(temporary_name(path.name, secrets.token_hex(4)))
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        temporary = None
        sync_folder(path.parent)
    except OSError as error:
        raise storage_error(error, path, len(content)) from None
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()


def sync_folder(folder: Path) -> None:
    """Make a rename inside `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def storage_error(error: OSError, path: Path, n_bytes: int) -> StorageError:
    """The error, in one line, for a failed write of `n_bytes` to `path`."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(f"{path}: no room on the device; {n_bytes:,} bytes are needed")
    return StorageError(f"{path}: cannot be written ({n_bytes:,} bytes): {error.strerror or error}")


def sha256_of(content: bytes) -> str:
    """Hex SHA-256 of `content`."""
    return hashlib.sha256(content).hexdigest()
