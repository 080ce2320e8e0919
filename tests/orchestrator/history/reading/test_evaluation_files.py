"""`orchestrator.history.reading.evaluation_files`: split, unit, and which one is the figure."""

import json
from pathlib import Path
from typing import Any

import pytest
from imported_runs import jsonl, mentions, only_run, per_rows, write_files

T12 = json.dumps({"nUnits": 64, "nLayers": 2, "nBatch": 300, "lrStart": 0.02, "lrEnd": 0.02,
                  "seed": 0, "batchSize": 8, "nClasses": 40, "dropout": 0.4, "strideLen": 4,
                  "kernelLen": 32})  # fmt: skip


def evaluation(per: float, split: str = "", **more: Any) -> str:
    """An evaluation with one entry per trial, as scripts write them."""
    trials = [{"len": 20, "per": per * share} for share in (0.9, 1.0, 1.1)]
    named = {"split": split} if split else {}
    return json.dumps({**named, "avg_PER": per, "trials": trials, **more})


@pytest.mark.parametrize(
    ("files", "figure"),
    [
        ({"eval_competition.json": evaluation(2.6, "competition")}, None),
        ({"eval_a.json": evaluation(2.6, "competitionHoldOut")}, None),
        ({"eval_b.json": evaluation(0.9, "test", has_labels=False)}, None),
        ({"eval_c.json": evaluation(0.9, "test", labels=None)}, None),
        ({"eval_holdout.json": evaluation(1.4)}, None),
        ({"eval_train.json": evaluation(0.02, "train")}, None),
        (
            {
                "eval_competition.json": evaluation(2.6, "competition"),
                "eval_test.json": evaluation(0.21, "test"),
            },
            0.21,
        ),
        ({"eval_beam.json": evaluation(0.6, "test"), "eval_z.json": evaluation(0.2, "test")}, 0.2),
        (
            {"eval.json": json.dumps({"val": {"PER": 0.3}, "test": {"PER": 0.25}})},
            0.25,
        ),
        ({"results.json": json.dumps({"competition": {"PER": 2.8}, "val": {"PER": 0.3}})}, 0.3),
        ({"eval_a.json": evaluation(0.3, "val"), "eval_b.json": evaluation(0.4, "test")}, 0.4),
        ({"eval.csv": "Split,PER,WER\nval,0.3,1\ntest,0.25,1\ncompetition,2.8,9\n"}, 0.25),
        ({"eval.csv": "split;PER\nval;30,0 %\ntest;0,5 %\n"}, 0.005),
        ({"results.json": json.dumps({"val": {"PER": 30.0}, "test": {"PER": 2.0}})}, 0.02),
    ],
)
def test_the_figure_is_of_the_split_with_labels_that_the_trainer_validates_on(
    tmp_path: Path, files: dict[str, str], figure: float | None
) -> None:
    run = only_run(write_files(tmp_path / "run", files | {"args.json": T12}))  # T12: test
    assert (run.final and run.final[1]) == figure
    for name in files:
        assert {note.path: note.role for note in run.files}[name] == "evaluation"
    if figure is None:
        assert mentions(run.notes, next(iter(files)), "does not count")


def test_a_curve_of_a_split_without_labels_is_no_course(tmp_path: Path) -> None:
    rows = [
        {"step": 1, "split": "competition", "per": 2.8},
        {"step": 1, "split": "val", "per": 0.4},
    ]
    files = {"metrics.jsonl": jsonl(*rows), "metrics_competition.csv": "step,per\n1,2.7\n2,2.6\n"}
    run = only_run(write_files(tmp_path / "run", files))
    assert run.pers() == [(1, 0.4)]


def test_an_evaluation_that_is_no_json_is_named_with_its_line(tmp_path: Path) -> None:
    files = {"m.jsonl": per_rows(1, 0.1), "eval_val.json": '{"split": "val",\n "PER": 0.2,}'}
    run = only_run(write_files(tmp_path / "run", files))
    assert mentions(run.notes, "eval_val.json", "line 2, column 13")


def test_the_last_trial_of_a_table_of_trials_is_no_figure(tmp_path: Path) -> None:
    table = "session,block,trial,PER\nt12.1,1,1,0.3\nt12.1,1,2,0.1\n"
    run = only_run(write_files(tmp_path / "run", {"args.json": T12, "eval_val.csv": table}))
    assert (run.final, run.pers()) == (None, [])


@pytest.mark.parametrize(
    ("text", "per"),
    [
        (evaluation(2.9), 2.9),  # a rate above 1 stays one, whatever the course says
        ('{"avg_PER": 2.0}', 2.0),
        ('{"avg_PER": 20.5}', 0.205),
        (evaluation(4.2, worst={"per": 31.0}), 0.042),
        ('{"val_per_percent": 2.0}', 0.02),
        ('{"PER": "2.5 %"}', 0.025),
    ],
)
def test_one_rule_says_whether_a_field_is_in_percent(tmp_path: Path, text: str, per: float) -> None:
    files = {"metrics.jsonl": per_rows(1, 0.03, 0.028), "eval_val.json": text}
    run = only_run(write_files(tmp_path / "run", files))
    assert [one.per for one in run.evaluations] == [pytest.approx(per)]


def test_an_evaluation_of_days_has_no_per_of_its_own(tmp_path: Path) -> None:
    files = {"m.jsonl": per_rows(1, 0.1), "eval.json": '{"a": {"PER": 0.1}, "b": {"PER": 0.2}}'}
    assert only_run(write_files(tmp_path / "run", files)).evaluations == ()
