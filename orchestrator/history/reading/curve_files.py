"""One learning-curve file of a run, read line by line: JSON lines, CSV, JSON, or a log."""

import csv
import functools
import itertools
import json
import math
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from decoder.atomic import sha256_of
from decoder.plain_pickle import Refused
from orchestrator.history.reading.columns import (
    EPOCH,
    PER,
    STEP,
    VAL_LOSS,
    StepValues,
    allowed_range,
    column_names,
    is_evaluation,
    number_of,
    percent_reason,
)
from orchestrator.history.reading.files import (
    MOST_SETTINGS_BYTES,
    FileNote,
    RunFile,
    TextFile,
    decode,
    printable,
)
from orchestrator.history.reading.log_lines import LogState, read_line

_MOST_TRAIN_ROWS = 4_000  # rows without an evaluation that are kept
_MOST_EVALUATIONS = 10_000
_MOST_NAMES = 2_000  # of one row
_PERCENT_NAME = re.compile("pct|percent|%|prozent", re.IGNORECASE)


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
        remarks: how its content was read, where that is not obvious.
        out_of_range: column → how many of its values are left out, and which is the first.
    """

    path: str
    changed: float
    note: FileNote
    rows: list[StepValues] = field(default_factory=list)
    unit: str = STEP
    names: dict[str, str] = field(default_factory=dict)
    log: LogState = field(default_factory=LogState)
    remarks: list[str] = field(default_factory=list)
    out_of_range: dict[str, tuple[int, str]] = field(default_factory=dict)

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

    @property
    def pers(self) -> dict[float, float]:
        """Step → PER, of the rows that have one."""
        return {row[STEP]: row[PER] for row in self.rows if PER in row}


def read_curve_file(file: RunFile) -> CurveFile:
    """Read one file as a learning curve; `CurveFile.note` says how the file was used."""
    why = "holds no step with a PER or a loss" if file.n_bytes else "is empty"
    curve = CurveFile(file.name, file.changed, file.note("not read", why))
    text = TextFile(file)
    try:
        raw = {"json": _json, "jsonl": _jsonl, "csv": _csv, "log": _log}[file.kind](text, curve)
        rows, n_thinned = (list(raw), 0) if file.kind == "json" else _thinned(raw)
        rows, n_fewer = _fewer_evaluations(rows)
    except Refused as error:
        curve.note = file.note("refused", str(error))
        return curve
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        why = printable(" ".join(f"{type(error).__name__}: {error}".split())[:300])
        curve.note = file.note("unreadable", why)
        return curve
    if n_fewer:
        curve.remark(
            f"{n_fewer:,} evaluations between others are left out, as there are more than "
            f"{_MOST_EVALUATIONS:,}"
        )
    if n_thinned:
        curve.remark(f"{n_thinned:,} rows without an evaluation are left out")
    _set_units(curve, rows)
    for column, (n, first) in curve.out_of_range.items():
        values = "value" if n == 1 else f"{n:,} values"
        curve.remark(f"{values} of {column} out of range left out; {first}")
    log = curve.log
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
        curve.note = file.note("course", digest=text.digest)
    return curve


def _thinned(rows: Iterable[StepValues]) -> tuple[list[StepValues], int]:
    """Evaluations, rows with a non-finite value, and a share of the others; the number left out."""
    kept: list[StepValues] = []
    n_rows, n_training, n_seen, every = 0, 0, 0, 1
    for row in rows:
        n_rows += 1
        if not _may_thin(row):
            kept.append(row)
            continue
        n_seen += 1
        if n_seen % every:
            continue
        kept.append(row)
        n_training += 1
        if n_training > _MOST_TRAIN_ROWS:
            kept, every = _halved(kept), 2 * every
            n_training = sum(not is_evaluation(row) for row in kept)
    return kept, n_rows - len(kept)


def _fewer_evaluations(rows: list[StepValues]) -> tuple[list[StepValues], int]:
    """Rows that may not be thinned, but too many: an even share with the last and the lowest PER.

    Returns:
        The rows that are left, and how many are gone.
    """
    places = [at for at, row in enumerate(rows) if not _may_thin(row)]
    if len(places) <= _MOST_EVALUATIONS:
        return rows, 0
    every = -(-len(places) // _MOST_EVALUATIONS)
    gone = {at for back, at in enumerate(reversed(places)) if back % every}
    gone.discard(min(reversed(places), key=lambda at: _lowest_first(rows[at])))
    return [row for at, row in enumerate(rows) if at not in gone], len(gone)


def _lowest_first(row: StepValues) -> float:
    per = row.get(PER, math.inf)
    return math.inf if math.isnan(per) else per


def _halved(rows: Sequence[StepValues]) -> list[StepValues]:
    kept, n_training = [], 0
    for row in rows:
        n_training += not is_evaluation(row)
        if n_training % 2 == 0 or not _may_thin(row):
            kept.append(row)
    return kept


def _may_thin(row: StepValues) -> bool:
    return not is_evaluation(row) and all(map(math.isfinite, row.values()))


def _set_units(curve: CurveFile, raw: Sequence[StepValues]) -> None:
    """Fill `curve.rows`: a step in every row, and PER as a rate."""
    if not any(STEP in row for row in raw):
        curve.unit = EPOCH if any(EPOCH in row for row in raw) else "row"
    for index, row in enumerate(raw):
        step = row.get(STEP) if curve.unit == STEP else row.get(EPOCH, float(index + 1))
        if step is not None and math.isfinite(step):
            curve.rows.append({**row, STEP: step})
    pers = [row[PER] for row in curve.rows if math.isfinite(row.get(PER, math.nan))]
    why, per_name = percent_reason(pers), curve.names.get(PER, "")
    if pers and not why and (curve.log.percent or _PERCENT_NAME.search(per_name)):
        why = "the file says that PER is in percent"
    if why:
        rates = {PER, "train_per"}
        curve.rows = [{k: v / 100 if k in rates else v for k, v in r.items()} for r in curve.rows]
        curve.remark(why)
    if curve.unit == "row" and curve.rows:
        curve.remark("has no column of steps; its rows are numbered from 1")
    if per_name.lower() not in ("", "per", "val_per", "per (avg)"):
        curve.remark(f"'{per_name}' is read as PER")


# ------------------------------------------------------------------------------------ formats


def _jsonl(text: TextFile, curve: CurveFile) -> Iterator[StepValues]:
    """One row for each line that is a JSON object; other lines are counted."""
    last, bad = 0, []  # numbers of lines
    of_test: list[StepValues] = []
    has_validation = False
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
        row, split = _known_columns(value, curve), _split_of(value)
        if math.inf in row.values() and "Infinity" not in line:  # 1e400
            row = {name: min(number, sys.float_info.max) for name, number in row.items()}
        row = curve.within_range(row, f"line {at}")
        if split == "test" and PER in row:
            of_test.append(row)
        elif row:
            has_validation |= PER in row and split != "train"
            yield _as_training(row) if split == "train" else row
    if of_test and has_validation:
        curve.remark(
            f"rows of the test split ({len(of_test)}) are left out, as there are rows of validation"
        )
    else:
        yield from of_test
    if text.cut_off and bad[-1:] == [last]:
        bad.pop()
        curve.remark("its last line is cut off and left out")
    if bad:
        curve.remark(
            f"{len(bad)} line{'s' * (len(bad) != 1)} could not be read (the first is line {bad[0]})"
        )


def _split_of(value: Mapping[str, Any]) -> str:
    """``train`` or ``test`` if a row says that it is of that split, else ""."""
    for name in ("split", "phase", "subset", "stage", "mode", "type"):
        if match := re.match("train|test", str(value.get(name)), re.IGNORECASE):
            return match[0].lower()
    return ""


def _as_training(row: StepValues) -> StepValues:
    """A row of the training split, with the column names of training."""
    names = {PER: "train_per", VAL_LOSS: "train_loss"}
    return {names.get(name, name): value for name, value in row.items()}


def _csv(text: TextFile, curve: CurveFile) -> Iterator[StepValues]:
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
    n_short, last_is_short, decimal_comma = 0, False, delimiter == ";"
    reader = csv.reader(lines, delimiter=delimiter)
    for cells in reader:
        last_is_short = len(cells) < len(names)
        n_short += last_is_short
        row: StepValues = {}
        for place, column in places:
            if place < len(cells) - last_is_short:  # the last cell of a short line may be cut off
                cell = cells[place].strip().rstrip("%")
                value = _number(cell.replace(",", ".") if decimal_comma else cell)
                if value is not None:
                    row[column] = value
        row = curve.within_range(row, f"line {reader.line_num + 1}")
        if row.keys() - {STEP, EPOCH}:
            yield row
    if last_is_short and text.cut_off:
        n_short -= 1
        curve.remark("its last line is cut off")
    if n_short:
        curve.remark(f"{n_short} lines have fewer cells than the header has names")


def _log(text: TextFile, curve: CurveFile) -> Iterator[StepValues]:
    for at, line in enumerate(text.lines(), 1):
        if (row := read_line(line, curve.log)) and (row := curve.within_range(row, f"line {at}")):
            yield row
    if curve.log.trainer == "t12":
        curve.names[PER] = "cer"


def _json(text: TextFile, curve: CurveFile) -> Iterator[StepValues]:
    """One row for each object of a list, or for each place in lists of equal length."""
    file = text.file
    if file.n_bytes > MOST_SETTINGS_BYTES:
        raise ValueError(
            f"has {file.n_bytes:,} bytes; as a JSON learning curve at most "
            f"{MOST_SETTINGS_BYTES:,} are read"
        )
    content = file.read_bytes()
    text.digest, plain = sha256_of(content), decode(content)
    value = json.loads(plain) if plain.strip() else {}
    places = value.values() if isinstance(value, dict) else [value]
    rows = next(filter(_is_list_of_objects, places), None)
    if rows is None and isinstance(value, dict):
        lists = {k: v for k, v in value.items() if isinstance(v, list) and column_names([k])}
        length = max(map(len, lists.values()), default=0)
        lists = {k: v for k, v in lists.items() if len(v) == length}
        rows = [{key: values[i] for key, values in lists.items()} for i in range(length)]
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
