"""The reader of MATLAB files, tested on files that scipy writes and on damaged ones."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from decoder.data.matfile import Other, Text, load_shape, load_variables
from decoder.errors import DataError

DTYPES = ("f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8")


def save(path: Path, compressed: bool = False, **variables: Any) -> Path:
    scipy.io.savemat(path, variables, do_compression=compressed)
    return path


def cells(*values: Any) -> Any:
    array = np.empty((1, len(values)), object)
    for index, value in enumerate(values):
        array[0, index] = value
    return array


def complaint(path: Path, *names: str) -> str:
    with pytest.raises(DataError) as caught:
        load_variables(path, names)
    return caught.value.problems[0]


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_keep_type_shape_and_values(dtype: str, compressed: bool, tmp_path: Path) -> None:
    numbers = np.arange(12).reshape(3, 4).astype(dtype)
    path = save(tmp_path / "a.mat", compressed, other=np.ones(5), x=numbers, last="text")
    read = load_variables(path, ["x"])["x"]
    assert isinstance(read, np.ndarray) and read.dtype == numbers.dtype
    np.testing.assert_array_equal(read, numbers)
    assert load_shape(path, "x") == (3, 4)


@settings(max_examples=40, deadline=None)
@given(
    texts=st.lists(
        st.text(st.characters(max_codepoint=0x2FFF, exclude_categories=["Cs", "Cc"]), max_size=9),
        min_size=1,
        max_size=4,
    ),
    shapes=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3)), min_size=1, max_size=4),
    compressed=st.booleans(),
)
def test_what_scipy_writes_is_read_as_scipy_reads_it(
    tmp_path_factory: pytest.TempPathFactory,
    texts: list[str],
    shapes: list[tuple[int, int]],
    compressed: bool,
) -> None:
    width = max(1, *map(len, texts))
    arrays = [np.arange(a * b, dtype=np.float32).reshape(a, b) for a, b in shapes]
    path = save(
        tmp_path_factory.getbasetemp() / "scipy.mat",
        compressed,
        texts=np.array([text.ljust(width) for text in texts], f"<U{width}"),
        arrays=cells(*arrays),
    )
    ours = load_variables(path, ("texts", "arrays"))
    theirs = scipy.io.loadmat(path)
    assert ours["texts"] == Text(tuple(text.ljust(width) for text in texts))
    assert isinstance(ours["texts"], Text)
    assert [t.rstrip() for t in theirs["texts"]] == [t.rstrip() for t in ours["texts"].rows]
    assert isinstance(ours["arrays"], list)
    for read, expected in zip(ours["arrays"], theirs["arrays"][0], strict=True):
        np.testing.assert_array_equal(read, expected)


def test_other_kinds_are_named(tmp_path: Path) -> None:
    path = save(
        tmp_path / "a.mat",
        complex=np.array([1j]),
        struct={"a": 1},
        sparse=scipy.sparse.csc_array(np.eye(2)),
        nested=cells(cells(1.0), 2.0),
    )
    read = load_variables(path, ("complex", "struct", "sparse", "nested"))
    assert read["complex"] == Other("complex numbers")
    assert read["struct"] == Other("a struct")
    assert read["sparse"] == Other("a sparse matrix")
    assert isinstance(read["nested"], list) and read["nested"][0] == Other("a cell array")


def element(order: str, kind: int, content: bytes) -> bytes:
    padding = b"" if kind == 15 else b"\0" * (-len(content) % 8)
    return struct.pack(f"{order}II", kind, len(content)) + content + padding


def hand_made(
    order: str,
    stored_kind: int,
    stored: bytes,
    value_class: int = 6,
    shape: tuple[int, ...] = (1, 3),
) -> bytes:
    """A variable ``x`` as MATLAB stores it, without its tag; the name is inside its own tag."""
    return (
        element(order, 6, struct.pack(f"{order}II", value_class, 0))
        + element(order, 5, struct.pack(f"{order}{len(shape)}i", *shape))
        + struct.pack(f"{order}I", 1 << 16 | 1)
        + b"x\0\0\0"
        + element(order, stored_kind, stored)
    )


def header(order: str, version: bytes = b"\x00\x01") -> bytes:
    mark = (version if order == "<" else version[::-1]) + (b"IM" if order == "<" else b"MI")
    return b"MATLAB 5.0".ljust(124) + mark


@pytest.mark.parametrize("order", ["<", ">"])
def test_either_byte_order_and_doubles_stored_as_bytes(order: str, tmp_path: Path) -> None:
    """MATLAB stores doubles that are small integers in fewer bytes."""
    path = tmp_path / "x.mat"
    path.write_bytes(header(order) + element(order, 14, hand_made(order, 2, b"\1\2\377")))
    read = load_variables(path, ["x"])["x"]
    assert isinstance(read, np.ndarray) and read.dtype == np.float64
    assert read.tolist() == [[1.0, 2.0, 255.0]]


def test_damage_inside_a_variable_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.mat"
    sound = element("<", 14, hand_made("<", 2, b"\1\2\3"))
    for spoilt, what in (
        (element("<", 14, hand_made("<", 2, b"\1\2")), "(1, 3) has 2 bytes of kind 2"),
        (element("<", 14, hand_made("<", 99, b"\1\2\3")), "has 3 bytes of kind 99"),
        (element("<", 14, hand_made("<", 2, b"abc", 1)), "a cell is of kind 2"),
        (element("<", 14, hand_made("<", 14, b"", 1, (1, 99))), "is longer than what holds it"),
        (element("<", 14, hand_made("<", 2, b"abc", 6, (-1, 3))), "of shape (-1, 3)"),
        (element("<", 14, hand_made("<", 2, b"abc", 6, (3,))), "of shape (3,)"),
        (element("<", 14, hand_made("<", 9, b"abc", value_class=4)), "a text is of kind 9"),
        (element("<", 14, hand_made("<", 16, b"abcd", value_class=4)), "has 4 characters"),
        (element("<", 9, bytes(8)), "an element is of kind 9"),
        (sound[:-1], "it ends within a variable"),
        (sound + b"123", "it ends within an element"),
        (sound.replace(b"x", b"y"), "field 'x' is missing (found: y)"),
        (sound + sound, "field 'x' is present 2 times"),
        (b"", "field 'x' is missing (found: nothing)"),
    ):
        path.write_bytes(header("<") + spoilt)
        assert what in complaint(path, "x"), what


def test_compressed_variable_must_have_the_length_in_its_header(tmp_path: Path) -> None:
    path = tmp_path / "x.mat"
    content = hand_made("<", 2, b"\1\2\3")
    for said, complained in (
        (len(content) - 1, "not as long as it says"),
        (len(content) + 1, "not as long as it says"),
        (2**31, "declare 2,147,483,648 bytes"),
    ):
        stored = zlib.compress(struct.pack("<II", 14, said) + content)
        path.write_bytes(header("<") + element("<", 15, stored))
        assert complained in complaint(path, "x")


@pytest.mark.parametrize("opening", [header("<", b"\x00\x02"), b"\x89HDF\r\n\x1a\n".ljust(128)])
def test_newer_format_is_refused_and_the_error_says_how_to_convert_it(
    opening: bytes, tmp_path: Path
) -> None:
    (tmp_path / "x.mat").write_bytes(opening + bytes(64))
    assert "is a MATLAB v7.3 (HDF5) file" in complaint(tmp_path / "x.mat", "x")


@pytest.mark.parametrize("content", [b"", b"MATLAB", b"no MATLAB file at all".ljust(200)])
def test_file_of_another_kind_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.mat").write_bytes(content)
    assert "its header is not that of a MATLAB file" in complaint(tmp_path / "x.mat", "x")


@pytest.mark.parametrize("compressed", [False, True])
def test_any_altered_or_missing_byte_gives_at_most_a_data_error(
    compressed: bool, tmp_path: Path
) -> None:
    path = save(
        tmp_path / "a.mat",
        compressed,
        text=np.array(["one", "two"]),
        cells=cells(np.ones((3, 4), np.uint8), np.zeros((2, 4))),
        numbers=np.array([[1.0, 2.0]]),
    )
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    n_refused = 0
    for trial in range(400):
        altered = bytearray(content)
        if trial % 4 == 0:
            altered = altered[: rng.integers(len(altered))]
        else:
            altered[rng.integers(len(altered))] = rng.integers(256)
        path.write_bytes(altered)
        try:
            load_variables(path, ("text", "cells", "numbers"))
            load_shape(path, "cells")
        except DataError:
            n_refused += 1
    assert n_refused > 150


def test_text_of_billions_of_empty_rows_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "x.mat"
    shape = struct.pack("<2i", 2**31 - 1, 0)
    content = element("<", 6, struct.pack("<2I", 4, 0)) + element("<", 5, shape)
    content += element("<", 1, b"x") + element("<", 16, b"")
    path.write_bytes(header("<") + element("<", 14, content))
    assert "a text of shape (2147483647, 0)" in complaint(path, "x")


def test_number_with_forty_axes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.mat"
    content = element("<", 6, struct.pack("<2I", 6, 0)) + element("<", 5, bytes(4 * 40))
    content += element("<", 1, b"x") + element("<", 9, b"")
    path.write_bytes(header("<") + element("<", 14, content))
    assert "of 40 axes" in complaint(path, "x")


def test_compressed_variable_may_not_swell_beyond_what_recordings_do(tmp_path: Path) -> None:
    zeros = save(tmp_path / "x.mat", True, x=np.zeros((9, 2**20)))  # 75 MB, stored in 75 kB
    assert zeros.stat().st_size < 100_000
    assert "recordings shrink at most 200 times" in complaint(zeros, "x")
    assert load_shape(zeros, "x") == (9, 2**20)
    small = save(tmp_path / "small.mat", True, x=np.zeros((7, 2**20)))
    assert load_variables(small, ["x"])["x"].shape == (7, 2**20)  # type: ignore[union-attr]


def test_a_long_list_of_variables_is_cut_in_the_message(tmp_path: Path) -> None:
    path = save(tmp_path / "x.mat", **{f"v{i}": 1.0 for i in range(60)})
    assert "and 52 more" in complaint(path, "x")
