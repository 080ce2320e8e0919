"""The lines that `run`, `report` and `status` print, and their documents for ``--json``."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, cast

from rich.console import Console

from orchestrator.driver.run import AblationOutcome
from orchestrator.plan.document import PlanDocument
from orchestrator.store.ledger import Record, read_records, with_result
from orchestrator.store.locks import current_holder
from orchestrator.store.paths import Results
from orchestrator.store.plan_file import read_plan
from orchestrator.terminal import Say, print_table, say_to, time_text


class VerdictRow(TypedDict, total=False):
    """A row of ``verdicts.parquet``; see `orchestrator.report.verdict_table.verdicts_table`.

    A number that is unknown or infinite is None. ``arms`` holds the counts of each arm compared,
    ``differences`` the effect per seed.
    """

    hypothesis: str
    verdict: str
    reason: str
    strong: bool
    exploratory: bool
    claim: str
    outcome: str
    direction: str
    margin: float
    effect: float | None
    low: float | None
    high: float | None
    interval: str
    bound_low: float | None
    bound_high: float | None
    claimed_effect: float | None
    upper_bound: float | None
    p: float | None
    p_adjusted: float | None
    test: str
    correction: str
    family: str
    n_family: int
    alpha: float
    look: int
    n_looks: int
    bound_error: float
    n_seeds: int
    n_seeds_planned: int
    n_seeds_as_claimed: int
    seed_correlation: float | None
    blocking_saved: float | None
    detectable_effect: float | None
    seeds_needed: int | None
    arms: list[dict[str, str | int | float | None]]
    differences: dict[str, float]
    finding: str
    decision: str


class OutcomeDocument(TypedDict):
    """What a call of `run` reached; see `orchestrator.driver.run.AblationOutcome`."""

    name: str
    exit_code: int
    n_runs: int
    n_recorded: int
    n_failed: int
    n_trained: int
    verdicts: list[VerdictRow]
    folder: str
    seconds: dict[str, float]


class ReportDocument(TypedDict):
    """The runs behind a report, its verdicts, and its folder."""

    name: str
    n_runs: int
    n_recorded: int
    folder: str
    verdicts: list[VerdictRow]


class StatusRow(TypedDict):
    """The counts of one ablation; ``driver`` names the process that runs it now."""

    name: str
    n_planned: int
    n_recorded: int
    n_diverged: int
    n_failed: int
    n_running: int
    driver: str | None


def read_verdicts(folder: Path) -> list[VerdictRow]:
    """The rows of the table of verdicts; empty if the ablation has no hypotheses."""
    import pandas as pd  # already loaded, because the table was just written

    try:
        rows = pd.read_parquet(folder / "verdicts.parquet").to_dict("records")
    except FileNotFoundError:
        return []
    return [
        cast(VerdictRow, {str(name): _plain(str(name), value) for name, value in row.items()})
        for row in rows
    ]


def _plain(name: str, value: Any) -> Any:
    """A cell of the table of verdicts as JSON has it."""
    if name in ("arms", "differences"):
        return json.loads(value)
    is_number = isinstance(value, float | int)
    return value if isinstance(value, str) or (is_number and math.isfinite(value)) else None


def outcome_document(outcome: AblationOutcome, verdicts: Sequence[VerdictRow]) -> OutcomeDocument:
    """The document of `run`."""
    return {
        "name": outcome.name,
        "exit_code": outcome.exit_code,
        "n_runs": outcome.n_runs,
        "n_recorded": outcome.n_recorded,
        "n_failed": outcome.n_failed,
        "n_trained": outcome.n_trained,
        "verdicts": list(verdicts),
        "folder": str(outcome.folder),
        "seconds": dict(outcome.seconds),
    }


def print_outcome(
    console: Console, outcome: AblationOutcome, verdicts: Sequence[VerdictRow]
) -> None:
    """Print the verdicts, the path of the report, and the time of each phase."""
    say = say_to(console)
    _print_verdicts(console, verdicts)
    counts = f"{outcome.n_recorded} of {outcome.n_runs} runs recorded"
    if outcome.n_failed:
        counts += f", {outcome.n_failed} failed (`run` retries them)"
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
    verdicts: Sequence[VerdictRow],
) -> ReportDocument:
    """The document of `report`."""
    return {
        "name": name,
        "n_runs": len(document.run_ids),
        "n_recorded": len(with_result(records)),
        "folder": str(results.ablation(name)),
        "verdicts": list(verdicts),
    }


def print_report(console: Console, document: ReportDocument) -> None:
    """Print the verdicts and the path of the report."""
    _print_verdicts(console, document["verdicts"])
    say = say_to(console)
    say(f"{document['n_recorded']} of {document['n_runs']} runs recorded")
    say(f"report: {Path(document['folder']) / 'report.html'}")


def status_rows(results: Results, name: str | None, say: Say) -> list[StatusRow]:
    """The counts of each ablation in a results folder, or of the one named.

    Raises:
        ConfigError: the ablation named was never run there.
    """
    names = [name] if name is not None else _ablation_names(results)
    return [_status_row(results, one, say) for one in names]


def _ablation_names(results: Results) -> list[str]:
    return sorted(path.parent.name for path in results.ablations.glob("*/plan.json"))


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
    print_table(
        console, titles, [tuple("–" if v is None else v for v in row.values()) for row in rows]
    )


def _print_verdicts(console: Console, verdicts: Sequence[VerdictRow]) -> None:
    say = say_to(console)
    for row in verdicts:
        label = " (exploratory)" if row.get("exploratory") else ""
        say(f"{row['hypothesis']}: {row['verdict'].upper()}{label}")
        say(f"    claim: {row.get('claim', '')}")
        say(f"    {row.get('finding', '')}")
        say(f"    {row.get('decision', '')}")
