"""Folder in, foreign records out: every run below a root is read, and nothing is written."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from decoder.config import flatten
from decoder.errors import ConfigError
from decoder.importing import import_mapping
from orchestrator.history.reading.columns import PER, column_names, is_percent
from orchestrator.history.reading.course import Course, read_course
from orchestrator.history.reading.endings import ending, planned_steps
from orchestrator.history.reading.files import (
    MOST_SETTINGS_BYTES,
    FileNote,
    Role,
    course_by_name,
    evaluation_by_name,
    settings_by_name,
    shown,
)
from orchestrator.history.reading.folders import Found, RunFolder, find_run_folders
from orchestrator.history.reading.passes import History, combine
from orchestrator.history.reading.record import Evaluation, ForeignRun, Mapped
from orchestrator.history.reading.settings import (
    Settings,
    flatten_settings,
    parse_settings,
    read_settings,
    relative,
)

_FEWEST_MAPPED = 5
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


class Group(NamedTuple):
    """The runs below one folder.

    Attributes:
        source: the folder.
        runs: one record a run folder, in the order of names.
        remarks: what was passed over between them.
    """

    source: str
    runs: tuple[ForeignRun, ...]
    remarks: tuple[str, ...]


def read_group(root: Path) -> Group:
    """Read every run at or below a folder.

    Raises:
        ConfigError: it is no folder that can be read.
    """
    try:
        root = root.resolve()
    except (OSError, RuntimeError) as error:
        raise ConfigError(f"{root}: is no folder that can be read: {error}") from None
    folders, remarks = find_run_folders(root)
    runs, empty = [], []
    for folder in folders:
        run = read_run(folder, root)
        if run.settings or run.history or run.evaluations:
            runs.append(run)
        else:
            empty.append(f"{run.name}: {_why_nothing(run)}; no record is made")
    return Group(str(root), tuple(runs), (*remarks, *empty))


def read_run(folder: RunFolder, root: Path) -> ForeignRun:
    """Read one run folder; what cannot be read is told in its files and notes."""
    settings = read_settings(folder, root)
    taken = {note.path for note in settings.files if note.role != "not read"}
    courses, others = _read_courses(folder, root, taken)
    history = combine(courses)
    evaluations = tuple(_evaluations(folder, root, taken, history))
    mapped = map_settings(settings.nested, settings.source)
    n_planned = planned_steps(settings.values, mapped, history.unit)
    logs = [course.log for course in courses]
    outcome, reasons = ending(
        history.rows,
        history.unit,
        n_planned,
        history.finished,
        next((log.stopped_early for log in logs if log.stopped_early is not None), None),
        next((log.error for log in logs if log.error), ""),
    )
    return ForeignRun(
        name=folder.name,
        source=str(root),
        files=_all_files(folder, root, settings, courses, others, evaluations),
        settings=settings.values,
        settings_from=settings.source,
        mapped=mapped,
        seed=settings.seed,
        seed_from=settings.seed_from,
        history=tuple(history.rows),
        step_unit=history.unit,
        n_restarts=history.n_restarts,
        evaluations=evaluations,
        outcome=outcome,
        reasons=reasons,
        n_planned=n_planned,
        started=min((log.started for log in logs if log.started), default=""),
        changed=max((course.changed for course in courses if course.rows), default=0.0)
        or max((found.changed for found in folder.files), default=0.0),
        trainer=next((log.trainer for log in logs if log.trainer), ""),
        notes=tuple(_notes(folder, settings, courses, history, evaluations)),
    )


def map_settings(nested: Mapping[str, Any], source: str) -> Mapped:
    """What settings mean in our terms, as far as they are those of a known trainer."""
    if not nested:
        return Mapped("", {}, {}, (), (), "it has no settings")
    try:
        found = import_mapping(_numbers(nested), source)
    except ConfigError as error:
        more = f" (and {len(error.problems) - 1} more)" if len(error.problems) > 1 else ""
        return Mapped("", {}, {}, (), (), shown(error.problems[0] + more))
    except Exception as error:  # settings of forks hold values that no table foresees
        return Mapped("", {}, {}, (), (), shown(f"{source}: {type(error).__name__}: {error}"))
    stated = {entry.key: tuple(entry.fields) for entry in found.entries if entry.key}
    absent = {entry.key for entry in found.with_outcome("absent")}
    fields = {key: paths for key, paths in stated.items() if paths and key not in absent}
    if found.codebase == "ours":
        fields = {key: (key,) for key in flatten_settings(nested) if key in flatten(found.config)}
    if found.codebase != "ours" and len(fields) < _FEWEST_MAPPED:
        problem = (
            f"{source}: fewer than {_FEWEST_MAPPED} of the settings are known here, too few to "
            "take the rest to be as in an official trainer"
        )
        return Mapped("", {}, {}, (), (), problem)
    said = {path for paths in fields.values() for path in paths}
    return Mapped(
        found.codebase,
        flatten(found.config),
        fields,
        tuple(
            p for e in found.with_outcome("absent", "constant") for p in e.fields if p not in said
        ),
        tuple(entry.key for entry in found.with_outcome("no effect")),
        "",
    )


def _numbers(value: Any) -> Any:
    """Numbers as they are meant: "1e-3" and 120000.0 as 0.001 and 120000."""
    if isinstance(value, Mapping):
        return {key: _numbers(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_numbers(inner) for inner in value]
    if isinstance(value, str) and len(value) < 50 and _NUMBER.fullmatch(value):
        value = float(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _read_courses(
    folder: RunFolder, root: Path, taken: set[str]
) -> tuple[list[Course], list[Course]]:
    """The files that hold a course, and those that turned out to hold none."""
    courses: list[Course] = []
    others: list[Course] = []
    for found in folder.files:
        is_json = found.kind == "json" and relative(found.path, root) not in taken
        wanted = is_json and (
            course_by_name(found.path)
            or not (evaluation_by_name(found.path) or settings_by_name(found.path))
        )
        if found.kind in ("jsonl", "csv", "log") or wanted:
            course = read_course(found, root)
            is_course = course.note is not None and course.note.role == "course"
            (courses if is_course else others).append(course)
    return courses, others


def _evaluations(
    folder: RunFolder, root: Path, taken: set[str], history: History
) -> Iterator[Evaluation]:
    """Final evaluations; whether one is in percent is decided beside the course."""
    known = [row[PER] for row in history.rows if PER in row and math.isfinite(row[PER])]
    for found in folder.files:
        name = relative(found.path, root)
        if found.kind != "json" or not evaluation_by_name(found.path) or name in taken:
            continue
        figures = _figures(found)
        per = figures.get(PER)
        if per is None or not math.isfinite(per):
            continue
        percent = is_percent([per])[0]
        if known and 1 < per <= 10:
            nearest = min(known, key=lambda one: min(abs(one - per), abs(one - per / 100)))
            percent = abs(nearest - per / 100) < abs(nearest - per)
        yield Evaluation(name, per / 100 if percent else per, figures.get("val_loss"))


def _figures(found: Found) -> dict[str, float]:
    """The known figures of a JSON object; none if it is no such file."""
    if found.n_bytes > MOST_SETTINGS_BYTES:
        return {}
    try:
        values = flatten_settings(parse_settings(found, found.path.read_bytes()))
    except (OSError, ValueError, RecursionError):
        return {}
    columns = column_names(values)
    return {
        column: float(values[name])
        for name, column in columns.items()
        if isinstance(values[name], int | float) and not isinstance(values[name], bool)
    }


def _all_files(
    folder: RunFolder,
    root: Path,
    settings: Settings,
    courses: Sequence[Course],
    others: Sequence[Course],
    evaluations: Sequence[Evaluation],
) -> tuple[FileNote, ...]:
    """One note a file, in the order of paths."""
    notes = {note.path: note for note in settings.files}
    for course in (*others, *courses):
        if course.note is not None:
            notes[course.path] = course.note
    read = {evaluation.path for evaluation in evaluations}
    for found in folder.files:
        name = relative(found.path, root)
        if name in read:
            notes[name] = FileNote(name, "evaluation", found.n_bytes)
        elif name not in notes:
            why = found.why or "holds no PER, no course and no known setting"
            refused = "pickle" in why or "never opened" in why
            role: Role = "refused" if refused else "not read"
            notes[name] = FileNote(name, role, found.n_bytes, "", why)
    return tuple(notes[name] for name in sorted(notes))


def _notes(
    folder: RunFolder,
    settings: Settings,
    courses: Sequence[Course],
    history: History,
    evaluations: Sequence[Evaluation],
) -> Iterator[str]:
    yield from folder.notes
    if not settings.values:
        yield "has no settings that could be read"
    yield from settings.notes
    for course in courses:
        yield from course.remarks
        if course.log.loaded:
            yield f"{course.path}: began from the checkpoint {course.log.loaded}"
    yield from history.remarks
    if not history.rows:
        yield "has no course" + (", but a final evaluation" if evaluations else "")
    elif not any(PER in row for row in history.rows):
        yield "its course tells losses but no PER"


def _why_nothing(run: ForeignRun) -> str:
    told = [f"{note.path.rpartition('/')[2]} {note.note}" for note in run.files if note.note]
    return "nothing in it could be read" + (f" ({'; '.join(told[:3])})" if told else "")
