"""Locks on files: the one on an ablation, which one driver holds, and the note of who holds it."""

import contextlib
import fcntl
import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError

from decoder.atomic import storage_error, write_atomically
from decoder.errors import StorageError
from decoder.regular import open_regular, read_regular
from orchestrator.store.paths import Results
from orchestrator.store.reservation_files import drivers_now
from orchestrator.store.tidy import tidy_up

_NOTE_BYTES = 2**16
_PATIENCE_SECONDS = 0.5  # longer than `status` holds the lock to find out whether it is free


@dataclass(frozen=True)
class Holder:
    """The driver of an ablation.

    Attributes:
        pid: process id on `host`.
        host: host name.
        since: UTC start time, ISO 8601.
        n_running: runs in the packs that are training now.
        n_steps_done: steps of the runs that this call trains, summed over the runs.
        n_steps: the same at its end.
    """

    pid: int
    host: str
    since: str
    n_running: int = 0
    n_steps_done: int = 0
    n_steps: int = 0

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} (since {self.since})"


class DriverSeat:
    """The note beside a held lock, from which `status` reads how many runs are training."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._since = datetime.now(UTC).isoformat(timespec="seconds")

    def tell(self, n_running: int, n_steps_done: int = 0, n_steps: int = 0) -> None:
        """Write who drives the ablation and how far it is; see `Holder`."""
        host = socket.gethostname()
        note = Holder(os.getpid(), host, self._since, n_running, n_steps_done, n_steps)
        write_atomically(self._path, json.dumps(asdict(note)).encode())


@contextmanager
def driver_seat(results: Results, name: str, say: Callable[[str], None]) -> Iterator[DriverSeat]:
    """Hold the lock on an ablation. The operating system releases it if the process dies.

    What killed processes left is cleared first, see `tidy_up`.

    Raises:
        StorageError: another driver holds the lock, or the folder cannot be written.
    """
    path, note_path = results.driver_lock(name), results.driver(name)

    def held() -> str:
        return (
            f"{path.parent}: is being run by {_read_note(note_path) or 'another process'}; "
            "wait for it, stop it, or use another --results folder"
        )

    with file_lock(path, _PATIENCE_SECONDS, held):
        sharing = [
            driver
            for driver in drivers_now(results)
            if driver.shares and (driver.kind, driver.name) == (results.kind, name)
        ]
        if sharing:
            raise StorageError(
                f"{path.parent}: is being run by {sharing[0]} with --share-work; give that too, "
                "wait for it, stop it, or use another --results folder"
            )
        if (last := _read_note(note_path)) is not None:
            say(f"the last driver, {last}, was killed; continuing from its records")
        tidy_up(results, name, say)
        seat = DriverSeat(note_path)
        try:
            seat.tell(0)
            yield seat
        finally:
            with contextlib.suppress(OSError):
                note_path.unlink(missing_ok=True)


def check_free(results: Results, name: str) -> None:
    """Refuse to share the work of an ablation that a driver trains alone.

    Raises:
        StorageError: another driver holds the lock, or the folder cannot be written.
    """

    def held() -> str:
        return (
            f"{results.ablation(name)}: is being run by "
            f"{_read_note(results.driver(name)) or 'another process'} without --share-work; wait "
            "for it, stop it, or use another --results folder"
        )

    with file_lock(results.driver_lock(name), _PATIENCE_SECONDS, held):
        pass


@contextmanager
def file_lock(
    path: Path, patience_seconds: float, held: Callable[[], str], n_bytes: int = 0
) -> Iterator[None]:
    """Hold a lock file, whose folder is made if it is missing.

    Args:
        patience_seconds: how long to wait for another process to release it.
        held: the message if another process still holds it then.
        n_bytes: how much is written under the lock, for the message if the folder is not writable.

    Raises:
        StorageError: another process holds the lock, or the folder cannot be written.
    """
    lock = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=patience_seconds)
    except Timeout:
        raise StorageError(held()) from None
    except OSError as error:
        raise storage_error(error, path, n_bytes) from None
    try:
        yield
    finally:
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


def observed_holder(results: Results, name: str) -> Holder | None:
    """As `current_holder`, for who may not disturb a driver: opens files for reading alone."""
    try:
        descriptor = open_regular(results.driver_lock(name))
    except OSError:
        return None
    try:
        # A shared lock cannot be had while a driver holds its own. It is gone with the descriptor,
        # and a driver that starts in between tries again for longer than that.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        return _read_note(results.driver(name)) or Holder(0, "unknown host", "unknown time")
    except OSError:
        return None  # a file system without locks
    finally:
        os.close(descriptor)


def _read_note(path: Path) -> Holder | None:
    try:
        return TypeAdapter(Holder).validate_json(read_regular(path, _NOTE_BYTES))
    except (OSError, ValidationError):
        return None  # not written yet, or not completely because the driver was killed
