"""The studies of a search and its learning curves → tidy tables."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd
from optuna.trial import TrialState

from orchestrator.search.learning_curves import Ending, LearningCurve, mean_score, read_curves
from orchestrator.search.load import LoadedSearch
from orchestrator.search.settings import to_cell
from orchestrator.search.study import FINISHED, ArmStudy, notes
from orchestrator.store.paths import Results
from orchestrator.terminal import Say

_STATES = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "stopped",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}
_WORST_FIRST: tuple[Ending, ...] = ("diverged", "collapsed", "ok")
# The columns of the tables, see `SearchTables`.
_CANDIDATE = (
    *("arm", "candidate", "state", "ending", "figure", "step", "common_step", "common_figure"),
    *("n_steps", "steps_so_far", "batch", "bracket", "twin_of", "reason"),
)
_RUNG = ("arm", "candidate", "batch", "step", "figure", "went_on")
_CURVE = ("arm", "candidate", "seed", "step", "value")


class SearchTables(NamedTuple):
    """Everything the figures and the report of a search are made from.

    Attributes:
        candidates: one row a trial; objectives, settings (see `to_cell`) and ``run_ids`` follow
            these columns:
            - arm: the arm.
            - candidate: number of the trial.
            - state: ``finished``, ``stopped``, ``failed``, ``running`` or ``waiting``.
            - ending: of its worst seed; None before its runs ended.
            - figure: its score, the first objective, at `step`. Compare only scores at equal steps.
            - step: where it ended: at the end of its budget, or where it was stopped.
            - common_step: the last evaluation that every candidate of the arm reached.
            - common_figure: its score there.
            - n_steps: training steps spent on it.
            - steps_so_far: training steps spent on it and on all candidates before it.
            - batch, bracket: their numbers.
            - twin_of: the earlier stopped candidate with the same runs.
            - reason: why it has no score.
        rungs: one row for each candidate and rung: its score (``figure``), and whether it
            continued (``went_on``).
        curves: one row for each evaluation of each seed of a candidate, up to the step where the
            candidate ended; ``value`` is the first objective.
    """

    candidates: pd.DataFrame
    rungs: pd.DataFrame
    curves: pd.DataFrame


def make_search_tables(
    loaded: LoadedSearch, results: Results, studies: Sequence[ArmStudy], say: Say
) -> SearchTables:
    candidates: list[dict[str, object]] = []
    rungs: list[tuple[object, ...]] = []
    rows: list[tuple[object, ...]] = []
    for study in studies:
        run_ids = [run_id for trial in study.trials() for run_id in notes(trial).get("run_ids", ())]
        curves = read_curves(results, loaded.spec.name, run_ids, say)
        candidates += _candidate_rows(study, curves)
        rungs += _rung_rows(study)
        rows += _curve_rows(study, curves)
    paths = [path for arm in loaded.arms for path in arm.space]
    columns = [*_CANDIDATE, *loaded.spec.objectives, *paths, "run_ids"]
    return SearchTables(
        pd.DataFrame(candidates, columns=list(dict.fromkeys(columns))),
        pd.DataFrame(rungs, columns=_RUNG),
        pd.DataFrame(rows, columns=_CURVE),
    )


def _candidate_rows(
    study: ArmStudy, curves: Mapping[str, LearningCurve]
) -> list[dict[str, object]]:
    """One row a trial, in the order proposed."""
    spec = study.spec
    ended = study.trials(*FINISHED)
    common_step = min((notes(trial)["step"] for trial in ended), default=math.nan)
    rows, total = [], 0
    for trial in study.trials():
        noted = notes(trial)
        run_ids = noted.get("run_ids", [])
        total += noted.get("n_steps", 0)
        score = common_score = math.nan
        if trial.state in FINISHED:
            known = [curves[run_id] for run_id in run_ids if run_id in curves]
            sense = spec.objectives[spec.first]
            if known and not any(curve.lacks([spec.first]) for curve in known):
                common_score = mean_score(spec.first, sense, known, int(common_step))
            score = trial.intermediate_values.get(noted["step"], math.nan)
        values = [math.nan] * len(spec.objectives)
        if trial.state == TrialState.COMPLETE:
            values, score = trial.values, trial.values[0]
        row: dict[str, object] = {
            "arm": study.arm.name,
            "candidate": trial.number,
            "state": _STATES[trial.state],
            "ending": next((e for e in _WORST_FIRST if e in noted.get("endings", ())), None),
            "figure": score,
            "common_step": common_step,
            "common_figure": common_score,
            "n_steps": noted.get("n_steps", 0),
            "steps_so_far": total,
            "run_ids": " ".join(run_ids),
        }
        row |= {key: noted.get(key) for key in ("step", "batch", "bracket", "twin_of", "reason")}
        row |= dict(zip(spec.objectives, values, strict=True))
        rows.append(
            row
            | {
                path: to_cell(dimension, trial.params[path]) if path in trial.params else None
                for path, dimension in study.arm.space.items()
            }
        )
    return rows


def _rung_rows(study: ArmStudy) -> list[tuple[object, ...]]:
    return [
        (
            *(study.arm.name, trial.number, notes(trial)["batch"], step, score),
            trial.state != TrialState.PRUNED or step < notes(trial)["step"],
        )
        for trial in study.trials()
        for step, score in sorted(trial.intermediate_values.items())
    ]


def _curve_rows(study: ArmStudy, curves: Mapping[str, LearningCurve]) -> list[tuple[object, ...]]:
    spec = study.spec
    return [
        (study.arm.name, trial.number, seed, int(row["step"]), row.get(spec.first, math.nan))
        for trial in study.trials()
        for seed, run_id in zip(spec.seeds, notes(trial).get("run_ids", ()), strict=False)
        if run_id in curves
        for row in curves[run_id].history
        if row["step"] <= notes(trial).get("step", math.inf)
    ]
