"""`orchestrator.execute.command.outcome`: what a failure of the machine says."""

import traceback

from orchestrator.execute.command.outcome import Ending, fault_of, without_frames


def test_a_fault_of_the_machine_is_told_without_the_lines_of_this_program() -> None:
    said = "the trainer of run 12 in /theirs\nmachine: killed by SIGKILL"
    try:
        raise fault_of(Ending("machine", "killed by SIGKILL"), said)
    except OSError:
        text = traceback.format_exc()
    assert "fault_of" in text
    assert without_frames(text) == said
    assert without_frames("exit code: 3") == "exit code: 3"
