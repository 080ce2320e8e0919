"""What surrounds a Ray cluster: environment, token, folder, address, GPU shares; no ray here."""

import math
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from decoder.errors import ConfigError
from orchestrator.execute.backends import Execution
from orchestrator.execute.backends.guard import guarded_folder

# Read by Ray Tune in this process: no loggers, no snapshots, no handler of its own, no chatter.
_TUNE_ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
}
# Read by the processes of a local cluster. Prestarted workers would not fit the environment that
# Tune asks for. A worker killed by Ray's memory monitor ends Tune instead of its own trial, so
# memory is left to the kernel, which Ray makes choose workers first.
_CLUSTER_ENVIRONMENT = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_worker_prestart": "0",
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_prestart_worker_first_driver": "0",
}
_CONNECT_SECONDS = 5.0
# Ray's sockets lie up to 80 characters below this folder's folder, and 107 is the limit.
_LONGEST_TEMPORARY_PARENT = 14


@cache
def _token() -> str:
    """The token that processes of our local clusters show each other; this process knows one."""
    return secrets.token_hex(32)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables, and put them back as they were."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def ray_environment(address: str | None) -> Iterator[None]:
    """The environment variables Ray is to see, for the duration; the user's come back after it.

    Args:
        address: the cluster to join, which keeps its own; None for a local one.
    """
    local = {**_CLUSTER_ENVIRONMENT, "RAY_AUTH_TOKEN": _token()} if address is None else {}
    with _environment({**_TUNE_ENVIRONMENT, **local}):
        yield


@contextmanager
def temporary_folder(execution: Execution) -> Iterator[Path]:
    """A private folder: guarded, or on the file system all nodes share if a cluster is joined."""
    if execution.address is not None:
        execution.checkpoint_dir.mkdir(parents=True, exist_ok=True)
        for abandoned in execution.checkpoint_dir.glob(".ray-*"):  # by a driver that was killed
            shutil.rmtree(abandoned, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=".ray-", dir=execution.checkpoint_dir) as folder:
            yield Path(folder)
    else:
        is_short = len(tempfile.gettempdir()) <= _LONGEST_TEMPORARY_PARENT
        with guarded_folder(None if is_short else Path("/tmp")) as guarded:
            yield guarded


def check_reachable(address: str) -> None:
    """Fail in seconds where Ray would try for minutes; an address without a port is Ray's."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except OSError as error:
        raise ConfigError(
            f"--address {address}: nothing answers there ({error}); give the HOST:PORT that "
            "'ray start --head' printed, or leave --address out"
        ) from None


def gpu_share(device: str | None, n_workers: int, n_gpus: int) -> float:
    """The part of a GPU each worker gets, so that all workers find room.

    Args:
        device: as in `Execution`.
        n_workers: packs trained at the same time.
        n_gpus: GPUs of the cluster.

    Raises:
        ConfigError: a GPU is asked for that the cluster lacks, or one by its number: the
            cluster deals them out.
    """
    if device is not None and not device.startswith("cuda"):
        return 0.0
    if device is not None and device != "cuda":
        raise ConfigError(
            f"device '{device}': Ray deals out the GPUs itself; say 'cuda', choose GPUs with "
            "CUDA_VISIBLE_DEVICES, or use --backend local"
        )
    if n_gpus == 0:
        if device is None:
            return 0.0
        raise ConfigError("device 'cuda': the Ray cluster has no GPU; say 'cpu'")
    return 1.0 / math.ceil(n_workers / n_gpus)
