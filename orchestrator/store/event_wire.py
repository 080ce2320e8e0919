"""The scalars of a TensorBoard event, read from its protocol buffer without the types of it.

Only the few fields of a scalar are read: `Event.step`, `Event.summary`, `Summary.value`, and of a
value its tag with `simple_value` or a tensor of one number. So a process that follows the course of
a trainer need not load ``tensorboardX``, which loads torch.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # kinds of fields
_FORMATS = {1: "<f", 2: "<d", 3: "<i", 9: "<q"}  # type of a tensor → its bytes
_PLUGINS = (b"", b"scalars")  # of scalars; other plugins keep something else in a tensor

Field = tuple[int, int, int | bytes]  # number, kind, content


class Scalar(NamedTuple):
    """One value in an event file.

    Attributes:
        step: the step that its writer gave; what it counts is up to the writer.
        tag: its name.
        value: may be infinite or NaN.
    """

    step: int
    tag: str
    value: float


def scalars_of(event: bytes) -> Iterator[Scalar]:
    """The scalars of an event. Text, images, histograms and what plugins keep is passed over.

    Raises:
        ValueError: the bytes are no event.
    """
    try:
        yield from _scalars(event)
    except (IndexError, struct.error) as error:
        raise ValueError(f"no event: {error}") from None


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
    tag, value, plugin = "", None, b""
    for number, kind, content in _fields(message):
        if not isinstance(content, bytes):
            continue
        if number == 1 and kind == _BYTES:
            tag = content.decode("utf-8", "replace")
        elif number == 2 and kind == _FIXED32:
            (value,) = struct.unpack("<f", content)
        elif number == 8 and kind == _BYTES:
            value = _tensor(content)
        elif number == 9 and kind == _BYTES:
            plugin = _inner(_inner(content))
    return tag, value if plugin in _PLUGINS else None


def _inner(message: bytes) -> bytes:
    """The first field of a message, where it is bytes: `plugin_data`, and of that its name."""
    found = [content for number, kind, content in _fields(message) if (number, kind) == (1, _BYTES)]
    return found[0] if found and isinstance(found[0], bytes) else b""


def _tensor(message: bytes) -> float | None:
    """The number of a tensor that holds one; None for any other."""
    dtype, raw, integers = 0, b"", b""
    for number, kind, content in _fields(message):
        if number == 1 and kind == _VARINT:
            dtype = int(content)
        elif isinstance(content, bytes) and number in (4, 5, 6):  # its bytes, floats or doubles
            raw = content
        elif isinstance(content, bytes) and number in (7, 10):  # its integers of 32 or 64 bits
            integers = content
    form = _FORMATS.get(dtype)
    if form is None:
        return None
    if integers:
        unsigned, end = _varint(integers, 0)
        return float(unsigned - (unsigned >> 63 << 64)) if end == len(integers) else None
    return float(struct.unpack(form, raw)[0]) if len(raw) == struct.calcsize(form) else None


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
