"""The Ray backend: signals, the environment, an unreachable cluster."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from decoder.config import DecoderConfig
from decoder.errors import ConfigError
from decoder.pack import Pack, Run
from orchestrator.execute.backends import Execution
from orchestrator.execute.backends.ray_tune import _lost_its_worker, ray_session

ROOT = Path(__file__).parents[4]
# A driver with its own signal handler, whose packs never end; it prints the ids of its workers.
DRIVER = """
import os, signal, sys, time
from pathlib import Path
from decoder.config import DecoderConfig
from decoder.pack import Pack, Progress, Run
from orchestrator.execute.backends import Execution
from orchestrator.execute.backends.ray_tune import _lost_its_worker, ray_session

class Stop(Exception):
    pass

def stop(number, frame):
    raise Stop(number)

def train_pack(pack, execution):
    while True:
        yield Progress(1, {pack.runs[0].run_id: {"threads": os.environ["OMP_NUM_THREADS"]}})
        until = time.monotonic() + 0.3
        while time.monotonic() < until:
            pass

seen = {}
def on_event(event):
    if event.pack_id not in seen:
        seen[event.pack_id] = event.host["pid"]
        assert event.what.latest[f"run-{event.pack_id}"] == {"threads": "1"}
    if len(seen) == 2:
        print(*seen.values(), flush=True)
        seen["reported"] = None

signal.signal(signal.SIGTERM, stop)
environment = dict(os.environ)
on_interrupt = signal.getsignal(signal.SIGINT)  # ignored in a process that was started with `&`
packs = [Pack(f"pack{i}", i, (Run(f"run-pack{i}", DecoderConfig()),)) for i in range(3)]
try:
    execution = Execution(Path(), Path(sys.argv[1]), 2)
    with ray_session(execution, train_pack=train_pack) as train:
        train(packs, execution, on_event)
except Stop as error:
    assert signal.getsignal(signal.SIGTERM) is stop
    assert signal.getsignal(signal.SIGINT) == on_interrupt
    assert dict(os.environ) == environment
    print("stopped by", error)
"""


class Driver:
    """A driver process, which prints the ids of its workers."""

    def __init__(self, folder: Path) -> None:
        # Ray waits one second for a process that it has killed, which a busy machine exceeds; that
        # no process remains is tested below.
        warnings = ["-W", "error", "-W", "ignore:subprocess:ResourceWarning"]
        self.process = subprocess.Popen(
            [sys.executable, *warnings, "-c", DRIVER, str(folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(folder)},  # too long for sockets: must not be used
        )

    def workers(self) -> list[int]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        return [int(pid) for pid in line.split()]


@pytest.fixture(scope="module")
def drivers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Driver, Driver]]:
    """Two drivers that start at the same time: one to stop, one to kill."""
    pair = Driver(tmp_path_factory.mktemp("stop")), Driver(tmp_path_factory.mktemp("kill"))
    yield pair
    for driver in pair:
        driver.process.kill()
        driver.process.communicate()


def ray_processes_of(driver: Driver) -> set[int]:
    """All descendants of a driver: Ray's own processes and the workers."""
    parents = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(process.name)] = int(
                (process / "stat").read_text().rpartition(")")[2].split()[1]
            )
        except (FileNotFoundError, ProcessLookupError):
            continue
    found = {driver.process.pid}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {driver.process.pid}


def listening_hosts(pids: set[int]) -> set[str]:
    """The addresses, in the hexadecimal of Linux, on which these processes listen for TCP."""
    sockets = set()
    for file in (file for pid in pids for file in Path(f"/proc/{pid}/fd").glob("*")):
        with contextlib.suppress(OSError):
            sockets.add(os.readlink(file))  # noqa: PTH115 (a socket is no path)
    rows = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    listens = "0A"
    return {
        row[1].partition(":")[0]
        for row in rows
        if row[3] == listens and f"socket:[{row[9]}]" in sockets
    }


def wait_until_gone(pids: set[int], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while left := {pid for pid in pids if is_running(pid)}:
        assert time.monotonic() < deadline, f"still running: {left}"
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks processes up in /proc")
class TestEndingADriver:
    def test_a_driver_listens_on_the_loopback_alone_and_its_signals_end_all_processes(
        self, drivers: tuple[Driver, Driver]
    ) -> None:
        driver = drivers[0]
        workers = driver.workers()
        pids = ray_processes_of(driver)
        assert set(workers) < pids
        # 127.0.0.1, and the same in version 6 of the protocol; 0.0.0.0 is all zeros.
        loopback = {"0100007F", "0000000000000000FFFF00000100007F"}
        assert listening_hosts(pids | {driver.process.pid}) == loopback
        driver.process.send_signal(signal.SIGTERM)
        stdout, stderr = driver.process.communicate(timeout=30)
        assert stderr == "", "Ray must be silent"
        assert stdout == f"stopped by {int(signal.SIGTERM)}\n"
        assert driver.process.returncode == 0
        wait_until_gone(pids, seconds=1)

    def test_no_process_of_a_killed_driver_remains(self, drivers: tuple[Driver, Driver]) -> None:
        driver = drivers[1]
        driver.workers()
        pids = ray_processes_of(driver)
        assert len(pids) > 5
        driver.process.kill()
        driver.process.wait()
        wait_until_gone(pids, seconds=10)


def test_an_address_where_nothing_answers_is_refused_at_once(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
    execution = Execution(tmp_path, tmp_path, n_workers=1, address=address)
    pack = Pack("pack", 0, (Run("run", DecoderConfig()),))
    refused = pytest.raises(ConfigError, match=f"--address {address}")
    with refused, ray_session(execution) as train:
        train([pack], execution, lambda event: None)


KILLED = """Failure # 1 (occurred at 2026-11-28_08-48-54)
The actor died unexpectedly before finishing this task.
	class_name: _trainable.<locals>.PackTrainable
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR
"""
RAISED = """Failure # 2 (occurred at 2026-11-28_08-49-54)
ray::PackTrainable.train() (pid=1, ip=192.0.2.2)
OSError: [Errno 5] Input/output error
"""


@pytest.mark.parametrize(
    ("text", "is_lost"),
    [
        (KILLED, True),
        (RAISED, False),
        (KILLED + RAISED, False),
        (RAISED + KILLED, True),
        ("ray.exceptions.OutOfMemoryError: Task was killed due to the node running low", True),
        ("", False),
    ],
)
def test_the_last_failure_decides_whether_a_worker_was_lost(text: str, is_lost: bool) -> None:
    assert _lost_its_worker(text) == is_lost
