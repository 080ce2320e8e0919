"""Damaged files of others: HDF5 and MATLAB recordings, folders of runs, and CSV tables."""

import contextlib
import functools
import io
import json
import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import scipy.io
import yaml

from decoder.data.check import check
from decoder.data.synthetic import RECIPES, in_layout, make_synthetic
from decoder.errors import UserError
from fuzzing.mutate import ODD_VALUES, WORDS, damaged_text, damaged_tree, odd_file
from fuzzing.runner import Kind
from orchestrator.cli.app import app
from orchestrator.history.audit.audit import audit
from orchestrator.history.audit.report import audit_document, markdown
from orchestrator.history.reading.store import import_document, import_runs, read_imported
from orchestrator.query.compare.comparison import ComparisonOptions
from orchestrator.query.compare.named_sides import compare_named
from orchestrator.query.compare.rendering import file_rows, to_csv, to_markdown
from orchestrator.store.paths import Results
from orchestrator.terminal import json_text

assert app  # every command can be imported
MOST_CHARACTERS = 3_000
SESSION = "t15.2000.01.01"
T15_ARGS = {
    "num_training_batches": 1000,
    "lr_max": 0.005,
    "lr_min": 0.0001,
    "beta0": 0.9,
    "epsilon": 0.1,
    "seed": 10,
    "model": {"n_units": 768, "rnn_dropout": 0.4, "n_layers": 5},
    "dataset": {"batch_size": 64, "data_transforms": {"white_noise_std": 1.0}},
}
_NUMBERS = (
    *("-1", "1e306", "nan", "inf", "-inf", "-5", "9" * 401, "1" * 5000, "0x1F", "1_0", "1,5"),
    *("1e-400", "١٢", "", " ", "1e5", "100", "2.5e1 %", "true", "null", '"', "1\x002"),
)
_FORMULAS = ('=HYPERLINK("http://x","y")', "@SUM(A1)", "+1+1", "-1+1", "\t=1", "=cmd|' /C calc'!A0")


def _said(read: Callable[[], object]) -> Literal["ok", "refused"]:
    """Whether something is read, or refused with messages that are short and safe to print."""
    try:
        read()
    except UserError as error:
        assert 0 < len(error.problems) <= 101, len(error.problems)
        for problem in error.problems:
            assert len(problem) <= MOST_CHARACTERS, problem[:MOST_CHARACTERS]
            problem.encode()
            unsafe = [c for c in problem if not c.isprintable() and c != "\n"]
            assert not unsafe, (unsafe, problem)
        return "refused"
    return "ok"


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


# ------------------------------------------------------------------------------ recordings


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
    return _said(lambda: json_text(asdict(check(root))))


# ------------------------------------------------------------------------- folders of runs


def make_folders(draw: random.Random, folder: Path) -> Path:
    """Runs of others: settings and learning curves of every kind, some of them damaged."""
    root = folder / "runs"
    root.mkdir()
    for index in range(draw.choice((1, 2, 3, 5))):
        own = root / draw.choice((f"run{index}", f"seed{index}", f"é{index}", f"a/b/{index}"))
        own.mkdir(parents=True, exist_ok=True)
        _settings(draw, own)
        for _ in range(draw.choice((1, 1, 2))):
            _curve(draw, own)
        if draw.random() < 0.2:
            _odd_entry(draw, own, root)
    return root


def _settings(draw: random.Random, own: Path) -> None:
    tree: Any = {**T15_ARGS, "lr_max": draw.choice((0.001, 0.005)), "seed": draw.randrange(5)}
    if draw.random() < 0.5:
        tree = damaged_tree(draw, tree)
    suffix = draw.choice(("yaml", "yaml", "json", "json", "toml"))
    if suffix == "json":
        text = json.dumps(_plain(tree))
    else:
        text = yaml.safe_dump(_plain(tree)) if suffix == "yaml" else "lr_max = 0.1\nseed = 3\n"
    content = damaged_text(draw, text) if draw.random() < 0.3 else text.encode(errors="replace")
    path = own / f"{draw.choice(('args', 'config', 'params'))}.{suffix}"
    if draw.random() < 0.05:
        odd_file(draw, path)
    else:
        path.write_bytes(content)


def _plain(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {str(key): _plain(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_plain(value) for value in tree]
    return tree if not isinstance(tree, int) or abs(tree) < 10**300 else str(tree)


def _curve(draw: random.Random, own: Path) -> None:
    rows = [(step, 1 / (1 + step / 200), 30.0) for step in range(0, 1000, 100)]
    cells = [[str(value) for value in row] for row in rows]
    for _ in range(draw.choice((0, 0, 1, 2, 5))):
        draw.choice(cells)[draw.randrange(3)] = draw.choice(_NUMBERS)
    kind = draw.choice(("csv", "jsonl", "json", "log"))
    names = draw.choice(
        (("step", "val_per", "val_loss"), ("epoch", "PER", "loss"), ("x", "y", "z"))
    )
    if kind == "csv":
        text = "\n".join(",".join(row) for row in [names, *cells])
    elif kind == "log":
        text = "\n".join(
            f"Val batch {step}: PER (avg): {per} CTC Loss (avg): {loss} time: 1.2"
            for step, per, loss in cells
        )
    else:
        lines = [
            "{" + ", ".join(f'"{k}": {v}' for k, v in zip(names, row, strict=True)) + "}"
            for row in cells
        ]
        text = "\n".join(lines) if kind == "jsonl" else f"[{', '.join(lines)}]"
        if draw.random() < 0.05:
            text = "[" * draw.choice((50, 5000, 100_000))
    if draw.random() < 0.02:
        text = "\n".join([text] * 5000)
    content = damaged_text(draw, text) if draw.random() < 0.3 else text.encode()
    path = own / f"metrics.{kind}"
    if draw.random() < 0.05 and not path.exists():
        odd_file(draw, path)
    elif path.is_file() or not path.exists():
        path.write_bytes(content)


def _odd_entry(draw: random.Random, own: Path, root: Path) -> None:
    """A link out of the folder or in a loop, a device, a pipe, events of TensorBoard, a name."""
    way = draw.randrange(5)
    path = own / draw.choice(
        ("log", "extra", "config.json", "metrics.csv", "events.out.tfevents.1")
    )
    if path.exists() or path.is_symlink():
        return
    if way == 0:
        path.symlink_to(
            draw.choice((root, own, Path("/proc"), Path("/proc/self/fd"), Path("/dev")))
        )
    elif way == 1:
        path.symlink_to(draw.choice(("/dev/zero", "/proc/kmsg", "/proc/self/mem", "/dev/tty", "x")))
    elif way == 2:
        odd_file(draw, path)
    elif way == 3:
        path.write_bytes(draw.randbytes(300))
    else:
        name = draw.choice((b"\xff\xfe.csv", b"a\nb.json", b"\x1b[31m.log", b"=1+1.csv"))
        Path(
            bytes(own).decode(errors="surrogateescape"), name.decode(errors="surrogateescape")
        ).write_bytes(draw.randbytes(30))


def read_folders(root: Path) -> Literal["ok", "refused"]:
    """What `import-runs` and `audit` do, with all they print and write."""
    results = Results(root.parent / "results")

    def read() -> None:
        result = import_runs(results, root, None)
        json_text(import_document(result)).encode()
        remarks: list[str] = []
        again = read_imported(results, result.name, remarks.append)
        assert not remarks, remarks[0][:500]
        audited = audit(result.name, again)
        markdown(audited).encode("utf-8", "replace")
        json_text(audit_document(audited)).encode()

    return _said(read)


# ---------------------------------------------------------------------------------- tables


def make_csv(draw: random.Random, folder: Path) -> Path:
    """A table of runs as people keep them, damaged in its cells, its shape or its bytes."""
    delimiter = draw.choice((",", ",", ";", "\t"))
    names = ["name", "seed", "lr", "eps", "per", "status", "notes"]
    rows: list[Sequence[str]] = [names]
    for index in range(draw.choice((2, 6, 20))):
        row = [f"arm{index % 2}", str(index // 2), draw.choice(("0.005", "0.002")), "0.1"]
        rows.append([*row, f"{draw.random():.3f}", "ok", ""])
    for _ in range(draw.choice((0, 1, 2, 8))):
        cells = list(draw.choice(rows))
        rows[rows.index(cells)] = cells
        odd = draw.choice((_NUMBERS, _FORMULAS, WORDS, tuple(map(str, ODD_VALUES[:30]))))
        cells[draw.randrange(len(cells))] = draw.choice(odd)
    way = draw.random()
    if way < 0.03:
        rows = [[*row, *map(str, range(10_000))] for row in rows]
    elif way < 0.05:
        rows[1] = ["x" * 10_000_000, *rows[1]]
    elif way < 0.07:
        rows = [names, *(list(rows[1]) for _ in range(100_000))]
    text = "\n".join(delimiter.join(row) for row in rows) + "\n"
    content = text.encode("utf-8", "surrogatepass")
    if draw.random() < 0.4 and len(text) < 10**6:
        content = damaged_text(draw, text)
    path = folder / "table.csv"
    if draw.random() < 0.03:
        return odd_file(draw, path)
    path.write_bytes(content)
    return path


def read_csv(path: Path) -> Literal["ok", "refused"]:
    """What `compare` does with two tables, and all that it writes."""
    results = Results(path.parent / "results")

    def read() -> None:
        sound = path.with_name("sound.csv")
        sound.write_text("seed,lr,per\n0,0.005,0.3\n1,0.005,0.31\n0,0.002,0.4\n1,0.002,0.5\n")
        comparison = compare_named(
            (str(path), str(sound)), results, ComparisonOptions(metric="per"), lambda text: None
        )
        to_csv(comparison)
        to_markdown(comparison)
        json_text(file_rows(comparison)).encode()

    return _said(read)


KINDS = (
    Kind("hdf5", make_hdf5, read_recordings),
    Kind("mat", make_mat, read_recordings),
    Kind("folders", make_folders, read_folders, seconds=5.0),
    Kind("csv", make_csv, read_csv),
)
