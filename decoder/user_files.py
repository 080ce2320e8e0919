"""Reads a file of text that a user names, whatever stands in its place."""

import codecs
import os
import re
import stat
from pathlib import Path

from decoder.errors import ConfigError

_HEAD, _MOSTLY = 1_000, 0.8  # bytes; share of zeros among the second bytes of characters
MOST_BYTES = 1 << 20  # the largest specification that ships has 6 kB
_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16", b"\0\0\xfe\xff": "UTF-32"}
_KINDS = (
    (stat.S_ISDIR, "is a folder; name a file in it"),
    (stat.S_ISFIFO, "is a pipe; write its content to a file"),
    (stat.S_ISSOCK, "is a socket, not a file"),
)
# All but the characters that YAML allows in a file.
_NOT_TEXT = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def read_bounded(
    path: Path, most_bytes: int = MOST_BYTES, mend: str = "is it another file?"
) -> bytes:
    """The content of a regular file. Nothing else is read or waited for.

    Args:
        mend: what to do about a file that is too large.

    Raises:
        ConfigError: there is no such file, it is a folder, pipe or device, or it is too large.
    """
    try:
        # Without `O_NONBLOCK`, to open a pipe waits for its other end.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:  # a name with a NUL is a ValueError
        raise ConfigError(f"{path}: cannot be read: {_reason(error)}") from None
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            kind = next((text for is_kind, text in _KINDS if is_kind(mode)), "is a device")
            raise ConfigError(f"{path}: {kind}")
        content = bytearray()
        while len(content) <= most_bytes and (part := os.read(descriptor, most_bytes + 1)):
            content += part
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {_reason(error)}") from None
    finally:
        os.close(descriptor)
    if len(content) > most_bytes:
        raise ConfigError(
            f"{path}: is larger than {most_bytes:,} bytes, which is more than such a file needs; "
            f"{mend}"
        )
    return bytes(content)


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, with or without a byte order mark.

    Raises:
        ConfigError: see `read_bounded`; or the file is no text in UTF-8.
    """
    return decode_text(read_bounded(path), str(path))


def decode_text(content: bytes, where: str) -> str:
    """The text of a file's content, in UTF-8, with or without a byte order mark.

    Args:
        where: the start of every error message, usually the file.

    Raises:
        ConfigError: the content is in another encoding, or has control characters.
    """
    mark = next((name for mark, name in _MARKS.items() if content.startswith(mark)), None)
    if mark is not None:
        raise ConfigError(f"{where}: is text in {mark}; save it as UTF-8")
    if b"\0" in content:
        line = _line(content, content.index(0))
        raise ConfigError(f"{where}:{line}: has a NUL byte; is it a binary file?")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = _line(content, error.start)
        raise ConfigError(
            f"{where}:{line}: is not text in UTF-8 (byte 0x{content[error.start]:02x}); save it as "
            "UTF-8, or is it a binary file?"
        ) from None
    if found := _NOT_TEXT.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise ConfigError(
            f"{where}:{line}: has the control character U+{ord(found[0]):04X}; remove it"
        )
    return text


def utf_16(content: bytes) -> str:
    """The encoding of a text in UTF-16, with or without a byte order mark; "" for any other text.

    Without a mark, every other byte of plain text is zero.
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    even, odd = content[:_HEAD:2], content[1:_HEAD:2]
    for encoding, characters, zeros in (("utf-16-le", even, odd), ("utf-16-be", odd, even)):
        if zeros.count(0) > _MOSTLY * len(zeros) and not characters.count(0):
            return encoding
    return ""


def _line(content: bytes, position: int) -> int:
    return content.count(b"\n", 0, position) + 1


def _reason(error: OSError | ValueError) -> str:
    return getattr(error, "strerror", None) or str(error)
