"""`orchestrator.store.ledger`: whole records or none, and numbers that come back exactly."""

import errno
import json
import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decoder import atomic
from decoder.config import DecoderConfig, resolve, run_id
from decoder.errors import StorageError
from decoder.pack import HISTORY_COLUMNS, Run, RunResult
from orchestrator.store import ledger
from orchestrator.store.ledger import (
    COUNTS,
    history_csv,
    make_record,
    read_history,
    read_records,
    recent_records,
    write_run,
)
from orchestrator.store.paths import Results
from orchestrator.store.record import Record

CONFIG = resolve(DecoderConfig())
FINGERPRINT = "f" * 16
RUN_ID, OTHER, THIRD = (run_id(CONFIG, seed, FINGERPRINT) for seed in (3, 4, 5))
SEEDS = {RUN_ID: 3, OTHER: 4, THIRD: 5}


class Said(list[str]):
    def __call__(self, text: str) -> None:
        self.append(text)


@pytest.fixture
def said() -> Said:
    return Said()


@pytest.fixture
def result(make_result: Callable[..., RunResult]) -> RunResult:
    short = CONFIG.model_copy(update={"train": CONFIG.train.model_copy(update={"n_steps": 6000})})
    return make_result(Run(RUN_ID, short))


def record_of(ended: RunResult | str, run_id: str = RUN_ID) -> tuple[Record, Any]:
    return make_record(
        run_id, CONFIG, SEEDS[run_id], {"fingerprint": FINGERPRINT, "path": "synthetic:tiny"},
        {"pack_id": "p" * 16, "n_runs": 4}, ended, {"hostname": "here", "pid": 7}, {"python": "3"},
    )  # fmt: skip


def test_further_columns_and_unknown_numbers_come_back(
    results: Results, result: RunResult, said: Said
) -> None:
    more = tuple(
        {**row, "wer": 0.25 + i, "a_metric": math.inf, "n_distinct": math.nan}
        for i, row in enumerate(result.history)
    )
    record, history = record_of(replace(result, history=more))
    assert write_run(results, record, history)
    assert read_records(results, [RUN_ID], said) == {RUN_ID: record} and said == []
    header = results.history(RUN_ID).read_text().splitlines()[0].split(",")
    assert header == [*HISTORY_COLUMNS, "a_metric", "wer"]
    back = read_history(results, RUN_ID)
    assert [row["wer"] for row in back] == [row["wer"] for row in more]
    assert all(math.isnan(row["n_distinct"]) and row["a_metric"] == math.inf for row in back)
    assert all(type(row["step"]) is int for row in back)


def test_a_run_comes_back_as_it_was_written(
    results: Results, result: RunResult, said: Said
) -> None:
    record, history = record_of(result)
    assert write_run(results, record, history)
    assert read_records(results, [RUN_ID, "missing"], said) == {RUN_ID: record}
    assert read_history(results, RUN_ID) == list(result.history)
    assert said == []


def test_errors_by_session_and_phoneme_read_back_as_written(
    results: Results, result: RunResult, said: Said
) -> None:
    broken_down = replace(
        result,
        per_session={"t15.2023.08.11": (3, 10)},
        confusions=((0, 4, 1), (3, 3, 8), (3, 0, 2)),
        beam={"per": 0.2, "n_edits": 2, "n_reference": 10, "beam_width": 16},
        n_skipped_steps=4,
    )
    record, history = record_of(broken_down)
    write_run(results, record, history)
    back = read_records(results, [RUN_ID], said)[RUN_ID]
    assert back == record and said == []
    assert back["per_session"] == {"t15.2023.08.11": [3, 10]}
    assert back["confusions"] == [[0, 4, 1], [3, 3, 8], [3, 0, 2]]
    assert back["beam"] == dict(broken_down.beam) and back["n_skipped_steps"] == 4
    failed, _ = record_of("Traceback ...")
    assert failed["beam"] is None and failed["confusions"] is None


def test_a_record_from_before_its_newest_fields_is_read_as_it_is(
    results: Results, result: RunResult, said: Said
) -> None:
    record, history = record_of(result)
    write_run(results, record, history)
    for name in ("per_session", "confusions", "beam", "n_skipped_steps"):
        del record[name]  # type: ignore[misc]
    path = results.history(RUN_ID)
    lines = [line.split(",") for line in path.read_text().splitlines()]
    later = [lines[0].index(name) for name in ("n_edits_even", "n_reference_even")]
    older = [",".join(v for i, v in enumerate(line) if i not in later) for line in lines]
    path.write_text("\n".join(older) + "\n")
    record["history_sha256"] = atomic.sha256_of(path.read_bytes())
    results.record(RUN_ID).write_text(json.dumps(record))
    assert read_records(results, [RUN_ID], said) == {RUN_ID: record} and said == []
    [row, *_] = read_history(results, RUN_ID)
    assert "n_edits_even" not in row and row["n_edits"] == 3


def test_a_record_has_exactly_the_keys_of_its_schema(result: RunResult) -> None:
    record, _ = record_of(result)
    assert list(record) == [
        "schema", "run_id", "seed", "config", "dataset", "numerics_version", "status",
        "diverged_step", "error", "n_steps_done", "n_parameters", "n_dropped_trials", "pack",
        "timing", "host", "environment", "peak_memory_bytes",
        "grad_norm_quantiles", "per_session", "confusions", "beam", "n_skipped_steps",
        "history_sha256", "n_history_rows",
    ]  # fmt: skip
    assert list(record["timing"]) == ["pack_seconds", "run_seconds", "finished_at"]
    assert record["pack"] == {"pack_id": "p" * 16, "n_runs": 1}  # as many as shared the time
    assert record["config"]["optim"]["lr_decay_steps"] == 120_000


@given(
    values=st.lists(
        st.floats(allow_nan=True, allow_infinity=True, width=64),
        min_size=len(HISTORY_COLUMNS),
        max_size=len(HISTORY_COLUMNS),
    )
)
def test_every_float_of_a_history_round_trips(values: list[float]) -> None:
    names = [name for name in HISTORY_COLUMNS if name not in COUNTS]
    row = {**dict(zip(HISTORY_COLUMNS, values, strict=True)), **dict.fromkeys(COUNTS, 3)}
    header, line = history_csv([row]).decode().splitlines()
    back = dict(zip(header.split(","), line.split(","), strict=True))
    for name in names:
        same = math.isnan(row[name]) and back[name] == "nan" or float(back[name]) == row[name]
        assert same


def test_counts_are_written_alike_whether_they_come_as_int_or_float(
    make_row: Callable[..., dict[str, float]],
) -> None:
    row = make_row(20)
    assert history_csv([row]) == history_csv([{**row, "step": 20.0, "n_edits": 3.0}])


def test_divergence_is_a_result_with_its_step(results: Results, result: RunResult) -> None:
    record, _ = record_of(replace(result, status="diverged", n_steps_done=17))
    assert (record["status"], record["diverged_step"], record["error"]) == ("diverged", 17, None)


def test_a_failure_keeps_its_traceback_and_gives_way_to_a_result(
    results: Results, result: RunResult, said: Said
) -> None:
    failed, no_history = record_of("Traceback ...\nMemoryError")
    assert (failed["status"], failed["error"]) == ("failed", "Traceback ...\nMemoryError")
    assert write_run(results, failed, no_history)
    record, history = record_of(result)
    assert write_run(results, record, history)
    assert read_records(results, [RUN_ID], said)[RUN_ID]["status"] == "ok"


def test_a_result_is_never_replaced(results: Results, result: RunResult, said: Said) -> None:
    record, history = record_of(result)
    write_run(results, record, history)
    failed, no_history = record_of("Traceback")
    assert not write_run(results, failed, no_history)
    other, other_history = record_of(replace(result, pack_seconds=99.0))
    assert not write_run(results, other, other_history)
    assert read_records(results, [RUN_ID], said) == {RUN_ID: record}


def _torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _drop_key(path: Path) -> None:
    record = json.loads(path.read_text())
    del record["timing"]
    path.write_text(json.dumps(record))


def _other_run(path: Path) -> None:
    path.write_text(path.read_text().replace(RUN_ID, "f" * 16))


@pytest.mark.parametrize(
    ("damage", "file", "reason"),
    [
        (_torn, "record.json", "JSON"),
        (lambda path: path.write_bytes(b""), "record.json", "JSON"),
        (_drop_key, "record.json", "timing: Field required"),
        (_other_run, "record.json", "f" * 16),
        (_torn, "history.csv", "checksum"),
        (Path.unlink, "history.csv", "no history"),
    ],
)
def test_damaged_record_is_renamed_and_reported_alone(
    results: Results,
    result: RunResult,
    said: Said,
    damage: Callable[[Path], None],
    file: str,
    reason: str,
) -> None:
    for identity in (RUN_ID, OTHER):
        record, history = record_of(replace(result, run_id=identity), identity)
        write_run(results, record, history)
    damage(results.run(RUN_ID) / file)
    assert list(read_records(results, [RUN_ID, OTHER], said)) == [OTHER]
    (line,) = said
    assert line.startswith(f"{results.record(RUN_ID)}: ")
    assert reason in line and "record.json.corrupt" in line
    assert not results.record(RUN_ID).exists()
    assert (results.run(RUN_ID) / "record.json.corrupt").exists()
    record, history = record_of(result)
    assert write_run(results, record, history)
    assert len(read_records(results, [RUN_ID], said)) == 1


def test_damage_is_kept_each_time_it_happens(
    results: Results, result: RunResult, said: Said
) -> None:
    for _ in range(3):
        record, history = record_of(result)
        write_run(results, record, history)
        _torn(results.record(RUN_ID))
        assert read_records(results, [RUN_ID], said) == {}
    names = {path.name for path in results.run(RUN_ID).iterdir()}
    assert {"record.json.corrupt", "record.json.corrupt1", "record.json.corrupt2"} <= names


def test_reading_without_moving_leaves_damaged_records(
    results: Results, result: RunResult, said: Said
) -> None:
    record, history = record_of(result)
    write_run(results, record, history)
    _torn(results.record(RUN_ID))
    assert read_records(results, [RUN_ID], said, move_aside=False) == {}
    assert results.record(RUN_ID).exists()
    assert said[0].startswith(f"{results.record(RUN_ID)}: ") and "`run`" in said[0]


def test_history_without_a_record_is_not_a_run(
    results: Results, result: RunResult, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver dies between the two files."""
    record, history = record_of(result)
    whole = ledger.write_atomically

    def dies_at_the_record(path: Path, content: bytes) -> None:
        if path.name == "record.json":
            raise KeyboardInterrupt
        whole(path, content)

    monkeypatch.setattr(ledger, "write_atomically", dies_at_the_record)
    with pytest.raises(KeyboardInterrupt):
        write_run(results, record, history)
    monkeypatch.undo()
    assert results.history(RUN_ID).exists()
    assert read_records(results, [RUN_ID], said) == {}
    assert said == []
    assert write_run(results, record, history)
    assert list(read_records(results, [RUN_ID], said)) == [RUN_ID]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_write_that_fails_names_path_and_bytes_and_leaves_nothing(
    results: Results, result: RunResult, said: Said, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    record, history = record_of(result)

    def full(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(StorageError) as caught:
        write_run(results, record, history)
    monkeypatch.undo()
    n_bytes = len(history_csv(history))
    assert str(results.history(RUN_ID)) in str(caught.value)
    assert f"{n_bytes:,} bytes" in str(caught.value)
    assert caught.value.exit_code == 5
    assert list(results.run(RUN_ID).iterdir()) == []
    assert write_run(results, record, history)  # goes on once there is room


def test_a_results_folder_that_cannot_be_made_is_a_storage_error(
    tmp_path: Path, result: RunResult
) -> None:
    (tmp_path / "file").write_text("")
    record, history = record_of(result)
    with pytest.raises(StorageError, match=str(tmp_path / "file")):
        write_run(Results(tmp_path / "file"), record, history)


def test_recent_records_are_the_newest_first_and_pass_over_damage(
    results: Results, result: RunResult
) -> None:
    for index, identity in enumerate((RUN_ID, OTHER, THIRD)):
        record, history = record_of(replace(result, run_id=identity), identity)
        write_run(results, record, history)
        os.utime(results.run(identity), (index, index))
    _torn(results.record(OTHER))
    assert [record["run_id"] for record in recent_records(results)] == [THIRD, RUN_ID]
    assert [record["run_id"] for record in recent_records(results, 1)] == [THIRD]


def test_records_are_read_without_their_errors_where_only_their_ending_counts(
    store: Results,
) -> None:
    run_ids = [folder.name for folder in store.runs.iterdir() if folder.is_dir()]
    whole = read_records(store, run_ids, print)
    less = read_records(store, run_ids, print, full=False)
    assert len(less) == len(whole) == 12
    for identity, record in whole.items():
        assert record["confusions"] and record["per_session"]
        assert less[identity] == {**record, "confusions": None, "per_session": None}
