"""The driver of a search: batches, confirmation, report; begun again, it goes on where it was."""

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from optuna.trial import TrialState
from rich.console import Console

from orchestrator.driver.remarks import note_other_code
from orchestrator.driver.run import FAILED_FOR_GOOD, Stopwatch
from orchestrator.execute.backends import Backend
from orchestrator.execute.machine import Options
from orchestrator.execute.recording import Recorder
from orchestrator.execute.stopping import Stopped, stop_switch
from orchestrator.plan.document import plan_document
from orchestrator.plan.plan import make_plan
from orchestrator.plan.recordings import prepare_data
from orchestrator.search.batches import Batch, next_batch
from orchestrator.search.confirm import confirmation, find_winners
from orchestrator.search.judging import Judge, judge_batch
from orchestrator.search.rebuild import Rebuilt, rebuild_search
from orchestrator.search.rungs import Bracket
from orchestrator.search.spec import LoadedSearch, Tuned
from orchestrator.search.study import FINISHED, Book, open_study
from orchestrator.search.training import Trainer
from orchestrator.spec.arms import Arm
from orchestrator.store.driver_lock import driver_seat
from orchestrator.store.ledger import read_records, with_result
from orchestrator.store.paths import Results
from orchestrator.store.plan_file import write_plan
from orchestrator.terminal import Say, say_to

_NOTHING = Batch(-1, Bracket(0, (), 1.0), {}, ())  # what is trained before the first batch


@dataclass
class Counts:
    """How far a search has come: candidates over all its arms, and runs of the confirmation."""

    n_finished: int = 0
    n_stopped: int = 0
    n_failed: int = 0
    n_confirmed: int = 0
    n_to_confirm: int = 0


@dataclass(frozen=True)
class SearchOutcome:
    """How a `search` ended.

    Attributes:
        name: the search.
        n_candidates: candidates asked for, over all arms.
        counts: what became of them.
        n_trained: runs trained to their end by this call.
        signal_number: the signal that stopped it; None if it came to its end.
        folder: study, tables, figures and report.
        seconds: phase → wall seconds.
    """

    name: str
    n_candidates: int
    n_trained: int
    signal_number: int | None
    folder: Path
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
) -> tuple[SearchOutcome, Rebuilt]:
    """Try whatever candidates a search lacks, confirm the best, and rebuild the report.

    Args:
        loaded: the checked search file.
        results: where everything is kept.
        options: how to train.
        console: for remarks.
        storage: SQLAlchemy URL of the study's database; None keeps it in the search's folder.
        backend: trains the packs; None takes the one `options` names.

    Returns:
        How it ended, and what the report was made from.

    Raises:
        UserError: of any kind; what was recorded by then stays recorded.
        Stopped: by a signal before there was anything to report.
    """
    name, own, say = loaded.spec.name, results.of_searches, say_to(console)
    counts, watch = Counts(), Stopwatch()
    with stop_switch() as switch, driver_seat(own, name, say) as seat:
        books = open_books(loaded, own, say, storage)
        recorder = Recorder(_NOTHING, own, switch, seat)
        trainer = Trainer(options, own, name, recorder, say, backend)
        signal_number = None
        try:
            with trainer.running():
                with watch.phase("search"):
                    for tuned, book in zip(loaded.arms, books, strict=True):
                        _search(loaded, tuned, book, own, options, trainer, say)
                with watch.phase("confirmation"):
                    _confirm(loaded, own, options, books, trainer, recorder, say, counts)
        except Stopped as stop:
            signal_number = stop.signal_number
            say("stopping: what is recorded stays, and `search` again goes on from there")
        for book in books:
            _count(book, counts)
        with watch.phase("reporting"):
            found = rebuild_search(loaded, own, books, say)
        for book in books:
            book.close()
    n_candidates = loaded.spec.n_candidates * len(loaded.arms)
    outcome = SearchOutcome(
        name,
        n_candidates,
        recorder.n_trained,
        signal_number,
        own.ablation(name),
        counts,
        watch.seconds,
    )
    return outcome, found


def open_books(loaded: LoadedSearch, own: Results, say: Say, storage: str | None) -> list[Book]:
    """The study of every arm, in the order of the file.

    Raises:
        ConfigError, StorageError: see `orchestrator.search.study.open_study`.
        DataError: the base cannot be trained on its recordings.
    """
    name = loaded.spec.name
    bases = [Arm(t.name, t.name, {}, t.changes, t.config, True) for t in loaded.arms]
    data = prepare_data(bases, own.datasets, say)
    own.ablation(name).mkdir(parents=True, exist_ok=True)
    url = storage or f"sqlite:///{own.study(name)}"
    return [
        open_study(loaded.spec, tuned, url, {tuned.name: data[tuned.name].fingerprint})
        for tuned in loaded.arms
    ]


def _search(
    loaded: LoadedSearch,
    tuned: Tuned,
    book: Book,
    own: Results,
    options: Options,
    trainer: Trainer,
    say: Say,
) -> None:
    """Try the candidates that an arm lacks, and those again that failed in an earlier call."""
    for trial in book.trials(TrialState.FAIL):
        if not trial.user_attrs.get("refused"):
            book.retry(trial)
    say(_opening(loaded, tuned.name, book))
    judge = Judge(book, loaded.spec, trainer, say, {})
    while batch := next_batch(book, loaded.spec, tuned, options, own.datasets, say):
        _note_code(own, batch, say)
        judge_batch(judge, batch)
        shutil.rmtree(own.checkpoints(loaded.spec.name), ignore_errors=True)


def _confirm(
    loaded: LoadedSearch,
    own: Results,
    options: Options,
    books: Iterable[Book],
    trainer: Trainer,
    recorder: Recorder,
    say: Say,
    counts: Counts,
) -> None:
    """Train the winners and the base on fresh seeds, and write the plan that compares them."""
    if loaded.spec.confirm is None:
        return
    winners = [
        winner
        for tuned, book in zip(loaded.arms, books, strict=True)
        for winner in find_winners(loaded.spec, tuned, book)
    ]
    if not winners:
        say("nothing to confirm: no candidate was trained to its end")
        return
    ablation = confirmation(loaded, winners)
    data = prepare_data(ablation.arms, own.datasets, say)
    plan = make_plan(ablation, data, options.n_workers, options.max_runs_per_pack)
    write_plan(own, plan_document(plan))
    recorded = with_result(read_records(own, plan.distinct, say))
    left = frozenset(plan.distinct) - recorded
    if left:
        say(
            f"confirming {len(winners)} candidates and the base on "
            f"{len(loaded.spec.confirm.seeds)} fresh seeds: {len(left)} runs to train"
        )
        trainer.train(plan, left, None)
    counts.n_to_confirm = len(plan.distinct)
    counts.n_confirmed = len(with_result(read_records(own, plan.distinct, say)))
    if counts.n_confirmed == counts.n_to_confirm:
        shutil.rmtree(own.checkpoints(loaded.spec.name), ignore_errors=True)


def _opening(loaded: LoadedSearch, arm: str, book: Book) -> str:
    n_done = len(book.trials(*FINISHED))
    n_open = len(book.trials(TrialState.RUNNING))
    of_arm = f"{arm}: " if loaded.spec.arms else ""
    taken_up = f", {n_open} taken up again" if n_open else ""
    return f"{of_arm}{n_done} of {loaded.spec.n_candidates} candidates finished{taken_up}"


def _note_code(own: Results, batch: Batch, say: Say) -> None:
    note_other_code(read_records(own, batch.distinct, say), say)


def _count(book: Book, counts: Counts) -> None:
    counts.n_finished += len(book.trials(*FINISHED))
    counts.n_stopped += len(book.trials(TrialState.PRUNED))
    counts.n_failed += sum(book.is_given_up(trial) for trial in book.trials(TrialState.FAIL))
