"""The page that a process of its own writes while an ablation trains, and what ends it."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from rich.console import Console
from small_ablation import history_row

from decoder.errors import StorageError
from decoder.pack import Progress
from orchestrator.driver import live_page
from orchestrator.driver.live_page import LivePage
from orchestrator.driver.page_writer import Task, Told, Writer, write_until_the_end
from orchestrator.driver.run import run_ablation
from orchestrator.execute.backends import PackEvent
from orchestrator.execute.stopping import Stopped
from orchestrator.store.paths import Results
from orchestrator.store.plan_file import read_plan
from orchestrator.store.sources import training_sha256

ROOT = Path(__file__).parents[3]
PATIENCE_SECONDS = 60.0


@pytest.fixture
def store(store: Results) -> Results:
    """The store of the other tests, as the present sources would have made it."""
    for path in store.runs.glob("*/record.json"):
        record = json.loads(path.read_text())
        record["environment"]["code"]["training_sha256"] = training_sha256()
        path.write_text(json.dumps(record))
    return store


def until(reached: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.05)


def page_of(store: Results) -> Path:
    return store.ablation("two") / "report.html"


def text_of(store: Results) -> str:
    path = page_of(store)
    return path.read_text() if path.exists() else ""


def task_of(store: Results, **changes: Any) -> Task:
    facts: dict[str, Any] = {
        "root": str(store.root),
        "kind": store.kind,
        "name": "two",
        "question": "Does it?",
        "metric": "per",
        "since": "2020-01-01T00:00:00+00:00",
        "shares": False,
        "every_seconds": 0.05,
    }
    return Task(**{**facts, **changes})


def page_for(store: Results, say: Callable[[str], None] = print, **times: float) -> LivePage:
    times = {"first_seconds": 0.0, "every_seconds": 0.2, **times}
    return LivePage(store, "two", "Does it?", "per", say, **times)


def lose_a_record(store: Results) -> str:
    """Remove the record of one run, which then is to be trained."""
    run_id = read_plan(store, "two").runs[0].run_id
    store.record(run_id).unlink()
    return run_id


def test_a_process_writes_what_is_recorded_and_what_is_told(store: Results) -> None:
    run_id = lose_a_record(store)
    with page_for(store) as page:
        until(lambda: "11 of 12 runs" in text_of(store))
        before = text_of(store)
        assert "data-written" in before.split("<head>")[0]
        page.update(PackEvent("p", Progress(20, {run_id: history_row(20, 0.1234)})))
        page.tell(1, 300, 4000)
        until(lambda: "300 of 4,000" in text_of(store))
        assert "1 run under way" in text_of(store)
    assert sorted(p.name for p in store.ablation("two").iterdir()) == ["plan.json", "report.html"]


def test_nothing_is_written_when_training_ends_at_once(store: Results) -> None:
    started = time.monotonic()
    with page_for(store, first_seconds=30.0):
        pass
    assert not page_of(store).exists() and time.monotonic() - started < 10


def test_an_error_of_the_driver_stands_on_the_last_page(store: Results) -> None:
    with pytest.raises(OSError), page_for(store):
        until(lambda: bool(text_of(store)))
        raise OSError("the disk went away")
    html = text_of(store)
    assert "OSError: the disk went away" in html and "data-written" not in html.split("<head>")[0]


def test_after_a_signal_the_page_is_left_for_the_report(store: Results) -> None:
    with pytest.raises(Stopped), page_for(store):
        until(lambda: bool(text_of(store)))
        raise Stopped(signal.SIGINT)
    assert 'class="stale" data-stale hidden' in text_of(store)


def test_a_killed_driver_leaves_a_page_that_says_so_and_no_process(store: Results) -> None:
    code = (
        "import sys, time; from pathlib import Path; from orchestrator.store.paths import Results;"
        "from orchestrator.driver.live_page import LivePage;"
        "page = LivePage(Results(Path(sys.argv[1])), 'two', 'Does it?', 'per', print,"
        " first_seconds=0.0, every_seconds=0.2); page.__enter__(); time.sleep(600)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", code, str(store.root)], env=environment) as driver:
        until(lambda: "data-written" in text_of(store).split("<head>")[0])
        [writer] = children_of(driver.pid)
        driver.kill()
    until(lambda: "data-written" not in text_of(store).split("<head>")[0])
    assert "12 of 12 runs" in text_of(store) and 'class="stale"' in text_of(store)
    until(lambda: not Path(f"/proc/{writer}").exists())


def children_of(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(path.parent.name))
    return found


def test_a_page_that_cannot_be_written_is_tried_again_and_then_given_up(
    store: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def refuse(self: Writer, *arguments: Any) -> None:
        tries.append(arguments)
        raise StorageError("no room on the device")

    monkeypatch.setattr(Writer, "write", refuse)
    with pytest.raises(StorageError):
        write_until_the_end(task_of(store), Told(), threading.Event(), os.getppid())
    assert len(tries) == 3


def test_a_process_that_fails_is_said_once_and_ends_nothing(
    store: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    failing = "import sys; sys.exit('no room on the device')"
    start = subprocess.Popen
    monkeypatch.setattr(
        live_page.subprocess,
        "Popen",
        lambda command, **named: start([sys.executable, "-S", "-c", failing], **named),
    )
    with page_for(store, said.append) as page:
        until(lambda: bool(said))
        for n in range(5):
            page.tell(1, n, 3)
    assert len(said) == 1 and "no room on the device" in said[0]


def test_a_process_that_hangs_is_ended_with_the_training(
    store: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []
    start = subprocess.Popen

    def hanging(command: list[str], **named: Any) -> "subprocess.Popen[bytes]":
        code = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"
        started.append(start([sys.executable, "-S", "-c", code], **named))
        return started[-1]

    monkeypatch.setattr(live_page.subprocess, "Popen", hanging)
    monkeypatch.setattr(live_page, "_END_SECONDS", 0.2)
    monkeypatch.setattr(live_page, "_MORE_SECONDS", 0.2)
    with page_for(store) as page:
        until(lambda: bool(started))
        for n in range(20_000):  # more than the pipe holds
            page.tell(1, n, 20_000)
    assert started[0].wait(5) == -signal.SIGKILL


def test_training_goes_on_where_no_process_can_start(
    load: Any,
    results: Any,
    options: Any,
    console: Console,
    backend: Any,
    describe: Any,
    rebuilt: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*arguments: Any, **named: Any) -> None:
        raise OSError("no more processes")

    waited = threading.Event()
    monkeypatch.setattr(live_page, "FIRST_SECONDS", 0.0)
    monkeypatch.setattr(live_page.subprocess, "Popen", refuse)

    def slow(*arguments: Any) -> None:
        until(lambda: "no more processes" in console.export_text(clear=False))
        waited.set()
        backend(*arguments)

    outcome = run_ablation(
        load(), results, options, console, backend=slow, describe=describe, rebuild=rebuilt
    )
    assert waited.is_set() and outcome.exit_code == 0 and len(rebuilt) == 1


def test_of_drivers_that_share_the_work_one_writes(store: Results) -> None:
    lock = FileLock(store.page_lock("two"))
    ended = threading.Event()
    task, told = task_of(store, shares=True), Told()
    with lock:
        writer = threading.Thread(
            target=write_until_the_end, args=(task, told, ended, os.getppid()), daemon=True
        )
        writer.start()
        time.sleep(0.5)
        assert not page_of(store).exists()
    until(lambda: "12 of 12 runs" in text_of(store))
    told.ended = "over"
    ended.set()
    writer.join(PATIENCE_SECONDS)
    assert not writer.is_alive()


def test_a_fault_in_the_verdicts_leaves_counts_and_claims(
    store: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Any) -> None:
        raise ZeroDivisionError("a slip")

    monkeypatch.setattr("orchestrator.report.claim_verdicts.decide", broken)
    Writer(task_of(store), Told()).write(30.0)
    html = text_of(store)
    assert "12 of 12 runs" in html and "6 of 6 seeds" in html and "ZeroDivisionError" in html


def test_failures_of_this_call_are_shown_with_their_line(store: Results) -> None:
    plan = read_plan(store, "two")
    for run, finished_at in zip(plan.runs[:2], ("2019-01-01", "2026-01-01"), strict=True):
        path = store.record(run.run_id)
        record = json.loads(path.read_text())
        error = 'Traceback (most recent call last):\n  File "x.py"\nValueError: shape\n'
        record |= {"status": "failed", "error": error}
        record["timing"]["finished_at"] = f"{finished_at}T00:00:00+00:00"
        path.write_text(json.dumps(record))
    Writer(task_of(store), Told()).write(30.0)
    html = text_of(store)
    assert "10 of 12 runs" in html and "<b>1 failed</b>" in html
    assert html.count("ValueError: shape") == 1, "the older one is to be tried again"
    assert f"{plan.runs[1].arm_id}, seed {plan.runs[1].seed}" in html


def test_a_record_is_read_once_and_a_new_one_is_found(store: Results) -> None:
    run_id = read_plan(store, "two").runs[0].run_id
    content = store.record(run_id).read_bytes()
    store.record(run_id).unlink()
    writer = Writer(task_of(store), Told())
    writer.write(30.0)
    assert "11 of 12 runs" in text_of(store)
    for other in read_plan(store, "two").run_ids[1:]:
        store.record(other).write_text("damaged since")
    store.record(run_id).write_bytes(content)
    writer.write(30.0)
    assert "12 of 12 runs" in text_of(store)


def test_the_time_left_follows_from_the_pace_since_the_first_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr("orchestrator.driver.page_writer.time.monotonic", lambda: now[0])
    told = Told()
    told.hear({"steps": [10, 110]})
    assert told.seconds_left() is None
    now[0] = 120.0
    told.hear({"steps": [30, 110]})
    assert told.seconds_left() == pytest.approx(80.0)
    told.hear({"steps": [30, 500]})  # another round has more to do
    assert told.seconds_left() is None
    told.hear({"steps": [500, 500]})
    now[0] = 200.0
    told.hear({"steps": [0, 500]})  # and one after it as much
    now[0] = 210.0
    told.hear({"steps": [50, 500]})
    assert told.seconds_left() == pytest.approx(90.0)


def test_a_search_shows_its_candidates(store: Results) -> None:
    own = store.of_searches
    told = Told()
    told.hear({"counts": {"candidates": 8, "trained to the end": 2, "stopped early": 3}})
    told.hear({"runs": {"r1": ["candidate-5", 1], "r2": ["candidate-5", 2]}})
    told.hear({"rows": [["r1", 10, 0.5], ["r2", 10, 0.3], ["r1", 20, 0.4]]})
    Writer(task_of(own, kind="searches"), told).write(30.0)
    html = text_of(own)
    assert "5 of 8 candidates" in html and "stopped early: 3" in html
    [figure] = re.findall(r"<figcaption><b>candidate-5</b><br>(\d) seeds", html)
    assert figure == "2" and "40.0\u00a0% at step 10" in html
