"""Opens files below the results folder and no others, whatever their names or links say."""

import errno
import os
import stat
from pathlib import Path, PurePosixPath

_SHOWN_FOLDERS = ("ablations", "searches", "judged", "imported", "runs")
# What a browser gets of each kind of file; others, such as recordings, weights, checkpoints and
# databases, are not shown.
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".csv": "text/csv; charset=utf-8",
    ".json": "application/json",
    ".parquet": "application/octet-stream",
    ".md": "text/plain; charset=utf-8",
    ".log": "text/plain; charset=utf-8",
    ".tex": "text/plain; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
}
_STEP = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LAST = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe has nobody to wait for


class NotShownError(Exception):
    """A path that is not shown: there is nothing, or it is not for showing."""


def is_inside(root: Path, path: Path) -> bool:
    """Whether a path leads to something below the folder once all links are followed."""
    try:
        return path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError, ValueError):
        return False


def is_shown(relative: PurePosixPath) -> bool:
    """Whether a file of this name, relative to the results folder, is for showing."""
    parts = relative.parts
    return (
        not relative.is_absolute()
        and len(parts) > 2
        and parts[0] in _SHOWN_FOLDERS
        and not any(part.startswith(".") or "\0" in part or "\\" in part for part in parts)
        and relative.suffix in MEDIA_TYPES
    )


def open_inside(root: Path, relative: str) -> int:
    """A descriptor of a regular file below the results folder; the caller closes it.

    Links are followed as long as they lead to somewhere below the folder. Every folder on the way
    is then opened from the one above it without following links, so that a link that is put there
    meanwhile leads nowhere.

    Args:
        root: the results folder.
        relative: the path below it, with ``/``.

    Raises:
        NotShownError: there is no such file, it lies outside, or it is not for showing.
    """
    if not is_shown(PurePosixPath(relative)):
        raise NotShownError(relative)
    above = root.resolve()
    try:
        resolved = (above / relative).resolve(strict=True)
        parts = resolved.relative_to(above).parts
        if not is_shown(PurePosixPath(*parts)):
            raise NotShownError(relative)
        folder = os.open(above, _STEP)
        try:
            for part in parts[:-1]:
                folder, before = os.open(part, _STEP, dir_fd=folder), folder
                os.close(before)
            descriptor = os.open(parts[-1], _LAST, dir_fd=folder)
        finally:
            os.close(folder)
    except (OSError, RuntimeError, ValueError):  # not there; a loop of links; outside
        raise NotShownError(relative) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotShownError(relative)
    return descriptor


def list_files(root: Path, folder: Path) -> list[tuple[str, int]]:
    """(path relative to `folder`, bytes) of the files there and one folder below that are shown."""
    found = []
    for path in sorted([*_entries(folder), *_entries(folder / "figures")]):
        relative = PurePosixPath(path.relative_to(root).as_posix())
        if is_shown(relative) and is_inside(root, path):
            try:
                state = path.stat()
            except OSError:
                continue
            if stat.S_ISREG(state.st_mode):
                found.append((path.relative_to(folder).as_posix(), state.st_size))
    return found


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ELOOP):
            return []
        raise
