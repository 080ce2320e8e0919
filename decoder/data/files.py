"""Atomic building of folders, the lock on building them, and cached digests of files."""

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from decoder.atomic import sha256_of, storage_error, sync_folder, write_atomically
from decoder.errors import DataError
from decoder.owners import owner_in
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
    errno.EISDIR,
    errno.ELOOP,
    errno.ENOTEMPTY,
    errno.EEXIST,
    errno.EIO,
)

# A file changed this shortly before it was read may change again without a new time stamp.
RACY_SECONDS = 2.0

CHECKED_DIR, _DIGESTS_DIR = ".checked", ".digests"
_CACHES = (CHECKED_DIR, _DIGESTS_DIR)
_UNOWNED = re.compile(r"\..+\.json\.[0-9a-f]{8}")  # temporary files of earlier versions
_OLD_SECONDS = 3600.0  # no process writes a cache for as long


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
    """Hold the lock on building `target`, and remove what killed builders left behind.

    The operating system releases the lock if its holder dies.
    """
    lock_path = target.parent / f".{target.name}.lock"
    with storage_errors(lock_path):
        clear_place(lock_path, say)
        lock = FileLock(lock_path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            say(f"waiting for another process that builds {target}")
            lock.acquire()
    try:
        with storage_errors(target.parent):
            _remove_leftovers(target)
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
        if os.path.lexists(target):
            old = target.with_name(f"{temporary.name}-old")
            target.replace(old)
            remove(old)
        temporary.replace(target)
        sync_folder(target.parent)
    finally:
        if temporary.exists():
            shutil.rmtree(temporary)


def remove(path: Path) -> None:
    """Remove a folder with its content, or whatever else is there; a link without its target."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def clear_place(path: Path, say: Say, *, folder: bool = False) -> None:
    """Remove what is in the place of one of our files; a folder or file is renamed instead.

    Args:
        path: where a regular file is expected.
        say: receives a line if something else was there.
        folder: whether a folder is expected instead; it may be a link to one.
    """
    sound = path.is_dir() if folder else path.is_file() and not path.is_symlink()
    if sound or not os.path.lexists(path):
        return
    if path.is_symlink() or not (path.is_dir() or path.is_file()):
        path.unlink()
        say(f"{path}: was neither a file nor a folder, and is removed")
    else:
        aside = path.with_name(f"{path.name}.corrupt-{secrets.token_hex(4)}")
        path.replace(aside)
        say(f"{path}: was not what belongs there, and is renamed to {aside.name}")


def _remove_leftovers(target: Path) -> None:
    """Remove what killed builders of `target`, which is locked, and of other targets left."""
    for left in target.parent.glob(".*.building-*"):
        name = left.name[1:].rpartition(".building-")[0]
        if name == target.name:
            remove(left)
            continue
        lock_path = target.parent / f".{name}.lock"
        if not lock_path.is_file():
            continue
        with suppress(Timeout, OSError), FileLock(lock_path).acquire(timeout=0):
            remove(left)
    for name in _CACHES:
        for cache in (target.parent / name).glob(".*"):
            if owner_in(cache.name) or _UNOWNED.fullmatch(cache.name):
                with suppress(OSError):
                    if time.time() - cache.lstat().st_mtime > _OLD_SECONDS:
                        remove(cache)


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
    cache_path = cache_dir / _DIGESTS_DIR / f"{place}.json"
    with storage_errors(cache_path):
        clear_place(cache_path.parent, say, folder=True)
        clear_place(cache_path, say)
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
        if time.time() - max(stat.st_mtime, stat.st_ctime) > RACY_SECONDS:
            fresh[name] = [*stamp, digests[name]]
    if fresh:
        entries = known | fresh
        content = {"files": entries, "sha256": _digest_of(entries)}
        write_atomically(cache_path, json.dumps(content, indent=1).encode())
    return digests


def _read_cache(path: Path, say: Say) -> dict[str, list[int | str]]:
    """The entries of a cache; none if it is damaged, or of a version without a checksum."""
    try:
        cache = read_json(path)
        entries = cache["files"]
        if cache["sha256"] != _digest_of(entries):
            raise ValueError("it does not match its checksum")
        return {str(name): list(entry) for name, entry in entries.items()}
    except (FileNotFoundError, KeyError):
        return {}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        say(f"{path}: cannot be read ({error}); reading all files again for the fingerprint")
        return {}


def _digest_of(entries: Mapping[str, Sequence[int | str]]) -> str:
    return sha256_of(json.dumps(entries, sort_keys=True).encode())


def _building_prefix(target: Path) -> str:
    return f".{target.name}.building-"


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
