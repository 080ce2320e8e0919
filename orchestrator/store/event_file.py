"""TensorBoard event files: what is in one, and the bytes that a record takes.

A record is its length, the checksum of the length, an event as a protocol buffer, and the checksum
of the event. ``tensorboardX``, which brings the types of the events, is imported by who needs them.
"""

import os
import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from decoder.errors import ConfigError
from decoder.regular import open_regular
from orchestrator.store.event_wire import Scalar, scalars_of

if TYPE_CHECKING:
    from tensorboardX.proto.event_pb2 import Event

MARK = "tfevents"  # in the name of every event file
_HEADER = struct.Struct("<QI")  # length of the event, and the masked checksum of the length
_CHECKSUM = struct.Struct("<I")
# Images, histograms and graphs are longer than any scalar; they are passed over unread.
_MOST_BYTES = 1 << 16
_CASTAGNOLI = 0x82F63B78  # the reversed polynomial of CRC-32C


def read_scalars(file: BinaryIO) -> Iterator[Scalar]:
    """The scalars of a file from its place on; the place stays behind the last whole record.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged, or no event file; says at which byte.
    """
    for end, event in _events(file):
        try:
            yield from scalars_of(event)
        except ValueError as error:
            raise ValueError(f"the record before byte {end} is {error}") from None


def read_events(path: Path) -> Iterator[tuple[int, "Event"]]:
    """The short events of a file, each with the byte at which its record ends.

    Raises:
        ConfigError: ``tensorboardX`` is not installed.
        OSError, ValueError: see `read_scalars`.
    """
    Event = event_type()
    with os.fdopen(open_regular(path), "rb") as file:
        for end, content in _events(file):
            try:
                event = Event.FromString(content)
            except Exception as error:  # a DecodeError, whose class differs between versions
                raise ValueError(f"is damaged before byte {end}: {error}") from None
            yield end, event


def _events(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The short events of a file from its place on, each with the byte at which its record ends.

    A last record that is not whole, as in a file that is being written, waits for its end.
    """
    end = file.tell()
    while len(head := file.read(_HEADER.size)) == _HEADER.size:
        n_bytes, checksum = _HEADER.unpack(head)
        if _masked(head[:8]) != checksum:
            raise ValueError(f"is no event file, or damaged at byte {end}")
        after = end + _HEADER.size + n_bytes + _CHECKSUM.size
        if n_bytes > _MOST_BYTES:
            if after > file.seek(0, os.SEEK_END):
                break
            end = file.seek(after)
            continue
        body = file.read(n_bytes + _CHECKSUM.size)
        if len(body) < n_bytes + _CHECKSUM.size:
            break
        content, (checksum,) = body[:n_bytes], _CHECKSUM.unpack(body[n_bytes:])
        if _masked(content) != checksum:
            raise ValueError(f"is damaged at byte {end + _HEADER.size}")
        end = after
        yield end, content
    file.seek(end)


def record_of(event: "Event") -> bytes:
    """The record of an event, as an event file holds it."""
    content: bytes = event.SerializeToString()
    length = struct.pack("<Q", len(content))
    sums = (_CHECKSUM.pack(_masked(part)) for part in (length, content))
    return length + next(sums) + content + next(sums)


def event_type() -> type["Event"]:
    """The protocol buffer of an event.

    Raises:
        ConfigError: ``tensorboardX`` is not installed.
    """
    try:
        from tensorboardX.proto import event_pb2
    except ImportError as error:
        raise ConfigError(
            f"TensorBoard's event files need the package tensorboardX, but {error}; run "
            "`pip install tensorboardX`"
        ) from None
    event: type[Event] = event_pb2.Event
    return event


def _masked(content: bytes) -> int:
    checksum, table = 0xFFFFFFFF, _crc_table()
    for byte in content:
        checksum = checksum >> 8 ^ table[(checksum ^ byte) & 0xFF]
    checksum ^= 0xFFFFFFFF
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


@cache
def _crc_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (_CASTAGNOLI if value & 1 else 0)
        table.append(value)
    return tuple(table)
