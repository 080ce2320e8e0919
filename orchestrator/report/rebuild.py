"""Everything after the ledger, in one go: tables, verdicts, figures, report."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from orchestrator.plan.document import PlanDocument
from orchestrator.report.figures import draw_figures
from orchestrator.report.pages import write_report
from orchestrator.report.verdict_table import verdicts_table
from orchestrator.report.view import Found
from orchestrator.tables.tables import (
    HistoryRows,
    Record,
    Tables,
    make_tables,
    write_tables,
)
from orchestrator.verdicts.controls import arm_configs, compare_controls, control_arms, noise_floor
from orchestrator.verdicts.criteria import criteria_table, evaluate
from orchestrator.verdicts.greedy import greedy_rounds, greedy_table
from orchestrator.verdicts.verdicts import Verdict, decide


class Rebuilt(NamedTuple):
    """What `rebuild` made.

    Attributes:
        tables: the tables.
        verdicts: one a hypothesis, in the order of the file.
        paths: every file written, the reports last.
    """

    tables: Tables
    verdicts: tuple[Verdict, ...]
    paths: tuple[Path, ...]


def rebuild(
    ablation_dir: Path,
    plan: PlanDocument,
    records: Mapping[str, Record],
    histories: Mapping[str, HistoryRows],
) -> Rebuilt:
    """Write an ablation's folder anew from its plan and what the ledger holds.

    The same plan and records give the same bytes.

    Args:
        ablation_dir: where ``runs``, ``arms``, ``history`` and ``verdicts`` (CSV and Parquet),
            ``figures/``, ``report.md`` and ``report.html`` go; ``criteria``, ``greedy``,
            ``sessions`` and ``confusions`` too if there are any.
        plan: the plan document.
        records: run id → record, for the runs recorded so far.
        histories: run id → evaluations.

    Raises:
        ConfigError: a hypothesis' contrast fits no arm of the design.
        StorageError: a file cannot be written.
    """
    found = evaluate_records(plan, records, histories)
    paths = write_tables(ablation_dir, named_tables(found))
    figures = draw_figures(
        ablation_dir / "figures", plan, found.tables, found.verdicts, found.floors, found.rounds
    )
    paths += [path for figure in figures for path in (figure.svg, figure.png)]
    paths += write_report(ablation_dir, found._replace(figures=figures))
    return Rebuilt(found.tables, tuple(found.verdicts), tuple(paths))


def evaluate_records(
    plan: PlanDocument,
    records: Mapping[str, Record],
    histories: Mapping[str, HistoryRows],
) -> Found:
    """Everything that follows from a plan and its records, without a figure and without a file.

    Args:
        plan, records, histories: see `rebuild`.

    Raises:
        ConfigError: a hypothesis' contrast fits no arm of the design.
    """
    spec = plan.spec
    tables = make_tables(plan, records, histories)
    configs = arm_configs(plan, records)
    pairs = control_arms(plan, configs)
    outcomes = dict.fromkeys(["per", *(h.outcome for h in spec.hypotheses.values())])
    controls = {name: compare_controls(pairs, tables.runs, name) for name in outcomes}
    return Found(
        plan=plan,
        configs=configs,
        tables=tables,
        verdicts=decide(plan, tables.runs),
        figures=(),
        criteria=evaluate(spec, tables.runs, histories),
        controls=controls,
        floors={name: noise_floor(tables.runs, controls[name], name) for name in outcomes},
        rounds=greedy_rounds(spec, plan.arms, tables.runs) if spec.greedy else (),
    )


def named_tables(found: Found) -> dict[str, pd.DataFrame]:
    """File name → table, for the tables that this ablation has."""
    tables, spec = found.tables, found.plan.spec
    named = {
        "runs": tables.runs,
        "arms": tables.arms,
        "history": tables.history,
        "verdicts": verdicts_table(found.verdicts),
    }
    for name in ("sessions", "confusions"):  # records from before they were kept have none
        if not getattr(tables, name).empty:
            named[name] = getattr(tables, name)
    if spec.criteria:
        named["criteria"] = criteria_table(found.criteria)
    if spec.greedy:
        named["greedy"] = greedy_table(found.rounds)
    return named
