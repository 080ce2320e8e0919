"""The index of the ledger: one table with a row per recorded run, so that questions are quick.

It is a cache of the records: a record whose file changed is read again, and an index that is
missing, damaged or of another format is rebuilt.
"""

import errno
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import JsonValue

from decoder.atomic import sha256_of, write_atomically
from decoder.config import config_paths, digest
from decoder.errors import StorageError
from decoder.regular import is_regular, read_regular
from orchestrator.store.former import mark_damaged
from orchestrator.store.ledger import read_history, read_records
from orchestrator.store.paths import Results
from orchestrator.tables.run_row import Cells, RunRow, parse_run_row, record_cells
from orchestrator.terminal import Say

_FORMAT = 4
_AT_ONCE = 4000  # records per part of the table while it is built, to save memory
_SIZE, _MTIME = "_record_bytes", "_record_mtime_ns"
_ALWAYS = ("run_id", "outcome", "per")  # columns of a table without rows


@dataclass(frozen=True)
class RunIndex:
    """Every trustworthy record of a results folder, as columns; None where there is no value.

    Attributes:
        table: one row per run, in order of run id; values that are neither text nor number as JSON.
    """

    table: pa.Table
    _cache: dict[str, list[JsonValue]] = field(default_factory=dict, compare=False)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def names(self) -> list[str]:
        """The columns: what identifies a run, its results, its configuration."""
        return [name for name in self.table.column_names if name not in (_SIZE, _MTIME)]

    def column(self, name: str) -> list[JsonValue]:
        """The values of one column, one per run."""
        if name not in self._cache:
            values = self.table.column(name).to_pylist()
            if name in _json_columns(self.table):
                values = [None if value is None else json.loads(value) for value in values]
            self._cache[name] = values
        return self._cache[name]

    def cells(self, which: Iterable[int], names: Sequence[str]) -> list[dict[str, JsonValue]]:
        """The named columns of the runs at these positions."""
        columns = {name: self.column(name) for name in names}
        return [{name: column[at] for name, column in columns.items()} for at in which]

    def positions(self) -> dict[str, int]:
        """Run id → its position in every column."""
        return {str(run_id): at for at, run_id in enumerate(self.column("run_id"))}

    def runs(self, which: Iterable[int]) -> list[RunRow]:
        """The runs at these positions, with types."""
        return [parse_run_row(cells) for cells in self.cells(which, self.names)]


def open_index(results: Results, say: Say) -> RunIndex:
    """The index of a results folder, brought up to date first.

    Args:
        say: receives a line for each record that cannot be trusted, and one if the index cannot be
            written, in which case the next call reads the records again.

    Raises:
        StorageError: a record cannot be read.
    """
    known = _load(results)
    table = _up_to_date(results, known, say)
    if table is not known and (len(table) or known is not None):
        _write(results, table, say)
    return RunIndex(table)


def read_index(results: Results, say: Say, known: RunIndex | None = None) -> RunIndex:
    """The index of a results folder, brought up to date in memory; nothing is written.

    Args:
        say: as in `open_index`.
        known: what an earlier call returned: only records that changed since are read. It is
            returned itself if none did.

    Raises:
        StorageError: a record cannot be read.
    """
    before = _load(results) if known is None else known.table
    table = _up_to_date(results, before, say)
    return known if known is not None and table is before else RunIndex(table)


def _up_to_date(results: Results, known: pa.Table | None, say: Say) -> pa.Table:
    """The table of every record that can be trusted; `known` itself if nothing changed."""
    on_disk = _stamps(results)
    stamps: dict[str, tuple[int, int]] = {}
    if known is not None:
        columns = (known.column(name).to_pylist() for name in ("run_id", _SIZE, _MTIME))
        stamps = {run_id: (size, mtime) for run_id, size, mtime in zip(*columns, strict=True)}
    stale = [run_id for run_id, stamp in on_disk.items() if stamps.get(run_id) != stamp]
    current = [on_disk.get(run_id) == stamp for run_id, stamp in stamps.items()]
    if len(stale) > _AT_ONCE:
        say(f"{results.index}: reading {len(stale):,} records into the index; this happens once")
    parts = []
    for start in range(0, len(stale), _AT_ONCE):
        rows = _read_cells(results, stale[start : start + _AT_ONCE], on_disk, say)
        parts += [cells_table(rows)] if rows else []
    if known is not None and not parts and all(current):
        return known
    if known is not None and any(current):
        parts.insert(0, known.filter(pa.array(current)))
    return _concatenated(parts)


def extended(index: RunIndex, rows: Sequence[Cells]) -> RunIndex:
    """The index with further rows, such as imported runs; nothing is written."""
    return RunIndex(_concatenated([index.table, cells_table(rows)])) if rows else index


def cells_table(rows: Sequence[Cells]) -> pa.Table:
    """Rows as columns; a column of several types, or of lists or mappings, as JSON."""
    arrays, as_json = {}, []
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row.get(name) for row in rows]
        types = set(map(type, values)) - {type(None)}
        if len(types) > 1 or not types <= {bool, int, float, str}:
            as_json.append(name)
            arrays[name] = _json_array(values)
        else:
            arrays[name] = pa.array(values)
    return _with_metadata(pa.table(arrays), as_json)


def parquet_bytes(table: pa.Table, compression: str = "snappy") -> bytes:
    """The table as a Parquet file."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression=compression)
    return buffer.getvalue()


def _stamps(results: Results) -> dict[str, tuple[int, int]]:
    """Run id → (bytes, modification time) of every record, in order of run id."""
    stamps = {}
    try:
        with os.scandir(results.runs) as folders:
            for folder in folders:
                try:
                    state = results.record(folder.name).lstat()
                except OSError as error:
                    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                        continue  # not recorded yet, or one of the ledger's own files
                    raise
                stamps[folder.name] = (state.st_size, state.st_mtime_ns)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise StorageError(f"{results.runs}: cannot be read: {error.strerror}") from None
    return dict(sorted(stamps.items()))


def _read_cells(
    results: Results, run_ids: Sequence[str], stamps: Mapping[str, tuple[int, int]], say: Say
) -> list[Cells]:
    rows: list[Cells] = []
    for run_id, record in read_records(results, run_ids, say, move_aside=False).items():
        size, mtime = stamps[run_id]
        cells = record_cells(record, read_history(results, run_id))
        rows.append({**cells, _SIZE: size, _MTIME: mtime})
    return rows


def _load(results: Results) -> pa.Table | None:
    """The index on disk; None if there is none of this format, whatever the reason."""
    try:
        # Without threads: one that is still starting when a command ends aborts the process.
        content = read_regular(results.index)
        if sha256_of(content).encode() != read_regular(results.index_checksum):
            return None
        file = pq.ParquetFile(io.BytesIO(content), pre_buffer=False)
        table = file.read(use_threads=False)
    except (OSError, ValueError, KeyError, pa.ArrowException):
        return None
    metadata = table.schema.metadata or {}
    return table if metadata.get(b"format") == _format() and _SIZE in table.schema.names else None


def _write(results: Results, table: pa.Table, say: Say) -> None:
    try:
        places = (results.index, results.index_checksum)
        mark_damaged(path for path in places if not is_regular(path))
        content = parquet_bytes(table, "zstd")
        write_atomically(results.index, content)
        write_atomically(results.index_checksum, sha256_of(content).encode())
    except StorageError as error:
        say(f"{error}; the next call reads the records again")


def _format() -> bytes:
    """Changes with this module's format, and with the fields of the configuration."""
    fields = {path: [marks.default, marks.added] for path, marks in config_paths().items()}
    return f"{_FORMAT} {digest(fields)[:16]}".encode()


def _json_array(values: Sequence[JsonValue]) -> pa.Array:
    return pa.array([None if v is None else json.dumps(v) for v in values], pa.string())


def _with_metadata(table: pa.Table, as_json: Sequence[str]) -> pa.Table:
    metadata = {b"format": _format(), b"json": json.dumps(sorted(as_json)).encode()}
    return table.replace_schema_metadata(metadata)


def _json_columns(table: pa.Table) -> frozenset[str]:
    return frozenset(json.loads((table.schema.metadata or {}).get(b"json", b"[]")))


def _concatenated(parts: Sequence[pa.Table]) -> pa.Table:
    """The rows of all parts in order of run id; a column whose types disagree becomes JSON."""
    if not parts:
        empty = {name: pa.array([], pa.string()) for name in _ALWAYS}
        return _with_metadata(pa.table({**empty, _SIZE: [], _MTIME: []}), [])
    types: dict[str, set[pa.DataType]] = {}
    for column in (column for part in parts for column in part.schema):
        types.setdefault(column.name, set()).add(column.type)
    as_json = frozenset[str]().union(*(_json_columns(part) for part in parts))
    as_json |= {name for name, of_name in types.items() if len(of_name - {pa.null()}) > 1}
    alike = [_with_json(part, as_json) for part in parts]
    table = pa.concat_tables(alike, promote_options="default")  # a missing column becomes null
    ordered = sorted(types, key=lambda name: ("." in name, name in (_SIZE, _MTIME)))
    return _with_metadata(table.select(ordered).sort_by("run_id"), sorted(as_json))


def _with_json(part: pa.Table, names: Iterable[str]) -> pa.Table:
    """The table with these columns as JSON, as far as it has them."""
    for name in frozenset(names) & frozenset(part.column_names) - _json_columns(part):
        column = _json_array(part.column(name).to_pylist())
        part = part.set_column(part.column_names.index(name), name, column)
    return part
