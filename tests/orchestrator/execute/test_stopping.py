"""`orchestrator.execute.stopping`: the first signal stops in order, the second ends the process."""

import os
import signal
import subprocess
import sys
import time

import pytest

from orchestrator.execute.stopping import Stopped, stop_switch


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
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
        "from orchestrator.execute.stopping import Stopped, stop_switch\n"
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
