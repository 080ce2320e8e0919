"""Lines that a trainer of the user's writes: a log, CSV, or an object of JSON on each line.

What a line is is decided by the line: a header that names a mapped metric starts a CSV table, a
line that is an object of JSON is one, and anything else is read as a log, in which a metric is its
name followed by a number.
"""

import codecs
import csv
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.execute.command.course import Course
from orchestrator.spec.trainer import MetricSource

_NUMBER = (
    r"[-+]?(?:[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?|(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
    r"|(?i:nan|inf(?:inity)?)(?![A-Za-z_]))(?!\d|[.,]\d)"
)
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# Names of a step where none is mapped, in the order of preference.
_STEPS = ("step", "global_step", "_step", "iteration", "iter", "update", "batch", "epoch")
_LOG_STEP = re.compile(
    r"\b(?:global[_ ])?(step|iteration|iter|update|batch|epoch)\b\s*[:=#]?\s*(\d+)", re.IGNORECASE
)
_MOST_LINE = 1 << 20


class LineReader:
    """Reads lines as they grow, and adds what they say to a course.

    Args:
        course: where the values go.
        metrics: metric → its source, see `orchestrator.spec.trainer.TrainerSection`.
    """

    def __init__(self, course: Course, metrics: Mapping[str, MetricSource]) -> None:
        self._course, self._metrics = course, metrics
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""
        self._header: list[str] | None = None  # of a CSV table
        self._delimiter = ","
        self._patterns = {name: _pattern(source.name) for name, source in metrics.items()}
        self.names: dict[str, None] = {}  # what the lines hold, for a message

    def take(self, blocks: Iterable[bytes]) -> None:
        """Read what has grown; an unfinished line waits for its end."""
        for block in blocks:
            text = self._rest + self._decoder.decode(block)
            *lines, self._rest = text.replace("\r", "\n").split("\n")
            self._rest = self._rest[-_MOST_LINE:]
            for line in lines:
                self._read(line)

    def finish(self) -> None:
        """Read the last line, although it has no end: nothing more comes."""
        rest, self._rest = self._rest, ""
        self._read(rest)

    def _read(self, line: str) -> None:
        text = _ANSI.sub("", line).strip() if "\x1b" in line else line.strip()
        if not text:
            return
        if text[0] == "{" and isinstance(found := _json(text), dict):
            self._object(found)
        elif self._is_header(text):
            self._header = next(csv.reader([text], delimiter=self._delimiter))
            self._header = [name.strip() for name in self._header]
            self._note(self._header)
        elif self._header is not None:
            cells = next(csv.reader([text], delimiter=self._delimiter), [])
            if len(cells) == len(self._header):
                self._object(dict(zip(self._header, cells, strict=True)))
        else:
            self._log(text)

    def _is_header(self, text: str) -> bool:
        """Whether the line is the header of a table: it names a metric, and has no number."""
        for delimiter in ",;\t":
            cells = [cell.strip().strip('"') for cell in text.split(delimiter)]
            named = {source.name for source in self._metrics.values()} & {*cells}
            if len(cells) > 1 and named and not any(map(_is_number, cells)):
                self._delimiter = delimiter
                return True
        return False

    def _object(self, found: Mapping[str, Any]) -> None:
        """A row: name → value, nested or not."""
        values = {}
        for name, source in self._metrics.items():
            if (value := _number(_at(found, source.name))) is not None:
                values[name] = value
        for name, value in found.items():
            below = value if isinstance(value, Mapping) else {}
            self._note([f"{name}.{key}" for key in below] or [name])
        step = values.pop("step", None)
        if "step" not in self._metrics:
            lower = {str(name).lower(): value for name, value in found.items()}
            numbers = (_number(lower.get(name)) for name in _STEPS)
            step = next((number for number in numbers if number is not None), None)
        self._add(values, step)

    def _log(self, text: str) -> None:
        values = {}
        for name, pattern in self._patterns.items():
            # The name alone is looked for first: most lines have none.
            if self._metrics[name].name in text and (found := pattern.search(text)):
                values[name] = float(found[1].replace(",", ""))
        step = values.pop("step", None)
        if "step" not in self._metrics:
            mentioned = {name.lower(): float(at) for name, at in _LOG_STEP.findall(text)}
            step = next((mentioned[name] for name in _STEPS if name in mentioned), None)
        if len(self.names) < 10:
            self._note([text[:120]])
        self._add(values, step)

    def _add(self, values: Mapping[str, float], step: float | None) -> None:
        if values or step is not None:
            of_unit = {name: scaled(self._metrics[name], value) for name, value in values.items()}
            self._course.add(of_unit, step)

    def _note(self, names: Iterable[Any]) -> None:
        if len(self.names) < 50:
            self.names.update(dict.fromkeys(map(str, names)))


def scaled(source: MetricSource, value: float) -> float:
    """The value in our unit: a rate that the trainer writes in percent becomes a share."""
    return value / 100 if source.unit == "percent" else value


def _pattern(name: str) -> re.Pattern[str]:
    """The name in a line of a log, as a whole, and the number after it."""
    start = r"(?<!\w)" if name[:1].isalnum() or name[:1] == "_" else ""
    return re.compile(rf"{start}{re.escape(name)}\s*[:=]?\s*({_NUMBER})")


def _at(found: Mapping[str, Any], name: str) -> Any:
    """The value under a name, which may be the path of a nested one: ``val.per``, ``val/per``."""
    if name in found:
        return found[name]
    at: Any = found
    for part in re.split(r"[./]", name):
        if not isinstance(at, Mapping) or part not in at:
            return None
        at = at[part]
    return at


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        return float(value.strip().rstrip("%") if isinstance(value, str) else value)
    except (ValueError, OverflowError):
        return None


def _is_number(cell: str) -> bool:
    return _number(cell) is not None
