"""Which process owns a temporary file or folder, and whether that process still lives.

A process is known by its host, its process id and its time of start, so that another process that
gets the same id later does not count as the owner. This module imports only the standard library.
"""

import functools
import os
import re
import socket
from typing import NamedTuple

from decoder.processes import process_start

_TEMPORARY = re.compile(r"\..*\.tmp-(?P<owner>.+-\d+-\d+)-[0-9a-f]{8}$")


class Owner(NamedTuple):
    """A process.

    Attributes:
        host: its machine, and on Linux the namespace of its process id; the same after a restart,
            so that what was left before is known to be of an ended process.
        pid: its process id.
        started: its start in ticks of the clock since the machine started; 0 where the system does
            not say.
    """

    host: str
    pid: int
    started: int

    def __str__(self) -> str:
        return f"{self.host}-{self.pid}-{self.started}"

    @property
    def is_here(self) -> bool:
        """Whether it is, or was, a process of this machine."""
        return self.host == _host()

    @property
    def is_alive(self) -> bool:
        """Whether the process runs; only to be asked of one that `is_here`."""
        started = process_start(self.pid)
        return started is not None and (not self.started or started in ("", str(self.started)))


def this_process() -> Owner:
    """This process as an owner."""
    return _process(os.getpid())


def parse_owner(text: str) -> Owner | None:
    """The owner that `str` of an `Owner` names; None if the text names none."""
    host, *numbers = text.rsplit("-", 2)
    if len(numbers) != 2 or not all(map(str.isdecimal, numbers)):
        return None
    return Owner(host, int(numbers[0]), int(numbers[1]))


def temporary_name(name: str, token: str) -> str:
    """A name for a temporary file of this process, beside the file `name`.

    Args:
        token: eight random hex digits.
    """
    return f".{name[:100]}.tmp-{this_process()}-{token}"


def owner_in(name: str) -> Owner | None:
    """The owner that a name of `temporary_name` names; None for other names."""
    found = _TEMPORARY.match(name)
    return parse_owner(found["owner"]) if found else None


@functools.lru_cache(maxsize=4)
def _process(pid: int) -> Owner:
    return Owner(_host(), pid, int(process_start(pid) or 0))


@functools.cache
def _host() -> str:
    host = re.sub(r"[^A-Za-z0-9.]", "_", socket.gethostname())[:40] or "unknown"
    try:
        # Containers may share a host name and a folder, and count their processes apart.
        space = re.sub(r"\D", "", os.readlink("/proc/self/ns/pid"))  # noqa: PTH115 (not a path)
    except OSError:
        space = ""
    return f"{host}~{space}"
