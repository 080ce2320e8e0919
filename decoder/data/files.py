"""Atomic building of folders, the lock on building them, and cached digests of files."""

import errno
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from decoder.atomic import sha256_of, storage_error, sync_folder, write_atomically
from decoder.errors import DataError
from decoder.regular import read_json

Say = Callable[[str], None]

# Errors that a user can fix; any other is a bug and keeps its traceback.
_STORAGE_ERRNOS = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.EIO,
)

# A file changed this shortly before it was read may change again without a new time stamp.
_RACY_SECONDS = 2.0


def silent(_: str) -> None:
    """A `Say` that discards the line."""


@contextmanager
def storage_errors(path: Path, n_bytes: int = 0) -> Iterator[None]:
    """Turn the error of a full or unwritable disk into a `StorageError`.

    Args:
        path: the file or folder being written, for the message.
        n_bytes: its size.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _STORAGE_ERRNOS:
            raise storage_error(error, path, n_bytes) from None
        raise


@contextmanager
def only_builder(target: Path, say: Say) -> Iterator[None]:
    """Hold the lock on building `target`, and remove what killed builders of it left behind.

    The operating system releases the lock if its holder dies.
    """
    lock_path = target.parent / f".{target.name}.lock"
    with storage_errors(lock_path):
        lock = FileLock(lock_path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            say(f"waiting for another process that builds {target}")
            lock.acquire()
    try:
        for left_by_killed in target.parent.glob(f"{_building_prefix(target)}*"):
            shutil.rmtree(left_by_killed)
        yield
    finally:
        lock.release()


@contextmanager
def building_folder(target: Path) -> Iterator[Path]:
    """A temporary folder that replaces `target` when the block ends without an error."""
    temporary = Path(tempfile.mkdtemp(prefix=_building_prefix(target), dir=target.parent))
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        for path in temporary.rglob("*"):
            sync_folder(path)
        sync_folder(temporary)
        if target.exists():
            old = target.with_name(f"{temporary.name}-old")
            target.replace(old)
            shutil.rmtree(old)
        temporary.replace(target)
        sync_folder(target.parent)
    finally:
        if temporary.exists():
            shutil.rmtree(temporary)


def hash_files(folder: Path, paths: Sequence[Path], cache_dir: Path, say: Say) -> dict[str, str]:
    """SHA-256 of files, cached until the size, times or inode of a file change.

    Args:
        folder: names are relative to it.
        paths: files inside `folder`.
        cache_dir: keeps the digests.
        say: receives a line before a large file is read.

    Returns:
        Name relative to `folder`, with forward slashes → 64 hex digits.

    Raises:
        DataError: a file cannot be read.
    """
    place = sha256_of(str(folder.resolve()).encode())[:16]
    cache_path = cache_dir / ".digests" / f"{place}.json"
    known = _read_cache(cache_path, say)
    fresh: dict[str, list[int | str]] = {}
    digests = {}
    for path in paths:
        name = path.relative_to(folder).as_posix()
        try:
            stat = path.stat()
            stamp = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
            remembered = known.get(name)
            if remembered is not None and remembered[:-1] == stamp:
                digests[name] = str(remembered[-1])
                continue
            if stat.st_size > 1 << 28:
                say(f"reading {path} for the fingerprint")
            with path.open("rb") as handle:
                digests[name] = hashlib.file_digest(handle, "sha256").hexdigest()
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
        if time.time() - max(stat.st_mtime, stat.st_ctime) > _RACY_SECONDS:
            fresh[name] = [*stamp, digests[name]]
    if fresh:
        write_atomically(cache_path, json.dumps(known | fresh, indent=1).encode())
    return digests


def _read_cache(path: Path, say: Say) -> dict[str, list[int | str]]:
    if not path.exists():
        return {}
    try:
        cache = read_json(path)
    except (OSError, ValueError) as error:
        say(f"{path}: cannot be read ({error}); reading all files again for the fingerprint")
        return {}
    sound = isinstance(cache, dict) and all(
        isinstance(value, list) and len(value) == 5 and isinstance(value[-1], str)
        for value in cache.values()
    )
    return cache if sound else {}


def _building_prefix(target: Path) -> str:
    return f".{target.name}.building-"


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
