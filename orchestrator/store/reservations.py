"""Reservations: which runs a live driver trains, so that no other driver trains them too.

Each driver has a file of its own under ``reservations/``: it says which process this is, and its
time of change is the heartbeat, which a thread renews. A reservation is a hard link to that file,
so it is there at once and completely, and one touch renews all of a driver. Nothing relies on locks
of the file system, which not every shared folder has.

A driver is dead if its process has ended (seen on the same machine), or else if its file has not
been touched for two minutes by the clock of the file system. Its reservations are taken over
under the next number: ``KEY.0``, ``KEY.1``. Whoever makes a number has the key, unless somebody
alive has another number of it then.
"""

import contextlib
import errno
import os
import secrets
import socket
import threading
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from decoder.atomic import storage_error
from decoder.processes import process_start, this_machine
from orchestrator.store.paths import Results
from orchestrator.store.reservation_files import (
    CLOCK,
    OWN,
    STALE_SECONDS,
    UNKNOWN,
    Driver,
    Entry,
    change_time,
    entries_in,
    file_system_time,
    inode_of,
    read_entry,
)

BEAT_SECONDS = 10.0
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}


class Reserved(NamedTuple):
    """The answer to a wish for keys.

    Attributes:
        taken: keys that are reserved now.
        busy: key → the live driver that has it.
    """

    taken: set[str]
    busy: dict[str, Driver]


@dataclass
class Reservations:
    """The reservations of this process for one ablation or search, see `reserving`.

    Attributes:
        former: key → the driver that was last seen to have it, other than this one.
        folder: where the files lie.
    """

    folder: Path
    me: Driver
    former: dict[str, Driver] = field(default_factory=dict)
    _held: dict[str, tuple[Path, int]] = field(default_factory=dict)
    _first_beats: dict[str, float] = field(default_factory=dict)
    _beating: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def own(self) -> Path:
        return self.folder / f"{OWN}{self.me.token}"

    def appear(self) -> None:
        """Write the file of this process, unless it is there.

        Raises:
            StorageError: the folder cannot be written.
        """
        content = self.me.to_json()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not self.own.exists():
                self.own.write_bytes(content)
        except OSError as error:
            raise storage_error(error, self.own, len(content)) from None

    def beat(self) -> float:
        """Touch the own file.

        Returns:
            The time now by the clock of the file system, in seconds since 1970.
        """
        with self._lock:
            own = inode_of(self.own)
            copies = [path for path, inode in self._held.values() if inode != own]
        for path in copies:  # there are none where hard links work
            with contextlib.suppress(OSError):
                os.utime(path)
        try:
            os.utime(self.own)  # without times: those of the server of a shared folder
            return self.own.stat().st_mtime
        except OSError:
            return file_system_time(self.folder)

    def reserve(self, keys: Iterable[str]) -> Reserved:
        """Reserve those keys that no other live driver has.

        Raises:
            StorageError: the folder cannot be read or written.
        """
        every = dict.fromkeys(keys)
        wanted = [key for key in every if key not in self._held]
        answer = Reserved({key for key in every if key in self._held}, {})
        self.appear()
        made = []
        for key, entries in self._look(wanted).items():
            number = 1 + max((entry.number for entry in entries), default=-1)
            path = self.folder / f"{key}.{number}"
            if not any(entry.is_alive for entry in entries) and self._make(path):
                with self._lock:
                    self._held[key] = path, inode_of(path)
                made.append(key)
        for key, entries in self._look(wanted).items():
            others = [e for e in entries if key not in made or e.path != self._held[key][0]]
            living = [entry.driver or UNKNOWN for entry in others if entry.is_alive]
            for entry in others:
                if entry.driver is not None:
                    self.former[key] = entry.driver
            if key not in made or living:
                self.release([key])
                answer.busy[key] = (living or [UNKNOWN])[0]
                continue
            for entry in others:
                _remove(entry.path)
            answer.taken.add(key)
        return answer

    def release(self, keys: Collection[str] | None = None) -> None:
        """Give back reservations; None gives back all."""
        for key in list(self._held) if keys is None else keys:
            with self._lock:
                path, inode = self._held.pop(key, (None, 0))
            if path is not None and inode_of(path) == inode:
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove what dead drivers left; `former` names them for each key."""
        entries = self._look()
        dead = [key for key, of in entries.items() if not any(entry.is_alive for entry in of)]
        self.release(self.reserve(dead).taken if dead else ())
        now = self.beat()
        for path in self.folder.glob(f"{CLOCK}*"):
            if now - change_time(path) > STALE_SECONDS:
                _remove(path)
        for path in self.folder.glob(f"{OWN}*"):
            entry = read_entry(path, 0, now)
            if path != self.own and entry is not None and not entry.is_alive:
                _remove(path)

    def start_to_watch(self) -> None:
        """Forget which heartbeats were seen; see `is_beating`."""
        self._first_beats.clear()
        self._beating.clear()

    def is_beating(self, driver: Driver) -> bool:
        """Whether the process is known to live: a later heartbeat than the first was seen."""
        return driver.token in self._beating

    def _make(self, path: Path) -> bool:
        """Make a reservation; False if the name is taken."""
        try:
            os.link(self.own, path)
        except FileExistsError:
            return inode_of(path) == inode_of(self.own)  # a shared folder may have done it twice
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise storage_error(error, path, 0) from None
            return _copy(self.own.read_bytes(), path)
        return True

    def _look(self, keys: Iterable[str] | None = None) -> dict[str, list[Entry]]:
        """The entries of keys; None looks for every key that others have."""
        now = self.beat()
        found = entries_in(self.folder, None if keys is None else set(keys), now)
        for entry in (entry for entries in found.values() for entry in entries):
            if entry.driver is None or not entry.is_alive:
                continue
            token, beat = entry.driver.token, change_time(entry.path)
            if entry.driver.machine == self.me.machine or beat > self._first_beats.setdefault(
                token, beat
            ):
                self._beating.add(token)
        return {key: found.get(key, []) for key in (found if keys is None else keys)}


@contextmanager
def reserving(results: Results, name: str, *, shares: bool = False) -> Iterator[Reservations]:
    """Be a driver that can reserve runs, until the block ends.

    What dead drivers left is removed first. A thread renews the heartbeat.

    Raises:
        StorageError: the folder cannot be read or written.
    """
    me = Driver(
        token=secrets.token_hex(8),
        host=socket.gethostname(),
        pid=os.getpid(),
        machine=this_machine(),
        started=process_start(os.getpid()) or "",
        since=datetime.now(UTC).isoformat(timespec="seconds"),
        kind=results.kind,
        name=name,
        shares=shares,
    )
    held, ended = Reservations(results.reservations, me), threading.Event()

    def keep_beating() -> None:
        while not ended.wait(BEAT_SECONDS):
            held.beat()

    thread = threading.Thread(target=keep_beating, name="heartbeat", daemon=True)
    try:
        held.appear()
        thread.start()
        held.clear()
        yield held
    finally:
        ended.set()
        held.release()
        with contextlib.suppress(OSError):
            held.own.unlink(missing_ok=True)


def _copy(content: bytes, path: Path) -> bool:
    """Make a reservation where there are no hard links."""
    try:
        with path.open("xb") as file:
            file.write(content)
    except FileExistsError:
        return False
    except OSError as error:
        raise storage_error(error, path, len(content)) from None
    return True


def _remove(path: Path) -> None:
    """Remove what lies under the name of a reservation; a folder is renamed."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        with contextlib.suppress(OSError):
            path.rename(path.with_name(f"{path.name}.corrupt"))
