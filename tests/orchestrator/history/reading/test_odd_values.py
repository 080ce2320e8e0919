"""Folders of runs with values that no trainer writes, and files that are no files of runs."""

import json
import os
import time
from pathlib import Path

import pytest
from imported_runs import mentions, only_run

from decoder.errors import ConfigError
from orchestrator.history.reading.read_runs import read_group
from orchestrator.history.reading.record import ImportedRun, from_json, run_document, to_json

SETTINGS = "num_training_batches: 300\nlr_max: 0.005\nseed: 3\nbeta0: 0.9\nepsilon: 0.1\n"
HUGE = "9" * 401


def read(tmp_path: Path, name: str = "", content: str = "") -> ImportedRun:
    """The run of a folder with sound settings and one file, as it is after it was stored."""
    own = tmp_path / "runs" / "run1"
    own.mkdir(parents=True, exist_ok=True)
    (own / "args.yaml").write_text(SETTINGS)
    if name:
        (own / name).write_text(content)
    run = only_run(tmp_path / "runs")
    json.dumps(run_document(run), allow_nan=False)
    return from_json(to_json(run))


@pytest.mark.parametrize(
    ("cell", "allowed"),
    [("-1", "0 to 10, or 0 to 1,000"), ("1e306", "0 to 10"), (HUGE, "0 to 10"), ("1e400", "0 to")],
)
def test_per_out_of_range_is_left_out_with_its_line(
    cell: str, allowed: str, tmp_path: Path
) -> None:
    run = read(tmp_path, "metrics.csv", f"step,val_per,loss\n0,1,30\n100,{cell},20\n299,0.4,9\n")
    assert run.pers() == [(0, 1.0), (299, 0.4)]
    assert run.outcome == "ok"
    assert mentions(run.notes, "run1/metrics.csv", "value of per out of range", "line 3", allowed)


def test_step_out_of_range_leaves_out_its_row(tmp_path: Path) -> None:
    run = read(tmp_path, "metrics.csv", "step,val_per\n0,1\n-5,0.5\n299,0.4\n")
    assert run.pers() == [(0, 1.0), (299, 0.4)] and run.n_restarts == 0
    assert mentions(run.notes, "value of step out of range", "line 3: -5", "0 to 1e12")


def test_infinite_and_nan_values_are_kept_because_they_show_divergence(tmp_path: Path) -> None:
    run = read(tmp_path, "metrics.csv", "step,val_per,loss\n0,1,30\n100,nan,inf\n200,nan,inf\n")
    assert run.outcome == "diverged"


@pytest.mark.parametrize("number", [HUGE, f"-{HUGE}", "1e400", "-3", "1e306"])
@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("metrics.jsonl", '{{"step": {0}, "val_per": {1}}}\n'),
        ("train.log", "step {0} val per: {1}\n"),
        ("train.log", "Val batch {0}: PER (avg): {1} CTC Loss (avg): 3.0 time: 1.2\n"),
    ],
)
def test_no_format_takes_an_impossible_number(
    number: str, name: str, row: str, tmp_path: Path
) -> None:
    content = row.format(0, 1) + row.format(100, number) + row.format(299, 0.4)
    run = read(tmp_path, name, content)
    assert run.pers() == [(0, 1.0), (299, 0.4)]
    assert run.outcome == "ok"


def test_json_lists_of_impossible_numbers_are_left_out_by_row(tmp_path: Path) -> None:
    run = read(tmp_path, "history.json", json.dumps({"step": [0, 100], "val_per": [10**400, 0.4]}))
    assert run.pers() == [(100, 0.4)]
    assert mentions(run.notes, "value of per out of range", "row 1")


@pytest.mark.parametrize("per", [HUGE, "-1", "1e306"])
def test_final_evaluation_out_of_range_does_not_count(per: str, tmp_path: Path) -> None:
    assert read(tmp_path, "eval.json", f'{{"per": {per}}}').evaluations == ()


@pytest.mark.parametrize(
    "value",
    [
        *(HUGE, "9" * 5000, "!!int x", "!!float x", "!!timestamp x", "!!binary x", "!!bool maybe"),
        *("!!set {a}", "!!omap [a]", "!!map [a]", "!foo x", "!!python/object/apply:os.getcwd []"),
        *("[" * 5000, "{a: " * 5000, "&a [*a]"),
    ],
)
def test_odd_values_in_settings_are_read_or_named(value: str, tmp_path: Path) -> None:
    run = read(tmp_path, "config.yaml", f"epsilon: 0.2\nlr_max: {value}\nnum_training_batches: 9\n")
    assert run.seed == 3 and run.settings["lr_max"] == 0.005
    (note,) = (note for note in run.files if note.path.endswith("config.yaml"))
    assert note.role == "settings" or note.role == "unreadable" and note.note


def test_planned_steps_of_hundreds_of_digits_are_not_known(tmp_path: Path) -> None:
    own = tmp_path / "runs" / "run1"
    own.mkdir(parents=True)
    (own / "args.json").write_text(f'{{"num_training_batches": {HUGE}, "lr_max": 0.1}}')
    (own / "metrics.csv").write_text("step,val_per\n0,1\n100,0.5\n")
    assert only_run(tmp_path / "runs").n_planned is None


def test_links_pipes_and_files_of_the_system_are_not_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text('{"lr_max": 0.7, "epsilon": 0.7}')
    own = tmp_path / "runs" / "run1"
    own.mkdir(parents=True)
    (own / "config.json").symlink_to(secret)
    (own / "a.csv").symlink_to("/proc/kmsg")
    (own / "b.csv").symlink_to("b.csv")
    (own / "c.log").symlink_to("/dev/zero")
    (own / "log").symlink_to(own)
    os.mkfifo(own / "d.csv")
    (own / "e.csv").write_text("step,val_per\n0,1\n299,0.4\n")
    (own / "f.csv").symlink_to("e.csv")
    run = read(tmp_path)
    assert run.pers() == [(0, 1.0), (299, 0.4)] and 0.7 not in run.settings.values()
    notes = {note.path: note.note for note in run.files}
    assert "out of the imported folder" in notes["run1/config.json"]
    assert "out of the imported folder" in notes["run1/a.csv"]
    for name in ("b.csv", "c.log", "d.csv"):
        assert mentions(run.notes, name, "not a regular file")


@pytest.mark.parametrize("folder", ["/proc", "/dev", "/sys"])
def test_folders_of_the_system_are_refused(folder: str) -> None:
    with pytest.raises(ConfigError, match="is a folder of the operating system"):
        read_group(Path(folder))


def test_a_curve_of_many_evaluations_keeps_some_of_them_evenly_and_the_last(tmp_path: Path) -> None:
    rows = "".join(f"{step},{1 - step / 50_000:.4f}\n" for step in range(25_000))
    run = read(tmp_path, "metrics.csv", f"step,val_per\n{rows}")
    assert 5_000 < len(run.history) <= 10_000
    assert run.last_step == 24_999
    steps = [step for step, _ in run.pers()]
    assert {b - a for a, b in zip(steps, steps[1:], strict=False)} == {3.0}
    assert mentions(run.notes, "evaluations between others are left out")


def test_the_lowest_per_of_many_evaluations_is_kept(tmp_path: Path) -> None:
    pers = {step: 0.2 if step == 7000 else 0.5 for step in range(12_000)}
    rows = "".join(f"{step},{per}\n" for step, per in pers.items())
    run = read(tmp_path, "metrics.csv", f"step,val_per\n{rows}")
    assert len(run.history) == 6_001 and (7000, 0.2) in run.pers()


def test_an_evaluation_in_the_middle_of_ten_megabytes_is_read(tmp_path: Path) -> None:
    lines = [{"step": step, "loss": 1.0, "note": "x" * 10_000} for step in range(1000)]
    lines[100] |= {"val_per": 0.2}
    run = read(tmp_path, "metrics.jsonl", "".join(f"{json.dumps(line)}\n" for line in lines))
    assert run.pers() == [(100, 0.2)]


def test_a_line_of_a_million_letters_takes_no_time(tmp_path: Path) -> None:
    start = time.process_time()
    run = read(tmp_path, "train.log", f"per {'a' * 10**6}\nstep 1 per: 0.5\n")
    assert run.pers() == [(1, 0.5)]
    assert time.process_time() - start < 2


def test_thousands_of_settings_are_kept_and_not_mapped(tmp_path: Path) -> None:
    start = time.process_time()
    many = json.dumps({"epsilon": 0.1, **{f"k{index}": index for index in range(15_000)}})
    own = tmp_path / "runs" / "run1"
    own.mkdir(parents=True)
    (own / "config.json").write_text(many)
    run = only_run(tmp_path / "runs")
    assert len(run.settings) == 15_001
    assert "15,001 settings" in run.mapped.problem and not run.mapped.config
    assert time.process_time() - start < 3
