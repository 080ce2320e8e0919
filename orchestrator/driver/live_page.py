"""Keeps ``report.html`` up to date while an ablation or search trains, from a process of its own.

A fault in making the page is said once, and never ends the training.
"""

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from decoder.pack import Progress
from orchestrator.driver.page_writer import Task
from orchestrator.execute.backends import PackEvent
from orchestrator.execute.stopping import Stopped
from orchestrator.plan.packs import PlannedRun
from orchestrator.spec.schema import AblationSpec
from orchestrator.store.paths import Results
from orchestrator.terminal import Say

FIRST_SECONDS = 5.0  # what trains for less has its report at once
EVERY_SECONDS = 30.0
_END_SECONDS = 15.0  # for the last page
_MORE_SECONDS = 5.0  # after which the process hangs
_HERE = Path(__file__).parents[2]


class LivePage:
    """Tells the process that writes the page what happens; a context while training goes on.

    It costs the training what it takes to put a few numbers of each event into a queue.

    Args:
        question: the heading of the page.
        metric: what its curves show.
        say: receives one line if the page cannot be made.
        shares: see `orchestrator.driver.page_writer.Task`.
        first_seconds: how long to wait before the process starts.
        every_seconds: how often the page is written at most.
    """

    def __init__(
        self,
        results: Results,
        name: str,
        question: str,
        metric: str,
        say: Say,
        *,
        shares: bool = False,
        first_seconds: float | None = None,
        every_seconds: float | None = None,
    ) -> None:
        kind: Literal["ablations", "searches"]
        kind = "searches" if results.kind == "searches" else "ablations"
        every = EVERY_SECONDS if every_seconds is None else every_seconds
        since = datetime.now(UTC).isoformat(timespec="seconds")
        self._task = Task(str(results.root), kind, name, question, metric, since, shares, every)
        self._say, self._metric = say, metric
        self._first_seconds = FIRST_SECONDS if first_seconds is None else first_seconds
        self._lines: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="page", daemon=True)
        self._is_broken = False
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "LivePage":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the process: at once if the report comes next, else after a page that says why."""
        if error is not None and not isinstance(error, Stopped):
            line = f"{type(error).__name__}: {error}".splitlines()[0]
            self._put({"ended": f"Training was ended by an error. {line}"})
        self._put(None)
        self._over.set()
        self._thread.join(_END_SECONDS + _MORE_SECONDS)
        if self._thread.is_alive() and self._process is not None:  # it hangs and reads nothing
            self._process.kill()
            self._thread.join(_END_SECONDS)

    def update(self, event: PackEvent) -> None:
        """Pass on the evaluations of an event."""
        if isinstance(event.what, Progress):
            found = [*event.what.latest.items()]
            found += [(run_id, row) for run_id, rows in event.what.paused.items() for row in rows]
            rows = [
                (run, row["step"], row[self._metric]) for run, row in found if self._metric in row
            ]
            if rows:
                self._put({"rows": rows})

    def tell(self, n_running: int, n_steps_done: int = 0, n_steps: int = 0) -> None:
        """Pass on how many runs train and how far they are, see `Holder` of the locks."""
        steps = {"steps": (n_steps_done, n_steps)} if n_steps else {}
        self._put({"n_running": n_running, **steps})

    def expect(self, runs: Iterable[PlannedRun]) -> None:
        """Expect these runs, of candidates of a search."""
        self._put({"runs": {run.run_id: (run.arm_id, run.seed) for run in runs}})

    def count(self, candidates: Mapping[str, int]) -> None:
        """Pass on how many candidates of a search there are of each kind.

        Args:
            candidates: kind → number; a kind that ends with ``candidates`` is how many are asked
                for, and all others are done.
        """
        self._put({"counts": dict(candidates)})

    def confirm(self) -> None:
        """The plan on disk is that of the confirmation of this search, from now on."""
        self._put({"confirms": True})

    def _put(self, line: dict[str, Any] | None) -> None:
        if not self._is_broken:
            self._lines.put(line)

    def _serve(self) -> None:
        """In a thread: start the process, and write to it what comes."""
        if self._over.wait(self._first_seconds):
            return
        try:
            process = self._process = self._start()
        except OSError as error:
            self._break(str(error))
            return
        assert process.stdin is not None and process.stderr is not None
        said = threading.Thread(target=self._hear, args=(process,), daemon=True)
        said.start()
        is_last = False
        with suppress(OSError):  # where it has ended; `_hear` says why
            while (line := self._lines.get()) is not None:
                process.stdin.write(json.dumps(line).encode() + b"\n")
                process.stdin.flush()
                is_last = "ended" in line
        if not is_last:
            process.terminate()
        with suppress(OSError):
            process.stdin.close()
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        said.join()

    def _start(self) -> "subprocess.Popen[bytes]":
        paths = [str(_HERE), os.environ.get("PYTHONPATH", "")]
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                "orchestrator.driver.page_writer",
                json.dumps(asdict(self._task)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            # In a session of its own, so that signals to the process group of the driver, which
            # stop the training in order, do not reach it.
            start_new_session=True,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(filter(None, paths)),
                "OMP_NUM_THREADS": "1",
                "OPENBLAS_NUM_THREADS": "1",
            },
        )

    def _hear(self, process: "subprocess.Popen[bytes]") -> None:
        """In a thread: say the last line of what the process writes when it fails."""
        assert process.stderr is not None
        text = process.stderr.read().decode(errors="replace").strip()
        process.stderr.close()
        if process.wait() > 0:
            self._break((text.splitlines() or ["it ended"])[-1])

    def _break(self, why: str) -> None:
        self._is_broken = True
        self._lines.put(None)
        self._say(
            f"the page that shows the progress is no longer written ({why}); training goes on"
        )


def metric_of(spec: AblationSpec) -> str:
    """What the curves of an ablation show: PER, or what else its trainer reports."""
    if spec.trainer is None or "per" in spec.trainer.metrics:
        return "per"
    return next(name for name in spec.trainer.metrics if name != "step")
