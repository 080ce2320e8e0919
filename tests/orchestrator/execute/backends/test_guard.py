"""The guard kills the processes that write in its folder, in whatever way its parent ends."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from decoder.owners import this_process
from orchestrator.execute.backends.guard import clear_abandoned, guarded_folder, processes_in

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/fd").is_dir(), reason="processes are found by way of /proc"
)

SLEEPER = "import time; time.sleep(60)"
DRIVER = """
import subprocess, sys, time
from orchestrator.execute.backends.guard import guarded_folder
with guarded_folder() as folder:
    log = open(folder / "log", "w")
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], stdout=log)
    print(folder, child.pid, flush=True)
    time.sleep(60)
"""


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def wait_until_gone(folder: Path, *pids: int) -> None:
    deadline = time.monotonic() + 10
    while folder.exists() or any(is_running(pid) for pid in pids):
        assert time.monotonic() < deadline, f"still there: {folder}, {pids}"
        time.sleep(0.05)


def test_leaving_kills_the_processes_that_write_in_the_folder_and_deletes_it() -> None:
    with guarded_folder() as folder, (folder / "log").open("w") as log:
        child = subprocess.Popen([sys.executable, "-c", SLEEPER], stdout=log)
        assert set(processes_in(folder)) == {child.pid, os.getpid()}
    assert child.wait(timeout=5) == -signal.SIGKILL
    assert not folder.exists()


def test_other_processes_are_left_alone() -> None:
    child = subprocess.Popen([sys.executable, "-c", SLEEPER])
    try:
        with guarded_folder():
            pass
        assert child.poll() is None
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize("whole_group", [False, True])
def test_a_killed_driver_leaves_neither_processes_nor_the_folder(whole_group: bool) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=Path(__file__).parents[4],
    ) as driver:
        assert driver.stdout is not None
        folder, child_pid = driver.stdout.readline().split()
        kill = os.killpg if whole_group else os.kill
        kill(driver.pid, signal.SIGKILL)
    wait_until_gone(Path(folder), int(child_pid))


def test_what_a_driver_and_its_guard_left_when_both_were_killed_goes_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[4],
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as driver:
        assert driver.stdout is not None
        folder, child_pid = driver.stdout.readline().split()
        said: list[str] = []
        clear_abandoned(said.append)
        assert said == [] and Path(folder).is_dir() and is_running(int(child_pid))
        children = Path(f"/proc/{driver.pid}/task/{driver.pid}/children").read_text().split()
        for pid in (driver.pid, *(int(pid) for pid in children if pid != child_pid)):
            os.kill(pid, signal.SIGKILL)
    assert Path(folder).is_dir() and is_running(int(child_pid))
    clear_abandoned(said.append)
    wait_until_gone(Path(folder), int(child_pid))
    assert len(said) == 1 and said[0].startswith("1 ")
    clear_abandoned(said.append)
    assert len(said) == 1


def test_folders_without_a_dead_owner_of_this_machine_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    me = this_process()
    owners = {
        "alive": str(me),
        "elsewhere": str(me._replace(host="elsewhere", started=1)),
        "nobody": "",
        "dead": str(me._replace(started=me.started + 1)),
    }
    for name, owner in owners.items():
        (tmp_path / f"ray-{name}").mkdir()
        (tmp_path / f"ray-{name}" / "owner").write_text(owner)
    (tmp_path / "ray-bare").mkdir()
    clear_abandoned(lambda text: None)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"ray-alive", "ray-elsewhere", "ray-nobody", "ray-bare"}
