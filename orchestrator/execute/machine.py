"""What this machine offers, and so how many packs to train at a time."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from decoder.errors import ConfigError
from orchestrator.plan.packs import MAX_RUNS_PER_PACK

BackendName = Literal["ray", "local"]


@dataclass(frozen=True)
class Options:
    """How to train; nothing here changes a result.

    Attributes:
        backend: ``ray`` or ``local``.
        n_workers: packs trained at the same time.
        threads: CPU threads of each.
        device: a torch device; None lets the decoder choose.
        address: a Ray cluster to join; None starts a local one.
        max_runs_per_pack: the limit that memory sets.
    """

    backend: BackendName
    n_workers: int
    threads: int
    device: str | None
    address: str | None
    max_runs_per_pack: int

    @property
    def at_a_time(self) -> int:
        """Packs that really train at the same time; in this process one after the other."""
        return self.n_workers if self.backend == "ray" else 1


def choose_options(
    backend: BackendName = "ray",
    n_workers: int | None = None,
    threads: int | None = None,
    device: str | None = None,
    address: str | None = None,
    max_runs_per_pack: int = MAX_RUNS_PER_PACK,
) -> Options:
    """Fill in what was not asked for: one worker a GPU, or else one a CPU, sharing the CPUs.

    The in-process backend gets the same, so that both make the same packs and the same numbers.

    Raises:
        ConfigError: a device that does not exist, or is not there.
    """
    if device is not None and re.fullmatch(r"cpu|mps|cuda(:\d+)?", device) is None:
        raise ConfigError(f"--device {device}: must be cpu, cuda, cuda:N or mps")
    if device is not None and device.startswith("cuda") and address is None and not count_gpus():
        raise ConfigError(f"--device {device}: this machine shows no NVIDIA GPU; leave it out")
    n_cpus = count_cpus()
    if n_workers is None:
        n_gpus = 0 if device is not None and not device.startswith("cuda") else count_gpus()
        n_workers = n_gpus or max(1, n_cpus // (threads or 1))
    return Options(
        backend=backend,
        n_workers=n_workers,
        threads=threads or max(1, n_cpus // n_workers),
        device=device,
        address=address,
        max_runs_per_pack=max_runs_per_pack,
    )


def count_cpus() -> int:
    """CPUs this process may use; all of them where the system does not tell."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def count_gpus() -> int:
    """NVIDIA devices this process may use, without loading torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in ("", "-1")])
    return len(list(Path("/dev").glob("nvidia[0-9]*")))
