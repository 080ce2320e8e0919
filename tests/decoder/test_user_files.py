"""Files of text that a user names: what is read, and what is refused without waiting for it."""

import os
import socket
from pathlib import Path

import pytest

from decoder.errors import ConfigError
from decoder.user_files import MOST_BYTES, read_bounded, read_text


def _refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        read_text(path)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{path}:") and "\n" not in problem
    return problem


@pytest.mark.timeout(60)
def test_what_is_no_file_is_named_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "zero").symlink_to("/dev/zero")
    assert "folder" in _refusal(tmp_path)
    assert "pipe" in _refusal(tmp_path / "pipe")
    assert "device" in _refusal(tmp_path / "zero")
    assert "cannot be read" in _refusal(tmp_path / "loop")
    assert "cannot be read" in _refusal(tmp_path / "gone")
    assert "cannot be read" in _refusal(tmp_path / ("x" * 300))
    assert "cannot be read" in _refusal(Path("/proc/self/mem"))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        assert "cannot be read" in _refusal(tmp_path / "s")


def test_a_name_with_a_nul_is_no_file() -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_bounded(Path("a\0b"))


def test_the_largest_file_is_read_and_one_byte_more_is_not(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * MOST_BYTES)
    assert len(read_bounded(path)) == MOST_BYTES
    path.write_bytes(b"x" * (MOST_BYTES + 1))
    assert f"{MOST_BYTES:,}" in _refusal(path)


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"\xef\xbb\xbfa: \xc3\xa9\n")
    assert read_text(path) == "a: é\n"


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        (b"a: 1\nb: \xff\n", 2, "0xff"),
        (b"a: 1\n\nb: \0\n", 3, "NUL"),
        (b"a: 1\nb: \x1b[31m\n", 2, "U+001B"),
        (b"a: \xef\xbf\xbe\n", 1, "U+FFFE"),
        (b"a: \xed\xa0\x80\n", 1, "UTF-8"),
    ],
)
def test_what_is_no_text_is_refused_with_its_line(
    tmp_path: Path, content: bytes, line: int, words: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    refusal = _refusal(path)
    assert refusal.startswith(f"{path}:{line}: ") and words in refusal


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_another_encoding_of_unicode_is_refused(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "file"
    path.write_bytes("a: 1\n".encode(encoding))
    assert ("UTF-16" if encoding == "utf-16" else "") in _refusal(path)
