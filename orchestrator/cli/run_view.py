"""The lines that `run`, `report` and `status` print, and their documents for ``--json``."""

import json
import signal
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from rich.console import Console

from decoder.errors import StorageError
from orchestrator.driver.run import AblationOutcome
from orchestrator.plan.document import PlanDocument
from orchestrator.plan.judged import NOT_REGISTERED
from orchestrator.plan.looks import (
    DECIDED,
    STATE_TEXTS,
    State,
    next_look,
    rule_of_looks,
    spare_runs,
)
from orchestrator.report.verdict_rows import VerdictRow
from orchestrator.spec.claims import look_seeds
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
# A row of `claim_rows`.
ClaimRow = dict[str, str | int | None]
_PHASES = ("set_up", "data", "training", "reporting")


def not_needed_text(n_runs: int) -> str:
    """How many of the other runs are not needed; empty for none."""
    return f", {n_runs} not needed" if n_runs else ""


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
    counts += not_needed_text(outcome.n_not_needed)
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
        n_open = outcome.n_open
        ended = f"ended, {n_open} run{'s lack' if n_open != 1 else ' lacks'} a result"
    else:
        ended = "done" if outcome.is_reported else "done here, others train on"
    words = Counter(row["verdict"] for row in verdicts)
    said = ", ".join(f"{words[word]} {word}" for word in (*DECIDED, "inconclusive") if words[word])
    return "; ".join(
        [
            f"{outcome.name}: {ended}",
            f"{outcome.n_recorded} of {outcome.n_runs} runs{not_needed_text(outcome.n_not_needed)}",
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
    document = read_plan(results, name)
    counts = _run_counts(results, document.run_ids, name, say)
    spare = spare_runs(document)
    if spare:
        records = read_records(results, spare, say, move_aside=False, full=False)
        spare = spare - with_result(records)
    return {"name": name, **counts, "n_not_needed": len(spare)}


def claim_rows(results: Results, name: str | None) -> list[ClaimRow]:
    """What the looks decided of each claim, in ablations whose looks stop arms.

    ``state`` is one of `orchestrator.plan.looks.State`. ``look`` and ``n_seeds`` are those of the
    look that settled the claim; of an open claim, of the last look, and 0 before the first.
    ``n_seeds_complete`` counts the seeds with a result in every arm that the claim compares, and
    ``next_look_seeds`` is None of a claim that is settled.

    Args:
        name: the ablation; None for all.
    """
    every = sorted(path.parent.name for path in results.ablations.glob("*/plan.json"))
    rows: list[ClaimRow] = []
    for one in every if name is None else [name]:
        try:
            rows += _claims_of(results, read_plan(results, one))
        except StorageError:
            continue  # `status_rows` says so
    return rows


def _claims_of(results: Results, document: PlanDocument) -> Iterator[ClaimRow]:
    rule, taken = rule_of_looks(document), document.looks_taken
    if rule is None:
        return
    records = read_records(results, document.run_ids, lambda _: None, move_aside=False, full=False)
    done = with_result(records)
    known = {(run.arm_id, run.block) for run in document.runs if run.run_id in done}
    for claim, parts in document.compared.items():
        state = taken[-1].claims[claim] if taken else None
        is_open = state is None or state.state == "open"
        yield {
            "ablation": document.name,
            "hypothesis": claim,
            "state": "open" if state is None else state.state,
            "look": 0 if state is None else state.look,
            "n_looks": len(look_seeds(rule)),
            "n_seeds": 0 if state is None else state.n_seeds,
            "n_seeds_complete": sum(
                all((part.arm_id, seed) in known for part in parts) for seed in rule.seeds
            ),
            "next_look_seeds": next_look(document) if is_open else None,
        }


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
        "failed": "n_failed", "not needed": "n_not_needed", "running": "n_running",
        "elsewhere": "n_elsewhere",
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
_WHERE_THERE_ARE_ANY = {"n_not_needed", "n_elsewhere", "n_steps_done", "n_steps_to_train"}


def print_claims(console: Console, rows: Sequence[ClaimRow]) -> None:
    """Print which claims the looks decided, and how many seeds the open ones have."""
    if not rows:
        return
    cells = [
        (
            row["ablation"],
            row["hypothesis"],
            STATE_TEXTS[cast(State, row["state"])],
            _look_text(row),
            row["n_seeds_complete"],
        )
        for row in rows
    ]
    print_table(console, ("ablation", "claim", "state", "look", "seeds"), cells)


def _look_text(row: ClaimRow) -> str:
    place = f"{row['look']} of {row['n_looks']}, {row['n_seeds']} seeds"
    if row["next_look_seeds"] is None:
        return place
    at = f"next at {row['next_look_seeds']} seeds"
    return f"{place}; {at}" if row["look"] else at


def print_status(console: Console, rows: Sequence[StatusRow]) -> None:
    """Print one row per ablation, and then one per search.

    Columns about what trains now, and about runs that are not needed, are left out where there is
    none.
    """
    if not rows:
        say_to(console)("no ablation or search has been run in this results folder yet")
        return
    for kind, shown in _SHOWN.items():
        of_kind = [row for row in rows if row["kind"] == kind]
        shown = {
            title: key
            for title, key in shown.items()
            if key not in _WHERE_THERE_ARE_ANY or any(row[key] for row in of_kind)
        }
        cells = [
            tuple("–" if row[key] is None else row[key] for key in ("name", *shown.values()))
            for row in of_kind
        ]
        print_table(console, (kind, *shown), cells)
