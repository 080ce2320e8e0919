"""`orchestrator.execute.command.process`: a process of the user's, and nothing of it left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from decoder.processes import process_start
from orchestrator.execute.backends.guard import processes_in
from orchestrator.execute.command.keeper import descendants
from orchestrator.execute.command.process import TrainerProcess, end_marked

# Writes the ids of a plain child, of one in its own session, and of one forked twice.
LEAVER = """
import os, subprocess, sys, time
sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
pids = [subprocess.Popen(sleep).pid, subprocess.Popen(sleep, start_new_session=True).pid]
read, write = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        import signal
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.write(write, str(os.getpid()).encode())
        time.sleep(60)
    os._exit(0)
pids.append(int(os.read(read, 20)))
open("pids", "w").write(" ".join(map(str, pids)))
"""


def start(folder: Path, script: str, **options: object) -> TrainerProcess:
    argv = [sys.executable, "-c", script]
    return TrainerProcess(argv, folder, os.environ, folder, grace_seconds=0.3, **options)  # type: ignore[arg-type]


def pids_in(folder: Path) -> list[int]:
    """What the script wrote, as soon as it has."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        text = (folder / "pids").read_text() if (folder / "pids").exists() else ""
        if text:
            return [int(pid) for pid in text.split()]
        time.sleep(0.02)
    raise AssertionError("the script wrote nothing")


def alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if process_start(pid) is not None]


def gone(pids: list[int], seconds: float = 10.0) -> bool:
    until = time.monotonic() + seconds
    while alive(pids) and time.monotonic() < until:
        time.sleep(0.02)
    return not alive(pids)


def test_exit_code_and_streams_come_back(tmp_path: Path) -> None:
    script = "import sys; print('to stdout'); print('to stderr', file=sys.stderr); sys.exit(3)"
    with start(tmp_path, script, reads_stdout=True) as process:
        assert process.wait(10)
        assert process.ended is not None and process.ended[:2] == (3, 0)
        assert 1e6 < process.ended.peak_bytes < 1e9
        assert b"".join(process.stdout_blocks()) == b"to stdout\n"
    assert (tmp_path / "stdout.log").read_text() == "to stdout\n"
    assert (tmp_path / "stderr.log").read_text() == "to stderr\n"


def test_a_program_that_is_not_there_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no-such-program") as caught:
        TrainerProcess(["no-such-program"], tmp_path, os.environ, tmp_path)
    assert caught.value.errno == 2
    assert not descendants(os.getpid())


def test_a_signal_that_kills_it_is_its_exit_code(tmp_path: Path) -> None:
    with start(tmp_path, "import os; os.kill(os.getpid(), 9)") as process:
        assert process.wait(10) and process.ended is not None
        assert process.ended.code == -signal.SIGKILL


def test_signals_have_their_usual_effect_in_it(tmp_path: Path) -> None:
    with start(tmp_path, "import os; os.kill(os.getpid(), 15); print('goes on')") as process:
        assert process.wait(10) and process.ended is not None
        assert process.ended.code == -signal.SIGTERM


def test_nothing_that_it_started_outlives_it(tmp_path: Path) -> None:
    with start(tmp_path, LEAVER) as process:
        assert process.wait(10)
        assert process.ended is not None and process.ended[:2] == (0, 3)
        assert not alive(pids_in(tmp_path))


def test_leaving_the_block_ends_everything(tmp_path: Path) -> None:
    with start(tmp_path, LEAVER + "time.sleep(60)") as process:
        pids = [*pids_in(tmp_path), process.pid]
        assert len(alive(pids)) == 4
    assert not alive(pids)
    assert process.ended is not None and process.ended.code == -signal.SIGTERM


def test_the_request_to_end_comes_before_the_kill(tmp_path: Path) -> None:
    script = (
        "import pathlib, signal, sys, time\n"
        "def end(*_): pathlib.Path('saved').write_text('yes'); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "pathlib.Path('pids').write_text('1')\n"
        "time.sleep(60)"
    )
    with start(tmp_path, script) as process:
        pids_in(tmp_path)
    assert (tmp_path / "saved").exists()
    assert process.ended is not None and process.ended.code == 0


DRIVER = """
import os, sys, time
from pathlib import Path
from orchestrator.execute.command.process import TrainerProcess
folder = Path(sys.argv[1])
process = TrainerProcess(
    [sys.executable, "-c", sys.argv[2]], folder, os.environ, folder, grace_seconds=0.3
)
time.sleep(60)
"""


def test_a_worker_that_is_killed_leaves_no_process(tmp_path: Path) -> None:
    worker = subprocess.Popen([sys.executable, "-c", DRIVER, str(tmp_path), LEAVER])
    pids = pids_in(tmp_path)
    worker.kill()
    worker.wait()
    assert gone(pids)


def test_only_the_worker_holds_its_files_open(tmp_path: Path) -> None:
    """Else the guard of a Ray session would kill the keeper together with the worker."""
    files, run = tmp_path / "session", tmp_path / "run"
    files.mkdir()
    run.mkdir()
    script = LEAVER + "time.sleep(60)"
    with (files / "worker.log").open("w") as log:
        words = [sys.executable, "-c", DRIVER, str(run), script]
        worker = subprocess.Popen(words, stdout=log, stderr=log)
    pids = pids_in(run)
    assert processes_in(files) == [worker.pid]
    worker.kill()
    worker.wait()
    assert gone(pids)


def test_a_keeper_that_is_killed_too_leaves_what_its_mark_finds(tmp_path: Path) -> None:
    script = LEAVER + "time.sleep(60)"
    worker = subprocess.Popen([sys.executable, "-c", DRIVER, str(tmp_path), script])
    pids = pids_in(tmp_path)
    (keeper,) = (pid for pid in descendants(worker.pid) if parent_of(pid) == worker.pid)
    for pid in (keeper, worker.pid):
        os.kill(pid, signal.SIGKILL)
    worker.wait()
    assert len(alive(pids)) == 3
    assert end_marked(tmp_path) >= 4  # and the trainer itself
    assert gone(pids)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_keeper_that_is_killed_is_no_result(tmp_path: Path) -> None:
    with start(tmp_path, LEAVER + "time.sleep(60)") as process:
        pids = pids_in(tmp_path)
        os.kill(parent_of(process.pid), signal.SIGKILL)
        assert process.wait(10) and process.ended is not None
        assert process.ended.code is None
        assert not alive([*pids, process.pid])


def test_any_amount_of_output_is_read_and_a_limited_amount_kept(tmp_path: Path) -> None:
    script = "print('first\\n' + ('x' * 79 + '\\n') * 400_000 + 'last')"  # 32 MB
    with start(tmp_path, script, reads_stdout=True) as process:
        n_bytes, last = 0, b""
        while not process.wait(0.01):
            for block in process.stdout_blocks():
                n_bytes, last = n_bytes + len(block), block
        for block in process.stdout_blocks():
            n_bytes, last = n_bytes + len(block), block
    assert n_bytes == 6 + 80 * 400_000 + 5 and last.endswith(b"x\nlast\n")
    kept = (tmp_path / "stdout.log").read_bytes()
    assert len(kept) < 17 << 20
    assert kept.startswith(b"first\nxxx") and kept.endswith(b"xxx\nlast\n")
    assert b"bytes left out" in kept


def test_nobody_waits_for_a_reader_that_is_gone(tmp_path: Path) -> None:
    with start(tmp_path, "while True: print('x' * 1000)", reads_stdout=True) as process:
        time.sleep(0.3)
    assert process.ended is not None and process.ended.code == -signal.SIGTERM
