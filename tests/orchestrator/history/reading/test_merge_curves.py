"""`orchestrator.history.reading.merge_curves`: restarts, and learning curves in several files."""

import math
from pathlib import Path

import pytest
from imported_runs import by_name, jsonl, mentions, only_run, per_rows, write_files

from orchestrator.history.reading.merge_curves import restart_notes
from orchestrator.history.reading.read_runs import read_group


def test_a_restart_keeps_the_last_pass_of_each_step(group: Path) -> None:
    run = by_name(read_group(group))["run9_restarted"]
    assert run.n_restarts == 1
    assert [row["step"] for row in run.history] == [*range(0, 1000, 100), 999]
    assert run.final == (999, pytest.approx(0.21))
    at = {row["step"]: row["per"] for row in run.history}
    assert at[300] == pytest.approx(0.19 + 0.6 * math.exp(-300 / 120))  # of the first pass
    assert at[600] == pytest.approx(0.21 + 0.6 * math.exp(-600 / 120))  # of the second
    assert mentions(restart_notes(run.notes), "metrics.jsonl", "600")


def test_a_pass_that_ends_before_an_earlier_one_replaces_only_its_own_steps(tmp_path: Path) -> None:
    text = per_rows(1, 0.8, 0.6, 0.5) + jsonl({"step": 100, "per": 0.7}, {"step": 200, "per": 0.55})
    run = only_run(write_files(tmp_path / "run", {"metrics.jsonl": text}))
    assert run.pers() == [(0, 1), (100, 0.7), (200, 0.55), (300, 0.5)]
    assert mentions(restart_notes(run.notes), "200", "300")


def test_rows_of_one_step_are_joined_and_are_no_restart(tmp_path: Path) -> None:
    text = "epoch,step,train_loss,val_per\n0,9,1.5,\n0,9,,0.9\n1,19,1.1,\n1,18,,0.5\n"
    run = only_run(write_files(tmp_path / "run", {"metrics.csv": text}))
    assert run.n_restarts == 0
    assert run.history[0] == {"step": 9, "epoch": 0, "train_loss": 1.5, "per": 0.9}


def test_the_same_learning_curve_in_two_files_is_one(tmp_path: Path) -> None:
    log = "".join(f"step {s} val_per {p:.4f}\n" for s, p in ((0, 1), (100, 0.51234), (200, 0.4)))
    files = {"metrics.jsonl": per_rows(1, 0.51234, 0.4), "train.log": log}
    run = only_run(write_files(tmp_path / "run", files))
    assert (run.n_restarts, run.pers()[1][1]) == (0, 0.51234)
    assert mentions(run.notes, "train.log", "metrics.jsonl") and not restart_notes(run.notes)


def test_attempts_from_the_first_step_on_are_not_mixed(tmp_path: Path) -> None:
    def log(day: int, *pers: float) -> str:
        return "".join(
            f"2025-03-0{day} 10:00:00,1: Val batch {100 * i}: PER (avg): {per:.4f} "
            "CTC Loss (avg): 1.0000 time: 1.000\n"
            for i, per in enumerate(pers)
        )

    files = {"training_log": log(2, 1, 0.7, 0.3), "training_log.1": log(1, 1, 0.8, 0.5, 0.4)}
    run = only_run(write_files(tmp_path / "run", files))
    assert run.n_restarts == 1
    assert run.pers() == [(0, 1), (100, 0.8), (200, 0.5), (300, 0.4)]  # the one that went further
    assert len(restart_notes(run.notes)) == 1
    rows = per_rows(1, 0.7, 0.3) + per_rows(1)  # one run, given up and started again
    files = {"metrics.jsonl": rows, "args.yaml": "lr_max: 0.1\nn_layers: 2\n"}
    run = only_run(write_files(tmp_path / "again", files))
    assert (run.n_restarts, run.pers()) == (1, [(0, 1), (100, 0.7), (200, 0.3)])


def test_a_second_file_that_continues_the_first_is_a_restart(tmp_path: Path) -> None:
    files = {"a.jsonl": per_rows(1, 0.5), "b.jsonl": jsonl({"step": 200, "per": 0.4})}
    run = only_run(write_files(tmp_path / "run", files))
    assert run.n_restarts == 1
    assert run.pers() == [(0, 1), (100, 0.5), (200, 0.4)]
    assert mentions(restart_notes(run.notes), "a.jsonl", "b.jsonl")


def test_a_file_of_the_test_split_does_not_replace_that_of_validation(tmp_path: Path) -> None:
    files = {"val.csv": "step,per\n0,1\n1,.5\n", "test.csv": "step,per\n0,.9\n1,.6\n"}
    run = only_run(write_files(tmp_path / "run", files))
    assert run.pers() == [(0, 1), (1, 0.5)]
    assert mentions(run.notes, "test.csv")


def test_restarts_are_recognised_in_the_wording_of_older_records() -> None:
    older = [
        "log: steps go back once (from 600): restarted; of each step the last pass counts",
        "b.csv goes over steps of a.csv again with other figures: restarted",
        "b.csv goes on where a.csv ended: one run in several files",
        "b.csv and a.csv tell of other steps of one run: restarted",
    ]
    assert restart_notes([*older, "m.csv: its last line is cut off"]) == older
