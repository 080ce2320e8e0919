"""`orchestrator.store.tidy`: what a killed process left is cleared, what a live one owns stays."""

import os
import time
from pathlib import Path

import pytest

from decoder.owners import Owner, temporary_name, this_process
from orchestrator.store.locks import driver_seat
from orchestrator.store.paths import Results
from orchestrator.store.tidy import tidy_up

HERE = this_process()
DEAD = HERE._replace(started=HERE.started + 1)  # of the same id, but started at another time
ELSEWHERE = Owner("elsewhere~1", 7, 7)


def ignore(text: str) -> None:
    """Remarks do not matter."""


def left_by(owner: Owner, folder: Path, name: str = "record.json") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f".{name}.tmp-{owner}-0123abcd"
    path.write_text("half")
    return path


def make_old(path: Path, days: float = 2.0) -> None:
    when = time.time() - days * 24 * 3600
    os.utime(path, (when, when))


@pytest.fixture
def tidied(results: Results) -> Results:
    results.ablation("one").mkdir(parents=True)
    return results


def test_files_of_dead_processes_go_wherever_they_are(tidied: Results) -> None:
    run = tidied.run("a" * 16)
    folders = (
        *(tidied.root, tidied.runs, run, run / "former", run / "former" / ("0" * 16)),
        *(tidied.ablation("one"), tidied.checkpoints("one") / "pack", tidied.ablation("two")),
        *(tidied.root / "imported" / "g", tidied.datasets, tidied.of_searches.ablation("s")),
    )
    left = [left_by(DEAD, folder) for folder in folders]
    kept = [left_by(HERE, folder) for folder in folders]
    said: list[str] = []
    tidy_up(tidied, "one", said.append)
    assert not any(path.exists() for path in left) and all(path.exists() for path in kept)
    assert len(said) == 1 and f" {len(left)} " in said[0]
    tidy_up(tidied, "one", said.append)
    assert len(said) == 1


def test_files_of_another_machine_and_of_earlier_versions_go_when_they_are_old(
    tidied: Results,
) -> None:
    folder = tidied.run("b" * 16)
    paths = [
        left_by(ELSEWHERE, folder),
        folder / ".history.csv.0123abcd",
        folder / ".mine.0123abcd",
    ]
    for path in paths:
        path.write_text("half")
    tidy_up(tidied, "one", ignore)
    assert all(path.exists() for path in paths)
    for path in paths:
        make_old(path)
    tidy_up(tidied, "one", ignore)
    assert [path.exists() for path in paths] == [False, False, True]


def test_a_name_of_this_process_is_one_that_is_kept(tidied: Results) -> None:
    path = tidied.ablation("one") / temporary_name("plan.json", "0" * 8)
    path.write_text("half")
    make_old(path)
    tidy_up(tidied, "one", ignore)
    assert path.exists()


def test_a_linked_results_folder_is_tidied_and_links_below_are_not_followed(
    tidied: Results, tmp_path: Path
) -> None:
    disk, foreign = tmp_path / "disk", tmp_path / "foreign"
    path, other = left_by(DEAD, disk / ("c" * 16)), left_by(DEAD, foreign)
    tidied.runs.symlink_to(disk)
    (disk / ("c" * 16) / "link").symlink_to(foreign)
    tidy_up(tidied, "one", ignore)
    assert not path.exists() and other.exists()


def test_recordings_that_nobody_builds_any_more_are_removed(tidied: Results) -> None:
    from filelock import FileLock

    for name in ("aaaa", "bbbb"):
        (tidied.datasets / f".{name}.building-x1").mkdir(parents=True)
    with FileLock(tidied.datasets / ".bbbb.lock"):
        tidy_up(tidied, "one", ignore)
        assert [p.name for p in tidied.datasets.glob(".*.building-*")] == [".bbbb.building-x1"]


def test_a_driver_sets_aside_what_stands_in_the_place_of_its_files(tidied: Results) -> None:
    folder = tidied.ablation("one")
    (folder / "plan.json").mkdir()
    os.mkfifo(folder / "timing.json")
    (folder / "driver.json").symlink_to(folder / "driver.json")
    (folder / "figures").write_text("")
    (folder / "runs.csv").symlink_to("/dev/zero")
    tidied.memory.mkdir()
    said: list[str] = []
    with driver_seat(tidied, "one", said.append):
        assert (folder / "driver.json").is_file()
    moved = {path.name for path in folder.iterdir() if ".corrupt" in path.name}
    assert moved == {
        *("plan.json.corrupt", "timing.json.corrupt", "driver.json.corrupt"),
        *("figures.corrupt", "runs.csv.corrupt"),
    }
    assert (tidied.root / "memory.json.corrupt").is_dir() and len(said) == 6
