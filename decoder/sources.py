"""The source files of this package: their hash, and their state in git."""

import functools
import hashlib
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

# Path in the package → content. The paths have slashes.
Files = Mapping[str, bytes]


class GitState(NamedTuple):
    """The git commit of the sources, and whether tracked ones differ from it; None outside git."""

    commit: str | None
    is_dirty: bool | None


def package_folder() -> Path:
    """The folder of the decoder package."""
    return Path(__file__).parent


def own_files() -> Files:
    """Every source file of the package, as it is."""
    folder = package_folder()
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.py")}


@functools.cache
def decoder_sha256() -> str:
    """SHA-256 of all source files of the decoder package, as they are."""
    return raw_sha256(own_files())


def raw_sha256(files: Files) -> str:
    """SHA-256 of source files: names and contents, in order of the names."""
    digest = hashlib.sha256()
    for path in sorted(files, key=lambda path: Path(path).parts):
        digest.update(f"{path}\0{len(files[path])}\0".encode())
        digest.update(files[path])
    return digest.hexdigest()


def git_state() -> GitState:
    """The state of the package's folder in git."""
    commit = _ask_git("rev-parse", "HEAD")
    changes = _ask_git("status", "--porcelain", "--untracked-files=no", "--", ".")
    return GitState(commit, None if changes is None else bool(changes))


def _ask_git(*arguments: str) -> str | None:
    try:
        answer = subprocess.run(
            ["git", "-C", str(package_folder()), *arguments],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
