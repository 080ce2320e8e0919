"""Clears what a killed process left in a results folder, and what cannot be a file of ours.

A driver does so when it holds the lock on its ablation. What a live process owns is not touched.
"""

import contextlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from decoder.owners import owner_in
from decoder.regular import is_regular
from orchestrator.store.former import mark_damaged
from orchestrator.store.paths import Results
from orchestrator.terminal import Say

_OLD_SECONDS = 24 * 3600.0  # after which a file of another machine counts as left behind
# How earlier versions named temporary files; they do not say who owns them.
_UNOWNED = re.compile(
    r"\..+\.(json|csv|parquet|safetensors|md|html|svg|png)\.[0-9a-f]{8}$|\.sources\.[0-9a-f]{8}$"
)
_BUILDING = re.compile(r"\.(?P<target>.+)\.building-\w+(-old)?$")
# Folders of an ablation or search; whatever else has a name with a dot is a file.
_FOLDERS = ("figures", "checkpoints", "courses", "looks", "tensorboard")
# Not renamed: a lock that is held, and what cannot be made again.
_KEPT = ("driver.lock", "lock.json", "study.db")


def tidy_up(results: Results, name: str, say: Say) -> None:
    """Remove temporary files of processes that have ended, and rename what is no file.

    Args:
        name: the ablation or search whose lock is held. Folders, pipes and links that stand in the
            place of its files are renamed, since they could not be replaced.
        say: receives one line for each of both, if there are any.
    """
    n_removed = sum(map(_remove, _left_behind(results)))
    if n_removed:
        say(f"{results.root}: removed {n_removed} temporary files of processes that were killed")
    for path in _misplaced(results, name):
        (moved,) = mark_damaged([path])
        say(f"{path}: is not what belongs there; renamed to {moved}")


def _left_behind(results: Results) -> Iterator[Path]:
    """Temporary files and folders whose owner has ended, in one pass over the results folder."""
    now = time.time()
    folders = [(results.root, 0)]
    while folders:
        folder, depth = folders.pop()
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    if _is_left(entry, now):
                        yield Path(entry.path)
                # Users put whole folders on another disk, by a link near the top.
                elif entry.is_dir(follow_symlinks=depth < 2):
                    folders.append((Path(entry.path), depth + 1))


def _is_left(entry: os.DirEntry[str], now: float) -> bool:
    owner = owner_in(entry.name)
    if owner is not None and owner.is_here:
        return not owner.is_alive
    if owner is not None or _UNOWNED.match(entry.name):
        return now - entry.stat(follow_symlinks=False).st_mtime > _OLD_SECONDS
    building = _BUILDING.match(entry.name)
    return building is not None and not _is_built(Path(entry.path), building["target"])


def _is_built(path: Path, target: str) -> bool:
    """Whether a process builds this folder of recordings now."""
    try:
        with FileLock(path.with_name(f".{target}.lock")).acquire(timeout=0):
            return False
    except Timeout:
        return True


def _remove(path: Path) -> bool:
    """Delete a file or folder; whether it is gone by this call."""
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    except OSError:
        return False
    return True


def _misplaced(results: Results, name: str) -> Iterator[Path]:
    """What is no regular file where one belongs, or no folder where one belongs."""
    folder = results.ablation(name)
    files = [results.memory, results.index, results.index_checksum, results.pack_cut(name)]
    for path in sorted(folder.iterdir()):
        if path.name in _FOLDERS:
            if not path.is_dir():
                yield path
        elif path.suffix and path.name not in _KEPT and ".corrupt" not in path.name:
            files.append(path)
    if (folder / "courses").is_dir():
        files += (folder / "courses").iterdir()
    yield from (path for path in files if os.path.lexists(path) and not is_regular(path))
