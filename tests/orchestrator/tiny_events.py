"""Event files of TensorBoard, byte by byte."""

import struct

from tensorboardX.crc32c import crc32c


def varint(value: int) -> bytes:
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def event(step: int, *values: bytes) -> bytes:
    """A record: length, checksum, event, checksum."""
    wall_time = b"\x09" + struct.pack("<d", 1.7e9)
    body = wall_time + b"\x10" + varint(step) + field(5, b"".join(field(1, v) for v in values))
    length = struct.pack("<Q", len(body))
    return length + masked(length) + body + masked(body)


def masked(content: bytes) -> bytes:
    checksum = crc32c(content)
    rotated = (checksum >> 15 | checksum << 17) & 0xFFFFFFFF
    return struct.pack("<I", (rotated + 0xA282EAD8) & 0xFFFFFFFF)


def simple(tag: str, value: float) -> bytes:
    return field(1, tag.encode()) + b"\x15" + struct.pack("<f", value)


def tensor(tag: str, kind: int, number: int, raw: bytes) -> bytes:
    return field(1, tag.encode()) + field(8, b"\x08" + varint(kind) + field(number, raw))
