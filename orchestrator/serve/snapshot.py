"""The state of a results folder at one moment, renewed at most every other second."""

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
from pydantic import JsonValue

from decoder.errors import ConfigError, UserError
from decoder.pack import HistoryRow
from orchestrator.history.reading.record import ImportedRun
from orchestrator.history.rows import imported_rows
from orchestrator.plan.document import PlanDocument
from orchestrator.serve.inside import is_inside
from orchestrator.serve.sweeps import (
    ChangedFiles,
    Kind,
    Same,
    Sweep,
    Use,
    find_sweeps,
    imported_group,
    imported_stamp,
    stamp_of,
    sweep_names,
)
from orchestrator.store.ledger import read_history
from orchestrator.store.paths import Results
from orchestrator.tables.index import RunIndex, extended, read_index
from orchestrator.terminal import Say

# For how long a state is shown: this, or, of many runs, so long that looking again takes at most a
# fiftieth of a processor; but no longer than the last, as the first look reads every record.
_SECONDS, _PATIENCE, _LONGEST = 2.0, 50.0, 15.0
_MOST_HISTORIES = 512


@dataclass(frozen=True)
class Snapshot:
    """Runs and sweeps of a results folder.

    Attributes:
        index: every run that can be shown, imported ones included, in order of run id.
        sweeps: those that train first, then the newest first.
        uses: run id → the arms that plan it; of imported runs, their group.
        problem: why the runs cannot be read; empty if they can.
    """

    index: RunIndex
    sweeps: tuple[Sweep, ...]
    uses: Mapping[str, tuple[Use, ...]]
    problem: str = ""

    @cached_property
    def position(self) -> Mapping[str, int]:
        """Run id → its place in the index."""
        return self.index.positions()

    @cached_property
    def names(self) -> frozenset[str]:
        """The columns of the index."""
        return frozenset(self.index.names)

    def column(self, name: str) -> Mapping[str, JsonValue]:
        """Run id → value, of a column of the index; empty if there is no such column."""
        if name not in self.names:
            return {}
        return dict(zip(self.position, self.index.column(name), strict=True))

    @cached_property
    def outcome_of(self) -> Mapping[str, str]:
        """Run id → outcome; of planned runs without a record ``missing`` or ``not needed``.

        A run is not needed if no sweep that plans it needs it.
        """
        wanted = {
            run_id
            for one in self.sweeps
            if one.plan is not None
            for run_id in one.plan.run_ids
            if run_id not in one.not_needed
        }
        found = {run: "missing" if run in wanted else "not needed" for run in self.uses}
        return found | {run: str(outcome) for run, outcome in self.column("outcome").items()}

    def sweep(self, kind: str, name: str) -> Sweep | None:
        """The sweep of this kind and name, if there is one."""
        return next((one for one in self.sweeps if (one.kind, one.name) == (kind, name)), None)

    def knows(self, run_id: str) -> bool:
        """Whether it is a run that is recorded, imported or planned."""
        return run_id in self.position or run_id in self.uses

    def cells(self, run_id: str, names: list[str] | None = None) -> Mapping[str, JsonValue]:
        """The row of a run in the index; empty if it is not recorded."""
        at = self.position.get(run_id)
        if at is None:
            return {}
        known = self.index.names if names is None else [n for n in names if n in self.names]
        return self.index.cells([at], known)[0]


class Watched:
    """A results folder that others write, and the newest state that was read of it.

    Args:
        say: receives a line for each record that cannot be trusted, once.
    """

    def __init__(self, results: Results, say: Say) -> None:
        self.results = results
        self._say_new, self._said = say, set[str]()
        self._lock = threading.Lock()
        self._kept = ChangedFiles()
        self._own: RunIndex | None = None
        self._snapshot: Snapshot | None = None
        self._until = 0.0
        self._histories: dict[str, tuple[object, list[HistoryRow]]] = {}

    def say(self, text: str) -> None:
        """Say a remark, unless it was said before."""
        if text not in self._said and len(self._said) < 1000:
            self._said.add(text)
            self._say_new(text)

    def now(self) -> Snapshot:
        """The state now, or that of a moment ago; the first call reads everything."""
        with self._lock:
            if self._snapshot is None or time.monotonic() >= self._until:
                started = time.thread_time()
                self._snapshot = self._read()
                spent = time.thread_time() - started
                self._until = time.monotonic() + max(_SECONDS, min(_PATIENCE * spent, _LONGEST))
            return self._snapshot

    def history(self, run_id: str) -> list[HistoryRow]:
        """The evaluations of a recorded run; none if they cannot be read."""
        path = self.results.history(run_id)
        stamp = stamp_of(path)
        known = self._histories.get(run_id)
        if known is not None and known[0] == stamp:
            return known[1]
        try:
            rows = read_history(self.results, run_id) if is_inside(self.results.root, path) else []
        except UserError as error:
            self.say(str(error))
            rows = []
        while len(self._histories) >= _MOST_HISTORIES:
            self._histories.pop(next(iter(self._histories)), None)
        self._histories[run_id] = (stamp, rows)
        return rows

    def imported_run(self, run_id: str) -> ImportedRun:
        """An imported run by its whole id.

        Raises:
            ConfigError: it is gone meanwhile.
            StorageError: its group cannot be read.
        """
        _, group, name = run_id.split("/", 2)
        with self._lock:
            runs = imported_group(self.results, group, self._kept).runs
        for run in runs:
            if run.name == name:
                return run
        raise ConfigError(f"{run_id}: this run is gone")

    def _read(self) -> Snapshot:
        problem = ""
        before = self._snapshot.index if self._snapshot is not None else None
        try:
            index = self._read_index()
        except (UserError, OSError) as error:  # such as a record that is replaced at this moment
            problem = " ".join(str(error).split())
            index = before or extended(_empty(self.results), [])
        ids, outcomes = index.column("run_id"), index.column("outcome")
        outcome_of = {
            str(run_id): str(outcome) for run_id, outcome in zip(ids, outcomes, strict=True)
        }
        sweeps = tuple(find_sweeps(self.results, outcome_of, self._kept, time.time()))
        plans = tuple((one.kind, one.name, one.plan) for one in sweeps if one.plan is not None)
        same = Same(index, *(plan for _, _, plan in plans))
        uses = self._kept.get("uses", same, lambda: _uses(plans, index))
        last = self._snapshot
        if last is not None and last.index is index and last.sweeps == sweeps:
            return last  # with what was worked out of it
        return Snapshot(index, sweeps, uses, problem)

    def _read_index(self) -> RunIndex:
        """The runs of the ledger and the imports, but for those that links lead outside to."""
        results = self.results
        if is_inside(results.root, results.runs):
            self._own = read_index(results, self.say, self._own)
        else:
            self._own = _empty(results)
        own, outside = self._own, self._outside()
        groups = sweep_names(results, "imported")
        stamp = (Same(own), outside, tuple(imported_stamp(results.imported(n)) for n in groups))
        return self._kept.get("index", stamp, lambda: self._whole_index(own, outside, groups))

    def _whole_index(self, own: RunIndex, outside: frozenset[str], groups: list[str]) -> RunIndex:
        if outside:
            is_shown = pa.array(
                (run_id not in outside for run_id in own.column("run_id")), pa.bool_()
            )
            own = RunIndex(own.table.filter(is_shown))
        rows = imported_rows(self.results, self.say) if groups else []
        return extended(own, [row for row in rows if row["run_id"].split("/")[1] in groups])

    def _outside(self) -> frozenset[str]:
        """The runs whose folder is a link that leads outside the results folder."""
        try:
            with os.scandir(self.results.runs) as entries:
                links = [entry.name for entry in entries if entry.is_symlink()]
        except OSError:
            return frozenset()
        root = self.results.root
        return frozenset(name for name in links if not is_inside(root, self.results.run(name)))


def _uses(
    plans: tuple[tuple[Kind, str, PlanDocument], ...], index: RunIndex
) -> Mapping[str, tuple[Use, ...]]:
    found: dict[str, tuple[Use, ...]] = {}
    for kind, name, plan in plans:
        for run in plan.runs:
            use = Use(kind, name, run.arm_id)
            if use not in (before := found.get(run.run_id, ())):
                found[run.run_id] = (*before, use)
    for run_id in map(str, index.column("run_id")):
        parts = run_id.split("/", 2)
        if len(parts) == 3:
            found[run_id] = (Use("imported", parts[1], parts[2]),)
    return found


def _empty(results: Results) -> RunIndex:
    """The index of a folder without runs."""
    return read_index(Results(results.root / ".none"), lambda text: None)
