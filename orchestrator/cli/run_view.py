"""What `run`, `report` and `status` print, and their documents for ``--json``."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from orchestrator.driver.run import AblationOutcome
from orchestrator.plan.document import PlanDocument
from orchestrator.store.driver_lock import current_holder
from orchestrator.store.ledger import Record, read_records, with_result
from orchestrator.store.paths import Results
from orchestrator.store.plan_file import read_plan
from orchestrator.terminal import Say, print_table, say_to, time_text

if TYPE_CHECKING:
    pass

_MOST_ROWS = 60


def read_verdicts(folder: Path) -> list[dict[str, Any]]:
    """The rows of the table of verdicts; none if the ablation has no hypotheses.

    Numbers are numbers; one that is unknown or infinite is None. ``arms`` and ``differences``
    are a list and a mapping.
    """
    import pandas as pd  # loaded by now, as the table was just written

    try:
        rows = pd.read_parquet(folder / "verdicts.parquet").to_dict("records")
    except FileNotFoundError:
        return []
    return [{str(name): _plain(name, value) for name, value in row.items()} for row in rows]


def _plain(name: Any, value: Any) -> Any:
    """A cell of the table of verdicts as JSON has it."""
    if name in ("arms", "differences"):
        return json.loads(value)
    is_number = isinstance(value, float | int)
    return value if isinstance(value, str) or (is_number and math.isfinite(value)) else None


def outcome_document(outcome: AblationOutcome, verdicts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How a `run` ended."""
    return {
        "name": outcome.name,
        "exit_code": outcome.exit_code,
        "n_runs": outcome.n_runs,
        "n_recorded": outcome.n_recorded,
        "n_failed": outcome.n_failed,
        "n_trained": outcome.n_trained,
        "verdicts": [dict(row) for row in verdicts],
        "folder": str(outcome.folder),
        "seconds": dict(outcome.seconds),
    }


def print_outcome(
    console: Console, outcome: AblationOutcome, verdicts: Sequence[Mapping[str, Any]]
) -> None:
    """Verdict per hypothesis, where the report lies, where the time went."""
    say = say_to(console)
    _print_verdicts(console, verdicts)
    counts = f"{outcome.n_recorded} of {outcome.n_runs} runs recorded"
    if outcome.n_failed:
        counts += f", {outcome.n_failed} failed (`run` tries them again)"
    say(f"{counts}; {outcome.n_trained} trained now")
    say(f"report: {outcome.folder / 'report.html'}")
    phases = [
        f"{name.replace('_', '-')} {time_text(outcome.seconds[name])}"
        for name in ("set_up", "data", "training", "reporting")
        if name in outcome.seconds
    ]
    say(f"time: {', '.join(phases)}")


def report_document(
    results: Results,
    name: str,
    document: PlanDocument,
    records: Mapping[str, Record],
    verdicts: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """What a `report` was made from, and where it lies."""
    return {
        "name": name,
        "n_runs": len(document.run_ids),
        "n_recorded": len(with_result(records)),
        "folder": str(results.ablation(name)),
        "verdicts": [dict(row) for row in verdicts],
    }


def print_report(console: Console, seen: Mapping[str, Any]) -> None:
    """Verdicts, and where the report lies."""
    _print_verdicts(console, seen["verdicts"])
    say = say_to(console)
    say(f"{seen['n_recorded']} of {seen['n_runs']} runs recorded")
    say(f"report: {Path(seen['folder']) / 'report.html'}")


def status_rows(results: Results, name: str | None, say: Say) -> list[dict[str, Any]]:
    """Counts of each ablation that was run into `results`.

    Raises:
        StorageError: the ablation named was never run there.
    """
    names = [name] if name is not None else _ablation_names(results)
    return [_status_row(results, one, say) for one in names]


def _ablation_names(results: Results) -> list[str]:
    return sorted(path.parent.name for path in results.ablations.glob("*/plan.json"))


def _status_row(results: Results, name: str, say: Say) -> dict[str, Any]:
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


def print_status(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    """One row an ablation."""
    if not rows:
        say_to(console)("no ablation was run into this folder yet")
        return
    titles = ("ablation", "planned", "recorded", "diverged", "failed", "running", "driver")
    print_table(
        console, titles, [tuple("–" if v is None else v for v in row.values()) for row in rows]
    )


def _print_verdicts(console: Console, verdicts: Sequence[Mapping[str, Any]]) -> None:
    say = say_to(console)
    for row in verdicts:
        label = " (exploratory)" if row.get("exploratory") else ""
        say(f"{row['hypothesis']}: {row['verdict'].upper()}{label}")
        say(f"    claim: {row.get('claim', '')}")
        say(f"    {row.get('finding', '')}")
        say(f"    {row.get('decision', '')}")
