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
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

_KILL_SECONDS = 10.0
_PREFIX, _OWNER = "ray-", "owner"  # of the folder's name; the file that names its owner


@contextlib.contextmanager
def guarded_folder(parent: Path | None = None) -> Iterator[Path]:
    """A private temporary folder for processes that must not outlive this one.

    A guard that is killed together with this process leaves both, for `clear_abandoned`. On a
    system without ``/proc``, the folder is deleted but the processes are not killed.

    Args:
        parent: folder to make it in; None for the system's temporary folder.
    """
    from decoder.owners import this_process  # not at the top: the guard runs without packages

    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    (folder / _OWNER).write_text(str(this_process()), encoding="ascii")
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


def clear_abandoned(say: Callable[[str], None]) -> None:
    """Delete the guarded folders of processes of this user that have ended, with what runs there.

    The owner of a folder is known by process id and time of start. What a live process owns, and
    what another machine or user made, is not touched.

    Args:
        say: receives one line if there was any.
    """
    from decoder.owners import parse_owner

    n_folders = n_killed = 0
    for folder in _guarded_folders():
        try:
            owner = parse_owner((folder / _OWNER).read_text(encoding="ascii"))
        except (OSError, ValueError):
            owner = None
        if owner is not None and owner.is_here and not owner.is_alive:
            n_killed += _end(folder, os.getpid())
            n_folders += 1
    if n_folders:
        say(
            f"{n_folders} temporary folders of Ray, left by drivers that were killed, are removed, "
            f"and {n_killed} processes that still ran there are ended"
        )


def _guarded_folders() -> list[Path]:
    """This user's folders that may be guarded ones, in the places where these are made."""
    found = []
    for parent in {Path(tempfile.gettempdir()), Path("/tmp")}:
        with contextlib.suppress(OSError):
            for path in parent.glob(f"{_PREFIX}*"):
                state = path.lstat()
                if stat.S_ISDIR(state.st_mode) and state.st_uid == os.getuid():
                    found.append(path)
    return found


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
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    sys.stdin.buffer.read()
    _end(folder, guarded_pid)


def _end(folder: Path, spared_pid: int) -> int:
    """Kill the processes with a file open in a folder, and delete it; how many were killed."""
    killed = set()
    deadline = time.monotonic() + _KILL_SECONDS
    while time.monotonic() < deadline:
        pids = [pid for pid in processes_in(folder) if pid != spared_pid]
        if not pids:
            break
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
        time.sleep(0.05)
    shutil.rmtree(folder, ignore_errors=True)
    return len(killed)


if __name__ == "__main__":
    _guard(Path(sys.argv[1]), int(sys.argv[2]))
