"""Sets files of a run aside: those that other sources made, and those that are damaged.

The files that other sources made are kept when the run is trained again, and come back when the
sources are what they were. They lie under ``runs/<run_id>/former/<sources>/``, and cost no room
where the file system has hard links.
"""

import os
import secrets
import shutil
from collections.abc import Iterable
from pathlib import Path

from decoder.atomic import storage_error, sync_folder
from decoder.owners import temporary_name
from orchestrator.store.paths import Results


def keep_former(results: Results, run_id: str, source: str) -> None:
    """Keep the files of a run under the id of the sources that made them, unless they are there.

    Raises:
        StorageError: the folder cannot be written.
    """
    target = results.former(run_id, source)
    if target.exists():
        return
    started = target.with_name(_temporary(target.name))
    try:
        started.mkdir(parents=True)
        for path in results.run(run_id).iterdir():
            if path.is_file() and not path.name.startswith("."):
                _link(path, started / path.name)
        started.rename(target)
        sync_folder(target.parent)
    except OSError as error:
        raise storage_error(error, target, 0) from None


def bring_back(results: Results, run_id: str, source: str) -> None:
    """Put the files that these sources made in the place of those that are there now.

    The record comes last, so that a call that is killed leaves a run without a record.

    Raises:
        StorageError: the folder cannot be written.
    """
    record = results.record(run_id)
    try:
        record.unlink(missing_ok=True)
        kept = [path for path in results.former(run_id, source).iterdir() if path.is_file()]
        for path in sorted(kept, key=lambda path: path.name == record.name):
            started = results.run(run_id) / _temporary(path.name)
            _link(path, started)
            started.replace(results.run(run_id) / path.name)
        sync_folder(results.run(run_id))
    except OSError as error:
        raise storage_error(error, record, 0) from None


def mark_damaged(paths: Iterable[Path]) -> list[str]:
    """Rename those of these that exist, files or not, so that files can be written in their place.

    Returns:
        Their new names.

    Raises:
        StorageError: a file cannot be renamed.
    """
    moved = []
    for path in filter(os.path.lexists, paths):
        aside, n = path.with_name(f"{path.name}.corrupt"), 1
        while os.path.lexists(aside):
            aside, n = path.with_name(f"{path.name}.corrupt{n}"), n + 1
        try:
            path.rename(aside)
            sync_folder(path.parent)
        except OSError as error:
            raise storage_error(error, aside, 0) from None
        moved.append(aside.name)
    return moved


def _temporary(name: str) -> str:
    return temporary_name(name, secrets.token_hex(4))


def _link(path: Path, target: Path) -> None:
    try:
        os.link(path, target)
    except OSError:  # a file system without hard links
        shutil.copy2(path, target)
