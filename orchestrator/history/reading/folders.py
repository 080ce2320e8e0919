"""Which folders below a root are runs, and which files belong to each run."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from decoder.errors import ConfigError
from orchestrator.history.reading.files import RunFile, RunFileKind, printable, relative, run_file

_MOST_FOLDERS = 20_000
_MOST_FILES = 2_000  # of one run
_DEPTH = 12
_OF_THE_SYSTEM = ("/proc", "/sys", "/dev")

# Subfolders in which a trainer keeps parts of one run; any other folder may be a run of its own.
_PARTS = frozenset(
    (
        *("checkpoint", "checkpoints", "ckpt", "ckpts", "weights", "models", "saved"),
        *(".hydra", "config", "configs", "conf", "code", "src", "wandb", "latest-run", "media"),
        *("log", "logs", "eval", "evals", "evaluation", "metrics", "results", "val_metrics"),
        *("plots", "figures", "tensorboard", "tb", "events", "artifacts", "files", "table"),
    )
)
_NO_RUNS = ("__pycache__", "node_modules", "site-packages")
_WANDB_RUN = re.compile(r"^(offline-)?run-\d{8}_\d{6}-\w+$")
_NUMBERED = re.compile(r"(?:run|exp|lauf|versuch)[ _-]?0*(\d+)", re.IGNORECASE)
_REPEAT = re.compile(r"^(?:seed|s|rep|repeat|replicate)[_=-]?(\d{1,9})$", re.IGNORECASE)
CURVE_KINDS: tuple[RunFileKind, ...] = ("jsonl", "csv", "log", "stats")
_SETTINGS_KINDS: tuple[RunFileKind, ...] = ("yaml", "json", "toml", "pickle")


@dataclass
class RunFolder:
    """A folder that may be one run.

    Attributes:
        name: its path below the root, with ``/``.
        files: every file in it and in the subfolders that are parts of it.
        inherited: settings files of the folder above, for a repeat (``seed3``) without its own.
        notes: what was skipped here, above all links.
        repeat: the number in the folder's name, if the name is that of a repeat.
        lends_settings: whether repeats below it use its settings; then it is no run itself.
    """

    path: Path
    name: str
    files: list[RunFile] = field(default_factory=list)
    inherited: list[RunFile] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    repeat: int | None = None
    lends_settings: bool = False

    def of_kinds(self, kinds: tuple[RunFileKind, ...]) -> list[RunFile]:
        return [file for file in self.files if file.kind in kinds]

    def settings_files(self) -> list[RunFile]:
        """The files that hold settings, by their names."""
        return [file for file in self.of_kinds(_SETTINGS_KINDS) if file.is_named("settings")]

    def is_code(self) -> bool:
        """Whether it holds the code of a trainer, beside which its settings are no run's."""
        return any(
            file.path.parent == self.path and file.path.suffix == ".py" for file in self.files
        )

    def has_curve(self) -> bool:
        """Whether any file may hold evaluations, by its name."""
        return bool(self.of_kinds(CURVE_KINDS)) or any(
            file.is_named("curve", "evaluation") for file in self.of_kinds(("json",))
        )


def find_run_folders(root: Path) -> tuple[list[RunFolder], list[str]]:
    """Find every folder at or below `root` that holds settings or a learning curve.

    Links to folders are not followed, so there are no loops and no run is found twice.

    Returns:
        The runs in the order of their names, and remarks about what was skipped.

    Raises:
        ConfigError: `root` is not a folder, or cannot be read.
    """
    if not is_folder(root):
        raise ConfigError(f"{root}: is no folder; name the folder that holds the runs")
    if any(root.is_relative_to(folder) for folder in _OF_THE_SYSTEM):
        raise ConfigError(
            f"{root}: is a folder of the operating system; name the folder that holds the runs"
        )
    folders: dict[Path, RunFolder] = {}
    remarks: list[str] = []
    try:
        root_is_run = _root_is_run(root)
    except OSError as error:
        raise ConfigError(f"{root}: cannot be read: {error.strerror}") from None
    for path, files, links in _walk(root, remarks):
        owner = _owner(path, root, root_is_run)
        name = printable(root.name) if owner == root else relative(owner, root)
        folder = folders.setdefault(owner, RunFolder(owner, name))
        folder.notes += [
            f"{relative(link, root)} is a link to a folder and is not followed" for link in links
        ]
        _add_files(folder, files, root)
    _inherit_settings(folders, root)
    runs = [
        run
        for folder in folders.values()
        if _is_run(folder, root, root_is_run)
        for run in _split(folder)
    ]
    runs.sort(key=lambda run: natural_order(run.name))
    return runs, [*remarks, *_skipped(folders, runs, root)]


def is_folder(path: Path) -> bool:
    """Whether a path leads to a folder; False for a path that the file system cannot hold."""
    try:
        return path.is_dir()
    except OSError:
        return False


def natural_order(text: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key that puts run2 before run10."""
    parts = re.findall(r"\d+|\D+", text.lower())
    return tuple((0, int(p), "") if p.isdecimal() else (1, 0, p) for p in parts)


def _add_files(folder: RunFolder, paths: Sequence[Path], root: Path) -> None:
    for path in paths:
        file = run_file(path, root)
        if file is None:
            folder.notes.append(
                f"{printable(path.name)} is not a regular file, or a broken link; it is not read"
            )
        elif len(folder.files) < _MOST_FILES:
            folder.files.append(file)
        else:
            folder.notes.append(f"has more than {_MOST_FILES:,} files; the others are skipped")
            return


def _walk(root: Path, remarks: list[str]) -> Iterator[tuple[Path, list[Path], list[Path]]]:
    """Yield each folder, its files, and the links to folders in it."""
    walk = os.walk(
        root,
        onerror=lambda e: remarks.append(
            f"{printable(str(e.filename))}: cannot be read: {e.strerror}"
        ),
    )
    for n_done, (text, folders, names) in enumerate(walk):
        path = Path(text)
        if n_done >= _MOST_FOLDERS:
            remarks.append(f"more than {_MOST_FOLDERS:,} folders; the others are skipped")
            return
        links = [path / name for name in folders if (path / name).is_symlink()]
        if len(path.relative_to(root).parts) >= _DEPTH:
            remarks.append(
                f"{printable(str(path))}: is {_DEPTH} folders deep; folders below it are skipped"
            )
            folders.clear()
        folders[:] = sorted(n for n in folders if not _holds_no_runs(n))
        yield path, [path / name for name in sorted(names)], links


def _holds_no_runs(name: str) -> bool:
    """Whether a folder is one of tools (``.git``, ``.github``, ``.vscode``), by its name."""
    return name in _NO_RUNS or (name.startswith(".") and name != ".hydra")


def _owner(path: Path, root: Path, root_is_run: bool) -> Path:
    """The folder of the run that a folder is a part of, by its name; else the folder itself."""
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
    """Whether the root itself is one run, rather than a folder of many."""
    files = (run_file(path, root) for path in root.iterdir() if path.is_file())
    own = RunFolder(root, root.name, [file for file in files if file is not None])
    return own.has_curve() or bool(own.of_kinds(("pickle",)))


def _inherit_settings(folders: Mapping[Path, RunFolder], root: Path) -> None:
    """Give the settings of a folder without a learning curve to the repeats (``seed3``) in it."""
    for path, folder in folders.items():
        match = _REPEAT.match(path.name)
        if match is None or path == root:
            continue
        folder.repeat = int(match[1])
        above = folders.get(path.parent)
        if above is not None and not folder.settings_files() and not above.of_kinds(CURVE_KINDS):
            folder.inherited = above.settings_files()
            above.lends_settings = True


def _is_run(folder: RunFolder, root: Path, root_is_run: bool) -> bool:
    """Whether a folder has a learning curve, or settings and not the name of a part."""
    part = not root_is_run if folder.path == root else folder.path.name.lower() in _PARTS
    return folder.has_curve() or (
        not part
        and not folder.lends_settings
        and not folder.is_code()
        and bool(folder.settings_files())
    )


def _skipped(
    folders: Mapping[Path, RunFolder], runs: Sequence[RunFolder], root: Path
) -> Iterator[str]:
    """One remark for each folder that looks like a run but is none; and the root's own notes."""
    of_runs = {run.path for run in runs}
    at_or_above_runs = {above for run in runs for above in (run.path, *run.path.parents)}
    lending = {file.path.parent for run in runs for file in run.inherited}
    for path, folder in folders.items():
        if path == root and path not in of_runs:
            yield from folder.notes
            if not runs and folder.files:
                names = ", ".join(printable(file.path.name) for file in folder.files[:5])
                yield (
                    f"none of its {len(folder.files)} files is by its name a learning curve, or "
                    f"settings beside one ({names}{', ...' if len(folder.files) > 5 else ''})"
                )
        elif path in lending:
            continue
        elif path not in at_or_above_runs and folder.is_code() and folder.settings_files():
            yield f"{folder.name}: holds code and settings but no learning curve; skipped"
        elif path not in at_or_above_runs:
            n_files = f"{len(folder.files)} file{'s' * (len(folder.files) != 1)}"
            yield f"{folder.name}: has neither settings nor a learning curve ({n_files}); skipped"
        elif path not in of_runs and folder.settings_files():
            yield (
                f"{folder.name}: has settings ({folder.settings_files()[0].path.name}) but no "
                "learning curve; the runs below it do not use these settings"
            )


def _split(folder: RunFolder) -> list[RunFolder]:
    """Separate several runs in one folder, by the stems of their files.

    A stem is a run if it names both settings and a learning curve, or if every curve file has
    the name of a numbered run.
    """
    settings = {file.path.stem for file in folder.of_kinds(_SETTINGS_KINDS)}
    curves = [file.path.stem for file in folder.of_kinds(CURVE_KINDS)]
    stems = sorted({stem for stem in curves if stem in settings}, key=natural_order)
    numbers = {match.group(1) if (match := _NUMBERED.search(stem)) else "" for stem in curves}
    if "" not in numbers and len(numbers) > 1:
        stems = sorted(set(curves), key=natural_order)
    if len(stems) < 2:
        return [folder]
    runs = []
    for stem in stems:
        own = [file for file in folder.files if file.path.stem == stem]
        note = f"the folder holds {len(stems)} runs; this one is the files named {stem}"
        runs.append(RunFolder(folder.path, f"{folder.name}/{printable(stem)}", own, [], [note]))
    return runs
