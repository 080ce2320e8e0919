"""The memory that one pack may take: free on the GPUs, or on this machine and within its limits."""

import json
import math
import resource
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from decoder.memory import PROCESS_BYTES
from orchestrator.execute.machine import Options, device_to_use, packs_per_gpu

_SHARE = 0.9  # of what is free now; others need some too, and memory is not used up seamlessly
# Addresses that libraries of a worker take beside its packs: torch and the modules of training
# here, and Ray's own in a worker of Ray. Only limits on addresses (ulimit -v) count them.
_ADDRESSES = {"local": 5 * 2**28, "ray": 3 * 2**30}
_REPORT_ADDRESSES = 2**27  # what tables and figures take in a process that has loaded torch
_GPU_SECONDS = 120.0
_GPU_CODE = """
import json, torch
print(json.dumps([torch.cuda.mem_get_info(i)[0] for i in range(torch.cuda.device_count())]))
"""


@dataclass(frozen=True)
class FreeMemory:
    """What the tensors of one pack may take.

    Attributes:
        n_bytes: if as many packs train at the same time as the options say.
        source: what limits it, as text for the user.
        n_sharing: packs that share a GPU, each with `n_bytes`.
    """

    n_bytes: int
    source: str
    n_sharing: int = 1


def free_memory(options: Options) -> FreeMemory | None:
    """The memory that a pack may take now; None if nothing says so, as on a cluster.

    Only a machine with a GPU loads torch for it, in a process of its own, so that this one holds
    no memory of the GPU.
    """
    if options.address is not None:
        return None
    device = device_to_use(options.device)
    if device.startswith("cuda"):
        return _of_gpus(device, options)
    limits = dict(_host_limits(Path("/proc"), Path("/sys/fs/cgroup")))
    shared = {
        source: n_bytes / options.at_a_time - PROCESS_BYTES for source, n_bytes in limits.items()
    }
    shared |= _address_limit(options)
    if not shared:
        return None
    source = min(shared, key=lambda name: shared[name])
    return FreeMemory(max(0, int(_SHARE * shared[source])), source)


def _of_gpus(device: str, options: Options) -> FreeMemory | None:
    """The free memory of the GPU that has least, for each of the packs that share it."""
    free = _gpu_bytes()
    _, _, number = device.partition(":")
    if options.backend == "local" or number:
        free = free[int(number or 0) : int(number or 0) + 1]
    if not free:
        return None
    n_sharing = math.ceil(options.at_a_time / len(free))
    if options.gpus_per_pack is not None:  # Ray fills one GPU before it takes the next
        n_sharing = min(options.at_a_time, packs_per_gpu(options.gpus_per_pack))
    return FreeMemory(int(_SHARE * min(free) / n_sharing), "on the GPU", n_sharing)


@cache
def _gpu_bytes() -> tuple[int, ...]:
    """The free bytes of each GPU that this process may use; empty if they cannot be asked."""
    command = [sys.executable, "-c", _GPU_CODE]
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=_GPU_SECONDS, check=True
        )
        return tuple(json.loads(answer.stdout.splitlines()[-1]))
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return ()


def _host_limits(proc: Path, cgroups: Path) -> Iterator[tuple[str, int]]:
    """What is free on this machine, and in each control group that this process is in.

    Args:
        proc, cgroups: where the system shows them.
    """
    available = _fields(proc / "meminfo").get("MemAvailable:")
    if available is not None:
        yield "on this machine", available * 1024
    try:
        groups = (proc / "self" / "cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    free = []
    for line in groups:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, names = cgroups, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            root = cgroups / "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        own = root / path.lstrip("/")
        for folder in (own, *own.parents):  # a group above may have the lower limit
            free += _free_in_group(folder, *names)
            if folder == root:
                break
    if free:
        yield "in the control group", min(free)


def _free_in_group(folder: Path, limit: str, used: str, droppable: str) -> list[int]:
    """The free bytes of a control group; empty if it has no limit or shows none."""
    try:
        most = (folder / limit).read_text(encoding="utf-8").strip()
        taken = int((folder / used).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    if not most.isdigit() or int(most) >= 2**60:  # "max"; version 1 has a huge number instead
        return []
    return [max(0, int(most) - taken + _fields(folder / "memory.stat").get(droppable, 0))]


def _fields(path: Path) -> dict[str, int]:
    """The numbers of a file of names and numbers; empty if it cannot be read."""
    try:
        lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    except OSError:
        return {}
    return {line[0]: int(line[1]) for line in lines if len(line) > 1 and line[1].isdigit()}


def _address_limit(options: Options) -> dict[str, float]:
    """What a limit on the addresses of a process (``ulimit -v``) leaves, if there is one."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return {}
    used = _ADDRESSES[options.backend]
    if options.backend == "local":
        present = _fields(Path("/proc/self/status")).get("VmSize:", 0) * 1024
        used = present + _REPORT_ADDRESSES if "torch" in sys.modules else max(used, present)
    return {"under ulimit -v": float(limit - used)}
