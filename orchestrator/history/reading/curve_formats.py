"""Rows of a learning curve as a file of any format writes them: JSON lines, CSV, JSON, or a log."""

import csv
import functools
import itertools
import json
import math
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from decoder.atomic import sha256_of
from decoder.import_tables import squeeze
from decoder.pickled_arrays import read_pickled_arrays
from orchestrator.history.reading.columns import (
    EPOCH,
    PER,
    STEP,
    VAL_LOSS,
    StepValues,
    allowed_range,
    column_names,
    is_unlabelled,
    number_of,
)
from orchestrator.history.reading.files import (
    MOST_SETTINGS_BYTES,
    FileNote,
    TextFile,
    decode,
    json_value,
    printable,
)
from orchestrator.history.reading.log_lines import LogState
from orchestrator.history.reading.log_runs import LogRuns

STATS_INTERVAL = 100  # batches between evaluations of the T12 trainer
RUN = "run"  # column with the number of the run in the file, where it holds several
_MOST_NAMES = 2_000  # of one row
_MOST_LABELS = 2_000
_LABEL_NAMES = (  # columns that say which run a row is of
    "run runid runname experiment experimentname exp expname expid config configname arm variant "
    "model modelname seed fold"
)
_LABELS = frozenset(_LABEL_NAMES.split())
_OF_EVALUATIONS = {"split", "subset", "partition", "trial", "sentence", "utterance", "block"}
_ROW_NAMES = _LABELS | {"name", "method", "seed", "decoder", "architecture", "setting", "settings"}


@dataclass
class CurveFile:
    """The values in one file, in the order of the file, PER as a rate.

    Attributes:
        path: relative to the imported root.
        changed: time of the file's last change, in seconds.
        note: how the file was used.
        rows: column → value; every row has ``step``.
        unit: what ``step`` counts: ``step``, ``epoch`` or ``row``.
        names: column → name in the file.
        log: what a log says besides its rows.
        run: name of the one run of several in the file that this is; "" if there is one.
        official: whether an official trainer wrote it, other than as a log.
        labels: of a table, what its rows say of which run they are → the number in column `RUN`.
        remarks: how its content was read, where that is not obvious.
        out_of_range: column → how many of its values are left out, and which is the first.
        signed: columns of a table with a percent sign in their cells.
    """

    path: str
    changed: float
    note: FileNote
    rows: list[StepValues] = field(default_factory=list)
    unit: str = STEP
    names: dict[str, str] = field(default_factory=dict)
    log: LogState = field(default_factory=LogState)
    run: str = ""
    official: bool = False
    labels: dict[str, int] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    out_of_range: dict[str, tuple[int, str]] = field(default_factory=dict)
    signed: set[str] = field(default_factory=set)

    def remark(self, text: str) -> None:
        self.remarks.append(f"{self.path}: {text}")

    def within_range(self, row: StepValues, place: str) -> StepValues:
        """The values of a row that a trainer can have written; `place` says where it stands."""
        allowed = {column: allowed_range(column, value) for column, value in row.items()}
        if not any(allowed.values()):
            return row
        for column in filter(allowed.__getitem__, allowed):
            n, first = self.out_of_range.get(column, (0, ""))
            first = first or f"{place}: {row[column]:.6g} (allowed: {allowed[column]})"
            self.out_of_range[column] = (n + 1, first)
        return {column: value for column, value in row.items() if not allowed[column]}

    def labelled(self, row: StepValues, cells: Mapping[str, Any]) -> StepValues:
        """A row with the number of the run that `cells` name, where they name one."""
        words = [
            f"seed{cells[name]}" if squeeze(name) == "seed" else str(cells[name])
            for name in cells
            if squeeze(name) in _LABELS
        ]
        if not words or not row:
            return row
        label = printable(" ".join(words))[:80]
        if label not in self.labels and len(self.labels) >= _MOST_LABELS:
            return row
        return {**row, RUN: float(self.labels.setdefault(label, len(self.labels)))}

    def is_table_of_runs(self, names: Iterable[str]) -> bool:
        """Whether the columns of rows without steps say that each row is a run; notes it.

        So are rows that are a trial or a split each: the last one is no end of a course.
        """
        squeezed = {squeeze(name) for name in names}
        if squeezed & _OF_EVALUATIONS:
            why = "is a table of splits or trials and no learning curve, as it has no steps"
            self.note = replace(self.note, note=why)
            return True
        if not squeezed & _ROW_NAMES:
            return False
        why = "is a table of runs and no learning curve, as it has no steps; `compare` reads a CSV"
        self.note = replace(self.note, note=why)
        return True

    @property
    def pers(self) -> dict[float, float]:
        """Step → PER, of the rows that have one."""
        return {row[STEP]: row[PER] for row in self.rows if PER in row}


def jsonl_rows(text: TextFile, curve: CurveFile) -> Iterator[StepValues]:
    """One row for each line that is a JSON object; other lines are counted."""
    last, bad = 0, []  # numbers of lines
    splits = _Splits()
    for at, line in enumerate(text.lines(), 1):
        stripped = line.strip()
        if not stripped:
            continue
        last = at
        try:
            value = json.loads(line) if stripped[0] == "{" else None
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            bad.append(at)
            continue
        row = _known_columns(value, curve)
        if math.inf in row.values() and "Infinity" not in line:  # 1e400
            row = {name: min(number, sys.float_info.max) for name, number in row.items()}
        row = curve.labelled(curve.within_range(row, f"line {at}"), value)
        yield from splits.placed(row, value)
    yield from splits.rest(curve)
    if text.cut_off and bad[-1:] == [last]:
        bad.pop()
        curve.remark("its last line is cut off and left out")
    if bad:
        curve.remark(
            f"{len(bad)} line{'s' * (len(bad) != 1)} could not be read (the first is line {bad[0]})"
        )


@dataclass
class _Splits:
    """Places the rows of a file by the split that each names.

    Attributes:
        of_test: rows of the test split, which count if there is no row of validation.
        has_validation: whether a row before has a PER of validation.
        n_unlabelled: rows of a split without true labels.
    """

    of_test: list[StepValues] = field(default_factory=list)
    has_validation: bool = False
    n_unlabelled: int = 0

    def placed(self, row: StepValues, cells: Mapping[str, Any]) -> Iterator[StepValues]:
        """The row as it counts at its place; none if it waits for the end, or never counts."""
        split = _split_of(cells)
        if split == "unlabelled":
            self.n_unlabelled += 1
        elif split == "test" and PER in row:
            self.of_test.append(row)
        elif row:
            self.has_validation |= PER in row and split != "train"
            yield _as_training(row) if split == "train" else row

    def rest(self, curve: CurveFile) -> Iterator[StepValues]:
        """The rows that waited for the end of the file; notes those that do not count."""
        if self.of_test and self.has_validation:
            curve.remark(
                f"rows of the test split ({len(self.of_test)}) are left out, as there are rows of "
                "validation"
            )
        else:
            yield from self.of_test
        if self.n_unlabelled:
            curve.remark(f"rows of a split without true labels ({self.n_unlabelled}) are left out")


_SPLIT_NAMES = ("split", "phase", "subset", "stage", "mode", "type")


def _split_of(value: Mapping[str, Any]) -> str:
    """``train``, ``test`` or ``unlabelled`` if a row says that it is of such a split, else ""."""
    for name in _SPLIT_NAMES:
        if is_unlabelled(str(value.get(name))):
            return "unlabelled"
        if match := re.match("train|test", str(value.get(name)), re.IGNORECASE):
            return match[0].lower()
    return ""


def _as_training(row: StepValues) -> StepValues:
    """A row of the training split, with the column names of training."""
    names = {PER: "train_per", VAL_LOSS: "train_loss"}
    return {names.get(name, name): value for name, value in row.items()}


def csv_rows(text: TextFile, curve: CurveFile) -> Iterator[StepValues]:
    """One row for each line below the header; cells that hold no number are left out."""
    lines = (line.replace("\0", "") for line in text.lines() if line.strip("\0 \t,;"))
    header = next(lines, "")
    delimiter = max("\t;,", key=header.count)
    names = [name.strip() for name in next(csv.reader([header], delimiter=delimiter), [])]
    columns = column_names(names)
    if not set(columns.values()) & {PER, VAL_LOSS, "train_loss"}:
        return
    curve.names = {column: printable(name) for name, column in columns.items()}
    places = [(names.index(name), column) for name, column in columns.items()]
    if not {STEP, EPOCH} & set(columns.values()) and curve.is_table_of_runs(names):
        return
    named = (*_LABELS, *_SPLIT_NAMES)
    labels = [(at, name) for at, name in enumerate(names) if squeeze(name) in named]
    splits = _Splits()
    n_short, last_is_short, decimal_comma = 0, False, delimiter == ";"
    reader = csv.reader(lines, delimiter=delimiter)
    for cells in reader:
        last_is_short = len(cells) < len(names)
        n_short += last_is_short
        row: StepValues = {}
        for place, column in places:
            if place < len(cells) - last_is_short:  # the last cell of a short line may be cut off
                cell = cells[place].strip()
                if cell.endswith("%"):
                    curve.signed.add(column)
                    cell = cell.rstrip("% ")
                value = _number(cell.replace(",", ".") if decimal_comma else cell)
                if value is not None:
                    row[column] = value
        row = curve.within_range(row, f"line {reader.line_num + 1}")
        if row.keys() - {STEP, EPOCH}:
            said = {name: cells[at].strip() for at, name in labels if at < len(cells)}
            lower = {name.lower(): text for name, text in said.items()}
            yield from splits.placed(curve.labelled(row, said), lower)
    yield from splits.rest(curve)
    if last_is_short and text.cut_off:
        n_short -= 1
        curve.remark("its last line is cut off")
    if n_short:
        curve.remark(f"{n_short} lines have fewer cells than the header has names")


def log_rows(text: TextFile, curve: CurveFile, runs: LogRuns) -> Iterator[StepValues]:
    for at, line in enumerate(text.lines(), 1):
        if (row := runs.read(line)) and (row := curve.within_range(row, f"line {at}")):
            if len(runs.runs) > 1:
                row[RUN] = len(runs.runs) - 1.0
            yield row
    if any(run.log.trainer == "t12" for run in runs.runs):
        curve.names[PER] = "cer"


def stats_rows(text: TextFile, curve: CurveFile) -> Iterator[StepValues]:
    """One row for each value of the arrays in the T12 trainer's ``trainingStats``."""
    content = text.file.read_bytes()
    text.digest, curve.official = sha256_of(content), True
    arrays = read_pickled_arrays(content)
    columns = {column: arrays[name] for name, column in column_names(arrays).items()}
    curve.names = {column: name for name, column in column_names(arrays).items()}
    for at in range(max(map(len, columns.values()), default=0)):
        values = {column: of[at] for column, of in columns.items() if at < len(of)}
        row = curve.within_range(values, f"value {at + 1}")
        yield {STEP: float(at * STATS_INTERVAL), **row}
    if columns:
        curve.remark(
            "states no steps; they are those of the official trainer, which evaluates every "
            f"{STATS_INTERVAL} batches"
        )


def json_rows(text: TextFile, curve: CurveFile) -> Iterator[StepValues]:
    """One row for each object of a list, or for each place in lists of equal length."""
    file = text.file
    if file.n_bytes > MOST_SETTINGS_BYTES:
        raise ValueError(
            f"has {file.n_bytes:,} bytes; as a JSON learning curve at most "
            f"{MOST_SETTINGS_BYTES:,} are read"
        )
    content = file.read_bytes()
    text.digest, plain = sha256_of(content), decode(content)
    value = json_value(plain) if plain.strip() else {}
    places = value.values() if isinstance(value, dict) else [value]
    rows = next(filter(_is_list_of_objects, places), None)
    if rows is None and isinstance(value, dict):
        lists = {k: v for k, v in value.items() if isinstance(v, list) and column_names([k])}
        length = max(map(len, lists.values()), default=0)
        lists = {k: v for k, v in lists.items() if len(v) == length}
        rows = [{key: values[i] for key, values in lists.items()} for i in range(length)]
    known = set(column_names(rows[0]).values()) if rows else set[str]()
    if rows and not {STEP, EPOCH} & known and curve.is_table_of_runs(rows[0]):
        return
    for at, raw in enumerate(rows or [], 1):
        if row := curve.within_range(_known_columns(raw, curve), f"row {at}"):
            yield row


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)


_columns = functools.lru_cache(maxsize=1024)(column_names)


def _known_columns(value: Mapping[str, Any], curve: CurveFile) -> StepValues:
    """The numbers of one object under known names, nested ones too; {} without any."""
    flat = dict(itertools.islice(_flat(value, "", 0), _MOST_NAMES))
    row: StepValues = {}
    for name, column in _columns(tuple(flat)).items():
        if (known := _number(flat[name])) is not None:
            row[column] = known
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
        return number_of(value) if isinstance(value, str) else float(value)
    except ValueError:
        return None
    except OverflowError:  # a whole number of hundreds of digits
        return sys.float_info.max if str(value)[0] != "-" else -sys.float_info.max
