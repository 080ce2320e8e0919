"""One learning-curve file of a run, read line by line: JSON lines, CSV, JSON, or a log."""

import csv
import functools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from decoder.atomic import sha256_of
from orchestrator.history.reading.columns import (
    EPOCH,
    PER,
    STEP,
    VAL_LOSS,
    StepValues,
    as_rates,
    column_names,
    is_evaluation,
    is_percent,
    says_percent,
)
from orchestrator.history.reading.files import (
    MOST_SETTINGS_BYTES,
    FileNote,
    Role,
    TextFile,
    decode,
    printable,
)
from orchestrator.history.reading.folders import RunFile, relative
from orchestrator.history.reading.log_lines import LogState, read_line

_MOST_TRAIN_ROWS = 4_000  # rows without an evaluation that are kept; evaluations all are
_MOST_EVALUATIONS = 100_000


@dataclass
class CurveFile:
    """The values in one file, in the order of the file, PER as a rate.

    Attributes:
        path: relative to the imported root.
        rows: column → value; every row has ``step``.
        unit: what ``step`` counts: ``step``, ``epoch`` or ``row``.
        names: column → name in the file.
        log: what a log says besides its rows.
        note: how the file was used; None until it is read.
        remarks: how its content was read, where that is not obvious.
        changed: time of the file's last change, in seconds.
    """

    path: str
    rows: list[StepValues] = field(default_factory=list)
    unit: str = STEP
    names: dict[str, str] = field(default_factory=dict)
    log: LogState = field(default_factory=LogState)
    note: FileNote | None = None
    remarks: list[str] = field(default_factory=list)
    changed: float = 0.0

    def remark(self, text: str) -> None:
        """Add a remark about this file."""
        self.remarks.append(f"{self.path}: {text}")

    @property
    def pers(self) -> dict[float, float]:
        """Step → PER, of the rows that have one."""
        return {row[STEP]: row[PER] for row in self.rows if PER in row}


class ThinnedRows:
    """Keeps every evaluation, every row with a non-finite value, and a share of the others."""

    def __init__(self) -> None:
        self.kept: list[StepValues] = []
        self.n_thinned = 0
        self._n_train = 0
        self._every = 1
        self._seen = 0

    def add(self, row: StepValues) -> None:
        """Keep a row, or count it as thinned."""
        if not _may_thin(row):
            if len(self.kept) < _MOST_EVALUATIONS:
                self.kept.append(row)
            else:
                self.n_thinned += 1
            return
        self._seen += 1
        if self._seen % self._every:
            self.n_thinned += 1
            return
        self.kept.append(row)
        self._n_train += 1
        if self._n_train > _MOST_TRAIN_ROWS:
            self._halve()

    def _halve(self) -> None:
        kept, n = [], 0
        for row in self.kept:
            n += not is_evaluation(row)
            if _may_thin(row) and n % 2:
                self.n_thinned += 1
            else:
                kept.append(row)
        self._n_train = sum(not is_evaluation(row) for row in kept)
        self.kept, self._every = kept, self._every * 2


def _may_thin(row: StepValues) -> bool:
    return not is_evaluation(row) and all(map(math.isfinite, row.values()))


def read_curve_file(file: RunFile, root: Path) -> CurveFile:
    """Read one file as a learning curve; `CurveFile.note` says how the file was used."""
    curve = CurveFile(relative(file.path, root), changed=file.changed)
    text = TextFile(file.path, file.n_bytes)
    try:
        if file.kind == "json":
            objects, text.digest = _json_rows(file)
            rows = [row for one in objects if (row := _known_columns(one, curve))]
        else:
            thinned = ThinnedRows()
            reader = {"jsonl": _jsonl, "csv": _csv, "log": _log}[file.kind]
            for row in reader(text, curve):
                thinned.add(row)
            rows = thinned.kept
            if thinned.n_thinned:
                curve.remark(f"{thinned.n_thinned:,} rows without an evaluation are left out")
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        why = printable(" ".join(f"{type(error).__name__}: {error}".split())[:300])
        curve.note = FileNote(curve.path, "unreadable", file.n_bytes, "", why)
        return curve
    _set_units(curve, rows)
    curve.note = _note(curve, file, text)
    return curve


def _set_units(curve: CurveFile, raw: Sequence[StepValues]) -> None:
    """Fill `curve.rows`: a step in every row, and PER as a rate."""
    if not any(STEP in row for row in raw):
        curve.unit = EPOCH if any(EPOCH in row for row in raw) else "row"
    rows = []
    for index, row in enumerate(raw):
        step = row.get(STEP) if curve.unit == STEP else row.get(EPOCH, float(index + 1))
        if step is not None and math.isfinite(step):
            rows.append({**row, STEP: step})
    percent, why = is_percent([row[PER] for row in rows if PER in row])
    per_name = curve.names.get(PER, "")
    if (says_percent(per_name) or curve.log.percent) and not percent and why:
        percent, why = True, "the file says that PER is in percent"
    curve.rows = as_rates(rows, percent)
    if percent:
        curve.remark(why)
    if curve.unit == "row" and rows:
        curve.remark("has no column of steps; its rows are numbered from 1")
    if per_name.lower() not in ("", "per", "val_per", "per (avg)"):
        curve.remark(f"'{per_name}' is read as PER")


def _note(curve: CurveFile, file: RunFile, text: TextFile) -> FileNote:
    """How the file was used; adds remarks about its content."""

    def note(role: Role, why: str = "", digest: str = "") -> FileNote:
        return FileNote(curve.path, role, file.n_bytes, digest, why)

    log = curve.log
    if text.pickled:
        return note("refused", "pickles and archives are never opened")
    if text.skipped_bytes:
        curve.remark(
            f"the file is larger than the limit; {text.skipped_bytes:,} bytes after its first "
            "line are skipped"
        )
    if log.n_pairs:
        curve.remark(
            f"{log.n_pairs} lines are read as pairs of name and number, such as '{log.example}'"
        )
    if log.n_carried:
        curve.remark(
            f"{log.n_carried} PERs are on lines without a step; each takes the step mentioned last"
        )
    if curve.rows or log.trainer or log.finished:
        return note("course", digest=text.digest)
    return note("not read", "holds no step with a PER or a loss" if file.n_bytes else "is empty")


# ------------------------------------------------------------------------------------ formats


def _jsonl(text: TextFile, curve: CurveFile) -> Iterator[StepValues]:
    """One row for each line that is a JSON object; other lines are counted."""
    n_bad, first_bad, last_is_bad = 0, 0, False
    of_test: list[StepValues] = []
    n_evaluations = 0
    for number, line in enumerate(text.lines(), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        last_is_bad = not isinstance(value, dict)
        if last_is_bad:
            n_bad, first_bad = n_bad + 1, first_bad or number
            continue
        row, split = _known_columns(value, curve), _split_of(value)
        if row and split == "test" and PER in row:
            of_test.append(row)
        elif row:
            n_evaluations += PER in row and split != "train"
            yield _as_training(row) if split == "train" else row
    if of_test and n_evaluations:
        curve.remark(
            f"rows of the test split ({len(of_test)}) are left out, as there are rows of validation"
        )
    else:
        yield from of_test
    if last_is_bad and text.cut_off:
        n_bad -= 1
        curve.remark("its last line is cut off and left out")
    if n_bad:
        curve.remark(
            f"{n_bad} line{'s' * (n_bad != 1)} could not be read (the first is line {first_bad})"
        )


def _split_of(value: Mapping[str, Any]) -> str:
    """``train`` or ``test`` if a row says that it is of that split, else ""."""
    for name in ("split", "phase", "subset", "stage", "mode", "type"):
        stated = value.get(name)
        for split in ("train", "test"):
            if isinstance(stated, str) and stated.lower().startswith(split):
                return split
    return ""


def _as_training(row: StepValues) -> StepValues:
    """A row of the training split, with the column names of training."""
    names = {PER: "train_per", VAL_LOSS: "train_loss"}
    return {names.get(name, name): value for name, value in row.items()}


def _csv(text: TextFile, curve: CurveFile) -> Iterator[StepValues]:
    """One row for each line below the header; cells that hold no number are left out."""
    lines = (line for line in text.lines() if line.strip())
    header = next(lines, "")
    delimiter = max("\t;,", key=header.count)
    names = [name.strip() for name in next(csv.reader([header], delimiter=delimiter), [])]
    columns = column_names(names)
    if not set(columns.values()) & {PER, VAL_LOSS, "train_loss"}:
        return
    curve.names = {column: printable(name) for name, column in columns.items()}
    places = [(names.index(name), column) for name, column in columns.items()]
    n_short, last_is_short, decimal_comma = 0, False, delimiter == ";"
    for cells in csv.reader(lines, delimiter=delimiter):
        last_is_short = len(cells) < len(names)
        n_short += last_is_short
        row: StepValues = {}
        for place, column in places:
            if place < len(cells) and not (last_is_short and place == len(cells) - 1):
                cell = cells[place].strip().rstrip("%")
                value = _number(cell.replace(",", ".") if decimal_comma else cell)
                if value is not None:
                    row[column] = value
        if row.keys() - {STEP, EPOCH}:
            yield row
    if last_is_short and text.cut_off:
        n_short -= 1
        curve.remark("its last line is cut off")
    if n_short:
        curve.remark(f"{n_short} lines have fewer cells than the header has names")


def _log(text: TextFile, curve: CurveFile) -> Iterator[StepValues]:
    for line in text.lines():
        row = read_line(line, curve.log)
        if row:
            yield row
    if curve.log.trainer == "t12":
        curve.names[PER] = "cer"


def _json_rows(file: RunFile) -> tuple[list[Mapping[str, Any]], str]:
    """The rows of a JSON file (a list of objects, or lists of equal length), and its digest."""
    if file.n_bytes > MOST_SETTINGS_BYTES:
        raise ValueError(
            f"has {file.n_bytes:,} bytes; as a JSON learning curve at most "
            f"{MOST_SETTINGS_BYTES:,} are read"
        )
    content = file.path.read_bytes()
    text = decode(content)
    value = json.loads(text) if text.strip() else {}
    rows = _list_of_objects(value)
    if rows is None and isinstance(value, dict):
        lists = {k: v for k, v in value.items() if isinstance(v, list) and column_names([k])}
        length = max(map(len, lists.values()), default=0)
        lists = {k: v for k, v in lists.items() if len(v) == length}
        rows = [{key: values[i] for key, values in lists.items()} for i in range(length)]
    return rows or [], sha256_of(content)


def _list_of_objects(value: Any) -> list[Mapping[str, Any]] | None:
    places = value.values() if isinstance(value, dict) else [value]
    for place in places:
        if isinstance(place, list) and place and all(isinstance(one, dict) for one in place):
            return place
    return None


@functools.lru_cache(maxsize=1024)
def _columns(names: tuple[str, ...]) -> Mapping[str, str]:
    return column_names(names)


def _known_columns(value: Mapping[str, Any], curve: CurveFile) -> StepValues:
    """The numbers of one object under known names, nested ones too; {} without any."""
    flat = dict(_flat(value, "", 0))
    row: StepValues = {}
    for name, column in _columns(tuple(flat)).items():
        number = _number(flat[name])
        if number is not None:
            row[column] = number
            curve.names.setdefault(column, printable(name))
    return row if row.keys() - {STEP, EPOCH} else {}


def _flat(value: Mapping[str, Any], prefix: str, depth: int) -> Iterator[tuple[str, Any]]:
    for name, inner in value.items():
        if isinstance(inner, Mapping):
            if depth < 4:
                yield from _flat(inner, f"{prefix}{name}.", depth + 1)
        elif not isinstance(inner, list):
            yield f"{prefix}{name}", inner


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None
