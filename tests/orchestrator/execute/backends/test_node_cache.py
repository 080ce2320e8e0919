"""A node receives recordings once, and makes room for them if it may."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest
from filelock import FileLock

from decoder.errors import StorageError
from decoder.pack import Progress
from orchestrator.execute.backends import node_cache
from orchestrator.execute.backends.node_cache import (
    cache_folder,
    receive_dataset,
    scratch_folder,
)
from orchestrator.execute.backends.travel import FileEntry, FolderSource


class CountingSource(FolderSource):
    """Counts the files that were asked for."""

    n_sent = 0

    def pieces(self, of: Literal["dataset", "checkpoints"], entry: FileEntry) -> Iterator[bytes]:
        self.n_sent += 1
        return super().pieces(of, entry)


@pytest.fixture
def source(tmp_path: Path) -> CountingSource:
    folder = tmp_path / "driver" / "datasets" / "f00d"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    (folder / "train_features.f32").write_bytes(os.urandom(1000))
    return CountingSource(folder, tmp_path)


def received(source: FolderSource, cache: Path) -> tuple[Path, list[str]]:
    """The folder, and the remarks."""
    remarks: list[str] = []

    def follow() -> Iterator[Progress]:
        nonlocal folder
        folder = yield from receive_dataset(source, "f00d", cache)

    folder = Path()
    for progress in follow():
        remarks += progress.remarks
    return folder, remarks


def test_recordings_are_sent_once_and_stay(source: CountingSource, tmp_path: Path) -> None:
    folder, remarks = received(source, tmp_path / "cache")
    assert folder.parent == tmp_path / "cache" / "datasets" and folder.name.startswith("f00d-")
    for name in ("manifest.json", "train_features.f32"):
        driver = tmp_path / "driver" / "datasets" / "f00d" / name
        assert (folder / name).read_bytes() == driver.read_bytes()
    assert source.n_sent == len(remarks) == 2
    assert received(source, tmp_path / "cache") == (folder, [])
    assert source.n_sent == 2


@pytest.mark.parametrize("damage", ["altered", "removed", "without its note"])
def test_a_cached_file_that_has_changed_is_sent_again(
    source: CountingSource, tmp_path: Path, damage: str
) -> None:
    folder, _ = received(source, tmp_path / "cache")
    features = folder / "train_features.f32"
    sound = features.read_bytes()
    if damage == "altered":
        time.sleep(0.01)
        features.write_bytes(bytes(1000))
    else:
        (features if damage == "removed" else folder / ".received.json").unlink()
    again, _ = received(source, tmp_path / "cache")
    assert again == folder and features.read_bytes() == sound
    assert source.n_sent == 4


def test_recordings_that_the_driver_packed_anew_are_others(
    source: CountingSource, tmp_path: Path
) -> None:
    first, _ = received(source, tmp_path / "cache")
    (tmp_path / "driver" / "datasets" / "f00d" / "manifest.json").write_text("[]")
    second, _ = received(source, tmp_path / "cache")
    assert first != second
    assert (second / "manifest.json").read_text() == "[]"


def test_workers_of_a_node_wait_for_one_transfer(
    source: CountingSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_cache, "_PULSE_SECONDS", 0.01)
    folders: list[Path] = []
    threads = [
        threading.Thread(target=lambda: folders.append(received(source, tmp_path / "c")[0]))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(folders) == 4 and len(set(folders)) == 1
    assert source.n_sent == 2


class Usage(NamedTuple):
    free: int


def test_old_recordings_make_room_and_those_of_today_do_not(
    source: CountingSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = tmp_path / "cache" / "datasets"
    ages = {"ancient": 3, "old": 2, "fresh": 0}
    for name, days in ages.items():
        (datasets / name).mkdir(parents=True)
        os.utime(datasets / name, (time.time() - 86401 * days,) * 2)
    enough = 2**28 + 1002

    def disk_usage(path: Any) -> Usage:
        return Usage(enough - (datasets / "ancient").exists())

    monkeypatch.setattr(node_cache.shutil, "disk_usage", disk_usage)
    received(source, tmp_path / "cache")
    assert {path.name for path in datasets.glob("[!.]*")} > {"old", "fresh"}
    assert not (datasets / "ancient").exists()
    monkeypatch.setattr(node_cache.shutil, "disk_usage", lambda path: Usage(5))
    (tmp_path / "driver" / "datasets" / "f00d" / "manifest.json").write_text("[]")
    with pytest.raises(StorageError, match=rf"{enough:,} bytes .* 5 are free"):
        received(source, tmp_path / "cache")
    assert not (datasets / "old").exists() and (datasets / "fresh").exists()


def test_the_folder_of_a_pack_goes_with_it_and_with_a_process_that_was_killed(
    tmp_path: Path,
) -> None:
    abandoned = tmp_path / "packs" / "abandoned"
    abandoned.mkdir(parents=True)
    (tmp_path / "packs" / ".abandoned.lock").touch()
    with scratch_folder(tmp_path) as first, scratch_folder(tmp_path) as second:
        assert first != second and first.is_dir() and second.is_dir()
        assert not abandoned.exists()
    assert [path.name for path in (tmp_path / "packs").iterdir()] == []


def test_the_folder_of_a_live_process_stays(tmp_path: Path) -> None:
    live = tmp_path / "packs" / "live"
    live.mkdir(parents=True)
    with FileLock(tmp_path / "packs" / ".live.lock"), scratch_folder(tmp_path):
        assert live.exists()


def test_the_cache_lies_where_the_user_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPEECH_BCI_CACHE", str(tmp_path / "named"))
    assert cache_folder() == tmp_path / "named"
    monkeypatch.delenv("SPEECH_BCI_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "speech-bci-sweeps"
