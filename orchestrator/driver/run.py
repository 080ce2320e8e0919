"""The driver: plans an ablation, trains the runs that are not recorded, and writes its report."""

import json
import shutil
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from decoder.atomic import write_atomically
from orchestrator.driver.grow import grow, round_text
from orchestrator.driver.remarks import (
    check_machines,
    note_changes,
    note_claims,
    note_missing_weights,
    note_other_code,
    note_recordings,
)
from orchestrator.driver.reporting import Rebuild, rebuild_report, renew_index
from orchestrator.driver.room import find_room
from orchestrator.execute.backends import Backend, PackEvent
from orchestrator.execute.machine import Options, device_name
from orchestrator.execute.progress import Display
from orchestrator.execute.recording import Recorder
from orchestrator.execute.stopping import Stopped, stop_switch
from orchestrator.execute.training import Trainer, started_backend
from orchestrator.plan.document import plan_document
from orchestrator.plan.packs import packs_to_train
from orchestrator.plan.plan import Plan, make_plan
from orchestrator.plan.recordings import PrepareData, Recordings, prepare_data
from orchestrator.spec.arms import Arm
from orchestrator.spec.load import Loaded
from orchestrator.store.ledger import Record, read_records, restore_former, with_result
from orchestrator.store.locks import driver_seat
from orchestrator.store.mixing import kept_of_present, select_present, sources_text
from orchestrator.store.paths import Results
from orchestrator.store.plan_file import write_plan
from orchestrator.store.provenance import version_of
from orchestrator.store.registration import register
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
    """

    name: str
    n_runs: int
    n_recorded: int
    n_failed: int
    n_trained: int
    signal_number: int | None
    seconds: dict[str, float]
    folder: Path

    @property
    def exit_code(self) -> int:
        if self.signal_number is not None:
            return 128 + self.signal_number
        return FAILED_FOR_GOOD if self.n_recorded < self.n_runs else 0


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

    Raises:
        UserError: of any kind; runs recorded by then stay recorded.
        Stopped: by a signal before training began.
    """
    name = loaded.spec.name
    watch = Stopwatch({"set_up": set_up_seconds})
    say = say_to(console)

    def prepare(arms: Sequence[Arm]) -> Mapping[str, Recordings]:
        return describe(arms, results.datasets, say)

    with stop_switch() as switch, driver_seat(results, name, say) as seat:
        with watch.phase("data"):
            data = prepare(loaded.arms)
            note_recordings(data.values(), say)
        with watch.phase("set_up"):
            room = find_room(results, name, options)
            plan = make_plan(loaded, data, options.n_workers, options.max_runs_per_pack, room)
            every = read_records(results, plan.distinct, say, full=False)
            if not allow_mixed:
                every |= _bring_back(results, every, say)
            plan = grow(plan, results, options, prepare, allow_mixed=allow_mixed, room=room)
            new = plan.distinct.keys() - every.keys()
            every |= read_records(results, new, say, full=False)
            records = _usable(plan, results, options, every, say, allow_mixed, strict)
            note_missing_weights(plan, results, records, say)
            note_claims(loaded, say)
            # Results of other sources were seen, so they lock the claims too.
            locked = register(plan, results, with_result(every))
            document = plan_document(plan, *locked, allow_mixed=allow_mixed)
            note_changes(results, document, say)
            write_plan(results, document)
        recorder = Recorder(results, switch, seat)
        signal_number = None
        with watch.phase("training"):
            try:
                recorded = with_result(records)
                while True:
                    _train(plan, recorded, results, options, console, recorder, backend)
                    longer = grow(
                        plan, results, options, prepare, allow_mixed=allow_mixed, room=room
                    )
                    if longer is plan:
                        break
                    plan = longer
                    document = plan_document(plan, *locked, allow_mixed=allow_mixed)
                    write_plan(results, document)
                    say(f"greedy path: {round_text(plan)}")
                    every = read_records(results, plan.distinct, say, full=False)
                    recorded = with_result(select_present(every, allow_mixed=allow_mixed).used)
            except Stopped as stop:
                signal_number = stop.signal_number
                say("stopping: recorded runs are kept; call `run` again to continue")
        with watch.phase("reporting"):
            rebuild_report(results, document, say, rebuild)
            every = read_records(results, plan.distinct, say, move_aside=False, full=False)
            records = select_present(every, allow_mixed=allow_mixed).used
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
        )
        if outcome.n_recorded == outcome.n_runs:
            shutil.rmtree(results.checkpoints(name), ignore_errors=True)
        _keep_timing(results, outcome, options)
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
    trains = len(with_result(used)) < len(plan.distinct)
    check_machines(
        used.values(),
        say,
        strict=strict,
        torch=version_of("torch") if trains else None,
        device=device_name(options) if trains else None,
    )
    return used


def _train(
    plan: Plan,
    recorded: Collection[str],
    results: Results,
    options: Options,
    console: Console,
    recorder: Recorder,
    backend: Backend | None,
) -> None:
    packs = packs_to_train(plan.packs, recorded)
    if not packs:
        return
    with Display(console, packs, len(recorded)) as display:
        n_runs = sum(len(pack.runs) for pack in packs)
        display.say(
            f"{n_runs} runs to train in {len(packs)} packs, {len(recorded)} recorded before "
            f"({options.backend}, {options.at_a_time} at a time)"
        )

        def on_event(event: PackEvent) -> None:
            display.update(event)
            recorder.tell(display.n_running)

        start = nullcontext(backend) if backend else started_backend(options, display.say)
        with start as train:
            name = plan.loaded.spec.name
            trainer = Trainer(train, options, results, name, recorder, display.say)
            trainer.train(plan, packs, on_event)


def _keep_timing(results: Results, outcome: AblationOutcome, options: Options) -> None:
    """Append this call to ``timing.json``; the tables do not depend on it."""
    path = results.timing(outcome.name)
    try:
        calls = json.loads(path.read_bytes())["calls"]
    except (OSError, ValueError, KeyError, TypeError):
        calls = []  # there is no file, or it cannot be read; nothing depends on it
    calls.append(
        {
            "ended_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": outcome.seconds,
            "n_trained": outcome.n_trained,
            "backend": options.backend,
            "n_workers": options.n_workers,
            "threads_per_worker": options.threads,
        }
    )
    write_atomically(path, json.dumps({"calls": calls}, indent=1).encode())
