"""The folder in which a node keeps recordings that were sent to it, and packs that train there.

Recordings stay, so that the next call does not send them again. They are named by their fingerprint
and by the digest of what was sent, and a note holds size, time stamp and inode of each file, so
that a file is hashed again only if it has changed. One process receives; others wait for it.
"""

import json
import os
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from decoder.atomic import sha256_of, write_atomically
from decoder.data.files import building_folder, storage_errors
from decoder.errors import StorageError
from decoder.pack import Progress
from decoder.regular import read_json
from orchestrator.execute.backends.travel import FileEntry, Of, Source, fetch, inside

CACHE_VARIABLE = "SPEECH_BCI_CACHE"
_NOTE = ".received.json"
_PULSE_SECONDS = 5.0  # between signs of life while a process receives or waits
_SPARE_BYTES = 2**28  # of the disk, which stay free for checkpoints
_UNUSED_SECONDS = 86400.0  # after which recordings may make room for others


def cache_folder() -> Path:
    """The cache of this node: ``$SPEECH_BCI_CACHE``, or else a folder in the user's cache."""
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named)
    try:
        above = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        above.mkdir(parents=True, exist_ok=True)
        if os.access(above, os.W_OK):
            return above / "speech-bci-sweeps"
    except (OSError, RuntimeError):  # no home, or none that can be written
        pass
    return Path(tempfile.gettempdir()) / f"speech-bci-sweeps-{os.getuid()}"


def receive_dataset(
    source: Source, fingerprint: str, cache: Path
) -> Generator[Progress, None, Path]:
    """Make sure that this node has the packed recordings.

    Args:
        source: the driver's folders.
        fingerprint: of the recordings.
        cache: of this node.

    Yields:
        Signs of life, and remarks on what was sent.

    Returns:
        The folder of the recordings.

    Raises:
        StorageError: there is no room, or a file arrives damaged.
    """
    entries = source.dataset()
    return (yield from _receive_once(source, "dataset", entries, cache, f"datasets/{fingerprint}"))


def receive_start(source: Source, text: str, cache: Path) -> Generator[Progress, None, Path]:
    """Make sure that this node has the file that ``train.start_from`` names.

    Args:
        source: the driver's folders.
        text: what the configuration says.
        cache: of this node.

    Yields, raises:
        See `receive_dataset`.

    Returns:
        The file of weights, with what names its sessions beside it.
    """
    entries = source.start(text)
    folder = yield from _receive_once(source, "starts", entries, cache, "starts/weights")
    return folder / _own_name(entries[0])


def _own_name(entry: FileEntry) -> str:
    return entry.name.rpartition("/")[2]


def _receive_once(
    source: Source, of: Of, entries: Sequence[FileEntry], cache: Path, stem: str
) -> Generator[Progress, None, Path]:
    """Make sure that the cache holds these files, in a folder named by `stem` and their digest."""
    digest = sha256_of(json.dumps(sorted(entries)).encode())[:12]
    target = inside(cache, f"{stem}-{digest}")
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = FileLock(target.parent / f".{target.name}.lock")
    while True:
        try:
            lock.acquire(timeout=_PULSE_SECONDS)
            break
        except Timeout:
            yield Progress(0)
    try:
        if not _is_whole(target, entries):
            yield from _receive(source, of, entries, target)
        os.utime(target)  # it is in use
    finally:
        lock.release()
    return target


def _receive(
    source: Source, of: Of, entries: Sequence[FileEntry], target: Path
) -> Generator[Progress, None, None]:
    what = {"dataset": "the recordings", "starts": "the weights to start from"}[of]
    n_bytes, host = sum(entry.n_bytes for entry in entries), socket.gethostname()
    for left_by_killed in target.parent.glob(f".{target.name}.building-*"):
        shutil.rmtree(left_by_killed, ignore_errors=True)
    make_room(target, n_bytes)
    remark = f"{host}: does not see {what}; {n_bytes / 1e6:,.1f} MB are sent to {target}"
    yield Progress(0, remarks=(remark,))
    started = pulse = time.monotonic()
    with storage_errors(target, n_bytes), building_folder(target) as building:
        for entry in entries:
            path = inside(building, _own_name(entry))
            for _ in fetch(source.pieces(of, entry), entry, path):
                if time.monotonic() - pulse > _PULSE_SECONDS:
                    pulse = time.monotonic()
                    yield Progress(0)
        _write_note(building, entries)
    seconds = time.monotonic() - started
    remark = f"{host}: has {what} now ({n_bytes / 1e6:,.1f} MB in {seconds:.1f} s)"
    yield Progress(0, remarks=(remark,))


def make_room(target: Path, n_bytes: int) -> None:
    """Remove recordings that were not used for a day, the oldest first, until there is room.

    Raises:
        StorageError: there is not enough room then either.
    """
    others = [folder for folder in target.parent.glob("[!.]*") if folder != target]
    for folder in sorted(others, key=lambda one: one.stat().st_mtime):
        if shutil.disk_usage(target.parent).free >= n_bytes + _SPARE_BYTES:
            return
        if time.time() - folder.stat().st_mtime < _UNUSED_SECONDS:
            break
        lock = FileLock(folder.parent / f".{folder.name}.lock")
        try:
            with lock.acquire(timeout=0):
                shutil.rmtree(folder, ignore_errors=True)
        except Timeout:
            continue
    free = shutil.disk_usage(target.parent).free
    if free < n_bytes + _SPARE_BYTES:
        raise StorageError(
            f"{socket.gethostname()}: {target.parent}: no room for what is sent: "
            f"{n_bytes + _SPARE_BYTES:,} bytes are needed, {free:,} are free; make room, or let "
            f"{CACHE_VARIABLE} name another folder when Ray starts on that node"
        )


def _stamp(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ino]


def _write_note(folder: Path, entries: Sequence[FileEntry]) -> None:
    names = {entry.name: folder / _own_name(entry) for entry in entries}
    note = {entry.name: [*_stamp(names[entry.name]), entry.sha256] for entry in entries}
    write_atomically(folder / _NOTE, json.dumps(note).encode())


def _is_whole(target: Path, entries: Sequence[FileEntry]) -> bool:
    """Whether the files that were sent are all there and unchanged."""
    try:
        note = read_json(target / _NOTE)
        return all(
            note[entry.name] == [*_stamp(target / _own_name(entry)), entry.sha256]
            for entry in entries
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


@contextmanager
def scratch_folder(cache: Path) -> Iterator[Path]:
    """A folder of this process for a pack; folders of processes that were killed are removed.

    Raises:
        StorageError: it cannot be made.
    """
    above = cache / "packs"
    with storage_errors(above):
        above.mkdir(parents=True, exist_ok=True, mode=0o700)
        for lock_path in above.glob(".*.lock"):
            _remove_abandoned(above / lock_path.name[1:-5], lock_path)
        folder = above / secrets.token_hex(8)
        lock = FileLock(above / f".{folder.name}.lock")
        lock.acquire()
        folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)


def _remove_abandoned(folder: Path, lock_path: Path) -> None:
    try:
        with FileLock(lock_path).acquire(timeout=0):
            shutil.rmtree(folder, ignore_errors=True)
            lock_path.unlink(missing_ok=True)
    except (Timeout, OSError):
        return
