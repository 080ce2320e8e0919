"""Reads objects of an HDF5 file that are stored in it as a whole, within limits on their size.

An HDF5 file can refer to other files (external links, external storage, virtual data sets), and a
file of 1 kB can declare arrays of terabytes. Both are refused before anything is read.
"""

import math
import mmap
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5l, h5t, h5z
from numpy.typing import NDArray

from decoder.data.recordings import check_expansion
from decoder.errors import DataError

# The errors that h5py raises on truncated or altered files, depending on the wrong byte.
H5_ERRORS = (
    OSError,
    RuntimeError,
    KeyError,
    ValueError,
    TypeError,
    AttributeError,
    MemoryError,
    OverflowError,
)

MOST_TRIAL_BYTES = 1 << 30  # 512 features in float32 for almost three hours
_MOST_SHOWN = 8  # names in an error message
_LARGEST_INTEGER = 2**31  # blocks and trials are numbered from 0
_MOST_TEXT_BYTES = 4096
_HEAP = b"GCOL\x01\x00\x00\x00"  # the start of a collection of text of any length
_LEAST_HEAP_BYTES = 4096
_NO_COPY = (
    "recordings must be stored in the file itself; copy them into it (h5py's Group.copy with "
    "expand_external=True, or numpy arrays written anew)"
)


class Room:
    """The bytes that the data sets of one file may declare.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._n_stored = path.stat().st_size
        self._n_declared = 0

    def take(self, name: str, n_bytes: int) -> None:
        """Count a data set.

        Raises:
            DataError: it is too large, or all together are too large for the file.
        """
        if n_bytes > MOST_TRIAL_BYTES:
            raise DataError(
                f"{name} declares {n_bytes:,} bytes, but a trial may have at most "
                f"{MOST_TRIAL_BYTES:,}; split it into trials"
            )
        n_declared = self._n_declared + n_bytes
        check_expansion(f"{name} and the data sets before it", n_declared, self._n_stored)
        self._n_declared = n_declared


def check_heaps(path: Path) -> None:
    """Refuse a file whose collections of text do not add up; HDF5 hangs or crashes on some.

    The structure is that of a global heap, section III.E of the HDF5 file format.

    Raises:
        DataError: a collection is damaged. The message does not name the path.
    """
    if not path.stat().st_size:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        at = content.find(_HEAP)
        while at >= 0:
            if not _is_sound_heap(content, at):
                raise DataError(
                    f"cannot be read as HDF5: the text stored at byte {at:,} is damaged; copy the "
                    "file again"
                )
            at = content.find(_HEAP, at + 1)


def _is_sound_heap(content: mmap.mmap, start: int) -> bool:
    end = start + int.from_bytes(content[start + 8 : start + 16], "little")
    at = start + 16
    if not start + _LEAST_HEAP_BYTES <= end <= len(content):
        return False
    while at + 16 <= end:
        number = int.from_bytes(content[at : at + 2], "little")
        n_bytes = int.from_bytes(content[at + 8 : at + 16], "little")
        if number == 0:  # the free rest
            return at + n_bytes == end
        at += 16 + n_bytes + -n_bytes % 8
    return at <= end


def member(group: Any, name: str) -> Any:
    """The object of a name in a group.

    Raises:
        DataError: the name is missing, or is a link to somewhere else.
    """
    links = group.id.links
    if not links.exists(name.encode()):
        found = list(group)
        shown = ", ".join(ascii(one)[1:-1][:40] for one in found[:_MOST_SHOWN]) or "nothing"
        more = f" and {len(found) - _MOST_SHOWN} more" if len(found) > _MOST_SHOWN else ""
        raise DataError(f"dataset '{name}' is missing (found: {shown}{more})")
    kind = links.get_info(name.encode()).type
    if kind != h5l.TYPE_HARD:
        what = {h5l.TYPE_SOFT: "a soft link", h5l.TYPE_EXTERNAL: "a link to another file"}
        raise DataError(f"'{name}' is {what.get(kind, 'a link of an unknown kind')}; {_NO_COPY}")
    return group[name]


def stored_dataset(group: Any, name: str, n_axes: int, room: Room) -> Any:
    """A data set of a group, after every check that needs none of its values.

    Args:
        group: a group of the file.
        name: of the data set.
        n_axes: the number of axes it must have.
        room: what it may take.

    Raises:
        DataError: it is missing, of another kind or shape, too large, has parts that were never
            written, or has values in another file.
    """
    dataset = member(group, name)
    if not isinstance(dataset, h5py.Dataset):
        raise DataError(f"'{name}' must be a dataset, but is a {type(dataset).__name__.lower()}")
    if dataset.shape is None or len(dataset.shape) != n_axes:
        raise DataError(f"{name} must have {n_axes} axes, but has shape {dataset.shape}")
    layout = dataset.id.get_create_plist()
    if layout.get_layout() == h5d.VIRTUAL:
        raise DataError(f"{name} is a virtual data set, made of parts of other files; {_NO_COPY}")
    if layout.get_external_count():
        raise DataError(f"{name} keeps its values in another file; {_NO_COPY}")
    for index in range(layout.get_nfilters()):
        code, _, _, title = layout.get_filter(index)
        if not h5z.filter_avail(code):
            titled = f" ({ascii(title)[2:-1][:40]})" if title else ""
            raise DataError(
                f"{name} is compressed with the filter {code}{titled}, which is not installed; "
                "write it again with gzip (h5repack -f GZIP=4 OLD NEW)"
            )
    _check_whole(dataset, name, room)
    return dataset


def _check_whole(dataset: Any, name: str, room: Room) -> None:
    """Refuse a data set that declares more than is stored; HDF5 would read zeros for the rest."""
    n_bytes = math.prod(dataset.shape) * dataset.id.get_type().get_size()
    if not dataset.chunks:
        room.take(name, n_bytes)
        if dataset.id.get_storage_size() < n_bytes:
            raise DataError(
                f"{name} declares {n_bytes:,} bytes, but {dataset.id.get_storage_size():,} are "
                "stored; the others were never written: write or copy the file again"
            )
        return
    n_chunks = math.prod(
        -(-size // chunk) for size, chunk in zip(dataset.shape, dataset.chunks, strict=True)
    )
    chunk_bytes = math.prod(dataset.chunks) * dataset.id.get_type().get_size()
    room.take(name, max(n_bytes, n_chunks * chunk_bytes))
    n_written = dataset.id.get_num_chunks()
    if n_written < n_chunks:
        raise DataError(
            f"{name} declares {n_chunks:,} chunks, but {n_written:,} are stored; the others were "
            "never written: write or copy the file again"
        )


def integer(group: Any, name: str) -> int:
    """An attribute that is one integer.

    Raises:
        DataError: it is missing, or anything else.
    """
    value = _attribute(group, name)
    if value.dtype.kind in "iuf" and abs(value.item()) < _LARGEST_INTEGER:
        number = int(value.item())
        if number == value.item():
            return number
    raise DataError(f"attribute '{name}' must be one integer, but got {_short(value)}")


def text(group: Any, name: str) -> str:
    """An attribute that is text.

    Raises:
        DataError: it is missing, or anything else.
    """
    value = _attribute(group, name).item()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, str):
        return value
    raise DataError(f"attribute '{name}' must be text, but got {_short(value)}")


def text_if_any(group: Any, name: str) -> str | None:
    """An attribute that is text, or None if there is none.

    Raises:
        DataError: it is anything else.
    """
    return text(group, name) if h5a.exists(group.id, name.encode()) else None


def _attribute(group: Any, name: str) -> NDArray[np.generic]:
    """The one value of an attribute, as an array."""
    if not h5a.exists(group.id, name.encode()):
        raise DataError(f"attribute '{name}' is missing")
    attribute = h5a.open(group.id, name.encode())
    if attribute.get_type().get_class() not in (h5t.INTEGER, h5t.FLOAT, h5t.STRING):
        raise DataError(f"attribute '{name}' must be a number or text, but is of another type")
    n_values = attribute.get_space().get_simple_extent_npoints()
    if n_values != 1 or attribute.get_storage_size() > _MOST_TEXT_BYTES:
        raise DataError(f"attribute '{name}' must be one value, but has {n_values:,}")
    value = np.asarray(group.attrs[name])
    if value.size != 1:
        raise DataError(f"attribute '{name}' must be one value, but got {_short(value)}")
    return value


def _short(value: Any) -> str:
    shown = " ".join(repr(value).split())
    return shown if len(shown) <= 80 else f"{shown[:79]}…"
