"""`orchestrator.execute.command.events`: event files as TensorBoard's writers make them."""

import io
import struct
from pathlib import Path

import pytest

from orchestrator.execute.command.events import event_files, read_scalars


def varint(value: int) -> bytes:
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def event(step: int, *values: bytes) -> bytes:
    """A record: length, checksum, event, checksum; nobody checks the sums."""
    wall_time = b"\x09" + struct.pack("<d", 1.7e9)
    body = wall_time + b"\x10" + varint(step) + field(5, b"".join(field(1, v) for v in values))
    return struct.pack("<Q", len(body)) + b"\0" * 4 + body + b"\0" * 4


def simple(tag: str, value: float) -> bytes:
    return field(1, tag.encode()) + b"\x15" + struct.pack("<f", value)


def tensor(tag: str, kind: int, number: int, raw: bytes) -> bytes:
    return field(1, tag.encode()) + field(8, b"\x08" + varint(kind) + field(number, raw))


def test_scalars_of_every_writer() -> None:
    content = (
        event(0, field(1, b"a text"))
        + event(300, simple("val/per", 0.25), simple("loss", 3.0))
        + event(70_000, tensor("val/wer", 1, 4, struct.pack("<f", 0.5)))
        + event(70_001, tensor("x", 2, 6, struct.pack("<d", 0.125)), tensor("t", 7, 8, b"text"))
    )
    assert [tuple(s) for s in read_scalars(io.BytesIO(content))] == [
        (300, "val/per", 0.25),
        (300, "loss", 3.0),
        (70_000, "val/wer", 0.5),
        (70_001, "x", 0.125),
    ]


def test_an_unfinished_record_waits_for_its_end() -> None:
    first, second = event(1, simple("a", 1.0)), event(2, simple("a", 2.0))
    for cut in range(len(second)):
        file = io.BytesIO(first + second[:cut])
        assert [s.step for s in read_scalars(file)] == [1]
        assert file.tell() == len(first)
        file = io.BytesIO(first + second)
        file.seek(len(first))
        assert [s.step for s in read_scalars(file)] == [2]


@pytest.mark.parametrize("content", [b"\xff" * 40, event(1, b"\x0a\xff")])
def test_damage_is_an_error(content: bytes) -> None:
    with pytest.raises(ValueError, match="record"):
        list(read_scalars(io.BytesIO(content)))


def test_files_are_found_oldest_first(tmp_path: Path) -> None:
    for name in ("b/events.out.tfevents.100.host", "a/events.out.tfevents.200.host", "a/log"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert [path.parent.name for path in event_files(tmp_path)] == ["b", "a"]


def test_what_tensorboardx_writes_is_read(tmp_path: Path) -> None:
    tensorboardx = pytest.importorskip("tensorboardX")
    with tensorboardx.SummaryWriter(str(tmp_path)) as writer:
        for step in (10, 20):
            writer.add_scalar("val/per", 5 / step, step)
            writer.add_text("note", "text", step)
    (path,) = event_files(tmp_path)
    with path.open("rb") as file:
        assert [tuple(s) for s in read_scalars(file)] == [
            (10, "val/per", 0.5),
            (20, "val/per", 0.25),
        ]
