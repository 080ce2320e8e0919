"""What a report is made from: tables, verdicts, criteria and controls, from plan and records."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from decoder.pack import HISTORY_COLUMNS
from orchestrator.plan.document import PlanDocument
from orchestrator.report.faults import Faults
from orchestrator.report.verdict_table import verdicts_table
from orchestrator.spec.units import noun
from orchestrator.store.mixing import mixed_claims, select_for_report
from orchestrator.store.paths import Results
from orchestrator.store.record import Record
from orchestrator.tables.ensemble_words import EnsembleWords
from orchestrator.tables.ensembles import ensembles_table
from orchestrator.tables.run_columns import HistoryRows
from orchestrator.tables.tables import Tables, make_tables
from orchestrator.terminal import Say
from orchestrator.verdicts.controls import (
    Control,
    NoiseFloor,
    arm_configs,
    compare_controls,
    control_arms,
    noise_floor,
)
from orchestrator.verdicts.criteria import CriterionResult, criteria_table, evaluate
from orchestrator.verdicts.greedy import Round, greedy_rounds, greedy_table
from orchestrator.verdicts.unasked import Unasked, find_unasked
from orchestrator.verdicts.verdicts import Verdict, decide

logger = logging.getLogger(__name__)


class ReportInput(NamedTuple):
    """Everything a report is made from.

    Attributes:
        plan: the plan document.
        configs: arm → the configuration it was trained with, for the arms recorded so far.
        tables: the tables of the ablation.
        verdicts: one per hypothesis, in the order of the file.
        criteria: one result per criterion and arm.
        controls: outcome → the comparison of each control with the arm that it repeats.
        floors: outcome → noise floor.
        rounds: the rounds of a greedy path.
        unasked: effects that no hypothesis asked about.
        records: run id → record, for the runs that are used.
        left_out: the same for runs of other decoder sources, which are not used.
        faults: what of the report could not be made.
        ensembles: see `orchestrator.tables.ensembles`; empty without kept logits.
    """

    plan: PlanDocument
    configs: Mapping[str, Mapping[str, Any]]
    tables: Tables
    verdicts: Sequence[Verdict]
    criteria: Sequence[CriterionResult]
    controls: Mapping[str, Sequence[Control]]
    floors: Mapping[str, NoiseFloor]
    rounds: Sequence[Round]
    unasked: Sequence[Unasked]
    records: Mapping[str, Record]
    left_out: Mapping[str, Record]
    faults: Faults
    ensembles: pd.DataFrame


def evaluate_records(
    plan: PlanDocument,
    records: Mapping[str, Record],
    histories: Mapping[str, HistoryRows],
    say: Say | None = None,
    runs_dir: Path | None = None,
) -> ReportInput:
    """Compute everything that a report is made from; nothing is written.

    Unless the plan allows mixed sources, it uses the runs of one alone, see `select_for_report`.

    Args:
        plan: the plan document.
        records: run id → record, for the runs recorded so far.
        histories: run id → evaluations.
        say: receives a line for each part that cannot be made; None logs it.
        runs_dir: holds the logits that runs kept, see `orchestrator.store.paths.Results.runs`; None
            leaves out what follows from them.

    Raises:
        ConfigError: no arm of the design fits the contrast of a hypothesis.
    """
    spec = plan.spec
    records, left_out = select_for_report(records, allow_mixed=plan.allow_mixed)
    histories = {run_id: rows for run_id, rows in histories.items() if run_id not in left_out}
    if plan.judged is not None:
        unknown = dict.fromkeys(HISTORY_COLUMNS, math.nan)
        histories |= {
            run_id: [{**unknown, **row} for row in run.history]
            for run_id, run in plan.judged.foreign.items()
        }
    tables = make_tables(plan, records, histories)
    configs = arm_configs(plan, records)
    pairs = control_arms(plan, configs)
    usual = ["per"] if spec.trainer is None or "per" in spec.trainer.outcomes else []
    outcomes = dict.fromkeys([*usual, *(h.outcome for h in spec.hypotheses.values())])
    faults, no_controls = Faults(say), tuple[Control, ...]()
    controls = {
        name: faults.attempt(
            f"the comparison of controls in {noun(name)}",
            partial(compare_controls, pairs, tables.runs, name),
            no_controls,
        )
        for name in outcomes
    }
    floors = {name: noise_floor(tables.runs, controls[name], name) for name in outcomes}
    return ReportInput(
        plan=plan,
        configs=configs,
        tables=tables,
        verdicts=decide(plan, tables.runs, mixed_claims(plan, records)),
        criteria=faults.attempt(
            "the success criteria", lambda: evaluate(spec, tables.runs, histories), ()
        ),
        controls=controls,
        floors=floors,
        rounds=greedy_rounds(spec, plan.arms, tables.runs) if spec.greedy else (),
        unasked=faults.attempt(
            "the list 'Seen, not asked'", lambda: find_unasked(plan, tables.runs, floors), ()
        ),
        records=records,
        left_out=left_out,
        faults=faults,
        ensembles=faults.attempt(
            "the table of ensembles",
            lambda: _ensembles(tables.runs, records, runs_dir, say),
            pd.DataFrame(),
        ),
    )


def _ensembles(
    runs: pd.DataFrame, records: Mapping[str, Record], runs_dir: Path | None, say: Say | None
) -> pd.DataFrame:
    if runs_dir is None:
        return pd.DataFrame()
    say = say or logger.warning
    words = EnsembleWords(Results(runs_dir.parent), records, say)
    return ensembles_table(runs, runs_dir, say, words)


def named_tables(given: ReportInput) -> dict[str, pd.DataFrame]:
    """File name → table, for the tables that the ablation has."""
    tables, spec = given.tables, given.plan.spec
    named = {
        "runs": tables.runs,
        "arms": tables.arms,
        "history": tables.history,
    }
    made: dict[str, Callable[[], pd.DataFrame]] = {
        "verdicts": lambda: verdicts_table(given.verdicts)
    }
    if not given.ensembles.empty:
        named["ensembles"] = given.ensembles
    for name in ("sessions", "confusions", "held_out", "words"):  # which not every record has
        if not getattr(tables, name).empty:
            named[name] = getattr(tables, name)
    if spec.criteria:
        made["criteria"] = lambda: criteria_table(given.criteria)
    if spec.greedy:
        made["greedy"] = lambda: greedy_table(given.rounds)
    for name, make in made.items():
        table = given.faults.attempt(f"the table {name}.csv", make, None)
        if table is not None:
            named[name] = table
    return named
