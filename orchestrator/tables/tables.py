"""The tidy tables of an ablation, made from its records and histories, and their files."""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from decoder.atomic import write_atomically
from decoder.collapse import has_plateau, on_plateau
from decoder.pack import HISTORY_COLUMNS, further_columns
from orchestrator.plan.document import ArmEntry, PlanDocument, RunEntry
from orchestrator.spec.load import AblationSpec, levels_of
from orchestrator.stats import effects as stats
from orchestrator.stats.run_values import COUNTED, ENDINGS, counted_values, least_budget
from orchestrator.store.record import Record
from orchestrator.tables.breakdowns import confusions_table, held_out_table, sessions_table
from orchestrator.tables.csv_cells import frame_csv
from orchestrator.tables.run_columns import ColumnValue, HistoryRows, result_columns
from orchestrator.tables.words import words_table

NO_LEVEL = "–"  # stands where an extra arm has no level of a factor
_TRACEBACK_LINES = 5
# The table of arms holds a mean of each of these outcomes.
_ARM_MEANS = (
    *("per", "best_per", "per_beam", "escape_step"),
    *("emitted_ratio", "blank_fraction", "grad_norm"),
)
# Columns of the runs table that hold integers, with gaps.
_INTEGER_COLUMNS = (
    *("collapsed", "diverged", "n_steps", "n_steps_done", "eval_every_steps", "diverged_step"),
    *("best_per_step", "n_skipped_steps", "n_parameters", "n_dropped_trials", "host_pid"),
    *("host_pack_n_runs", "host_peak_memory_bytes"),
)


class Tables(NamedTuple):
    """The data of every verdict, figure and report.

    Attributes:
        runs: one row per planned (arm, seed), with key ``run_id``; see `runs_table`.
        arms: one row per arm; see `arms_table`.
        history: one row per evaluation; see `history_table`.
        failures: one `FailureRow` per diverged or failed run.
        sessions: one row per run and session; see `orchestrator.tables.breakdowns`.
        confusions: one row per arm and pair of phonemes; see `orchestrator.tables.breakdowns`.
        held_out: one row per run and session held out; see `orchestrator.tables.breakdowns`.
        words: one row per run that was decoded to words; see `orchestrator.tables.words`.
    """

    runs: pd.DataFrame
    arms: pd.DataFrame
    history: pd.DataFrame
    failures: pd.DataFrame
    sessions: pd.DataFrame
    confusions: pd.DataFrame
    held_out: pd.DataFrame
    words: pd.DataFrame


class FailureRow(NamedTuple):
    """A diverged or failed run: how far it got, and the last lines of its traceback."""

    run_id: str
    arm: str
    seed: int
    outcome: str
    n_steps_done: int
    traceback_end: str


def make_tables(
    plan: PlanDocument,
    records: Mapping[str, Record],
    histories: Mapping[str, HistoryRows],
) -> Tables:
    """All tables of an ablation.

    Args:
        records: run id → record, for the runs recorded so far; runs outside the plan are ignored.
        histories: run id → evaluations, with the columns `decoder.pack.HISTORY_COLUMNS`.
    """
    runs = runs_table(plan, records, histories)
    return Tables(
        runs,
        arms_table(plan, runs, _further(plan, histories)),
        history_table(plan, histories),
        failures_table(runs, records),
        sessions_table(runs, records),
        confusions_table(runs, records),
        held_out_table(runs, records),
        words_table(runs, records),
    )


def runs_table(
    plan: PlanDocument,
    records: Mapping[str, Record],
    histories: Mapping[str, HistoryRows],
) -> pd.DataFrame:
    """One row per planned (arm, seed), in the order of the arms, then of the seeds.

    ``seed`` is the seed a run is trained with. ``block`` is the seed of the ablation that it is
    paired by; the two differ only in arms on fresh seeds. ``outcome`` is one of `ENDINGS`:
    ``failed`` is an infrastructure failure, ``missing`` a run that is not recorded yet. A diverged
    run has ``per`` 1.0 and ``collapsed`` 1, and never escapes. A collapsed run keeps its measured
    PER.

    Diagnostics are those of the last evaluation. ``best_per`` is the lowest PER of any evaluation
    (`decoder.selection.best_row`); no verdict uses it. ``selection_optimism`` is the optimism of
    choosing that evaluation. ``per_beam`` is the final PER with beam search. ``grad_norm_p99`` is
    taken over all training steps, before clipping. Columns that depend on the machine or on the
    schedule begin with ``timing_`` or ``host_``. The last evaluation's value of every further
    column of a history (`decoder.pack.further_columns`) has a column, too. What a trainer did not
    report is a gap; without `emitted_ratio` and `n_distinct`, so are collapse and escape.
    """
    spec = plan.spec
    thresholds = spec.collapse.thresholds()
    asked = [hypothesis.outcome for hypothesis in spec.hypotheses.values()]
    wanted = dict.fromkeys((*_further(plan, histories), *asked), math.nan)
    rows = []
    for arm, run in _arm_runs(plan):
        history = histories.get(run.run_id, ())
        columns = result_columns(records.get(run.run_id), history, thresholds)
        named = {**_run_columns(spec, arm, run), "block": run.block}
        columns |= _foreign_columns(plan, run)
        rows.append({**named, **columns, **{n: wanted[n] for n in wanted if n not in columns}})
    table = pd.DataFrame(rows)
    for column in _INTEGER_COLUMNS:
        table[column] = table[column].astype("Int64")
    table["escape_censored"] = table["escape_censored"].astype("boolean")
    return table


def arms_table(plan: PlanDocument, runs: pd.DataFrame, further: Sequence[str] = ()) -> pd.DataFrame:
    """One row per arm: counts, PER, collapse, steps to escape.

    ``n`` counts the runs with a result; all other numbers come from these. The value of each run
    follows `orchestrator.stats.run_values`, so means of metrics other than PER leave diverged runs
    out. ``per_low`` and ``per_high`` are the 95 % t interval of the mean. ``escape_step_mean`` is
    the restricted mean up to the least step budget of all arms, so that arms can be compared.
    ``n_escaped`` counts runs that escaped at any step; it is not known if no run says what escape
    is judged by. ``grad_norm_p99_max`` is the largest value over the seeds.

    Args:
        further: columns of `runs` that only some runs have; each gives ``NAME_mean``.
    """
    spec = plan.spec
    budget = least_budget(runs["n_steps"].to_numpy(dtype=float, na_value=math.nan))
    of_runs = {name: outcome_values(runs, name, budget) for name in (*_ARM_MEANS, *further)}
    unjudged = runs["escape_censored"].isna().to_numpy()
    of_runs["escape_step"][unjudged] = math.nan  # not recorded
    places, endings = runs.groupby("arm").indices, runs["outcome"].to_numpy(dtype=object)
    results = runs[["collapsed", "per", "selection_optimism", "grad_norm_p99", "escape_step"]]
    rows = []
    for arm in plan.arms:
        of_arm = places.get(arm.arm_id, np.array([], dtype=np.intp))
        ended = endings[of_arm]
        counted = results.iloc[of_arm[np.isin(ended, COUNTED)]]
        values = {name: column[of_arm] for name, column in of_runs.items()}
        seen = {name: column[np.isfinite(column)] for name, column in values.items()}
        per = seen["per"]
        interval = stats.paired_t(per)
        rows.append(
            {
                "arm": arm.arm_id,
                "in_design": arm.in_design,
                **_factor_columns(spec, arm.levels),
                "n": len(counted),
                **{f"n_{name}": int((ended == name).sum()) for name in ENDINGS},
                "n_collapsed_or_diverged": int(counted["collapsed"].sum()),
                "per_mean": _mean(per),
                "per_low": interval.low,
                "per_high": interval.high,
                "per_sd": float(per.std(ddof=1)) if len(per) > 1 else math.nan,
                "per_median": float(counted["per"].median()),
                "best_per_mean": _mean(seen["best_per"]),
                "selection_optimism_mean": float(counted["selection_optimism"].mean()),
                "per_beam_mean": _mean(seen["per_beam"]),
                "emitted_ratio_mean": _mean(seen["emitted_ratio"]),
                "blank_fraction_mean": _mean(seen["blank_fraction"]),
                "grad_norm_mean": _mean(seen["grad_norm"]),
                "grad_norm_p99_max": float(counted["grad_norm_p99"].max()),
                "escape_step_mean": _mean(seen["escape_step"]),
                "n_escaped": (
                    None
                    if len(counted) and unjudged[of_arm][np.isin(ended, COUNTED)].all()
                    else int(counted["escape_step"].notna().sum())
                ),
                **{f"{name}_mean": _mean(seen[name]) for name in further},
                "seed_offset": arm.seed_offset,
                "replicate": arm.replicate,
                "note": arm.note,
            }
        )
    table = pd.DataFrame(rows)
    if table["n_escaped"].isna().any():
        table["n_escaped"] = table["n_escaped"].astype("Int64")
    return table


def history_table(plan: PlanDocument, histories: Mapping[str, HistoryRows]) -> pd.DataFrame:
    """One row per evaluation, in the order of the runs table, then of the steps."""
    spec = plan.spec
    thresholds = spec.collapse.thresholds()
    further = _further(plan, histories)
    rows = [
        {
            **_run_columns(spec, arm, run),
            # Older histories lack columns that were added later.
            **{name: float(row.get(name, "nan")) for name in (*HISTORY_COLUMNS, *further)},
            "on_plateau": on_plateau(row, thresholds) if has_plateau([row]) else None,
        }
        for arm, run in _arm_runs(plan)
        for row in histories.get(run.run_id, ())
    ]
    columns = [
        *("run_id", "arm", "in_design", *_factor_columns(spec, {}), "seed"),
        *(*HISTORY_COLUMNS, "on_plateau", *further),
    ]
    table = pd.DataFrame(rows, columns=columns)
    if table["on_plateau"].isna().any():
        table["on_plateau"] = table["on_plateau"].astype("boolean")
    return table.astype({"step": "int64", "seed": "int64"})


def failures_table(runs: pd.DataFrame, records: Mapping[str, Record]) -> pd.DataFrame:
    """One `FailureRow` per diverged or failed run, in the order of the runs table."""
    failed = runs[runs["outcome"].isin(("diverged", "failed")) & runs["run_id"].isin(records)]
    rows = [
        FailureRow(run_id, arm, seed, outcome, int(n_done), _end_of(records[run_id]))
        for run_id, arm, seed, outcome, n_done in zip(
            *(failed[name].tolist() for name in FailureRow._fields[:-1]), strict=True
        )
    ]
    return pd.DataFrame(rows, columns=FailureRow._fields)


def outcome_values(runs: pd.DataFrame, outcome: str, budget: float | None = None) -> stats.Floats:
    """The value of an outcome for each run of a runs table.

    Args:
        runs: some rows of a runs table.
        outcome: a numeric column of it.
        budget: step at which steps to escape are cut; None takes the least budget of these runs.

    Returns:
        (n_runs,) NaN for a gap; see `orchestrator.stats.run_values.counted_values`.
    """
    if budget is None:
        steps = runs["n_steps"] if outcome == "escape_step" else pd.Series(dtype=float)
        budget = least_budget(steps.to_numpy(dtype=float, na_value=math.nan))
    column = runs[outcome].to_numpy(dtype=float, na_value=math.nan)
    endings = runs["outcome"].to_numpy(dtype=object)
    values = counted_values(outcome, endings, column, budget)
    if outcome == "escape_step":  # a run that does not say what escape is judged by is a gap
        values[runs["escape_censored"].isna().to_numpy()] = math.nan
    return values


def write_tables(folder: Path, tables: Mapping[str, pd.DataFrame]) -> list[Path]:
    """Write each table as ``NAME.csv`` and ``NAME.parquet``. Equal tables give equal bytes.

    Returns:
        The files written, in order.
    """
    written = []
    for name, table in tables.items():
        buffer = io.BytesIO()
        table.to_parquet(buffer, index=False)
        csv = frame_csv(table).encode("utf-8", "replace")
        for suffix, data in ((".csv", csv), (".parquet", buffer.getvalue())):
            path = folder / f"{name}{suffix}"
            write_atomically(path, data)
            written.append(path)
    return written


def _further(plan: PlanDocument, histories: Mapping[str, HistoryRows]) -> tuple[str, ...]:
    """The columns that only some histories have, of all runs of the plan."""
    return further_columns(row for run in plan.runs for row in histories.get(run.run_id, ())[:1])


def _arm_runs(plan: PlanDocument) -> list[tuple[ArmEntry, RunEntry]]:
    """(arm, run) of every planned run, in the order of the arms, then of the seeds."""
    arms = {arm.arm_id: (index, arm) for index, arm in enumerate(plan.arms)}
    seeds = {seed: index for index, seed in enumerate(plan.spec.seeds)}
    runs = sorted(plan.runs, key=lambda run: (arms[run.arm_id][0], seeds[run.block]))
    return [(arms[run.arm_id][1], run) for run in runs]


def _run_columns(spec: AblationSpec, arm: ArmEntry, run: RunEntry) -> dict[str, str | int]:
    """The columns that name a run, in every table with one row or more per run."""
    return {
        "run_id": run.run_id,
        "arm": arm.arm_id,
        "in_design": arm.in_design,
        **_factor_columns(spec, arm.levels),
        "seed": run.seed,
    }


def _factor_columns(spec: AblationSpec, levels: Mapping[str, str]) -> dict[str, str]:
    return {f"factor.{name}": levels.get(name, NO_LEVEL) for name in levels_of(spec)}


def _foreign_columns(plan: PlanDocument, run: RunEntry) -> Mapping[str, ColumnValue]:
    """What is known of a run that the store has no record of; NaN for a number that is missing."""
    foreign = plan.judged.foreign.get(run.run_id) if plan.judged is not None else None
    return {} if foreign is None else foreign.columns


def _end_of(record: Record) -> str:
    """The last lines of a traceback: the line that raised, and the exception; or how a run of a
    trainer of the user's ended."""
    text = record["error"] or record.get("ending", "")
    return "\n".join(text.strip().splitlines()[-_TRACEBACK_LINES:])


def _mean(values: stats.Floats) -> float:
    return float(values.mean()) if len(values) else math.nan
