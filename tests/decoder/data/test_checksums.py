"""Checksums of packed features: where damage is found, and when files are read again."""

import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from decoder.data import checksums, files
from decoder.data.checksums import ChecksummedFile, damaged_on_disk
from decoder.data.prepare import prepare
from decoder.data.store import Dataset, open_dataset
from decoder.errors import StorageError, StoreDamagedError
from decoder.owners import temporary_name


@pytest.fixture
def stores(tmp_path: Path) -> Path:
    return tmp_path / "datasets"


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checksums, "BLOCK_BYTES", 64)


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as settled as soon as they are written."""
    monkeypatch.setattr(files, "RACY_SECONDS", -1.0)


def overwrite(path: Path, start: int, content: bytes) -> None:
    """Overwrite a part of a file in place."""
    with path.open("r+b") as file:
        file.seek(start)
        file.write(content)


def overwrite_an_eighth(dataset: Dataset) -> None:
    path = dataset.path / "train_features.f32"
    size = path.stat().st_size
    overwrite(path, size // 2, os.urandom(size // 8))


def test_digests_are_those_of_the_blocks_however_the_file_is_written(small_blocks: None) -> None:
    content = np.arange(100, dtype=np.float32)  # 400 bytes: 6 blocks of 64 and one of 16
    for size in (1, 7, 16, 33, 100):
        out = io.BytesIO()
        file = ChecksummedFile(out)
        for start in range(0, 100, size):
            file.write(content[start : start + size])
        file.write(np.zeros((0, 4), np.float32))
        whole = content.tobytes()
        assert out.getvalue() == whole
        expected = [hashlib.sha256(whole[i : i + 64]).hexdigest() for i in range(0, 400, 64)]
        assert list(file.digests()) == expected


@pytest.mark.parametrize(("position", "block"), [(0, 0), (63, 0), (64, 1), (399, 6)])
def test_one_changed_byte_is_found_in_its_block(
    position: int, block: int, small_blocks: None, tmp_path: Path
) -> None:
    path = tmp_path / "features"
    with path.open("wb") as handle:
        file = ChecksummedFile(handle)
        file.write(np.arange(100, dtype=np.float32))
    digests = file.digests()
    assert damaged_on_disk(path, digests) == []
    content = path.read_bytes()
    overwrite(path, position, bytes([content[position] ^ 1]))
    assert damaged_on_disk(path, digests) == [block]
    path.write_bytes(content[:64])
    assert damaged_on_disk(path, digests) == list(range(7))


def test_overwritten_features_are_refused_by_workers_and_packed_again(
    folder: Path, stores: Path, settled: None
) -> None:
    dataset = prepare(str(folder), None, None, stores)
    expected = np.array(dataset.train.features)
    overwrite_an_eighth(dataset)
    with pytest.raises(StorageError, match="train_features.f32 differs from its checksums in 1 of"):
        open_dataset(dataset.path)
    said: list[str] = []
    again = prepare(str(folder), None, None, stores, said.append)
    assert "packing it again" in said[0] and len(said) == 2
    assert again.fingerprint == dataset.fingerprint
    np.testing.assert_array_equal(again.train.features, expected)


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    read: list[str] = []

    def noted(path: Path, digests: tuple[str, ...]) -> list[int]:
        read.append(path.name)
        return damaged_on_disk(path, digests)

    monkeypatch.setattr(checksums, "damaged_on_disk", noted)
    return read


BOTH = ["train_features.f32", "val_features.f32"]


def test_a_store_is_read_once_and_again_when_its_files_change(
    folder: Path, stores: Path, settled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = count_reads(monkeypatch)
    dataset = prepare(str(folder), None, None, stores)
    assert read == BOTH
    open_dataset(dataset.path)
    assert read == BOTH
    (dataset.path / BOTH[1]).touch()
    open_dataset(dataset.path)
    assert read == BOTH * 2
    checksums.forget(dataset.path)
    open_dataset(dataset.path)
    assert read == BOTH * 3


def test_files_written_just_now_are_read_again(
    folder: Path, stores: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = count_reads(monkeypatch)
    open_dataset(prepare(str(folder), None, None, stores).path)
    assert read == BOTH * 2


def test_large_files_written_just_now_are_read_once_as_soon_as_they_are_settled(
    folder: Path, stores: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checksums, "_LARGE_BYTES", 0)
    monkeypatch.setattr(files, "RACY_SECONDS", 0.5)
    read = count_reads(monkeypatch)
    open_dataset(prepare(str(folder), None, None, stores).path)
    assert read == BOTH


@pytest.mark.parametrize("what", ["text", "json", "fifo", "folder", "link", "deep"])
def test_a_damaged_note_costs_another_read_and_nothing_else(
    what: str, folder: Path, stores: Path, settled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = prepare(str(folder), None, None, stores).path
    (note,) = (stores / ".checked").iterdir()
    note.unlink()
    put(note, what)
    read = count_reads(monkeypatch)
    open_dataset(path)
    assert read == BOTH


def put(path: Path, what: str) -> None:
    """Put something else in the place of a file."""
    if what == "fifo":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
        (path / "inside").write_text("")
    elif what == "link":
        path.symlink_to(path.parent / "nowhere")
    else:
        path.write_text({"text": "{half", "json": '["other"]', "deep": "[" * 100_000}[what])


NAMES = ("manifest.json", "arrays.safetensors", "train_features.f32", "")


@pytest.mark.parametrize("what", ["fifo", "folder", "link", "text"])
@pytest.mark.parametrize("name", NAMES)
def test_anything_in_the_place_of_a_store_or_its_files_is_replaced(
    name: str, what: str, folder: Path, stores: Path
) -> None:
    path = prepare(str(folder), None, None, stores).path
    place = path / name if name else path
    files.remove(place)
    put(place, what)
    with pytest.raises(StorageError):
        open_dataset(path)
    said: list[str] = []
    assert prepare(str(folder), None, None, stores, said.append).train.n_trials == 6
    assert "packing it again" in said[0]
    open_dataset(path)


@pytest.mark.parametrize("what", ["fifo", "folder", "link", "text", "deep"])
@pytest.mark.parametrize("where", ["lock", "digests", "all digests", "notes"])
def test_anything_in_the_place_of_another_file_of_the_folder_is_tolerated(
    where: str, what: str, folder: Path, stores: Path, settled: None
) -> None:
    dataset = prepare(str(folder), None, None, stores)
    place = {
        "lock": stores / f".{dataset.fingerprint}.lock",
        "digests": next((stores / ".digests").iterdir()),
        "all digests": stores / ".digests",
        "notes": stores / ".checked",
    }[where]
    files.remove(place)
    put(place, what)
    (dataset.path / "manifest.json").unlink()  # so that it is built again
    again = prepare(str(folder), None, None, stores)
    assert again.fingerprint == dataset.fingerprint


def test_an_altered_digest_of_a_source_file_is_not_believed(
    folder: Path, stores: Path, settled: None
) -> None:
    before = prepare(str(folder), None, None, stores).fingerprint
    (cache,) = (stores / ".digests").iterdir()
    document = json.loads(cache.read_text())
    digests = next(iter(document["files"].values()))
    digests[-1] = "0" * 64
    cache.write_text(json.dumps(document))
    said: list[str] = []
    assert prepare(str(folder), None, None, stores, said.append).fingerprint == before
    assert str(cache) in said[0]


def make_unchecked(dataset: Dataset) -> None:
    """Make a store look as the first version packed it."""
    path = dataset.path / "manifest.json"
    manifest = json.loads(path.read_text())
    for key in ("block_sha256", "source", "source_sha256", "manifest_sha256"):
        del manifest[key]
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize("damaged", [False, True])
def test_a_store_without_checksums_is_packed_again_and_compared(
    damaged: bool, folder: Path, stores: Path
) -> None:
    dataset = prepare(str(folder), None, None, stores)
    expected = np.array(dataset.train.features)
    make_unchecked(dataset)
    if damaged:
        overwrite_an_eighth(dataset)
    said: list[str] = []
    again = prepare(str(folder), None, None, stores, said.append)
    assert again.fingerprint == dataset.fingerprint
    np.testing.assert_array_equal(again.train.features, expected)
    assert len(said) == 3 if damaged else 2
    assert any("may be wrong" in text and dataset.fingerprint in text for text in said) == damaged
    said.clear()
    open_dataset(dataset.path)
    prepare(str(folder), None, None, stores, said.append)
    assert not said


def test_a_changed_number_in_the_manifest_is_found(folder: Path, stores: Path) -> None:
    path = prepare(str(folder), None, None, stores).path / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["counts"]["clipped_values"] += 1
    path.write_text(json.dumps(manifest))
    with pytest.raises(StorageError, match="manifest.json does not match its checksum"):
        open_dataset(path.parent)


def test_a_store_in_use_is_verified_when_its_files_change(
    folder: Path, stores: Path, settled: None
) -> None:
    dataset = prepare(str(folder), None, None, stores)
    assert dataset.files is not None
    dataset.files.check()
    (dataset.path / "train_features.f32").touch()
    dataset.files.check()
    overwrite_an_eighth(dataset)
    with pytest.raises(StoreDamagedError, match="1 of 1 blocks"):
        dataset.files.check()
    assert not dataset.files.looked_unchanged
    assert not list((stores / ".checked").iterdir())  # the next opening verifies


def test_a_store_in_use_stays_usable_when_it_is_replaced_or_removed(
    folder: Path, stores: Path
) -> None:
    dataset = prepare(str(folder), None, None, stores)
    assert dataset.files is not None
    (dataset.path / "manifest.json").unlink()
    prepare(str(folder), None, None, stores)  # packed again, in the same place
    dataset.files.check()
    shutil.rmtree(dataset.path)
    dataset.files.check()


def test_a_store_in_use_that_is_cut_short_is_damaged(folder: Path, stores: Path) -> None:
    dataset = prepare(str(folder), None, None, stores)
    assert dataset.files is not None
    os.truncate(dataset.path / "train_features.f32", 8)
    with pytest.raises(StoreDamagedError, match="has 8 bytes"):
        dataset.files.check()


def test_what_killed_builders_of_other_stores_left_is_removed(
    folder: Path, stores: Path, trial: Callable[..., object]
) -> None:
    stores.mkdir()
    for name in ("dead", "alive"):
        (stores / f".{name}.building-x").mkdir()
        (stores / f".{name}.building-x" / "half").write_text("")
        (stores / f".{name}.lock").write_text("")
    (stores / ".user.building-x").mkdir()  # no builder of ours had it
    names = (
        ".a.json.0123abcd",
        temporary_name("b.json", "0123abcd"),
    )  # of an earlier version; ours
    old, new = ([stores / folder / name for name in names] for folder in (".digests", ".checked"))
    for path in (*old, *new):
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    for path in old:
        os.utime(path, (0, 0))
    with files.only_builder(stores / "alive", files.silent):
        (stores / ".alive.building-x").mkdir()
        prepare(str(folder), None, None, stores)
    left = {path.name for path in stores.glob(".*.building-*")}
    assert left == {".alive.building-x", ".user.building-x"}
    assert not any(path.exists() for path in old) and all(path.exists() for path in new)
