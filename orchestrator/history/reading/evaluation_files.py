"""Evaluations in files of their own: their split, their unit, and which one is a run's figure."""

import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from orchestrator.history.reading.columns import (
    PER,
    VAL_LOSS,
    allowed_range,
    column_names,
    is_unlabelled,
    last_part,
    percent_reason,
)
from orchestrator.history.reading.curve_formats import CurveFile
from orchestrator.history.reading.files import RunFile
from orchestrator.history.reading.record import FinalEvaluation
from orchestrator.history.reading.settings import flatten_settings, read_mapping

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
        if file.kind != "json" or not file.is_named("evaluation") or file.name in used:
            continue
        content = _content(file)
        per, loss = (_value(content, column) for column in (PER, VAL_LOSS))
        if per is None or not math.isfinite(per) or allowed_range(PER, per):
            continue
        paths.append(file.name)
        split, has_labels = _split_of(file, content)
        values = sorted(_pers_in(content))
        rate = per / 100 if _in_percent(content) or percent_reason(values, in_order=False) else per
        if not has_labels or split == "train":
            why = f"the split '{split}'" + (" without labels" if not has_labels else "")
            notes.append(
                f"{file.name}: its PER of {100 * rate:.1f} % is of {why} and does not count"
            )
        else:
            counted.append(FinalEvaluation(file.name, rate, loss, split))
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


def _content(file: RunFile) -> dict[str, Any]:
    """The JSON object of a file; {} if it holds none."""
    try:
        return read_mapping(file)[0]
    except (OSError, ValueError, RecursionError):
        return {}


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


def _split_of(file: RunFile, content: Mapping[str, Any]) -> tuple[str, bool]:
    """The split of an evaluation, and whether that has true labels."""
    named = {last_part(str(key)): value for key, value in content.items()}
    said = next((v for k, v in named.items() if k in _SPLIT_KEYS and isinstance(v, str)), "")
    stem = file.path.stem
    unlabelled = is_unlabelled(said) or is_unlabelled(stem)
    unlabelled |= any(named.get(key) is False for key in _LABEL_KEYS)
    for text in (said, stem):
        for split, pattern in _SPLITS.items():
            if pattern.search(text):
                return said or split if unlabelled else split, not unlabelled
    return said or (stem if unlabelled else ""), not unlabelled


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
