"""Tells a command of the user's what happens in a sweep: one call and one line of JSON for each.

A driver calls `Notifier.decided` when a claim is decided, `Notifier.watch` with every event of
training, and `Notifier.ended` once. Each returns at once: the command runs in a thread, one call
after the other, and one that fails or hangs is a line for the user and nothing else.
"""

import contextlib
import json
import os
import queue
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import IO, Literal

from pydantic import JsonValue

from decoder.errors import ConfigError, UserError
from orchestrator.execute.backends import PackEvent, PackFailed
from orchestrator.execute.stopping import Stopped
from orchestrator.plan.packs import PlannedRun
from orchestrator.terminal import Say, finite

SECONDS = 15.0  # that a call of the command may take
_MOST_ERROR_BYTES = 2000
_Kind = Literal["ablation", "search"]
_Facts = Mapping[str, JsonValue]


def command_line(text: str) -> tuple[str, ...]:
    """The words of a command, split as a shell would; no shell runs it.

    Raises:
        ConfigError: a quotation is not closed, or there is no such program.
    """
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise ConfigError(f"--notify {text!r}: cannot be split into words ({error})") from None
    if not words or "\0" in text or shutil.which(words[0]) is None:
        program = words[0] if words else ""
        raise ConfigError(
            f"--notify {text!r}: there is no program {program!r} that can be run; give its path, "
            "or one on PATH, and its arguments after it"
        )
    return words


class Notifier:
    """Runs a command for each thing that its user wants to know.

    Args:
        command: its words; none runs nothing, and every call does nothing.
        kind, name: what is trained.
        say: receives a line if the command fails, hangs or cannot keep up.
        seconds: that a call may take before it is killed, and that `close` waits in all.
    """

    def __init__(
        self,
        command: Sequence[str],
        kind: _Kind,
        name: str,
        say: Say,
        *,
        seconds: float = SECONDS,
    ) -> None:
        self._command, self._kind, self._name = tuple(command), kind, name
        self._say, self._seconds = say, seconds
        self.has_ended = False
        self._arms: dict[str, tuple[str, int]] = {}
        self._decided: set[tuple[str, str]] = set()  # what was told
        self._waiting: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._until: float | None = None  # `time.monotonic` at which calls end, once closing

    def follow(self, runs: Iterable[PlannedRun]) -> None:
        """Name the arms and seeds of these runs, should one of them fail."""
        self._arms |= {run.run_id: (run.arm_id, run.seed) for run in runs}

    def watch(self, event: PackEvent) -> None:
        """Tell of runs that failed for good, after all retries; of other events, nothing."""
        what = event.what
        if not isinstance(what, PackFailed):
            return
        last = (what.traceback.strip().splitlines() or ["unknown error"])[-1]
        runs: list[JsonValue] = []
        for run_id in what.run_ids:
            arm, seed = self._arms.get(run_id, (None, None))
            runs.append({"run_id": run_id, "arm": arm, "seed": seed})
        n_runs = len(runs)
        text = f"{self._name}: {n_runs} run{'s' * (n_runs != 1)} failed for good: {last}"
        self._send("failed", text, {"runs": runs, "error": last})

    def decided(self, hypothesis: str, verdict: str, **facts: JsonValue) -> None:
        """Tell of a claim that is decided, unless that was told before.

        Args:
            hypothesis: its name.
            verdict: ``supported`` or ``refuted``.
            facts: what else to tell, such as ``finding`` or the ``look`` that decided it.
        """
        if (hypothesis, verdict) in self._decided:
            return
        self._decided.add((hypothesis, verdict))
        text = f"{self._name}: {hypothesis} is {verdict}"
        self._send("decided", text, {"hypothesis": hypothesis, "verdict": verdict, **facts})

    def ended(self, text: str, exit_code: int, **facts: JsonValue) -> None:
        """Tell that the command ended.

        Args:
            text: one line, as the terminal shows it.
            exit_code: of this process.
            facts: what else to tell, such as the counts of runs.
        """
        self.has_ended = True
        self._send("ended", text, {"exit_code": exit_code, **facts})

    def close(self) -> None:
        """Wait until the command has been told everything, or until its time is over."""
        if self._thread is None:
            return
        self._until = time.monotonic() + self._seconds
        self._waiting.put(None)
        self._thread.join(self._seconds + 1)

    def _send(self, event: str, text: str, facts: _Facts) -> None:
        if not self._command:
            return
        notice = {
            "event": event,
            "kind": self._kind,
            "name": self._name,
            "text": text,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            **facts,
        }
        self._waiting.put(json.dumps(finite(notice)).encode() + b"\n")
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="notify", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        n_untold = 0
        while (line := self._waiting.get()) is not None:
            left = self._seconds
            if self._until is not None:
                left = min(left, self._until - time.monotonic())
            if left <= 0:
                n_untold += 1
            elif problem := _call(self._command, line, left):
                self._say(f"--notify {shlex.join(self._command)}: {problem}")
        if n_untold:
            self._say(
                f"--notify {shlex.join(self._command)}: was too slow; {n_untold} "
                f"notice{'s' * (n_untold != 1)} at the end did not reach it"
            )


SILENT = Notifier((), "ablation", "", lambda text: None)  # tells nobody


@contextmanager
def notifying(command: Sequence[str], kind: _Kind, name: str, say: Say) -> Iterator[Notifier]:
    """Give a notifier for as long as a sweep runs, and wait for it at the end; see `Notifier`.

    An error or a signal that ends the block is told too. A terminal rings its bell at the end.
    """
    notifier = Notifier(command, kind, name, say)
    try:
        yield notifier
    except BaseException as error:
        if not notifier.has_ended:
            notifier.ended(f"{name}: {_first_line(error)}", _exit_code(error))
        raise
    finally:
        notifier.close()
        if sys.stderr.isatty():
            sys.stderr.write("\a")
            sys.stderr.flush()


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _exit_code(error: BaseException) -> int:
    if isinstance(error, Stopped):
        return 128 + error.signal_number
    return error.exit_code if isinstance(error, UserError) else 1


def both(*watchers: Callable[[PackEvent], None] | None) -> Callable[[PackEvent], None]:
    """A function that gives each event to all of these, in turn."""
    present = [watch for watch in watchers if watch is not None]

    def watch_all(event: PackEvent) -> None:
        for watch in present:
            watch(event)

    return watch_all


def _call(command: Sequence[str], line: bytes, seconds: float) -> str:
    """Run a command with a line on its standard input; what went wrong, or an empty text.

    What it prints goes nowhere, but for its errors, whose last line is told.
    """
    try:
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as errors:
            given.write(line)
            given.seek(0)
            process = subprocess.Popen(
                command,
                stdin=given,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,  # an interrupt at the terminal is for the sweep
            )
            try:
                code = process.wait(seconds)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                return f"did not end within {seconds:.0f} s and was killed"
            return f"ended with exit code {code}{_last_line(errors)}" if code else ""
    except OSError as error:
        return f"cannot be run ({error.strerror or error})"


def _last_line(errors: IO[bytes]) -> str:
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, size - _MOST_ERROR_BYTES))
    lines = errors.read().decode("utf-8", "replace").strip().splitlines()
    return f": {lines[-1]}" if lines else ""
