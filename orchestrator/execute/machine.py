"""The options of training, and their defaults from the CPUs and GPUs of this machine."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from decoder.cpus import Cpus, choose_threads, find_cpus
from decoder.errors import ConfigError
from orchestrator.plan.packs import MAX_RUNS_PER_PACK

BackendName = Literal["ray", "local"]
_SMALLEST_SHARE = 0.01  # of a GPU; below it, a pack has less memory than PyTorch itself takes


@dataclass(frozen=True)
class Options:
    """How to train; nothing here changes a result.

    Attributes:
        backend: ``ray`` or ``local``.
        n_workers: packs trained at the same time.
        threads: CPU threads per worker.
        device: a torch device; None lets the decoder choose.
        address: a Ray cluster to join; None starts a local one.
        max_runs_per_pack: largest number of runs in a pack, which bounds its memory.
        gpus_per_pack: the part of a GPU that Ray reserves for a pack, such as 0.5, or a whole
            number of GPUs; None shares the GPUs out among the workers.
        hang_seconds: as in `orchestrator.execute.backends.Execution`.
        grace_seconds: as in `orchestrator.execute.stopping.StopSwitch`.
        threads_reason: why `threads` is not an equal share of the CPUs; empty if it is, or was
            asked for.
    """

    backend: BackendName
    n_workers: int
    threads: int
    device: str | None
    address: str | None
    max_runs_per_pack: int
    gpus_per_pack: float | None = None
    hang_seconds: float | None = 600.0
    grace_seconds: float | None = None
    threads_reason: str = ""

    @property
    def at_a_time(self) -> int:
        """Packs that train at the same time: one in this process, else `n_workers`."""
        return 1 if self.backend == "local" else self.n_workers


def choose_options(
    backend: BackendName = "ray",
    n_workers: int | None = None,
    threads: int | None = None,
    device: str | None = None,
    address: str | None = None,
    max_runs_per_pack: int = MAX_RUNS_PER_PACK,
    *,
    gpus_per_pack: float | None = None,
    hang_minutes: float = 10.0,
    grace_seconds: float | None = None,
    n_cpus: int | None = None,
    n_gpus: int | None = None,
) -> Options:
    """Fill in the options that are None.

    The defaults are one worker per GPU, or without a GPU one per CPU; the workers share the CPUs.
    With `gpus_per_pack`, the default is as many workers as then fit on the GPUs.
    ``OMP_NUM_THREADS`` stands for `threads`, and CPUs that other processes keep busy get none.
    The in-process backend gets the same values, so that both backends make the same packs and the
    same numbers.

    Args:
        backend, n_workers, threads, device, address, max_runs_per_pack, gpus_per_pack: see
            `Options`.
        hang_minutes: see `Options.hang_seconds`; 0 waits for ever.
        grace_seconds: see `Options`.
        n_cpus, n_gpus: devices of this machine, idle and without a variable of the environment;
            None counts them.

    Raises:
        ConfigError: the device has no valid name, or this machine does not have it; the share of a
            GPU is not valid, or the workers need more GPUs than this machine has.
    """
    cpus = find_cpus() if n_cpus is None else Cpus(n_cpus, n_cpus)
    environment: dict[str, str] | None = None if n_cpus is None else {}
    n_gpus = count_gpus() if n_gpus is None else n_gpus
    if device is not None and re.fullmatch(r"cpu|mps|cuda(:\d+)?", device) is None:
        raise ConfigError(f"--device {device}: must be cpu, cuda, cuda:N or mps")
    if device is not None and device.startswith("cuda") and address is None and not n_gpus:
        raise ConfigError(f"--device {device}: this machine has no NVIDIA GPU; omit --device")
    if gpus_per_pack is not None:
        n_fitting = _packs_on_gpus(gpus_per_pack, backend, n_workers, device, address, n_gpus)
        n_workers = n_workers or n_fitting or None
    if n_workers is None:
        uses_gpus = device is None or device.startswith("cuda")
        of_worker = threads or choose_threads(cpus, cpus.n_usable, environment).number
        n_workers = (n_gpus if uses_gpus else 0) or max(1, cpus.n_usable // of_worker)
    chosen = choose_threads(cpus, n_workers, environment)
    return Options(
        backend=backend,
        n_workers=n_workers,
        threads=threads or chosen.number,
        device=device,
        address=address,
        max_runs_per_pack=max_runs_per_pack,
        gpus_per_pack=gpus_per_pack,
        hang_seconds=60 * hang_minutes or None,
        grace_seconds=grace_seconds,
        threads_reason="" if threads else chosen.reason,
    )


def packs_per_gpu(gpus_per_pack: float) -> int:
    """How many packs share one GPU if each takes this part of it."""
    return max(1, int(1.0 / gpus_per_pack + 1e-9))


def _packs_on_gpus(
    gpus_per_pack: float,
    backend: BackendName,
    n_workers: int | None,
    device: str | None,
    address: str | None,
    n_gpus: int,
) -> int:
    """How many packs this machine's GPUs hold; the arguments are those of `choose_options`."""
    option = f"--gpus-per-pack {gpus_per_pack:g}"
    is_share = _SMALLEST_SHARE <= gpus_per_pack <= 1
    if not is_share and not (gpus_per_pack > 1 and gpus_per_pack.is_integer()):
        raise ConfigError(
            f"{option}: must be a part of a GPU from {_SMALLEST_SHARE:g} to 1, such as 0.5 for two "
            "packs on each GPU, or a whole number of GPUs"
        )
    if device is not None and not device.startswith("cuda"):
        raise ConfigError(f"{option}: packs train on {device} (--device); leave one of both out")
    if backend == "local" and gpus_per_pack != 1:
        raise ConfigError(
            f"{option}: --backend local trains one pack at a time on one GPU; leave the option "
            "out, or use --backend ray"
        )
    whole = int(max(1, gpus_per_pack))
    n_fitting = n_gpus // whole * packs_per_gpu(gpus_per_pack)
    if address is not None:  # the GPUs of the cluster count, see `worker_resources`
        return n_fitting
    if not n_gpus:
        raise ConfigError(f"{option}: this machine has no NVIDIA GPU; leave the option out")
    if (n_workers or 1) > n_fitting and backend == "ray":
        needing = f"--workers {n_workers} need" if n_workers else "a pack needs"
        raise ConfigError(
            f"{option}: {needing} more GPUs than the {n_gpus} of this machine, which hold "
            f"{n_fitting} such packs; lower the share or the workers"
        )
    return n_fitting


def device_name(options: Options) -> str | None:
    """The name of the device that trains, as records have it; None on a cluster.

    It loads torch only where there is a GPU.
    """
    if options.address is not None:
        return None
    name = device_to_use(options.device)
    if not name.startswith("cuda"):
        return name
    import torch

    return torch.cuda.get_device_name(name) if torch.cuda.is_available() else "cpu"


def device_to_use(device: str | None) -> str:
    """The torch device that trains: the one that is named, or else a GPU if there is one."""
    return device or ("cuda" if count_gpus() else "cpu")


def count_gpus() -> int:
    """NVIDIA devices that this process may use, counted without loading torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in ("", "-1")])
    return len(list(Path("/dev").glob("nvidia[0-9]*")))
