"""The lines that `run`, `report` and `status` print, and their documents for ``--json``."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from orchestrator.driver.run import AblationOutcome
from orchestrator.store.ledger import read_records, with_result
from orchestrator.store.locks import current_holder
from orchestrator.store.paths import Results
from orchestrator.store.plan_file import read_plan
from orchestrator.terminal import Say, finite, print_table, say_to, time_text

# A row of `orchestrator.report.verdict_table.verdicts_table`, as JSON has it.
VerdictRow = dict[str, Any]

# The counts of one ablation; ``driver`` names the process that runs it now.
StatusRow = dict[str, str | int | None]


def read_verdicts(folder: Path) -> list[VerdictRow]:
    """The rows of the table of verdicts; empty if the ablation has no hypotheses.

    A number that is unknown or infinite is None. ``arms`` holds the counts of each arm compared,
    ``differences`` the effect per seed.
    """
    import pyarrow.parquet as pq  # already loaded, because the table was just written

    try:
        rows = pq.read_table(folder / "verdicts.parquet").to_pylist()
    except FileNotFoundError:
        return []
    nested = ("arms", "differences")
    return [
        {n: json.loads(value) if n in nested else finite(value) for n, value in row.items()}
        for row in rows
    ]


def read_answer(folder: Path) -> str:
    """The one-line answer of the report in this folder."""
    return str(json.loads((folder / "verdicts.json").read_bytes())["answer"])


def outcome_document(outcome: AblationOutcome, verdicts: Sequence[VerdictRow]) -> dict[str, Any]:
    """What a call of `run` reached, for ``--json``."""
    document = asdict(outcome)
    del document["signal_number"]  # the exit code holds it
    return document | {
        "exit_code": outcome.exit_code,
        "answer": read_answer(outcome.folder),
        "verdicts": verdicts,
        "folder": str(outcome.folder),
    }


def print_outcome(
    console: Console, outcome: AblationOutcome, verdicts: Sequence[VerdictRow]
) -> None:
    """Print the verdicts, the path of the report, and the time of each phase."""
    counts = f"{outcome.n_recorded} of {outcome.n_runs} runs recorded"
    if outcome.n_failed:
        counts += f", {outcome.n_failed} failed (`run` retries them)"
    print_report(console, verdicts, f"{counts}; {outcome.n_trained} trained now", outcome.folder)
    phases = [
        f"{name.replace('_', '-')} {time_text(outcome.seconds[name])}"
        for name in ("set_up", "data", "training", "reporting")
        if name in outcome.seconds
    ]
    say_to(console)(f"time: {', '.join(phases)}")


def print_report(
    console: Console, verdicts: Sequence[VerdictRow], counts: str, folder: Path
) -> None:
    """Print the verdicts, the text `counts`, and the path of the report."""
    say = say_to(console)
    say(read_answer(folder))
    for row in verdicts:
        label = " (exploratory)" if row.get("exploratory") else ""
        say(f"{row['hypothesis']}: {row['verdict'].upper()}{label}")
        say(f"    claim: {row.get('claim', '')}")
        say(f"    {row.get('finding', '')}")
        say(f"    {row.get('decision', '')}")
    say(counts)
    say(f"report: {folder / 'report.html'}")


def status_rows(results: Results, name: str | None, say: Say) -> list[StatusRow]:
    """The counts of each ablation in a results folder, or of the one named.

    Raises:
        ConfigError: the ablation named was never run there.
    """
    every = sorted(path.parent.name for path in results.ablations.glob("*/plan.json"))
    return [_status_row(results, one, say) for one in (every if name is None else [name])]


def _status_row(results: Results, name: str, say: Say) -> StatusRow:
    document = read_plan(results, name)
    records = read_records(results, document.run_ids, say, move_aside=False)
    n_recorded = len(with_result(records))
    holder = current_holder(results, name)
    return {
        "name": name,
        "n_planned": len(document.run_ids),
        "n_recorded": n_recorded,
        "n_diverged": sum(record["status"] == "diverged" for record in records.values()),
        "n_failed": len(records) - n_recorded,
        "n_running": holder.n_running if holder is not None else 0,
        "driver": str(holder) if holder is not None else None,
    }


def print_status(console: Console, rows: Sequence[StatusRow]) -> None:
    """Print one row per ablation."""
    if not rows:
        say_to(console)("no ablation has been run in this results folder yet")
        return
    titles = ("ablation", "planned", "recorded", "diverged", "failed", "running", "driver")
    cells = [tuple("–" if v is None else v for v in row.values()) for row in rows]
    print_table(console, titles, cells)
