"""Reads what a section ``trainer`` names: the trainer's configuration, its code and its commit.

Nothing of the user's is executed. Of git only its own list of files is asked, which runs neither
hooks nor filters of the repository.
"""

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from decoder.atomic import sha256_of
from decoder.complaints import did_you_mean, yaml_text
from decoder.errors import ConfigError
from decoder.foreign_config import parse_foreign
from decoder.plain_values import check_values
from decoder.user_files import read_bounded
from orchestrator.spec.configuration import CommandConfig
from orchestrator.spec.names import hint, listed
from orchestrator.spec.settings import flatten
from orchestrator.spec.trainer import TrainerSection

_MOST_CODE_BYTES = 1 << 24  # of a file
_MOST_CODE_FILES = 10_000
_NO_CODE = ("__pycache__", "site-packages")
_GIT_SECONDS = 30.0
# Neither does git fetch what a partial clone lacks, nor does it ask a monitor of files.
_GIT = ("git", "--no-optional-locks", "-c", "core.fsmonitor=false")


def load_command(path: Path, trainer: TrainerSection) -> CommandConfig:
    """The configuration that a file's section ``trainer`` starts from.

    Args:
        path: the file, to whose folder `cwd` is relative.

    Raises:
        ConfigError: a folder or file is missing or cannot be read, a pattern of `code` matches
            nothing, or a key that the section names is not in the base.
    """
    there = os.path.expanduser(trainer.cwd)  # noqa: PTH111
    cwd = Path(os.path.abspath(path.parent / there))  # noqa: PTH100 - links stay
    if not os.path.isdir(cwd):  # noqa: PTH112 - `Path.is_dir` raises if the name is too long
        raise ConfigError(
            f"{path}: trainer.cwd: '{trainer.cwd}' is not a folder (looked for {cwd}); it is "
            "relative to this file"
        )
    base = _read_base(path, cwd, trainer)
    problems = [f"{path}: trainer.{text}" for text in _check_keys(trainer, base)]
    code: dict[str, str] = {}
    try:
        code = hash_code(cwd, trainer.code)
    except ConfigError as error:
        problems += [f"{path}: trainer.code: {text}" for text in error.problems]
    if problems:
        raise ConfigError(problems)
    commit, dirty = _commit_of(cwd, code)
    config = CommandConfig(
        trainer=trainer.model_copy(update={"cwd": str(cwd)}),
        written=base,
        code=code,
        commit=commit,
        dirty=dirty,
    )
    try:
        _ = config.settings
    except ConfigError as error:
        raise ConfigError([f"{path}: trainer.base: {text}" for text in error.problems]) from None
    return config


def _read_base(path: Path, cwd: Path, trainer: TrainerSection) -> dict[str, Any]:
    file = cwd / trainer.base
    if not os.path.isfile(file):  # noqa: PTH113
        kinds = (".yaml", ".yml", ".json")
        names = sorted(one.name for one in cwd.iterdir() if one.suffix in kinds and one.is_file())
        raise ConfigError(
            f"{path}: trainer.base: '{trainer.base}' is not a file in {cwd}"
            f"{hint(trainer.base, names)}"
        )
    nested = parse_foreign(read_bounded(file), str(file))
    check_values(nested, str(file))
    odd = [key for key in nested if not isinstance(key, str) or "." in key]
    if odd:
        raise ConfigError(
            f"{file}: the key {odd[0]!r} cannot be named by a dotted path; keys must be text "
            "without dots"
        )
    return flatten(nested)


def _check_keys(trainer: TrainerSection, base: dict[str, Any]) -> Iterator[str]:
    """Complaints about keys that the section names and the base lacks, or has already."""
    known = [*base, *trainer.new_keys]
    places = {"seed": trainer.seed, "outputs": tuple(trainer.outputs)}
    places |= {"steps": (trainer.steps,)} if trainer.steps else {}
    for place, keys in places.items():
        for key in keys:
            if key not in known:
                known_to_it = "; if the trainer knows it all the same, add it to new_keys"
                mend = did_you_mean(key, base) or known_to_it
                yield f"{place}: '{key}' is not a key of {trainer.base}{mend}"
    for key in trainer.new_keys:
        if key in base:
            yield f"new_keys: '{key}' is in {trainer.base}; leave it out here"
    steps = base.get(trainer.steps) if trainer.steps else None
    if trainer.steps in base and isinstance(steps, bool | list | dict):
        yield (
            f"steps: '{trainer.steps}' must be a number of training steps, but is "
            f"{yaml_text(steps)}"
        )
    for entry in trainer.data:
        value = base.get(entry, "")
        if not all(isinstance(one, str) for one in (value if isinstance(value, list) else [value])):
            yield (
                f"data: '{entry}' must be a path, or a list of paths, in {trainer.base}, but is "
                f"{yaml_text(value)}"
            )


def hash_code(cwd: Path, patterns: tuple[str, ...]) -> dict[str, str]:
    """The files that match the patterns: path relative to `cwd`, with slashes → SHA-256.

    Caches of Python, installed packages and hidden files are left out.

    Raises:
        ConfigError: a pattern matches no file or leads to a place of its own, or a file cannot be
            read.
    """
    found: dict[str, Path] = {}
    problems = []
    for pattern in patterns:
        if Path(pattern).is_absolute():
            problems.append(f"'{pattern}' must be relative to {cwd}")
            continue
        try:
            files = [one for one in cwd.glob(pattern) if _is_code(one, cwd)]
        except (ValueError, NotImplementedError) as error:
            problems.append(f"'{pattern}' is not a pattern of files ({error})")
            continue
        if not files:
            names = sorted({f"*{one.suffix}" for one in cwd.iterdir() if one.suffix})
            problems.append(
                f"'{pattern}' matches no file in {cwd} (there are {listed(names)}); files in "
                "folders below need **/ before the pattern"
            )
        found |= {os.path.relpath(one, cwd): one for one in files}
    if len(found) > _MOST_CODE_FILES:
        problems.append(f"matches {len(found):,} files, but at most {_MOST_CODE_FILES:,} are read")
    if problems:
        raise ConfigError(problems)
    return {
        Path(name).as_posix(): sha256_of(read_bounded(found[name], _MOST_CODE_BYTES))
        for name in sorted(found)
    }


def _is_code(file: Path, cwd: Path) -> bool:
    parts = Path(os.path.relpath(file, cwd)).parts
    left_out = any(part in _NO_CODE or part.startswith(".") and part != ".." for part in parts)
    return not left_out and file.is_file()


def _commit_of(cwd: Path, code: dict[str, str]) -> tuple[str | None, bool | None]:
    """The git commit of a folder, and whether files of `code` differ from it; None if unknown."""
    commit = _ask_git(cwd, "rev-parse", "HEAD")
    listing = _ask_git(cwd, "ls-tree", "-r", "-z", "--full-tree", "HEAD") if commit else None
    top = _ask_git(cwd, "rev-parse", "--show-toplevel")
    if commit is None or listing is None or top is None:
        return commit, None
    known = {}
    for line in filter(None, listing.split("\0")):
        about, _, name = line.partition("\t")
        known[name] = about.split()[2]
    return commit, any(_differs(cwd / name, Path(top), known) for name in code)


def _differs(file: Path, top: Path, known: dict[str, str]) -> bool:
    """Whether a file is not the one of the commit, whose name git forms from its content."""
    name = Path(os.path.relpath(file.resolve(), top.resolve())).as_posix()
    content = file.read_bytes()
    kind = hashlib.sha256 if len(known.get(name, "")) == 64 else hashlib.sha1
    return kind(b"blob %d\0" % len(content) + content).hexdigest() != known.get(name)


def _ask_git(cwd: Path, *words: str) -> str | None:
    try:
        answer = subprocess.run(
            [*_GIT, "-C", str(cwd), *words],
            capture_output=True,
            timeout=_GIT_SECONDS,
            check=True,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0"},
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.decode(errors="replace").strip("\n") or None
