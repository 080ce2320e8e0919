"""When a worker counts as hung, and the watch over training in this process."""

import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from decoder.config import DecoderConfig
from decoder.life import is_asked_to_stop, show_sign
from decoder.pack import Pack, Progress, Run
from decoder.processes import process_start
from orchestrator.execute.backends import Execution, PackEvent
from orchestrator.execute.backends.hang import (
    Stillness,
    hang_limit,
    kill_process,
    look_every,
    silence_limit,
)
from orchestrator.execute.backends.local import train_locally
from orchestrator.execute.backends.local_watch import HUNG, local_watch
from orchestrator.execute.stopping import Stopped, stop_switch

ROOT = Path(__file__).parents[4]
PACK = Pack("pack-with-a-name", 3, tuple(Run(f"run{i}", DecoderConfig()) for i in range(5)))


def test_a_process_that_was_itself_stopped_counts_none_of_that_time() -> None:
    times = iter([0.0, 1.0, 2.0, 2.5, 3600.0, 3601.0])
    still = Stillness(most_between=2.0, clock=lambda: next(times))
    assert [still.seconds(value) for value in ("a", "a", "a", "a", "a")] == [0, 1, 1.5, 3.5, 4.5]


def test_the_longest_time_is_that_of_a_value_that_changed() -> None:
    times = iter([0.0, 1.0, 4.0, 5.0, 30.0, 31.0, 33.0])
    still = Stillness(most_between=100.0, clock=lambda: next(times))
    for value in ("a", "a", "b"):
        still.seconds(value)
    assert still.longest == 3.0
    still.seconds(None)  # idle: how long does not matter
    still.seconds("c")
    still.seconds("c")
    assert still.longest == 3.0


def test_slow_steps_raise_the_limit_and_zero_switches_it_off() -> None:
    assert hang_limit(600.0, 2.0) == 600.0
    assert hang_limit(600.0, 90.0) == 1800.0
    assert hang_limit(None, 90.0) == silence_limit(None) == math.inf
    assert silence_limit(600.0) == 120.0
    assert (look_every(600.0), look_every(None), look_every(2.0)) == (1.0, 1.0, 0.1)


def test_a_stopped_process_is_killed_but_not_another_with_its_id() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        child.send_signal(signal.SIGSTOP)
        assert not kill_process(child.pid, "another time")
        assert child.poll() is None
        assert kill_process(child.pid, process_start(child.pid))
        assert child.wait(5) == -signal.SIGKILL
        assert not kill_process(child.pid, "any")
    finally:
        child.kill()
        child.wait()


def execution_in(folder: Path, hang_seconds: float | None = None) -> Execution:
    return Execution(folder, folder / "checkpoints", n_workers=1, hang_seconds=hang_seconds)


def test_a_hang_in_this_process_is_said_with_its_stack_and_ends_it(tmp_path: Path) -> None:
    said: list[str] = []
    with local_watch(execution_in(tmp_path, 0.4), said.append) as watch, watch.over(PACK):
        show_sign(12)
        deadline = time.monotonic() + 20
        while not said and time.monotonic() < deadline:
            time.sleep(0.02)
    (text,) = said
    (stack,) = tmp_path.glob("hang-*.txt")
    for fact in ("pack-w", "seed 3", "run0, run1, run2 and 2 more", "since step 12", str(stack)):
        assert fact in text
    assert "test_a_hang_in_this_process" in stack.read_text()


def test_training_that_shows_signs_is_left_alone_and_so_is_a_slow_driver(tmp_path: Path) -> None:
    said: list[str] = []
    with local_watch(execution_in(tmp_path, 1.0), said.append) as watch:
        with watch.over(PACK):
            for _ in range(30):
                show_sign()
                time.sleep(0.05)
        time.sleep(1.3)  # nothing trains
    assert not said


HANGING = """
import sys, time
from pathlib import Path
from decoder.config import DecoderConfig
from decoder.pack import Pack, Progress, Run
from orchestrator.execute.backends import Execution
from orchestrator.execute.backends.local import train_locally

def train_pack(pack, execution):
    yield Progress(5)
    time.sleep(60)

folder = Path(sys.argv[1])
execution = Execution(folder, folder / "checkpoints", n_workers=1, hang_seconds=0.5)
pack = Pack("pack", 0, (Run("run", DecoderConfig()),))
train_locally([pack], execution, lambda event: None, train_pack=train_pack)
"""


def test_a_hang_ends_the_process_with_the_code_for_runs_that_lack_a_result(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HANGING, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )
    assert done.returncode == HUNG == 4
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.glob("hang-*.txt"))


def raise_in_a_while(seconds: float, number: int = signal.SIGTERM) -> None:
    timer = threading.Timer(seconds, os.kill, (os.getpid(), number))
    timer.daemon = True
    timer.start()


def test_a_signal_waits_until_training_has_saved(tmp_path: Path) -> None:
    saved: list[bool] = []

    def train_pack(pack: Pack, execution: Execution) -> Iterator[Progress]:
        yield Progress(1)
        raise_in_a_while(0.05)
        while not is_asked_to_stop():
            time.sleep(0.01)
        saved.append(True)

    events: list[PackEvent] = []
    with pytest.raises(Stopped) as caught, stop_switch():
        train_locally([PACK], execution_in(tmp_path), events.append, train_pack=train_pack)
    assert caught.value.signal_number == signal.SIGTERM
    assert saved == [True]
    assert len(events) == 1  # nothing failed
    assert not is_asked_to_stop()


def test_a_signal_while_a_run_is_recorded_waits_until_training_has_saved(tmp_path: Path) -> None:
    saved: list[bool] = []

    def train_pack(pack: Pack, execution: Execution) -> Iterator[Progress]:
        yield Progress(1)
        saved.append(is_asked_to_stop())

    with pytest.raises(Stopped) as caught, stop_switch() as switch:

        def record(event: PackEvent) -> None:
            with switch.shield():
                signal.raise_signal(signal.SIGTERM)

        train_locally([PACK], execution_in(tmp_path), record, train_pack=train_pack)
    assert caught.value.signal_number == signal.SIGTERM
    assert saved == [True]


def test_training_that_does_not_stop_is_interrupted_when_its_time_is_over(tmp_path: Path) -> None:
    def train_pack(pack: Pack, execution: Execution) -> Iterator[Progress]:
        yield Progress(1)
        raise_in_a_while(0.05)
        while True:
            time.sleep(0.01)

    started = time.monotonic()
    with pytest.raises(Stopped), stop_switch(grace_seconds=1.0, end=lambda number: None):
        train_locally([PACK], execution_in(tmp_path), lambda e: None, train_pack=train_pack)
    assert 0.4 < time.monotonic() - started < 10
