"""TensorBoard event files: the scalars in one, and the bytes that a record takes.

A record is its length, the checksum of the length, an event as a protocol buffer, and the checksum
of the event. ``tensorboardX``, which brings the types of the events, is imported by the first call.
"""

import math
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from decoder.errors import ConfigError
from decoder.regular import open_regular

if TYPE_CHECKING:
    from tensorboardX.proto.event_pb2 import Event

MARK = "tfevents"  # in the name of every event file, see `is_event_file`
_HEADER = struct.Struct("<QI")  # length of the event, and the masked checksum of the length
_CHECKSUM = struct.Struct("<I")
# Images, histograms and graphs are longer than any scalar; they are passed over unread.
_MOST_BYTES = 1 << 16
_NUMBERS = {"DT_FLOAT": "f", "DT_DOUBLE": "d", "DT_INT32": "i", "DT_INT64": "q"}


class Scalar(NamedTuple):
    """One value in an event file.

    Attributes:
        step: the step that its writer gave; what it counts is up to the writer.
        tag: its name.
        value: may be infinite or NaN.
        wall_time: when it was written, in seconds since 1970.
    """

    step: int
    tag: str
    value: float
    wall_time: float


def is_event_file(path: Path) -> bool:
    """Whether a file has the name of an event file, as TensorBoard decides it."""
    return MARK in path.name


def read_scalars(path: Path) -> Iterator[Scalar]:
    """The scalars in an event file, in the order of the file, until it ends.

    A last record that is not whole, as in a file that is being written, ends it too. Scalars of
    TensorFlow 2, which are tensors of one number, count. Text, images, histograms and what plugins
    keep is passed over.

    Raises:
        ConfigError: ``tensorboardX`` is not installed.
        OSError: the file cannot be read.
        ValueError: it is damaged, or no event file; says at which byte.
    """
    for _, event in read_events(path):
        for value in event.summary.value:
            number = _number(value)
            if number is not None:
                yield Scalar(event.step, value.tag, number, event.wall_time)


def read_events(path: Path) -> Iterator[tuple[int, "Event"]]:
    """The short events of a file, each with the byte at which its record ends.

    Raises:
        ConfigError, OSError, ValueError: see `read_scalars`.
    """
    Event = event_type()
    with os.fdopen(open_regular(path), "rb") as file:
        end = 0
        while (head := _read(file, _HEADER.size)) is not None:
            n_bytes, checksum = _HEADER.unpack(head)
            if _masked(head[:8]) != checksum:
                raise ValueError(f"{path}: is no event file, or damaged at byte {end}")
            if n_bytes > _MOST_BYTES:
                end += _HEADER.size + n_bytes + _CHECKSUM.size
                if end > os.fstat(file.fileno()).st_size:
                    return
                file.seek(end)
                continue
            body = _read(file, n_bytes + _CHECKSUM.size)
            if body is None:
                return
            content, (checksum,) = body[:n_bytes], _CHECKSUM.unpack(body[n_bytes:])
            if _masked(content) != checksum:
                raise ValueError(f"{path}: is damaged at byte {end + _HEADER.size}")
            end += _HEADER.size + len(body)
            try:
                event = Event.FromString(content)
            except Exception as error:  # a DecodeError, whose class differs between versions
                raise ValueError(f"{path}: is damaged at byte {end}: {error}") from None
            yield end, event


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


def _read(file: BinaryIO, n_bytes: int) -> bytes | None:
    """The next bytes; None if there are not as many."""
    content = file.read(n_bytes)
    return content if len(content) == n_bytes else None


def _masked(content: bytes) -> int:
    from tensorboardX.crc32c import crc32c

    checksum: int = crc32c(content)
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _number(value: Any) -> float | None:
    """The number in a value of a summary; None if it is no scalar."""
    kind = value.WhichOneof("value")
    if kind == "simple_value":
        return float(value.simple_value)
    if kind != "tensor" or value.metadata.plugin_data.plugin_name not in ("", "scalars"):
        return None
    tensor = value.tensor
    if math.prod(dim.size for dim in tensor.tensor_shape.dim) != 1:
        return None
    from tensorboardX.proto.types_pb2 import DataType

    code = _NUMBERS.get(DataType.Name(tensor.dtype))
    if code is None:
        return None
    if tensor.tensor_content:
        fits = len(tensor.tensor_content) == struct.calcsize(f"<{code}")
        return float(struct.unpack(f"<{code}", tensor.tensor_content)[0]) if fits else None
    numbers = {"f": "float_val", "d": "double_val", "i": "int_val", "q": "int64_val"}[code]
    found = getattr(tensor, numbers)
    return float(found[0]) if found else None
