"""Which process owns a temporary file or folder, and whether that process still lives.

A process is known by its host, its process id and its time of start, so that another process that
gets the same id later does not count as the owner. This module imports only the standard library.
"""

import functools
import os
import re
import socket
from pathlib import Path
from typing import NamedTuple

_TEMPORARY = re.compile(r"\..*\.tmp-(?P<owner>.+-\d+-\d+)-[0-9a-f]{8}$")


class Owner(NamedTuple):
    """A process.

    Attributes:
        host: its machine, and on Linux the namespace of its process id.
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
        return self.started == _started(self.pid) if self.started else _answers(self.pid)


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
    return Owner(_host(), pid, _started(pid))


@functools.cache
def _host() -> str:
    host = re.sub(r"[^A-Za-z0-9.]", "_", socket.gethostname())[:40] or "unknown"
    try:
        # Containers may share a host name and a folder, and count their processes apart.
        space = re.sub(r"\D", "", os.readlink("/proc/self/ns/pid"))  # noqa: PTH115 (not a path)
    except OSError:
        space = ""
    return f"{host}~{space}"


def _started(pid: int) -> int:
    """When a process started; 0 if it has ended, or where the system does not say."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    after_name = fields.rpartition(")")[2].split()
    return 0 if after_name[0] in "ZX" else int(after_name[19])


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
