"""Reads variables of a MATLAB file of level 5 (``save -v6`` or ``-v7``): numbers, text and cells.

scipy reads these files too, but a damaged file can crash the process inside its compiled code, and
scipy reads the whole variable to get its shape. Here every length is checked against the size of
the file. The format is described in MathWorks' "MAT-File Format", level 5.
"""

import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from decoder.data.recordings import check_expansion, one_line
from decoder.errors import DataError

_HEADER_BYTES = 128
_MOST_NAME_BYTES = 4096  # a variable's class, shape and name lie within this many bytes
_MOST_ROWS = 100_000  # cells of an array, or rows of a text: one for each sentence of a session
_MOST_AXES = 8
_MOST_SHOWN = 8  # names in an error message

# Kinds of stored data elements → numpy type.
_STORED = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
}
_ENCODINGS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_INT8, _INT32, _UINT32, _MATRIX, _COMPRESSED = 1, 5, 6, 14, 15

# Classes of variables.
_CELL, _CHAR = 1, 4
_NUMBERS = {
    **{6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2"},
    **{11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"},
}
_OTHERS = {2: "a struct", 3: "an object", 5: "a sparse matrix"}
_COMPLEX_FLAG = 0x0800


@dataclass(frozen=True)
class Text:
    """A character matrix.

    Attributes:
        rows: one string per row, padded with spaces as stored.
    """

    rows: tuple[str, ...]


@dataclass(frozen=True)
class Other:
    """A value of a kind that is not supported.

    Attributes:
        kind: its name with an article, for error messages.
    """

    kind: str


Value = NDArray[np.generic] | Text | list["Value"] | Other  # a list holds the cells of an array


@dataclass(frozen=True)
class _Header:
    """The description of a variable that precedes its values."""

    value_class: int
    is_complex: bool
    shape: tuple[int, ...]
    name: str


def load_variables(path: Path, names: Sequence[str]) -> dict[str, Value]:
    """Read some variables of a file and skip the others.

    Args:
        path: the file.
        names: the variables to read.

    Returns:
        Name → value. Numbers have their MATLAB type and shape; cells are in column-major order;
        cells within cells are `Other`.

    Raises:
        DataError: the file cannot be read, or one of the variables is missing. The message does
            not name the path.
    """
    values: dict[str, Value] = {}
    found = []
    with _reading(path) as handle:
        order = _byte_order(handle)
        for header, content in _variables(handle, order, names):
            found.append(header.name)
            if content is not None and header.name not in values:
                values[header.name] = _value(content, order)
    _check_found(names, found)
    return values


def load_shape(path: Path, name: str) -> tuple[int, ...]:
    """The shape of a variable, read without its values.

    Raises:
        DataError: see `load_variables`.
    """
    with _reading(path) as handle:
        shapes = {h.name: h.shape for h, _ in _variables(handle, _byte_order(handle), ())}
    _check_found([name], list(shapes))
    return shapes[name]


def kind_of(value: Value) -> str:
    """A description of a value, for error messages."""
    if isinstance(value, Text):
        return f"text of {len(value.rows)} rows"
    if isinstance(value, list):
        return f"a cell array of {len(value)}"
    return value.kind if isinstance(value, Other) else f"{value.dtype} of shape {value.shape}"


class _Cursor:
    """Walks through the data elements of a buffer."""

    def __init__(self, data: memoryview, order: str) -> None:
        self._data, self._order, self._at = data, order, 0

    def element(self) -> tuple[int, memoryview]:
        """The kind and the content of the next element."""
        first, second = self._words()
        if first >> 16:  # up to four bytes, kept within the tag
            kind, start, n_bytes = first & 0xFFFF, self._at + 4, first >> 16
            self._at += 8
        else:
            kind, start, n_bytes = first, self._at + 8, second
            self._at = start + n_bytes + -n_bytes % 8
        if start + n_bytes > len(self._data) or (first >> 16) > 4:
            raise _damaged("an element is longer than what holds it")
        return kind, self._data[start : start + n_bytes]

    def numbers(self, kind: int) -> tuple[int, ...]:
        """The integers of the next element, which must be of this kind."""
        got, content = self.element()
        dtype = np.dtype(f"{self._order}{_STORED[kind]}")
        if got != kind or len(content) % dtype.itemsize:
            raise _damaged(f"an element is of kind {got}, not {kind}")
        return tuple(np.frombuffer(content, dtype).tolist())

    def header(self) -> _Header:
        """The class, shape and name at the start of a variable."""
        flags = self.numbers(_UINT32)
        value_class = flags[0] & 0xFF if flags else 0
        if value_class not in (_CELL, _CHAR, *_NUMBERS, *_OTHERS):  # has no shape and no name
            return _Header(value_class, False, (), "")
        shape = self.numbers(_INT32)
        if not 2 <= len(shape) <= _MOST_AXES or min(shape) < 0:
            raise _damaged(f"a variable is of shape {shape[:_MOST_AXES]}, of {len(shape)} axes")
        name = bytes(byte & 0xFF for byte in self.numbers(_INT8)).decode("latin-1")
        return _Header(value_class, bool(flags[0] & _COMPLEX_FLAG), shape, name)

    def _words(self) -> tuple[int, int]:
        if self._at + 8 > len(self._data):
            raise _damaged("it ends within an element")
        first, second = struct.unpack_from(f"{self._order}II", self._data, self._at)
        return first, second


def _variables(
    handle: BinaryIO, order: str, names: Sequence[str]
) -> Iterator[tuple[_Header, memoryview | None]]:
    """The header of every variable of a file, with the content of those in `names`."""
    while tag := handle.read(8):
        if len(tag) < 8:
            raise _damaged("it ends within an element")
        kind, n_bytes = struct.unpack(f"{order}II", tag)
        if kind not in (_MATRIX, _COMPRESSED):
            raise _damaged(f"an element is of kind {kind}, but must be a variable")
        stored = handle.read(min(n_bytes, _MOST_NAME_BYTES))
        opening = stored
        if kind == _COMPRESSED:
            opening = zlib.decompressobj().decompress(stored, _MOST_NAME_BYTES)[8:]
        header = _Cursor(memoryview(opening), order).header()
        n_left = n_bytes - len(stored)
        if header.name not in names:
            if handle.seek(n_left, 1) > _size(handle):
                raise _damaged("it ends within a variable")
            yield header, None
            continue
        stored += handle.read(n_left)
        if len(stored) < n_bytes:
            raise _damaged("it ends within a variable")
        content = memoryview(stored)
        if kind == _COMPRESSED:
            content = _decompressed(stored, order)
        yield header, content


def _decompressed(stored: bytes, order: str) -> memoryview:
    """The content of a compressed variable; its length is checked against its own header."""
    stream = zlib.decompressobj()
    tag = stream.decompress(stored, 8)
    if len(tag) < 8:
        raise _damaged("it ends within a variable")
    kind, n_bytes = struct.unpack(f"{order}II", tag)
    check_expansion("a compressed variable and its values", n_bytes, len(stored))
    content = stream.decompress(stream.unconsumed_tail, n_bytes + 1)
    if kind != _MATRIX or len(content) != n_bytes or not stream.eof:
        raise _damaged("a compressed variable is not as long as it says")
    return memoryview(content)


def _value(content: memoryview, order: str, in_cell: bool = False) -> Value:
    """The value of a variable from its stored content."""
    if in_cell and not len(content):  # an empty cell
        return np.zeros((0, 0))
    cursor = _Cursor(content, order)
    header = cursor.header()
    n_values = int(np.prod(header.shape, dtype=object))
    if header.value_class == _CELL and not in_cell:
        if n_values * 8 > len(content) or n_values > _MOST_ROWS:
            raise _damaged(f"a cell array of shape {header.shape} is longer than what holds it")
        return [_cell(cursor, order) for _ in range(n_values)]
    if header.is_complex and header.value_class in _NUMBERS:
        return Other("complex numbers")
    if header.value_class == _CHAR:
        return _text(*cursor.element(), header.shape, order)
    if header.value_class not in _NUMBERS:
        return Other(_OTHERS.get(header.value_class, "a cell array"))
    kind, stored = cursor.element()
    dtype = np.dtype(f"{order}{_STORED.get(kind, 'V0')}")
    if kind not in _STORED or len(stored) != n_values * dtype.itemsize:
        raise _damaged(f"an array of shape {header.shape} has {len(stored)} bytes of kind {kind}")
    numbers = np.frombuffer(stored, dtype).reshape(header.shape, order="F")
    with np.errstate(invalid="ignore", over="ignore"):
        return numbers.astype(_NUMBERS[header.value_class], copy=False)


def _cell(cursor: _Cursor, order: str) -> Value:
    kind, content = cursor.element()
    if kind != _MATRIX:
        raise _damaged(f"a cell is of kind {kind}")
    return _value(content, order, in_cell=True)


def _text(kind: int, stored: memoryview, shape: tuple[int, ...], order: str) -> Text:
    if kind not in _ENCODINGS:
        raise _damaged(f"a text is of kind {kind}")
    encoding = _ENCODINGS[kind]
    if encoding in ("utf-16", "utf-32"):
        encoding += "-le" if order == "<" else "-be"
    characters = bytes(stored).decode(encoding)
    n_rows, n_columns = shape[0], int(np.prod(shape[1:], dtype=object))
    if len(characters) != n_rows * n_columns or n_rows > _MOST_ROWS:
        raise _damaged(f"a text of shape {shape} has {len(characters)} characters")
    return Text(tuple(characters[row::n_rows] for row in range(n_rows)))


def _byte_order(handle: BinaryIO) -> str:
    """``<`` or ``>``, from the header of a file of level 5."""
    opening = handle.read(_HEADER_BYTES)
    mark = opening[126:128]
    if opening.startswith(b"\x89HDF") or opening[124:128] in (b"\x00\x02IM", b"\x02\x00MI"):
        raise DataError(
            "is a MATLAB v7.3 (HDF5) file, but the public release is v7; load it in MATLAB and "
            "save it with save(..., '-v7')"
        )
    if opening[124:128] not in (b"\x00\x01IM", b"\x01\x00MI"):
        raise _damaged("its header is not that of a MATLAB file of level 5")
    return "<" if mark == b"IM" else ">"


def _size(handle: BinaryIO) -> int:
    return os.fstat(handle.fileno()).st_size


@contextmanager
def _reading(path: Path) -> Iterator[BinaryIO]:
    """Open a file, and turn errors of reading, zlib and text decoding into a `DataError`."""
    try:
        with path.open("rb") as handle:
            yield handle
    except (OSError, zlib.error, UnicodeDecodeError, MemoryError) as error:
        raise _damaged(one_line(error)) from None


def _check_found(names: Sequence[str], found: Sequence[str]) -> None:
    for name in names:
        if found.count(name) != 1:
            there = "missing" if name not in found else f"present {found.count(name)} times"
            named = [ascii(other)[1:-1][:40] for other in found if other]
            listing = ", ".join(named[:_MOST_SHOWN]) or "nothing"
            more = f" and {len(named) - _MOST_SHOWN} more" if len(named) > _MOST_SHOWN else ""
            raise DataError(f"field '{name}' is {there} (found: {listing}{more})")


def _damaged(what: str) -> DataError:
    return DataError(
        f"cannot be read as a MATLAB file: {what}; the file is truncated, altered or of another "
        "kind: copy it again"
    )
