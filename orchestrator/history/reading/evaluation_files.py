"""Evaluations in files of their own: their split, their unit, and which one is a run's figure."""

import csv
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from orchestrator.history.reading.columns import (
    EPOCH,
    PER,
    STEP,
    VAL_LOSS,
    allowed_range,
    column_names,
    is_unlabelled,
    last_part,
    percent_reason,
)
from orchestrator.history.reading.curve_formats import CurveFile
from orchestrator.history.reading.files import MOST_SETTINGS_BYTES, RunFile, decode
from orchestrator.history.reading.record import FinalEvaluation
from orchestrator.history.reading.settings import flatten_settings, read_mapping
from orchestrator.spec.units import percent

_SPLIT_KEYS = frozenset(
    (
        "split",
        "subset",
        "partition",
        "datasplit",
        "datasetsplit",
        "evalsplit",
        "evalset",
        "evaltype",
    )
)
_NO_LABELS: tuple[object, ...] = (False, None, [], "no", "none", "false", "")
_LABEL_KEYS = frozenset(("haslabels", "labels", "labelled", "labeled"))
_SPLITS = {  # split → its names, where a file's name or its own words say it
    "train": re.compile(r"(?<![a-z])train", re.IGNORECASE),
    "val": re.compile(r"(?<![a-z])(val|dev)(?![a-z])|(?<![a-z])valid", re.IGNORECASE),
    "test": re.compile(r"(?<![a-z])test", re.IGNORECASE),
}
_OTHER_DECODING = re.compile(r"beam|rescor|gram|(?<![a-z])lm(?![a-z])|wfst", re.IGNORECASE)
_OF_TRAINER = {"t12": "test", "t15": "val"}  # the split on which an official trainer validates


class Evaluations(NamedTuple):
    """The evaluation files of a run.

    Attributes:
        counted: of splits with labels; the first is the run's figure if it has no course.
        paths: every file that was read as an evaluation.
        notes: which files do not count, and why.
    """

    counted: tuple[FinalEvaluation, ...]
    paths: tuple[str, ...]
    notes: tuple[str, ...]


def read_evaluations(
    files: Iterable[RunFile], used: Collection[str], curves: Sequence[CurveFile], codebase: str
) -> Evaluations:
    """Read the files that hold one evaluation.

    A PER of a split without true labels, or of training, is never the run's. Of the others, those
    of the split that the learning curve validates on come first, and of these the greedy ones.

    Args:
        files: of the run.
        used: paths of its settings.
        curves: its learning curves.
        codebase: whose settings it has, ``t12`` or ``t15``, or "".
    """
    counted, paths, notes = [], [], []
    for file in files:
        if file.kind not in ("json", "csv") or not file.is_named("evaluation") or file.name in used:
            continue
        whole, mistake = _content(file)
        if mistake:
            notes.append(f"{file.name}: {mistake}")
        parts = [
            (per, part, content)
            for part, content in _parts(whole)
            if (per := _value(content, PER)) is not None
            and math.isfinite(per)
            and not allowed_range(PER, per)
        ]
        contents = [content for _, _, content in parts]
        pers = sorted(per for content in contents for per in _pers_in(content))
        in_percent = any(map(_in_percent, contents)) or percent_reason(pers, in_order=False)
        for per, part, content in parts:
            loss = _value(content, VAL_LOSS)
            paths.append(file.name)
            split, has_labels = _split_of(part or file.path.stem, content)
            rate = per / 100 if in_percent else per
            if has_labels and split != "train":
                counted.append(FinalEvaluation(file.name, rate, loss, split))
                continue
            without = "" if has_labels else ", which has no true labels,"
            notes.append(
                f"{file.name}: its PER of {percent(rate)} is of the split '{split}'{without} and "
                "does not count"
            )
    validated = validation_split(curves, codebase)
    counted.sort(
        key=lambda one: (
            one.split != validated,
            one.split != "val",
            bool(_OTHER_DECODING.search(one.path.rpartition("/")[2])),
            one.path,
        )
    )
    return Evaluations(tuple(counted), tuple(paths), tuple(notes))


def validation_split(curves: Sequence[CurveFile], codebase: str) -> str:
    """The split that learning curves validate on: ``val`` or ``test``; "" if nothing says it."""
    for curve in curves:
        for text in (curve.names.get(PER, ""), curve.path.rpartition("/")[2]):
            for split in ("val", "test"):
                if curve.pers and _SPLITS[split].search(text):
                    return split
    trainers = [*(curve.log.trainer for curve in curves), codebase]
    return next((_OF_TRAINER[name] for name in trainers if name in _OF_TRAINER), "")


def _content(file: RunFile) -> tuple[dict[str, Any], str]:
    """The JSON object of a file, or split → its values of a CSV table; {} if it holds neither.

    The text says what is wrong with a file that is no JSON; "" for any other.
    """
    try:
        return _split_rows(file) if file.kind == "csv" else read_mapping(file)[0], ""
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        return {}, str(error) if str(error).startswith("is not valid") else ""


def _split_rows(file: RunFile) -> dict[str, Any]:
    """The rows of a table with one row for each split and no steps."""
    if file.n_bytes > MOST_SETTINGS_BYTES:
        return {}
    lines = decode(file.read_bytes()).replace("\0", "").splitlines()
    delimiter = max("\t;,", key=(lines or [""])[0].count)
    header, *rows = [
        [cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter)
    ]
    at = next((at for at, name in enumerate(header) if last_part(name) in _SPLIT_KEYS), None)
    splits = [row[at] for row in rows if len(row) == len(header)] if at is not None else []
    if {STEP, EPOCH} & set(column_names(header).values()) or len(set(splits)) < len(splits):
        return {}
    by_split = {}
    for split, row in zip(splits, (row for row in rows if len(row) == len(header)), strict=True):
        cells = dict(zip(header, row, strict=True))
        numbers = {name: cell.replace(",", ".") for name, cell in cells.items()}
        by_split[split] = {n: v for n, cell in numbers.items() if (v := _cell(cell)) is not None}
    return by_split


def _cell(text: str) -> str | float | None:
    """A cell as a number, as text if a percent sign follows one, or None."""
    return text if text.endswith("%") else _number(text)


def _parts(content: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The evaluations in one file, each with its split if the file has one for each split."""
    parts = [
        (name, inner)
        for name, inner in content.items()
        if isinstance(inner, dict)
        and (is_unlabelled(name) or any(p.search(name) for p in _SPLITS.values()))
        and _value(inner, PER) is not None
    ]
    own = {name: inner for name, inner in content.items() if not isinstance(inner, dict)}
    return parts if parts and _value(own, PER) is None else [("", content)]


def _value(content: Mapping[str, Any], column: str) -> float | None:
    """The number of a column; None if no name, or several, may mean it."""
    try:
        values = flatten_settings({k: v for k, v in content.items() if not isinstance(v, list)})
    except ValueError:
        return None
    name = next((n for n, known in column_names(values).items() if known == column), None)
    value = values.get(name) if name is not None else None
    if isinstance(value, str) and value.strip().endswith("%"):
        value = _number(value)
    return float(value) if isinstance(value, int | float) and value is not True else None


def _number(text: str) -> float | None:
    try:
        return float(text.strip().rstrip("% "))
    except ValueError:
        return None


def _in_percent(content: Mapping[str, Any]) -> bool:
    """Whether the name of the PER, or a sign behind it, says that it is in percent."""
    return any(
        column == PER
        and (
            bool(re.search(r"pct|percent|%|prozent", name, re.IGNORECASE))
            or (isinstance(content.get(name), str) and "%" in content[name])
        )
        for name, column in column_names(content).items()
    )


def _split_of(name: str, content: Mapping[str, Any]) -> tuple[str, bool]:
    """The split of an evaluation of this name, and whether that has true labels."""
    named = {last_part(str(key)): value for key, value in content.items()}
    said = next((v for k, v in named.items() if k in _SPLIT_KEYS and isinstance(v, str)), "")
    unlabelled = is_unlabelled(said) or is_unlabelled(name)
    unlabelled |= any(key in named and named[key] in _NO_LABELS for key in _LABEL_KEYS)
    for text in (said, name):
        for split, pattern in _SPLITS.items():
            if pattern.search(text):
                return said or split if unlabelled else split, not unlabelled
    return said or (name if unlabelled else ""), not unlabelled


def _pers_in(value: Any, depth: int = 0) -> Iterator[float]:
    """Every finite PER in nested values, such as one for each trial."""
    if depth > 6:
        return
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if isinstance(inner, int | float) and not isinstance(inner, bool):
                if column_names([str(name)]).get(str(name)) == PER and math.isfinite(inner):
                    yield float(inner)
            else:
                yield from _pers_in(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value[:10_000]:
            yield from _pers_in(inner, depth + 1)
