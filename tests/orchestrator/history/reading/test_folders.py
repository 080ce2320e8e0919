"""`orchestrator.history.reading.folders`: which folders are runs, and what is skipped."""

import os
from pathlib import Path

from imported_runs import SETTINGS, by_name, mentions, only_run, per_rows, write_files

from orchestrator.history.reading.read_runs import read_group


def test_links_to_folders_are_not_followed_and_are_noted(group: Path) -> None:
    found = read_group(group)
    assert mentions(by_name(found)["run1_baseline"].notes, "loop", "link to a folder")
    assert mentions(found.remarks, "latest", "link to a folder")
    assert not {name for name in by_name(found) if "loop" in name or "latest" in name}


def test_folders_without_settings_or_a_learning_curve_are_listed(group: Path) -> None:
    found = read_group(group)
    assert "run12_only_weights" not in by_name(found)
    assert mentions(found.remarks, "run12_only_weights", "2 files")


def test_a_folder_with_only_settings_or_only_a_learning_curve_is_a_record(group: Path) -> None:
    runs = by_name(read_group(group))
    assert (runs["run10_planned"].outcome, runs["run10_planned"].settings["seed"]) == (
        "unknown",
        10,
    )
    assert (runs["run11_lost_config"].settings, runs["run11_lost_config"].outcome) == ({}, "ok")


def test_pairs_of_files_with_one_stem_in_one_folder_are_one_run_each(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {}
    for name, per in (("a", 0.5), ("b", 0.4)):
        files |= {f"{name}.yaml": SETTINGS, f"{name}.jsonl": per_rows(1, per)}
    found = by_name(
        read_group(write_files(tmp_path / "runs", {f"flat/{k}": v for k, v in files.items()}))
    )
    assert {name: run.final for name, run in found.items()} == {
        "flat/a": (100, 0.5),
        "flat/b": (100, 0.4),
    }


def test_logs_of_numbered_runs_in_one_folder_are_one_run_each(tmp_path: Path) -> None:
    files = {f"logs/run{i}.log": f"step 0 per 1.0\nstep 9 per 0.{i}\n" for i in (2, 10)}
    runs = read_group(write_files(tmp_path, files)).runs
    assert [(run.name, run.final) for run in runs] == [
        ("logs/run2", (9, 0.2)),
        ("logs/run10", (9, 0.1)),
    ]


def test_special_files_are_not_read(tmp_path: Path) -> None:
    root = write_files(tmp_path / "run", {"metrics.jsonl": per_rows(1, 0.5)})
    os.mkfifo(root / "pipe.log")
    (root / "zero.log").symlink_to("/dev/zero")
    (root / "broken.yaml").symlink_to("nowhere")
    run = only_run(root)
    assert all(mentions(run.notes, name) for name in ("pipe.log", "zero.log", "broken.yaml"))
    assert run.pers() == [(0, 1), (100, 0.5)]


def test_settings_of_tools_and_beside_code_are_no_runs(tmp_path: Path) -> None:
    files = {
        ".github/workflows/config.yml": SETTINGS,
        "src/trainer/config.yaml": SETTINGS,
        "src/trainer/train.py": "",
        "planned/config.yaml": SETTINGS,
        "used/.hydra/config.yaml": SETTINGS,
        "used/train.py": "",
        "used/metrics.jsonl": per_rows(1, 0.5),
    }
    found = read_group(write_files(tmp_path / "repository", files))
    assert [run.name for run in found.runs] == ["planned", "used"]
    assert found.runs[1].settings["lr_max"] == 0.004
    assert mentions(found.remarks, "src/trainer", "code")
