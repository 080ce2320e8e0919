"""A folder in, one record per run out: reads every run below a folder and writes nothing."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from decoder.config import flatten
from decoder.errors import ConfigError
from decoder.importing import import_mapping
from orchestrator.history.reading.columns import PER, column_names, is_number, is_percent
from orchestrator.history.reading.curve_files import CurveFile, read_curve_file
from orchestrator.history.reading.files import (
    MOST_SETTINGS_BYTES,
    FileNote,
    Role,
    curve_by_name,
    evaluation_by_name,
    printable,
    settings_by_name,
)
from orchestrator.history.reading.folders import (
    CURVE_KINDS,
    RunFile,
    RunFolder,
    find_run_folders,
    relative,
)
from orchestrator.history.reading.imported_outcome import judge_outcome, planned_steps
from orchestrator.history.reading.merge_curves import MergedCurve, merge_curves
from orchestrator.history.reading.record import (
    FinalEvaluation,
    ImportedRun,
    MappedSettings,
    Settings,
)
from orchestrator.history.reading.settings import (
    RunSettings,
    flatten_settings,
    parse_settings,
    read_settings,
)

_FEWEST_MAPPED = 5
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_FROM_CHECKPOINT = "training started from the checkpoint"


class Group(NamedTuple):
    """The runs below one folder.

    Attributes:
        source: the folder.
        runs: one record per run folder, in the order of names.
        remarks: what was skipped between the runs.
    """

    source: str
    runs: tuple[ImportedRun, ...]
    remarks: tuple[str, ...]


@dataclass
class _RunContent:
    """What was read of one run folder."""

    settings: RunSettings
    curves: list[CurveFile] = field(default_factory=list)
    without_curve: list[CurveFile] = field(default_factory=list)
    curve: MergedCurve = field(default_factory=MergedCurve)
    evaluations: tuple[FinalEvaluation, ...] = ()


def read_group(root: Path) -> Group:
    """Read every run at or below a folder.

    Raises:
        ConfigError: `root` is not a folder, or cannot be read.
    """
    try:
        root = root.resolve()
    except (OSError, RuntimeError) as error:
        raise ConfigError(f"{root}: is no folder that can be read: {error}") from None
    folders, remarks = find_run_folders(root)
    runs = []
    for folder in folders:
        run = read_run(folder, root)
        if run.settings or run.history or run.evaluations:
            runs.append(run)
        else:
            remarks.append(f"{run.name}: {_why_nothing(run)}; skipped")
    return Group(str(root), tuple(runs), tuple(remarks))


def read_run(folder: RunFolder, root: Path) -> ImportedRun:
    """Read one run folder; what cannot be read is stated in the record's files and notes."""
    content = _RunContent(read_settings(folder, root))
    settings = content.settings
    used = {note.path for note in settings.files if note.role != "not read"}
    _read_curves(content, folder, root, used)
    curve = content.curve = merge_curves(content.curves)
    content.evaluations = tuple(_evaluations(folder, root, used, curve))
    mapped = map_settings(settings.nested, settings.source)
    n_planned = planned_steps(settings.values, mapped, curve.unit)
    logs = [file.log for file in content.curves]
    outcome, reasons = judge_outcome(
        curve.rows,
        curve.unit,
        n_planned,
        curve.finished,
        next((log.stopped_early for log in logs if log.stopped_early is not None), None),
        next((log.error for log in logs if log.error), ""),
    )
    changed = max((file.changed for file in content.curves if file.rows), default=0.0)
    return ImportedRun(
        name=folder.name,
        source=str(root),
        files=_file_notes(content, folder, root),
        settings=settings.values,
        settings_from=settings.source,
        mapped=mapped,
        seed=settings.seed,
        seed_from=settings.seed_from,
        history=tuple(curve.rows),
        step_unit=curve.unit,
        n_restarts=curve.n_restarts,
        evaluations=content.evaluations,
        outcome=outcome,
        reasons=reasons,
        n_planned=n_planned,
        started=min((log.started for log in logs if log.started), default=""),
        changed=changed or max((file.changed for file in folder.files), default=0.0),
        trainer=next((log.trainer for log in logs if log.trainer), ""),
        notes=tuple(_notes(content, folder)),
    )


def checkpoint_note(run: ImportedRun) -> str:
    """The note that training started from a checkpoint, according to a log; "" without one."""
    older_wording = "began from the checkpoint"
    return next((n for n in run.notes if _FROM_CHECKPOINT in n or older_wording in n), "")


def map_settings(nested: Settings, source: str) -> MappedSettings:
    """The settings as a configuration of our decoder, if they are those of a known trainer.

    Args:
        nested: the settings as written.
        source: the file they are from, for messages.
    """
    if not nested:
        return MappedSettings(problem="it has no settings")
    try:
        imported = import_mapping(_numbers(nested), source)
    except ConfigError as error:
        more = f" (and {len(error.problems) - 1} more)" if len(error.problems) > 1 else ""
        return MappedSettings(problem=printable(error.problems[0] + more))
    except Exception as error:  # settings of forks hold values that no table foresees
        return MappedSettings(problem=printable(f"{source}: {type(error).__name__}: {error}"))
    config = flatten(imported.config)
    absent = {entry.key for entry in imported.with_outcome("absent")}
    fields = {
        entry.key: tuple(entry.fields)
        for entry in imported.entries
        if entry.key and entry.fields and entry.key not in absent
    }
    if imported.codebase == "ours":
        fields = {key: (key,) for key in flatten_settings(nested) if key in config}
    elif len(fields) < _FEWEST_MAPPED:
        return MappedSettings(
            problem=f"{source}: fewer than {_FEWEST_MAPPED} of the settings are known, too few to "
            "assume the values of an official trainer for the others"
        )
    stated = {path for paths in fields.values() for path in paths}
    silent = (p for entry in imported.with_outcome("absent", "constant") for p in entry.fields)
    return MappedSettings(
        imported.codebase,
        config,
        fields,
        tuple(path for path in silent if path not in stated),
        tuple(entry.key for entry in imported.with_outcome("no effect")),
    )


def _numbers(value: Any) -> Any:
    """A copy in which text such as "1e-3" is a number, and 120000.0 is 120000."""
    if isinstance(value, Mapping):
        return {key: _numbers(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_numbers(inner) for inner in value]
    if isinstance(value, str) and len(value) < 50 and _NUMBER.fullmatch(value):
        value = float(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _read_curves(content: _RunContent, folder: RunFolder, root: Path, used: set[str]) -> None:
    """Read every file that may hold a learning curve."""
    for file in folder.files:
        may_be_curve = file.kind in CURVE_KINDS
        if file.kind == "json" and relative(file.path, root) not in used:
            other = evaluation_by_name(file.path) or settings_by_name(file.path)
            may_be_curve = curve_by_name(file.path) or not other
        if may_be_curve:
            curve = read_curve_file(file, root)
            is_curve = curve.note is not None and curve.note.role == "course"
            (content.curves if is_curve else content.without_curve).append(curve)


def _evaluations(
    folder: RunFolder, root: Path, used: set[str], curve: MergedCurve
) -> Iterator[FinalEvaluation]:
    """Evaluations in files of their own; the learning curve shows whether they are in percent."""
    known = [row[PER] for row in curve.rows if PER in row and math.isfinite(row[PER])]
    for file in folder.files:
        name = relative(file.path, root)
        if file.kind != "json" or not evaluation_by_name(file.path) or name in used:
            continue
        values = _column_values(file)
        per = values.get(PER)
        if per is None or not math.isfinite(per):
            continue
        percent = is_percent([per])[0]
        if known and 1 < per <= 10:
            nearest = min(known, key=lambda one: min(abs(one - per), abs(one - per / 100)))
            percent = abs(nearest - per / 100) < abs(nearest - per)
        yield FinalEvaluation(name, per / 100 if percent else per, values.get("val_loss"))


def _column_values(file: RunFile) -> dict[str, float]:
    """Column → value of a JSON object; {} if the file holds no such object."""
    if file.n_bytes > MOST_SETTINGS_BYTES:
        return {}
    try:
        values = flatten_settings(parse_settings(file, file.path.read_bytes()))
    except (OSError, ValueError, RecursionError):
        return {}
    return {
        column: float(values[name])
        for name, column in column_names(values).items()
        if is_number(values[name])
    }


def _file_notes(content: _RunContent, folder: RunFolder, root: Path) -> tuple[FileNote, ...]:
    """One note per file, in the order of paths."""
    notes = {note.path: note for note in content.settings.files}
    for curve in (*content.without_curve, *content.curves):
        if curve.note is not None:
            notes[curve.path] = curve.note
    evaluations = {evaluation.path for evaluation in content.evaluations}
    for file in folder.files:
        name = relative(file.path, root)
        if name in evaluations:
            notes[name] = FileNote(name, "evaluation", file.n_bytes)
        elif name not in notes:
            role: Role = "refused" if file.kind == "refused" else "not read"
            why = file.why or "holds no PER, no learning curve and no known setting"
            notes[name] = FileNote(name, role, file.n_bytes, "", why)
    return tuple(notes[name] for name in sorted(notes))


def _notes(content: _RunContent, folder: RunFolder) -> Iterator[str]:
    yield from folder.notes
    if not content.settings.values:
        yield "has no settings that could be read"
    yield from content.settings.notes
    for curve in content.curves:
        yield from curve.remarks
        if curve.log.loaded:
            yield f"{curve.path}: {_FROM_CHECKPOINT} {curve.log.loaded}"
    yield from content.curve.remarks
    if not content.curve.rows:
        yield "has no learning curve" + (", but an evaluation" if content.evaluations else "")
    elif not any(PER in row for row in content.curve.rows):
        yield "its learning curve has losses but no PER"


def _why_nothing(run: ImportedRun) -> str:
    reasons = [f"{note.path.rpartition('/')[2]} {note.note}" for note in run.files if note.note]
    return "nothing in it could be read" + (f" ({'; '.join(reasons[:3])})" if reasons else "")
