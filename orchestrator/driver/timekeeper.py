"""Follows packs that train within a limit of time, and says when what fits into it changes."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from decoder.pack import Progress
from orchestrator.driver.budget import Budget, budget_text, left_over_text, plan_budget
from orchestrator.driver.cost import Pace
from orchestrator.driver.room import ShapeKey
from orchestrator.execute.backends import PackEvent
from orchestrator.plan.packs import work_of
from orchestrator.plan.plan import Plan
from orchestrator.spec.configuration import Pack, n_steps_of
from orchestrator.terminal import Say

_SAID_AGAIN_SHARE = 0.02  # of the limit: the least time between two remarks


class Timekeeper:
    """What is left of a plan, and how long it takes by what was measured up to now.

    Args:
        packs: those to train, in any order.
        pace: what earlier records say.
        n_workers: packs trained at the same time.
        until: when the limit is reached, by `clock`.
        say: receives what fits into it, first and whenever it changes.
        clock: gives monotonic seconds.
        steps_done: pack id → the step of its checkpoint; None if there are none.

    Attributes:
        order: the packs, in the order in which they are to train.
    """

    def __init__(
        self,
        plan: Plan,
        packs: Sequence[Pack],
        pace: Pace,
        n_workers: int,
        until: float,
        say: Say,
        clock: Callable[[], float] = time.monotonic,
        steps_done: Mapping[str, int] | None = None,
    ) -> None:
        self._plan, self._n_workers, self._until, self._say = plan, n_workers, until, say
        self._clock, self._started = clock, clock()
        self._shapes = {p.pack_id: (p.data.fingerprint, p.shape) for p in plan.packs}
        self._work_per_step = {
            self._shapes[p.pack_id]: work_of(p, {run.run_id for run in p.runs})
            / sum(n_steps_of(run.config) for run in p.runs)
            for p in plan.packs
        }
        self._rates = {shape: rate.usual for shape, rate in pace.rates.items()}
        self._measured: dict[ShapeKey, list[float]] = {}
        self._steps = {  # of the runs that have trained
            run.run_id: (steps_done or {}).get(pack.pack_id, 0)
            for pack in packs
            for run in pack.runs
        }
        self._first: dict[str, tuple[float, int]] = {}  # pack id → time and step when first seen
        self._paces: dict[ShapeKey, float] = {}  # seconds per run and step of packs in the middle
        self._open = {pack.pack_id: pack for pack in packs}
        self.order = packs
        first = self._budget(None)
        self.order = [self._open[pack_id] for pack_id in first.order]
        self._said, self._said_at = self._fit(first), clock()
        say(f"time limit {budget_text(first)}")

    def follow(self, event: PackEvent) -> None:
        """Take in an event; remark on it if other packs fit now, or other claims."""
        pack = self._open.get(event.pack_id)
        if pack is None:
            return
        ended = set[str]()
        now = self._clock()
        if isinstance(event.what, Progress):
            self._see(pack, now, event.what.step)
            self._steps |= dict.fromkeys(
                event.what.latest or [run.run_id for run in pack.runs], event.what.step
            )
            for result in event.what.finished:
                ended.add(result.run_id)
                if result.status == "ok" and result.n_steps_done:
                    rate = result.pack_seconds / result.n_runs_in_pack / result.n_steps_done
                    self._measured.setdefault(self._shapes[pack.pack_id], []).append(rate)
        else:
            ended |= set(event.what.run_ids)
        self._drop(pack, ended)
        if now - self._said_at < _SAID_AGAIN_SHARE * (self._until - self._started):
            return
        budget = self._budget(self.order)
        if self._open and self._fit(budget) != self._said:
            self._said, self._said_at = self._fit(budget), now
            self._say(f"time limit, what is left {budget_text(budget)}")

    def say_left(self, recorded: Collection[str] = ()) -> Budget:
        """Say what is left now that the time is used up, and give it.

        Args:
            recorded: runs with a result, of which other processes may have trained some.
        """
        self._until = self._clock()
        for pack in list(self._open.values()):
            self._drop(pack, recorded)
        left = self._budget(self.order)
        self._say(left_over_text(left))
        return left

    def _drop(self, pack: Pack, ended: Collection[str]) -> None:
        """Leave out runs of an open pack that have ended."""
        left = tuple(run for run in pack.runs if run.run_id not in ended)
        self._open[pack.pack_id] = replace(pack, runs=left)
        if not left:
            del self._open[pack.pack_id]

    def _see(self, pack: Pack, now: float, step: int) -> None:
        """Measure the pace of a pack that has not ended."""
        since, first = self._first.setdefault(pack.pack_id, (now, step))
        if step > first and now > since:
            rate = (now - since) / (step - first) / len(pack.runs)
            self._paces[self._shapes[pack.pack_id]] = rate

    def _budget(self, order: Sequence[Pack] | None) -> Budget:
        return plan_budget(
            self._plan,
            list(self._open.values()),
            self._seconds(),
            self._n_workers,
            max(0.0, self._until - self._clock()) / 3600,
            order=None if order is None else [pack.pack_id for pack in order],
        )

    def _seconds(self) -> Mapping[str, float]:
        """Pack id → the seconds that it still takes.

        The pace is that of packs of the same shape: those that have ended in this call, else
        earlier records, else packs in the middle. Where none is known, it follows from the work
        and the pace of other shapes. Nothing is known before the first pack trains.
        """
        rates = {**self._paces, **self._rates}
        rates |= {shape: sum(all_) / len(all_) for shape, all_ in self._measured.items()}
        work = {shape: of for shape, of in self._work_per_step.items() if shape in rates}
        found = {}
        for pack in self._open.values():
            shape = self._shapes[pack.pack_id]
            rate = rates.get(shape)
            if rate is None and work:
                per_work = sum(rates[known] / of for known, of in work.items()) / len(work)
                rate = per_work * self._work_per_step[shape]
            if rate is not None:
                steps = (
                    max(0, n_steps_of(run.config) - self._steps.get(run.run_id, 0))
                    for run in pack.runs
                )
                found[pack.pack_id] = rate * sum(steps)
        return found

    @staticmethod
    def _fit(budget: Budget) -> tuple[object, ...]:
        """What a remark would say anew: which packs do not fit, and which claims."""
        late = None
        if budget.fitting is not None:
            late = frozenset(budget.order) - frozenset(budget.fitting)
        return late, frozenset(budget.undecided)
