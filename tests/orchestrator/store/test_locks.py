"""`orchestrator.store.locks`: one driver a folder."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from decoder.errors import StorageError
from orchestrator.store.locks import current_holder, driver_seat, observed_holder
from orchestrator.store.paths import Results

HOLD = """
import sys, time
from pathlib import Path
from orchestrator.store.locks import driver_seat
from orchestrator.store.paths import Results
with driver_seat(Results(Path(sys.argv[1])), "question", print) as seat:
    seat.tell(5)
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other_driver(results: Results):  # type: ignore[no-untyped-def]
    """A process that holds the lock until it is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(results.root)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_second_driver_learns_who_holds_the_folder(
    results: Results,
    other_driver: subprocess.Popen[str],
) -> None:
    started = time.monotonic()
    with (
        pytest.raises(StorageError) as caught,
        driver_seat(results, "question", print),
    ):
        pytest.fail("two drivers")
    assert time.monotonic() - started < 2
    assert f"process {other_driver.pid} on {socket.gethostname()}" in str(caught.value)
    assert caught.value.exit_code == 5
    holder = current_holder(results, "question")
    assert holder is not None and (holder.pid, holder.n_running) == (other_driver.pid, 5)


def test_the_lock_of_a_killed_driver_is_recognised(
    results: Results,
    other_driver: subprocess.Popen[str],
) -> None:
    other_driver.send_signal(signal.SIGKILL)
    other_driver.wait()
    assert current_holder(results, "question") is None
    said: list[str] = []
    with driver_seat(results, "question", said.append):
        holder = current_holder(results, "question")
        assert holder is not None and holder.pid == os.getpid()
    assert f"process {other_driver.pid}" in said[0] and "was killed" in said[0]


def test_nothing_is_reported_after_a_driver_that_ended_normally(results: Results) -> None:
    said: list[str] = []
    for _ in range(2):
        with driver_seat(results, "question", said.append) as seat:
            seat.tell(3)
            assert json.loads(results.driver("question").read_text())["n_running"] == 3
    assert said == []
    assert not results.driver("question").exists()
    assert current_holder(results, "question") is None


def test_two_ablations_do_not_lock_each_other_out(results: Results) -> None:
    with driver_seat(results, "one", print), driver_seat(results, "two", print):
        assert current_holder(results, "one") is not None


def test_an_unwritable_place_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(StorageError),
        driver_seat(Results(tmp_path / "file"), "question", print),
    ):
        pytest.fail("no folder")


def test_status_sees_how_far_the_steps_are(results: Results) -> None:
    with driver_seat(results, "question", lambda _: None) as seat:
        seat.tell(3, 120, 4800)
        holder = current_holder(results, "question")
    assert holder is not None
    assert (holder.n_running, holder.n_steps_done, holder.n_steps) == (3, 120, 4800)


def test_a_driver_is_observed_without_touching_its_lock(results: Results) -> None:
    assert observed_holder(results, "question") is None
    assert not results.driver_lock("question").exists()
    with driver_seat(results, "question", lambda text: None) as seat:
        seat.tell(3, 30, 120)
        seen = observed_holder(results, "question")
        assert seen is not None
        assert (seen.pid, seen.n_running, seen.n_steps_done) == (os.getpid(), 3, 30)
        results.driver("question").unlink()
        unknown = observed_holder(results, "question")
        assert unknown is not None and unknown.pid == 0
    assert observed_holder(results, "question") is None


def test_what_stands_in_the_place_of_a_lock_hangs_nobody(results: Results) -> None:
    results.ablation("question").mkdir(parents=True)
    os.mkfifo(results.driver_lock("question"))
    assert observed_holder(results, "question") is None
