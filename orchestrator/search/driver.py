"""The driver of a search: it tries candidates, confirms the best, and rebuilds the report.

A search that is started again continues where it stopped.
"""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

from optuna.trial import TrialState
from rich.console import Console

from orchestrator.driver.event_files import EventFiles
from orchestrator.driver.live_page import LivePage
from orchestrator.driver.notify import SILENT, Notifier, both
from orchestrator.driver.page_writer import ASKED
from orchestrator.driver.remarks import note_other_code
from orchestrator.driver.reporting import telling_decided
from orchestrator.driver.room import find_room
from orchestrator.driver.run import FAILED_FOR_GOOD, Stopwatch
from orchestrator.execute.backends import Backend
from orchestrator.execute.backends.guard import clear_abandoned
from orchestrator.execute.machine import Options
from orchestrator.execute.recording import Recorder
from orchestrator.execute.stopping import Stopped, stop_switch
from orchestrator.execute.training import Trainer, started_backend
from orchestrator.plan.document import plan_document
from orchestrator.plan.plan import make_plan
from orchestrator.plan.recordings import PrepareData, Recordings, prepare_data
from orchestrator.search.candidates import PrepareRecordings, next_batch
from orchestrator.search.confirmation import confirmation_ablation, find_winners
from orchestrator.search.kept import keep_search
from orchestrator.search.load import LoadedSearch
from orchestrator.search.rebuild import RebuiltSearch, rebuild_search
from orchestrator.search.schema import SECONDS
from orchestrator.search.study import FINISHED, ArmStudy, notes, open_studies
from orchestrator.search.train_batch import train_batch, train_runs
from orchestrator.spec.arms import Arm
from orchestrator.store.ledger import read_records, with_result
from orchestrator.store.locks import driver_seat
from orchestrator.store.mixing import select_present
from orchestrator.store.paths import Results
from orchestrator.store.plan_file import write_plan
from orchestrator.terminal import say_to


@dataclass(frozen=True)
class Counts:
    """Candidates of all arms, and runs of the confirmation."""

    n_finished: int
    n_stopped: int
    n_failed: int
    n_confirmed: int
    n_to_confirm: int


@dataclass(frozen=True)
class SearchOutcome:
    """How a `search` ended.

    Attributes:
        n_candidates: candidates asked for, over all arms.
        n_trained: runs trained to their end by this call.
        signal_number: the signal that stopped it; None if it came to its end.
        counts: how many candidates and runs there are now.
        seconds: phase → wall seconds.
    """

    n_candidates: int
    n_trained: int
    signal_number: int | None
    counts: Counts
    seconds: Mapping[str, float]

    @property
    def exit_code(self) -> int:
        if self.signal_number is not None:
            return 128 + self.signal_number
        counts = self.counts
        short = counts.n_finished < self.n_candidates or counts.n_confirmed < counts.n_to_confirm
        return FAILED_FOR_GOOD if short else 0


def run_search(
    loaded: LoadedSearch,
    results: Results,
    options: Options,
    console: Console,
    *,
    storage: str | None = None,
    backend: Backend | None = None,
    prepare: PrepareData = prepare_data,
    tensorboard: bool = False,
    notifier: Notifier = SILENT,
) -> tuple[SearchOutcome, RebuiltSearch]:
    """Try the candidates a search lacks, confirm the best, and rebuild the report.

    Args:
        storage: SQLAlchemy URL of the study's database; None keeps it in the search's folder.
        backend: trains the packs; None takes the one `options` names.
        prepare: prepares the recordings of arms.
        tensorboard: whether to write event files, see `orchestrator.driver.event_files`.
        notifier: is told of runs that fail for good, and of verdicts of the confirmation.

    Raises:
        UserError: of any kind; what was recorded by then stays recorded.
        Stopped: by a signal before there was anything to report.
    """
    name, own, say = loaded.spec.name, results.of_searches, say_to(console)
    watch, n_confirmed = Stopwatch(), (0, 0)

    def recordings(arms: Sequence[Arm]) -> Mapping[str, Recordings]:
        return prepare(arms, own.datasets, say)

    with stop_switch(options.grace_seconds) as switch, driver_seat(own, name, say) as seat:
        clear_abandoned(say)
        studies = open_studies(loaded, own, say, storage, prepare=prepare)
        keep_search(loaded, own)
        metric = "per" if loaded.spec.first == SECONDS else loaded.spec.first
        page = LivePage(own, name, loaded.spec.question, metric, say)
        recorder = Recorder(own, switch, seat, page)
        events = None
        if tensorboard:
            events = EventFiles(own, name, loaded.spec.collapse.thresholds(), say)
        watch_events = both(events.update if events else None, notifier.watch)
        signal_number = None
        try:
            start = nullcontext(backend) if backend else started_backend(options, say)
            with page, start as train:
                trainer = Trainer(train, options, own, name, recorder, say, watch=watch_events)
                for study in studies:
                    page.count(_kinds(study))
                with watch.phase("search"):
                    for study in studies:
                        _try_candidates(study, trainer, recordings, events, notifier, page)
                with watch.phase("confirmation"):
                    n_confirmed = _confirm(
                        loaded, studies, trainer, recordings, events, notifier, page
                    )
        except Stopped as stop:
            signal_number = stop.signal_number
            say("stopping: what is recorded stays, and `search` again continues from there")
        counts = _count(studies, *n_confirmed)
        with watch.phase("reporting"), telling_decided(notifier, own.ablation(name)):
            rebuilt = rebuild_search(loaded, own, studies, say)
        for study in studies:
            study.close()
    n_candidates = loaded.spec.n_candidates * len(loaded.arms)
    outcome = SearchOutcome(n_candidates, recorder.n_trained, signal_number, counts, watch.seconds)
    return outcome, rebuilt


def _try_candidates(
    study: ArmStudy,
    trainer: Trainer,
    recordings: PrepareRecordings,
    events: EventFiles | None,
    notifier: Notifier,
    page: LivePage,
) -> None:
    """Try the candidates that an arm lacks, and again those that failed in an earlier call."""
    spec, results, say = study.spec, trainer.results, trainer.say
    for trial in study.trials(TrialState.FAIL):
        if not notes(trial).get("refused"):
            study.retry(trial)
    n_open = len(study.trials(TrialState.RUNNING))
    say(
        f"{f'{study.arm.name}: ' if spec.arms else ''}{len(study.trials(*FINISHED))} of "
        f"{spec.n_candidates} candidates finished{f', {n_open} resumed' if n_open else ''}"
    )
    room = find_room(results, spec.name, trainer.options)
    while batch := next_batch(study, trainer.options, recordings, say, room):
        note_other_code(read_records(results, batch.distinct, say), say)
        arm = f"{study.arm.name}-" if spec.arms else ""
        names = {n: f"{arm}candidate-{n}" for n in batch.candidates}
        runs = [
            replace(run, arm_id=names[int(run.arm_id)]) for pack in batch.packs for run in pack.runs
        ]
        notifier.follow(runs)
        page.expect(runs)
        page.count(_kinds(study))
        if events is not None:
            events.expect(runs)
        train_batch(study, trainer, batch)
        shutil.rmtree(results.checkpoints(spec.name), ignore_errors=True)


def _kinds(study: ArmStudy) -> dict[str, int]:
    """How many candidates of an arm there are of each kind, for the page while they train."""
    front = f"{study.arm.name}: " if study.spec.arms else ""
    return {
        f"{front}{ASKED}": study.spec.n_candidates,
        f"{front}trained to the end": len(study.trials(TrialState.COMPLETE)),
        f"{front}stopped early": len(study.trials(TrialState.PRUNED)),
        f"{front}failed": len(study.trials(TrialState.FAIL)),
    }


def _confirm(
    loaded: LoadedSearch,
    studies: Sequence[ArmStudy],
    trainer: Trainer,
    recordings: PrepareRecordings,
    events: EventFiles | None,
    notifier: Notifier,
    page: LivePage,
) -> tuple[int, int]:
    """Train winners and base on fresh seeds, and write the plan that compares them.

    Returns:
        Runs of the confirmation with a result, and all of its runs.
    """
    if loaded.spec.confirm is None:
        return 0, 0
    results, options, say = trainer.results, trainer.options, trainer.say
    winners = find_winners(studies)
    if not winners:
        say("nothing to confirm: no candidate was trained to its end")
        return 0, 0
    ablation = confirmation_ablation(loaded, winners)
    data = recordings(ablation.arms)
    room = find_room(results, loaded.spec.name, options)
    plan = make_plan(ablation, data, options.n_workers, options.max_runs_per_pack, room)
    write_plan(results, plan_document(plan))
    notifier.follow(plan.runs)
    page.confirm()
    if events is not None:
        events.expect(plan.runs, {arm.arm_id: arm.levels for arm in plan.loaded.arms})

    def confirmed() -> frozenset[str]:
        records = read_records(results, plan.distinct, say)
        return with_result(select_present(records, allow_mixed=False).used)

    missing = plan.distinct.keys() - confirmed()
    if missing:
        say(
            f"confirmation on {len(loaded.spec.confirm.seeds)} fresh seeds: "
            f"{len(missing)} runs to train"
        )
        train_runs(trainer, plan, missing)
    n_confirmed = len(confirmed())
    if n_confirmed == len(plan.distinct):
        shutil.rmtree(results.checkpoints(loaded.spec.name), ignore_errors=True)
    return n_confirmed, len(plan.distinct)


def _count(studies: Sequence[ArmStudy], n_confirmed: int, n_to_confirm: int) -> Counts:
    return Counts(
        n_finished=sum(len(study.trials(*FINISHED)) for study in studies),
        n_stopped=sum(len(study.trials(TrialState.PRUNED)) for study in studies),
        n_failed=sum(
            study.is_given_up(trial) for study in studies for trial in study.trials(TrialState.FAIL)
        ),
        n_confirmed=n_confirmed,
        n_to_confirm=n_to_confirm,
    )
