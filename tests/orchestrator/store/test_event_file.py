"""TensorBoard event files, written by tensorboardX or by hand, and read."""

import io
import math
import struct
from pathlib import Path
from typing import Any

import pytest
from tensorboardX import SummaryWriter
from tensorboardX.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboardX.proto.tensor_pb2 import TensorProto
from tensorboardX.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboardX.proto.types_pb2 import DataType
from tiny_events import event, field, simple, tensor

from orchestrator.store.event_file import event_type, read_scalars, record_of
from orchestrator.store.event_wire import Scalar


def _scalars(path: Path) -> list[Scalar]:
    with path.open("rb") as file:
        return list(read_scalars(file))


def _value(tag: str, **fields: Any) -> Any:
    return Summary.Value(tag=tag, **fields)


def _tensor(dtype: str, shape: tuple[int, ...] = (), **fields: Any) -> TensorProto:
    dims = TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in shape])
    return TensorProto(dtype=DataType.Value(dtype), tensor_shape=dims, **fields)


def _write(path: Path, *values: Any, step: int = 7) -> bytes:
    content = record_of(event_type()(step=step, summary=Summary(value=values)))
    path.write_bytes(content)
    return content


def test_scalars_of_a_writer_come_back_in_order(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        for step in (0, 100, 200):
            writer.add_scalar("val/per", 1 / (step + 1), step)
            writer.add_scalar("loss", float("nan") if step else 3.0, step)
        writer.add_text("note", "hello")
        writer.add_histogram("weights", [1.0, 2.0], 200)
    (path,) = tmp_path.iterdir()
    found = [(s.step, s.tag, s.value) for s in _scalars(path)]
    assert [row[:2] for row in found] == [
        (step, tag) for step in (0, 100, 200) for tag in ("val/per", "loss")
    ]
    assert found[2][2] == pytest.approx(1 / 101, rel=1e-6)
    assert found[1][2] == 3.0 and math.isnan(found[3][2])


def test_a_scalar_of_tensorflow_2_is_a_tensor_of_one_number(tmp_path: Path) -> None:
    scalars = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="scalars"))
    text = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
    _write(
        tmp_path / "events.out.tfevents.1",
        _value("a", tensor=_tensor("DT_FLOAT", float_val=[0.5]), metadata=scalars),
        _value("b", tensor=_tensor("DT_DOUBLE", (1,), tensor_content=b"\0\0\0\0\0\0\xe0\x3f")),
        _value("c", tensor=_tensor("DT_INT64", int64_val=[-3])),
        _value("two numbers", tensor=_tensor("DT_FLOAT", (2,), float_val=[1.0, 2.0])),
        _value("two integers", tensor=_tensor("DT_INT32", (2,), int_val=[1, 2])),
        _value("rank", tensor=_tensor("DT_FLOAT", float_val=[1.0]), metadata=text),
        _value("words", tensor=_tensor("DT_STRING", string_val=[b"x"]), metadata=text),
    )
    found = _scalars(tmp_path / "events.out.tfevents.1")
    assert found == [Scalar(7, "a", 0.5), Scalar(7, "b", 0.5), Scalar(7, "c", -3.0)]


def test_a_record_that_is_being_written_ends_the_file(tmp_path: Path) -> None:
    path = tmp_path / "events.out.tfevents.1"
    whole = _write(path, _value("a", simple_value=1.0))
    for n_bytes in (0, 5, 12, 20, len(whole) - 1):
        path.write_bytes(whole + whole[:n_bytes])
        assert [s.tag for s in _scalars(path)] == ["a"]


def test_a_long_record_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "events.out.tfevents.1"
    image = _write(path, _value("image", tensor=_tensor("DT_STRING", string_val=[b"x" * 10**5])))
    scalar = _write(path, _value("a", simple_value=1.0))
    path.write_bytes(image + scalar)
    assert [s.tag for s in _scalars(path)] == ["a"]
    path.write_bytes(scalar + image[:-1])
    assert [s.tag for s in _scalars(path)] == ["a"]


def test_damage_is_refused_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "events.out.tfevents.1"
    whole = _write(path, _value("a", simple_value=1.0))
    path.write_bytes(whole + bytes([whole[0] ^ 1]) + whole[1:])
    with pytest.raises(ValueError, match=f"byte {len(whole)}"):
        _scalars(path)
    path.write_bytes(whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:])
    with pytest.raises(ValueError, match="byte 12"):
        _scalars(path)
    path.write_text("step,per\n1,0.5\n2,0.4\n")
    with pytest.raises(ValueError, match="byte 0"):
        _scalars(path)


def test_scalars_of_every_writer() -> None:
    content = (
        event(0, field(1, b"a text"))
        + event(300, simple("val/per", 0.25), simple("loss", 3.0))
        + event(70_000, tensor("val/wer", 1, 4, struct.pack("<f", 0.5)))
        + event(70_001, tensor("x", 2, 6, struct.pack("<d", 0.125)), tensor("t", 7, 8, b"text"))
    )
    assert list(read_scalars(io.BytesIO(content))) == [
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


def test_a_record_that_is_no_event_is_damage() -> None:
    with pytest.raises(ValueError, match="no event"):
        list(read_scalars(io.BytesIO(event(1, b"\x0a\xff"))))
