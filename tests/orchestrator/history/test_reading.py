"""`orchestrator.history.reading.reading`: folders as groups leave them, each format, each fault."""

import json
import math
import os
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.history.reading.reading import Group, read_group
from orchestrator.history.reading.record import ForeignRun, from_json, to_json

SETTINGS = "lr_max: 0.004\nbatch_size: 32\nseed: 3\n"


def write(root: Path, files: dict[str, str | bytes]) -> Path:
    """Files below a root, by their paths."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def jsonl(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def rows(*pers: float, every: int = 100) -> str:
    return jsonl(*({"step": index * every, "per": per} for index, per in enumerate(pers)))


def only(root: Path) -> ForeignRun:
    """The one run of a folder."""
    (run,) = read_group(root).runs
    return run


def named(group: Group) -> dict[str, ForeignRun]:
    return {run.name: run for run in group.runs}


def roles(run: ForeignRun) -> dict[str, str]:
    return {note.path.rpartition("/")[2]: note.role for note in run.files}


# ------------------------------------------------------------------------- official trainers


def test_a_t15_run_is_read_with_its_checkpoint_settings(group: Path) -> None:
    run = named(read_group(group))["run1_baseline"]
    assert (run.trainer, run.seed, run.outcome, run.n_planned) == ("t15", 10, "ok", 1000)
    assert run.started == "2025-03-01 09:00:00"
    assert run.final == (999, 0.2)
    assert run.mapped.codebase == "t15"
    assert run.mapped.config["augment.white_noise_std"] == 1.0
    assert run.mapped.fields["beta0"] == ("optim.beta1",)
    assert roles(run) == {
        "args.yaml": "settings",
        "best_checkpoint": "refused",
        "train_val_trials.json": "not read",
        "training_log": "course",
        "val_metrics.pkl": "refused",
    }
    assert run.history[0] == {
        "step": 0,
        "train_loss": 30.0,
        "grad_norm": 12.34,
        "per": 1.0,
        "val_loss": 25.0,
    }


def test_a_t12_run_is_read_from_pickled_args_and_what_it_printed(
    t12_run: Callable[..., Path],
) -> None:
    run = only(t12_run(seed=4))
    assert (run.trainer, run.seed, run.outcome) == ("t12", 4, "ok")
    assert run.settings["whiteNoiseSD"] == 0.8
    assert run.mapped.config["optim.lr_max"] == 0.02
    assert run.final == (999, pytest.approx(0.21))
    assert any("PER is its 'cer'" in note for note in run.notes)
    assert roles(run)["trainingStats"] == "refused"


def test_args_that_would_run_code_are_refused_and_told(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(tmp_path / "made"),)

    root = write(tmp_path / "run", {"args": pickle.dumps({"a": Evil()}), "m.jsonl": rows(1, 0.5)})
    run = only(root)
    assert not (tmp_path / "made").exists()
    (note,) = [note for note in run.files if note.role == "refused"]
    assert "asks for posix.mkdir" in note.note
    assert run.settings == {}


# -------------------------------------------------------------------------------- settings


def test_the_settings_said_to_be_used_win_and_the_contradiction_is_told(tmp_path: Path) -> None:
    run = only(
        write(
            tmp_path / "run",
            {
                "config.yaml": "lr_max: 0.005\nseed: 3\n",
                "config_used.yaml": SETTINGS,
                "metrics.jsonl": rows(1, 0.5),
            },
        )
    )
    assert run.settings["lr_max"] == 0.004
    assert run.settings_from == "config_used.yaml"
    assert any("says otherwise of lr_max (0.004 against 0.005)" in note for note in run.notes)


def test_settings_in_parts_that_share_no_key_are_joined(tmp_path: Path) -> None:
    files = {"model_config.json": '{"n_units": 64}', "train_config.toml": "lr_max = 1e-3\n"}
    run = only(write(tmp_path / "run", {**files, "metrics.csv": "step,per\n1,0.5\n"}))
    assert run.settings == {"n_units": 64, "lr_max": 0.001}


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (
            "wandb/run-20250301_101010-ab/files/config.yaml",
            "lr: {value: 1e-3}\n_wandb: {value: {}}\nbs: {value: 2}\n",
            {"lr": 0.001, "bs": 2},
        ),
        (".hydra/config.yaml", "optim: {lr: 1e-3}\n", {"optim.lr": 0.001}),
        (
            "hparams.yaml",
            "a: !!python/tuple [1, 2]\nb: !!python/object:argparse.Namespace {c: 1}\n",
            {"a": [1, 2], "b.c": 1},
        ),
        (
            "config.json",
            '\ufeff{"lr": 1, "on": true, "none": null}',
            {"lr": 1, "on": True, "none": None},
        ),
        ("run12_baseline.yaml", "lr: 1\nbatch_size: 2\nx: 3\n", {"lr": 1, "batch_size": 2, "x": 3}),
    ],
)
def test_settings_of_common_tools_are_read(
    tmp_path: Path, name: str, content: str, expected: dict[str, Any]
) -> None:
    run = only(write(tmp_path / "run", {name: content, "metrics.jsonl": rows(1, 0.5)}))
    assert run.settings == expected


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a: [1, 2\nb: 3", "not valid YAML"),
        (b"lr: 1\nlr: 2\n", "appears twice"),
        (b"\x00\x01", "no text that YAML allows"),
        (b"", "is empty"),
        (b"- 1\n- 2\n", "no mapping"),
        (
            b"a: &a [[x],[x]]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b]\n"
            b"d: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d]\n"
            b"f: [*e,*e,*e,*e,*e]\n",
            "more than 20,000 values",
        ),
    ],
)
def test_settings_that_cannot_be_read_are_told_with_the_reason(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    run = only(write(tmp_path / "run", {"config.yaml": content, "metrics.jsonl": rows(1, 0.5)}))
    (note,) = [note for note in run.files if note.path == "config.yaml"]
    assert note.role == "unreadable"
    assert reason in note.note
    assert "has no settings that could be read" in run.notes


def test_repeats_take_the_settings_above_them_and_the_seed_of_their_name(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        f"sweep/seed{s}/m.jsonl": rows(1, 0.5 + s / 100) for s in (1, 2)
    }
    group = read_group(write(tmp_path, {"sweep/config.yaml": SETTINGS, **files}))
    assert [(run.name, run.seed) for run in group.runs] == [("sweep/seed1", 1), ("sweep/seed2", 2)]
    assert all("settings are those of the folder above" in run.notes[0] for run in group.runs)


def test_settings_above_runs_that_are_no_repeats_are_not_taken_for_theirs(tmp_path: Path) -> None:
    files = {"exp/config.yaml": SETTINGS, "exp/small/m.jsonl": rows(1, 0.5)}
    group = read_group(write(tmp_path, files))
    assert named(group)["exp/small"].settings == {}
    assert named(group)["exp"].settings["lr_max"] == 0.004


# ---------------------------------------------------------------------------------- courses


def test_percent_marks_and_windows_line_ends_change_nothing(group: Path) -> None:
    run = named(read_group(group))["run3_noise_FINAL"]
    assert run.final == (999, pytest.approx(0.26))
    assert len(run.history) == 11
    assert any("in percent" in note for note in run.notes)


def test_a_line_cut_off_is_left_out_and_told(group: Path) -> None:
    run = named(read_group(group))["run7_epsilon"]
    assert run.last_step == 400
    assert any("last line is cut off" in note for note in run.notes)


def test_a_restart_keeps_the_last_pass_of_each_step(group: Path) -> None:
    run = named(read_group(group))["run9_restarted"]
    assert run.n_restarts == 1
    assert [row["step"] for row in run.history] == [*range(0, 1000, 100), 999]
    assert run.final == (999, pytest.approx(0.21))
    at = {row["step"]: row["per"] for row in run.history}
    assert at[300] == pytest.approx(0.19 + 0.6 * math.exp(-300 / 120))  # of the first pass
    assert at[600] == pytest.approx(0.21 + 0.6 * math.exp(-600 / 120))  # of the second
    assert any("steps go back once (from 600)" in note for note in run.notes)


def test_a_pass_that_ends_before_an_earlier_one_is_told(tmp_path: Path) -> None:
    text = rows(1, 0.8, 0.6, 0.5) + jsonl({"step": 100, "per": 0.7}, {"step": 200, "per": 0.55})
    run = only(write(tmp_path / "run", {"metrics.jsonl": text}))
    assert run.pers() == [(0, 1), (100, 0.7), (200, 0.55), (300, 0.5)]
    assert any("ended at 200, before the 300" in note for note in run.notes)


def test_training_and_evaluation_rows_of_one_step_are_one_and_no_restart(tmp_path: Path) -> None:
    text = "epoch,step,train_loss,val_per\n0,9,1.5,\n0,9,,0.9\n1,19,1.1,\n1,18,,0.5\n"
    run = only(write(tmp_path / "run", {"metrics.csv": text}))
    assert run.n_restarts == 0
    assert run.history[0] == {"step": 9, "epoch": 0, "train_loss": 1.5, "per": 0.9}


def test_the_same_course_in_two_files_is_one(tmp_path: Path) -> None:
    log = "".join(f"step {s} val_per {p:.4f}\n" for s, p in ((0, 1), (100, 0.51234), (200, 0.4)))
    files = {"metrics.jsonl": rows(1, 0.51234, 0.4), "train.log": log}
    run = only(write(tmp_path / "run", files))
    assert (run.n_restarts, run.pers()[1][1]) == (0, 0.51234)
    assert any("tells the same course" in note for note in run.notes)


def test_a_second_log_that_goes_over_the_first_counts_as_a_restart(tmp_path: Path) -> None:
    def log(day: int, *pers: float) -> str:
        return "".join(
            f"2025-03-0{day} 10:00:00,1: Val batch {100 * i}: PER (avg): {per:.4f} "
            "CTC Loss (avg): 1.0000 time: 1.000\n"
            for i, per in enumerate(pers)
        )

    files = {"training_log": log(2, 1, 0.7, 0.3), "training_log.1": log(1, 1, 0.8, 0.5, 0.4)}
    run = only(write(tmp_path / "run", files))
    assert run.n_restarts == 1
    assert run.pers() == [(0, 1), (100, 0.7), (200, 0.3), (300, 0.4)]


def test_a_log_that_goes_on_is_told(tmp_path: Path) -> None:
    files = {"a.jsonl": rows(1, 0.5), "b.jsonl": jsonl({"step": 200, "per": 0.4})}
    run = only(write(tmp_path / "run", files))
    assert run.n_restarts == 1
    assert any("goes on where" in note for note in run.notes)


def test_a_course_of_the_test_split_does_not_replace_that_of_validation(tmp_path: Path) -> None:
    files = {"val.csv": "step,per\n0,1\n1,.5\n", "test.csv": "step,per\n0,.9\n1,.6\n"}
    run = only(write(tmp_path / "run", files))
    assert run.pers() == [(0, 1), (1, 0.5)]
    assert any("tells of the test split" in note for note in run.notes)


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
def test_courses_of_every_format_are_read(tmp_path: Path, name: str, content: str | bytes) -> None:
    run = only(write(tmp_path / "run", {name: content}))
    assert run.pers() == [(0, 1.0), (100, 0.5)]


def test_what_is_not_finite_is_kept_and_survives_the_record(tmp_path: Path) -> None:
    text = (
        '{"step": 1, "per": 1.0, "ctc_loss": NaN}\n'
        '{"step": 2, "per": "nan", "ctc_loss": Infinity}\n'
    )
    run = only(write(tmp_path / "run", {"metrics.jsonl": text}))
    assert math.isnan(run.history[0]["val_loss"])
    again = from_json(to_json(run))
    assert math.isinf(again.history[1]["val_loss"])
    assert again.pers() == [(1, 1.0)]


def test_evaluations_of_a_course_are_never_thinned_and_training_rows_are(tmp_path: Path) -> None:
    lines = [{"step": i, "train_loss": 1.0} for i in range(20_000)]
    lines[5::1000] = [{"step": 5 + 1000 * i, "per": 0.5} for i in range(20)]
    run = only(write(tmp_path / "run", {"metrics.jsonl": jsonl(*lines)}))
    assert len(run.pers()) == 20
    assert len(run.history) < 8000
    assert any("of training alone are left out" in note for note in run.notes)


def test_of_a_huge_file_the_end_is_read_and_the_gap_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.history.reading.files.MOST_COURSE_BYTES", 400)
    text = "step,per\n" + "".join(f"{i},{1 - i / 1000}\n" for i in range(500))
    run = only(write(tmp_path / "run", {"metrics.csv": text}))
    assert run.final == (499, pytest.approx(0.501))
    assert len(run.pers()) < 60
    assert any("bytes after its first line are passed over" in note for note in run.notes)


# ------------------------------------------------------------------------------------ endings


@pytest.mark.parametrize(
    ("text", "settings", "outcome", "reason"),
    [
        (rows(1, 0.5, 0.4), "max_steps: 200", "ok", None),
        (rows(1, 0.5, 0.4), "max_steps: 1000", "unfinished", "step 200 of 1,000 (20%)"),
        (rows(1, 1, 1, 0.9999), "max_steps: 300", "collapsed", "never left 95 to 102 %"),
        (rows(1, 1, 1, 0.9999), "max_steps: 9000", "unfinished", "step 300 of 9,000"),
        (rows(1, 0.4, 0.3, 0.97, 1.0), "max_steps: 400", "diverged", "back at 100.0 %"),
        (
            rows(1, 0.5) + '{"step": 200, "per": 1, "loss": NaN}\n',
            "max_steps: 200",
            "diverged",
            "from step 200 on",
        ),
        (
            rows(1) + '{"step": 100, "per": 1, "grad_norm": Infinity}\n'
            '{"step": 200, "per": 0.4, "grad_norm": 2}\n',
            "max_steps: 200",
            "ok",
            None,
        ),
        (rows(3.1, 2.2, 1.5), "max_steps: 200", "ok", None),
    ],
)
def test_how_a_run_ended_is_told_with_the_reason(
    tmp_path: Path, text: str, settings: str, outcome: str, reason: str | None
) -> None:
    run = only(write(tmp_path / "run", {"config.yaml": settings, "metrics.jsonl": text}))
    assert run.outcome == outcome
    assert reason is None or any(reason in told for told in run.reasons)


def test_blank_fractions_tell_a_collapse_where_the_per_alone_does_not(tmp_path: Path) -> None:
    text = jsonl(*({"step": i, "per": 0.94, "blank_fraction": 0.999} for i in range(4)))
    run = only(write(tmp_path / "run", {"metrics.jsonl": text}))
    assert (run.outcome, "frames are blank" in run.reasons[0]) == ("collapsed", True)


def test_an_early_stop_is_an_end(tmp_path: Path) -> None:
    log = (
        "2025-01-01 10:00:00,1: Val batch 0: PER (avg): 1.0000 CTC Loss (avg): 9.0 time: 1.0\n"
        "2025-01-01 10:00:00,1: Val batch 2000: PER (avg): 0.2000 CTC Loss (avg): 9.0 time: 1.0\n"
        "2025-01-01 10:00:00,1: Overall validation PER has not improved in 20 validation steps. "
        "Stopping training early at batch: 2000\n"
    )
    files = {"training_log": log, "args.yaml": "num_training_batches: 120000\n"}
    run = only(write(tmp_path / "run", files))
    assert (run.outcome, "early stopping" in run.reasons[0]) == ("ok", True)


def test_an_error_at_the_end_of_a_log_is_told(tmp_path: Path) -> None:
    log = "step 1 per 0.9\nTraceback (most recent call last):\nRuntimeError: CUDA out of memory\n"
    files = {"train.log": log, "config.yaml": "max_steps: 100\n"}
    run = only(write(tmp_path / "run", files))
    assert run.outcome == "unfinished"
    assert "CUDA out of memory" in run.reasons[1]


# ------------------------------------------------------------------------------------ folders


def test_links_are_not_followed_and_told(group: Path) -> None:
    found = read_group(group)
    assert "loop is a link" in " ".join(named(found)["run1_baseline"].notes)
    assert any("latest is a link to a folder" in remark for remark in found.remarks)


def test_folders_without_anything_to_go_by_are_listed(group: Path) -> None:
    found = read_group(group)
    assert "run12_only_weights" not in named(found)
    assert any(
        "run12_only_weights: neither settings nor a course" in remark for remark in found.remarks
    )


def test_a_folder_with_settings_or_a_course_alone_is_a_record(group: Path) -> None:
    runs = named(read_group(group))
    assert (runs["run10_planned"].outcome, runs["run10_planned"].settings["seed"]) == (
        "unknown",
        10,
    )
    assert (runs["run11_lost_config"].settings, runs["run11_lost_config"].outcome) == ({}, "ok")


def test_pairs_of_files_of_one_name_in_one_folder_are_a_run_each(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {}
    for name, per in (("a", 0.5), ("b", 0.4)):
        files |= {f"{name}.yaml": SETTINGS, f"{name}.jsonl": rows(1, per)}
    found = named(read_group(write(tmp_path / "runs", {f"flat/{k}": v for k, v in files.items()})))
    assert {name: run.final for name, run in found.items()} == {
        "flat/a": (100, 0.5),
        "flat/b": (100, 0.4),
    }


def test_logs_of_numbered_runs_in_one_folder_are_a_run_each(tmp_path: Path) -> None:
    files = {f"logs/run{i}.log": f"step 0 per 1.0\nstep 9 per 0.{i}\n" for i in (2, 10)}
    runs = read_group(write(tmp_path, files)).runs
    assert [(run.name, run.final) for run in runs] == [
        ("logs/run2", (9, 0.2)),
        ("logs/run10", (9, 0.1)),
    ]


def test_rows_that_say_their_split_are_told_apart(tmp_path: Path) -> None:
    text = jsonl(
        {"step": 1, "split": "train", "per": 0.1, "loss": 2.0},
        {"step": 1, "split": "val", "per": 0.5, "loss": 3.0},
        {"step": 1, "split": "test", "per": 0.6, "loss": 4.0},
    )
    run = only(write(tmp_path / "run", {"metrics.jsonl": text}))
    row = {"step": 1, "train_per": 0.1, "train_loss": 2.0, "per": 0.5, "val_loss": 3.0}
    assert run.history == (row,)
    assert any("rows of the test split (1) are left out" in note for note in run.notes)


def test_special_files_are_passed_over(tmp_path: Path) -> None:
    root = write(tmp_path / "run", {"metrics.jsonl": rows(1, 0.5)})
    os.mkfifo(root / "pipe.log")
    (root / "zero.log").symlink_to("/dev/zero")
    (root / "broken.yaml").symlink_to("nowhere")
    run = only(root)
    assert sum("no regular file" in note for note in run.notes) == 3


def test_names_no_terminal_can_hold_are_told_without_harm(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/run\x1b[31m\xff"))
    folder.mkdir()
    (folder / "metrics.jsonl").write_text(rows(1, 0.5))
    run = only(tmp_path)
    assert run.name == "run\ufffd[31m\ufffd"
    assert from_json(to_json(run)) == run


def test_final_evaluations_are_read_in_the_unit_that_fits_the_course(tmp_path: Path) -> None:
    files = {
        "metrics.jsonl": rows(1, 0.03, 0.02),
        "eval_val.json": '{"avg_PER": 2.0, "loss": 1}',
        "eval_days.json": '{"a": {"PER": 0.1}, "b": {"PER": 0.2}}',
    }
    run = only(write(tmp_path / "run", files))
    assert [(e.path, e.per) for e in run.evaluations] == [("eval_val.json", 0.02)]


def test_numbers_written_as_text_are_numbers_to_the_mapping(tmp_path: Path, group: Path) -> None:
    args = yaml.safe_load((group / "run1_baseline" / "checkpoint" / "args.yaml").read_text())
    args |= {"lr_max": "5e-3", "num_training_batches": 1000.0}
    root = write(tmp_path / "run", {"args.json": json.dumps(args), "m.jsonl": rows(1, 0.5)})
    run = only(root)
    assert run.mapped.config["optim.lr_max"] == 0.005
    assert run.mapped.config["train.n_steps"] == 1000


_TOKENS = (b"nan", b"Infinity", b"-1", b"null", b"[]", b"\xff", b"\x00", b"\n", b'"', b"9" * 30) + (
    b"\\ud800", b"!!python/name:os.system ", b"&a", b"*a", b": ", b"- ",
)  # fmt: skip


def damaged(content: bytes, rng: random.Random) -> bytes:
    """A file after a few accidents: bytes lost, doubled, or replaced by what is awkward."""
    made = bytearray(content)
    for _ in range(rng.randrange(1, 5)):
        at = rng.randrange(len(made) + 1)
        if rng.random() < 0.5:
            made[at : at + rng.randrange(6)] = rng.choice(_TOKENS)
        else:
            del made[at : at + rng.randrange(1, 40)]
    return bytes(made)


def test_damaged_files_of_every_kind_never_end_an_import(
    group: Path, t12_run: Callable[..., Path], tmp_path: Path
) -> None:
    rng = random.Random(5)
    whole = {path.name: path.read_bytes() for path in group.rglob("*") if path.is_file()}
    whole |= {path.name: path.read_bytes() for path in t12_run().iterdir()}
    root = tmp_path / "damaged"
    for index in range(120):
        names = rng.sample(sorted(whole), 4)
        write(root / f"run{index}", {name: damaged(whole[name], rng) for name in names})
    found = read_group(root)
    assert len(found.runs) > 60
    for run in found.runs:
        assert to_json(from_json(to_json(run))) == to_json(run)
