"""The index of the ledger: every recorded run as a row of one table, so that questions are quick.

It is made from the records and is never the truth: a record whose file changed is read again, and
an index that is missing, damaged or of another format is made anew.
"""

import functools
import hashlib
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from decoder.atomic import write_atomically
from decoder.collapse import CollapseThresholds
from decoder.config import DecoderConfig, config_paths, flatten, identity
from decoder.errors import StorageError
from orchestrator.store.ledger import Record, read_history, read_records
from orchestrator.store.paths import Results
from orchestrator.tables.run_columns import HistoryRows, result_columns
from orchestrator.terminal import Say

Row = dict[str, Any]

_FORMAT = 1
_AT_ONCE = 4000  # records read between two writes of rows, for memory's sake
_SIZE, _MTIME = "_record_bytes", "_record_mtime_ns"
_PER_SESSION = "per_session"

# Columns of a row beside those of `result_columns` and the configuration's paths.
IDENTITY_COLUMNS = (
    *("run_id", "seed", "provenance", "config_id", "dataset", "dataset_path"),
    *("numerics_version", "decoder_sha256", "git_commit", "git_dirty", "numpy", "platform"),
)


@dataclass(frozen=True)
class RunIndex:
    """Every trustworthy record of a results folder, as columns; None where there is no value.

    Attributes:
        table: one row a run, in order of run id; values without a type of their own as JSON.
    """

    table: pa.Table
    _cache: dict[str, list[Any]] = field(default_factory=dict, compare=False)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def names(self) -> list[str]:
        """The columns, what identifies a run first, its configuration last."""
        return [name for name in self.table.column_names if name not in (_SIZE, _MTIME)]

    def column(self, name: str) -> list[Any]:
        """The values of one column, one a run."""
        if name not in self._cache:
            values = self.table.column(name).to_pylist()
            if name in _json_columns(self.table):
                values = [None if value is None else json.loads(value) for value in values]
            self._cache[name] = values
        return self._cache[name]

    def rows(self, which: Iterable[int], names: Sequence[str]) -> list[Row]:
        """The runs at these places, with the columns named."""
        columns = {name: self.column(name) for name in names}
        return [{name: column[at] for name, column in columns.items()} for at in which]

    def places(self) -> dict[str, int]:
        """Run id → its place in every column."""
        return {run_id: at for at, run_id in enumerate(self.column("run_id"))}


def open_index(results: Results, say: Say) -> RunIndex:
    """The index of a results folder, brought up to date first.

    Args:
        results: the ledger.
        say: receives a line for each record that cannot be trusted, and if the index cannot be
            kept, in which case the next call reads the records again.

    Raises:
        StorageError: a record cannot be read.
    """
    there = _stamps(results)
    known = _load(results)
    stamps: dict[str, tuple[int, int]] = {}
    if known is not None:
        columns = (known.column(name).to_pylist() for name in ("run_id", _SIZE, _MTIME))
        stamps = {run_id: (size, mtime) for run_id, size, mtime in zip(*columns, strict=True)}
    stale = [run_id for run_id, stamp in there.items() if stamps.get(run_id) != stamp]
    kept = [there.get(run_id) == stamp for run_id, stamp in stamps.items()]
    if len(stale) > _AT_ONCE:
        say(f"{len(stale):,} records are read into {results.index}, which takes a moment, once")
    parts = []
    for start in range(0, len(stale), _AT_ONCE):
        rows = _read_rows(results, stale[start : start + _AT_ONCE], there, say)
        parts += [rows_table(rows)] if rows else []
    if known is not None and not parts and all(kept):
        return RunIndex(known)
    if known is not None and any(kept):
        parts.insert(0, known.filter(pa.array(kept)))
    table = _joined(parts)
    if there or known is not None:
        _keep(results, table, say)
    return RunIndex(table)


def extended(index: RunIndex, rows: Sequence[Row]) -> RunIndex:
    """The index with further rows, such as runs trained elsewhere; it is not kept."""
    return RunIndex(_joined([index.table, rows_table(rows)])) if rows else index


def store_row(record: Record, history: HistoryRows) -> Row:
    """One run as a row of the index.

    Collapse is judged by the default thresholds, since a record belongs to no ablation. A field
    that a record lacks, having been written before there was such a field, has the field's
    default: what the code did then.

    Args:
        record: of the run.
        history: its evaluations.
    """
    environment = record.get("environment", {})
    code = environment.get("code") or {}
    flat, config_id = _configuration(json.dumps(record["config"]))
    row = {
        "run_id": record["run_id"],
        "seed": record["seed"],
        "provenance": record.get("provenance", "trained"),
        "config_id": config_id,
        "dataset": record["dataset"].get("fingerprint"),
        "dataset_path": record["dataset"].get("path"),
        "numerics_version": record.get("numerics_version"),
        "decoder_sha256": code.get("decoder_sha256"),
        "git_commit": code.get("git_commit"),
        "git_dirty": code.get("git_dirty"),
        "numpy": environment.get("numpy"),
        "platform": environment.get("platform"),
        **result_columns(record, history, CollapseThresholds()),
    }
    row |= {name: value for name, value in _further(record).items() if name not in row}
    row |= flat
    # NaN alone differs from itself.
    return {name: value if value == value else None for name, value in row.items()}


@functools.lru_cache(maxsize=4096)
def _configuration(text: str) -> tuple[Mapping[str, Any], str]:
    """The configuration path by path, and a digest of what in it can change a result.

    Args:
        text: the configuration as JSON, which the runs of an arm share.
    """
    nested = json.loads(text)
    try:
        config = DecoderConfig.model_validate(nested)
    except ValidationError:  # of other software: kept as it is
        flat = {
            f"{section}.{name}": value
            for section, fields in nested.items()
            if isinstance(fields, Mapping)
            for name, value in fields.items()
        }
        return flat, _digest(flat)
    return flatten(config), _digest(identity(config))


def _further(record: Record) -> Row:
    """What newer records hold beside the columns every one has: numbers, and PER by session."""
    known = ("schema", "history_sha256", "n_history_rows", "peak_memory_bytes", "error", "status")
    plain = {
        name: value
        for name, value in record.items()
        if name not in known and isinstance(value, bool | int | float | str)
    }
    beam = record.get("beam") or {}
    return plain | {"per_beam": beam.get("per"), _PER_SESSION: record.get(_PER_SESSION)}


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _stamps(results: Results) -> dict[str, tuple[int, int]]:
    """Run id → (bytes, modification time) of every record, in order of run id."""
    stamps = {}
    try:
        with os.scandir(results.runs) as folders:
            for folder in folders:
                try:
                    state = results.record(folder.name).stat()
                except (FileNotFoundError, NotADirectoryError):
                    continue  # a folder without a commit point, or one of the ledger's own files
                stamps[folder.name] = (state.st_size, state.st_mtime_ns)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise StorageError(f"{results.runs}: cannot be read: {error.strerror}") from None
    return dict(sorted(stamps.items()))


def _read_rows(
    results: Results, run_ids: Sequence[str], stamps: Mapping[str, tuple[int, int]], say: Say
) -> list[Row]:
    rows = []
    for run_id, record in read_records(results, run_ids, say, move_aside=False).items():
        size, mtime = stamps[run_id]
        row = store_row(record, read_history(results, run_id))
        rows.append({**row, _SIZE: size, _MTIME: mtime})
    return rows


def _load(results: Results) -> pa.Table | None:
    """The index as it was kept; None if there is none of this format, whatever the reason."""
    try:
        # Without threads: one still starting when a command ends aborts the process.
        file = pq.ParquetFile(io.BytesIO(results.index.read_bytes()), pre_buffer=False)
        table = file.read(use_threads=False)
        if (table.schema.metadata or {}).get(
            b"format"
        ) == _format() and _SIZE in table.schema.names:
            return table
    except (OSError, ValueError, KeyError, pa.ArrowException):
        pass
    return None


def _keep(results: Results, table: pa.Table, say: Say) -> None:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    try:
        write_atomically(results.index, buffer.getvalue())
    except StorageError as error:
        say(f"{error}; the next call reads the records again")


def _format() -> bytes:
    """Changes with this module's format and with the fields of the configuration."""
    fields = {path: [marks.default, marks.added] for path, marks in config_paths().items()}
    return f"{_FORMAT} {_digest(fields)}".encode()


def rows_table(rows: Sequence[Row]) -> pa.Table:
    """Rows as columns; a column of several types, or of lists, as JSON."""
    names = dict.fromkeys(name for row in rows for name in row)
    arrays, as_json = {}, []
    for name in names:
        values = [row.get(name) for row in rows]
        kinds = set(map(type, values)) - {type(None)}
        if len(kinds) > 1 or not kinds <= {bool, int, float, str}:
            as_json.append(name)
            arrays[name] = _json_array(values)
        else:
            arrays[name] = pa.array(values)
    return _with_metadata(pa.table(arrays), as_json)


def _json_array(values: Sequence[Any]) -> pa.Array:
    return pa.array([None if v is None else json.dumps(v) for v in values], pa.string())


def _with_metadata(table: pa.Table, as_json: Sequence[str]) -> pa.Table:
    metadata = {b"format": _format(), b"json": json.dumps(sorted(as_json)).encode()}
    return table.replace_schema_metadata(metadata)


def _json_columns(table: pa.Table) -> frozenset[str]:
    return frozenset(json.loads((table.schema.metadata or {}).get(b"json", b"[]")))


def _joined(parts: Sequence[pa.Table]) -> pa.Table:
    """The rows of all parts in order of run id; a column whose types disagree becomes JSON."""
    if not parts:
        empty = {name: pa.array([], pa.string()) for name in (*IDENTITY_COLUMNS, "outcome", "per")}
        return _with_metadata(pa.table({**empty, _SIZE: [], _MTIME: []}), [])
    names = dict.fromkeys(name for part in parts for name in part.column_names)
    as_json = frozenset[str]().union(*(_json_columns(part) for part in parts))
    types: dict[str, set[pa.DataType]] = {
        name: {part.schema.field(name).type for part in parts if name in part.schema.names}
        - {pa.null()}
        for name in names
    }
    as_json |= {name for name, found in types.items() if len(found) > 1}
    ordered = sorted(names, key=lambda name: ("." in name, name in (_SIZE, _MTIME)))
    alike = [
        pa.table({name: _column(part, name, name in as_json, types[name]) for name in ordered})
        for part in parts
    ]
    return _with_metadata(pa.concat_tables(alike).sort_by("run_id"), sorted(as_json))


def _column(part: pa.Table, name: str, as_json: bool, types: set[pa.DataType]) -> Any:
    if name not in part.schema.names:
        kind = pa.string() if as_json else next(iter(types), pa.null())
        return pa.nulls(part.num_rows, kind)
    if as_json and name not in _json_columns(part):
        return _json_array(part.column(name).to_pylist())
    column = part.column(name)
    return column.cast(next(iter(types))) if len(types) == 1 else column
