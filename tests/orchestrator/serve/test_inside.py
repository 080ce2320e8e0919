"""`orchestrator.serve.inside`: nothing outside the results folder can be opened."""

import os
from pathlib import Path

import pytest

from orchestrator.serve.inside import NotShownError, is_inside, list_files, open_inside


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    (folder / "ablations" / "two" / "figures").mkdir(parents=True)
    (folder / "ablations" / "two" / "report.html").write_text("report")
    (folder / "ablations" / "two" / "figures" / "a.svg").write_text("<svg/>")
    (folder / "runs" / "abc").mkdir(parents=True)
    (folder / "runs" / "abc" / "record.json").write_text("{}")
    (tmp_path / "secret.json").write_text("secret")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "record.json").write_text("secret")
    return folder


def content(root: Path, relative: str) -> bytes:
    with os.fdopen(open_inside(root, relative), "rb") as file:
        return file.read()


def test_files_of_sweeps_and_runs_are_opened(root: Path) -> None:
    assert content(root, "ablations/two/report.html") == b"report"
    assert content(root, "ablations/two/figures/a.svg") == b"<svg/>"
    assert content(root, "runs/abc/record.json") == b"{}"


@pytest.mark.parametrize(
    "path",
    [
        "../secret.json", "runs/../../secret.json", "/etc/passwd", "runs/abc/../../../secret.json",
        "runs//etc/hostname.txt", "runs/abc", "runs/abc/", "", ".", "runs/abc/record.json/x.json",
        "runs/abc/record.json\0.json", "runs/abc/..\\..\\secret.json", "runs/abc/.hidden.json",
        "datasets/x/manifest.json", "reservations/x/y.json", "runs/abc/weights.safetensors",
        "searches/hunt/study.db", "runs/x" + "y" * 5000 + "/record.json",
    ],
)  # fmt: skip
def test_everything_else_is_not_there(root: Path, path: str) -> None:
    for folder in ("datasets/x", "reservations/x", "searches/hunt"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "datasets/x/manifest.json").write_text("x")
    (root / "reservations/x/y.json").write_text("x")
    (root / "searches/hunt/study.db").write_text("x")
    (root / "runs/abc/weights.safetensors").write_text("x")
    (root / "runs/abc/.hidden.json").write_text("x")
    with pytest.raises(NotShownError):
        open_inside(root, path)


def test_links_that_lead_outside_are_not_followed_and_others_are(root: Path) -> None:
    (root / "runs/abc/failed.log").symlink_to(root.parent / "secret.json")
    (root / "runs/far").symlink_to(root.parent / "elsewhere")
    (root / "runs/near").symlink_to("abc")
    (root / "runs/loop").symlink_to("loop")
    (root / "runs/abc/weights.json").symlink_to("../../datasets/x.json")
    (root / "datasets").mkdir()
    (root / "datasets/x.json").write_text("not for showing")
    for path in ("runs/abc/failed.log", "runs/far/record.json", "runs/loop/record.json",
                 "runs/abc/weights.json"):  # fmt: skip
        with pytest.raises(NotShownError):
            open_inside(root, path)
    assert content(root, "runs/near/record.json") == b"{}"
    assert is_inside(root, root / "runs/near") and not is_inside(root, root / "runs/far")


def test_a_results_folder_that_is_a_link_itself_is_shown(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    assert content(tmp_path / "link", "runs/abc/record.json") == b"{}"


def test_pipes_folders_and_sockets_hang_nothing(root: Path) -> None:
    os.mkfifo(root / "runs/abc/stdout.log")
    (root / "runs/abc/stderr.log").mkdir()
    for name in ("stdout.log", "stderr.log"):
        with pytest.raises(NotShownError):
            open_inside(root, f"runs/abc/{name}")


def test_no_descriptor_is_left_open(root: Path) -> None:
    os.mkfifo(root / "runs/abc/stdout.log")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(50):
        os.close(open_inside(root, "ablations/two/figures/a.svg"))
        for path in ("runs/abc/stdout.log", "runs/none/record.json", "../x.json"):
            with pytest.raises(NotShownError):
                open_inside(root, path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_the_list_of_files_names_those_that_open(root: Path) -> None:
    folder = root / "ablations/two"
    (folder / "driver.lock").write_text("")
    (folder / "plan.json").symlink_to(root.parent / "secret.json")
    os.mkfifo(folder / "runs.csv")
    assert list_files(root, folder) == [("figures/a.svg", 6), ("report.html", 6)]
    assert list_files(root, root / "ablations/none") == []
