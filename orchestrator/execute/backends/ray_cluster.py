"""The surroundings of a Ray cluster: environment, token, folder, address, resources per worker.

This module does not import ray.
"""

import math
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from decoder.errors import ConfigError
from orchestrator.execute.backends.guard import guarded_folder
from orchestrator.execute.backends.types import Execution

# Ray Tune reads these in this process: no loggers, snapshots, signal handlers or messages.
_TUNE_ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
}
LOOPBACK_ALONE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
# The processes of a local cluster read these. Prestarted workers would not have the environment
# that Tune requests. If Ray's memory monitor kills a worker, all of Tune ends instead of one
# trial, so the monitor is off. The kernel's out-of-memory killer remains; Ray marks the workers as
# its first victims.
CLUSTER_ENVIRONMENT = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    # Off, it makes every process of Ray listen on 127.0.0.1 alone, also on Linux: all take their
    # address from it, and an address of the loopback is the only one they do not replace.
    LOOPBACK_ALONE: "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_worker_prestart": "0",
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_prestart_worker_first_driver": "0",
}
_CONNECT_SECONDS = 5.0
# The path of a socket has at most 107 characters, and Ray adds up to 80 below the temporary folder.
_LONGEST_TEMPORARY_PARENT = 14


@cache
def _token() -> str:
    """The token that the processes of a local cluster authenticate with; one per driver process."""
    return secrets.token_hex(32)


@contextmanager
def ray_environment(address: str | None) -> Iterator[None]:
    """Set the environment variables of Ray for the duration of the block, then restore the user's.

    Args:
        address: the cluster to join, which has its own environment; None for a local cluster.
    """
    local = {**CLUSTER_ENVIRONMENT, "RAY_AUTH_TOKEN": _token()} if address is None else {}
    before = dict(os.environ)  # all of it: Ray sets variables of its own and leaves them behind
    os.environ.update(_TUNE_ENVIRONMENT | local)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


def set_reach(ray_constants: Any, address: str | None) -> None:
    """Make a local cluster listen on the loopback alone, and leave a cluster that is joined alone.

    Ray reads the variable that says so once, when it is imported; this reads it for each session,
    inside of `ray_environment`.

    Args:
        ray_constants: Ray's module of that name.
        address: the cluster to join; None for a local one.
    """
    by_default = address is not None and not ray_constants.IS_WINDOWS_OR_OSX
    name = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR
    ray_constants.ENABLE_RAY_CLUSTER = ray_constants.env_bool(name, by_default)


@contextmanager
def temporary_folder(execution: Execution) -> Iterator[Path]:
    """A private folder: guarded by a process, or, for a cluster that is joined, on the file system
    that all nodes share."""
    if execution.address is not None:
        execution.checkpoint_dir.mkdir(parents=True, exist_ok=True)
        for abandoned in execution.checkpoint_dir.glob(".ray-*"):  # a driver was killed
            shutil.rmtree(abandoned, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=".ray-", dir=execution.checkpoint_dir) as folder:
            yield Path(folder)
    else:
        is_short = len(tempfile.gettempdir()) <= _LONGEST_TEMPORARY_PARENT
        with guarded_folder(None if is_short else Path("/tmp")) as guarded:
            yield guarded


def check_reachable(address: str) -> None:
    """Fail within seconds if nothing answers; Ray itself would try for minutes.

    An address without a port is left to Ray.
    """
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
    """The share of a GPU per worker, so that all workers run at the same time.

    Args:
        device: as in `Execution`.

    Raises:
        ConfigError: the cluster has no GPU, or the device names a GPU by its number, which Ray
            assigns itself.
    """
    if device is not None and not device.startswith("cuda"):
        return 0.0
    if device is not None and device != "cuda":
        raise ConfigError(
            f"device '{device}': Ray assigns the GPUs itself; use 'cuda', choose GPUs with "
            "CUDA_VISIBLE_DEVICES, or use --backend local"
        )
    if n_gpus == 0:
        if device is None:
            return 0.0
        raise ConfigError("device 'cuda': the Ray cluster has no GPU; use 'cpu'")
    return 1.0 / math.ceil(n_workers / n_gpus)


def worker_resources(
    execution: Execution, nodes: Sequence[Mapping[str, float]]
) -> dict[str, float]:
    """The resources of the cluster that each worker takes.

    Args:
        nodes: one entry per node: resource, such as ``CPU`` or ``GPU`` → amount.

    Raises:
        ConfigError: no node of the cluster can ever run a pack.
    """
    most_cpus = max((node.get("CPU", 0.0) for node in nodes), default=0.0)
    if most_cpus < execution.threads_per_worker:
        raise ConfigError(
            f"no node of the Ray cluster has {execution.threads_per_worker} CPUs for a worker "
            f"(the largest has {most_cpus:g}); lower the threads per worker"
        )
    n_gpus = int(sum(node.get("GPU", 0.0) for node in nodes))
    resources = {"CPU": float(execution.threads_per_worker)}
    share = gpu_share(execution.device, execution.n_workers, n_gpus)
    if execution.gpus_per_pack is not None:
        share = execution.gpus_per_pack
        most_gpus = max((node.get("GPU", 0.0) for node in nodes), default=0.0)
        if most_gpus < share:
            raise ConfigError(
                f"--gpus-per-pack {share:g}, or gpus of a trainer: no node of the Ray cluster has "
                f"as many GPUs (the largest has {most_gpus:g}); lower it, or leave it out"
            )
    return {**resources, "GPU": share} if share else resources
