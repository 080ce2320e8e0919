"""Where a result comes from: the code, the library versions and the machine."""

import os
import platform
import socket
from importlib import metadata

from decoder.config import DecoderConfig
from decoder.pack import RunResult
from decoder.sources import decoder_sha256, git_state
from orchestrator.spec.configuration import Configuration
from orchestrator.store.record import RecordCode, RecordEnvironment
from orchestrator.store.sources import training_sha256


def environment() -> RecordEnvironment:
    """What a result is made with; the versions of packages that are not installed are empty."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": version_of("torch"),
        "numpy": version_of("numpy"),
        "code": _code(),
    }


def of_run(config: Configuration, result: RunResult) -> RecordEnvironment:
    """What a run itself was computed with: precision, kernel of the recurrence, driver of a GPU.

    What there is not, such as the driver of a CPU, is left out. Older records have none of them.
    """
    found: RecordEnvironment = {}
    if isinstance(config, DecoderConfig):
        found["precision"] = config.train.precision
    if result.kernel:
        found["kernel"] = result.kernel
    if result.driver:
        found["driver"] = result.driver
    return found


def host() -> dict[str, str | int]:
    """This machine and process."""
    return {"hostname": socket.gethostname(), "pid": os.getpid()}


def version_of(package: str) -> str:
    """The installed version of a package; empty when it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _code() -> RecordCode:
    """The decoder's sources, its git commit, and whether tracked sources differ from the commit."""
    commit, is_dirty = git_state()
    return {
        "decoder_sha256": decoder_sha256(),
        "training_sha256": training_sha256(),
        "git_commit": commit,
        "git_dirty": is_dirty,
    }
