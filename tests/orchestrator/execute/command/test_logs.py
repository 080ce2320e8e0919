"""`orchestrator.execute.command.logs`: the beginning and the end of what is printed."""

import os
from pathlib import Path

import pytest

from orchestrator.execute.command.logs import BoundedLog, log_end, log_parts, remove_log


@pytest.mark.parametrize("n_lines", [0, 3, 10, 11, 15, 16, 20, 21, 1000])
def test_the_beginning_and_the_end_are_kept(tmp_path: Path, n_lines: int) -> None:
    path = tmp_path / "stdout.log"
    log = BoundedLog(path, most_bytes=100)
    lines = [b"line %04d\n" % i for i in range(n_lines)]
    for line in lines:
        log.write(line)
    while_open = b"".join(log_parts(path))
    log.close()
    kept = path.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["stdout.log"]
    assert kept.startswith(b"".join(lines[:10])) and kept.endswith(b"".join(lines[-5:]))
    if n_lines <= 20:
        assert kept == while_open == b"".join(lines)
    else:
        n_out = int(kept.partition(b"[... ")[2].split()[0])
        n_marker = len(b"\n[... %d bytes left out ...]\n" % n_out)
        assert n_out + len(kept) - n_marker == 10 * n_lines and len(kept) < 250


def test_the_end_can_be_read_while_it_grows(tmp_path: Path) -> None:
    path = tmp_path / "stdout.log"
    log = BoundedLog(path, most_bytes=100)
    for i in range(500):
        log.write(b"line %d\n\n" % i)
        assert log_end(path, 2)[-1] == f"line {i}"
    log.close()
    assert log_end(path, 3) == ["line 497", "line 498", "line 499"]


def test_a_new_log_replaces_what_a_killed_process_left(tmp_path: Path) -> None:
    path = tmp_path / "stdout.log"
    for suffix in ("", ".end-1", ".end-2"):
        path.with_name(path.name + suffix).write_text("old")
    log = BoundedLog(path)
    log.write(b"new")
    assert b"".join(log_parts(path)) == b"new"
    log.close()
    remove_log(path)
    assert not list(tmp_path.iterdir()) and log_end(path, 5) == []


def test_a_pipe_or_a_link_in_the_place_of_a_log_has_no_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "stdout.log")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "stderr.log").symlink_to("secret")
    assert log_end(tmp_path / "stdout.log", 5) == log_end(tmp_path / "stderr.log", 5) == []
