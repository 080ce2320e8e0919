"""Trains a batch from rung to rung: reports scores, stops candidates, and closes their trials."""

from collections.abc import Collection, Mapping

from optuna.trial import TrialState

from decoder.pack import Progress
from orchestrator.execute.backends import PackEvent
from orchestrator.execute.training import Trainer
from orchestrator.plan.packs import Planned, packs_to_train
from orchestrator.search.candidates import CandidateBatch, SearchCandidate
from orchestrator.search.learning_curves import (
    LearningCurve,
    ending_of,
    mean_score,
    read_curves,
    write_paused,
)
from orchestrator.search.rungs import survivors
from orchestrator.search.study import FINISHED, ArmStudy, notes
from orchestrator.spec.configuration import n_steps_of

_MOST_TRIES = 2  # of a candidate whose runs fail, in one call; the backend retries each of them


def train_runs(
    trainer: Trainer, planned: Planned, run_ids: Collection[str], until_step: int | None = None
) -> set[str]:
    """Train runs up to a step, or to their end, and keep the curves of those that pause.

    Returns:
        The runs that failed for reasons other than their numbers.
    """
    failed: set[str] = set()

    def on_event(event: PackEvent) -> None:
        if isinstance(event.what, Progress):
            for run_id, rows in event.what.paused.items():
                write_paused(trainer.results, trainer.name, run_id, rows)
            trainer.recorder.tell(len(run_ids))
            return
        failed.update(event.what.run_ids)
        reason = " ".join(event.what.traceback.strip().splitlines()[-1:])
        trainer.say(
            f"{len(event.what.run_ids)} runs failed for good after {event.what.n_attempts} tries: "
            f"{reason}"
        )

    packs = packs_to_train(planned.packs, planned.distinct.keys() - set(run_ids))
    trainer.train(planned, packs, on_event, until_step=until_step)
    return failed


def train_batch(study: ArmStudy, trainer: Trainer, batch: CandidateBatch) -> None:
    """Train a batch from rung to rung, and close all of its trials.

    After a restart, scores that were reported before stay as they are and lead to the same
    decisions; their runs are not trained again.
    """
    spec = study.spec
    _note_runs(study, trainer, batch)
    going = dict(batch.candidates)

    def say_scores(step: int, scores: Mapping[int, float], what: str) -> None:
        best = min(scores.values(), key=lambda score: spec.sign * score, default=None)
        best_text = "" if best is None else f", best {spec.first} {best:.3f}"
        trainer.say(f"batch {batch.number + 1}, step {step}: {what}{best_text}")

    if batch.bracket.rungs:
        _close_twins(study, batch, going)
    for rung in batch.bracket.rungs:
        scores, curves = _train_to(study, trainer, batch, going, rung)
        for number, score in scores.items():
            study.report(number, score, rung)
        kept = survivors(
            scores, _seen_at(study, batch, rung), spec.stopping.reduction_factor, spec.sign
        )
        for number in scores.keys() - kept:
            _close(study, going.pop(number), curves, rung, stopped=True)
        say_scores(rung, scores, f"{len(kept)} of {len(scores)} continue")
        if not going:
            return
    scores, curves = _train_to(study, trainer, batch, going, None)
    for candidate in going.values():
        _close(study, candidate, curves, n_steps_of(candidate.config), stopped=False)
    n_steps = max((n_steps_of(c.config) for c in going.values()), default=0)
    say_scores(n_steps, scores, f"{len(scores)} at the end of their budget")


def _curves(trainer: Trainer, candidates: Collection[SearchCandidate]) -> dict[str, LearningCurve]:
    run_ids = [run_id for candidate in candidates for run_id in candidate.run_ids]
    return read_curves(trainer.results, trainer.name, run_ids, trainer.say)


def _note_runs(study: ArmStudy, trainer: Trainer, batch: CandidateBatch) -> None:
    """Note the runs of each new candidate, and which of them were recorded before."""
    trials = study.trials()
    fresh = [
        candidate
        for number, candidate in batch.candidates.items()
        if "recorded_before" not in notes(trials[number])
    ]
    known = _curves(trainer, fresh) if fresh else {}
    for candidate in fresh:
        run_ids = list(candidate.run_ids)
        before = [run_id for run_id in run_ids if run_id in known]
        study.note(candidate.number, {"run_ids": run_ids, "recorded_before": before})


def _train_to(
    study: ArmStudy,
    trainer: Trainer,
    batch: CandidateBatch,
    going: dict[int, SearchCandidate],
    rung: int | None,
) -> tuple[dict[int, float], dict[str, LearningCurve]]:
    """Train what is missing up to a rung, or to the end of the budget for None.

    A candidate with a failed run is closed and taken out of `going`. Scores that were reported
    before stay as they are.

    Returns:
        Candidate → score, and the learning curves the scores are made from.
    """

    def end(candidate: SearchCandidate) -> int:
        return n_steps_of(candidate.config) if rung is None else rung

    trials = study.trials()
    running = [c for n, c in going.items() if trials[n].state == TrialState.RUNNING]
    curves = _curves(trainer, going.values())
    missing = {
        run_id
        for candidate in running
        for run_id in candidate.run_ids
        if run_id not in curves or not curves[run_id].reaches(end(candidate))
    }
    if missing:
        failed = train_runs(trainer, batch, missing, rung)
        for candidate in running:
            if failed.intersection(candidate.run_ids):
                _fail(study, going.pop(candidate.number))
        curves = _curves(trainer, going.values())
    for candidate in running:
        if candidate.number in going:
            _refuse_older(study, trainer, curves, candidate, going)
    others = _all_scores(study)
    scores = {}
    for number, candidate in going.items():
        score = trials[number].intermediate_values.get(end(candidate))
        if score is None:
            own = [curves[run_id] for run_id in candidate.run_ids]
            first = study.spec.first
            score = mean_score(first, study.spec.objectives[first], own, end(candidate), others)
        scores[number] = score
    return scores, curves


def _seen_at(study: ArmStudy, batch: CandidateBatch, rung: int) -> list[float]:
    """The scores of earlier batches of the same bracket at a rung, stopped candidates included."""
    return [
        trial.intermediate_values[rung]
        for trial in study.trials()
        if notes(trial).get("batch", batch.number) < batch.number
        and notes(trial).get("bracket") == batch.bracket.number
        and rung in trial.intermediate_values
    ]


def _all_scores(study: ArmStudy) -> list[float]:
    """Every score of the first objective in the study so far."""
    scores: list[float] = []
    for trial in study.trials(*FINISHED):
        scores += [*trial.intermediate_values.values(), *(trial.values or ())[:1]]
    return scores


def _close(
    study: ArmStudy,
    candidate: SearchCandidate,
    known: Mapping[str, LearningCurve],
    step: int,
    *,
    stopped: bool,
) -> None:
    """Write a candidate's scores and endings into the study, unless its trial is closed."""
    spec, trial = study.spec, study.trial(candidate.number)
    if trial.state != TrialState.RUNNING:
        return
    curves = [known[run_id] for run_id in candidate.run_ids]
    thresholds = spec.collapse.thresholds()
    first = spec.objectives[spec.first]
    before = notes(trial)["recorded_before"]
    n_steps = [
        0 if run_id in before else int(curve.diverged_step or step)
        for run_id, curve in zip(candidate.run_ids, curves, strict=True)
    ]
    study.note(
        candidate.number,
        {
            "endings": [ending_of(curve, thresholds) for curve in curves],
            "per_seed": [mean_score(spec.first, first, [curve], step) for curve in curves],
            "n_steps": sum(n_steps),
            "step": step,
        },
    )
    if stopped:
        study.stop(candidate.number)
        return
    others = _all_scores(study)
    scores = [
        mean_score(name, sense, curves, step, others) for name, sense in spec.objectives.items()
    ]
    study.finish(candidate.number, scores)


def _close_twins(study: ArmStudy, batch: CandidateBatch, going: dict[int, SearchCandidate]) -> None:
    """Stop candidates with the same runs as an earlier stopped candidate, without training."""
    stopped = {
        tuple(notes(trial)["run_ids"]): trial
        for trial in study.trials(TrialState.PRUNED)
        if notes(trial)["batch"] < batch.number
    }
    for number, candidate in batch.candidates.items():
        twin = stopped.get(candidate.run_ids)
        if twin is None:
            continue
        if study.trial(number).state == TrialState.RUNNING:
            for step, score in twin.intermediate_values.items():
                study.report(number, score, step)
            noted = notes(twin)
            study.note(
                number,
                {
                    "endings": noted["endings"],
                    "per_seed": noted["per_seed"],
                    "step": noted["step"],
                    "n_steps": 0,
                    "twin_of": twin.number,
                },
            )
            study.stop(number)
        del going[number]


def _refuse_older(
    study: ArmStudy,
    trainer: Trainer,
    curves: Mapping[str, LearningCurve],
    candidate: SearchCandidate,
    going: dict[int, SearchCandidate],
) -> None:
    """Close a candidate with recorded runs that lack an objective, and take it out of `going`."""
    for run_id in candidate.run_ids:
        if lacking := curves[run_id].lacks(study.spec.objectives):
            where = trainer.results.record(run_id).parent
            reason = (
                f"the record {where} is older than {' and '.join(lacking)}; remove it to train "
                "the run again"
            )
            trainer.say(f"candidate {candidate.number} has no score: {reason}")
            study.fail(candidate.number, {"reason": reason, "given_up": True})
            del going[candidate.number]
            return


def _fail(study: ArmStudy, candidate: SearchCandidate) -> None:
    """Close a candidate whose runs failed, and queue its settings unless they failed too often."""
    first = candidate.number
    while (earlier := notes(study.trial(first)).get("retry_of")) is not None:
        first = earlier
    study.n_failures[first] += 1
    gives_up = study.n_failures[first] >= _MOST_TRIES
    reason = "a run failed for reasons other than its numbers"
    study.fail(candidate.number, {"reason": reason, "given_up": gives_up})
    if not gives_up:
        study.retry(study.trial(candidate.number))
