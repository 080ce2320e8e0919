"""Scalars in the event files of TensorBoard, read without TensorBoard.

An event file is a sequence of records (length, checksum, message, checksum), and a message is a
protocol buffer, of which only the few fields of a scalar are read here: `Event.step`,
`Event.summary`, `Summary.value`, and of a value its tag with `simple_value` or a tensor of one
number. A record that is not whole yet waits for its end.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

NAME = "tfevents"  # in the name of every event file
_MOST_RECORD = 64 << 20  # bytes; a longer one is damage
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # kinds of fields
_FLOAT, _DOUBLE, _INT32, _INT64 = 1, 2, 3, 9  # types of tensors
_FORMATS = {_FLOAT: "<f", _DOUBLE: "<d", _INT32: "<i", _INT64: "<q"}

Field = tuple[int, int, int | bytes]  # number, kind, content


class Scalar(NamedTuple):
    """One number of an event file."""

    step: int
    tag: str
    value: float


def event_files(folder: Path) -> list[Path]:
    """The event files below a folder, oldest first: their names begin with a time."""
    found = (path for path in folder.rglob(f"*{NAME}*") if path.is_file())
    return sorted(found, key=lambda path: (path.name.partition(NAME)[2], str(path)))


def read_scalars(file: BinaryIO) -> Iterator[Scalar]:
    """The scalars from the place of a file on; the place stays behind the last whole record.

    Raises:
        ValueError: the file is damaged.
    """
    while True:
        start = file.tell()
        head = file.read(12)
        if len(head) < 12:
            break
        (n_bytes,) = struct.unpack("<Q", head[:8])
        if n_bytes > _MOST_RECORD:
            raise ValueError(f"a record of {n_bytes:,} bytes at byte {start:,}")
        message = file.read(n_bytes + 4)
        if len(message) < n_bytes + 4:
            break
        try:
            yield from _scalars(message[:-4])
        except (IndexError, struct.error):
            raise ValueError(f"a record at byte {start:,} is no event") from None
    file.seek(start)


def _scalars(event: bytes) -> Iterator[Scalar]:
    step, summaries = 0, []
    for number, kind, content in _fields(event):
        if number == 2 and kind == _VARINT:
            step = int(content)
        elif number == 5 and kind == _BYTES:
            summaries.append(content)
    for summary in summaries:
        assert isinstance(summary, bytes)
        for number, kind, content in _fields(summary):
            if number == 1 and kind == _BYTES and isinstance(content, bytes):
                tag, value = _value(content)
                if value is not None:
                    yield Scalar(step, tag, value)


def _value(message: bytes) -> tuple[str, float | None]:
    tag, value = "", None
    for number, kind, content in _fields(message):
        if not isinstance(content, bytes):
            continue
        if number == 1 and kind == _BYTES:
            tag = content.decode("utf-8", "replace")
        elif number == 2 and kind == _FIXED32:
            (value,) = struct.unpack("<f", content)
        elif number == 8 and kind == _BYTES:
            value = _tensor(content)
    return tag, value


def _tensor(message: bytes) -> float | None:
    """The number of a tensor that holds one; None for any other."""
    kind_of_tensor, raw = 0, b""
    for number, kind, content in _fields(message):
        if number == 1 and kind == _VARINT:
            kind_of_tensor = int(content)
        elif isinstance(content, bytes) and number in (4, 5, 6):  # its bytes, floats or doubles
            raw = content
    form = _FORMATS.get(kind_of_tensor)
    if form is None or len(raw) != struct.calcsize(form):
        return None
    return float(struct.unpack(form, raw)[0])


def _fields(message: bytes) -> Iterator[Field]:
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield number, kind, value
            continue
        if kind == _BYTES:
            n_bytes, at = _varint(message, at)
        elif kind in (_FIXED64, _FIXED32):
            n_bytes = 8 if kind == _FIXED64 else 4
        else:
            raise IndexError("no kind of field")
        if at + n_bytes > len(message):
            raise IndexError("the message ends within a field")
        yield number, kind, message[at : at + n_bytes]
        at += n_bytes


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if not byte & 128:
            return value, at
