"""Damaged recordings: HDF5 in the T15 layout and MATLAB files in the T12 layout."""

import contextlib
import functools
import io
import random
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import scipy.io

from decoder.data.check import check
from decoder.data.synthetic import RECIPES, in_layout, make_synthetic
from fuzzing.mutate import odd_file
from fuzzing.runner import Kind, said
from orchestrator.terminal import json_text


def _flipped(draw: random.Random, content: bytes) -> bytes:
    """The bytes with some of them replaced, moved, or cut off."""
    buffer = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 4, 16, 64))):
        at, n = draw.randrange(len(buffer)), draw.choice((1, 1, 2, 4, 8))
        way = draw.randrange(7)
        if way == 0:
            buffer[at] ^= 1 << draw.randrange(8)
        elif way < 4:
            fill = (bytes(n), b"\xff" * n, draw.randbytes(n), (2**31 - 1).to_bytes(8, "little"))
            buffer[at : at + n] = draw.choice(fill)[:n]
        elif way == 4:
            other = draw.randrange(len(buffer))
            buffer[at : at + 8] = buffer[other : other + 8].ljust(8, b"\0")
        elif way == 5:
            buffer[at : at + 8] = draw.randrange(len(buffer)).to_bytes(8, "little")
        elif draw.random() < 0.1:
            del buffer[max(1, at) :]
    return bytes(buffer)


@functools.cache
def _sound(layout: Literal["t15", "t12"]) -> dict[str, bytes]:
    """The files of a small data set by their paths."""
    with tempfile.TemporaryDirectory() as folder:
        recipe = RECIPES["tiny"].model_copy(update={"n_sessions": 1, "n_train": 4, "n_val": 2})
        make_synthetic(in_layout(recipe, layout), Path(folder) / "made")
        files = (Path(folder) / "made").rglob("*")
        return {
            path.relative_to(Path(folder) / "made").as_posix(): path.read_bytes()
            for path in files
            if path.is_file()
        }


def _write(folder: Path, files: dict[str, bytes]) -> Path:
    root = folder / "recordings"
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def make_hdf5(draw: random.Random, folder: Path) -> Path:
    """Recordings in the T15 layout, with one file damaged in its bytes or its structure."""
    root = _write(folder, _sound("t15"))
    path = draw.choice(sorted(root.rglob("*.hdf5")))
    way = draw.random()
    if way < 0.03:
        path.unlink()
        odd_file(draw, path)
        return root
    if way < 0.5:
        with h5py.File(path, "r+") as handle:
            for _ in range(draw.choice((1, 1, 2, 4))):
                with contextlib.suppress(OSError, RuntimeError, ValueError, TypeError, KeyError):
                    _change_hdf5(draw, handle)  # which may not fit what an earlier one left
    if way > 0.4:
        path.write_bytes(_flipped(draw, path.read_bytes()))
    return root


def _change_hdf5(draw: random.Random, handle: h5py.File) -> None:
    groups = [name for name in handle if handle.get(name, getclass=True) is h5py.Group]
    if not groups:
        return
    group = handle[draw.choice(groups)]
    name = draw.choice(("input_features", "seq_class_ids", "transcription"))
    way = draw.randrange(8)
    if way == 0:
        key = draw.choice(("n_time_steps", "block_num", "trial_num", "seq_len", "session"))
        values = (np.nan, 1e300, -1, 2**62, "x", b"\xff", [1, 2], h5py.Empty("f4"), group.ref, 1.5)
        group.attrs[key] = draw.choice(values)
        return
    if way == 1:
        link = draw.choice(
            (
                *(h5py.SoftLink("/"), h5py.SoftLink("/x"), h5py.SoftLink(f"{group.name}/{name}")),
                *(h5py.ExternalLink("x.h5", "/"), h5py.ExternalLink(handle.filename, "/")),
                *(handle, group),
            )
        )
        new = f"trial_{len(handle):04d}" if draw.random() < 0.5 else draw.choice(groups)
        if new in handle:
            del handle[new]
        handle[new] = link
        return
    if way == 2 and name in group and group.get(name, getclass=True) is h5py.Dataset:
        data = group[name]
        if data.shape and data.size and data.dtype.kind in "iuf":
            values = (np.nan, np.inf, 1e30, -1e7) if data.dtype.kind == "f" else (-1, 0, 41, 10**6)
            data[tuple(draw.randrange(n) for n in data.shape)] = draw.choice(values)
        return
    if name in group:
        del group[name]
    if way == 3:
        return
    shape: Any = draw.choice(((31, 4), (31, 16), (500,), (0, 16), (10**9, 16), (2,) * 5, ()))
    if way == 4:
        layout = h5py.VirtualLayout((31, 16), "f4")
        layout[:] = h5py.VirtualSource(draw.choice((".", "x.h5")), "x", shape=(31, 16))
        group.create_virtual_dataset(name, layout)
    elif way == 5:
        group.create_dataset(name, shape, "f4", external=[("/dev/zero", 0, h5py.h5f.UNLIMITED)])
    elif way == 6:
        kinds = ("f4", "f8", "i4", "S3", h5py.string_dtype(), h5py.ref_dtype, [("a", "f4")])
        group.create_dataset(
            name, shape, draw.choice(kinds), chunks=bool(shape and shape[0]) or None
        )
    else:
        data = np.zeros((draw.choice((10, 10**4, 10**6)), 16), "f4")
        group.create_dataset(name, data=data, chunks=(10, 16) if len(data) < 99 else True)


def make_mat(draw: random.Random, folder: Path) -> Path:
    """Recordings in the T12 layout, with one file damaged in its bytes or its structure."""
    root = _write(folder, _sound("t12"))
    path = draw.choice(sorted(root.rglob("*.mat")))
    way = draw.random()
    if way < 0.03:
        path.unlink()
        odd_file(draw, path)
        return root
    content = path.read_bytes()
    if way < 0.5:
        fields = {k: v for k, v in scipy.io.loadmat(io.BytesIO(content)).items() if k[0] != "_"}
        for _ in range(draw.choice((1, 1, 2))):
            with contextlib.suppress(IndexError, ValueError, TypeError):
                _change_mat(draw, fields)
        out = io.BytesIO()
        scipy.io.savemat(out, fields, do_compression=draw.random() < 0.5)
        content = out.getvalue()
    if way > 0.4:
        content = content[:128] + _flipped(draw, content[128:])
    path.write_bytes(content)
    return root


def _change_mat(draw: random.Random, fields: dict[str, Any]) -> None:
    name = draw.choice(("sentenceText", "tx1", "spikePow", "blockIdx"))
    odd = (
        *(np.zeros((3, 0)), np.zeros((0, 0)), 1e30, "x", "é" * 40, np.array([["a"], ["b"]])),
        *({"a": {"b": 1}}, np.full((4, 1), np.nan), np.full((4, 1), 2.0**40), np.eye(3) * 1j),
        *(np.zeros((2,) * 7), np.zeros((10**6, 9)), scipy.sparse.eye(3), np.arange(4, dtype="u8")),
    )
    cells = fields.get(name)
    if isinstance(cells, np.ndarray) and cells.dtype == object and draw.random() < 0.7:
        cell = np.array(cells.flat[0], dtype=float)
        changed = (
            cell * 1e300,
            cell[:, :3],
            cell[:0],
            cell * np.nan,
            cell * 1e13,
            cells.copy(),
            *odd[:6],
        )
        cells.flat[draw.randrange(cells.size)] = draw.choice(changed)
    elif draw.random() < 0.2:
        del fields[draw.choice(sorted(fields))]
    else:
        fields[name] = draw.choice(odd)


def read_recordings(root: Path) -> Literal["ok", "refused"]:
    """What `data check` does, and `run` before it packs."""
    return said(lambda: json_text(asdict(check(root))))


KINDS = (Kind("hdf5", make_hdf5, read_recordings), Kind("mat", make_mat, read_recordings))
