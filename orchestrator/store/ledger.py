"""The ledger: one record and one history per run, shared by every ablation.

Only `write_run` writes a record, and only `orchestrator.execute.recording` and
`orchestrator.execute.exported_results` call it.
``history.csv`` is written first, and ``record.json`` commits the run. A record that is damaged is
renamed and reported, and its run is trained again.
"""

import csv
import errno
import io
import math
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime

from decoder.atomic import sha256_of, sync_folder, write_atomically
from decoder.errors import StorageError
from decoder.pack import (
    HELD_OUT_WORD_COLUMNS,
    HISTORY_COLUMNS,
    WORD_COLUMNS,
    HistoryRow,
    RunResult,
    further_columns,
)
from decoder.regular import NotRegularError, read_regular
from orchestrator.spec.configuration import (
    Configuration,
    document_of,
    is_command,
    numerics_version,
    parse_document,
)
from orchestrator.store.former import bring_back, keep_former, mark_damaged
from orchestrator.store.locks import file_lock
from orchestrator.store.paths import HISTORY_NAME, RECORD_NAME, Results
from orchestrator.store.record import (
    SCHEMA,
    Damaged,
    Record,
    RecordDataset,
    RecordEnvironment,
    RecordHeldOut,
    RecordHistory,
    RecordPack,
    parse_record,
    sealed,
)
from orchestrator.store.sources import source_of, training_sha256
from orchestrator.terminal import Say

# Columns of a history that are whole numbers.
COUNTS = frozenset(
    {
        *("step", "n_edits", "n_reference", "n_edits_even", "n_reference_even", "n_distinct"),
        *(name for name in (*WORD_COLUMNS, *HELD_OUT_WORD_COLUMNS) if name.startswith("n_")),
    }
)
_LOCK_SECONDS = 60.0
_MOST_RECENT = 500
# Far more than any record or history has; a larger file is not read.
_RECORD_BYTES, _HISTORY_BYTES = 2**25, 2**30


def make_record(
    run_id: str,
    config: Configuration,
    seed: int,
    dataset: RecordDataset,
    pack: RecordPack,
    ended: RunResult | str,
    host: dict[str, str | int],
    environment: RecordEnvironment,
    replicate: int = 0,
    ending: str = "",
) -> tuple[Record, tuple[HistoryRow, ...]]:
    """Make the record and the history of a run that ended.

    Args:
        pack: the pack it was trained in; a result replaces ``n_runs``.
        ended: the result, or the traceback of an infrastructure failure.
        replicate: as in `decoder.config.run_id`.
        ending: the rule by which a trainer of the user's failed; a result has its own.
    """
    result = None if isinstance(ended, str) else ended
    history = result.history if result else ()
    of_history = sealed_history(history)
    n_sharing = result.n_runs_in_pack if result else pack["n_runs"]
    pack_seconds = float(result.pack_seconds) if result else 0.0
    status = result.status if result else "failed"
    record: Record = {
        "schema": SCHEMA,
        "run_id": run_id,
        "seed": seed,
        "config": document_of(config),
        "dataset": dataset,
        "numerics_version": numerics_version(config),
        "status": status,
        "diverged_step": result.n_steps_done if result and status == "diverged" else None,
        "error": None if result else str(ended),
        "n_steps_done": result.n_steps_done if result else 0,
        "n_parameters": result.n_parameters if result else 0,
        "n_dropped_trials": result.n_dropped_trials if result else 0,
        "pack": {"pack_id": pack["pack_id"], "n_runs": n_sharing},
        "timing": {
            "pack_seconds": pack_seconds,
            "run_seconds": pack_seconds / n_sharing,
            "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        },
        "host": {**host, "device": result.device} if result else host,
        "environment": environment,
        "peak_memory_bytes": result.peak_memory_bytes if result else 0,
        "grad_norm_quantiles": dict(result.grad_norm_quantiles) if result else None,
        "per_session": (
            {name: list(counts) for name, counts in result.per_session.items()} if result else None
        ),
        "confusions": [list(triple) for triple in result.confusions] if result else None,
        "beam": dict(result.beam) if result else None,
        "n_skipped_steps": result.n_skipped_steps if result else 0,
        "history_sha256": of_history["history_sha256"],
        "n_history_rows": of_history["n_history_rows"],
    }
    if replicate:
        record["replicate"] = replicate
    if ending := result.ending if result else ending:
        record["ending"] = ending
    if result and result.n_train_trials:
        record["n_train_trials"] = result.n_train_trials
        record["n_train_sessions"] = result.n_train_sessions
    if result and result.held_out:
        record["held_out"] = {
            name: RecordHeldOut(**errors) for name, errors in result.held_out.items()
        }
    if result and result.words:
        record["words"] = dict(result.words)
    return record, tuple(history)


def sealed_history(history: Sequence[HistoryRow]) -> RecordHistory:
    """The part of a record by which its history is checked."""
    return {"history_sha256": sha256_of(history_csv(history)), "n_history_rows": len(history)}


def write_run(
    results: Results, record: Record, history: Sequence[HistoryRow], *, replaces: bool = False
) -> bool:
    """Commit one run to the ledger.

    An existing result of the same sources is kept, since a run is computed once. One of other
    sources is kept in a folder of its own, see `keep_former`. An existing failure is replaced.

    Args:
        replaces: whether a result is replaced, too, as by one that was read again.

    Returns:
        Whether the run was written.

    Raises:
        StorageError: there is no space, no permission, or the lock is held; names path and bytes.
    """
    run_id = record["run_id"]
    content = sealed(record)
    rows = history_csv(history)
    assert record["history_sha256"] == sha256_of(rows)
    with _ledger_lock(results, len(content) + len(rows)):
        try:
            present = _read(results, run_id)
        except Damaged:
            present = None  # about to be replaced
            _rename_damaged(results, run_id)
        if present is not None and present["status"] != "failed":
            if source_of_record(present) == source_of_record(record) and not replaces:
                return False
            keep_former(results, run_id, source_of_record(present))
            results.record(run_id).unlink()  # it does not belong to the history written next
        write_atomically(results.history(run_id), rows)
        write_atomically(results.record(run_id), content)
        sync_folder(results.runs)
    return True


def read_records(
    results: Results, wanted: Iterable[str], say: Say, *, move_aside: bool = True, full: bool = True
) -> dict[str, Record]:
    """The undamaged records among the ids `wanted`, including those of failed runs.

    Args:
        say: receives one line for each damaged record, such as one whose history does not match.
        move_aside: whether a damaged record is renamed, so that its run can be trained again.
        full: whether the errors by session and phoneme are kept, which take most memory.

    Raises:
        StorageError: a record cannot be read or renamed.
    """
    present = _present(results)
    records = {}
    for run_id in (one for one in dict.fromkeys(wanted) if one in present):
        try:
            record = _read(results, run_id)
        except Damaged as error:
            if move_aside:
                record = _move_aside(results, run_id, say)
            else:
                say(f"{results.record(run_id)}: {error}; `run` trains this run again")
                continue
        if record is not None:
            if not full:
                record["per_session"] = record["confusions"] = None
            records[run_id] = record
    return records


def read_former(results: Results, run_id: str, source: str) -> Record | None:
    """The record of a run as earlier sources made it; None if none is kept, or it is damaged."""
    try:
        return _read(results, run_id, former=source)
    except Damaged:
        return None


def restore_former(results: Results, record: Record) -> None:
    """Put a record that `read_former` gave in the place of the present one, which is kept."""
    run_id = record["run_id"]
    with _ledger_lock(results, 0):
        try:
            present = _read(results, run_id)
        except Damaged:
            present = None
            _rename_damaged(results, run_id)
        if present is not None:
            keep_former(results, run_id, source_of_record(present))
        bring_back(results, run_id, source_of_record(record))


def set_aside(results: Results, record: Record) -> None:
    """Keep a record among the former ones of its run, so that the run is trained again."""
    with _ledger_lock(results, 0):
        keep_former(results, record["run_id"], source_of_record(record))
        results.record(record["run_id"]).unlink(missing_ok=True)


def with_result(records: Mapping[str, Record]) -> frozenset[str]:
    """The ids of the runs with a result; the others, which failed, need training."""
    return frozenset(r for r, record in records.items() if record["status"] != "failed")


def source_of_record(record: Record) -> str:
    """The id of the sources that trained a run, see `orchestrator.store.sources.source_of`.

    The code of a command is part of its run id, so those of one id are never of different sources.
    """
    if is_command(record["config"]):
        return training_sha256()
    return source_of(record["environment"].get("code", {}))


def config_of(record: Record) -> Configuration | None:
    """The configuration of a record; None if other software or another version wrote it."""
    return parse_document(record["config"])


def read_history(results: Results, run_id: str) -> list[HistoryRow]:
    """The evaluations of a recorded run, exactly as written, so without columns added since.

    Raises:
        StorageError: the history is missing or malformed.
    """
    path = results.history(run_id)
    try:
        text = read_regular(path, _HISTORY_BYTES).decode()
        names, *rows = csv.reader(io.StringIO(text))
        numbers = [_count if name in COUNTS else float for name in names]
        return [
            {name: number(value) for name, number, value in zip(names, numbers, row, strict=True)}
            for row in rows
        ]
    except (OSError, ValueError, csv.Error) as error:
        raise StorageError(f"{path}: the history cannot be read: {error}") from None


def _count(text: str) -> float:
    return float(text) if text == "nan" else int(text)


def history_csv(history: Sequence[HistoryRow]) -> bytes:
    """The history as CSV: `HISTORY_COLUMNS`, then the columns that only some runs have.

    Every number reads back exactly. Counts are written as integers; one that is not known is NaN.
    """
    names = (*HISTORY_COLUMNS, *further_columns(history[:1]))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    for row in history:
        assert row.keys() == set(names), row.keys() ^ set(names)
        writer.writerow(_number_text(name, row[name]) for name in names)
    return out.getvalue().encode()


def _number_text(name: str, value: float) -> str:
    return repr(int(value) if name in COUNTS and math.isfinite(value) else float(value))


def recent_records(results: Results, most: int = _MOST_RECENT) -> tuple[Record, ...]:
    """The records of the `most` newest runs of any ablation, newest first, without damaged ones."""
    found = []
    changed = {}
    for name in _present(results):
        with suppress(OSError):  # a run that was removed, or that is no folder
            state = results.run(name).stat()
            if stat.S_ISDIR(state.st_mode):
                changed[name] = state.st_mtime
    for run_id in sorted(changed, key=lambda name: changed[name], reverse=True)[:most]:
        try:
            record = _read(results, run_id)
        except Damaged:
            continue  # reported by the commands on the ablation it belongs to
        if record is not None:
            found.append(record)
    return tuple(found)


def _present(results: Results) -> frozenset[str]:
    """The names of everything in the folder of runs."""
    try:
        return frozenset(os.listdir(results.runs))  # noqa: PTH208 (a quarter of the time)
    except FileNotFoundError:
        return frozenset()
    except OSError as error:
        raise StorageError(f"{results.runs}: cannot be read: {error.strerror}") from None


def _read(results: Results, run_id: str, former: str = "") -> Record | None:
    folder = results.former(run_id, former) if former else results.run(run_id)
    path, of_rows = folder / RECORD_NAME, folder / HISTORY_NAME
    try:
        record = parse_record(read_regular(path, _RECORD_BYTES), run_id)
        rows = read_regular(of_rows, _HISTORY_BYTES)
    except FileNotFoundError as error:
        if error.filename == str(of_rows):
            raise Damaged("has no history") from None
        if folder.is_symlink() and not folder.exists():
            raise Damaged("is in a folder that is a broken link") from None
        return None  # not committed
    except NotRegularError as error:
        of_history = "" if error.filename == str(path) else "has a history that "
        raise Damaged(f"{of_history}{error.strerror}") from None
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ELOOP):
            raise Damaged("is in something that is no folder") from None
        raise StorageError(f"{path}: cannot be read: {error.strerror or error}") from None
    if record["history_sha256"] != sha256_of(rows):
        raise Damaged("has a history that does not match its checksum")
    n_rows = rows.count(b"\n") - 1
    if record["n_history_rows"] != n_rows:
        raise Damaged(f"has a history of {n_rows} rows, but names {record['n_history_rows']}")
    return record


def _move_aside(results: Results, run_id: str, say: Say) -> Record | None:
    """Rename a damaged record and its history, unless another driver has replaced them."""
    with _ledger_lock(results, 0):
        try:
            return _read(results, run_id)
        except Damaged as error:
            reason = str(error)
        moved = _rename_damaged(results, run_id)
    say(
        f"{results.record(run_id)}: {reason}; renamed to {' and '.join(moved)}, and only this run "
        "is trained again"
    )
    return None


def _rename_damaged(results: Results, run_id: str) -> list[str]:
    """Rename the record and the history of a run, or what stands in the place of its folder."""
    folder = results.run(run_id)
    if folder.is_dir():
        return mark_damaged([results.record(run_id), results.history(run_id)])
    return mark_damaged([folder])


def _ledger_lock(results: Results, n_bytes: int) -> AbstractContextManager[None]:
    """Hold the lock on the ledger, which a driver needs for a few milliseconds per run."""
    path = results.ledger_lock
    held = (
        f"{path}: is held by another process for more than {_LOCK_SECONDS:.0f} s; "
        "`status` shows which"
    )
    return file_lock(path, _LOCK_SECONDS, lambda: held, n_bytes)
