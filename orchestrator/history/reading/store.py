"""The stored records of imported runs: ``results/imported/<group>/``, one file per run."""

import contextlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from decoder.atomic import sha256_of, storage_error, write_atomically
from decoder.errors import ConfigError, StorageError
from decoder.regular import read_json, read_regular
from orchestrator.history.reading.folders import natural_order
from orchestrator.history.reading.read_runs import Group, read_group
from orchestrator.history.reading.record import ImportedRun, from_json, run_document, to_json
from orchestrator.spec.names import listed
from orchestrator.store.paths import Results
from orchestrator.terminal import Say

_GROUP = "group.json"
_LONGEST = 40


class ImportResult(NamedTuple):
    """The result of an import.

    Attributes:
        name: of the group in the store.
        folder: where its records are.
        group: the runs as they were read.
        new, changed, unchanged: names of the runs whose record was added, replaced, or kept.
        renamed: old name → new name, for folders with the learning curve of a missing record.
        gone: names of records whose folder no longer exists; the records are kept.
    """

    name: str
    folder: Path
    group: Group
    new: tuple[str, ...]
    changed: tuple[str, ...]
    unchanged: tuple[str, ...]
    renamed: dict[str, str]
    gone: tuple[str, ...]


def import_runs(results: Results, source: Path, name: str | None) -> ImportResult:
    """Read a folder of runs into the store; importing it again updates the records.

    Args:
        results: the store.
        source: the folder.
        name: of the group; None makes one from the folder's name.

    Raises:
        ConfigError: `source` is no folder or holds no run, or `name` is invalid or used for
            another folder.
        StorageError: the store cannot be read or written.
    """
    group = read_group(source)  # first: write nothing if nothing can be read
    name = name if name is not None else _as_name(Path(group.source).name) or "runs"
    folder = results.imported(name)
    if not group.runs:
        reasons = "; ".join(group.remarks[:3])
        raise ConfigError(
            f"{source}: holds no run that could be read" + (f": {reasons}" if reasons else "")
        )
    _check_source(folder, group.source)
    before = {run.name: run for run in _records(folder, lambda text: None)}
    renamed = _renamed(group.runs, before)
    here = [run.name for run in group.runs]
    written = {
        run.name for run in group.runs if _write(folder / _record_name(run.name), to_json(run))
    }
    for old in renamed:
        _remove(folder / _record_name(old))
    document = {"source": group.source, "remarks": list(group.remarks)}
    _write(folder / _GROUP, json.dumps(document, indent=1, ensure_ascii=False).encode())
    added = written - before.keys() - set(renamed.values())
    return ImportResult(
        name,
        folder,
        group,
        new=tuple(run for run in here if run in added),
        changed=tuple(run for run in here if run in written and run in before),
        unchanged=tuple(run for run in here if run not in written),
        renamed=renamed,
        gone=tuple(run for run in before if run not in {*here, *renamed}),
    )


def import_document(result: ImportResult) -> dict[str, object]:
    """The result of an import for ``--json``."""
    return {
        "name": result.name,
        "source": result.group.source,
        "folder": str(result.folder),
        "n_runs": len(result.group.runs),
        "new": list(result.new),
        "changed": list(result.changed),
        "unchanged": list(result.unchanged),
        "renamed": dict(result.renamed),
        "gone": list(result.gone),
        "remarks": list(result.group.remarks),
        "runs": [
            {
                **run_document(run),
                "files": [
                    {"path": n.path, "role": n.role, "n_bytes": n.n_bytes, "note": n.note}
                    for n in run.files
                ],
            }
            for run in result.group.runs
        ],
    }


def read_imported(results: Results, name: str, say: Say) -> Group:
    """The runs of a group in the store, in the order of names.

    `say` receives one line for each record that cannot be read.

    Raises:
        ConfigError: there is no such group.
        StorageError: the group's own file cannot be read.
    """
    folder = results.imported(name)
    if not (folder / _GROUP).is_file():
        names = group_names(results)
        known = f" (there are: {listed(names)})" if names else ""
        raise ConfigError(
            f"{name}: is neither a folder nor a group that was imported into "
            f"{results.root}{known}; name the folder of runs, or import it first with "
            "`import-runs FOLDER`"
        )
    try:
        document = read_json(folder / _GROUP)
        source, remarks = str(document["source"]), tuple(map(str, document["remarks"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(
            f"{folder / _GROUP}: cannot be read ({error}); import the folder of runs again"
        ) from None
    return Group(source, tuple(_records(folder, say)), remarks)


def group_names(results: Results) -> list[str]:
    """The names of all imported groups, sorted."""
    return sorted(path.parent.name for path in (results.root / "imported").glob(f"*/{_GROUP}"))


def _record_name(run: str) -> str:
    """The file name of a run's record: the run's name as far as possible, and a hash of it."""
    return f"{_as_name(run) or 'run'}-{sha256_of(run.encode('utf-8', 'surrogateescape'))[:8]}.json"


def _as_name(text: str) -> str:
    """The text, shortened, with ``-`` for every character that a name may not hold."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[:_LONGEST].rstrip("-.")


def _check_source(folder: Path, source: str) -> None:
    """Refuse to mix two folders under one name, unless the first folder no longer exists."""
    try:
        known = str(read_json(folder / _GROUP)["source"])
    except (OSError, ValueError, KeyError, TypeError):
        return  # missing or damaged: the import writes it
    if known != source and Path(known).is_dir():
        raise ConfigError(
            f"{folder}: holds the runs of {known}; choose another name with --as for {source}"
        )


def _records(folder: Path, say: Say) -> list[ImportedRun]:
    """Every record that can be read, by name; `say` receives the others."""
    records = []
    for path in sorted(folder.glob("*.json")):
        if path.name == _GROUP or path.name.startswith("."):
            continue
        try:
            records.append(from_json(read_regular(path)))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            say(
                f"{path}: cannot be read ({type(error).__name__}: {error}); import the folder "
                "of runs again"
            )
    return sorted(records, key=lambda run: natural_order(run.name))


def _renamed(runs: Sequence[ImportedRun], before: dict[str, ImportedRun]) -> dict[str, str]:
    """Old name → new name, where a missing run and a new one have the same learning curve."""
    here = {run.name for run in runs}
    missing = {run.curve_digests: name for name, run in before.items() if name not in here}
    return {
        missing[run.curve_digests]: run.name
        for run in runs
        if run.name not in before and run.curve_digests and run.curve_digests in missing
    }


def _write(path: Path, content: bytes) -> bool:
    """Write a file unless it has this content already; whether it was written."""
    with contextlib.suppress(OSError):
        if read_regular(path) == content:
            return False
    write_atomically(path, content)
    return True


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise storage_error(error, path, 0) from None
