"""The store of imported runs: ``results/imported/<name>/``, one atomic record a run."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from decoder.atomic import sha256_of, storage_error, write_atomically
from decoder.errors import ConfigError, StorageError
from orchestrator.history.reading.folders import natural
from orchestrator.history.reading.reading import Group, read_group
from orchestrator.history.reading.record import ForeignRun, from_json, to_json
from orchestrator.store.paths import Results
from orchestrator.terminal import Say

_GROUP = "group.json"
_LONGEST = 40


class Import(NamedTuple):
    """What an import did.

    Attributes:
        name: of the group in the store; folder: where its records are.
        group: the runs as they were read.
        new, changed, unchanged: names of runs, by what became of their records.
        renamed: old name → new name, for folders with the same course as a record had.
        gone: names of records whose folder is no longer there; they are kept.
    """

    name: str
    folder: Path
    group: Group
    new: tuple[str, ...]
    changed: tuple[str, ...]
    unchanged: tuple[str, ...]
    renamed: dict[str, str]
    gone: tuple[str, ...]


def import_runs(results: Results, source: Path, name: str | None) -> Import:
    """Read a folder of runs into the store; doing so again updates, and repeats nothing.

    Args:
        results: the store.
        source: the folder.
        name: of the group; None makes one from the folder's name.

    Raises:
        ConfigError: `source` is no folder, holds no run, or `name` is unfit or another folder's.
        StorageError: the store cannot be read or written.
    """
    group = read_group(source)  # first: nothing is written where nothing can be read
    name = name if name is not None else group_name(Path(group.source))
    folder = results.imported(name)
    if not group.runs:
        told = "; ".join(group.remarks[:3])
        raise ConfigError(
            f"{source}: holds no run that could be read" + (f": {told}" if told else "")
        )
    _check_source(folder, group.source)
    before = {run.name: (path, run) for path, run in _records(folder, None)}
    renamed = _renamed(group.runs, {name: run for name, (_, run) in before.items()})
    new: list[str] = []
    changed: list[str] = []
    unchanged: list[str] = []
    for run in group.runs:
        path, content = folder / record_name(run.name), to_json(run)
        if _holds(path, content):
            unchanged.append(run.name)
            continue
        (changed if run.name in before else new).append(run.name)
        write_atomically(path, content)
    for old in renamed:
        _remove(before[old][0])
    here = {run.name for run in group.runs}
    document = {"source": group.source, "remarks": list(group.remarks)}
    content = json.dumps(document, indent=1, ensure_ascii=False).encode()
    if not _holds(folder / _GROUP, content):
        write_atomically(folder / _GROUP, content)
    return Import(
        name,
        folder,
        group,
        tuple(run for run in new if run not in renamed.values()),
        tuple(changed),
        tuple(unchanged),
        renamed,
        tuple(run for run in before if run not in here and run not in renamed),
    )


def read_imported(results: Results, name: str, say: Say) -> Group:
    """The runs of a group in the store, in the order of names.

    Args:
        results: the store.
        name: the group's name.
        say: receives one line a record that cannot be read.

    Raises:
        ConfigError: there is no such group.
    """
    folder = results.imported(name)
    if not (folder / _GROUP).is_file():
        above = results.root / "imported"
        names = sorted(path.parent.name for path in above.glob(f"*/{_GROUP}"))
        there = f" (there are: {', '.join(names)})" if names else ""
        raise ConfigError(
            f"{name}: is no folder and no group that was imported into {results.root}{there}; "
            "name the folder of runs, or import it first with `import-runs FOLDER`"
        )
    try:
        document = json.loads((folder / _GROUP).read_bytes())
        source, remarks = str(document["source"]), tuple(map(str, document["remarks"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(
            f"{folder / _GROUP}: cannot be read ({error}); import the folder of runs again"
        ) from None
    runs = [run for _, run in _records(folder, say)]
    return Group(source, tuple(runs), remarks)


def group_name(source: Path) -> str:
    """A name for a group, from its folder's."""
    return _fit(source.name) or "runs"


def record_name(run: str) -> str:
    """The file of a run's record: its name as far as a file may be called that, and a hash."""
    return f"{_fit(run) or 'run'}-{sha256_of(run.encode('utf-8', 'surrogateescape'))[:8]}.json"


def _fit(text: str) -> str:
    """What of a text may stand in a name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[:_LONGEST].rstrip("-.")


def _check_source(folder: Path, source: str) -> None:
    """Refuse to mix two folders under one name, unless the first one has moved away."""
    try:
        known = str(json.loads((folder / _GROUP).read_bytes())["source"])
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, ValueError, KeyError, TypeError):
        return  # written anew
    if known != source and Path(known).is_dir():
        raise ConfigError(
            f"{folder}: holds the runs of {known}; choose another name with --as for {source}"
        )


def _records(folder: Path, say: Say | None) -> list[tuple[Path, ForeignRun]]:
    found = []
    for path in sorted(folder.glob("*.json")):
        if path.name == _GROUP or path.name.startswith("."):
            continue
        try:
            found.append((path, from_json(path.read_bytes())))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            if say is not None:
                say(f"{path}: cannot be read ({type(error).__name__}: {error}); import it again")
    return sorted(found, key=lambda pair: natural(pair[1].name))


def _renamed(runs: Sequence[ForeignRun], before: dict[str, ForeignRun]) -> dict[str, str]:
    """Records whose folder is gone while another one has the same course."""
    here = {run.name for run in runs}
    gone = {courses(run): name for name, run in before.items() if name not in here}
    return {
        gone[courses(run)]: run.name
        for run in runs
        if run.name not in before and courses(run) and courses(run) in gone
    }


def courses(run: ForeignRun) -> frozenset[str]:
    """The digests of a run's courses: equal for copies of one run."""
    return frozenset(note.digest for note in run.files if note.role == "course" and note.digest)


def _holds(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except OSError:
        return False


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise storage_error(error, path, 0) from None
