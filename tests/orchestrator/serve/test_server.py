"""The command `serve`: how it starts, what it refuses, and how it ends."""

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator.cli.app import app
from orchestrator.store.paths import Results

Started = tuple[subprocess.Popen[str], str]
TOKEN = "a-token-of-some-length"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Started]]:
    """Starts `serve` as a user would; gives the process and the address that it prints."""
    processes: list[subprocess.Popen[str]] = []

    def started(root: Path, *options: str, **environment: str) -> Started:
        process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", "serve", str(root), "--port", "0", *options],
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        processes.append(process)
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(r"open (http://\S+)", line):
                return process, found[1]
        raise AssertionError("it did not start")

    yield started
    for process in processes:
        process.kill()
        process.communicate()


def status_of(address: str, path: str = "/", **headers: str) -> int:
    port = int(address.rpartition(":")[2].partition("/")[0])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path, headers=headers)
    status = connection.getresponse().status
    connection.close()
    return status


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_with_its_exit_code_and_one_line(
    start: Callable[..., Started], store: Results, number: int, code: int
) -> None:
    process, address = start(store.root)
    assert address.startswith("http://127.0.0.1:") and "token" not in address
    assert status_of(address) == 200
    process.send_signal(number)
    out, errors = process.communicate(timeout=30)
    assert process.returncode == code
    assert (out, errors.count("\n")) == ("", 1) and "Traceback" not in errors


def test_a_client_that_says_nothing_does_not_keep_it_from_ending(
    start: Callable[..., Started], store: Results
) -> None:
    process, address = start(store.root)
    port = int(address.rpartition(":")[2].strip("/"))
    with socket.create_connection(("127.0.0.1", port)) as silent:
        silent.sendall(b"GET / HTTP/1.1\r\n")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 130


def test_asked_to_listen_elsewhere_it_makes_a_token(
    start: Callable[..., Started], store: Results
) -> None:
    _, address = start(store.root, "--host", "0.0.0.0")
    token = address.partition("?token=")[2]
    assert len(token) >= 32
    assert status_of(address.partition("?")[0]) == 403
    assert status_of(address.partition("?")[0], f"/?token={token}") == 303


def test_a_token_of_the_environment_is_asked_for(
    start: Callable[..., Started], store: Results
) -> None:
    _, address = start(store.root, SWEEPS_TOKEN=TOKEN)
    plain = address.partition("?")[0]
    assert status_of(plain) == 403
    assert status_of(plain, Authorization=f"Bearer {TOKEN}") == 200


def refused(*arguments: str) -> list[str]:
    """The lines with which `serve` ends at once, with exit code 2."""
    result = CliRunner().invoke(app, ["serve", *arguments])
    assert (result.exit_code, result.stdout) == (2, "")
    return result.stderr.splitlines()


def test_a_port_in_use_is_one_line(store: Results) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        (line,) = refused(str(store.root), "--port", port)
    assert port in line


def test_a_missing_folder_is_one_line(tmp_path: Path) -> None:
    (line,) = refused(str(tmp_path / "nowhere"))
    assert "nowhere" in line
    (tmp_path / "file").write_text("")
    (line,) = refused(str(tmp_path / "file"))
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    "options",
    [("--token", "short"), ("--token", ""), ("--token", "ä" * 20), ("--host", "no.such.invalid"),
     ("--host", "192.0.2.1", "--port", "0")],
)  # fmt: skip
def test_what_cannot_be_served_so_is_one_line(store: Results, options: tuple[str, ...]) -> None:
    (line,) = refused(str(store.root), *options)
    assert options[0] in line or "--port" in line
