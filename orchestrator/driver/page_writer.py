"""The process that writes the page of an ablation or search while it trains.

It reads plan and records from disk, and a line of JSON from its standard input for what the driver
alone knows: evaluations of runs under way, steps, counts. It runs at low priority, reads each
record once, and takes at most a fiftieth of a core over time. When its input ends without a word,
the driver was killed: it writes that on the page, and ends.
"""

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from decoder.errors import UserError
from decoder.pack import HistoryRow
from orchestrator.plan.document import PlanDocument
from orchestrator.plan.looks import next_look, runs_not_needed
from orchestrator.report.claim_states import ClaimProgress, open_claims
from orchestrator.report.faults import Faults
from orchestrator.report.live import Failure, Live, LiveCurve, live_curves, write_live_page
from orchestrator.store.ledger import read_history, read_records, source_of_record, with_result
from orchestrator.store.look_files import with_looks
from orchestrator.store.mixing import select_present
from orchestrator.store.paths import Results
from orchestrator.store.plan_file import read_plan
from orchestrator.store.record import Record
from orchestrator.store.reservation_files import reserved_now
from orchestrator.store.sources import training_sha256

NICENESS = 10
ASKED = "candidates"  # how many a search tries; other kinds of candidates are done
_SHARE_OF_A_CORE = 0.02
_LOOK_SECONDS = 0.5
_MOST_FAULTS = 3  # in a row, after which nothing more is tried
_KILLED = (
    "The process that trained has ended without a word; it was killed, or its machine stopped."
)


@dataclass(frozen=True)
class Task:
    """What the writer is started for, see `orchestrator.driver.live_page.LivePage`.

    Attributes:
        since: UTC time of the driver's start, ISO 8601; failures from before it are to be tried.
        shares: whether other drivers train the same ablation; then one of them writes the page.
    """

    root: str
    kind: Literal["ablations", "searches"]
    name: str
    question: str
    metric: str
    since: str
    shares: bool
    every_seconds: float

    @property
    def results(self) -> Results:
        return Results(Path(self.root), self.kind)


@dataclass
class Told:
    """What the driver said, all lines together.

    Attributes:
        rows: run id → step → value of the metric.
        expected: run id → (arm, seed), of a search.
        counts: how many candidates there are of each kind.
        steps: done and to do in this call; of a search, candidates instead.
        first: the time and the steps or candidates done at first.
        ended: why it ended; None while it goes on.
    """

    rows: dict[str, dict[float, float]] = field(default_factory=dict)
    expected: dict[str, tuple[str, int]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    confirms: bool = False
    n_running: int = 0
    steps: tuple[int, int] = (0, 0)
    first: tuple[float, int] | None = None
    ended: str | None = None

    def hear(self, line: Mapping[str, Any]) -> None:
        """Add a line."""
        for run_id, step, value in line.get("rows", ()):
            self.rows.setdefault(run_id, {})[step] = value
        self.expected |= {run: (arm, seed) for run, (arm, seed) in line.get("runs", {}).items()}
        self.counts |= line.get("counts", {})
        self.confirms |= bool(line.get("confirms"))
        self.n_running = line.get("n_running", self.n_running)
        self.ended = line.get("ended", self.ended)
        if "steps" in line:
            self._go_on(*line["steps"])
        elif "counts" in line:
            asked = sum(n for kind, n in self.counts.items() if kind.endswith(ASKED))
            self._go_on(sum(self.counts.values()) - asked, asked)

    def _go_on(self, done: int, of: int) -> None:
        if self.first is None or of != self.steps[1] or done < self.steps[0]:
            self.first = (time.monotonic(), done)
        self.steps = (done, of)

    def seconds_left(self) -> float | None:
        """The time left at the pace since the first line with `steps`; None while it is unknown."""
        if self.first is None:
            return None
        since, done_then = self.first
        (done, of), elapsed = self.steps, time.monotonic() - since
        return (of - done) * elapsed / (done - done_then) if done > done_then else None


class Writer:
    """Writes the page again and again, with what was read before.

    Attributes:
        loading_seconds: processor time of loading modules, which comes once.
    """

    def __init__(self, task: Task, told: Told) -> None:
        self._task, self._told, self._results = task, told, task.results
        self._records: dict[str, Record] = {}
        self._histories: dict[str, list[HistoryRow]] = {}
        self._plan: PlanDocument | None = None
        self._plan_change = 0
        self.loading_seconds = 0.0
        self._decided: tuple[object, dict[str, ClaimProgress]] | None = None

    def write(self, every_seconds: float, ended: str = "") -> None:
        """Write the page.

        Raises:
            UserError: a file cannot be read or written.
        """
        faults = Faults(lambda text: None)
        plan = faults.attempt("the plan", self._read_plan, None)
        runs = {run.run_id: (run.arm_id, run.seed) for run in plan.runs} if plan else {}
        if self._task.kind == "searches":
            runs |= self._told.expected
        records = self._read_records(runs, plan)
        recorded = with_result(records)
        failed = [r for r in records.values() if r["status"] == "failed"]
        n_running = self._n_running(runs, recorded)
        n_runs = len(runs) - (len(runs_not_needed(plan, recorded)) if plan else 0)
        live = Live(
            name=self._task.name,
            question=" ".join(self._task.question.split()),
            kind="search" if self._task.kind == "searches" else "ablation",
            written=datetime.now(UTC),
            every_seconds=every_seconds,
            ended=ended,
            n_runs=n_runs,
            n_done=len(recorded),
            n_failed=len(failed),
            n_running=0 if ended else min(n_running, n_runs - len(recorded)),
            steps=self._told.steps,
            next_look=next_look(plan) if plan else None,
            seconds_left=self._told.seconds_left(),
            candidates=dict(self._told.counts),
            claims=self._claims(plan, records, faults),
            curves=faults.attempt("the curves", lambda: self._curves(runs, records, plan), ()),
            metric=self._task.metric,
            failures=_failures(records, runs),
        )
        live = live._replace(faults=[f"{fault.line}." for fault in faults.found])
        with _undisturbed():
            write_live_page(self._results.ablation(self._task.name), live)

    def _read_plan(self) -> PlanDocument | None:
        if self._task.kind == "searches" and not self._told.confirms:
            return None  # one of an earlier call may compare other candidates
        path = self._results.plan(self._task.name)
        change = path.stat().st_mtime_ns
        if self._plan is None or change != self._plan_change:
            self._plan, self._plan_change = read_plan(self._results, self._task.name), change
        return with_looks(self._results, self._plan)

    def _read_records(self, runs: Collection[str], plan: PlanDocument | None) -> dict[str, Record]:
        """The records that count now; those that stay as they are, are read once."""
        new = read_records(
            self._results,
            [run_id for run_id in runs if run_id not in self._records],
            lambda text: None,
            move_aside=False,
            full=False,
        )
        for run_id in with_result(new):
            if run_id not in self._histories:
                self._histories[run_id] = read_history(self._results, run_id)
            if source_of_record(new[run_id]) == training_sha256():
                self._records[run_id] = new[run_id]
        found = {run_id: self._records.get(run_id) or new.get(run_id) for run_id in runs}
        records = {
            run_id: record
            for run_id, record in found.items()
            if record is not None
            and (
                record["status"] != "failed" or self._task.since <= record["timing"]["finished_at"]
            )
        }
        allow_mixed = plan is None or plan.allow_mixed or self._task.kind == "searches"
        return dict(select_present(records, allow_mixed=allow_mixed).used)

    def _n_running(self, runs: Collection[str], recorded: Collection[str]) -> int:
        if not self._task.shares:
            return self._told.n_running
        mine = self._task.kind, self._task.name
        reserved = reserved_now(self._results)
        return sum(
            run in runs and run not in recorded and (driver.kind, driver.name) == mine
            for run, driver in reserved.items()
        )

    def _claims(
        self, plan: PlanDocument | None, records: Mapping[str, Record], faults: Faults
    ) -> tuple[ClaimProgress, ...]:
        if plan is None:
            return ()
        states = open_claims(plan, with_result(records))
        if any(state.n_seeds for state in states.values()):
            statuses = {run_id: record["status"] for run_id, record in records.items()}
            seen = statuses, len(plan.looks_taken)
            if self._decided is None or self._decided[0] != seen:
                decide = partial(self._decide, plan, records, states)
                states = faults.attempt("the verdicts so far", decide, states)
                self._decided = (seen, states)
            states = self._decided[1]
        return tuple(states.values())

    def _decide(
        self,
        plan: PlanDocument,
        records: Mapping[str, Record],
        states: Mapping[str, ClaimProgress],
    ) -> dict[str, ClaimProgress]:
        # Loads pandas and SciPy, so not before a claim has a seed.
        started = time.process_time()
        from orchestrator.report.claim_verdicts import decided_claims

        self.loading_seconds += time.process_time() - started

        histories = {run_id: self._histories[run_id] for run_id in with_result(records)}
        return decided_claims(plan, records, histories, states)

    def _curves(
        self,
        runs: Mapping[str, tuple[str, int]],
        records: Mapping[str, Record],
        plan: PlanDocument | None,
    ) -> list[LiveCurve]:
        metric = self._task.metric
        places = [(run.arm_id, run.seed, run.run_id) for run in plan.runs] if plan else []
        shown = {(arm, seed): run_id for arm, seed, run_id in places}
        shown |= {place: run_id for run_id, place in runs.items()}
        courses: dict[str, dict[int, Mapping[float, float]]] = {}
        diverged = set()
        for (arm, seed), run_id in shown.items():
            record = records.get(run_id)
            if record is not None and record["status"] != "failed":
                history = self._histories[run_id]
                course = {row["step"]: row[metric] for row in history if metric in row}
                if record["status"] == "diverged":
                    diverged.add((arm, seed))
            else:
                course = self._told.rows.get(run_id, {})
            courses.setdefault(arm, {})[seed] = course
        return live_curves(courses, metric, frozenset(diverged))


def _failures(records: Mapping[str, Record], runs: Mapping[str, tuple[str, int]]) -> list[Failure]:
    """The runs that failed, then those that diverged, each with a line that says why."""
    found: dict[str, list[Failure]] = {"failed": [], "diverged": []}
    for run_id, record in records.items():
        if record["status"] == "ok":
            continue
        arm, seed = runs[run_id]
        line = f"diverged at step {record['diverged_step']:,}" if record["diverged_step"] else ""
        if record["status"] == "failed":
            text = (record["error"] or "").strip().splitlines() or ["failed"]
            line = text[-1] if text[0].startswith("Traceback") else text[0]
        found[record["status"]].append(Failure(f"{arm}, seed {seed}", line[:500] or "diverged"))
    return [*found["failed"], *found["diverged"]]


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Keep the signal to end until the block is left, so that it leaves no temporary file."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _listen(told: Told, ended: threading.Event) -> None:
    with contextlib.suppress(ValueError, OSError):  # a line that the driver's end cut short
        for line in sys.stdin.buffer:
            told.hear(json.loads(line))
    ended.set()


def write_until_the_end(task: Task, told: Told, ended: threading.Event, parent: int) -> None:
    """Write the page now and after each pause, until the driver has ended.

    Args:
        ended: is set when the driver says no more.
        parent: process id of the driver.

    Raises:
        Exception: the page could not be made several times in a row.
    """
    writer, n_faults, pause = Writer(task, told), 0, task.every_seconds
    lock = FileLock(task.results.page_lock(task.name)) if task.shares else None
    while True:
        gone = ended.is_set() or os.getppid() != parent
        started = time.process_time() - writer.loading_seconds
        if lock is None or _holds(lock):
            try:
                writer.write(pause, (told.ended or _KILLED) if gone else "")
                n_faults = 0
            except Exception:  # what is wrong now may be right later, and training goes on anyway
                n_faults += 1
                if gone or n_faults == _MOST_FAULTS:
                    raise
        if gone:
            return
        used = time.process_time() - writer.loading_seconds - started
        pause = max(task.every_seconds, used / _SHARE_OF_A_CORE)
        until = time.monotonic() + pause
        while time.monotonic() < until and os.getppid() == parent:
            if ended.wait(min(_LOOK_SECONDS, pause)):
                break


def _holds(lock: FileLock) -> bool:
    if not lock.is_locked:
        with contextlib.suppress(Timeout, OSError):
            lock.acquire(timeout=0)
    return lock.is_locked


def main() -> None:
    """Write the page of the task that is named on the command line."""
    parent = os.getppid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICENESS)
    told, ended = Told(), threading.Event()
    threading.Thread(target=_listen, args=(told, ended), daemon=True).start()
    try:
        write_until_the_end(Task(**json.loads(sys.argv[1])), told, ended, parent)
    except UserError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
