"""Writes all files of an ablation from its records: tables, verdicts, figures, report."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from orchestrator.plan.document import PlanDocument
from orchestrator.report.figures import draw_figures
from orchestrator.report.pages import write_report
from orchestrator.report.verdict_table import verdicts_table
from orchestrator.report.view import ReportInput
from orchestrator.store.ledger import Record
from orchestrator.tables.run_columns import HistoryRows
from orchestrator.tables.tables import Tables, make_tables, write_tables
from orchestrator.verdicts.controls import arm_configs, compare_controls, control_arms, noise_floor
from orchestrator.verdicts.criteria import criteria_table, evaluate
from orchestrator.verdicts.greedy import greedy_rounds, greedy_table
from orchestrator.verdicts.verdicts import Verdict, decide


class Rebuilt(NamedTuple):
    """What `rebuild` made.

    Attributes:
        tables: the tables.
        verdicts: one per hypothesis, in the order of the file.
        paths: every file written; the pages of the report are last.
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
    """Write all files of an ablation from its plan and its records.

    The same plan and records give the same bytes.

    Args:
        ablation_dir: where the files go: ``runs``, ``arms``, ``history`` and ``verdicts`` (CSV
            and Parquet), ``figures/``, ``report.md`` and ``report.html``, and if there are any
            ``criteria``, ``greedy``, ``sessions`` and ``confusions``.
        plan: the plan document.
        records: run id → record, for the runs recorded so far.
        histories: run id → evaluations.

    Raises:
        ConfigError: no arm of the design fits the contrast of a hypothesis.
        StorageError: a file cannot be written.
    """
    given = evaluate_records(plan, records, histories)
    paths = write_tables(ablation_dir, named_tables(given))
    figures = draw_figures(
        ablation_dir / "figures", plan, given.tables, given.verdicts, given.floors, given.rounds
    )
    paths += [path for figure in figures for path in (figure.svg, figure.png)]
    paths += write_report(ablation_dir, given._replace(figures=figures))
    return Rebuilt(given.tables, tuple(given.verdicts), tuple(paths))


def evaluate_records(
    plan: PlanDocument,
    records: Mapping[str, Record],
    histories: Mapping[str, HistoryRows],
) -> ReportInput:
    """Compute everything that a report is made from, except figures; nothing is written.

    Args:
        plan, records, histories: see `rebuild`.

    Raises:
        ConfigError: no arm of the design fits the contrast of a hypothesis.
    """
    spec = plan.spec
    tables = make_tables(plan, records, histories)
    configs = arm_configs(plan, records)
    pairs = control_arms(plan, configs)
    outcomes = dict.fromkeys(["per", *(h.outcome for h in spec.hypotheses.values())])
    controls = {name: compare_controls(pairs, tables.runs, name) for name in outcomes}
    return ReportInput(
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
