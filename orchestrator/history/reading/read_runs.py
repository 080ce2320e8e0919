"""A folder in, one record per run out: reads every run below a folder and writes nothing."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from decoder.config import flatten
from decoder.errors import ConfigError
from decoder.importing import NOT_FOLLOWED, Imported, import_mapping
from orchestrator.history.reading.columns import (
    PER,
)
from orchestrator.history.reading.curve_files import read_curve_file
from orchestrator.history.reading.curve_formats import CurveFile
from orchestrator.history.reading.evaluation_files import Evaluations, read_evaluations
from orchestrator.history.reading.files import FileNote, RunFile, printable
from orchestrator.history.reading.folders import CURVE_KINDS, RunFolder, find_run_folders
from orchestrator.history.reading.imported_outcome import judge_outcome, planned_steps
from orchestrator.history.reading.merge_curves import MergedCurve, merge_curves
from orchestrator.history.reading.record import (
    ImportedRun,
    MappedSettings,
    Settings,
)
from orchestrator.history.reading.separate_runs import separate_runs
from orchestrator.history.reading.settings import (
    RunSettings,
    flatten_settings,
    part_of_folder,
    read_settings,
)

_FEWEST_MAPPED = 5
_PATHS_OF_DATA = (
    "dataset.dataset_dir",
    "datasetPath",
)  # of another machine; nothing depends on them
_MOST_MAPPED = 1_000
_FROM_CHECKPOINT = "training started from the checkpoint"


class Group(NamedTuple):
    """The runs below the folder `source`.

    Attributes:
        runs: one record per run folder, in the order of names.
        remarks: what was skipped between the runs.
    """

    source: str
    runs: tuple[ImportedRun, ...]
    remarks: tuple[str, ...]


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
        for run in read_folder(folder, root):
            if run.settings or run.history or run.evaluations:
                runs.append(run)
            else:
                remarks.append(f"{run.name}: {_why_nothing(run)}; skipped")
    return Group(str(root), tuple(runs), tuple(remarks))


def read_folder(folder: RunFolder, root: Path) -> Iterator[ImportedRun]:
    """Read the runs of one folder, usually one.

    What cannot be read is stated in the files and notes of each record.
    """
    settings = read_settings(folder)
    used = {note.path for note in settings.files if note.role != "not read"}
    read = [
        curve
        for file in folder.files
        if _may_be_curve(file, used)
        for curve in read_curve_file(file, of_one_run=bool(settings.source))
    ]
    runs = separate_runs(_without_stats(read), bool(settings.source))
    if len(runs) == 1:
        yield _read_run(folder, root, settings, runs[0].files)
        return
    of_runs = {file.path for run in runs for file in run.files}
    for run in runs:
        own = {file.path for file in run.files}
        part = part_of_folder(folder, run.name, own, of_runs - own, settings)
        part.notes.append(run.why)
        yield _read_run(part, root, read_settings(part), run.files)


def _without_stats(files: Sequence[CurveFile]) -> list[CurveFile]:
    """Leave out ``trainingStats``, which states no steps, where another file has the PERs."""
    others = [file for file in files if file.pers and not file.official]
    if others:
        for file in files:
            if file.official and file.rows:
                file.rows = []
                why = f"{others[0].path} has the PERs, and their steps"
                file.note = replace(file.note, role="not read", note=why)
    return list(files)


def _read_run(
    folder: RunFolder, root: Path, settings: RunSettings, read: Sequence[CurveFile]
) -> ImportedRun:
    """The record of one run, from what its files hold."""
    used = {note.path for note in settings.files if note.role != "not read"}
    curves = [file for file in read if file.note.role == "course"]
    curve = merge_curves(curves)
    mapped = map_settings(settings.nested, settings.source)
    evaluations = read_evaluations(folder.files, used, curves, mapped.codebase)
    notes = [*settings.files, *(file.note for file in read)]
    n_planned = planned_steps(settings.values, mapped, curve.unit)
    logs = [file.log for file in read]  # one of errors alone says how training ended
    outcome, reasons = judge_outcome(curve, n_planned, logs)
    changed = max((file.changed for file in curves if file.rows), default=0.0)
    return ImportedRun(
        name=folder.name,
        source=str(root),
        files=_file_notes(folder, notes, evaluations.paths),
        settings=settings.values,
        settings_from=settings.source,
        mapped=mapped,
        seed=settings.seed,
        seed_from=settings.seed_from,
        history=tuple(curve.rows),
        step_unit=curve.unit,
        n_restarts=curve.n_restarts,
        evaluations=evaluations.counted,
        outcome=outcome,
        reasons=reasons,
        n_planned=n_planned,
        started=min((log.started for log in logs if log.started), default=""),
        changed=changed or max((file.changed for file in folder.files), default=0.0),
        trainer=next((log.trainer for log in logs if log.trainer), ""),
        notes=(*folder.notes, *_notes(settings, curves, curve, evaluations)),
    )


def checkpoint_note(run: ImportedRun) -> str:
    """The note that training started from a checkpoint, according to a log; "" without one."""
    older_wording = "began from the checkpoint"
    return next((n for n in run.notes if _FROM_CHECKPOINT in n or older_wording in n), "")


def map_settings(nested: Settings, source: str) -> MappedSettings:
    """`RunSettings.nested` as a configuration of our decoder; `source` stands in messages."""
    if not nested:
        return MappedSettings(problem="it has no settings")
    try:
        n_settings = sum(1 for _ in flatten_settings(nested))
        if n_settings > _MOST_MAPPED:  # the nearest name of each would be looked for
            return MappedSettings(
                problem=f"{source}: has {n_settings:,} settings; of at most {_MOST_MAPPED:,} it is "
                "known what they mean for a trainer"
            )
        imported = import_mapping(nested, source)
    except ConfigError as error:
        more = f" (and {len(error.problems) - 1} more)" if len(error.problems) > 1 else ""
        return MappedSettings(problem=printable(error.problems[0] + more))
    except Exception as error:  # settings of forks hold values that no table foresees
        return MappedSettings(problem=printable(f"{source}: {type(error).__name__}: {error}"))
    if unknown := _not_followed(imported):
        return MappedSettings(
            problem=f"{source}: {unknown}, whose value was that of the machine that trained and is "
            "not known; write the value into the file"
        )
    config = flatten(imported.config)
    fields = {
        entry.key: tuple(entry.fields)
        for entry in imported.entries
        if entry.key and entry.fields and entry.outcome != "absent"
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


def _not_followed(imported: Imported) -> str:
    """The first setting of training whose interpolation leads to the machine; "" without one."""
    return next(
        (
            f"{entry.key} is {entry.value}"
            for entry in imported.with_outcome("unsupported")
            if entry.note.startswith(NOT_FOLLOWED) and entry.key not in _PATHS_OF_DATA
        ),
        "",
    )


def _may_be_curve(file: RunFile, used: Collection[str]) -> bool:
    """Whether a file may hold a learning curve; `used` names the files that hold settings."""
    if file.kind != "json":
        return file.kind in CURVE_KINDS
    usual = file.is_named("curve") or not file.is_named("evaluation", "settings")
    return usual and file.name not in used


def _file_notes(
    folder: RunFolder, read: Iterable[FileNote], evaluations: Iterable[str]
) -> tuple[FileNote, ...]:
    """One note per file, in the order of paths; of several notes on a file the last counts."""
    why = "holds no PER, no learning curve and no known setting"
    notes = {
        file.name: file.note("refused" if file.kind == "refused" else "not read", file.why or why)
        for file in folder.files
    }
    notes |= {note.path: note for note in read}
    for path in evaluations:
        notes[path] = FileNote(path, "evaluation", notes[path].n_bytes)
    return tuple(notes[name] for name in sorted(notes))


def _notes(
    settings: RunSettings,
    curves: Sequence[CurveFile],
    curve: MergedCurve,
    evaluations: Evaluations,
) -> Iterator[str]:
    if not settings.values:
        yield "has no settings that could be read"
    yield from settings.notes
    for file in curves:
        yield from file.remarks
        if file.log.loaded:
            yield f"{file.path}: {_FROM_CHECKPOINT} {file.log.loaded}"
    yield from curve.remarks
    yield from evaluations.notes
    if not curve.rows:
        yield "has no learning curve" + (", but an evaluation" if evaluations.counted else "")
    elif not any(PER in row for row in curve.rows):
        yield "its learning curve has losses but no PER"


def _why_nothing(run: ImportedRun) -> str:
    reasons = [f"{note.path.rpartition('/')[2]} {note.note}" for note in run.files if note.note]
    return "nothing in it could be read" + (f" ({'; '.join(reasons[:3])})" if reasons else "")
