"""An ablation of a user's own script: killed, stopped, finished, read again, reported."""

import io
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from rich.console import Console
from typer.testing import CliRunner

from decoder.errors import ConfigError
from decoder.processes import process_start
from orchestrator.cli.app import app
from orchestrator.driver.run import AblationOutcome, run_ablation
from orchestrator.execute.machine import choose_options
from orchestrator.query.runs import find_run, list_runs
from orchestrator.spec.load import load_spec
from orchestrator.store.ledger import read_history, read_records
from orchestrator.store.paths import Results
from orchestrator.store.record import Record

N_STEPS = 5
# Leaves a process behind at every start, tells its step, and waits from step 3 on while told to.
TRAINER = """
import json, os, subprocess, sys, time
config = json.load(open(sys.argv[1]))
out, here = config["out"], os.path.dirname(os.path.abspath(__file__))
os.makedirs(out, exist_ok=True)
sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
left = subprocess.Popen(sleep, start_new_session=True)
with open(os.path.join(here, "starts"), "a") as file:
    file.write(f"{os.path.basename(os.path.dirname(out))} {len(sys.argv)} {left.pid}\\n")
first = 1 + int(open(out + "/at").read()) if "--resume" in sys.argv else 1
log = open(out + "/log.jsonl", "a")
for step in range(first, config["n_steps"] + 1):
    wer = 50 / step + config["harm"] * (1 + config["seed"] / 20) + config["seed"] / 10
    if config["fault"] == "nan" and step > 2:
        wer = float("nan")
    print(json.dumps({"step": step, "val": {"wer": wer}, "loss": 1 / step}), file=log, flush=True)
    open(out + "/at", "w").write(str(step))
    while step >= 3 and os.path.exists(os.path.join(here, "wait")):
        time.sleep(0.02)
if config["fault"] == "exit":
    sys.exit("the head is missing")
"""
SPEC: dict[str, Any] = {
    "name": "theirs",
    "question": "Does harm raise WER?",
    "trainer": {
        "command": [sys.executable, "train.py", "{config}"],
        "resume": [sys.executable, "train.py", "{config}", "--resume"],
        "cwd": "theirs",
        "base": "base.json",
        "seed": ["seed"],
        "outputs": {"out": "{out}"},
        "course": "{out}/log.jsonl",
        "metrics": {"wer": {"name": "val.wer", "unit": "percent"}, "train_loss": "loss"},
        "steps": "n_steps",
        "code": ["*.py"],
        "data": ["text: made up"],
        "repeat": False,
    },
    "factors": {"harm": {"none": {}, "much": {"harm": 5.0}}},
    "extra_arms": {"nan": {"set": {"fault": "nan"}}, "exit": {"set": {"fault": "exit"}}},
    "seeds": [0, 1, 2, 3],
    "hypotheses": {
        "harmful": {
            "claim": "Harm raises WER.",
            "contrast": {"factor": "harm", "from": "none", "to": "much"},
            "outcome": "wer",
            "direction": "increase",
            "margin": 0.02,
        }
    },
    "criteria": {"low": {"metric": "wer", "below": 0.12}},
}
DRIVER = Path(__file__).with_name("command_driver.py")


class Story(NamedTuple):
    """What happened to one ablation.

    Attributes:
        starts: (run id, words of the command, process left behind) of every start of the trainer.
        after_kill, after_stop: runs recorded when the first driver was killed, and the second
            stopped; exit_code: of the second; stop_seconds: how long it took.
        alive: what lived on ten seconds after each of both.
        outcome: of the third call, which finished.
        said: what it said.
    """

    folder: Path
    results: Results
    starts: list[tuple[str, int, int]]
    after_kill: int
    after_stop: int
    exit_code: int
    stop_seconds: float
    alive: list[list[int]]
    outcome: AblationOutcome
    said: str

    @property
    def records(self) -> dict[str, Record]:
        ids = [path.name for path in self.results.runs.iterdir() if path.is_dir()]
        return read_records(self.results, ids, print)

    def of_arm(self, arm: str) -> list[str]:
        """The ids of an arm's runs, by seed."""
        plan = json.loads(self.results.plan("theirs").read_text())
        return [run["run_id"] for run in plan["runs"] if run["arm_id"] == arm]


def starts_of(folder: Path) -> list[tuple[str, int, int]]:
    path = folder / "theirs" / "starts"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(words[0], int(words[1]), int(words[2])) for words in map(str.split, lines)]


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it took too long"
        time.sleep(0.02)


def alive_after(folder: Path, seconds: float = 10.0) -> list[int]:
    """What lives on of all that the trainers left, after this time at most."""
    until = time.monotonic() + seconds
    pids = [pid for _, _, pid in starts_of(folder)]
    while time.monotonic() < until and any(map(process_start, pids)):
        time.sleep(0.05)
    return [pid for pid in pids if process_start(pid) is not None]


def started_driver(folder: Path, n_starts: int, step: int) -> subprocess.Popen[bytes]:
    """A driver whose trainer waits at a step, after so many starts in all."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, str(DRIVER), str(folder / "theirs.yaml"), str(folder / "results")]
    driver = subprocess.Popen(words, env=environment)

    def waits() -> bool:
        starts = starts_of(folder)
        if len(starts) < n_starts:
            return False
        at = folder / "results" / "runs" / starts[-1][0] / "out" / "at"
        return at.exists() and at.read_text() == str(step)

    wait_for(waits)
    return driver


def n_recorded(folder: Path) -> int:
    return len(list((folder / "results" / "runs").glob("*/record.json")))


def run(folder: Path, said: io.StringIO | None = None) -> AblationOutcome:
    return run_ablation(
        load_spec(folder / "theirs.yaml"),
        Results(folder / "results"),
        choose_options("local", n_workers=1, threads=1, device="cpu"),
        Console(file=said or io.StringIO(), width=400),
    )


def write_spec(folder: Path, **of_trainer: Any) -> None:
    spec = {**SPEC, "trainer": {**SPEC["trainer"], **of_trainer}}
    (folder / "theirs.yaml").write_text(json.dumps(spec))


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder = tmp_path_factory.mktemp("story")
    theirs = folder / "theirs"
    theirs.mkdir()
    (theirs / "train.py").write_text(TRAINER)
    base = {"n_steps": N_STEPS, "harm": 0.0, "fault": "", "seed": 0, "out": ""}
    (theirs / "base.json").write_text(json.dumps(base))
    write_spec(folder)
    (theirs / "wait").touch()
    driver = started_driver(folder, 1, 3)
    driver.kill()
    driver.wait()
    alive, after_kill = [alive_after(folder)], n_recorded(folder)
    driver = started_driver(folder, 2, 4)
    stopped = time.monotonic()
    driver.send_signal(signal.SIGTERM)
    exit_code, stop_seconds = driver.wait(), time.monotonic() - stopped
    alive.append(alive_after(folder))
    after_stop = n_recorded(folder)
    (theirs / "wait").unlink()
    said = io.StringIO()
    outcome = run(folder, said)
    alive.append(alive_after(folder))
    return Story(
        folder,
        Results(folder / "results"),
        starts_of(folder),
        after_kill,
        after_stop,
        exit_code,
        stop_seconds,
        alive,
        outcome,
        said.getvalue(),
    )


def test_a_killed_and_a_stopped_driver_leave_no_process(story: Story) -> None:
    assert story.alive == [[], [], []]
    assert story.exit_code == 128 + signal.SIGTERM and story.stop_seconds < 20
    assert (story.after_kill, story.after_stop) == (0, 0)


def test_the_run_under_way_goes_on_by_the_words_of_resume_and_is_trained_once(
    story: Story,
) -> None:
    first = story.starts[0][0]
    assert [n_words for run_id, n_words, _ in story.starts if run_id == first] == [2, 3, 3]
    others = [run_id for run_id, _, _ in story.starts if run_id != first]
    assert len(others) == len(set(others)) == 15
    steps = [row["step"] for row in read_history(story.results, first)]
    assert steps == list(range(1, N_STEPS + 1))


def test_each_run_has_its_outcome_and_the_rule_that_decided(story: Story) -> None:
    records = story.records
    expected = {"none": ("ok", "finished"), "nan": ("diverged", "not finite")}
    for arm, (status, rule) in {**expected, "exit": ("failed", "exit code")}.items():
        for run_id in story.of_arm(arm):
            record = records[run_id]
            assert record["status"] == status and record["ending"].startswith(f"{rule}: ")
    assert "the head is missing" in str(records[story.of_arm("exit")[0]]["error"])
    assert records[story.of_arm("nan")[0]]["diverged_step"] == 3
    assert (story.outcome.n_recorded, story.outcome.n_failed, story.outcome.exit_code) == (12, 4, 4)


def test_claims_and_criteria_are_about_the_mapped_metrics(story: Story) -> None:
    folder = story.results.ablation("theirs")
    verdict = json.loads((folder / "verdicts.json").read_text())["verdicts"]["harmful"]
    assert verdict["verdict"] == "supported" and verdict["effect"] == pytest.approx(0.05375)
    report = (folder / "report.md").read_text()
    assert "final WER" in report and "+5.4 WER points" in report
    assert "✔ pass" in report  # harm: none
    assert "blank plateau" not in report and "PER of 100" not in report


def test_a_diverged_run_counts_as_the_worst_word_error_rate(story: Story) -> None:
    listing = list_runs(story.results, print, where="outcome == 'diverged'", columns=["wer", "per"])
    assert [row["wer"] for row in listing.rows] == [1.0] * 4
    assert [row["per"] for row in listing.rows] == [None] * 4


def test_a_listing_shows_the_error_rates_that_there_are(story: Story) -> None:
    listing = list_runs(story.results, print)
    varying = ("settings.harm", "settings.fault")
    assert listing.columns == ("run_id", "outcome", "wer", "seed", *varying)


def test_the_report_says_the_rules_and_what_ended_runs(story: Story) -> None:
    report = (story.results.ablation("theirs") / "report.md").read_text()
    for rule in ("not finite", "time limit", "machine", "exit code", "no metric", "finished"):
        assert f"'{rule}': " in report
    assert "the head is missing" in report


def test_one_run_shows_its_rule_its_settings_and_what_it_printed(story: Story) -> None:
    run_id = story.of_arm("exit")[0]
    details = find_run(story.results, run_id, print)
    assert details.from_default["settings.fault"] == (None, "exit")
    printed = {path.name: lines for path, lines in details.printed.items()}
    assert printed == {"stdout.log": [], "stderr.log": ["the head is missing"]}
    words = ["runs", "show", run_id, "--results", str(story.results.root)]
    shown = CliRunner().invoke(app, words).stdout
    assert "exit code: 1" in shown and "the head is missing" in shown
    assert "defaults" not in shown and "torch" not in shown


def test_nothing_but_run_starts_the_trainer(story: Story) -> None:
    results = ["--results", str(story.results.root)]
    for words in (["plan", str(story.folder / "theirs.yaml")], ["report", "theirs"], ["status"]):
        done = CliRunner().invoke(app, [*words, *results])
        assert done.exit_code in (0, 4), done.output
    assert len(starts_of(story.folder)) == len(story.starts)


def test_a_failed_run_is_tried_again_by_the_next_call_and_nothing_else(story: Story) -> None:
    n_starts = len(starts_of(story.folder))
    outcome = run(story.folder)
    assert outcome.n_failed == 4
    assert len(starts_of(story.folder)) == n_starts + 4


def test_other_metrics_are_read_from_what_the_trainer_wrote(story: Story) -> None:
    """The last test of the story: it changes the records."""
    n_starts = len(starts_of(story.folder))
    before = read_records(story.results, story.records, print)
    for slip in ({"wer": "val.werr"}, {"wer": "val.werr", "val_loss": "loss"}):
        write_spec(story.folder, metrics=slip)
        with pytest.raises(
            ConfigError, match=r"no 'val\.werr' \(wer\); .*log\.jsonl holds.* val\.wer"
        ):
            run(story.folder)
    assert read_records(story.results, story.records, print) == before
    assert len(starts_of(story.folder)) == n_starts
    write_spec(story.folder, metrics={"wer": "val.wer", "val_loss": "loss"})
    lost = story.of_arm("much")[0]
    (story.results.run(lost) / "out" / "log.jsonl").unlink()
    said = io.StringIO()
    outcome = run(story.folder, said)
    # Four failed ones, four whose exit code is not known, and the one whose course is gone.
    started = [run_id for run_id, _, _ in starts_of(story.folder)[n_starts:]]
    assert sorted(started) == sorted([*story.of_arm("exit"), lost])
    assert outcome.n_recorded == 12
    last = read_history(story.results, story.of_arm("none")[0])[-1]
    assert last["wer"] == pytest.approx(10.0) and last["val_loss"] == pytest.approx(0.2)
    assert "7 runs were recorded with other metrics" in said.getvalue()
    # What another file maps stays in the record.
    write_spec(story.folder, metrics={"wer": "val.wer"})
    run(story.folder)
    kept = read_history(story.results, story.of_arm("none")[0])[-1]
    names = ("wer", "val_loss", "train_loss")
    assert all(math.isfinite(last[name]) and kept[name] == last[name] for name in names)
