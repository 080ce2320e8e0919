"""Reads the files under ``reservations/``: which driver each is of, and whether that one lives."""

import json
import os
import re
import stat
import tempfile
import time
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from decoder.atomic import storage_error
from decoder.processes import process_start, this_machine
from orchestrator.store.paths import Results

STALE_SECONDS = 120.0  # longer than NFS may show an old time of change (60 s), and some beats
CLOCK = ".clock-"  # a file that is made to read the clock of the file system, and its token
OWN = "driver-"  # a driver's own file is this and its token
_NAME = re.compile(r"(.+)\.(\d{1,9})")
_MOST_BYTES = 4096


@dataclass(frozen=True)
class Driver:
    """A process that trains runs.

    Attributes:
        token: tells it from any other.
        machine: see `decoder.processes.this_machine`.
        started: when the process started, see `decoder.processes.process_start`.
        since: UTC time of its first reservation, ISO 8601.
        kind, name: the ablation or search it trains.
        shares: whether it trains that ablation together with other processes.
    """

    token: str
    host: str
    pid: int
    machine: str
    started: str
    since: str
    kind: Literal["ablations", "searches", "judged"]
    name: str
    shares: bool = False

    def to_json(self) -> bytes:
        """The content of its file."""
        return json.dumps(asdict(self)).encode()

    def __str__(self) -> str:
        what = "search" if self.kind == "searches" else "ablation"
        return f"process {self.pid} on {self.host} ({what} '{self.name}', since {self.since})"


UNKNOWN = Driver("", "an unknown host", 0, "", "", "an unknown time", "ablations", "?")
_DRIVER = TypeAdapter(Driver)


@dataclass(frozen=True)
class Entry:
    """One file with the number of a key; without a driver if nothing sensible is in it."""

    path: Path
    number: int
    inode: int
    driver: Driver | None
    is_alive: bool


def reserved_now(results: Results) -> Mapping[str, Driver]:
    """Key → the live driver that has it, for every reservation; writes nothing that stays."""
    if not results.reservations.is_dir():
        return {}
    entries = entries_in(results.reservations, None, file_system_time(results.reservations))
    return {
        key: entry.driver or UNKNOWN
        for key, of_key in entries.items()
        for entry in of_key
        if entry.is_alive
    }


def drivers_now(results: Results, now: float | None = None) -> list[Driver]:
    """The live drivers of a results folder; writes nothing that stays.

    Args:
        now: the time by the clock of the file system; None makes a file for a moment to read it.
    """
    if not results.reservations.is_dir():
        return []
    now = file_system_time(results.reservations) if now is None else now
    found = (read_entry(path, 0, now) for path in sorted(results.reservations.glob(f"{OWN}*")))
    return [entry.driver for entry in found if entry and entry.is_alive and entry.driver]


def entries_in(folder: Path, keys: Collection[str] | None, now: float) -> dict[str, list[Entry]]:
    """Key → its entries, the lowest number first.

    Args:
        keys: the keys to look for; None takes all.
        now: the time by the clock of the file system.

    Raises:
        StorageError: the folder cannot be read.
    """
    known: dict[int, Entry] = {}  # inode → the first entry of a driver, which stands for the rest
    found: dict[str, list[Entry]] = {}
    try:
        names = [entry.name for entry in os.scandir(folder)]
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise storage_error(error, folder, 0) from None
    for name in names:
        match = _NAME.fullmatch(name)
        if match is None or (keys is not None and match[1] not in keys):
            continue
        path, number = folder / name, int(match[2])
        same = known.get(inode_of(path))
        if same is not None:
            entry: Entry | None = Entry(path, number, same.inode, same.driver, same.is_alive)
        else:
            entry = read_entry(path, number, now)
        if entry is not None:
            known[entry.inode] = entry
            found.setdefault(match[1], []).append(entry)
    for entries in found.values():
        entries.sort(key=lambda entry: entry.number)
    return found


def file_system_time(folder: Path) -> float:
    """The time now by the clock of a file system, or of this machine if nothing may be written."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=CLOCK) as file:
            return os.fstat(file.fileno()).st_mtime
    except OSError:
        return time.time()


def read_entry(path: Path, number: int, now: float) -> Entry | None:
    """Read a reservation or a driver's file; None if it is gone.

    A file that cannot be read as one counts as alive while it is young, as another driver may just
    write it. A folder, pipe or link counts as dead.
    """
    try:
        # Without waiting for whoever writes to a pipe, and without following links.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    except OSError:
        return _unreadable(path, number, now)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return Entry(path, number, status.st_ino, None, False)
        is_fresh = now - status.st_mtime <= STALE_SECONDS
        driver = _DRIVER.validate_json(os.read(descriptor, _MOST_BYTES))
    except (OSError, ValidationError):
        return Entry(path, number, status.st_ino, None, is_fresh)
    finally:
        os.close(descriptor)
    if driver.machine == this_machine():
        started = process_start(driver.pid)
        is_alive = started is not None and started in ("", driver.started)
        if started == "" and driver.started:
            is_alive = is_fresh  # the process id may be that of another process by now
    else:
        is_alive = is_fresh
    return Entry(path, number, status.st_ino, driver, is_alive)


def _unreadable(path: Path, number: int, now: float) -> Entry | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    is_fresh = now - status.st_mtime <= STALE_SECONDS
    return Entry(path, number, status.st_ino, None, stat.S_ISREG(status.st_mode) and is_fresh)


def inode_of(path: Path) -> int:
    try:
        return path.lstat().st_ino
    except OSError:
        return 0


def change_time(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except OSError:
        return 0.0
