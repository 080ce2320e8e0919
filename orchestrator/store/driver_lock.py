"""The lock on an ablation, which one driver at a time holds, and the note of who holds it."""

import contextlib
import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from decoder.atomic import storage_error, write_atomically
from decoder.errors import StorageError
from orchestrator.store.paths import Results

_PATIENCE_SECONDS = 0.5  # longer than `status` holds the lock to find out whether it is free


@dataclass(frozen=True)
class Holder:
    """The driver of an ablation.

    Attributes:
        pid: process id on `host`.
        host: host name.
        since: UTC start time, ISO 8601.
        n_running: runs in the packs that are training now.
    """

    pid: int
    host: str
    since: str
    n_running: int = 0

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} (since {self.since})"


class DriverSeat:
    """The note beside a held lock, from which `status` reads how many runs are training."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._since = datetime.now(UTC).isoformat(timespec="seconds")

    def tell(self, n_running: int) -> None:
        """Write who drives the ablation and how many runs are training."""
        note = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": self._since,
            "n_running": n_running,
        }
        write_atomically(self._path, json.dumps(note).encode())


@contextmanager
def driver_seat(results: Results, name: str, say: Callable[[str], None]) -> Iterator[DriverSeat]:
    """Hold the lock on an ablation. The operating system releases it if the process dies.

    Raises:
        StorageError: another driver holds the lock, or the folder cannot be written.
    """
    path, note_path = results.driver_lock(name), results.driver(name)
    lock = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=_PATIENCE_SECONDS)
    except Timeout:
        holder = _read_note(note_path)
        raise StorageError(
            f"{path.parent}: is being run by {holder or 'another process'}; "
            "wait for it, stop it, or use another --results folder"
        ) from None
    except OSError as error:
        raise storage_error(error, path, 0) from None
    try:
        if (last := _read_note(note_path)) is not None:
            say(f"the last driver, {last}, was killed; continuing from its records")
        seat = DriverSeat(note_path)
        seat.tell(0)
        yield seat
    finally:
        with contextlib.suppress(OSError):
            note_path.unlink(missing_ok=True)
        lock.release()


def current_holder(results: Results, name: str) -> Holder | None:
    """The driver of the ablation now; None if it is not being run."""
    path = results.driver_lock(name)
    if not path.exists():
        return None
    try:
        with FileLock(path).acquire(timeout=0):
            return None
    except Timeout:
        return _read_note(results.driver(name)) or Holder(0, "unknown host", "unknown time")
    except OSError as error:
        if not os.access(path, os.W_OK):
            return _read_note(results.driver(name))
        raise storage_error(error, path, 0) from None


def _read_note(path: Path) -> Holder | None:
    try:
        note: Any = json.loads(path.read_bytes())
        return Holder(
            int(note["pid"]), str(note["host"]), str(note["since"]), int(note["n_running"])
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None  # not written yet, or not completely because the driver was killed
