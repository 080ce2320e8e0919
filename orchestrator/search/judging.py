"""A batch from its first rung to its last: figures reported, candidates stopped, trials closed."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from optuna.trial import TrialState

from orchestrator.search.batches import Batch, Candidate
from orchestrator.search.rungs import survivors
from orchestrator.search.schema import SearchSpec
from orchestrator.search.scores import Course, ending_of, mean_figure
from orchestrator.search.study import FINISHED, Book
from orchestrator.search.training import Trainer, courses_of, unfinished
from orchestrator.terminal import Say

_MOST_TRIES = 2  # of a candidate whose runs failed, in one call; each is several of the backend


class Judge(NamedTuple):
    """Everything a batch is judged with.

    Attributes:
        book: the study.
        spec: the search file.
        trainer: trains runs, and knows where they are kept.
        say: for remarks.
        failures: candidates of this call that failed, by the number first tried.
    """

    book: Book
    spec: SearchSpec
    trainer: Trainer
    say: Say
    failures: dict[int, int]

    def courses(self, run_ids: Collection[str]) -> dict[str, Course]:
        """How far these runs have come."""
        return courses_of(self.trainer.results, self.trainer.name, run_ids, self.say)


def judge_batch(judge: Judge, batch: Batch) -> None:
    """Train a batch rung by rung, and close every one of its trials.

    What was reported before a restart is not trained again, and leads to the same decisions.
    """
    note_recorded(judge, batch)
    going = dict(batch.candidates)
    _close_twins(judge, batch, going)
    for rung in batch.bracket.rungs:
        figures, courses = _figures_at(judge, batch, going, rung)
        for number, figure in figures.items():
            judge.book.report(number, figure, rung)
        kept = survivors(
            figures, _seen_at(judge, batch, rung), judge.spec.stopping.reduction_factor,
            judge.spec.sign,
        )  # fmt: skip
        for number in figures.keys() - kept:
            _close(judge, going.pop(number), courses, rung, stopped=True)
        judge.say(
            f"batch {batch.number + 1}, step {rung}: {len(kept)} of {len(figures)} go on"
            f"{_best_text(judge.spec, figures)}"
        )
        if not going:
            return
    n_steps = max((c.config.train.n_steps for c in going.values()), default=0)
    figures, courses = _figures_at(judge, batch, going, None)
    for candidate in going.values():
        _close(judge, candidate, courses, candidate.config.train.n_steps, stopped=False)
    judge.say(
        f"batch {batch.number + 1}, step {n_steps}: {len(figures)} at the end of their budget"
        f"{_best_text(judge.spec, figures)}"
    )


def note_recorded(judge: Judge, batch: Batch) -> None:
    """Note once which runs of each candidate were in the ledger before: they cost nothing."""
    fresh = [
        c for n, c in batch.candidates.items()
        if "recorded_before" not in judge.book.frozen(n).user_attrs
    ]  # fmt: skip
    if not fresh:
        return
    known = judge.courses([run_id for c in fresh for run_id in c.run_ids])
    for candidate in fresh:
        recorded = [run_id for run_id in candidate.run_ids if run_id in known]
        judge.book.trial(candidate.number).set_user_attr("recorded_before", recorded)


def _figures_at(
    judge: Judge, batch: Batch, going: dict[int, Candidate], rung: int | None
) -> tuple[dict[int, float], dict[str, Course]]:
    """Candidate → first objective at a rung, or at the end of its budget; trains what lacks.

    A candidate with a run that failed is closed, and leaves `going`. What was reported before
    stays as it was.

    Returns:
        The figures, and the courses they are made from.
    """

    def end(candidate: Candidate) -> int:
        return candidate.config.train.n_steps if rung is None else rung

    open_ = [c for n, c in going.items() if judge.book.frozen(n).state == TrialState.RUNNING]
    courses = judge.courses([run_id for c in going.values() for run_id in c.run_ids])
    lacking = {r for c in open_ for r in unfinished(courses, c.run_ids, end(c))}
    if lacking:
        failed = judge.trainer.train(batch, lacking, rung)
        for candidate in open_:
            if failed.intersection(candidate.run_ids):
                _fail(judge, going.pop(candidate.number))
        courses = judge.courses([run_id for c in going.values() for run_id in c.run_ids])
    objective = judge.spec.first
    seen = _values_seen(judge)
    figures = {}
    for number, candidate in going.items():
        reported = judge.book.frozen(number).intermediate_values.get(end(candidate))
        figures[number] = (
            mean_figure(
                objective,
                judge.spec.objectives[objective],
                [courses[run_id] for run_id in candidate.run_ids],
                end(candidate),
                seen,
            )
            if reported is None
            else reported
        )
    return figures, courses


def _seen_at(judge: Judge, batch: Batch, rung: int) -> list[float]:
    """What earlier batches of the same bracket showed at a rung, stopped ones included."""
    return [
        trial.intermediate_values[rung]
        for trial in judge.book.trials()
        if trial.user_attrs.get("batch", batch.number) < batch.number
        and trial.user_attrs.get("bracket") == batch.bracket.number
        and rung in trial.intermediate_values
    ]


def _values_seen(judge: Judge) -> list[float]:
    """Every figure of the first objective in the study so far."""
    found = []
    for trial in judge.book.trials(*FINISHED):
        found += list(trial.intermediate_values.values())
        found += trial.values[:1] if trial.values else []
    return found


def _close(
    judge: Judge,
    candidate: Candidate,
    known: Mapping[str, Course],
    step: int,
    *,
    stopped: bool,
) -> None:
    """Tell the study how a candidate came out, unless it knows."""
    book, spec = judge.book, judge.spec
    frozen = book.frozen(candidate.number)
    if frozen.state != TrialState.RUNNING:
        return
    courses = [known[run_id] for run_id in candidate.run_ids]
    values = {
        name: mean_figure(name, sense, courses, step, _values_seen(judge))
        for name, sense in spec.objectives.items()
        if not stopped or name == spec.first
    }
    thresholds = spec.collapse.thresholds()
    trial = book.trial(candidate.number)
    trial.set_user_attr("endings", [ending_of(course, thresholds) for course in courses])
    trial.set_user_attr(
        "per_seed",
        [mean_figure(spec.first, spec.objectives[spec.first], [c], step) for c in courses],
    )
    before = frozen.user_attrs["recorded_before"]
    steps = [
        0 if run_id in before else int(course.diverged_step or step)
        for run_id, course in zip(candidate.run_ids, courses, strict=True)
    ]
    trial.set_user_attr("n_steps", sum(steps))
    trial.set_user_attr("step", step)
    if stopped:
        book.study.tell(candidate.number, state=TrialState.PRUNED)
    else:
        book.study.tell(candidate.number, list(values.values()))


def _close_twins(judge: Judge, batch: Batch, going: dict[int, Candidate]) -> None:
    """A candidate whose very runs were stopped before ends as they did, at no cost."""
    if not batch.bracket.rungs:
        return
    stopped = {
        tuple(trial.user_attrs["run_ids"]): trial
        for trial in judge.book.trials(TrialState.PRUNED)
        if trial.user_attrs["batch"] < batch.number
    }
    for number, candidate in list(going.items()):
        twin = stopped.get(candidate.run_ids)
        if twin is None:
            continue
        if judge.book.frozen(number).state == TrialState.RUNNING:
            for step, value in twin.intermediate_values.items():
                judge.book.report(number, value, step)
            trial = judge.book.trial(number)
            for key in ("endings", "per_seed", "step"):
                trial.set_user_attr(key, twin.user_attrs[key])
            trial.set_user_attr("n_steps", 0)
            trial.set_user_attr("twin_of", twin.number)
            judge.book.study.tell(number, state=TrialState.PRUNED)
        del going[number]


def _fail(judge: Judge, candidate: Candidate) -> None:
    """Close a candidate whose runs failed for reasons other than their numbers."""
    book = judge.book
    first = candidate.number
    while (before := book.frozen(first).user_attrs.get("retry_of")) is not None:
        first = before
    judge.failures[first] = judge.failures.get(first, 0) + 1
    gives_up = judge.failures[first] >= _MOST_TRIES
    trial = book.trial(candidate.number)
    trial.set_user_attr("reason", "a run failed for reasons other than its numbers")
    trial.set_user_attr("given_up", gives_up)
    book.study.tell(candidate.number, state=TrialState.FAIL)
    if not gives_up:
        book.retry(book.frozen(candidate.number))


def _best_text(spec: SearchSpec, figures: Mapping[int, float]) -> str:
    if not figures:
        return ""
    best = min(figures.values(), key=lambda value: spec.sign * value)
    return f", best {spec.first} {best:.3f}"
