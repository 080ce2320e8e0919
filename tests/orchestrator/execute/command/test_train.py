"""`orchestrator.execute.command.train`: runs of tiny trainers, each rule of their endings."""

import errno
import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_command import (
    TRAINER,
    Events,
    command_config,
    command_pack,
    execution_in,
    write_trainer,
)

from decoder.errors import StorageError
from decoder.life import ask_to_stop
from decoder.processes import process_start
from orchestrator.execute.backends.local import train_locally
from orchestrator.execute.command.logs import BoundedLog
from orchestrator.execute.command.train import train_command

RUN = "a" * 16
Train = Callable[..., Events]


@pytest.fixture
def train(tmp_path: Path) -> Train:
    """Trains one run with a script; `section` changes the section, other names the settings."""

    def run(
        script: str = TRAINER,
        section: dict[str, Any] | None = None,
        *,
        makes_out: bool = True,
        max_retries: int = 2,
        **settings: Any,
    ) -> Events:
        folder = write_trainer(tmp_path / "trainer", script, makes_out)
        pack = command_pack(command_config(folder, section, **settings))
        events = Events()
        train_locally([pack], execution_in(tmp_path, max_retries=max_retries), events)
        return events

    return run


@pytest.fixture(autouse=True)
def nothing_asks_to_stop() -> Iterator[None]:
    yield
    ask_to_stop(False)


def run_folder(tmp_path: Path) -> Path:
    return tmp_path / "runs" / RUN


def test_a_run_has_its_seed_its_settings_and_one_row_per_evaluation(train: Train) -> None:
    events = train(per=40.0)
    (result,) = events.results
    assert result.status == "ok" and result.n_steps_done == 300
    assert [(row["step"], row["per"]) for row in result.history] == [
        (100, 0.403), (200, 0.203), (300, 0.1363)
    ]  # fmt: skip
    assert [row["val_loss"] for row in result.history] == [0.03, 0.015, 0.01]
    assert math.isnan(result.history[0]["emitted_ratio"])
    assert result.ending.startswith("finished: ")
    assert not events.failures and not events.remarks


@pytest.mark.parametrize(
    ("script", "rule", "status"),
    [
        ("sys.exit(1)", "exit code", "failed"),
        (TRAINER + "sys.exit(1)", "exit code", "failed"),
        ("pass", "no metric", "failed"),
        ("print('PER (avg): 0.1')", "no metric", "failed"),
        (TRAINER.replace("{per:.4f}", "{per * float('nan')}"), "not finite", "diverged"),
        (TRAINER.replace("{3 / step:.4f}", "inf") + "sys.exit(1)", "not finite", "diverged"),
    ],
)
def test_each_ending_has_its_rule(train: Train, script: str, rule: str, status: str) -> None:
    events = train(script)
    if status == "failed":
        assert not events.results
        (failure,) = events.failures
        assert failure.ending.startswith(f"{rule}: ") and failure.n_attempts == 1
        assert failure.traceback.splitlines()[-1] == failure.ending
    else:
        (result,) = events.results
        assert result.status == status and result.ending.startswith(f"{rule}: ")
        assert result.n_steps_done == 100


def test_a_failure_shows_the_end_of_stderr(train: Train) -> None:
    (failure,) = train("raise RuntimeError('the head has 7 classes')").failures
    assert "RuntimeError: the head has 7 classes" in failure.traceback


def test_without_a_metric_it_is_said_what_the_course_holds(train: Train) -> None:
    script = "open(sys.argv[1].replace('config.json', 'out/log.txt'), 'w').write('Val PER: 0.3\\n')"
    (failure,) = train(script).failures
    assert "Val PER: 0.3" in failure.ending
    (failure,) = train("pass").failures
    assert "log.txt is not there" in failure.ending


def test_a_run_that_stops_early_has_done_fewer_steps_if_its_step_is_known(train: Train) -> None:
    script = TRAINER.replace('config["n_steps"] + 1, 100', "201, 100")
    assert train(script).results[0].n_steps_done == 200
    assert train(script, {"metrics": {"per": "PER (avg)"}}).results[0].n_steps_done == 300


def test_a_run_that_recovers_from_a_nan_is_a_result(train: Train) -> None:
    script = TRAINER.replace("{per:.4f}", "{per if step == 300 else float('nan')}")
    (result,) = train(script).results
    assert result.status == "ok" and math.isnan(result.history[0]["per"])


def test_a_run_over_its_hours_fails_and_its_last_line_counts_for_nothing(
    train: Train, tmp_path: Path
) -> None:
    script = TRAINER + "log.write('Val batch 300: PER (avg): 0.'); log.flush(); time.sleep(60)"
    events = train(script, {"hours": 0.8 / 3600})
    assert not events.results
    (failure,) = events.failures
    assert failure.ending.startswith("time limit: ") and failure.n_attempts == 1


def test_a_trainer_that_is_killed_is_tried_again_from_the_start(
    train: Train, tmp_path: Path
) -> None:
    script = f"""
counter = {str(tmp_path / "counter")!r}
n = len(open(counter).read()) if os.path.exists(counter) else 0
open(counter, "a").write("x")
assert os.listdir(json.load(open(sys.argv[1]))["out"]) == []
if n < 2:
    open(json.load(open(sys.argv[1]))["out"] + "/left", "w")
    os.kill(os.getpid(), 9)
{TRAINER}"""
    (result,) = train(script).results
    assert (tmp_path / "counter").read_text() == "xxx" and len(result.history) == 3


def test_a_trainer_that_is_always_killed_fails_after_its_retries(train: Train) -> None:
    (failure,) = train("os.kill(os.getpid(), 9)", max_retries=1).failures
    assert failure.n_attempts == 2
    assert failure.traceback.strip().splitlines()[-1] == "machine: killed by SIGKILL"


def test_a_command_that_cannot_be_started_is_a_fault_of_the_machine(train: Train) -> None:
    (failure,) = train(section={"command": ["no-such-program", "{config}"]}).failures
    assert failure.n_attempts == 3 and "no-such-program" in failure.traceback


def test_no_room_on_the_disk_is_tried_again(train: Train) -> None:
    script = "raise OSError(28, 'No space left on device')"
    (failure,) = train(script, max_retries=1).failures
    assert failure.n_attempts == 2 and "no room on the disk" in failure.traceback


FORKS = """
import subprocess
sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
left = subprocess.Popen(sleep, start_new_session=True)
open(os.path.join(json.load(open(sys.argv[1]))["out"], "pid"), "w").write(str(left.pid))
"""


def test_a_fork_that_outlives_its_trainer_is_ended_and_said(train: Train, tmp_path: Path) -> None:
    events = train(TRAINER + FORKS)
    assert len(events.results) == 1
    pid = int((run_folder(tmp_path) / "out" / "pid").read_text())
    assert process_start(pid) is None
    assert "1 process," in events.remarks[0]


def test_percent_becomes_a_share_and_a_doubtful_rate_is_remarked(train: Train) -> None:
    metrics = {"step": "Val batch", "per": {"name": "PER (avg)", "unit": "percent"}}
    events = train(section={"metrics": metrics}, per=5000.0)
    assert events.results[0].history[0]["per"] == pytest.approx(0.50003)
    assert not events.remarks
    events = train(per=5000.0)
    assert "trainer.metrics.per" in events.remarks[0]


def test_the_course_may_be_what_it_prints(train: Train) -> None:
    script = """
print("loading")
for step in (10, 20):
    print(json.dumps({"step": step, "val": {"wer": 30 / step}, "loss": 1 / step}))
sys.stdout.write("the end")
"""
    metrics = {"wer": {"name": "val.wer", "unit": "percent"}, "train_loss": "loss"}
    section = {"course": "stdout", "metrics": metrics, "steps": None}
    (result,) = train(script, section).results
    assert [(r["step"], r["wer"], r["train_loss"]) for r in result.history] == [
        (10, 0.03, 0.1), (20, 0.015, 0.05)
    ]  # fmt: skip


def test_the_last_line_counts_without_a_line_end_only_at_a_good_end(train: Train) -> None:
    script = "sys.stdout.write('step 1 per 0.5\\nstep 2 per 0.4'); sys.stdout.flush()\n"
    section = {"course": "stdout", "metrics": {"per": "per"}}
    (result,) = train(script, section).results
    assert [row["per"] for row in result.history] == [0.5, 0.4]


def test_evaluations_are_reported_while_the_trainer_runs(train: Train) -> None:
    script = TRAINER.replace("file=log, flush=True)", "file=log, flush=True); time.sleep(0.7)")
    events = train(script, n_steps=200)
    assert [row["step"] for row in events.latest] == [100, 200]
    first = next(i for i, event in enumerate(events) if getattr(event.what, "latest", None))
    assert first < len(events) - 1


def test_its_own_copy_has_its_settings_and_sees_what_lies_beside(
    train: Train, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "trials.txt").write_text("0.25")
    (tmp_path / "trainer" / "sub").mkdir(parents=True)
    (tmp_path / "trainer" / "sub" / "large.bin").write_bytes(b"x" * (2 << 20))
    script = """
config = json.load(open("base.json"))
per = open("../data/trials.txt").read()
open("written-here", "w").write(os.getcwd())
os.makedirs(config["out"])  # as the official trainer does
open(config["out"] + "/log.txt", "w").write(f"Val batch {config['n_steps']}: PER (avg): {per}\\n")
"""
    section = {"command": [sys.executable, "train.py"], "copy": True}
    (result,) = train(script, section, makes_out=False, n_steps=7).results
    assert [(row["step"], row["per"]) for row in result.history] == [(7, 0.25)]
    copy = run_folder(tmp_path) / "work" / "trainer"
    assert (copy / "written-here").read_text() == str(copy)
    assert (copy / "sub" / "large.bin").is_symlink() and not (copy / "train.py").is_symlink()
    assert not (tmp_path / "trainer" / "written-here").exists()
    assert json.loads((tmp_path / "trainer" / "base.json").read_text())["n_steps"] == 300


RESUMES = """
config = json.load(open(sys.argv[1]))
out = config["out"]
print("goes on" if "--resume" in sys.argv else "starts", flush=True)
first = int(open(out + "/at").read()) + 1 if "--resume" in sys.argv else 1
for step in range(first, config["n_steps"] + 1):
    open(out + "/at", "w").write(str(step))
    print(f"step {step} per {1 / step:.4f}", flush=True)
    if step == 3 and first == 1:
        WHAT
"""
RESUME_SECTION = {
    "course": "stdout",
    "metrics": {"per": "per"},
    "resume": [sys.executable, "train.py", "{config}", "--resume"],
}


def test_a_killed_trainer_goes_on_from_its_own_checkpoint(train: Train, tmp_path: Path) -> None:
    script = RESUMES.replace("WHAT", "os.kill(os.getpid(), 9)")
    (result,) = train(script, RESUME_SECTION, n_steps=5).results
    assert [row["step"] for row in result.history] == [1, 2, 3, 4, 5]
    logs = run_folder(tmp_path)
    assert (logs / "stdout.1.log").read_text().startswith("starts")
    assert (logs / "stdout.log").read_text().startswith("goes on")
    assert not (logs / "trainer.json").exists()


def stop_when(path: Path) -> threading.Thread:
    """Ask this process to stop as soon as there is a file with content."""

    def wait() -> None:
        until = time.monotonic() + 10
        while time.monotonic() < until:
            if path.exists() and path.read_text() == "3":
                break
            time.sleep(0.02)
        ask_to_stop()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_a_run_that_is_stopped_has_no_result_and_goes_on_later(
    train: Train, tmp_path: Path
) -> None:
    script = RESUMES.replace("WHAT", "import time; time.sleep(60)")
    thread = stop_when(run_folder(tmp_path) / "out" / "at")
    stopped = train(script, RESUME_SECTION, n_steps=5)
    thread.join()
    assert not stopped.results and not stopped.failures
    assert json.loads((run_folder(tmp_path) / "trainer.json").read_text())["number"] == 1
    (result,) = train(script, RESUME_SECTION, n_steps=5).results
    assert [row["step"] for row in result.history] == [1, 2, 3, 4, 5]
    assert result.pack_seconds > json.loads("0.05")


def test_without_words_to_resume_a_stopped_run_starts_again(train: Train, tmp_path: Path) -> None:
    script = RESUMES.replace("WHAT", "import time; time.sleep(0 if WAITS.exists() else 60)")
    script = f"import pathlib\nWAITS = pathlib.Path({str(tmp_path / 'second')!r})\n{script}"
    section = {**RESUME_SECTION, "resume": None}
    thread = stop_when(run_folder(tmp_path) / "out" / "at")
    train(script, section, n_steps=5)
    thread.join()
    (tmp_path / "second").write_text("")
    (result,) = train(script, section, n_steps=5).results
    assert [row["step"] for row in result.history] == [1, 2, 3, 4, 5]
    assert not (run_folder(tmp_path) / "stdout.1.log").exists()


def test_an_abandoned_generator_leaves_no_process(tmp_path: Path) -> None:
    folder = write_trainer(tmp_path / "trainer", TRAINER + FORKS + "time.sleep(60)")
    training = train_command(command_pack(command_config(folder)), execution_in(tmp_path))
    written = run_folder(tmp_path) / "out" / "pid"
    for _ in training:
        if written.exists() and written.read_text():
            break
    pid = int(written.read_text())
    assert process_start(pid) is not None
    training.close()  # type: ignore[attr-defined]
    assert process_start(pid) is None


def test_a_results_folder_that_cannot_be_written_is_an_error_of_storage(
    train: Train, tmp_path: Path
) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(StorageError):
        train()


def test_no_room_for_what_it_prints_is_an_error_of_storage_and_leaves_no_process(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(log: BoundedLog, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(BoundedLog, "write", write)
    with pytest.raises(StorageError, match="no room"):
        train(FORKS + "print('a line', flush=True)\nimport time; time.sleep(60)")
    pid = int((run_folder(tmp_path) / "out" / "pid").read_text())
    assert process_start(pid) is None


def test_seed_and_settings_reach_the_command_as_flags_and_as_overrides(
    train: Train, tmp_path: Path
) -> None:
    script = "print('\\n'.join(sys.argv[1:]), file=open('words', 'w')); print('step 1 per 0.5')"
    section = {
        "command": [sys.executable, "train.py"], "course": "stdout", "metrics": {"per": "per"},
    }  # fmt: skip
    out = run_folder(tmp_path) / "out"
    for how, words in {
        "flags": ["--per=0.5", "--seed=3", f"--out={out}", '--sizes=[1, "a b"]'],
        "hydra": ["per=0.5", "seed=3", f"out={out}", "++sizes=[1,'a b']"],
    }.items():
        train(script, {**section, "pass": how}, makes_out=False, per=0.5, sizes=[1, "a b"])
        assert (tmp_path / "trainer" / "words").read_text().split("\n")[:-1] == words


def test_the_environment_has_what_the_section_adds(train: Train, tmp_path: Path) -> None:
    script = TRAINER + "open(out / 'env', 'w').write(os.environ['DATA'] + os.environ['HOME'])"
    train(script, {"environment": {"DATA": "{run_id}:"}})
    assert (run_folder(tmp_path) / "out" / "env").read_text() == f"{RUN}:{os.environ['HOME']}"


def test_signals_of_the_trainer_itself_are_not_ours(train: Train) -> None:
    (failure,) = train(f"os._exit({128 + signal.SIGTERM})", max_retries=0).failures
    assert failure.traceback.strip().splitlines()[-1] == "machine: killed by SIGTERM"
