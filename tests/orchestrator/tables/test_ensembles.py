"""`orchestrator.tables.ensembles`: subsets of an arm's seeds, from the logits of their runs."""

import json
import math
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from decoder.logits import LogitTrial, write_logits
from decoder.phonemes import N_CLASSES
from orchestrator.cli.app import app
from orchestrator.store.paths import Results
from orchestrator.tables.ensembles import ensembles_table


def keep(folder: Path, run_id: str, *rows: dict[int, float], n_trials: int = 1) -> None:
    """Logits of a run, for trials with the reference 1 2."""
    logits = np.full((len(rows), N_CLASSES), -9.0)
    for patch, row in enumerate(rows):
        for label, value in row.items():
            logits[patch, label] = value
    labels = np.array([1, 2], np.int64)
    trials = [LogitTrial(logits, labels, "a", 1, number) for number in range(n_trials)]
    write_logits(folder / run_id / "logits.npz", trials, {"run_id": run_id})


def runs(**arms: list[str]) -> pd.DataFrame:
    rows = [
        {"run_id": run_id, "arm": arm, "outcome": "ok"}
        for arm, ids in arms.items()
        for run_id in ids
    ]
    return pd.DataFrame(rows)


def three_seeds(folder: Path) -> None:
    """Seeds that emit 1 2, 1 3 and 1 4 alone. Sums of the last patch, by class 2, 3, 4:

    right 3 0 0, third -1 0 -2, fourth 0 -5 1. So right + third: 2 0 -2 (emits 2), right + fourth:
    3 -5 1 (2), third + fourth: -1 -5 -1 (2, the first of two equal ones), all: 2 -5 -1 (2).
    """
    first = {1: 4.0}
    keep(folder, "right", first, {2: 3.0, 3: 0.0, 4: 0.0})
    keep(folder, "third", first, {2: -1.0, 3: 0.0, 4: -2.0})
    keep(folder, "fourth", first, {2: 0.0, 3: -5.0, 4: 1.0})


def test_all_subsets_of_each_size_are_averaged(tmp_path: Path) -> None:
    three_seeds(tmp_path)
    table = ensembles_table(runs(base=["right", "third", "fourth"]), tmp_path, print)
    assert table["n_members"].tolist() == [1, 2, 3]
    assert table["n_subsets"].tolist() == [3, 3, 1]
    assert table["n_seeds"].tolist() == [3, 3, 3]
    assert table["per"].tolist() == pytest.approx([1 / 3, 0.0, 0.0])  # edits 0, 1, 1 of 2
    assert table["per_low"].tolist()[0] == pytest.approx(0.025)  # between 0 and 0.5 at 2.5 % of 2
    assert table["per_high"].tolist()[0] == 0.5
    assert math.isnan(table["per_low"].iloc[2]) and math.isnan(table["per_high"].iloc[2])


def test_of_many_seeds_some_different_subsets_are_drawn_and_always_the_same(tmp_path: Path) -> None:
    ids = [f"r{i}" for i in range(8)]
    for i, run_id in enumerate(ids):
        keep(tmp_path, run_id, {1: 4.0}, {2: 1.0 - i % 3, 3: 0.5})
    first, again = (ensembles_table(runs(base=ids), tmp_path, print) for _ in range(2))
    assert first["n_members"].tolist() == [1, 2, 3, 5, 8]
    assert first["n_subsets"].tolist() == [8, 20, 20, 20, 1]
    pd.testing.assert_frame_equal(first, again)


def test_arms_with_fewer_than_two_logits_and_runs_that_diverged_are_left_out(
    tmp_path: Path,
) -> None:
    three_seeds(tmp_path)
    table = runs(one=["right"], none=["x", "y"], two=["third", "fourth", "right"])
    table.loc[table["run_id"] == "right", "outcome"] = "diverged"
    said: list[str] = []
    found = ensembles_table(table, tmp_path, said.append)
    assert found["arm"].tolist() == ["two", "two"] and found["n_seeds"].tolist() == [2, 2]
    assert not said


DAMAGES = ["damaged", "one bit", "no checksum", "folder", "pipe", "dangling link"]


@pytest.mark.parametrize("what", [*DAMAGES, "other trials"])
def test_an_arm_whose_files_do_not_fit_is_left_out_with_a_remark(what: str, tmp_path: Path) -> None:
    three_seeds(tmp_path)
    for run_id in ("a", "b"):
        keep(tmp_path, run_id, {1: 4.0}, n_trials=1 + (run_id == "b" and what == "other trials"))
    path = tmp_path / "b" / "logits.npz"
    if what == "damaged":
        path.write_bytes(b"PK")
    elif what == "one bit":
        content = path.read_bytes()
        path.write_bytes(content[:500] + bytes([content[500] ^ 1]) + content[501:])
    elif what == "no checksum":
        path.with_suffix(".json").unlink()
    elif what in DAMAGES:
        path.unlink()
        {
            "folder": path.mkdir,
            "pipe": lambda: os.mkfifo(path),
            "dangling link": lambda: path.symlink_to(tmp_path / "nowhere"),
        }[what]()
    said: list[str] = []
    table = ensembles_table(runs(bad=["a", "b"], good=["right", "third"]), tmp_path, said.append)
    assert set(table["arm"]) == {"good"} and len(said) == 1 and "bad" in said[0]


def test_a_report_has_ensembles_of_the_runs_that_kept_their_logits(tmp_path: Path) -> None:
    base = {
        "data": {"path": "synthetic:tiny", "batch_size": 4, "days_per_batch": 2},
        "model": {"n_units": 8, "n_layers": 1},
        "optim": {"lr_warmup_steps": 2, "lr_max": 0.02},
        "train": {"n_steps": 30, "eval_every_steps": 10, "keep_logits": "validation"},
    }
    spec = {
        "name": "together",
        "question": "What do ensembles give?",
        "base": "base.yaml",
        "factors": {"kept": {"yes": {}, "no": {"train.keep_logits": "none", "optim.lr_max": 0.01}}},
        "seeds": [1, 2],
    }
    (tmp_path / "base.yaml").write_text(json.dumps(base))
    (tmp_path / "spec.yaml").write_text(json.dumps(spec))
    results = Results(tmp_path / "results")
    words = ["run", str(tmp_path / "spec.yaml"), "--backend", "local", "--device", "cpu"]
    done = CliRunner().invoke(app, [*words, "--results", str(results.root)])
    assert done.exit_code == 0, done.output
    folder = results.ablation("together")
    table = pd.read_csv(folder / "ensembles.csv")
    assert table["n_members"].tolist() == [1, 2] and table["arm"].nunique() == 1
    recorded = pd.read_csv(folder / "runs.csv")
    alone = recorded[recorded["arm"] == table["arm"][0]]["per"]
    assert table["per"][0] == pytest.approx(alone.mean(), abs=1e-9)
    report = (folder / "report.md").read_text()
    assert "Ensembles of an arm's seeds" in report and "2 of 2" in report
    kept = {path.parent.name for path in results.runs.glob("*/logits.npz")}
    assert kept == set(recorded[recorded["arm"] == table["arm"][0]]["run_id"])
