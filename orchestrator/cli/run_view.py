"""The lines that `run`, `report` and `status` print, and their documents for ``--json``."""

import json
import signal
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from decoder.errors import StorageError
from orchestrator.driver.run import AblationOutcome
from orchestrator.plan.judged import NOT_REGISTERED
from orchestrator.report.verdict_rows import DECIDED, VerdictRow
from orchestrator.store.ledger import read_records, with_result
from orchestrator.store.locks import current_holder
from orchestrator.store.paths import Results
from orchestrator.store.plan_file import read_plan
from orchestrator.store.reservation_files import Driver, reserved_now
from orchestrator.terminal import Say, print_table, say_to, time_text

# The counts of one ablation or search; ``driver`` names the process that runs it now, and
# ``n_elsewhere`` counts runs that are trained for another one. Of a search, the runs are those of
# its confirmation.
StatusRow = dict[str, str | int | None]
_PHASES = ("set_up", "data", "training", "reporting")


def read_answer(folder: Path) -> str:
    """The one-line answer of the report in this folder."""
    return str(json.loads((folder / "verdicts.json").read_bytes())["answer"])


def outcome_document(outcome: AblationOutcome, verdicts: Sequence[VerdictRow]) -> dict[str, Any]:
    """What a call of `run` reached, for ``--json``."""
    document = asdict(outcome)
    del document["signal_number"]  # the exit code holds it
    return document | {
        "exit_code": outcome.exit_code,
        "answer": read_answer(outcome.folder) if outcome.is_reported else "",
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
    counts += f"; {outcome.n_trained} trained now"
    if outcome.is_reported:
        print_report(console, verdicts, counts, outcome.folder)
    else:
        say_to(console)(
            f"{counts}; other processes train {outcome.n_elsewhere}, and the one that records the "
            "last run writes the report"
        )
    phases = [
        f"{name.replace('_', '-')} {time_text(outcome.seconds[name])}"
        for name in _PHASES
        if name in outcome.seconds
    ]
    say_to(console)(f"time: {', '.join(phases)}")
    say_to(console)(summary_line(outcome, verdicts))


def summary_line(outcome: AblationOutcome, verdicts: Sequence[VerdictRow]) -> str:
    """How a call of `run` ended, in one line: runs, verdicts, time, and where the report is."""
    if outcome.signal_number is not None:
        ended = f"stopped by {signal.Signals(outcome.signal_number).name}"
        ended = "stopped, the time is used up" if outcome.left_over is not None else ended
    elif outcome.exit_code:
        ended = f"ended, {outcome.n_runs - outcome.n_recorded} runs lack a result"
    else:
        ended = "done" if outcome.is_reported else "done here, others train on"
    words = Counter(row["verdict"] for row in verdicts)
    said = ", ".join(f"{words[word]} {word}" for word in (*DECIDED, "inconclusive") if words[word])
    return "; ".join(
        [
            f"{outcome.name}: {ended}",
            f"{outcome.n_recorded} of {outcome.n_runs} runs",
            *([said] if said else []),
            time_text(sum(outcome.seconds.get(name, 0.0) for name in _PHASES)),
            *([str(outcome.folder / "report.html")] if outcome.is_reported else []),
        ]
    )


def print_report(
    console: Console, verdicts: Sequence[VerdictRow], counts: str, folder: Path
) -> None:
    """Print the verdicts, the text `counts`, and the path of the report."""
    say = say_to(console)
    say(read_answer(folder))
    for row in verdicts:
        label = " (exploratory)" if row.get("exploratory") else ""
        if not row.get("registered", True):
            label = f" ({NOT_REGISTERED})"
        say(f"{row['hypothesis']}: {row['verdict'].upper()}{label}")
        say(f"    claim: {row.get('claim', '')}")
        say(f"    {row.get('finding', '')}")
        say(f"    {row.get('decision', '')}")
        for caveat in row.get("caveats", ()):
            say(f"    caveat: {caveat}")
    say(counts)
    say(f"report: {folder / 'report.html'}")


def status_rows(results: Results, name: str | None, say: Say) -> list[StatusRow]:
    """The counts of each ablation in a results folder, or of the one named.

    Raises:
        ConfigError: the ablation named was never run there.
    """
    every = sorted(path.parent.name for path in results.ablations.glob("*/plan.json"))
    if name is not None:
        return [_status_row(results, name, say)]
    return _readable_rows(every, lambda one: _status_row(results, one, say), say)


def _readable_rows(
    names: Sequence[str], row_of: Callable[[str], StatusRow], say: Say
) -> list[StatusRow]:
    """The rows of those that can be read; the others are a line each."""
    rows = []
    for name in names:
        try:
            rows.append(row_of(name))
        except StorageError as error:
            say(str(error))
    return rows


def _status_row(results: Results, name: str, say: Say) -> StatusRow:
    return {"name": name, **_run_counts(results, read_plan(results, name).run_ids, name, say)}


def search_rows(results: Results, name: str | None, say: Say) -> list[StatusRow]:
    """The counts of each search in a results folder, or of the one named.

    Raises:
        StorageError: a study or a plan cannot be read.
    """
    if name is not None:
        return [_search_row(results.of_searches, name, say)]
    names = results.searches()
    return _readable_rows(names, lambda one: _search_row(results.of_searches, one, say), say)


def _search_row(results: Results, name: str, say: Say) -> StatusRow:
    from orchestrator.search.kept import search_progress

    run_ids = read_plan(results, name).run_ids if results.plan(name).exists() else ()
    progress = search_progress(results, name)
    counts = _run_counts(results, run_ids, name, say)
    return {"name": name, **counts, "kind": "search", **progress._asdict()}


def judged_rows(results: Results, name: str | None, say: Say) -> list[StatusRow]:
    """The counts of each judgement in a results folder, or of the one named."""
    names = results.judgements() if name is None else [name]

    def row(one: str) -> StatusRow:
        plan = read_plan(results.of_judged, one)
        counts = _run_counts(results.of_judged, plan.run_ids, one, say)
        n_foreign = plan.judged.n_with_result if plan.judged is not None else 0
        n_recorded = int(counts["n_recorded"] or 0) + n_foreign
        return {"name": one, **counts, "kind": "judgement", "n_recorded": n_recorded}

    return _readable_rows(names, row, say)


def _run_counts(results: Results, run_ids: Sequence[str], name: str, say: Say) -> StatusRow:
    records = read_records(results, run_ids, say, move_aside=False, full=False)
    n_recorded = len(with_result(records))
    holder = current_holder(results, name)
    reserved = _reserved(results, set(run_ids) - with_result(records))
    sharing, elsewhere = [], 0
    for driver, n_runs in reserved.items():
        if (driver.kind, driver.name) != (results.kind, name):
            elsewhere += n_runs
        elif driver.shares:
            sharing.append((driver, n_runs))
    return {
        "n_planned": len(run_ids),
        "n_recorded": n_recorded,
        "n_diverged": sum(record["status"] == "diverged" for record in records.values()),
        "n_failed": len(records) - n_recorded,
        "n_running": holder.n_running if holder is not None else sum(n for _, n in sharing),
        "n_elsewhere": elsewhere,
        "n_steps_done": holder.n_steps_done if holder is not None else 0,
        "n_steps_to_train": holder.n_steps if holder is not None else 0,
        "driver": str(holder) if holder is not None else _sharing_text(sharing),
        "kind": "ablation",
    }


def _reserved(results: Results, run_ids: Collection[str]) -> Counter[Driver]:
    """Live driver → how many of these runs it has reserved."""
    return Counter(d for run_id, d in reserved_now(results).items() if run_id in run_ids)


def _sharing_text(sharing: Sequence[tuple[Driver, int]]) -> str | None:
    """The processes that share the work of an ablation; None without any."""
    texts = [f"process {one.pid} on {one.host} (since {one.since})" for one, _ in sharing]
    return "; ".join(texts) or None


_SHOWN = {
    "ablation": {
        "planned": "n_planned", "recorded": "n_recorded", "diverged": "n_diverged",
        "failed": "n_failed", "running": "n_running", "elsewhere": "n_elsewhere",
        "steps": "n_steps_done", "of": "n_steps_to_train", "driver": "driver",
    },
    "judgement": {
        "runs": "n_planned", "with a result": "n_recorded", "diverged": "n_diverged",
        "failed": "n_failed",
    },
    "search": {
        "candidates": "n_candidates", "done": "n_done", "failed": "n_failed_candidates",
        "to confirm": "n_planned", "confirmed": "n_recorded", "running": "n_running",
        "elsewhere": "n_elsewhere", "driver": "driver",
    },
}  # fmt: skip
_WHILE_SOMETHING_TRAINS = {"n_elsewhere", "n_steps_done", "n_steps_to_train"}


def print_status(console: Console, rows: Sequence[StatusRow]) -> None:
    """Print one row per ablation, and then one per search.

    Columns about what trains now are left out where nothing does.
    """
    if not rows:
        say_to(console)("no ablation or search has been run in this results folder yet")
        return
    for kind, shown in _SHOWN.items():
        of_kind = [row for row in rows if row["kind"] == kind]
        shown = {
            title: key
            for title, key in shown.items()
            if key not in _WHILE_SOMETHING_TRAINS or any(row[key] for row in of_kind)
        }
        cells = [
            tuple("–" if row[key] is None else row[key] for key in ("name", *shown.values()))
            for row in of_kind
        ]
        print_table(console, (kind, *shown), cells)
