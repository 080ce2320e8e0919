"""What a report is made from: tables, verdicts, criteria and controls, from plan and records."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from orchestrator.plan.document import PlanDocument
from orchestrator.report.verdict_table import verdicts_table
from orchestrator.store.mixing import mixed_claims, select_for_report
from orchestrator.store.record import Record
from orchestrator.tables.run_columns import HistoryRows
from orchestrator.tables.tables import Tables, make_tables
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


def evaluate_records(
    plan: PlanDocument,
    records: Mapping[str, Record],
    histories: Mapping[str, HistoryRows],
) -> ReportInput:
    """Compute everything that a report is made from; nothing is written.

    Unless the plan allows mixed sources, it uses the runs of one alone, see `select_for_report`.

    Args:
        plan: the plan document.
        records: run id → record, for the runs recorded so far.
        histories: run id → evaluations.

    Raises:
        ConfigError: no arm of the design fits the contrast of a hypothesis.
    """
    spec = plan.spec
    records, left_out = select_for_report(records, allow_mixed=plan.allow_mixed)
    histories = {run_id: rows for run_id, rows in histories.items() if run_id not in left_out}
    tables = make_tables(plan, records, histories)
    configs = arm_configs(plan, records)
    pairs = control_arms(plan, configs)
    outcomes = dict.fromkeys(["per", *(h.outcome for h in spec.hypotheses.values())])
    controls = {name: compare_controls(pairs, tables.runs, name) for name in outcomes}
    floors = {name: noise_floor(tables.runs, controls[name], name) for name in outcomes}
    return ReportInput(
        plan=plan,
        configs=configs,
        tables=tables,
        verdicts=decide(plan, tables.runs, mixed_claims(plan, records)),
        criteria=evaluate(spec, tables.runs, histories),
        controls=controls,
        floors=floors,
        rounds=greedy_rounds(spec, plan.arms, tables.runs) if spec.greedy else (),
        unasked=find_unasked(plan, tables.runs, floors),
        records=records,
        left_out=left_out,
    )


def named_tables(given: ReportInput) -> dict[str, pd.DataFrame]:
    """File name → table, for the tables that the ablation has."""
    tables, spec = given.tables, given.plan.spec
    named = {
        "runs": tables.runs,
        "arms": tables.arms,
        "history": tables.history,
        "verdicts": verdicts_table(given.verdicts),
    }
    for name in ("sessions", "confusions"):  # older records have none
        if not getattr(tables, name).empty:
            named[name] = getattr(tables, name)
    if spec.criteria:
        named["criteria"] = criteria_table(given.criteria)
    if spec.greedy:
        named["greedy"] = greedy_table(given.rounds)
    return named
