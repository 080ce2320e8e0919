"""The place of a process in an ablation: alone, or among those that share its work.

Processes that share the work of an ablation (``--share-work``) plan one after the other. The first
writes the plan and how it is cut into packs; those that join must have the same. Then each trains
the packs that it can reserve.
"""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from decoder.errors import ConfigError, StorageError
from orchestrator.driver.room import PackRoom
from orchestrator.plan.document import PlanDocument
from orchestrator.plan.plan import Plan
from orchestrator.store.locks import DriverSeat, check_free, driver_seat
from orchestrator.store.paths import Results
from orchestrator.store.plan_file import read_plan
from orchestrator.store.reservation_files import Driver, reserved_now
from orchestrator.store.reservations import Reservations, reserving
from orchestrator.store.sources import training_sha256
from orchestrator.store.tidy import tidy_up
from orchestrator.store.under_way import (
    drop_other_sources,
    keep_cut,
    recorded_cut,
    sources_of_checkpoints,
)
from orchestrator.terminal import Say

_PAUSE_SECONDS = 0.2
_PAUSES_BEFORE_A_WORD = 50
_MOST_NAMED = 5


@dataclass(frozen=True)
class WorkPlace:
    """The place of this process in an ablation.

    Attributes:
        seat: of the only driver; None if the work is shared.
        held: reservations of a process that shares the work; None if there is only one.
    """

    results: Results
    name: str
    say: Say
    seat: DriverSeat | None
    held: Reservations | None

    @property
    def _joined(self) -> str:
        """What the key of a process that trains the plan begins with; its token follows."""
        return f"joined-{self.results.kind}-{self.name}-"

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Be the only process that plans or reports, among those that share the work."""
        if self.held is None:
            yield
            return
        key = f"turn-{self.results.kind}-{self.name}"
        n_pauses = 0
        while not (answer := self.held.reserve([key])).taken:
            n_pauses += 1
            if n_pauses == _PAUSES_BEFORE_A_WORD:
                self.say(f"waiting for {answer.busy[key]}, which plans or reports")
            time.sleep(_PAUSE_SECONDS)
        try:
            yield
        finally:
            self.held.release([key])

    def others(self) -> list[Driver]:
        """The live processes whose plan is the one on disk."""
        if self.held is None:
            return []
        return [
            driver
            for key, driver in reserved_now(self.results).items()
            if key.removesuffix(driver.token) == self._joined and driver.token != self.held.me.token
        ]

    def with_cut(self, room: PackRoom) -> PackRoom:
        """Room that leaves packs as the processes that share the work have cut them."""
        if self.held is None or sources_of_checkpoints(self.results, self.name) != (
            training_sha256()
        ):
            return room
        return replace(room, under_way=recorded_cut(self.results, self.name))

    def join(self, plan: Plan) -> None:
        """Keep how the plan is cut, and be known as a process that trains it."""
        if self.held is not None:
            drop_other_sources(self.results, self.name, self.say)
            keep_cut(self.results, self.name, plan.packs)
            self.held.reserve([f"{self._joined}{self.held.me.token}"])

    def leave(self) -> None:
        """Be known as such a process no longer."""
        if self.held is not None:
            self.held.release([f"{self._joined}{self.held.me.token}"])

    def trained_elsewhere(self, run_ids: Collection[str]) -> set[str]:
        """Those runs that processes train now with which this one shares the work."""
        if self.held is None:
            return set()
        mine = self.results.kind, self.name
        return {
            run_id
            for run_id, driver in reserved_now(self.results).items()
            if driver.shares and (driver.kind, driver.name) == mine and run_id in run_ids
        }


@contextmanager
def work_place(results: Results, name: str, say: Say, *, share: bool) -> Iterator[WorkPlace]:
    """Take a place in an ablation until the block ends.

    Args:
        share: whether other processes may train the same ablation.

    Raises:
        StorageError: another process trains it and does not share the work, or the other way
            round; or the folder cannot be written.
    """
    if not share:
        with driver_seat(results, name, say) as seat:
            yield WorkPlace(results, name, say, seat, None)
        return
    with reserving(results, name, shares=True) as held:
        check_free(results, name)
        if results.ablation(name).is_dir():
            tidy_up(results, name, say)  # what live processes own stays
        yield WorkPlace(results, name, say, None, held)


def check_agreement(results: Results, document: PlanDocument, others: Sequence[Driver]) -> None:
    """Refuse to share the work of processes that train something else.

    Args:
        document: the plan of this process.
        others: those whose plan is on disk; nothing is checked if there is none.

    Raises:
        ConfigError: the specification or ``--allow-mixed`` differs.
        StorageError: recordings, the decoder's numerics or its source code differ.
    """
    if not others:
        return
    who = f"{document.name}: {others[0]} shares its work, but"
    mend = "wait until it has ended, or give the same, or another --results folder"
    kept = read_plan(results, document.name)
    if kept.spec_hash != document.spec_hash:
        texts = _differences(
            dict(_leaves(kept.spec.model_dump(mode="json"))),
            dict(_leaves(document.spec.model_dump(mode="json"))),
        )
        raise ConfigError(f"{who} its specification differs: {texts}; {mend}")
    if kept.allow_mixed != document.allow_mixed:
        raise ConfigError(f"{who} one of the two has --allow-mixed; {mend}")
    theirs = {(run.arm_id, run.block): run.run_id for run in kept.runs}
    differing = sum(
        theirs.get((run.arm_id, run.block), run.run_id) != run.run_id for run in document.runs
    )
    if differing:
        raise StorageError(
            f"{who} {differing} of {len(document.runs)} runs differ, as its recordings "
            f"({kept.dataset.path}: {kept.dataset.fingerprint}; here {document.dataset.path}: "
            f"{document.dataset.fingerprint}), its base or the decoder are others; {mend}"
        )
    if sources_of_checkpoints(results, document.name) != training_sha256():
        raise StorageError(f"{who} with other source code of the decoder; {mend}")


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested mappings, by dotted path."""
    if not isinstance(value, dict):
        yield path, value
        return
    for key, below in value.items():
        yield from _leaves(below, f"{path}.{key}".removeprefix("."))


def _differences(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    names = [n for n in sorted({*theirs, *ours}) if theirs.get(n) != ours.get(n)]
    texts = [f"{n} is {theirs.get(n)} there, {ours.get(n)} here" for n in names[:_MOST_NAMED]]
    return "; ".join(texts) + (f"; and {len(names) - 5} more" if len(names) > 5 else "")
