"""Questions to the store: which runs there are, which ablations use them, and one run in full."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from decoder.atomic import write_atomically
from decoder.collapse import CollapseThresholds
from decoder.complaints import did_you_mean
from decoder.config import config_paths
from decoder.errors import ConfigError, StorageError
from orchestrator.history.rows import imported_rows
from orchestrator.plan.document import ArmEntry, PlanDocument
from orchestrator.query.where import parse_condition
from orchestrator.store.ledger import read_history, read_records
from orchestrator.store.paths import Results
from orchestrator.store.plan_file import read_plan
from orchestrator.tables.index import Row, RunIndex, extended, open_index, rows_table, store_row
from orchestrator.tables.run_columns import leader_of
from orchestrator.terminal import Say, json_text

USED_BY = "ablations"  # a column made from the plans, where it is asked for
_ALWAYS = ("run_id", "outcome", "per", "best_per", "seed")
_MOST_VARYING = 6  # configuration paths listed where nobody chose
_EVERY = "all"


@dataclass(frozen=True)
class Listing:
    """Runs that were asked for.

    Attributes:
        columns: what is told of each.
        rows: one a run.
        n_matching: runs that met the condition; `rows` may be fewer.
        n_runs: runs in the store.
    """

    columns: tuple[str, ...]
    rows: list[Row]
    n_matching: int
    n_runs: int


@dataclass(frozen=True)
class Use:
    """A planned run that is this one.

    Attributes:
        ablation: its name; arm: the arm there.
        changes: config path → value, on top of the ablation's base.
    """

    ablation: str
    arm: str
    changes: Mapping[str, Any]


@dataclass(frozen=True)
class Found:
    """One run in full.

    Attributes:
        record: its record; history: its evaluations; row: its row of the index.
        from_default: config path → (default, value), where they differ.
        uses: the ablations that planned it.
    """

    record: Mapping[str, Any]
    history: Sequence[Mapping[str, float]]
    row: Row
    from_default: Mapping[str, tuple[Any, Any]]
    uses: tuple[Use, ...]


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
    """The runs that meet a condition, those that were imported too.

    Args:
        results: the ledger.
        say: receives a line for each record that cannot be trusted.
        where: the condition, see `orchestrator.query.where`; None takes every run.
        sort: a column; None keeps the order of the run ids. Missing values come last.
        descending: largest first.
        limit: most rows.
        columns: what is told of each run; ``all`` for everything. Left out: outcome, PER, seed
            and those configuration paths in which the runs differ.

    Raises:
        ConfigError: an unknown column or a condition that is not understood.
        StorageError: a record cannot be read.
    """
    index = extended(open_index(results, say), imported_rows(results, say))
    if not len(index):  # nothing tells which columns there will be
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
    rows = _rows(results, index, range(len(index)), list(names), say)
    matching = [at for at, row in enumerate(rows) if condition is None or condition.holds(row)]
    if sort:
        keys = {at: rows[at][sort] for at in matching}
        matching = _sorted(matching, keys, descending)
    columns = chosen or _telling_columns(index, matching)
    shown = matching[:limit] if limit is not None else matching
    return Listing(
        tuple(columns), _rows(results, index, shown, columns, say), len(matching), len(index)
    )


def export_runs(path: Path, listing: Listing) -> None:
    """Write a listing as ``.csv``, ``.parquet`` or ``.json``; lists and mappings as JSON.

    Raises:
        ConfigError: another ending.
        StorageError: it cannot be written.
    """
    if path.suffix == ".csv":
        content = csv_text(listing.columns, listing.rows).encode()
    elif path.suffix == ".json":
        content = json_text(listing.rows).encode() + b"\n"
    elif path.suffix == ".parquet":
        buffer = io.BytesIO()
        table = rows_table([{name: row[name] for name in listing.columns} for row in listing.rows])
        pq.write_table(table, buffer)
        content = buffer.getvalue()
    else:
        raise ConfigError(f"--export {path}: must end in .csv, .parquet or .json")
    write_atomically(path, content)


def csv_text(columns: Sequence[str], rows: Sequence[Row]) -> str:
    """Rows as CSV; nothing for a missing value, JSON for lists and mappings."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        values = (row[name] for name in columns)
        writer.writerow(json.dumps(v) if isinstance(v, list | dict) else v for v in values)
    return out.getvalue()


def find_run(results: Results, run_id: str, say: Say) -> Found:
    """One run by its id, or the beginning of it.

    Raises:
        ConfigError: no run, or several, begin so; or the record cannot be trusted.
        StorageError: it cannot be read.
    """
    whole = complete_id(results, run_id)
    record = read_records(results, [whole], say, move_aside=False).get(whole)
    if record is None:
        raise StorageError(f"{results.record(whole)}: holds no record that can be trusted")
    history = read_history(results, whole)
    row = store_row(record, history)
    defaults = {path: marks.default for path, marks in config_paths().items()}
    changed = {
        name: (defaults.get(name), value)
        for name, value in row.items()
        if "." in name and value != defaults.get(name)
    }
    uses = tuple(
        Use(name, arm.arm_id, {**document.spec.set, **arm.changes})
        for name, document in _plans(results, say).items()
        for arm in _arms_of(document, whole)
    )
    return Found(record, history, row, changed, uses)


def complete_id(results: Results, text: str) -> str:
    """The one recorded run whose id begins so.

    Raises:
        ConfigError: there is none, or several.
    """
    if results.record(text).is_file():
        return text
    found = sorted(path.parent.name for path in results.runs.glob("*/record.json"))
    found = [run_id for run_id in found if text and run_id.startswith(text)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise ConfigError(f"{results.runs}: no run begins with '{text}'; `runs` lists them")
    listing = ", ".join(found[:5]) + (", ..." if len(found) > 5 else "")
    raise ConfigError(f"{results.runs}: {len(found)} runs begin with '{text}': {listing}")


def default_thresholds() -> CollapseThresholds:
    """What the outcomes of a listing were judged by."""
    return CollapseThresholds()


def _rows(
    results: Results, index: RunIndex, which: Sequence[int], names: Sequence[str], say: Say
) -> list[Row]:
    rows = index.rows(which, [name for name in names if name != USED_BY])
    if USED_BY in names:
        used = _users(results, say)
        run_ids = index.column("run_id")
        rows = [
            {**row, USED_BY: used.get(run_ids[at], [])} for at, row in zip(which, rows, strict=True)
        ]
    return rows


def _sorted(matching: Sequence[int], keys: Mapping[int, Any], descending: bool) -> list[int]:
    """By value, missing ones last; values of several types by type first."""

    def key(at: int) -> tuple[bool, Any]:
        value = keys[at]
        is_number = isinstance(value, bool | int | float)
        return (not is_number, value if is_number else json.dumps(value, sort_keys=True))

    present = sorted((at for at in matching if keys[at] is not None), key=key, reverse=descending)
    return present + [at for at in matching if keys[at] is None]


def _telling_columns(index: RunIndex, which: Sequence[int]) -> list[str]:
    """Outcome, PER and seed, and the configuration paths in which these runs differ."""
    origins = {index.column("provenance")[at] for at in which}
    marks = config_paths()
    varying = []
    for name in index.names:
        if "." in name and name in marks and not marks[name].not_identity:
            column = index.column(name)
            first = column[which[0]] if which else None
            if any(column[at] != first for at in which) and not _follows(name, index, which):
                varying.append(name)
    always = [*_ALWAYS, "provenance"] if len(origins) > 1 else _ALWAYS
    return [*always, *varying[:_MOST_VARYING]]


def _follows(path: str, index: RunIndex, which: Sequence[int]) -> bool:
    """Whether a field only repeats the one it is filled from, as the day layers' rate may."""
    leader = leader_of(path)
    if leader is None or leader not in index.names:
        return False
    own, others = index.column(path), index.column(leader)
    return all(own[at] == others[at] for at in which)


def _plans(results: Results, say: Say) -> dict[str, PlanDocument]:
    """The plan of every ablation and search; one that cannot be read is said and passed over."""
    plans = {}
    for place in (results, results.of_searches):
        for name in sorted(path.parent.name for path in place.ablations.glob("*/plan.json")):
            try:
                plans[name] = read_plan(place, name)
            except StorageError as error:
                say(str(error))
    return plans


def _users(results: Results, say: Say) -> dict[str, list[str]]:
    """Run id → the ablations that planned it."""
    used: dict[str, list[str]] = {}
    for name, document in _plans(results, say).items():
        for run_id in document.run_ids:
            used.setdefault(run_id, []).append(name)
    return used


def _arms_of(document: PlanDocument, run_id: str) -> list[ArmEntry]:
    ids = {run.arm_id for run in document.runs if run.run_id == run_id}
    return [arm for arm in document.arms if arm.arm_id in ids]
