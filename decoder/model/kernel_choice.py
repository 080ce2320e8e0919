"""The implementation of a pack's recurrent layers: the fastest one, measured on its own batch.

Kernels differ in rounding, so a pack keeps the one it starts with, also when runs leave it or it is
resumed; `decoder.state` writes it into checkpoints.
"""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from decoder.life import show_sign
from decoder.model.cells import Kernel
from decoder.model.fused.available import can_fuse, why_not
from decoder.remarks import remark

_WARM_UP = 2  # a graph is captured by the second call
_REPEATS = 3


class Workload(NamedTuple):
    """What the speed of the recurrent layers depends on."""

    device: torch.device
    cell: str
    n_runs: int
    n_trials: int
    n_patches: int
    n_units: int
    n_layers: int
    n_directions: int
    dtype: torch.dtype


_chosen: dict[Workload, Kernel] = {}


def choose_kernel(workload: Workload, run: Callable[[Kernel], object]) -> Kernel:
    """The fastest implementation, measured once a process for each workload.

    On a CPU it is the batched one, without measuring: it is faster at every measured size,
    including R = 1 (benchmarks/README.md).

    Args:
        workload: what the choice is kept for.
        run: computes the layers with an implementation, forward and backward.

    Raises:
        Exception: what the last implementation raised, if none can run.
    """
    device = workload.device
    if device.type == "cpu":
        return "batched"
    if workload not in _chosen:
        candidates = candidate_kernels(device)
        _chosen[workload] = fastest_kernel(candidates, lambda k: _seconds(run, k, device))
    return _chosen[workload]


def default_kernel(device: torch.device) -> Kernel:
    """The kernel where nothing is trained, and none is measured."""
    if device.type == "cpu":
        return "batched"
    return "fused" if can_fuse(device) else "torch"


def candidate_kernels(device: torch.device) -> list[Kernel]:
    """The implementations that can run on a GPU; the user is told why the fused one cannot."""
    reason = why_not(device)
    if reason is None:
        return ["torch", "batched", "fused"]
    remark(
        f"{device}: {reason} Recurrent layers use PyTorch's own kernels instead: results are the "
        "same to rounding, and packs train more slowly"
    )
    return ["torch", "batched"]


def fastest_kernel(candidates: Sequence[Kernel], seconds: Callable[[Kernel], float]) -> Kernel:
    """The candidate that takes least time, among those that can be measured.

    Args:
        candidates: at least one.
        seconds: measures an implementation. If it raises, the implementation is left out and the
            user is told.

    Raises:
        Exception: what the last candidate raised, if all do.
    """
    times: dict[Kernel, float] = {}
    for kernel in candidates:
        try:
            times[kernel] = seconds(kernel)
        except Exception as error:  # out of memory, or any error of a compiler or driver
            if kernel == candidates[-1] and not times:
                raise
            what = (str(error).splitlines() or [""])[0]
            remark(
                f"the kernel '{kernel}' cannot be used for this pack ({type(error).__name__}: "
                f"{what}); the fastest of the others is used"
            )
    return min(times, key=lambda kernel: times[kernel])


def resumed_kernel(kernel: Kernel, device: torch.device) -> tuple[Kernel | None, str]:
    """The kernel for a pack that was trained with `kernel` so far.

    Returns:
        The same one and no text; or, if it cannot run here, None, so that one is chosen, and why.
    """
    reason = why_not(device) if kernel == "fused" else None
    if reason is None:
        return kernel, ""
    return None, (
        "the pack was trained with the kernel 'fused' and goes on with another, so that its "
        f"figures agree with uninterrupted training to rounding only. {reason}"
    )


def _seconds(run: Callable[[Kernel], object], kernel: Kernel, device: torch.device) -> float:
    """The shortest of a few times that `run` takes, without what the first calls prepare."""
    times = []
    try:
        for repeat in range(_WARM_UP + _REPEATS):
            show_sign()
            torch.accelerator.synchronize(device)
            started = time.perf_counter()
            run(kernel)
            torch.accelerator.synchronize(device)
            if repeat >= _WARM_UP:
                times.append(time.perf_counter() - started)
    finally:
        if device.type == "cuda":  # memory is as before, for the next candidate and for the record
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
    return min(times)
