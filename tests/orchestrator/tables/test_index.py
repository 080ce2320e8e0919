"""`orchestrator.tables.index`: as the records say, whatever became of the file."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from decoder.config import DecoderConfig, flatten, override, resolve
from orchestrator.store.paths import Results
from orchestrator.tables.index import open_index, store_row


def quiet(text: str) -> None:
    raise AssertionError(text)


def change(results: Results, which: str, **values: Any) -> None:
    path = results.record(which)
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **values}))


def test_every_record_is_a_row_with_its_configuration(store: Results) -> None:
    index = open_index(store, quiet)
    ids = sorted(path.parent.name for path in store.runs.glob("*/record.json"))
    assert index.column("run_id") == ids
    for at, run_id in enumerate(ids):
        record = json.loads(store.record(run_id).read_bytes())
        assert index.column("seed")[at] == record["seed"]
        assert index.column("optim.epsilon")[at] == record["config"]["optim"]["epsilon"]
        assert index.column("decoder_sha256")[at] == record["environment"]["code"]["decoder_sha256"]


def test_equal_configurations_share_an_id_and_others_do_not(store: Results) -> None:
    index = open_index(store, quiet)
    seen: dict[str, set[str]] = {}
    for config_id, epsilon, reduction in zip(
        *(index.column(n) for n in ("config_id", "optim.epsilon", "loss.ctc_reduction")),
        strict=True,
    ):
        seen.setdefault(config_id, set()).add(f"{epsilon} {reduction}")
    assert all(len(settings) == 1 for settings in seen.values())
    assert len(seen) == len({text for settings in seen.values() for text in settings})


def test_a_second_opening_reads_no_record(store: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_index(store, quiet)
    monkeypatch.setattr("orchestrator.tables.index.read_records", None)
    assert open_index(store, quiet).table.equals(first.table)


def test_a_changed_a_new_and_a_removed_record_are_noticed(
    store: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = open_index(store, quiet).column("run_id")
    change(store, ids[0], host={"hostname": "elsewhere", "pid": 1, "device": "cpu"})
    store.record(ids[1]).unlink()
    store.run(ids[2]).rename(store.runs / ids[3][::-1])
    change(store, ids[3][::-1], run_id=ids[3][::-1])
    index = open_index(store, quiet)
    after = index.column("run_id")
    assert after == sorted({*ids, ids[3][::-1]} - {ids[1], ids[2]})
    assert index.column("host_hostname")[after.index(ids[0])] == "elsewhere"


@pytest.mark.parametrize("damage", [b"", b"no parquet at all", None])
def test_a_damaged_or_missing_index_is_made_anew(store: Results, damage: bytes | None) -> None:
    first = open_index(store, quiet)
    if damage is None:
        store.index.unlink()
    else:
        store.index.write_bytes(damage)
    assert open_index(store, quiet).table.equals(first.table)


def test_an_index_of_another_format_is_made_anew(store: Results) -> None:
    first = open_index(store, quiet)
    old = pq.read_table(store.index).replace_schema_metadata({"format": "0", "json": "[]"})
    pq.write_table(old.drop_columns(["per"]), store.index)
    assert open_index(store, quiet).table.equals(first.table)


def test_a_record_that_cannot_be_trusted_is_said_and_left_out(store: Results) -> None:
    ids = open_index(store, quiet).column("run_id")
    store.record(ids[0]).write_text('{"schema"')
    said: list[str] = []
    assert open_index(store, said.append).column("run_id") == ids[1:]
    assert ids[0] in said[0]
    assert store.record(ids[0]).exists()


def test_an_index_that_cannot_be_kept_costs_nothing_but_time(
    store: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    from decoder.errors import StorageError

    def full(path: Path, content: bytes) -> None:
        raise StorageError(f"{path}: no room")

    monkeypatch.setattr("orchestrator.tables.index.write_atomically", full)
    said: list[str] = []
    assert len(open_index(store, said.append)) == 12
    assert "no room" in said[0] and not store.index.exists()


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads as Linux does")
def test_an_index_is_opened_without_threads_that_outlive_it(store: Results) -> None:
    open_index(store, quiet)
    code = (
        "import os, pathlib\n"
        "from orchestrator.tables.index import open_index\n"
        "from orchestrator.store.paths import Results\n"
        "before = len(os.listdir('/proc/self/task'))\n"
        f"open_index(Results(pathlib.Path({str(store.root)!r})), print)\n"
        "print(len(os.listdir('/proc/self/task')) - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"


def test_an_empty_folder_has_an_empty_index_and_stays_empty(tmp_path: Path) -> None:
    assert len(open_index(Results(tmp_path / "nothing"), quiet)) == 0
    assert list(tmp_path.iterdir()) == []


def test_old_records_have_the_defaults_of_fields_that_came_later(store: Results) -> None:
    record = json.loads(next(store.runs.glob("*/record.json")).read_bytes())
    del record["config"]["augment"]["smooth_taps"]
    row = store_row(record, [])
    assert row["augment.smooth_taps"] == flatten(DecoderConfig())["augment.smooth_taps"]


def test_fields_of_other_software_are_kept_as_they_are(store: Results) -> None:
    path = next(store.runs.glob("*/record.json"))
    record = json.loads(path.read_bytes())
    record["config"]["model"]["flavour"] = ["vanilla"]
    record["run_id"] = "f" * 16
    assert store_row(record, [])["model.flavour"] == ["vanilla"]
    folder = store.run("f" * 16)
    folder.mkdir()
    (folder / "history.csv").write_bytes((path.parent / "history.csv").read_bytes())
    (folder / "record.json").write_text(json.dumps(record))
    index = open_index(store, quiet)
    assert index.column("model.flavour")[-1] == ["vanilla"]
    assert index.column("model.flavour")[:-1] == [None] * 12


def test_what_cannot_change_a_result_does_not_change_the_configuration_id(store: Results) -> None:
    record = json.loads(next(store.runs.glob("*/record.json")).read_bytes())
    ids = []
    for path in ("/here", "/there"):
        config = resolve(override(DecoderConfig(), {"data.path": path}, "test"))
        row = store_row({**record, "config": config.model_dump(mode="json")}, [])
        ids.append(row["config_id"])
    assert ids[0] == ids[1]
