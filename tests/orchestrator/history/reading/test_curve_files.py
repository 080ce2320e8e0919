"""`orchestrator.history.reading.curve_files`: every format, and files with faults."""

from pathlib import Path

import pytest
from imported_runs import by_name, jsonl, mentions, only_run, write_files

from orchestrator.history.reading.read_runs import read_group


def test_percent_marks_and_windows_line_ends_change_nothing(group: Path) -> None:
    run = by_name(read_group(group))["run3_noise_FINAL"]
    assert run.final == (999, pytest.approx(0.26))
    assert len(run.history) == 11
    assert mentions(run.notes, "metrics.jsonl", "percent")


def test_a_line_that_is_cut_off_is_left_out_and_noted(group: Path) -> None:
    run = by_name(read_group(group))["run7_epsilon"]
    assert run.last_step == 400
    assert mentions(run.notes, "metrics.jsonl", "cut off")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metrics.csv", "iteration;PER\n0;1,0\n100;0,5\n"),
        ("metrics.tsv", "batch\tcer\n0\t1.0\n100\t0.5\n"),
        ("history.json", '[{"step": 0, "per": 1}, {"step": 100, "per": 0.5}]'),
        ("history.json", '{"step": [0, 100], "val_per": [1, 0.5]}'),
        (
            "trainer_state.json",
            '{"log_history": [{"step": 0, "eval_per": 1}, {"step": 100, "eval_per": 0.5}]}',
        ),
        ("m.jsonl", '{"_step": 0, "val": {"per": 1}}\n{"_step": 100, "val": {"per": 0.5}}\n'),
        ("stdout.txt", "step 0: PER 1.0\rstep 100: PER 0.5\r"),
        ("log", b"\xff\xfe" + "step 0: PER 1.0\r\nstep 100: PER 0.5".encode("utf-16-le")),
        (
            "ausgabe.log",
            "Schritt 0: PER 100,0 % für alle\nSchritt 100: PER 50,0 %".encode("latin-1"),
        ),
    ],
)
def test_learning_curves_of_every_format_are_read(
    tmp_path: Path, name: str, content: str | bytes
) -> None:
    run = only_run(write_files(tmp_path / "run", {name: content}))
    assert run.pers() == [(0, 1.0), (100, 0.5)]


def test_rows_of_training_and_of_test_are_kept_apart_from_those_of_validation(
    tmp_path: Path,
) -> None:
    text = jsonl(
        {"step": 1, "split": "train", "per": 0.1, "loss": 2.0},
        {"step": 1, "split": "val", "per": 0.5, "loss": 3.0},
        {"step": 1, "split": "test", "per": 0.6, "loss": 4.0},
    )
    run = only_run(write_files(tmp_path / "run", {"metrics.jsonl": text}))
    row = {"step": 1, "train_per": 0.1, "train_loss": 2.0, "per": 0.5, "val_loss": 3.0}
    assert run.history == (row,)
    assert mentions(run.notes, "metrics.jsonl", "test split (1)")


def test_rows_without_an_evaluation_are_thinned_and_few_evaluations_never(tmp_path: Path) -> None:
    lines = [{"step": i, "train_loss": 1.0} for i in range(20_000)]
    lines[5::1000] = [{"step": 5 + 1000 * i, "per": 0.5} for i in range(20)]
    run = only_run(write_files(tmp_path / "run", {"metrics.jsonl": jsonl(*lines)}))
    assert len(run.pers()) == 20
    assert len(run.history) < 8000
    assert len(run.notes) > 1 and mentions(run.notes, f"{20_000 - len(run.history):,} rows")


def test_of_a_file_beyond_the_limit_the_end_is_read_and_the_gap_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.history.reading.files.MOST_CURVE_BYTES", 400)
    text = "step,per\n" + "".join(f"{i},{1 - i / 1000}\n" for i in range(500))
    run = only_run(write_files(tmp_path / "run", {"metrics.csv": text}))
    assert run.final == (499, pytest.approx(0.501))
    assert len(run.pers()) < 60
    assert mentions(run.notes, "metrics.csv", f"{len(text) - 400:,} bytes")


def test_evaluations_that_could_not_be_read_are_remarked_on(tmp_path: Path) -> None:
    log = "".join(
        f"Train batch {s}: loss: 2.0 grad norm: 1.0 time: 0.1\nVal batch {s}: phone errors {s}\n"
        for s in (0, 100, 200)
    )
    run = only_run(write_files(tmp_path / "run", {"training_log": log, "args.yaml": "lr: 1\n"}))
    assert run.pers() == [] and mentions(run.notes, "3 lines", "could not be read")


def test_a_fork_may_word_its_evaluations_in_its_own_way(tmp_path: Path) -> None:
    log = "".join(
        f"Train batch {s}: loss: 2.0 grad norm: 1.0 time: 0.1\n"
        f"[eval] step {s} | phoneme error rate {p} | wer 0.9\nd01 val PER: 0.{s}1\n"
        for s, p in ((0, 1.0), (1, 0.6), (2, 0.4))
    )
    run = only_run(write_files(tmp_path / "run", {"training_log": log}))
    assert [step for step, _ in run.pers()] == [0, 1, 2]


def test_the_official_trainers_write_rates_whatever_their_size(tmp_path: Path) -> None:
    log = "".join(
        f"Val batch {s}: PER (avg): {p} CTC Loss (avg): 1.0 time: 1.0\n"
        for s, p in ((0, 17.2), (100, 12.5), (200, 11.0))
    )
    run = only_run(write_files(tmp_path / "run", {"training_log": log}))
    assert [per for _, per in run.pers()] == [17.2, 12.5, 11.0]
    assert mentions(run.notes, "training_log", "11")
    signed = log.replace(" CTC", "% CTC")
    run = only_run(write_files(tmp_path / "signed", {"training_log": signed}))
    assert run.final == (200, pytest.approx(0.11))


def test_every_field_of_a_file_has_a_unit_of_its_own(tmp_path: Path) -> None:
    rows = [
        {"step": s, "val_per": v, "train_per": t, "blank_fraction": b}
        for s, v, t, b in ((0, 100.0, 1.0, 99.0), (100, 60.0, 0.5, 80.0), (200, 30.0, 0.2, 60.0))
    ]
    run = only_run(write_files(tmp_path / "run", {"metrics.jsonl": jsonl(*rows)}))
    last = run.history[-1]
    assert (last["per"], last["train_per"], last["blank_fraction"]) == (
        pytest.approx(0.3),
        0.2,
        pytest.approx(0.6),
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("summary.csv", "Run,Optimizer,Test PER\na,adam,0.2\nb,sgd,0.3\n"),
        ("run_stats.json", '[{"model": "gru", "per": 0.2}, {"model": "tcn", "per": 0.3}]'),
    ],
)
def test_a_table_of_runs_is_no_learning_curve(tmp_path: Path, name: str, text: str) -> None:
    files = {name: text, "metrics.jsonl": '{"step": 1, "per": 0.5}\n'}
    run = only_run(write_files(tmp_path / "run", files))
    assert run.pers() == [(1, 0.5)]
    assert "table of runs" in {note.path: note.note for note in run.files}[name]


@pytest.mark.parametrize(
    ("table", "pers"),
    [
        ("epoch,val_per\n0,1.2%\n1,1.0 %\n2,.9%\n", [0.012, 0.01, 0.009]),
        (
            "epoch,Split,per\n0,train,.9\n0,val,.95\n0,test,.97\n1,train,.1\n1,val,.3\n1,test,.4\n",
            [0.95, 0.3],
        ),
        (
            "epoch,split,per\n0,val,.95\n0,competition,2.8\n1,val,.3\n1,competition,2.9\n",
            [0.95, 0.3],
        ),
    ],
)
def test_a_table_says_by_signs_and_splits_which_pers_it_has(
    tmp_path: Path, table: str, pers: list[float]
) -> None:
    run = only_run(write_files(tmp_path / "run", {"metrics.csv": table}))
    assert [per for _, per in run.pers()] == pytest.approx(pers)


@pytest.mark.parametrize(
    ("step", "evaluation"),
    [
        ("step {s}: loss 2.5\n", "val PER: {per}\n"),
        ("epoch {e} step {s}: loss 2.5\n", "epoch {e} step 200: val PER {per}\n"),
    ],
)
def test_steps_that_begin_again_in_each_epoch_are_no_restarts(
    tmp_path: Path, step: str, evaluation: str
) -> None:
    log = ""
    for e, per in enumerate((0.9, 0.6, 0.5, 0.4)):
        log += f"Epoch {e}\n" + "".join(step.format(e=e, s=s) for s in (0, 100, 200))
        log += evaluation.format(e=e, per=per)
    run = only_run(write_files(tmp_path / "run", {"train.log": log}))
    assert run.pers() == [(0, 0.9), (1, 0.6), (2, 0.5), (3, 0.4)]
    assert (run.step_unit, run.n_restarts) == ("epoch", 0)


def test_evaluations_by_epoch_between_lines_by_step_are_kept(tmp_path: Path) -> None:
    rows: list[dict[str, float]] = []
    for epoch, per in enumerate((0.9, 0.6, 0.5)):
        rows += [{"epoch": epoch, "step": 200 * epoch + s, "loss": 2.5} for s in (0, 100)]
        rows.append({"epoch": epoch, "val_per": per})
    log = "".join(" ".join(f"{name} {value}" for name, value in row.items()) + "\n" for row in rows)
    for files in ({"m.jsonl": jsonl(*rows)}, {"train.log": log}):
        run = only_run(write_files(tmp_path / next(iter(files)) / "run", files))
        assert run.pers() == [(0, 0.9), (1, 0.6), (2, 0.5)]
