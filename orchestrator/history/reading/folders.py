"""Which folders below a root are runs, and which files belong to each."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from decoder.errors import ConfigError
from orchestrator.history.reading.files import (
    Kind,
    course_by_name,
    evaluation_by_name,
    kind_of,
    regular_file,
    settings_by_name,
    shown,
)

_MOST_FOLDERS = 20_000
_MOST_FILES = 2_000  # of one run that are listed singly
_DEPTH = 12

# Subfolders in which a trainer keeps parts of one run; anything else may be a run of its own.
_PARTS = frozenset(
    (
        *("checkpoint", "checkpoints", "ckpt", "ckpts", "weights", "models", "saved"),
        *(".hydra", "config", "configs", "conf", "code", "src", "wandb", "latest-run", "media"),
        *("log", "logs", "eval", "evals", "evaluation", "metrics", "results", "val_metrics"),
        *("plots", "figures", "tensorboard", "tb", "events", "artifacts", "files", "table"),
    )
)
_WANDB_RUN = re.compile(r"^(offline-)?run-\d{8}_\d{6}-\w+$")
_NUMBERED = re.compile(r"(?:run|exp|lauf|versuch)[ _-]?0*(\d+)", re.IGNORECASE)
_REPEAT = re.compile(r"^(?:seed|s|rep|repeat|replicate)[_=-]?(\d{1,9})$", re.IGNORECASE)
_COURSE_KINDS: tuple[Kind, ...] = ("jsonl", "csv", "log")
_SETTINGS_KINDS: tuple[Kind, ...] = ("yaml", "json", "toml", "pickle")


@dataclass(frozen=True)
class Found:
    """One file of a run: its kind, and for ``other`` why it is not read."""

    path: Path
    kind: Kind
    why: str
    n_bytes: int
    changed: float


@dataclass
class RunFolder:
    """A folder that may be one run.

    Attributes:
        path: the folder; `name` its path below the root, with ``/``.
        files: every file of it, those of its parts too.
        inherited: settings of the folder above, for a repeat (``seed3``) that has none itself.
        notes: what was passed over here, links above all.
        repeat: the number in its name, where the name is that of a repeat.
        lends: whether its settings are those of repeats below it, and it is no run itself.
    """

    path: Path
    name: str
    files: list[Found] = field(default_factory=list)
    inherited: list[Found] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    repeat: int | None = None
    lends: bool = False

    def of_kinds(self, kinds: tuple[Kind, ...]) -> list[Found]:
        """Its files of these kinds."""
        return [found for found in self.files if found.kind in kinds]


def find_run_folders(root: Path) -> tuple[list[RunFolder], list[str]]:
    """Every folder at or below `root` that holds settings or a course, in the order of names.

    Links to folders are not followed; so no loop is entered, and no run is found twice.

    Args:
        root: the folder a group keeps its runs in.

    Returns:
        The runs, and what was passed over between them.

    Raises:
        ConfigError: `root` is no folder that can be read.
    """
    if not is_folder(root):
        raise ConfigError(f"{root}: is no folder; name the folder that holds the runs")
    folders: dict[Path, RunFolder] = {}
    remarks: list[str] = []
    try:
        root_is_run = _root_is_run(root)
    except OSError as error:
        raise ConfigError(f"{root}: cannot be read: {error.strerror}") from None
    for path, names, links in _walk(root, remarks):
        owner = _owner(path, root, root_is_run)
        name = owner.relative_to(root).as_posix()
        name = shown(root.name if name == "." else name)
        folder = folders.setdefault(owner, RunFolder(owner, name))
        folder.notes += [
            f"{shown(link.relative_to(root).as_posix())} is a link to a folder; not followed"
            for link in links
        ]
        _add_files(folder, path, names)
    _inherit(folders, root)
    runs = [run for folder in folders.values() if _is_run(folder, root) for run in _split(folder)]
    runs.sort(key=lambda run: natural(run.name))
    return runs, [*remarks, *_passed_over(folders, runs, root)]


def _add_files(folder: RunFolder, path: Path, names: Sequence[str]) -> None:
    for name in names:
        found = _found(path / name)
        if found is None:
            folder.notes.append(f"{shown(name)} is no regular file, or a broken link; not read")
        elif len(folder.files) < _MOST_FILES:
            folder.files.append(found)
        else:
            folder.notes.append(f"more than {_MOST_FILES:,} files; the rest is not looked at")
            return


def is_folder(path: Path) -> bool:
    """Whether a path leads to a folder; one that no file system can hold does not."""
    try:
        return path.is_dir()
    except OSError:
        return False


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """A key that sorts run2 before run10."""
    parts = re.findall(r"\d+|\D+", text.lower())
    return tuple((0, int(p), "") if p.isdecimal() else (1, 0, p) for p in parts)


def _walk(root: Path, remarks: list[str]) -> Iterator[tuple[Path, list[str], list[Path]]]:
    """Folder, names of its files, links to folders in it; a link to a folder is not entered."""

    def failed(error: OSError) -> None:
        remarks.append(f"{error.filename}: cannot be read: {error.strerror}")

    for n_done, (text, folders, names) in enumerate(os.walk(root, onerror=failed)):
        path = Path(text)
        if n_done >= _MOST_FOLDERS:
            remarks.append(f"more than {_MOST_FOLDERS:,} folders; the rest is not looked at")
            return
        links = [path / name for name in folders if (path / name).is_symlink()]
        if len(path.relative_to(root).parts) >= _DEPTH:
            remarks.append(f"{path}: {_DEPTH} folders deep; what lies below is not looked at")
            folders.clear()
        folders[:] = sorted(n for n in folders if n not in (".git", "__pycache__", "node_modules"))
        yield path, sorted(names), links


def _owner(path: Path, root: Path, root_is_run: bool) -> Path:
    """The folder of the run that a folder is a part of, by its name; itself if of none."""
    owner = path
    while owner != root and (owner.name.lower() in _PARTS or _WANDB_RUN.match(owner.name)):
        owner = owner.parent
    if owner != root or path == root or root_is_run:
        return owner
    for above in (path, *path.parents):
        if _WANDB_RUN.match(above.name):
            return above
    return root / path.relative_to(root).parts[0]


def _root_is_run(root: Path) -> bool:
    """Whether the folder named is itself one run, and not the folder of many."""
    found = [_found(path) for path in root.iterdir() if path.is_file()]
    own = RunFolder(root, root.name, [one for one in found if one is not None])
    return has_course(own) or any(one.kind == "pickle" for one in own.files)


def _found(path: Path) -> Found | None:
    seen = regular_file(path)
    if seen is None:
        return None
    kind, why = kind_of(path)
    return Found(path, kind, why, *seen)


def _inherit(folders: Mapping[Path, RunFolder], root: Path) -> None:
    """Give the settings of a folder without a course to the repeats (``seed3``) in it."""
    for path, folder in folders.items():
        match = _REPEAT.match(path.name)
        if match is None or path == root:
            continue
        folder.repeat = int(match.group(1))
        above = folders.get(path.parent)
        if above is None or _settings(folder) or above.of_kinds(_COURSE_KINDS):
            continue
        folder.inherited = _settings(above)
        above.lends = True


def has_course(folder: RunFolder) -> bool:
    """Whether a folder has a file that may hold evaluations."""
    return bool(folder.of_kinds(_COURSE_KINDS)) or any(
        course_by_name(found.path) or evaluation_by_name(found.path)
        for found in folder.of_kinds(("json",))
    )


def _is_run(folder: RunFolder, root: Path) -> bool:
    """Whether a folder has a course, or settings and the name of no mere part."""
    part = folder.path == root or folder.path.name.lower() in _PARTS
    return has_course(folder) or (not part and not folder.lends and bool(_settings(folder)))


def _passed_over(
    folders: Mapping[Path, RunFolder], runs: Sequence[RunFolder], root: Path
) -> Iterator[str]:
    """One line a folder that looks like a run but holds nothing to go by, and for the root."""
    used = {above for run in runs for above in (run.path, *run.path.parents)}
    lent = {found.path.parent for run in runs for found in run.inherited}
    for path, folder in folders.items():
        if path == root and path not in {run.path for run in runs}:
            yield from folder.notes
        elif path not in used and path not in lent:
            held = f"{len(folder.files)} file{'s' * (len(folder.files) != 1)}"
            yield f"{folder.name}: neither settings nor a course ({held}); no record is made"
        elif path not in {run.path for run in runs} and path not in lent and _settings(folder):
            yield (
                f"{folder.name}: has settings ({_settings(folder)[0].path.name}) but no course, "
                "and runs below it; they are not taken for theirs"
            )


def _settings(folder: RunFolder) -> list[Found]:
    return [
        found
        for found in folder.of_kinds(_SETTINGS_KINDS)
        if found.kind == "pickle" or settings_by_name(found.path)
    ]


def _split(folder: RunFolder) -> list[RunFolder]:
    """Several runs that lie in one folder, taken apart by the stems of their files.

    They are told by settings and course of one stem, or by courses that all are numbered runs.
    """
    settings = {found.path.stem for found in folder.of_kinds(_SETTINGS_KINDS)}
    courses = [found.path.stem for found in folder.of_kinds(_COURSE_KINDS)]
    stems = sorted({stem for stem in courses if stem in settings}, key=natural)
    numbers = {match.group(1) if (match := _NUMBERED.search(stem)) else "" for stem in courses}
    if "" not in numbers and len(numbers) > 1:
        stems = sorted(set(courses), key=natural)
    if len(stems) < 2:
        return [folder]
    runs = []
    for stem in stems:
        own = [found for found in folder.files if found.path.stem == stem]
        note = f"{len(stems)} runs lie in one folder; these are the files called {stem}"
        runs.append(RunFolder(folder.path, f"{folder.name}/{shown(stem)}", own, [], [note]))
    return runs
