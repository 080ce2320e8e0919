"""`decoder.owners`: a process is known by host, id and time of start."""

import os
import subprocess
import sys

from decoder.owners import Owner, owner_in, parse_owner, temporary_name, this_process


def test_the_name_of_a_temporary_file_says_which_process_owns_it() -> None:
    name = temporary_name("record.json", "0123abcd")
    assert name.startswith(".record.json.tmp-")
    assert owner_in(name) == this_process() and this_process().pid == os.getpid()
    assert this_process().is_here and this_process().is_alive
    assert owner_in(".record.json.0123abcd") is None and owner_in("record.json") is None
    assert parse_owner(str(this_process())) == this_process() and parse_owner("a-b") is None


def test_names_stay_short_enough_for_a_file_system() -> None:
    assert len(temporary_name("n" * 250, "0" * 8)) < 200


def test_an_ended_process_and_another_one_of_the_same_id_are_not_the_owner() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", "from decoder.owners import *; print(this_process()); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    owner = parse_owner(child.stdout.readline().strip())
    assert owner is not None and owner.pid == child.pid and owner.is_alive and owner.is_here
    assert not owner._replace(started=owner.started + 1).is_alive
    child.communicate("\n")
    assert not owner.is_alive


def test_a_process_of_another_machine_is_not_here() -> None:
    assert not Owner("elsewhere", os.getpid(), 1).is_here
