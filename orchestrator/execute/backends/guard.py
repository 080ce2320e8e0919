"""A temporary folder that is deleted, with every process that writes in it, when this process ends.

Run as a script, this file is the guard process. It waits until its standard input closes, which
happens when its parent ends in any way. Then it kills every other process that has a file open in
the folder, and deletes the folder. This module imports only the standard library, so that the
guard starts within milliseconds.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

_KILL_SECONDS = 10.0


@contextlib.contextmanager
def guarded_folder(parent: Path | None = None) -> Iterator[Path]:
    """A private temporary folder for processes that must not outlive this one.

    On a system without ``/proc``, the folder is deleted but the processes are not killed.

    Args:
        parent: folder to make it in; None for the system's temporary folder.
    """
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir=parent))
    # In a session of its own, so that signals to the process group of the driver do not reach it.
    with subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, str(folder), str(os.getpid())],
        stdin=subprocess.PIPE,
        start_new_session=True,
    ) as guard:
        try:
            yield folder
        finally:  # leaving `with` would not wait after a KeyboardInterrupt
            assert guard.stdin is not None
            guard.stdin.close()
            guard.wait()


def processes_in(folder: Path) -> list[int]:
    """The ids of this user's processes with a file open below `folder`."""
    below = f"{folder}{os.sep}"
    pids = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or belongs to another user
            if any(_target(file).startswith(below) for file in (process / "fd").iterdir()):
                pids.append(int(process.name))
    return pids


def _target(file: Path) -> str:
    try:
        return os.readlink(file)  # noqa: PTH115 (Path fails on targets that are not paths)
    except FileNotFoundError:
        return ""


def _guard(folder: Path, guarded_pid: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.stdin.buffer.read()
    deadline = time.monotonic() + _KILL_SECONDS
    while time.monotonic() < deadline:
        pids = [pid for pid in processes_in(folder) if pid != guarded_pid]
        if not pids:
            break
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _guard(Path(sys.argv[1]), int(sys.argv[2]))
