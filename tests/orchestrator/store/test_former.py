"""`orchestrator.store.former`: files that are set aside stay whole, and come back."""

import os
from pathlib import Path

import pytest

from decoder.errors import StorageError
from decoder.owners import temporary_name
from orchestrator.store.former import bring_back, keep_former, mark_damaged
from orchestrator.store.paths import Results

RUN, OLD, NEW = "a" * 16, "1" * 64, "2" * 64
FILES = {"record.json": "old", "history.csv": "rows", "weights.safetensors": "numbers"}


@pytest.fixture
def results(tmp_path: Path) -> Results:
    results = Results(tmp_path)
    results.run(RUN).mkdir(parents=True)
    fill(results, FILES)
    return results


def fill(results: Results, files: dict[str, str]) -> None:
    for name, text in files.items():
        new = results.run(RUN) / ".new"
        new.write_text(text)
        new.replace(results.run(RUN) / name)


def files(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("has_links", [True, False])
def test_files_are_kept_once_and_come_back(
    results: Results, monkeypatch: pytest.MonkeyPatch, has_links: bool
) -> None:
    if not has_links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("no links")))
    keep_former(results, RUN, OLD)
    assert files(results.former(RUN, OLD)) == files(results.run(RUN)) == FILES
    again = {name: f"new {text}" for name, text in FILES.items()}
    fill(results, again)
    keep_former(results, RUN, OLD)
    assert files(results.former(RUN, OLD)) == FILES
    keep_former(results, RUN, NEW)
    bring_back(results, RUN, OLD)
    assert files(results.run(RUN)) == FILES
    assert files(results.former(RUN, NEW)) == again


def test_what_a_killed_call_left_is_done_again(results: Results) -> None:
    started = results.former(RUN, OLD).with_name(temporary_name(OLD[:16], "0" * 8))
    started.mkdir(parents=True)
    (started / "record.json").write_text("hal")
    keep_former(results, RUN, OLD)
    assert files(results.former(RUN, OLD)) == FILES


def test_a_folder_that_cannot_be_written_is_named(results: Results) -> None:
    (results.run(RUN) / "former").write_text("a file")
    with pytest.raises(StorageError, match="former"):
        keep_former(results, RUN, OLD)
    with pytest.raises(StorageError, match=RUN):
        bring_back(results, RUN, OLD)


def test_damaged_files_get_new_names(results: Results) -> None:
    paths = [results.record(RUN), results.history(RUN), results.run(RUN) / "missing"]
    assert mark_damaged(paths) == ["record.json.corrupt", "history.csv.corrupt"]
    fill(results, {"record.json": "again"})
    assert mark_damaged(paths) == ["record.json.corrupt1"]
    assert files(results.run(RUN))["record.json.corrupt"] == "old"
