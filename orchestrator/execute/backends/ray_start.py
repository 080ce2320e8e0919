"""Starts a local Ray cluster, or joins one, for the duration of a block."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orchestrator.execute.backends.escape import Escape
from orchestrator.execute.backends.ray_cluster import (
    check_reachable,
    ray_environment,
    set_reach,
    temporary_folder,
)
from orchestrator.execute.backends.types import Execution, RayUnavailableError

_OBJECT_STORE_BYTES = 128 * 2**20


@contextmanager
def cluster(execution: Execution, escape: Escape) -> Iterator[Path]:
    """Start or join a cluster for the duration of the block; gives a folder for Tune's storage.

    Raises:
        RayUnavailableError: Ray is missing, or the cluster cannot be started or reached.
    """
    with temporary_folder(execution) as folder, ray_environment(execution.address):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                _start(execution, folder)
            escape.handle_signals()
            yield folder / "tune"
        finally:
            if "ray" in sys.modules:
                sys.modules["ray"].shutdown()  # ends the cluster too if this process started it


def _start(execution: Execution, folder: Path) -> None:
    """Import Ray and connect to a cluster, a new one unless an address is given."""
    if execution.address is not None:
        check_reachable(execution.address)
    try:
        import ray
        import ray.tune
    except Exception as error:  # a broken installation raises many types, too
        raise RayUnavailableError(
            f"Ray cannot be imported ({_first_line(error)}); install 'ray[tune]', or use "
            "--backend local"
        ) from None
    threads = str(execution.threads_per_worker)
    variables = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    runtime_env: dict[str, Any] = {"env_vars": dict.fromkeys(variables, threads)}
    common: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": logging.CRITICAL,
        "runtime_env": runtime_env,
    }
    old_umask = os.umask(0o077)
    try:
        set_reach(ray._private.ray_constants, execution.address)
        if execution.address is None:
            ray.init(
                address="local",
                num_cpus=execution.n_workers * execution.threads_per_worker,
                object_store_memory=_OBJECT_STORE_BYTES,
                include_dashboard=False,
                _temp_dir=str(folder / "r"),  # Ray opens it to all users
                **common,
            )
        else:
            # The nodes run the code of this process, not what is installed there.
            import decoder
            import orchestrator

            runtime_env["py_modules"] = [decoder, orchestrator]
            ray.init(address=execution.address, **common)
    except Exception as error:  # Ray raises many types, including plain Exception
        what = f"join the Ray cluster at {execution.address}" if execution.address else "start Ray"
        raise RayUnavailableError(
            f"cannot {what}: {_first_line(error)}; fix that, or use --backend local"
        ) from error
    finally:
        os.umask(old_umask)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
