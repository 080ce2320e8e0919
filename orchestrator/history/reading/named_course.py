"""The values of a trainer that a user names, read from one file or stream while it grows."""

import csv
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Literal

from decoder.errors import ConfigError
from orchestrator.history.reading.columns import EPOCH, STEP, StepValues, column_names
from orchestrator.history.reading.curve_formats import cell_number, flat_names
from orchestrator.history.reading.log_lines import NUMBER, LogState, plain_text, step_of
from orchestrator.spec.names import listed

CourseKind = Literal["log", "csv", "jsonl"]
_LONGEST_LINE = 1 << 20
_LONGEST_LOG_LINE = 2_000
_MOST_REMARKS = 20


class NamedCourse:
    """Reads rows of named values from text that comes in pieces.

    A log may be the stdout of any program: a name is followed by ``:``, ``=`` or a space and its
    number. A value on a line without a step has the step mentioned last. Nothing is guessed about
    units: a value is divided by 100 if a percent sign follows it, or if `in_percent` has its name.

    Attributes:
        unit: what ``step`` counts: ``step``, ``epoch`` or, without either, ``row``.
        n_rows: rows so far.
        remarks: what could not be read.
    """

    def __init__(
        self, kind: CourseKind, names: Mapping[str, str], in_percent: Collection[str] = ()
    ) -> None:
        """
        Args:
            kind: the format.
            names: name of ours → name in the file: as in the log, the header of a CSV column, or
                the key of a JSON object, with dots between nested ones. The name of ours may be
                ``step``; by default the usual names of steps, then of epochs, are known.
            in_percent: names of ours whose values are in percent.
        """
        self.unit = STEP
        self.n_rows = 0
        self.remarks: list[str] = []
        self._names = dict(names)
        self._in_percent = frozenset(in_percent)
        self._rest = ""
        self._n_lines = 0
        self._header: list[str] = []
        self._delimiter = ","
        self._state = LogState()
        self._patterns = {ours: _pattern(theirs) for ours, theirs in names.items()}
        self._read: Callable[[str], StepValues | None] = {
            "log": self._log_line,
            "csv": self._csv_line,
            "jsonl": self._json_line,
        }[kind]

    def feed(self, text: str) -> list[StepValues]:
        """The rows of the whole lines that are complete with this text, in their order.

        Each has ``step`` and those of the named values that its line states, rates as rates. NaN
        and infinity are values.
        """
        *lines, rest = (self._rest + text).replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self._rest = rest[-_LONGEST_LINE:]
        return self._rows(lines)

    def end(self) -> list[StepValues]:
        """The rows of a last line without a line end."""
        last, self._rest = self._rest, ""
        return self._rows([last])

    def _rows(self, lines: Iterable[str]) -> list[StepValues]:
        rows = []
        for line in lines:
            self._n_lines += 1
            row = self._read(line) if line.strip() else None
            if row is not None:
                self.n_rows += 1
                rows.append(row)
        return rows

    def _log_line(self, line: str) -> StepValues | None:
        text = plain_text(line)[:_LONGEST_LOG_LINE]
        known = step_of(text, self._state)
        found: dict[str, tuple[str, bool]] = {}
        for ours, pattern in self._patterns.items():
            if match := pattern.search(text):
                found[ours] = (match[1], match[2] == "%")
        return self._row(known, found)

    def _csv_line(self, line: str) -> StepValues | None:
        if not self._header:
            self._delimiter = max("\t;,", key=line.count)
            self._header = [name.strip().lstrip("\ufeff") for name in self._cells(line)]
            missing = [name for name in self._names.values() if name not in self._header]
            if missing:
                raise ConfigError(
                    f"the CSV has no column {listed(missing)} (there are: {listed(self._header)})"
                )
            return None
        cells = dict(zip(self._header, self._cells(line), strict=False))
        return self._row_of(cells)

    def _cells(self, line: str) -> list[str]:
        return next(csv.reader([line.replace("\0", "")], delimiter=self._delimiter), [])

    def _json_line(self, line: str) -> StepValues | None:
        try:
            value = json.loads(line) if line.lstrip().startswith("{") else None
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            self._remark(f"line {self._n_lines} holds no JSON object")
            return None
        return self._row_of(flat_names(value))

    def _row_of(self, cells: Mapping[str, Any]) -> StepValues | None:
        """The row of a line whose values have names."""
        known = {
            column: number
            for name, column in column_names(cells).items()
            if column in (STEP, EPOCH) and (number := cell_number(cells[name])) is not None
        }
        found = {
            ours: (str(cells[theirs]).strip().rstrip("%"), str(cells[theirs]).strip()[-1:] == "%")
            for ours, theirs in self._names.items()
            if theirs in cells and cells[theirs] is not None
        }
        return self._row(known, found)

    def _row(
        self, known: Mapping[str, float], found: Mapping[str, tuple[str, bool]]
    ) -> StepValues | None:
        """A row from the step that a line states, and from text and percent sign by name."""
        row: StepValues = {}
        for ours, (text, is_signed) in found.items():
            value = cell_number(text)
            if value is None:
                if text:
                    self._remark(f"line {self._n_lines}: '{text[:40]}' of {ours} is no number")
            else:
                row[ours] = value / 100 if is_signed or ours in self._in_percent else value
        if not row.keys() - {STEP}:
            if STEP in row:
                self._state.last_step = (STEP, row[STEP])
            return None
        self.unit = STEP if STEP in known or STEP in row else EPOCH if EPOCH in known else "row"
        step = known.get(STEP, known.get(EPOCH, float(self.n_rows + 1)))
        return {STEP: step, **row}

    def _remark(self, text: str) -> None:
        if len(self.remarks) < _MOST_REMARKS:
            self.remarks.append(text)


def _pattern(name: str) -> re.Pattern[str]:
    """A name of a log with its number; spaces of the name may be any."""
    spelled = r"\s*".join(re.escape(part) for part in name.split())
    return re.compile(rf"(?<![\w.]){spelled}\s*(?:[:=]\s*|\s)({NUMBER})(?![\w.])\s?(%?)")
