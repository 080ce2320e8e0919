"""The driver: plans an ablation, trains the runs that are not recorded, and writes its report."""

import shutil
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import JsonValue
from rich.console import Console

from orchestrator.driver.budget import Budget
from orchestrator.driver.changed_code import changed_code
from orchestrator.driver.changed_data import Accept, ask_about_changes, find_changed_data
from orchestrator.driver.event_files import EventFiles
from orchestrator.driver.grow import grow
from orchestrator.driver.live_page import LivePage, metric_of
from orchestrator.driver.notify import SILENT, Notifier
from orchestrator.driver.remarks import (
    check_machines,
    note_changes,
    note_claims,
    note_missing_weights,
    note_other_code,
    note_recordings,
    note_starts,
)
from orchestrator.driver.reporting import Rebuild, keep_timing, rebuild_report, renew_index
from orchestrator.driver.room import find_room
from orchestrator.driver.rounds import Rounds
from orchestrator.driver.shared_work import check_agreement, work_place
from orchestrator.driver.training import Training
from orchestrator.execute.backends import Backend
from orchestrator.execute.backends.guard import clear_abandoned
from orchestrator.execute.command.reread import reread_courses
from orchestrator.execute.machine import Options, device_name
from orchestrator.execute.recording import Recorder
from orchestrator.execute.stopping import TIME_USED_UP, Stopped, stop_switch
from orchestrator.plan.document import plan_document
from orchestrator.plan.looks import runs_not_needed, runs_wanted
from orchestrator.plan.plan import Plan, make_plan
from orchestrator.plan.recordings import PrepareData, Recordings, prepare_data
from orchestrator.spec.arms import Arm
from orchestrator.spec.claims import stops_early
from orchestrator.spec.load import Loaded
from orchestrator.store.ledger import (
    read_records,
    restore_former,
    with_result,
)
from orchestrator.store.look_files import with_looks
from orchestrator.store.mixing import kept_of_present, select_present, sources_text
from orchestrator.store.paths import Results
from orchestrator.store.plan_file import write_plan
from orchestrator.store.provenance import version_of
from orchestrator.store.record import Record
from orchestrator.store.registration import check_lock, register
from orchestrator.terminal import Say, say_to

FAILED_FOR_GOOD = 4  # exit code of a call after which runs lack a result


@dataclass
class Stopwatch:
    """Measures the wall time of each phase, in seconds."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - started


@dataclass(frozen=True)
class AblationOutcome:
    """The result of one call of `run`.

    Attributes:
        n_runs: distinct runs of the plan.
        n_recorded: runs with a result.
        n_failed: infrastructure failures.
        n_trained: runs with a result from this call.
        signal_number: the signal that stopped the call; None if none did.
        seconds: phase → wall time in seconds.
        folder: the folder of tables, figures and report.
        left_over: what was not trained when the limit of time was reached; None if it was not.
        n_elsewhere: runs that other processes train, if the work is shared.
        is_reported: whether this call wrote the report; else another process will.
        n_not_needed: runs without a result that no open claim needs, if looks stop arms.
    """

    name: str
    n_runs: int
    n_recorded: int
    n_failed: int
    n_trained: int
    signal_number: int | None
    seconds: dict[str, float]
    folder: Path
    left_over: Budget | None = None
    n_elsewhere: int = 0
    is_reported: bool = True
    n_not_needed: int = 0

    @property
    def exit_code(self) -> int:
        if self.signal_number is not None:
            return 128 + self.signal_number
        return FAILED_FOR_GOOD if self.n_elsewhere < self.n_open else 0

    @property
    def n_open(self) -> int:
        """Runs that are needed and have no result."""
        return self.n_runs - self.n_recorded - self.n_not_needed


def run_ablation(
    loaded: Loaded,
    results: Results,
    options: Options,
    console: Console,
    *,
    backend: Backend | None = None,
    describe: PrepareData = prepare_data,
    rebuild: Rebuild | None = None,
    set_up_seconds: float = 0.0,
    allow_mixed: bool = False,
    strict: bool = False,
    accept: Accept = lambda text: False,
    hours: float | None = None,
    share_work: bool = False,
    tensorboard: bool = False,
    notifier: Notifier = SILENT,
) -> AblationOutcome:
    """Train the runs of an ablation that are not recorded, record them, and rebuild the report.

    Args:
        console: shows progress and remarks.
        backend: trains the packs; None takes the one that `options` names.
        rebuild: writes tables, figures and report, see `rebuild_report`.
        set_up_seconds: time that passed before this call.
        allow_mixed: whether results of other decoder sources are used; otherwise their runs are
            trained again.
        strict: whether different versions of PyTorch or devices are refused.
        accept: asked, with a text, whether recorded runs are trained again because their recordings
            have changed.
        hours: limit of the time until training stops, from the start of this call; packs then
            train in the order of `orchestrator.driver.budget`. None is no limit.
        share_work: whether other processes may train runs of the same ablation, too. What they
            train when nothing else is left is left to them.
        tensorboard: whether to write event files, see `orchestrator.driver.event_files`.
        notifier: is told of runs that fail for good, and of claims that are decided.

    Raises:
        DataError: recordings have changed, and that is not accepted.
        UserError: of any kind; runs recorded by then stay recorded.
        Stopped: by a signal before training began.
    """
    name = loaded.spec.name
    watch = Stopwatch({"set_up": set_up_seconds})
    until = None if hours is None else time.monotonic() - set_up_seconds + 3600 * hours
    say = say_to(console)

    def prepare(arms: Sequence[Arm]) -> Mapping[str, Recordings]:
        return describe(arms, results.datasets, say)

    with (
        stop_switch(options.grace_seconds) as switch,
        work_place(results, name, say, share=share_work) as place,
    ):
        clear_abandoned(say)
        with watch.phase("data"):
            data = prepare(loaded.arms)
            note_recordings(data.values(), say)
        with watch.phase("set_up"), place.turn():
            others = place.others()
            room = place.with_cut(find_room(results, name, options))
            plan = make_plan(loaded, data, options.n_workers, options.max_runs_per_pack, room)
            every = read_records(results, plan.distinct, say, full=False)
            if not allow_mixed:
                every |= _bring_back(results, every, say)
            plan = grow(plan, results, options, prepare, allow_mixed=allow_mixed, room=room)
            new = plan.distinct.keys() - every.keys()
            every |= read_records(results, new, say, full=False)
            every = reread_courses(results, plan.distinct, every, say)
            records = _usable(plan, results, options, every, say, allow_mixed, strict)
            if text := changed_code(plan, results):
                say(text)
            changed = find_changed_data(plan, with_result(every), results, options)
            ask_about_changes(changed, accept)
            note_missing_weights(plan, results, records, say)
            note_starts(plan, say)
            note_claims(loaded, say)
            # Results of other sources were seen, so they lock the claims too.
            locked = (check_lock if others else register)(plan, results, with_result(every))
            document = plan_document(plan, *locked, allow_mixed=allow_mixed)
            check_agreement(results, document, others)
            note_changes(results, document, say)
            if not others:
                write_plan(results, document)
            place.join(plan)
        page = LivePage(
            results, name, document.question, metric_of(loaded.spec), say, shares=share_work
        )
        recorder = Recorder(results, switch, place.seat, page)
        events = None
        if tensorboard:
            events = EventFiles(results, name, loaded.spec.collapse.thresholds(), say)
        training = Training(
            results, options, console, recorder, backend, until, share_work, events, notifier
        )
        rounds = Rounds(
            plan,
            document,
            results,
            options,
            place,
            prepare,
            lambda longer: plan_document(longer, *locked, allow_mixed=allow_mixed),
            room,
            say,
            with_result(records),
            notifier,
        )
        signal_number = None
        with watch.phase("training"), page:
            try:
                rounds.begin()
                is_open = True
                while is_open:
                    leaves = share_work and rounds.is_last
                    training.train(rounds.plan, rounds.wanted, rounds.recorded, leaves=leaves)
                    is_open = rounds.advance()
            except Stopped as stop:
                signal_number = stop.signal_number
                why = "the time is used up" if signal_number == TIME_USED_UP else "stopping"
                say(f"{why}: recorded runs are kept; call `run` again to continue")
        plan, document = rounds.plan, rounds.document
        left_over = None
        with watch.phase("reporting"):
            # Asked before the records are read, as a run may end between the two.
            elsewhere = place.trained_elsewhere(plan.distinct)
            if events is not None:
                events.complete(plan.distinct)
            every = read_records(results, plan.distinct, say, move_aside=False, full=False)
            records = select_present(every, allow_mixed=allow_mixed).used
            elsewhere -= with_result(records)
            if training.keeper is not None and signal_number == TIME_USED_UP:
                left_over = training.keeper.say_left(with_result(records))
            if not elsewhere:
                with place.turn():
                    rebuild_report(results, document, say, rebuild, notifier=notifier)
                    renew_index(results)
        watch.seconds["ledger"] = recorder.seconds
        n_recorded = len(with_result(records))
        outcome = AblationOutcome(
            name=name,
            n_runs=len(plan.distinct),
            n_recorded=n_recorded,
            n_failed=len(records) - n_recorded,
            n_trained=recorder.n_trained,
            signal_number=signal_number,
            seconds=watch.seconds,
            folder=results.ablation(name),
            left_over=left_over,
            n_elsewhere=len(elsewhere),
            is_reported=not elsewhere,
            n_not_needed=len(runs_not_needed(document, with_result(records))),
        )
        with place.turn():
            place.leave()
            if outcome.n_open == 0 and not place.others():
                shutil.rmtree(results.checkpoints(name), ignore_errors=True)
            call: dict[str, JsonValue] = {
                "seconds": dict(outcome.seconds),
                "n_trained": outcome.n_trained,
            }
            keep_timing(results, name, call, options)
    return outcome


def _bring_back(results: Results, records: Mapping[str, Record], say: Say) -> dict[str, Record]:
    """Put kept results of the present sources back in place of those of other sources."""
    kept = kept_of_present(results, select_present(records, allow_mixed=False).others)
    for record in kept.values():
        restore_former(results, record)
    if kept:
        say(f"{len(kept)} results that the present source code made before are used again")
    return kept


def _usable(
    plan: Plan,
    results: Results,
    options: Options,
    records: Mapping[str, Record],
    say: Say,
    allow_mixed: bool,
    strict: bool,
) -> Mapping[str, Record]:
    """The records that need no training, after a remark on the others and on their machines."""
    used, others = select_present(records, allow_mixed=allow_mixed)
    if allow_mixed:
        note_other_code(records, say, "claims that mix sources are exploratory")
    elif others:
        say(
            f"{sources_text(others, len(with_result(records)))}; they are trained again, and "
            f"their records are kept in {results.runs}/<run_id>/former (--allow-mixed uses them "
            "instead)"
        )
    wanted: Collection[str] = plan.distinct
    if stops_early(plan.loaded.spec):
        lock = check_lock(plan, results, with_result(records))
        wanted = runs_wanted(
            with_looks(results, plan_document(plan, *lock, allow_mixed=allow_mixed))
        )
    trains = not with_result(used).issuperset(wanted)
    check_machines(
        used.values(),
        say,
        strict=strict,
        torch=version_of("torch") if trains else None,
        device=device_name(options) if trains else None,
    )
    return used
