"""`decoder.regular`: only regular files are read, and nothing in their place hangs."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from decoder.regular import NotRegularError, check_regular, is_regular, read_json, read_regular


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


IN_PLACE: dict[str, Callable[[Path], object]] = {
    "folder": Path.mkdir,
    "pipe": lambda path: os.mkfifo(path),
    "socket": _socket,
    "dangling": lambda path: path.symlink_to(path.parent / "nothing"),
    "loop": lambda path: path.symlink_to(path),
    "zero": lambda path: path.symlink_to("/dev/zero"),
    "proc": lambda path: path.symlink_to("/proc/self/environ"),
    "link": lambda path: path.symlink_to(Path(__file__)),
}


@pytest.mark.parametrize("kind", IN_PLACE)
def test_what_is_no_regular_file_is_refused_at_once(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    path = Path("file")
    IN_PLACE[kind](path)
    for read in (read_regular, check_regular):
        with pytest.raises(NotRegularError) as caught:
            read(path)
        assert caught.value.filename == "file" and "not a regular file" in str(caught.value)
    assert not is_regular(path)


def test_a_regular_file_is_read_through_a_linked_folder(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "file").write_bytes(b"content" * 1000)
    (tmp_path / "results").symlink_to(tmp_path / "disk")
    path = tmp_path / "results" / "file"
    assert read_regular(path) == b"content" * 1000 and is_regular(path)
    with pytest.raises(NotRegularError, match="7,000 bytes"):
        read_regular(path, 6999)
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "missing")


def test_json_that_is_nested_too_deeply_is_a_value_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("[" * 200_000)
    with pytest.raises(ValueError):
        read_json(tmp_path / "file")
    (tmp_path / "file").write_text('{"a": [1]}')
    assert read_json(tmp_path / "file") == {"a": [1]}
