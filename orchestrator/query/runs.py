"""Questions to the store: which runs there are, which ablations use them, and one run in full."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import JsonValue

from decoder.atomic import write_atomically
from decoder.complaints import did_you_mean
from decoder.config import config_paths
from decoder.entries import unused_paths
from decoder.errors import ConfigError, StorageError
from orchestrator.execute.command.logs import LOGS, log_end
from orchestrator.history.rows import imported_rows
from orchestrator.plan.document import PlanDocument
from orchestrator.query.conditions import check_against, parse_condition
from orchestrator.spec.units import is_error_rate
from orchestrator.store.ledger import read_history, read_records
from orchestrator.store.paths import Results
from orchestrator.store.plan_file import read_plan
from orchestrator.store.record import Record
from orchestrator.tables.csv_cells import csv_text
from orchestrator.tables.index import RunIndex, cells_table, extended, open_index, parquet_bytes
from orchestrator.tables.run_columns import HistoryRows
from orchestrator.tables.run_row import (
    SETTINGS,
    Cells,
    RunRow,
    parse_run_row,
    record_cells,
    varying_paths,
)
from orchestrator.terminal import Say, json_text

USED_BY = "ablations"  # a column made from the plans, only where it is asked for
_MOST_VARYING = 6  # configuration paths listed if the user chose no columns
_EVERY = "all"
_SHOWN_LINES = 15  # of what a trainer printed


@dataclass(frozen=True)
class Listing:
    """The runs that meet a condition.

    Attributes:
        columns: the columns of the rows.
        rows: one per run.
        n_matching: runs that meet the condition; `rows` may be fewer.
        n_runs: runs in the store.
    """

    columns: tuple[str, ...]
    rows: list[dict[str, JsonValue]]
    n_matching: int
    n_runs: int


class Use(NamedTuple):
    """An arm of an ablation that plans a run.

    Attributes:
        ablation, arm: their names.
        changes: config path → value, on top of the ablation's base.
    """

    ablation: str
    arm: str
    changes: Mapping[str, JsonValue]


@dataclass(frozen=True)
class RunDetails:
    """One run in full.

    Attributes:
        record, history: its record and its evaluations.
        cells: its row of the index; run: the same with types.
        from_default: config path → (default, value), where they differ.
        uses: the ablations that plan it.
        log: what the worker printed in which it failed; None if it did not, or none was kept.
        printed: what a trainer of the user's printed: file → its last lines.
    """

    record: Record
    history: HistoryRows
    cells: Cells
    run: RunRow
    from_default: Mapping[str, tuple[JsonValue, JsonValue]]
    uses: tuple[Use, ...]
    log: Path | None = None
    printed: Mapping[Path, Sequence[str]] = field(default_factory=dict)


def list_runs(
    results: Results,
    say: Say,
    *,
    where: str | None = None,
    sort: str | None = None,
    descending: bool = False,
    limit: int | None = None,
    columns: Sequence[str] = (),
) -> Listing:
    """The runs that meet a condition, imported ones included.

    Args:
        results: the results folder.
        say: receives a line for each record that cannot be trusted.
        where: the condition, see `orchestrator.query.conditions`; None takes every run.
        sort: a column; None keeps the order of the run ids. Missing values come last.
        descending: largest first.
        limit: how many rows at most.
        columns: the columns of the rows; ``all`` takes every one. Empty takes outcome, PER, seed
            and the configuration paths in which the runs differ.

    Raises:
        ConfigError: an unknown column, or a condition that cannot be parsed.
        StorageError: a record cannot be read.
    """
    index = extended(open_index(results, say), imported_rows(results, say))
    if not len(index):  # without runs no column is known
        return Listing(tuple(columns), [], 0, 0)
    known = [*index.names, USED_BY]
    chosen = tuple(index.names) if _EVERY in columns else tuple(dict.fromkeys(columns))
    problems = [
        f"{option}: there is no column '{name}'{did_you_mean(name, known)}"
        for option, names in (("--columns", chosen), ("--sort", (sort,) if sort else ()))
        for name in names
        if name not in known
    ]
    if problems:
        raise ConfigError(problems)
    condition = parse_condition(where, known) if where else None
    names = dict.fromkeys([*(condition.names if condition else ()), *((sort,) if sort else ())])
    rows = _cells(results, index, range(len(index)), list(names), say)
    if condition and (remark := check_against(condition, rows)):
        say(remark)
    matching = [at for at, row in enumerate(rows) if condition is None or condition.holds(row)]
    if sort:
        matching = _sorted(matching, {at: rows[at][sort] for at in matching}, descending)
    columns = chosen or _informative_columns(index, matching)
    shown = matching[:limit] if limit is not None else matching
    cells = _cells(results, index, shown, columns, say)
    return Listing(tuple(columns), cells, len(matching), len(index))


def export_runs(path: Path, listing: Listing) -> None:
    """Write a listing as ``.csv``, ``.parquet`` or ``.json``; lists and mappings as JSON.

    Raises:
        ConfigError: the file name ends otherwise.
        StorageError: the file cannot be written.
    """
    if path.suffix == ".csv":
        content = csv_text(listing.columns, listing.rows).encode("utf-8", "replace")
    elif path.suffix == ".json":
        content = json_text(listing.rows).encode() + b"\n"
    elif path.suffix == ".parquet":
        content = parquet_bytes(cells_table(listing.rows))
    else:
        raise ConfigError(f"--export {path}: must end in .csv, .parquet or .json")
    write_atomically(path, content)


def find_run(
    results: Results,
    run_id: str,
    say: Say,
    plans: Mapping[str, PlanDocument] | None = None,
) -> RunDetails:
    """One run, by its id or the first characters of it.

    Args:
        plans: name → plan of the ablations and searches that may use it; None reads all of them.

    Raises:
        ConfigError: no run, or several, begin with the text.
        StorageError: the record cannot be read, or cannot be trusted.
    """
    whole = complete_id(results, run_id)
    record = read_records(results, [whole], say, move_aside=False).get(whole)
    if record is None:
        raise StorageError(f"{results.record(whole)}: this record cannot be trusted")
    history = read_history(results, whole)
    cells = record_cells(record, history)
    run = parse_run_row(cells)
    defaults = {} if run.trainer else {p: marks.default for p, marks in config_paths().items()}
    of_parts = unused_paths(run.settings)
    changed = {
        path: (defaults.get(path), value)
        for path, value in run.settings.items()
        if value != defaults.get(path) and path not in of_parts
    }
    uses = tuple(
        Use(name, arm.arm_id, {**document.spec.set, **arm.changes})
        for name, document in (_plans(results, say) if plans is None else plans).items()
        for arm in document.arms
        if any((run.arm_id, run.run_id) == (arm.arm_id, whole) for run in document.runs)
    )
    log = results.failure_log(whole)
    failed_log = log if record["status"] == "failed" and log.is_file() else None
    return RunDetails(
        record, history, cells, run, changed, uses, failed_log, _printed(results, whole)
    )


def _printed(results: Results, run_id: str) -> dict[Path, list[str]]:
    """The end of what a trainer of the user's printed; {} for our own."""
    logs = (results.run(run_id) / name for name in LOGS)
    return {log: log_end(log, _SHOWN_LINES) for log in logs if log.is_file()}


def complete_id(results: Results, text: str) -> str:
    """The id of the one recorded run that begins with a text.

    Raises:
        ConfigError: there is none, or several.
    """
    if results.record(text).is_file():
        return text
    recorded = (path.parent.name for path in results.runs.glob("*/record.json"))
    matching = sorted(run_id for run_id in recorded if text and run_id.startswith(text))
    if len(matching) == 1:
        return matching[0]
    if not matching:
        raise ConfigError(f"{results.runs}: no run begins with '{text}'; `runs` lists them")
    listing = ", ".join(matching[:5]) + (", ..." if len(matching) > 5 else "")
    raise ConfigError(f"{results.runs}: {len(matching)} runs begin with '{text}': {listing}")


def _cells(
    results: Results, index: RunIndex, which: Sequence[int], names: Sequence[str], say: Say
) -> list[dict[str, JsonValue]]:
    rows = index.cells(which, [name for name in names if name != USED_BY])
    if USED_BY not in names:
        return rows
    users = _users(results, say)
    run_ids = [str(index.column("run_id")[at]) for at in which]
    cells = ({**row, USED_BY: users.get(i, [])} for i, row in zip(run_ids, rows, strict=True))
    return [{name: row[name] for name in names} for row in cells]


def _sorted(matching: Sequence[int], keys: Mapping[int, JsonValue], descending: bool) -> list[int]:
    """Numbers before other values, missing values last."""

    def key(at: int) -> tuple[bool, Any]:
        value = keys[at]
        is_number = isinstance(value, bool | int | float)
        return (not is_number, value if is_number else json.dumps(value, sort_keys=True))

    present = sorted((at for at in matching if keys[at] is not None), key=key, reverse=descending)
    return present + [at for at in matching if keys[at] is None]


def _informative_columns(index: RunIndex, which: Sequence[int]) -> list[str]:
    """Outcome, PER and seed, and the configuration paths in which these runs differ."""

    def varies(name: str) -> bool:
        column = index.column(name)
        return any(column[at] != column[which[0]] for at in which)

    def has_value(name: str) -> bool:
        return name in index.names and any(index.column(name)[at] is not None for at in which)

    fields = [name for name, marks in config_paths().items() if not marks.not_identity]
    fields += [n for n in index.names if n.startswith((SETTINGS, "parts.", "files."))]
    varying = [name for name in index.names if name in fields and varies(name)]
    paths = varying_paths(index.cells(which, varying))[:_MOST_VARYING]
    # Other error rates, which trainers of users report beside PER or in its place.
    others = [n for n in index.names if is_error_rate(n) and n.partition("_")[0] != "per"]
    rates = [name for name in ("per", "best_per", *others) if has_value(name)]
    shown = ["run_id", "outcome", *(rates or ("per", "best_per")), "seed"]
    return [*shown, *(["provenance"] if varies("provenance") else []), *paths]


def _plans(results: Results, say: Say) -> dict[str, PlanDocument]:
    """The plan of every ablation and search; one that cannot be read is reported and skipped."""
    plans = {}
    for place in (results, results.of_searches):
        for name in sorted(path.parent.name for path in place.ablations.glob("*/plan.json")):
            try:
                plans[name] = read_plan(place, name)
            except StorageError as error:
                say(str(error))
    return plans


def _users(results: Results, say: Say) -> dict[str, list[JsonValue]]:
    """Run id → the ablations that plan it."""
    used: dict[str, list[JsonValue]] = {}
    for name, document in _plans(results, say).items():
        for run_id in document.run_ids:
            used.setdefault(run_id, []).append(name)
    return used
