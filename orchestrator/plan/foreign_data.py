"""The recordings of a user's trainer, which are identified and never read by us.

What `TrainerSection.data` names counts: of files the names below the path, the sizes and, of those
of at most `SMALL_BYTES`, the content; of a statement its text. Where a path lies does not count.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from decoder.atomic import sha256_of
from decoder.config import digest
from decoder.errors import ConfigError, DataError
from decoder.user_files import read_bounded
from orchestrator.spec.configuration import CommandConfig
from orchestrator.spec.trainer import STATED

SMALL_BYTES = 1 << 20
NOT_IDENTIFIED = "not identified"
_MOST_FILES = 200_000
_UNKNOWN = (
    "nothing under trainer.data identifies the recordings, so results of other ones would be used "
    "as results of these; name their path there, or write text: and what they are"
)


class Identified(NamedTuple):
    """What stands for recordings that a user's trainer reads.

    Attributes:
        fingerprint: hash of what identifies them.
        path: the first path or statement.
        stated: what identifies them, for people.
        remark: what is lacking; empty if nothing is.
    """

    fingerprint: str
    path: str
    stated: str
    remark: str


def identify(config: CommandConfig) -> Identified:
    """What stands for the recordings of a command.

    Raises:
        ConfigError: an entry of `data` is no path and no statement.
        DataError: a path cannot be read, or has too many files.
    """
    parts: list[tuple[str, ...]] = []
    names, stated = [], []
    for entry in config.trainer.data:
        if entry.startswith(STATED):
            text = entry.removeprefix(STATED).strip()
            parts.append(("text", text))
            stated.append(text)
            names.append(text)
            continue
        for path in _paths_of(config, entry):
            files = list(_files(path))
            parts += [("file", *file) for file in files]
            n_bytes = sum(int(size) for _, size, _ in files)
            n_files = f"{len(files):,} {'file' if len(files) == 1 else 'files'}"
            stated.append(f"{path.name}: {n_files}, {n_bytes:,} bytes")
            names.append(str(path))
    return Identified(
        fingerprint=digest(sorted(parts))[:16],
        path=names[0] if names else f"recordings that are {NOT_IDENTIFIED}",
        stated="; ".join(stated) or NOT_IDENTIFIED,
        remark="" if parts else _UNKNOWN,
    )


def _paths_of(config: CommandConfig, entry: str) -> list[Path]:
    """The paths that an entry names: the value of a key, or a path relative to `cwd`."""
    value = config.settings.get(entry, entry)
    return [_path_of(config, entry, one) for one in (value if isinstance(value, list) else [value])]


def _path_of(config: CommandConfig, entry: str, value: object) -> Path:
    path = Path(config.trainer.cwd, os.path.expanduser(str(value)))  # noqa: PTH111
    if os.path.exists(path):  # noqa: PTH110 - `Path.exists` raises if the name is too long
        return path
    if entry in config.settings:
        raise DataError(
            f"trainer.data: {entry}: '{value}' does not exist (looked for {path}); put the "
            "recordings there, or change the key with 'set'"
        )
    raise ConfigError(
        f"trainer.data: '{entry}' is no key of {config.trainer.base} and no path (looked for "
        f"{path}); for a statement write {STATED}{entry}"
    )


def _files(path: Path) -> Iterator[tuple[str, str, str]]:
    """Name, size and hash of every file below a path, or of the file itself, whose name is empty.

    Hidden files are left out, and so is the hash of files above `SMALL_BYTES`.
    """
    if not path.is_dir():
        yield _about(path, "")
        return
    seen, n_files = set(), 0
    for folder, folders, files in os.walk(path, followlinks=True, onerror=_refuse):
        place = os.path.realpath(folder)
        if place in seen:  # a link that leads back
            folders.clear()
            continue
        seen.add(place)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            file = Path(folder, name)
            if name.startswith(".") or not file.is_file():
                continue
            n_files += 1
            if n_files > _MOST_FILES:
                raise DataError(
                    f"{path}: has more than {_MOST_FILES:,} files; name a smaller folder under "
                    f"trainer.data, or write {STATED} and what they are"
                )
            yield _about(file, file.relative_to(path).as_posix())


def _about(file: Path, name: str) -> tuple[str, str, str]:
    try:
        size = file.stat().st_size
        content = sha256_of(read_bounded(file, SMALL_BYTES)) if size <= SMALL_BYTES else ""
    except (OSError, ConfigError) as error:
        raise DataError(f"trainer.data: {file}: cannot be read ({error})") from None
    return name, str(size), content


def _refuse(error: OSError) -> None:
    raise DataError(f"trainer.data: {error.filename}: cannot be read ({error.strerror})")
