"""Writes all files of an ablation from its records: tables, verdicts, figures, report."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from orchestrator.plan.document import PlanDocument
from orchestrator.report.answer import write_answer
from orchestrator.report.evaluation import evaluate_records, named_tables
from orchestrator.report.figures import draw_figures
from orchestrator.report.pages import write_pages
from orchestrator.report.view import make_view
from orchestrator.store.record import Record
from orchestrator.tables.run_columns import HistoryRows
from orchestrator.tables.tables import write_tables
from orchestrator.terminal import Say


def rebuild(
    ablation_dir: Path,
    plan: PlanDocument,
    records: Mapping[str, Record],
    histories: Mapping[str, HistoryRows],
    say: Say | None = None,
    runs_dir: Path | None = None,
) -> list[Path]:
    """Write all files of an ablation from its plan and its records.

    The same plan and records give the same bytes. A figure, table or part that cannot be made is a
    line in the report, and all others are there.

    Args:
        ablation_dir: where the files go: ``runs``, ``arms``, ``history`` and ``verdicts`` (CSV
            and Parquet), ``verdicts.json``, ``figures/``, ``report.md`` and ``report.html``, and
            if there are any ``criteria``, ``greedy``, ``sessions``, ``confusions``, ``held_out``
            and ``ensembles``.
        plan, records, histories, say, runs_dir: see `evaluate_records`.

    Returns:
        Every file written, the pages last.

    Raises:
        ConfigError: no arm of the design fits the contrast of a hypothesis.
        StorageError: a file cannot be written.
    """
    given = evaluate_records(plan, records, histories, say, runs_dir)
    paths: list[Path] = []
    for name, table in named_tables(given).items():
        write = partial(write_tables, ablation_dir, {name: table})
        paths += given.faults.attempt(f"the table {name}.csv", write, [])
    answer = partial(write_answer, ablation_dir / "verdicts.json", given)
    paths += given.faults.attempt("the file verdicts.json", lambda: [answer()], [])
    figures = draw_figures(ablation_dir / "figures", given)
    paths += [path for figure in figures for path in (figure.svg, figure.png)]
    return paths + write_pages(ablation_dir, "report", make_view(given, figures))
