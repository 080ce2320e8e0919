"""From the plan file and the ledger to the report, without training anything."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from decoder.errors import StorageError
from decoder.pack import HistoryRow
from orchestrator.plan.document import PlanDocument
from orchestrator.store.ledger import Record, read_history, read_records, with_result
from orchestrator.store.paths import Results
from orchestrator.terminal import Say

# Writes an ablation's folder: (folder, plan, records, histories).
Rebuild = Callable[
    [Path, PlanDocument, Mapping[str, Record], Mapping[str, list[HistoryRow]]], object
]


def rebuild_report(
    results: Results, document: PlanDocument, say: Say, rebuild: Rebuild | None = None
) -> dict[str, Record]:
    """Make everything that follows from plan and ledger: tables, verdicts, figures, report.

    Args:
        results: the ledger.
        document: the plan.
        say: receives a line for each record that cannot be trusted.
        rebuild: writes the folder; None for `orchestrator.report.rebuild.rebuild`.

    Returns:
        The records it was made from.
    """
    if rebuild is None:
        from orchestrator.report import rebuild as report  # pandas and matplotlib

        rebuild = report.rebuild
    records = read_records(results, document.run_ids, say, move_aside=False)
    histories = {run_id: read_history(results, run_id) for run_id in with_result(records)}
    rebuild(results.ablation(document.name), document, records, histories)
    return records


def renew_index(results: Results) -> None:
    """Take the new records into the index, so that `runs` and `compare` need not wait for it."""
    from orchestrator.tables.index import open_index

    with suppress(StorageError):  # those commands tell what is wrong with a record
        open_index(results, lambda _: None)
