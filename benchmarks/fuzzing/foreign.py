"""Damaged files of others: folders of runs, and CSV tables."""

import json
import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml

from fuzzing.mutate import ODD_VALUES, WORDS, damaged_text, damaged_tree, odd_file
from fuzzing.runner import Kind, said
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
    elif path.is_file() or not os.path.lexists(path):
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

    return said(read)


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

    return said(read)


KINDS = (
    Kind("folders", make_folders, read_folders, seconds=5.0),
    Kind("csv", make_csv, read_csv),
)
