"""Rebuilds the report of an ablation from its plan and its records, and keeps its timing."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from decoder.atomic import write_atomically
from decoder.errors import StorageError
from decoder.pack import HistoryRow
from decoder.regular import read_json
from orchestrator.driver.notify import SILENT, Notifier
from orchestrator.driver.remarks import check_machines
from orchestrator.execute.machine import Options
from orchestrator.plan.document import PlanDocument
from orchestrator.store.ledger import read_history, read_records, with_result
from orchestrator.store.mixing import select_for_report
from orchestrator.store.paths import Results
from orchestrator.store.record import Record
from orchestrator.terminal import Say

# Writes an ablation's folder: (folder, plan, records, histories).
Rebuild = Callable[
    [Path, PlanDocument, Mapping[str, Record], Mapping[str, list[HistoryRow]]], object
]


def rebuild_report(
    results: Results,
    document: PlanDocument,
    say: Say,
    rebuild: Rebuild | None = None,
    *,
    strict: bool = False,
    notifier: Notifier = SILENT,
) -> dict[str, Record]:
    """Write the tables, verdicts, figures and report of an ablation.

    Args:
        say: receives a line for each record that cannot be trusted, and for each part of the
            report that cannot be made.
        rebuild: writes the folder; None takes `orchestrator.report.rebuild.rebuild`.
        strict: whether different versions of PyTorch or devices are refused.
        notifier: is told of each claim that was not decided in the report before.

    Returns:
        The records used: run id → record.

    Raises:
        ConfigError: runs differ in these, and `strict`.
    """
    if rebuild is None:
        from orchestrator.report import rebuild as report  # pandas and matplotlib

        rebuild = partial(report.rebuild, say=say, runs_dir=results.runs)
    records = read_records(results, document.run_ids, say, move_aside=False)
    used = select_for_report(records, allow_mixed=document.allow_mixed).used
    if strict:
        check_machines(used.values(), say, strict=True)
    histories = {run_id: read_history(results, run_id) for run_id in with_result(records)}
    folder = results.ablation(document.name)
    with telling_decided(notifier, folder):
        rebuild(folder, document, records, histories)
    return used


def keep_timing(results: Results, name: str, call: Mapping[str, object], options: Options) -> None:
    """Append a call of `run` to ``timing.json``; the tables do not depend on it.

    Args:
        call: what it says of its time and runs.
    """
    path = results.timing(name)
    try:
        calls = list(read_json(path)["calls"])
    except (OSError, ValueError, KeyError, TypeError):
        calls = []  # there is no file, or it cannot be read; nothing depends on it
    calls.append(
        {
            "ended_at": datetime.now(UTC).isoformat(timespec="seconds"),
            **call,
            "backend": options.backend,
            "n_workers": options.n_workers,
            "threads_per_worker": options.threads,
        }
    )
    write_atomically(path, json.dumps({"calls": calls}, indent=1).encode())


def renew_index(results: Results) -> None:
    """Add the new records to the index, so that `runs` and `compare` need not wait for it."""
    from orchestrator.tables.index import open_index

    with suppress(StorageError):  # these commands report records that cannot be read
        open_index(results, lambda _: None)


@contextmanager
def telling_decided(notifier: Notifier, folder: Path) -> Iterator[None]:
    """Tell of each claim that the block decides, as the table of verdicts in `folder` says.

    A claim that the table before has with the same verdict is not told again. A table that cannot
    be read counts as empty.
    """
    from orchestrator.report.verdict_rows import decided_since, read_verdicts

    before, now = [], []
    with suppress(StorageError):
        before = read_verdicts(folder)
    yield
    with suppress(StorageError):
        now = read_verdicts(folder)
    for row in decided_since(before, now):
        told = ("claim", "finding", "exploratory", "look")
        known = {name: row[name] for name in told if name in row}
        notifier.decided(row["hypothesis"], row["verdict"], **known)
