"""Where a result comes from: code, library versions and machine."""

import functools
import hashlib
import os
import platform
import socket
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import decoder


def environment() -> dict[str, Any]:
    """What a result was made with; goes into every record.

    Returns:
        ``python``, ``platform``, the versions of ``torch`` and ``numpy`` (empty when not
        installed), and ``code``: ``decoder_sha256``, ``git_commit`` and ``git_dirty`` (None
        outside a git checkout).
    """
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": version_of("torch"),
        "numpy": version_of("numpy"),
        "code": {"decoder_sha256": decoder_sha256(), **_git()},
    }


def host() -> dict[str, str | int]:
    """This machine and process."""
    return {"hostname": socket.gethostname(), "pid": os.getpid()}


@functools.cache
def decoder_sha256() -> str:
    """SHA-256 over the sources of the decoder package: names and contents, in name order."""
    folder = _package_folder()
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _package_folder() -> Path:
    assert decoder.__file__ is not None
    return Path(decoder.__file__).parent


def version_of(package: str) -> str:
    """The installed version of a package; empty when it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _git() -> dict[str, str | bool | None]:
    """Commit of the checkout the decoder lies in, and whether tracked sources differ from it."""
    commit = _ask_git("rev-parse", "HEAD")
    changes = _ask_git("status", "--porcelain", "--untracked-files=no", "--", ".")
    return {
        "git_commit": commit,
        "git_dirty": None if changes is None else bool(changes),
    }


def _ask_git(*arguments: str) -> str | None:
    try:
        answer = subprocess.run(
            ["git", "-C", str(_package_folder()), *arguments],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
