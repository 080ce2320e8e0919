"""Generated recordings are compared with what was generated."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from decoder.data import files
from decoder.data.generated import changes_text, has_digests, what_differs
from decoder.data.prepare import prepare

RECORDINGS = "t15.2000.01.01/data_train.hdf5"


@pytest.fixture
def stores(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A datasets folder that holds the recipe ``tiny``."""
    monkeypatch.setattr(files, "RACY_SECONDS", -1.0)
    shutil.copytree(tiny_folder, tmp_path / "datasets" / "synthetic-tiny-9850fd0a")
    return tmp_path / "datasets"


def generated(stores: Path) -> Path:
    return next(stores.glob("synthetic-tiny-*"))


def alter(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "altered": lambda folder: alter(folder / RECORDINGS),
    "a test file altered": lambda folder: alter(folder / "t15.2000.01.08/data_test.hdf5"),
    "missing": lambda folder: (folder / RECORDINGS).unlink(),
    "a session missing": lambda folder: shutil.rmtree(folder / "t15.2000.01.08"),
    "fifo": lambda folder: ((folder / RECORDINGS).unlink(), os.mkfifo(folder / RECORDINGS)),
    "digests altered": lambda folder: alter(folder / "generated.json"),
    "digests fifo": lambda folder: (
        (folder / "generated.json").unlink(),
        os.mkfifo(folder / "generated.json"),
    ),
    "a file": lambda folder: (shutil.rmtree(folder), folder.write_text("")),
    "a fifo": lambda folder: (shutil.rmtree(folder), os.mkfifo(folder)),
    "a dangling link": lambda folder: (shutil.rmtree(folder), folder.symlink_to("nowhere")),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_recipe_whose_folder_is_not_as_generated_is_generated_again(
    what: str, stores: Path
) -> None:
    before = prepare("synthetic:tiny", None, None, stores).fingerprint
    folder = generated(stores)
    DAMAGE[what](folder)
    said: list[str] = []
    assert prepare("synthetic:tiny", None, None, stores, said.append).fingerprint == before
    assert sum("generating" in text for text in said) == 2
    assert what_differs(folder, stores, files.silent) == ""
    said.clear()
    prepare("synthetic:tiny", None, None, stores, said.append)
    assert not said


def test_a_folder_of_an_earlier_version_is_taken_as_it_is_and_gets_digests(stores: Path) -> None:
    (generated(stores) / "generated.json").unlink()
    said: list[str] = []
    prepare("synthetic:tiny", None, None, stores, said.append)
    assert not any(text.startswith("generating") for text in said)
    assert has_digests(generated(stores))
    alter(generated(stores) / RECORDINGS)
    prepare("synthetic:tiny", None, None, stores, said.append)
    assert any(text.startswith("generating") for text in said)


def test_a_generated_folder_of_the_user_is_used_as_it_is_and_what_differs_is_said(
    tiny_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(tiny_folder, folder)
    said: list[str] = []
    prepare(str(folder), None, None, tmp_path / "datasets", said.append)
    assert [text.split()[0] for text in said] == ["packing"]
    shutil.rmtree(folder / "t15.2000.01.08")
    said.clear()
    assert prepare(str(folder), None, None, tmp_path / "datasets", said.append).sessions == (
        "t15.2000.01.01",
    )
    assert "missing: t15.2000.01.08/data_test.hdf5, " in said[0]


def test_the_digests_are_those_of_every_file(tiny_t12_folder: Path) -> None:
    names = set(json.loads((tiny_t12_folder / "generated.json").read_text())["files"])
    present = {p.relative_to(tiny_t12_folder).as_posix() for p in tiny_t12_folder.rglob("*.*")}
    assert {"pronunciations.txt", "train/t12.2000.01.01.mat"} < names
    assert {name for name in present if name.endswith((".mat", ".txt"))} == names


def test_changes_name_altered_missing_and_added_files() -> None:
    before = {"a": "1", "b": "1", "c": "1"}
    assert changes_text(before, before) == ""
    assert (
        changes_text(before, {"a": "2", "c": "1", "d": "1"}) == "altered: a; missing: b; added: d"
    )
    many = {str(i): "1" for i in range(8)}
    assert changes_text(many, {}) == "missing: 0, 1, 2, 3, 4 and 3 more"
