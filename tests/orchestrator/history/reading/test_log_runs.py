"""`orchestrator.history.reading.log_runs`: a log that several runs wrote is several runs."""

import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from imported_runs import by_name, jsonl, mentions, only_run, per_rows, write_files

from orchestrator.history.reading.log_runs import LogRuns
from orchestrator.history.reading.read_runs import read_group


def t15(pers: Sequence[float], ended: bool = True, first: int = 0) -> str:
    """What the T15 trainer prints, evaluated every 100 batches."""
    lines = ["2026-02-03 10:00:00,000: Using device: cuda:0"]
    for at, per in enumerate(pers, first):
        lines += [
            f"2026-02-03 10:00:01,000: Train batch {100 * at}: loss: 9.00 grad norm: 1.00 "
            "time: 0.1",
            f"2026-02-03 10:00:02,000: Val batch {100 * at}: PER (avg): {per:.4f} "
            "CTC Loss (avg): 9.0000 time: 1.0",
        ]
    if ended:
        lines.append("2026-02-03 11:00:00,000: Total training time: 60.00 minutes")
    return "\n".join(lines) + "\n"


def finals(root: Path) -> dict[str, float]:
    """Last part of a run's name → its final PER."""
    return {
        name.rpartition("/")[2]: run.final[1] if run.final else -1.0
        for name, run in by_name(read_group(root)).items()
    }


@pytest.mark.parametrize(
    ("one", "two", "names"),
    [
        ("=== RUN wide.yaml ===\n", "=== RUN narrow.yaml ===\n", ("wide", "narrow")),
        ("OUT=models/a/wide\n", "OUT=models/a/narrow\n", ("wide", "narrow")),
        ("### Experiment: wide ###\n", "### Experiment: narrow ###\n", ("wide", "narrow")),
        ("Run 1/2: wide\n", "Run 2/2: narrow\n", ("1-2:-wide", "2-2:-narrow")),
        (
            "+ python train_model.py --config c/wide.yaml\n",
            "+ python train_model.py --config c/narrow.yaml\n",
            ("wide", "narrow"),
        ),
        ("wandb: Syncing run wide-1\n", "wandb: Syncing run narrow-2\n", ("wide-1", "narrow-2")),
        ("Training model wide\n", "Training model narrow\n", ("wide", "narrow")),
        (
            "\x1b[1m=== RUN wide ===\x1b[0m\n",
            "\x1b[1m=== RUN narrow ===\x1b[0m\n",
            ("wide", "narrow"),
        ),
        ("Running seed 1\n", "Running seed 2\n", ("seed=1", "seed=2")),
        ("=== Seed: 1 ===\n", "=== Seed: 2 ===\n", ("seed=1", "seed=2")),
        ("===== lr=0.01 =====\n", "===== lr=0.02 =====\n", ("lr=0.01", "lr=0.02")),
        ("[run: wide] loading\n", "[run: narrow] loading\n", ("wide", "narrow")),
        ("", "", ("run1", "run2")),
    ],
)
def test_a_loop_of_runs_in_one_log_is_one_run_each(
    tmp_path: Path, one: str, two: str, names: tuple[str, str]
) -> None:
    log = "======= SWEEP: widths =======\n" * bool(one and "lr=" not in one) + one
    log += t15([1, 0.6, 0.31]) + "\n" + two + t15([1, 0.7, 0.42])
    root = write_files(tmp_path / "group", {"loop/slurm_7.out": log})
    assert finals(root) == dict(zip(names, (0.31, 0.42), strict=True))
    runs = read_group(root).runs
    assert {run.n_restarts for run in runs} == {0}
    assert len({run.curve_digests for run in runs}) == 2  # not taken as copies


def test_an_announced_run_that_failed_is_no_part_of_the_next(tmp_path: Path) -> None:
    log = "=== RUN a ===\n" + t15([1, 0.5], ended=False) + "RuntimeError: CUDA out of memory\n"
    log += "=== RUN b ===\nRuntimeError: no such file\n=== RUN c ===\n" + t15([1, 0.4, 0.3])
    root = write_files(tmp_path / "group", {"loop/train.log": log})
    assert finals(root) == {"a": 0.5, "c": 0.3}
    a, c = read_group(root).runs
    assert mentions(a.reasons, "out of memory") and not mentions(c.reasons, "memory")
    assert mentions(c.notes, "train.log", "b")


def test_a_run_that_goes_on_from_its_checkpoint_stays_one(tmp_path: Path) -> None:
    log = t15([1, 0.6, 0.5], ended=False) + "2026-02-03 12:00:00,000: Loaded model from "
    log += "checkpoint: a/best\n" + t15([0.55, 0.4], first=1)
    run = only_run(write_files(tmp_path / "run", {"training_log": log}))
    assert (run.n_restarts, run.pers()) == (1, [(0, 1), (100, 0.55), (200, 0.4)])


def test_a_run_announced_again_from_a_later_step_stays_one(tmp_path: Path) -> None:
    head = "=== RUN wide.yaml ===\n"
    log = head + t15([1, 0.6, 0.5], ended=False) + head + t15([0.55, 0.4], first=1)
    assert only_run(write_files(tmp_path / "run", {"train.log": log})).n_restarts == 1


def test_headings_within_one_run_split_nothing(tmp_path: Path) -> None:
    head, resumed = "=== Config ===\n=== Model ===\n", "=== Resuming ===\n"
    log = head + t15([1, 0.6, 0.58], ended=False) + resumed + t15([0.55, 0.4], first=1)
    run = only_run(write_files(tmp_path / "resumed", {"train.log": log}))
    assert run.n_restarts == 1 and not mentions(run.notes, "wrote no step")
    log = "=== Config ===\nlr_max: 0.1\n=== Model ===\n" + t15([1, 0.6], ended=False)
    log += "=== Training ===\n" + t15([0.5, 0.4], first=2)
    assert len(only_run(write_files(tmp_path / "run", {"train.log": log})).pers()) == 4


def test_one_file_that_goes_over_all_steps_several_times_holds_several_runs(tmp_path: Path) -> None:
    text = "".join(
        f"batch {100 * at}, ctc loss: 2.0, cer: {per}, time/batch: 0.1\n"
        for pers in ((1, 0.5, 0.4), (1, 0.6, 0.3), (1, 0.7, 0.2))
        for at, per in enumerate(pers)
    )
    root = write_files(tmp_path / "group", {"loop/out.log": text})
    assert finals(root) == {"run1": 0.4, "run2": 0.3, "run3": 0.2}
    cut = text.rsplit("batch 200", 1)[0]
    cut += "".join(f"batch {s}, ctc loss: 2.0, cer: 0.9, time/batch: 0.1\n" for s in (150, 160))
    root = write_files(tmp_path / "cut", {"loop/out.log": cut})
    assert finals(root) == {"run1": 0.4, "run2": 0.3, "run3": 0.9}


def test_tables_of_seeds_have_the_settings_of_their_folder(tmp_path: Path) -> None:
    files = {f"net/metrics_seed{s}.csv": f"epoch,val_per\n0,1\n1,.5\n2,.{s}\n" for s in (3, 4)}
    root = write_files(tmp_path / "group", files | {"net/config.yaml": "lr_max: 0.1\nseed: 9\n"})
    runs = by_name(read_group(root))
    assert [run.settings["lr_max"] for run in runs.values()] == [0.1, 0.1]
    assert runs["net/metrics_seed4"].final == (2, 0.4)
    assert [run.seed for run in runs.values()] == [3, 4]


def test_a_log_of_seeds_has_the_settings_of_its_folder(tmp_path: Path) -> None:
    log = "Running seed 1\n" + t15([1, 0.5, 0.4]) + "Running seed 2\n" + t15([1, 0.6, 0.5])
    files = {"loop/train.log": log, "loop/args.yaml": "lr_max: 0.2\nseed: 9\n"}
    runs = read_group(write_files(tmp_path / "g", files)).runs
    assert [(run.seed, run.settings["lr_max"]) for run in runs] == [(1, 0.2), (2, 0.2)]


def test_rows_of_a_table_that_name_their_run_are_of_that_run(tmp_path: Path) -> None:
    rows = [{"step": s, "per": p, "run": "a"} for s, p in ((0, 1.0), (9, 0.3))]
    rows += [{"step": s, "per": p, "run": "b"} for s, p in ((0, 1.0), (9, 0.4))]
    csv = "epoch,seed,val_per\n0,3,1\n0,4,1\n1,3,.5\n1,4,.6\n"
    root = write_files(
        tmp_path / "group",
        {"j/metrics.jsonl": jsonl(*rows), "c/history.csv": csv, "c/args.yaml": "lr_max: 0.1\n"},
    )
    assert finals(root) == {"a": 0.3, "b": 0.4, "seed3": 0.5, "seed4": 0.6}
    seeds = by_name(read_group(root))
    assert (seeds["c/seed3"].seed, seeds["c/seed4"].settings) == (3, {"lr_max": 0.1})


def test_settings_are_those_that_bear_the_name_of_the_run(tmp_path: Path) -> None:
    log = "=== RUN wide ===\n" + t15([1, 0.5]) + "=== RUN narrow ===\n" + t15([1, 0.6])
    files = {"wide.yaml": "lr_max: 0.1\nseed: 1\n", "args.yaml": "lr_max: 0.2\nseed: 2\n"}
    runs = by_name(read_group(write_files(tmp_path / "g", {"loop/train.log": log} | {
        f"loop/{name}": text for name, text in files.items()
    })))  # fmt: skip
    assert runs["loop/wide"].settings["lr_max"] == 0.1
    assert runs["loop/narrow"].settings == {}
    assert mentions(runs["loop/narrow"].notes, "several runs")
    assert not mentions(runs["loop/wide"].notes, "args.yaml")


def test_tables_of_unlike_names_over_the_same_steps_are_one_run_each(tmp_path: Path) -> None:
    files = {
        "out/gru_metrics.csv": "epoch,val_per\n0,.9\n1,.5\n2,.4\n",
        "out/gru_metrics_trial02.csv": "epoch,val_per\n0,.8\n1,.45\n",
        "out/tcn_metrics_0.01LR.csv": "epoch,val_per\n0,.9\n1,.3\n",
        "out/tcn_metrics_0.02LR.csv": "epoch,val_per\n0,.9\n1,.35\n",
    }
    root = write_files(tmp_path / "group", files)
    assert sorted(finals(root).values()) == [0.3, 0.35, 0.4, 0.45]
    assert not any(run.n_restarts for run in read_group(root).runs)
    assert not mentions(by_name(read_group(root))["out/gru_metrics"].notes, "trial02")


def test_a_numbered_part_goes_on_and_a_numbered_run_starts_again(tmp_path: Path) -> None:
    part = jsonl({"step": 100, "per": 0.65}, {"step": 200, "per": 0.4})
    files = {"metrics_1.jsonl": per_rows(1, 0.7), "metrics_2.jsonl": part}
    run = only_run(write_files(tmp_path / "run", files))
    assert (run.n_restarts, run.pers()) == (1, [(0, 1), (100, 0.65), (200, 0.4)])
    jobs = {f"logs/job_{n}.out": t15([1, 0.5, n / 1000], ended=False) for n in (301, 302)}
    assert finals(write_files(tmp_path / "jobs", jobs)) == {"job_301": 0.301, "job_302": 0.302}


def test_logs_of_several_jobs_are_told_apart_by_job_and_run(tmp_path: Path) -> None:
    def job(*runs: tuple[str, list[float]]) -> str:
        return "".join(f"=== RUN {name} ===\n" + t15(pers) for name, pers in runs)

    files = {
        "logs/job_1.out": job(("base", [1, 0.5, 0.4]), ("wide", [1, 0.6, 0.3])),
        "logs/job_2.out": job(("base", [1, 0.5, 0.41]), ("deep", [1, 0.7, 0.2])),
        "logs/job_3.out": t15([1], ended=False),  # the same first evaluation is not the same run
        "logs/job_3.err": "Traceback (most recent call last):\nKeyError: 'sessions'\n",
        "logs/job_4.out": t15([1, 0.9, 0.8], ended=False),
    }
    runs = by_name(read_group(write_files(tmp_path / "group", files)))
    assert {name.rpartition("/")[2]: run.final and run.final[1] for name, run in runs.items()} == {
        "job_1-base": 0.4,
        "job_1-wide": 0.3,
        "job_2-base": 0.41,
        "job_2-deep": 0.2,
        "job_3": 1,
        "job_4": 0.8,
    }
    assert runs["logs/job_3"].outcome == "unfinished"
    assert mentions(runs["logs/job_3"].reasons, "KeyError")
    assert runs["logs/job_4"].outcome == "ok"  # nothing says how long it should train


def test_a_log_with_fewer_digits_is_no_second_run(tmp_path: Path) -> None:
    pers = [1.0, 0.8123, 0.6049, 0.4511, 0.3987, 0.3512]
    log = "".join(f"step {100 * at}: PER {per:.2f}\n" for at, per in enumerate(pers))
    files = {"metrics.jsonl": per_rows(*pers), "gru_out.log": log}
    run = only_run(write_files(tmp_path / "run", files))
    assert (run.n_restarts, run.final) == (0, (500, 0.3512))


def test_an_attempt_in_the_folder_of_one_run_is_no_second_run(tmp_path: Path) -> None:
    head = "2026-02-03 09:00:00,000 [INFO] Starting training run\n"
    head += "2026-02-03 09:00:00,001 [INFO] Run Name: wide\n"
    log = head + t15([1, 0.6, 0.5], ended=False) + head + t15([1], ended=False)
    alone = {"loop/train.log": log}
    assert finals(write_files(tmp_path / "alone", alone)) == {"wide": 0.5, "wide-2": 1.0}
    files = alone | {"loop/args.yaml": "lr_max: 0.1\nn_layers: 2\n"}
    run = only_run(write_files(tmp_path / "with", files))
    assert (run.n_restarts, run.final) == (1, (200, 0.5))


def test_the_name_of_a_run_before_every_line_splits_nothing(tmp_path: Path) -> None:
    lines = [f"[model gru] step {s}: val PER {p}\n" for s, p in ((0, 1.0), (5, 0.6), (9, 0.4))]
    log = "[model gru] loading\n" + "".join(f"{line}[model gru] saved\n" for line in lines)
    run = only_run(write_files(tmp_path / "run", {"train.log": log}))
    assert run.pers() == [(0, 1), (5, 0.6), (9, 0.4)]


@pytest.mark.parametrize(
    "line", ["2026-01-01 " + ":" * 400, "=== a" + "=b" * 240, "- " * 250, "batch 1, " * 100_000]
)
def test_a_hostile_line_takes_no_time(line: str) -> None:
    start = time.process_time()
    LogRuns().read(line)
    assert time.process_time() - start < 1
