"""Trains those runs of a plan that are wanted, and shows how far they are."""

from collections.abc import Collection, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from rich.console import Console

from orchestrator.driver.cost import measure_pace
from orchestrator.driver.event_files import EventFiles
from orchestrator.driver.notify import Notifier, both
from orchestrator.driver.timekeeper import Timekeeper
from orchestrator.execute.backends import Backend, PackEvent
from orchestrator.execute.machine import Options
from orchestrator.execute.progress import Display
from orchestrator.execute.recording import Recorder
from orchestrator.execute.training import Trainer, started_backend
from orchestrator.plan.packs import packs_to_train
from orchestrator.plan.plan import Plan
from orchestrator.spec.configuration import Pack
from orchestrator.store.ledger import recent_records
from orchestrator.store.paths import Results
from orchestrator.store.under_way import steps_under_way
from orchestrator.terminal import Say


@dataclass
class Training:
    """What all training of one call of `run` has in common.

    Attributes:
        backend: trains the packs; None takes the one that `options` name.
        until: `time.monotonic` at which training stops; None for no limit.
        shares: whether other processes may train runs of the same ablation.
        events: writes event files for TensorBoard; None if nobody asked for them.
        notifier: is told of runs that fail for good.
        keeper: of the packs that trained last, if there is a limit.
    """

    results: Results
    options: Options
    console: Console
    recorder: Recorder
    backend: Backend | None
    until: float | None
    shares: bool
    events: EventFiles | None
    notifier: Notifier
    keeper: Timekeeper | None = None

    def train(
        self, plan: Plan, wanted: Collection[str], recorded: Collection[str], *, leaves: bool
    ) -> None:
        """Train what is wanted and not recorded, up to the limit of time.

        Args:
            wanted: ids of the runs that must have a result.
            recorded: ids of the runs that have one.
            leaves: whether runs that other processes train are left to them, not waited for.
        """
        self.notifier.follow(plan.runs)
        if self.events is not None:
            self.events.expect(plan.runs, {a.arm_id: a.levels for a in plan.loaded.arms})
        out = plan.distinct.keys() - set(wanted)
        packs = packs_to_train(plan.packs, {*recorded, *out})
        if not packs:
            return
        with Display(self.console, packs, len(recorded)) as display:
            n_runs = sum(len(pack.runs) for pack in packs)
            display.say(
                f"{n_runs} runs to train in {len(packs)} packs, {len(recorded)} recorded before "
                f"({self.options.backend}, {self.options.at_a_time} at a time)"
            )
            if self.until is not None:
                self.keeper = self._keeper(plan, packs, self.until, display.say)
                packs = list(self.keeper.order)

            def on_event(event: PackEvent) -> None:
                display.update(event)
                if self.keeper is not None:
                    self.keeper.follow(event)
                self.recorder.tell(display.n_running, *display.steps)

            given = self.backend
            start = nullcontext(given) if given else started_backend(self.options, display.say)
            with self.recorder.switch.limited(self.until), start as backend:
                trainer = Trainer(
                    backend,
                    self.options,
                    self.results,
                    plan.loaded.spec.name,
                    self.recorder,
                    display.say,
                    leaves=leaves,
                    shares=self.shares,
                    watch=both(self.events.update if self.events else None, self.notifier.watch),
                )
                trainer.train(
                    plan,
                    packs,
                    on_event,
                    in_order=self.keeper is not None,
                    on_others=display.note_recorded,
                )

    def _keeper(self, plan: Plan, packs: Sequence[Pack], until: float, say: Say) -> Timekeeper:
        pace = measure_pace(
            plan,
            packs,
            recent_records(self.results),
            threads=self.options.threads,
            device=self.options.device,
            may_calibrate=False,
        )
        done = steps_under_way(self.results, plan.loaded.spec.name)
        return Timekeeper(plan, packs, pace, self.options.at_a_time, until, say, steps_done=done)
