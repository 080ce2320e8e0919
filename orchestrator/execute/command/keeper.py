"""The process between a worker and a trainer of the user's: starts it, and leaves nothing of it.

Run as a script, this file reads one line of JSON from its standard input, starts the trainer in a
session of its own, and writes one line of JSON when the trainer has started (or cannot be started)
and one when it has ended. When its standard input closes, which happens when the worker ends in any
way, it ends the trainer. On Linux it adopts every process that the trainer leaves behind, forked
twice or in another session, so that it finds and ends all of them, too. This module imports only
the standard library, so that it starts within milliseconds.
"""

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_PR_SET_CHILD_SUBREAPER = 36
_KILL_SECONDS = 10.0
_LOOK_SECONDS = 0.02


def descendants(pid: int) -> list[int]:
    """The processes below one, without those that only wait to be noticed; [] without ``/proc``."""
    children: dict[int, list[int]] = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError, ValueError):  # it has ended
            fields = (process / "stat").read_text(errors="replace").rpartition(")")[2].split()
            if fields[0] not in "ZX":
                children.setdefault(int(fields[1]), []).append(int(process.name))
    found, above = [], [pid]
    while above:
        below = children.get(above.pop(), [])
        found += below
        above += below
    return found


def end_processes(
    find: Callable[[], list[int]], grace_seconds: float, reap: Callable[[], None] = lambda: None
) -> int:
    """Ask processes to end, and kill those that are left after a grace time.

    Args:
        find: gives the ids of those that are left.
        reap: called before each look.

    Returns:
        How many there were.
    """
    asked: set[int] = set()
    started = time.monotonic()
    while time.monotonic() < started + grace_seconds + _KILL_SECONDS:
        reap()
        left = find()
        if not left:
            break
        kills = time.monotonic() >= started + grace_seconds
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if kills:
                    os.kill(pid, signal.SIGKILL)
                elif pid not in asked:
                    os.kill(pid, signal.SIGTERM)
                    os.kill(pid, signal.SIGCONT)  # one that was stopped hears nothing else
        asked |= set(left)
        time.sleep(_LOOK_SECONDS)
    return len(asked)


class _Keeper:
    def __init__(self) -> None:
        self.code: int | None = None
        self.pid = 0

    def start(self, job: dict[str, Any]) -> None:
        """Start the trainer.

        Raises:
            OSError: it cannot be started.
        """
        streams = {"stdout": job["stdout"], "stderr": job["stderr"]}
        with open(os.devnull, "rb") as nothing:  # noqa: PTH123 (no path of ours)
            # It is waited for in `reap`, together with what it leaves behind.
            trainer = subprocess.Popen(
                job["argv"],
                cwd=job["cwd"],
                env=job["env"],
                stdin=nothing,
                start_new_session=True,
                **streams,
            )
        for stream in streams.values():
            os.close(stream)  # or whoever reads them would never see their end
        self.pid = trainer.pid
        trainer.returncode = 0  # or its destructor would wait for it

    def reap(self) -> None:
        """Notice every child that has ended."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                if pid == self.pid:
                    self.code = os.waitstatus_to_exitcode(status)

    def left(self) -> list[int]:
        """What is left of the trainer and of the processes that it started."""
        found = descendants(os.getpid())
        if not found and self.code is None:
            return [self.pid]  # no Linux
        return found

    def end(self, grace_seconds: float) -> int:
        n_ended = end_processes(self.left, grace_seconds, self.reap)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)  # for systems without /proc
        return n_ended


def _say(what: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):  # the worker is gone
        os.write(1, json.dumps(what).encode() + b"\n")


def main() -> None:
    """Keep one trainer."""
    # Handlers, because a signal that is ignored stays ignored in the trainer.
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, lambda number, frame: None)
    with contextlib.suppress(OSError, AttributeError):  # no Linux
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    job = json.loads(sys.stdin.buffer.readline())
    keeper = _Keeper()
    try:
        keeper.start(job)
    except (OSError, ValueError) as error:
        _say({"error": getattr(error, "errno", None) or 0, "text": str(error)})
        return
    _say({"pid": keeper.pid})
    n_left = 0
    while True:
        keeper.reap()
        if keeper.code is not None:
            n_left = keeper.end(job["grace_seconds"])
            break
        ready, _, _ = select.select([sys.stdin, read], [], [])
        if sys.stdin in ready and not os.read(0, 1):
            keeper.end(job["grace_seconds"])
            break
        if read in ready:
            os.read(read, 4096)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    peak *= 1 if sys.platform == "darwin" else 1024
    _say({"exit": keeper.code, "n_left": n_left, "peak_bytes": peak})


if __name__ == "__main__":
    main()
