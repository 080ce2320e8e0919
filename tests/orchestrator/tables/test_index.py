"""`orchestrator.tables.index`: it agrees with the records, whatever happens to its file."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from stored_pairs import change_record, no_remarks, records_of

from decoder.config import DecoderConfig, run_id
from decoder.errors import StorageError
from orchestrator.store.ledger import read_records
from orchestrator.store.paths import Results
from orchestrator.tables import index as index_module
from orchestrator.tables.index import extended, open_index, read_index


def test_every_record_is_a_row_with_its_configuration(store: Results) -> None:
    index = open_index(store, no_remarks)
    records = records_of(store)
    assert index.column("run_id") == list(records)
    for at, record in enumerate(records.values()):
        assert index.column("seed")[at] == record["seed"]
        assert index.column("optim.epsilon")[at] == record["config"]["optim"]["epsilon"]
        assert index.column("decoder_sha256")[at] == record["environment"]["code"]["decoder_sha256"]


def test_runs_have_types(store: Results) -> None:
    runs = open_index(store, no_remarks).runs(range(12))
    for run, record in zip(runs, records_of(store).values(), strict=True):
        assert (run.run_id, run.seed) == (record["run_id"], record["seed"])
        assert run.settings["optim.epsilon"] == record["config"]["optim"]["epsilon"]
        assert run.per_session == record["per_session"]
        assert run.number("n_steps") == record["config"]["train"]["n_steps"]
        assert run.number("no such column") is None and run.text("host_device") == "cpu"


def test_equal_configurations_share_an_id_and_others_do_not(store: Results) -> None:
    index = open_index(store, no_remarks)
    seen: dict[str, set[str]] = {}
    for config_id, epsilon, reduction in zip(
        *(index.column(n) for n in ("config_id", "optim.epsilon", "loss.ctc_reduction")),
        strict=True,
    ):
        seen.setdefault(str(config_id), set()).add(f"{epsilon} {reduction}")
    assert all(len(settings) == 1 for settings in seen.values())
    assert len(seen) == len({text for settings in seen.values() for text in settings})


def test_a_second_opening_reads_no_record(store: Results) -> None:
    first = open_index(store, no_remarks)
    for path in store.runs.glob("*/record.json"):  # unreadable, but for the index unchanged
        state = path.stat()
        path.write_bytes(b"x" * state.st_size)
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert open_index(store, no_remarks).table.equals(first.table)


def test_a_changed_a_new_and_a_removed_record_are_noticed(store: Results) -> None:
    ids = [str(run_id) for run_id in open_index(store, no_remarks).column("run_id")]
    change_record(store, ids[0], host={"hostname": "elsewhere", "pid": 1, "device": "cpu"})
    store.record(ids[1]).unlink()
    record = records_of(store)[ids[2]]
    fingerprint = "9" * 16
    new = run_id(DecoderConfig.model_validate(record["config"]), record["seed"], fingerprint)
    store.run(ids[2]).rename(store.run(new))
    change_record(store, new, run_id=new, dataset={"fingerprint": fingerprint, "path": "/d"})
    index = open_index(store, no_remarks)
    after = index.column("run_id")
    assert after == sorted({*ids, new} - {ids[1], ids[2]})
    assert index.column("host_hostname")[after.index(ids[0])] == "elsewhere"


@pytest.mark.parametrize("damage", [b"", b"no parquet at all", None])
def test_a_damaged_or_missing_index_is_rebuilt(store: Results, damage: bytes | None) -> None:
    first = open_index(store, no_remarks)
    if damage is None:
        store.index.unlink()
    else:
        store.index.write_bytes(damage)
    assert open_index(store, no_remarks).table.equals(first.table)


def test_an_index_of_another_format_is_rebuilt(store: Results) -> None:
    first = open_index(store, no_remarks)
    old = pq.read_table(store.index).replace_schema_metadata({"format": "0", "json": "[]"})
    pq.write_table(old.drop_columns(["per"]), store.index)
    assert open_index(store, no_remarks).table.equals(first.table)


def test_a_record_that_cannot_be_trusted_is_reported_and_left_out(store: Results) -> None:
    ids = open_index(store, no_remarks).column("run_id")
    store.record(str(ids[0])).write_text('{"schema"')
    said: list[str] = []
    assert open_index(store, said.append).column("run_id") == ids[1:]
    assert str(ids[0]) in said[0]
    assert store.record(str(ids[0])).exists()


@pytest.mark.parametrize("byte", (0, 100, 5000, -5000, -200, -1))
def test_a_flipped_bit_of_the_index_is_noticed(
    store: Results, byte: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_index(store, no_remarks)
    content = bytearray(store.index.read_bytes())
    content[byte] ^= 4
    store.index.write_bytes(content)
    read = []

    def counted(*arguments: Any, **options: Any) -> Any:
        read.append(1)
        return read_records(*arguments, **options)

    monkeypatch.setattr(index_module, "read_records", counted)
    assert open_index(store, no_remarks).table.equals(first.table) and read == [1]


def test_a_folder_in_the_place_of_the_index_is_set_aside(store: Results) -> None:
    store.index.mkdir(parents=True)
    store.index_checksum.symlink_to("/dev/zero")
    first = open_index(store, no_remarks)
    assert len(first) == 12 and open_index(store, no_remarks).table.equals(first.table)
    assert store.index.is_file() and (store.runs / ".index.parquet.corrupt").is_dir()


def test_an_index_that_cannot_be_written_is_still_returned(
    store: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> None:
        raise StorageError(f"{path}: no room on the device")

    monkeypatch.setattr(index_module, "write_atomically", full)
    said: list[str] = []
    assert len(open_index(store, said.append)) == 12
    assert len(said) == 1 and str(store.index) in said[0]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads as Linux does")
def test_an_index_is_opened_and_read_without_threads_that_outlive_it(store: Results) -> None:
    open_index(store, no_remarks)
    code = (
        "import os, pathlib\n"
        "from orchestrator.tables.index import open_index\n"
        "from orchestrator.store.paths import Results\n"
        "before = len(os.listdir('/proc/self/task'))\n"
        f"open_index(Results(pathlib.Path({str(store.root)!r})), print).runs([0, 5])\n"
        "print(len(os.listdir('/proc/self/task')) - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"


def test_an_empty_folder_has_an_empty_index_and_stays_empty(tmp_path: Path) -> None:
    assert len(open_index(Results(tmp_path / "nothing"), no_remarks)) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_column_of_several_types_keeps_every_value(store: Results) -> None:
    first, record = next(iter(records_of(store).items()))
    record["config"]["model"]["flavour"] = ["vanilla"]  # a field of a newer version
    shutil.copytree(store.run(first), store.run("f" * 16))
    change_record(store, "f" * 16, run_id="f" * 16, config=record["config"])
    index = extended(open_index(store, no_remarks), [{"run_id": "g", "model.flavour": 3}])
    assert index.column("model.flavour") == [None] * 12 + [["vanilla"], 3]


def test_an_index_is_brought_up_to_date_in_memory_and_nothing_is_written(
    store: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = read_index(store, no_remarks)
    assert len(first) == 12 and not store.index.exists()
    assert read_index(store, no_remarks, first) is first
    (one, other, *_) = first.column("run_id")
    change_record(store, str(one), n_parameters=7)
    store.record(str(other)).unlink()
    read: list[str] = []

    def remember(results: Results, wanted: Any, *args: Any, **options: Any) -> Any:
        read.extend(wanted)
        return read_records(results, wanted, *args, **options)

    monkeypatch.setattr(index_module, "read_records", remember)
    second = read_index(store, no_remarks, first)
    assert (len(second), read) == (11, [one])
    assert second.cells([0], ["n_parameters"]) == [{"n_parameters": 7}]
    assert not store.index.exists()


def test_an_index_on_disk_is_where_reading_begins(
    store: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_index(store, no_remarks)
    before = store.index.read_bytes()
    monkeypatch.setattr(index_module, "read_records", None)
    assert len(read_index(store, no_remarks)) == 12
    assert store.index.read_bytes() == before
