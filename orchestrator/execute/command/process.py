"""A process of the user's, from its start to the end of everything that it started."""

import contextlib
import json
import os
import selectors
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from orchestrator.execute.command import keeper
from orchestrator.execute.command.keeper import end_processes
from orchestrator.execute.command.logs import LOGS, BoundedLog

GRACE_SECONDS = 6.0  # between the request to end and the kill; all is over 10 s after the driver
MARK = "SPEECH_BCI_RUN"  # the variable that tells the processes of a run, by its folder
_MOST_WAITING = 64  # blocks of a stream that wait for whoever reads the course
_BLOCK = 1 << 16
_JOIN_SECONDS = 5.0


class Ended(NamedTuple):
    """How a process ended.

    Attributes:
        code: its exit code; below 0 the signal that killed it, None if that is not known.
        n_left: processes that it left behind, which were ended.
        peak_bytes: the memory of its largest process.
    """

    code: int | None
    n_left: int = 0
    peak_bytes: int = 0


class TrainerProcess:
    """A running process of the user's in a session of its own; a context manager.

    It is watched over by a process of ours (`keeper`), which ends it, with everything that it
    started, when the block is left or when this process ends in any way.

    Args:
        argv: the program and its arguments.
        cwd: its working directory.
        environment: its whole environment.
        folder: gets ``stdout.log`` and ``stderr.log``, and marks its processes.
        reads_stdout: whether `stdout_blocks` gives what it prints.
        grace_seconds: how long it may take to end when it is asked to.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(
        self,
        argv: Sequence[str],
        cwd: Path,
        environment: Mapping[str, str],
        folder: Path,
        *,
        reads_stdout: bool = False,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self.error: OSError | None = None  # of writing a log
        self.ended: Ended | None = None
        self._folder, self._grace_seconds = folder, grace_seconds
        self._blocks: deque[bytes] | None = deque() if reads_stdout else None
        self._waits_for_room = True
        logs = [BoundedLog(folder / name) for name in LOGS]
        pipes = [os.pipe(), os.pipe()]
        try:
            self._keeper = subprocess.Popen(
                [sys.executable, "-I", "-S", keeper.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # whoever clears the worker's files must not find it
                pass_fds=[write for _, write in pipes],
                start_new_session=True,
                env={**os.environ, MARK: str(folder)},
            )
        finally:
            for _, write in pipes:
                os.close(write)
        self._threads = [
            threading.Thread(target=self._pump, args=(read, log, blocks), daemon=True)
            for (read, _), log, blocks in zip(pipes, logs, (self._blocks, None), strict=True)
        ]
        for thread in self._threads:
            thread.start()
        job = {
            "argv": list(argv),
            "cwd": str(cwd),
            "env": {**environment, MARK: str(folder)},
            "stdout": pipes[0][1],
            "stderr": pipes[1][1],
            "grace_seconds": grace_seconds,
        }
        answer = self._start(job)
        if "pid" not in answer:
            self.end()
            raise OSError(answer.get("error", 0), answer.get("text", "its keeper was killed"))
        self.pid = int(answer["pid"])

    def __enter__(self) -> "TrainerProcess":
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def wait(self, seconds: float) -> bool:
        """Wait up to some seconds for its end; whether it has ended, with all that it started."""
        if self.ended is None:
            with selectors.DefaultSelector() as selector:
                selector.register(self._answers, selectors.EVENT_READ)
                if selector.select(seconds):
                    self._close(self._answer())
        return self.ended is not None

    def end(self) -> None:
        """Ask it to end, and kill what is left after the grace time."""
        if self.ended is None:
            self._blocks = None
            with contextlib.suppress(OSError):
                self._requests.close()
            self._close(self._answer())

    def stdout_blocks(self) -> Iterator[bytes]:
        """What it has printed since the last call, if `reads_stdout`."""
        blocks = self._blocks
        while blocks:
            yield blocks.popleft()

    @property
    def _requests(self) -> IO[bytes]:
        assert self._keeper.stdin is not None
        return self._keeper.stdin

    @property
    def _answers(self) -> IO[bytes]:
        assert self._keeper.stdout is not None
        return self._keeper.stdout

    def _start(self, job: Mapping[str, Any]) -> dict[str, Any]:
        with contextlib.suppress(BrokenPipeError):  # it was killed, so it answers nothing
            self._requests.write(json.dumps(job).encode() + b"\n")
            self._requests.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        """The next thing that the keeper says; {} if it was killed."""
        try:
            return dict(json.loads(self._answers.readline() or b"{}"))
        except (OSError, ValueError):
            return {}

    def _close(self, answer: Mapping[str, Any]) -> None:
        """Close everything, after the last answer of the keeper."""
        if "exit" not in answer:
            end_marked(self._folder, self._grace_seconds)
        self._waits_for_room = False
        for stream in (self._requests, self._answers):
            with contextlib.suppress(OSError):
                stream.close()
        self._keeper.wait()
        for thread in self._threads:
            thread.join(_JOIN_SECONDS)
        numbers = (int(answer.get(name, 0)) for name in ("n_left", "peak_bytes"))
        self.ended = Ended(answer.get("exit"), *numbers)

    def _pump(self, read: int, log: BoundedLog, blocks: deque[bytes] | None) -> None:
        """Write a stream to its log, in a thread of its own; its writers never wait for a disk."""
        try:
            while block := os.read(read, _BLOCK):
                try:
                    log.write(block)
                except OSError as error:
                    self.error = self.error or error
                while blocks is not None and self._waits_for_room and len(blocks) >= _MOST_WAITING:
                    time.sleep(0.01)
                if blocks is not None and blocks is self._blocks:
                    blocks.append(block)
        finally:
            os.close(read)
            try:
                log.close()
            except OSError as error:
                self.error = self.error or error


def end_marked(folder: Path, grace_seconds: float = 0.0) -> int:
    """End the processes that a `TrainerProcess` with this folder has left; how many there were.

    There are some only if its worker and its keeper were both killed. They are known by their
    environment, on Linux alone.
    """
    return end_processes(lambda: _marked(folder), grace_seconds)


def _marked(folder: Path) -> list[int]:
    mark, found = f"{MARK}={folder}\0".encode(), []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or belongs to another user
            if mark in (process / "environ").read_bytes() and int(process.name) != os.getpid():
                found.append(int(process.name))
    return found
