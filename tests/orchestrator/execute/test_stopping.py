"""`orchestrator.execute.stopping`: the first signal stops in order, the second ends the process."""

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.execute.stopping import Stopped, grace_seconds, stop_switch


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_raises_with_its_number(number: int) -> None:
    with pytest.raises(Stopped) as caught, stop_switch():
        signal.raise_signal(number)
    assert caught.value.signal_number == number


def test_a_shielded_section_is_finished_first() -> None:
    done = []
    with pytest.raises(Stopped), stop_switch() as switch:
        with switch.shield():
            signal.raise_signal(signal.SIGTERM)
            done.append("recorded")
        done.append("never")
    assert done == ["recorded"]


def test_sections_after_the_stop_are_not_interrupted_again() -> None:
    with stop_switch() as switch:
        with pytest.raises(Stopped):
            signal.raise_signal(signal.SIGINT)
        with switch.shield():
            pass


def test_a_hangup_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with stop_switch() as switch:
            signal.raise_signal(signal.SIGHUP)
            assert switch.signal_number is None
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_terminal_that_closes_stops_in_order_and_output_goes_on_to_nowhere(
    tmp_path: Path,
) -> None:
    code = (
        "import pathlib, time\n"
        "from orchestrator.execute.stopping import Stopped, stop_switch\n"
        "try:\n"
        "    with stop_switch():\n"
        "        print('up', flush=True)\n"
        "        time.sleep(60)\n"
        "except Stopped as stop:\n"
        "    print('stopping', flush=True)\n"
        f"    pathlib.Path({str(tmp_path / 'done')!r}).write_text(str(stop.signal_number))\n"
    )
    leader, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", f"import fcntl, termios\nfcntl.ioctl(0, termios.TIOCSCTTY)\n{code}"],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    assert os.read(leader, 2) == b"up"
    os.close(leader)
    assert process.wait(20) == 0
    assert (tmp_path / "done").read_text() == str(int(signal.SIGHUP))


def test_the_handlers_of_the_process_are_restored() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop_switch():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_process_ends_if_a_stop_takes_longer_than_the_grace_time() -> None:
    ended: list[int] = []
    with pytest.raises(Stopped), stop_switch(grace_seconds=0.05, end=ended.append):
        signal.raise_signal(signal.SIGTERM)
    time.sleep(0.2)
    assert ended == []
    with pytest.raises(Stopped), stop_switch(grace_seconds=0.05, end=ended.append):
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            time.sleep(0.2)
    assert ended == [signal.SIGTERM]


def test_a_second_signal_ends_the_process_at_once() -> None:
    code = (
        "import signal, time\n"
        "from orchestrator.execute.stopping import Stopped, grace_seconds, stop_switch\n"
        "with stop_switch():\n"
        "    try:\n"
        "        print('up', flush=True)\n"
        "        time.sleep(60)\n"
        "    except Stopped:\n"
        "        print('stopping', flush=True)\n"
        "        time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    os.kill(process.pid, signal.SIGINT)
    assert process.stdout.readline() == "stopping\n"
    started = time.monotonic()
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(10) == 130
    assert time.monotonic() - started < 2
    process.stdout.close()


def test_the_end_of_the_time_stops_a_block_and_is_called_off_with_it() -> None:
    started = time.monotonic()
    with pytest.raises(Stopped) as caught, stop_switch() as switch, switch.limited(started + 0.05):
        time.sleep(5)
    assert caught.value.signal_number == signal.SIGALRM
    assert time.monotonic() - started < 4
    with stop_switch() as switch:
        with switch.limited(time.monotonic() + 0.05):
            pass
        time.sleep(0.1)
        with switch.limited(None):
            pass


def test_nothing_ends_the_process_when_only_the_time_is_used_up() -> None:
    ended: list[int] = []
    with pytest.raises(Stopped), stop_switch(grace_seconds=0.05, end=ended.append) as switch:
        try:
            with switch.limited(time.monotonic()):
                time.sleep(5)
        finally:
            time.sleep(0.2)
            assert ended == []
            signal.raise_signal(signal.SIGTERM)  # now the system ends it
            time.sleep(0.2)
    assert ended == [signal.SIGTERM]
    assert switch.signal_number == signal.SIGTERM


def test_a_warning_signal_of_slurm_gives_time_until_the_job_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time()) + 130))
    assert 115 < grace_seconds(signal.SIGUSR1) <= 120
    assert grace_seconds(signal.SIGTERM) == 28
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time()) - 5))
    assert grace_seconds(signal.SIGUSR1) == 28
    monkeypatch.delenv("SLURM_JOB_END_TIME")
    assert grace_seconds(signal.SIGUSR1) == 28


def test_half_of_the_grace_time_is_for_checkpoints() -> None:
    with pytest.raises(Stopped) as caught, stop_switch(grace_seconds=90.0):
        signal.raise_signal(signal.SIGUSR1)
    assert (caught.value.signal_number, caught.value.save_seconds) == (signal.SIGUSR1, 45.0)
