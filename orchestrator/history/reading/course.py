"""One course file of a run, read line by line: JSON lines, CSV, JSON, or a log."""

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
    Row,
    as_rates,
    column_names,
    is_percent,
    says_percent,
)
from orchestrator.history.reading.files import (
    MOST_SETTINGS_BYTES,
    FileNote,
    TextFile,
    decode,
    shown,
)
from orchestrator.history.reading.folders import Found
from orchestrator.history.reading.log_lines import LogState, read_line
from orchestrator.history.reading.settings import relative

_MOST_TRAIN_ROWS = 4_000  # rows of training alone that are kept; evaluations all are
_MOST_EVALUATIONS = 100_000
_EVALUATED = (PER, "val_loss")


@dataclass
class Course:
    """The figures in one file, in its order, PER as a rate.

    Attributes:
        path: relative to the imported root.
        rows: column → value; every row has ``step``.
        unit: what ``step`` counts: ``step``, ``epoch`` or ``row``.
        names: column here → name in the file.
        log: what a log said beside its rows.
        note: what became of the file; `remarks` what has to be said about its content.
        changed: the file's time of last change.
    """

    path: str
    rows: list[Row] = field(default_factory=list)
    unit: str = STEP
    names: dict[str, str] = field(default_factory=dict)
    log: LogState = field(default_factory=LogState)
    note: FileNote | None = None
    remarks: list[str] = field(default_factory=list)
    changed: float = 0.0

    def column(self, name: str) -> list[float]:
        """The values of a column, rows without it left out."""
        return [row[name] for row in self.rows if name in row]


class Rows:
    """Keeps every evaluation, and of the rows of training alone at most some thousands."""

    def __init__(self) -> None:
        self.kept: list[Row] = []
        self.n_thinned = 0
        self._n_train = 0
        self._every = 1
        self._seen = 0

    def add(self, row: Row) -> None:
        """Keep a row, or thin it out; one with a value that is not finite is always kept."""
        if any(name in row for name in _EVALUATED) or not all(map(math.isfinite, row.values())):
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
            alone = not any(name in row for name in _EVALUATED)
            n += alone
            if alone and n % 2 and all(map(math.isfinite, row.values())):
                self.n_thinned += 1
            else:
                kept.append(row)
        self._n_train = sum(not any(name in row for name in _EVALUATED) for row in kept)
        self.kept, self._every = kept, self._every * 2


def read_course(found: Found, root: Path) -> Course:
    """Read one file as a course; `Course.note` says what became of it."""
    course = Course(relative(found.path, root), changed=found.changed)
    text = TextFile(found.path, found.n_bytes)
    try:
        if found.kind == "json":
            objects, text.digest = _json_rows(found)
            rows = [row for row in (_named(one, course) for one in objects) if row]
        else:
            kept = Rows()
            reader = {"jsonl": _jsonl, "csv": _csv, "log": _log}[found.kind]
            for row in reader(text, course):
                kept.add(row)
            rows = kept.kept
            if kept.n_thinned:
                course.remarks.append(
                    f"{course.path}: {kept.n_thinned:,} rows of training alone are left out"
                )
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        course.note = FileNote(course.path, "unreadable", found.n_bytes, "", _short(error))
        return course
    percent_name = any(says_percent(name) for c, name in course.names.items() if c == PER)
    _settle(course, rows, percent_name)
    _note(course, found, text)
    return course


def _short(error: Exception) -> str:
    return shown(" ".join(f"{type(error).__name__}: {error}".split())[:300])


def _settle(course: Course, raw: Sequence[Row], percent_name: bool) -> None:
    """Name the unit of steps, make PER a rate, and say by which rule."""
    if not any(STEP in row for row in raw):
        course.unit = EPOCH if any(EPOCH in row for row in raw) else "row"
    rows = []
    for index, row in enumerate(raw):
        step = row.get(STEP) if course.unit == STEP else row.get(EPOCH, float(index + 1))
        if step is not None and math.isfinite(step):
            rows.append({**row, STEP: step})
    percent, why = is_percent([row[PER] for row in rows if PER in row])
    if (percent_name or course.log.percent) and not percent and why:
        percent, why = True, "the file says that PER is in percent"
    course.rows = as_rates(rows, percent)
    if percent:
        course.remarks.append(f"{course.path}: {why}")
    if course.unit == "row" and rows:
        course.remarks.append(f"{course.path}: has no step; its rows are numbered from 1")
    name = course.names.get(PER, "")
    if name.lower() not in ("", "per", "val_per", "per (avg)"):
        course.remarks.append(f"{course.path}: PER is its '{name}'")


def _note(course: Course, found: Found, text: TextFile) -> None:
    log = course.log
    if text.pickled:
        course.note = FileNote(
            course.path, "refused", found.n_bytes, "", "a pickle or an archive, never opened"
        )
        return
    if text.skipped_bytes:
        course.remarks.append(
            f"{course.path}: {text.skipped_bytes:,} bytes after its first line are passed over, "
            "as it is larger than is read"
        )
    if log.n_pairs:
        course.remarks.append(
            f"{course.path}: {log.n_pairs} lines read as pairs of name and number, "
            f"such as '{log.example}'"
        )
    if log.n_carried:
        course.remarks.append(
            f"{course.path}: {log.n_carried} PERs stand on lines without a step; each is taken to "
            "be at the step last mentioned"
        )
    if course.rows or log.trainer or log.finished:
        course.note = FileNote(course.path, "course", found.n_bytes, text.digest)
    elif not found.n_bytes:
        course.note = FileNote(course.path, "not read", 0, "", "is empty")
    else:
        course.note = FileNote(
            course.path, "not read", found.n_bytes, "", "holds no step with a PER or a loss"
        )


# ------------------------------------------------------------------------------------ formats


def _jsonl(text: TextFile, course: Course) -> Iterator[Row]:
    """One row for each line that is an object; what is no object is counted."""
    n_bad, first, last_bad, number = 0, "", False, 0
    of_test: list[Row] = []
    n_evaluations = 0
    for number, line in enumerate(text.lines(), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        last_bad = not isinstance(value, dict)
        if last_bad:
            n_bad, first = n_bad + 1, first or f"line {number}"
            continue
        row, split = _named(value, course), _split_of(value)
        if row and split == "test" and PER in row:
            of_test.append(row)
        elif row:
            n_evaluations += PER in row and split != "train"
            yield _as_training(row) if split == "train" else row
    if of_test and n_evaluations:
        course.remarks.append(
            f"{course.path}: rows of the test split ({len(of_test)}) are left out, beside "
            "those of validation"
        )
    else:
        yield from of_test
    if last_bad and text.cut_off:
        n_bad -= 1
        course.remarks.append(f"{course.path}: its last line is cut off, and left out")
    if n_bad:
        course.remarks.append(
            f"{course.path}: {n_bad} line{'s' * (n_bad != 1)} could not be read (first: {first})"
        )


def _split_of(value: Mapping[str, Any]) -> str:
    """``train`` or ``test`` where a row says that it is of that split, else ""."""
    for name in ("split", "phase", "subset", "stage", "mode", "type"):
        said = value.get(name)
        for split in ("train", "test"):
            if isinstance(said, str) and said.lower().startswith(split):
                return split
    return ""


def _as_training(row: Row) -> Row:
    """A row of the training split under the names of such figures."""
    names = {PER: "train_per", "val_loss": "train_loss"}
    return {names.get(name, name): value for name, value in row.items()}


def _csv(text: TextFile, course: Course) -> Iterator[Row]:
    """One row for each line below the header; cells that are empty or text are no values."""
    lines = (line for line in text.lines() if line.strip())
    header = next(lines, "")
    mark = max("\t;,", key=header.count)
    names = [name.strip() for name in next(csv.reader([header], delimiter=mark), [])]
    columns = column_names(names)
    if not set(columns.values()) & {PER, "val_loss", "train_loss"}:
        return
    course.names = {column: shown(name) for name, column in columns.items()}
    places = [(names.index(name), column) for name, column in columns.items()]
    n_short, last_short, decimal_comma = 0, False, mark == ";"
    for cells in csv.reader(lines, delimiter=mark):
        last_short = len(cells) < len(names)
        n_short += last_short
        row: Row = {}
        for place, column in places:
            if place < len(cells) and not (last_short and place == len(cells) - 1):
                cell = cells[place].strip().rstrip("%")
                value = _number(cell.replace(",", ".") if decimal_comma else cell)
                if value is not None:
                    row[column] = value
        if row.keys() - {STEP, EPOCH}:
            yield row
    if last_short and text.cut_off:
        n_short -= 1
        course.remarks.append(f"{course.path}: its last line is cut off")
    if n_short:
        course.remarks.append(
            f"{course.path}: {n_short} lines have fewer cells than the header names"
        )


def _log(text: TextFile, course: Course) -> Iterator[Row]:
    for line in text.lines():
        row = read_line(line, course.log)
        if row:
            yield row
    if course.log.trainer == "t12":
        course.names[PER] = "cer"


def _json_rows(found: Found) -> tuple[list[Mapping[str, Any]], str]:
    """The rows in a JSON file: a list of objects somewhere in it, or lists of equal length."""
    if found.n_bytes > MOST_SETTINGS_BYTES:
        raise ValueError(f"has {found.n_bytes:,} bytes; a JSON course of that size is not read")
    content = found.path.read_bytes()
    text = decode(content)
    value = json.loads(text) if text.strip() else {}
    digest = sha256_of(content)
    rows = _list_of_objects(value)
    if rows is None and isinstance(value, dict):
        lists = {k: v for k, v in value.items() if isinstance(v, list) and column_names([k])}
        length = max(map(len, lists.values()), default=0)
        lists = {k: v for k, v in lists.items() if len(v) == length}
        rows = [{key: values[i] for key, values in lists.items()} for i in range(length)]
    return rows or [], digest


def _list_of_objects(value: Any) -> list[Mapping[str, Any]] | None:
    places = value.values() if isinstance(value, dict) else [value]
    for place in places:
        if isinstance(place, list) and place and all(isinstance(one, dict) for one in place):
            return place
    return None


@functools.lru_cache(maxsize=1024)
def _columns(names: tuple[str, ...]) -> Mapping[str, str]:
    return column_names(names)


def _named(value: Mapping[str, Any], course: Course) -> Row:
    """One object's known columns with their numbers; nested names are dotted."""
    flat = dict(_flat(value, "", 0))
    columns = _columns(tuple(flat))
    row: Row = {}
    for name, column in columns.items():
        number = _number(flat[name])
        if number is not None:
            row[column] = number
            course.names.setdefault(column, shown(name))
    return row if row.keys() - {STEP, EPOCH} else {}


def _flat(value: Mapping[str, Any], prefix: str, depth: int) -> Iterator[tuple[str, Any]]:
    for name, inner in value.items():
        if isinstance(inner, Mapping):
            if depth < 4:
                yield from _flat(inner, f"{prefix}{name}.", depth + 1)
        elif not isinstance(inner, list):
            yield f"{prefix}{name}", inner


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or value is None:
        return None
    if not isinstance(value, str | int | float):
        return None
    try:
        return float(value)
    except (ValueError, TypeError, OverflowError):
        return None
