"""Writes a record for every run that ends, before any other code receives the event."""

import time
from collections.abc import Mapping
from typing import Protocol

from decoder.atomic import write_atomically
from decoder.pack import Progress, RunResult
from orchestrator.execute.backends import PackEvent, PackFailed
from orchestrator.execute.command.outcome import without_frames
from orchestrator.execute.stopping import StopSwitch
from orchestrator.plan.packs import Planned, PlannedRun
from orchestrator.spec.configuration import CommandConfig
from orchestrator.store import provenance
from orchestrator.store.ledger import make_record, write_run
from orchestrator.store.locks import DriverSeat
from orchestrator.store.paths import Results
from orchestrator.store.record import RecordEnvironment

_TELL_SECONDS = 10.0  # between two notes that differ only in the steps


class Watcher(Protocol):
    """Receives what a recorder does, such as `orchestrator.driver.live_page.LivePage`."""

    def update(self, event: PackEvent) -> None:
        """Receive an event whose runs are recorded."""

    def tell(self, n_running: int, n_steps_done: int, n_steps: int) -> None:
        """Receive what `Recorder.tell` does."""


class Recorder:
    """Writes the results of events to the ledger.

    Args:
        switch: delays signals while a record is written.
        seat: tells `status` how many runs are training.
        watcher: receives the same; None if nobody watches.
    """

    def __init__(
        self,
        results: Results,
        switch: StopSwitch,
        seat: DriverSeat | None,
        watcher: Watcher | None = None,
    ) -> None:
        self._runs: Mapping[str, PlannedRun] = {}
        self._sizes: Mapping[str, int] = {}
        self._results, self.switch, self._seat = results, switch, seat
        self._watcher = watcher
        self._environment = provenance.environment()
        self._n_running, self._next_tell = 0, 0.0
        self.n_trained = 0
        self.seconds = 0.0

    def follow(self, plan: Planned) -> None:
        """Expect the runs of this plan; call it again when the plan changes."""
        self._runs = plan.distinct
        self._sizes = {pack.pack_id: len(pack.runs) for pack in plan.packs}

    def record(self, event: PackEvent) -> None:
        """Commit every run that ended with this event."""
        what = event.what
        ended = (
            {result.run_id: result for result in what.finished}
            if isinstance(what, Progress)
            else dict.fromkeys(what.run_ids, what.traceback)
        )
        started = time.monotonic()
        with self.switch.shield():
            for run_id, end in ended.items():
                run = self._runs[run_id]
                record, history = make_record(
                    run_id,
                    run.config,
                    run.seed,
                    {"fingerprint": run.data.fingerprint, "path": run.data.path},
                    {"pack_id": event.pack_id, "n_runs": self._sizes[event.pack_id]},
                    _said(run, end),
                    {**provenance.host(), **event.host},
                    self._made_with(run, end),
                    run.replicate,
                    "" if isinstance(what, Progress) else _ending(run, what),
                )
                write_run(self._results, record, history)
                self._keep_log(run_id, "" if isinstance(what, Progress) else what.log)
                self.n_trained += record["status"] != "failed"
        self.seconds += time.monotonic() - started
        if self._watcher is not None:
            self._watcher.update(event)

    def _keep_log(self, run_id: str, log: str) -> None:
        """Keep the log of the worker in which the run failed; one of an earlier failure goes."""
        path = self._results.failure_log(run_id)
        if log:
            write_atomically(path, log.encode())
        else:
            path.unlink(missing_ok=True)

    def _made_with(self, run: PlannedRun, end: RunResult | str) -> RecordEnvironment:
        """This process's libraries and code, and what the run was computed with.

        Of the libraries of a trainer of the user's nothing is known.
        """
        if isinstance(run.config, CommandConfig):
            known = ("platform", "code")
            return {name: self._environment[name] for name in known}  # type: ignore[return-value, literal-required]
        if isinstance(end, str):
            return self._environment
        return {**self._environment, **provenance.of_run(run.config, end)}

    def tell(self, n_running: int, n_steps_done: int = 0, n_steps: int = 0) -> None:
        """Tell `status` how many runs are training, and now and then how far they are.

        Args:
            n_steps_done, n_steps: see `orchestrator.store.locks.Holder`.
        """
        if self._watcher is not None:
            self._watcher.tell(n_running, n_steps_done, n_steps)
        now = time.monotonic()
        if self._seat is not None and (n_running != self._n_running or now >= self._next_tell):
            self._seat.tell(n_running, n_steps_done, n_steps)
            self._n_running, self._next_tell = n_running, now + _TELL_SECONDS


def _said(run: PlannedRun, end: RunResult | str) -> RunResult | str:
    """A result, or what is known of a failure."""
    if isinstance(end, str) and isinstance(run.config, CommandConfig):
        return without_frames(end)
    return end


def _ending(run: PlannedRun, failed: PackFailed) -> str:
    """The rule by which a trainer of the user's failed; empty for our own."""
    if not isinstance(run.config, CommandConfig):
        return ""
    last = (failed.traceback.strip().splitlines() or [""])[-1]
    return failed.ending or f"machine: {last.rpartition('machine: ')[2]}"
