"""The packs that a driver has yet to train, and which of their runs it may train now.

A run that another live driver trains is left out of its pack, and the rest of the pack is trained
under an id of its own. When the other has recorded the run, its record is used; when it has ended
without, the run is taken over, from the other's checkpoint if that can be read.
"""

import contextlib
import shutil
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from decoder.config import digest
from decoder.errors import UserError
from orchestrator.execute.backends import PackEvent, PackFailed
from orchestrator.plan.packs import Planned, PlannedPack, PlannedRun
from orchestrator.spec.configuration import Pack
from orchestrator.store.ledger import read_records, with_result
from orchestrator.store.mixing import keep_others, select_present
from orchestrator.store.paths import Results
from orchestrator.store.record import Record
from orchestrator.store.reservation_files import UNKNOWN, Driver
from orchestrator.store.reservations import Reservations
from orchestrator.store.under_way import keep_cut, packs_under_way
from orchestrator.terminal import Say

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0  # seconds between two looks at what others do


@dataclass(frozen=True)
class Batch:
    """Packs to train now, as `orchestrator.plan.packs.Planned` and as a backend takes them.

    Attributes:
        of_plan: pack id → id of the pack of the plan that it is a part of, or is.
    """

    packs: Sequence[PlannedPack]
    distinct: Mapping[str, PlannedRun]
    to_train: Sequence[Pack]
    of_plan: Mapping[str, str]


class OpenPacks:
    """Packs of which runs have neither ended nor been tried in this call.

    Args:
        held: the reservations of this process.
        planned: what the packs belong to.
        packs: some of its packs, without recorded runs.
        on_event: receives the runs that failed in another driver meanwhile.
        on_others: receives the runs that another driver has recorded meanwhile.
    """

    def __init__(
        self,
        held: Reservations,
        results: Results,
        name: str,
        planned: Planned,
        packs: Sequence[Pack],
        on_event: Callable[[PackEvent], None],
        on_others: Callable[[Sequence[str]], None],
        say: Say,
    ) -> None:
        self._held, self._results, self._name, self._say = held, results, name, say
        self._on_event, self._on_others = on_event, on_others
        self._distinct = planned.distinct
        self._planned = {pack.pack_id: pack for pack in planned.packs}
        self._packs = {pack.pack_id: pack for pack in packs}
        self._left = {
            pack.pack_id: dict.fromkeys(run.run_id for run in pack.runs) for pack in packs
        }
        self._busy: dict[str, Driver] = {}
        self._said: set[str] = set()
        self._started = held.beat()

    @property
    def run_ids(self) -> frozenset[str]:
        """The runs that are left."""
        return frozenset(run_id for left in self._left.values() for run_id in left)

    def take(self, pack_ids: Sequence[str]) -> Batch | None:
        """Reserve what is free of some packs; None if nothing of them is left to train now.

        Raises:
            StorageError: the reservations cannot be made, or records not read.
        """
        wanted = [run_id for pack_id in pack_ids for run_id in self._left.get(pack_id, ())]
        if not wanted:
            return None
        taken, busy = self._held.reserve(wanted)
        for run_id in wanted:
            self._busy.pop(run_id, None)
        self._busy |= busy
        mine = taken - self._settle(taken, pack_ids)
        if not mine:
            return None
        under_way = packs_under_way(self._results, self._name)
        planned, to_train, of_plan = [], [], {}
        for pack_id in pack_ids:
            for part in self._parts(self._packs[pack_id], mine, under_way):
                to_train.append(part)
                planned.append(self._as_planned(part, pack_id))
                of_plan[part.pack_id] = pack_id
            for run_id in mine:
                self._left.get(pack_id, {}).pop(run_id, None)
        keep_cut(
            self._results,
            self._name,
            [p for p in planned if p.pack_id not in self._packs],
        )
        self._drop_finished()
        return Batch(planned, self._distinct, to_train, of_plan)

    def wait(self, leave: bool) -> bool:
        """Wait until a run that others train is free.

        Args:
            leave: whether to stop waiting once every process that trains one is seen to live.

        Returns:
            Whether there is something to take; False if it is time to leave.
        """
        pause = _FIRST_PAUSE
        self._held.start_to_watch()
        while True:
            self._name_others(leave)
            time.sleep(pause)
            pause = min(1.5 * pause, _LONGEST_PAUSE)
            taken, busy = self._held.reserve(self.run_ids)
            self._busy = dict(busy)
            if taken:
                self._held.release()  # whoever comes first to train them has them
                return True
            if leave and all(self._is_left_to(driver) for driver in busy.values()):
                return False

    def _is_left_to(self, driver: Driver) -> bool:
        """Whether a process that shares the work of this ablation is seen to live."""
        shares = driver.shares and (driver.kind, driver.name) == (self._results.kind, self._name)
        return shares and self._held.is_beating(driver)

    def _settle(self, taken: Collection[str], pack_ids: Sequence[str]) -> set[str]:
        """Pass on the runs that ended elsewhere before they were reserved here; gives their ids."""
        existing = [run_id for run_id in taken if self._results.record(run_id).exists()]
        if not existing:
            return set()
        records = read_records(self._results, existing, self._say)
        used = select_present(records, allow_mixed=False).used
        done = with_result(used)
        failed = {
            run_id: record
            for run_id, record in used.items()
            if run_id not in done and self._is_of_this_call(run_id)
        }
        if done:
            self._on_others(sorted(done))
        for pack_id in pack_ids:
            self._pass_on(pack_id, [r for r in self._left.get(pack_id, ()) if r in failed], failed)
            for run_id in (*done, *failed):
                self._left.get(pack_id, {}).pop(run_id, None)
        self._held.release([*done, *failed])
        self._drop_finished()
        keep_others(self._results, [r for r in existing if r not in done and r not in failed])
        return {*done, *failed}

    def _pass_on(self, pack_id: str, run_ids: Sequence[str], records: Mapping[str, Record]) -> None:
        if run_ids:
            reason = records[run_ids[0]]["error"] or "it failed in another process"
            self._on_event(PackEvent(pack_id, PackFailed(tuple(run_ids), reason, 1)))

    def _is_of_this_call(self, run_id: str) -> bool:
        """Whether a record is newer than this object, by the clock of the file system."""
        try:
            return self._results.record(run_id).stat().st_mtime >= self._started
        except OSError:
            return False

    def _parts(
        self, pack: Pack, mine: Collection[str], under_way: Mapping[str, Sequence[str]]
    ) -> list[Pack]:
        """Divide what may be trained of a pack by the checkpoints that there are of it."""
        free = [run_id for run_id in self._left.get(pack.pack_id, ()) if run_id in mine]
        if not free:
            return []
        if pack.pack_id in under_way and set(free) <= set(under_way[pack.pack_id]):
            return [_part(pack, pack.pack_id, free)]
        parts, rest = [], free
        for pack_id, run_ids in under_way.items():
            own = [run_id for run_id in rest if run_id in run_ids]
            if own and pack_id not in self._packs:
                parts.append(_part(pack, pack_id, own))
                rest = [run_id for run_id in rest if run_id not in own]
        for checkpoint, run_ids in self._checkpoints_of_others(rest):
            own = [run_id for run_id in rest if run_id in run_ids]
            if own:
                parts.append(self._new_part(pack, own))
                self._copy(checkpoint, parts[-1].pack_id, len(own))
                rest = [run_id for run_id in rest if run_id not in own]
        return [*parts, self._new_part(pack, rest)] if rest else parts

    def _new_part(self, pack: Pack, run_ids: Sequence[str]) -> Pack:
        """A part that starts in a folder of its own, which has the pack's id if it is all of it."""
        is_whole = len(run_ids) == len(pack.runs)
        return _part(pack, pack.pack_id if is_whole else digest(sorted(run_ids))[:16], run_ids)

    def _as_planned(self, part: Pack, pack_id: str) -> PlannedPack:
        of_plan = self._planned[pack_id]
        if part.pack_id == pack_id:
            return of_plan
        ids = {run.run_id for run in part.runs}
        runs = tuple(run for run in of_plan.runs if run.run_id in ids)
        return replace(of_plan, pack_id=part.pack_id, runs=runs)

    def _checkpoints_of_others(self, run_ids: Sequence[str]) -> list[tuple[Path, Sequence[str]]]:
        """The checkpoint folders, and their runs, of the drivers that had these runs before."""
        former = {self._held.former.get(run_id, UNKNOWN) for run_id in run_ids}
        found: list[tuple[Path, Sequence[str]]] = []
        for kind, name in sorted({(one.kind, one.name) for one in former - {UNKNOWN}}):
            if (kind, name) == (self._results.kind, self._name):
                continue
            of_other = Results(self._results.root, kind)
            with contextlib.suppress(UserError):  # what names it is damaged
                folder = of_other.checkpoints(name)
                cut = packs_under_way(of_other, name)
                found += [(folder / pack_id, cut[pack_id]) for pack_id in cut]
        return found

    def _copy(self, checkpoint: Path, pack_id: str, n_runs: int) -> None:
        """Copy a checkpoint folder, unless there is one or it cannot be read."""
        folder = self._results.checkpoints(self._name) / pack_id
        half = folder.with_name(f".{pack_id}")
        if folder.exists():
            return
        shutil.rmtree(half, ignore_errors=True)  # left by a killed driver
        try:
            shutil.copytree(checkpoint, half)
            half.rename(folder)
        except OSError:  # shutil.Error is one; its owner may have gone on
            shutil.rmtree(half, ignore_errors=True)
            return
        self._say(f"{n_runs} runs go on from {checkpoint}, whose driver ended")

    def _name_others(self, leave: bool) -> None:
        """Say once who trains the runs that are left, apart from those that share the work."""
        runs_of: dict[Driver, int] = {}
        for driver in self._busy.values():
            if not (leave and driver.shares):
                runs_of[driver] = runs_of.get(driver, 0) + 1
        for driver, n_runs in runs_of.items():
            if driver.token not in self._said and driver != UNKNOWN:
                self._said.add(driver.token)
                self._say(
                    f"{n_runs} runs are being trained by {driver}; they are waited for, and its "
                    "records are used"
                )

    def _drop_finished(self) -> None:
        self._left = {pack_id: left for pack_id, left in self._left.items() if left}


def _part(pack: Pack, pack_id: str, run_ids: Collection[str]) -> Pack:
    """Those runs of a pack, in its order."""
    if pack_id == pack.pack_id and len(run_ids) == len(pack.runs):
        return pack
    return Pack(pack_id, pack.seed, tuple(run for run in pack.runs if run.run_id in run_ids))
