"""`decoder.processes`: when a process started, and which machine it is of."""

import os
import subprocess
import sys
import time

from decoder.processes import process_start, this_machine


def test_a_process_has_one_start_until_it_ends_even_if_nobody_waits_for_it() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        started = process_start(child.pid)
        assert started is not None and process_start(child.pid) == started
        assert started != process_start(os.getpid()) or started == ""
        child.kill()
        deadline = time.monotonic() + 20
        while process_start(child.pid) is not None:  # a zombie, as `wait` comes later
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        child.kill()
        child.communicate()
    assert process_start(child.pid) is None


def test_no_process_has_an_impossible_id() -> None:
    assert process_start(2**31) is None and process_start(2**80) is None


def test_a_machine_is_named_the_same_by_its_processes() -> None:
    command = [sys.executable, "-c", "from decoder.processes import *; print(this_machine())"]
    assert subprocess.check_output(command, text=True).strip() == this_machine()
