"""The CPUs that this process may use, how many of them are idle, and how many threads that gives.

An OpenMP thread waits for the others of its step, so one thread too many on busy CPUs makes a step
many times slower.
"""

import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from decoder.remarks import remark

THREADS_VARIABLE = "OMP_NUM_THREADS"


class Cpus(NamedTuple):
    """The CPUs of this process.

    Attributes:
        n_usable: those that its affinity and the quota of its control group allow.
        n_idle: those of them that the load of other processes leaves.
    """

    n_usable: int
    n_idle: int


class Threads(NamedTuple):
    """How many threads each worker gets.

    Attributes:
        number: at least one.
        reason: why it is not an equal share of the CPUs, as text for the user; empty if it is.
    """

    number: int
    reason: str = ""


def find_cpus(groups: Path = Path("/sys/fs/cgroup")) -> Cpus:
    """The CPUs of this process, now.

    Args:
        groups: where the system shows control groups.
    """
    n_cpus = os.cpu_count() or 1
    n_usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else n_cpus
    n_usable = max(1, min(n_usable, _quota(groups)))
    # The load counts the whole machine: CPUs that this process may not use take their part of it.
    n_busy = max(0.0, os.getloadavg()[0] - (n_cpus - n_usable))
    return Cpus(n_usable, max(0, n_usable - round(n_busy)))


def choose_threads(
    cpus: Cpus, n_workers: int = 1, environment: Mapping[str, str] | None = None
) -> Threads:
    """The threads of each of some workers that run at the same time.

    ``OMP_NUM_THREADS`` decides if it is set; else it is an equal share of the idle CPUs.

    Args:
        environment: None takes that of this process.
    """
    value = (os.environ if environment is None else environment).get(THREADS_VARIABLE, "")
    share = max(1, cpus.n_usable // n_workers)
    asked = value.partition(",")[0].strip()
    if asked.isdecimal() and int(asked) > 0:
        number = int(asked)
        reason = f"{THREADS_VARIABLE} is {number}" if number != share else ""
        return Threads(number, reason)
    number = min(share, max(1, cpus.n_idle // n_workers))
    n_busy = cpus.n_usable - cpus.n_idle
    reason = f"{n_busy} of {cpus.n_usable} CPUs are busy" if number < share else ""
    return Threads(number, reason)


def limit_threads() -> None:
    """Let torch use as many threads in this process as `choose_threads` gives; remark on it."""
    import torch

    threads = choose_threads(find_cpus())
    torch.set_num_threads(min(threads.number, torch.get_num_threads()))
    if threads.reason and THREADS_VARIABLE not in os.environ:
        remark(f"threads: {threads.number}, because {threads.reason}")


def _quota(groups: Path) -> int:
    """The CPUs that control groups allow this process, rounded up; many if none sets a limit."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return sys.maxsize
    quotas = [sys.maxsize]
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root = groups
        elif "cpu" in controllers.split(","):
            root = groups / controllers
        else:
            continue
        own = root / path.lstrip("/")
        for folder in (own, *own.parents):  # a group above may have the lower limit
            quotas.append(_quota_of(folder))
            if folder == root:
                break
    return min(quotas)


def _quota_of(folder: Path) -> int:
    """The CPUs that one control group allows, in version 2 or 1; many if it sets no limit."""
    try:
        try:
            quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
        except FileNotFoundError:
            names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            quota, period = ((folder / name).read_text(encoding="utf-8").strip() for name in names)
        return math.ceil(int(quota) / int(period)) if int(quota) > 0 else sys.maxsize
    except (OSError, ValueError):
        return sys.maxsize  # there is none, or "max"
