"""The study of a search → tidy tables: candidates, rungs, courses."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from orchestrator.search.schema import SearchSpec
from orchestrator.search.scores import Course, mean_figure
from orchestrator.search.spec import LoadedSearch
from orchestrator.search.study import FINISHED, Book
from orchestrator.search.training import courses_of
from orchestrator.store.paths import Results
from orchestrator.terminal import Say

_STATES = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "stopped",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


class SearchTables(NamedTuple):
    """Everything a figure or the report of a search is made from.

    Attributes:
        candidates: one row a trial; see `candidates_table`.
        rungs: one row a trial and rung it was judged at: ``arm``, ``candidate``, ``batch``,
            ``step``, ``figure``, ``went_on``.
        courses: one row a trial, seed and evaluation: ``arm``, ``candidate``, ``seed``,
            ``step`` and the first objective.
    """

    candidates: pd.DataFrame
    rungs: pd.DataFrame
    courses: pd.DataFrame


def make_search_tables(
    loaded: LoadedSearch, results: Results, books: Sequence[Book], say: Say
) -> SearchTables:
    """All tables of a search.

    Args:
        loaded: the search file.
        results: ledger and folders; of searches.
        books: the study of each arm.
        say: receives a line for each record that cannot be trusted.
    """
    candidates: list[dict[str, Any]] = []
    rungs: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for tuned, book in zip(loaded.arms, books, strict=True):
        trials = book.trials()
        run_ids = dict.fromkeys(r for t in trials for r in t.user_attrs.get("run_ids", ()))
        courses = courses_of(results, loaded.spec.name, list(run_ids), say)
        candidates += _candidate_rows(loaded.spec, tuned.name, list(tuned.space), trials, courses)
        rungs += _rung_rows(tuned.name, trials)
        rows += _course_rows(loaded.spec, tuned.name, trials, courses)
    paths = dict.fromkeys(path for tuned in loaded.arms for path in tuned.space)
    columns = [*_COLUMNS, *loaded.spec.objectives, *paths, "run_ids"]
    return SearchTables(
        pd.DataFrame(candidates, columns=list(dict.fromkeys(columns))),
        pd.DataFrame(rungs, columns=["arm", "candidate", "batch", "step", "figure", "went_on"]),
        pd.DataFrame(rows, columns=["arm", "candidate", "seed", "step", loaded.spec.first]),
    )


_COLUMNS = (
    *("arm", "candidate", "state", "ending", "figure", "step", "common_step", "common_figure"),
    *("n_steps", "steps_so_far", "batch", "bracket", "twin_of", "reason"),
)


def _candidate_rows(
    spec: SearchSpec,
    arm: str,
    paths: Sequence[str],
    trials: Sequence[FrozenTrial],
    courses: Mapping[str, Course],
) -> list[dict[str, Any]]:
    """One row a trial, in the order proposed.

    ``figure`` is the first objective where the trial ended (``step``): at the end of its budget
    or where it was stopped, so it compares candidates of one step alone. ``common_figure`` is
    that at ``common_step``, the last evaluation that every candidate reached. ``ending`` is
    that of its worst seed. ``steps_so_far`` adds up the steps trained for it and all before it.
    """
    common = min((t.user_attrs["step"] for t in trials if t.state in FINISHED), default=math.nan)
    sense = spec.objectives[spec.first]
    rows, total = [], 0
    for trial in trials:
        attrs, is_finished = trial.user_attrs, trial.state in FINISHED
        values = trial.values if trial.state == TrialState.COMPLETE else None
        reached = [courses[run_id] for run_id in attrs.get("run_ids", ()) if run_id in courses]
        total += attrs.get("n_steps", 0)
        row = {
            "arm": arm,
            "candidate": trial.number,
            "state": _STATES[trial.state],
            "ending": _worst_ending(attrs.get("endings", ())),
            "figure": _last_figure(trial) if is_finished else math.nan,
            "step": attrs.get("step"),
            "common_step": common,
            "common_figure": (
                mean_figure(spec.first, sense, reached, int(common)) if is_finished else math.nan
            ),
            "n_steps": attrs.get("n_steps", 0),
            "steps_so_far": total,
            "batch": attrs.get("batch"),
            "bracket": attrs.get("bracket"),
            "twin_of": attrs.get("twin_of"),
            "reason": attrs.get("reason"),
            "run_ids": " ".join(attrs.get("run_ids", ())),
        }
        row |= dict(zip(spec.objectives, values or [math.nan] * 2, strict=False))
        rows.append(row | {path: trial.params.get(path) for path in paths})
    return rows


def _last_figure(trial: FrozenTrial) -> float:
    if trial.state == TrialState.COMPLETE:
        return float(trial.values[0])
    return trial.intermediate_values[max(trial.intermediate_values)]


def _worst_ending(endings: Sequence[str]) -> str | None:
    return next((name for name in ("diverged", "collapsed", "ok") if name in endings), None)


def _rung_rows(arm: str, trials: Sequence[FrozenTrial]) -> list[dict[str, Any]]:
    return [
        {
            "arm": arm,
            "candidate": trial.number,
            "batch": trial.user_attrs["batch"],
            "step": step,
            "figure": figure,
            "went_on": trial.state != TrialState.PRUNED or step < trial.user_attrs["step"],
        }
        for trial in trials
        for step, figure in sorted(trial.intermediate_values.items())
    ]


def _course_rows(
    spec: SearchSpec, arm: str, trials: Sequence[FrozenTrial], courses: Mapping[str, Course]
) -> list[dict[str, Any]]:
    return [
        {
            "arm": arm,
            "candidate": trial.number,
            "seed": seed,
            "step": int(row["step"]),
            spec.first: row[spec.first],
        }
        for trial in trials
        for seed, run_id in zip(spec.seeds, trial.user_attrs.get("run_ids", ()), strict=False)
        if run_id in courses
        for row in courses[run_id].history
        if row["step"] <= trial.user_attrs.get("step", math.inf)
    ]
