"""What tells a process from every other one: its machine, its id and its time of start.

This module imports only the standard library.
"""

import os
import socket
from functools import cache
from pathlib import Path


@cache
def this_machine() -> str:
    """What the processes share that can see each other: one start of a kernel, and its process ids.

    Two containers with one host name differ, and so does a machine before and after a restart.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # no Linux
        return f"host {socket.gethostname()}"


def process_start(pid: int) -> str | None:
    """When a process of this machine started, as text; None if there is none.

    A process that was killed and only waits for its parent to notice counts as none. The text is
    empty if the system does not say.
    """
    try:
        # The name of the program, in parentheses, may hold spaces and parentheses.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    except (OSError, IndexError):
        pass
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return None
    except OSError:
        pass  # it belongs to another user
    return ""
