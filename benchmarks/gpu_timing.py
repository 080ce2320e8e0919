"""What a step costs on a device: time, memory, kernel launches, and its share of the matrix rate.

Dimensions: B batch, F features, C classes, N directions, H units.
"""

import gc
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from decoder.config import DecoderConfig
from decoder.data.alignment import n_patches, output_lengths

Step = Callable[[], object]

_LAUNCHES = ("cudaLaunchKernel", "cuLaunchKernel", "cudaGraphLaunch", "cuGraphLaunch")
_WAITS = (
    "cudaStreamSynchronize",
    "cudaEventSynchronize",
    "cudaDeviceSynchronize",
    "cuStreamSynchronize",
    "cuEventSynchronize",
)


class Activity(NamedTuple):
    """What a GPU does in one step.

    Attributes:
        kernels: kernels that run on the GPU, those in graphs included.
        launches: calls by which the host launches a kernel or a graph.
        waits: calls in which the host waits for the GPU.
        busy_ms: sum of the times of the kernels, of which some may run beside each other.
    """

    kernels: float
    launches: float
    waits: float
    busy_ms: float


def synchronize(device: str) -> None:
    """Wait for all work of a GPU."""
    if device != "cpu":
        torch.cuda.synchronize(device)


def fresh(device: str) -> int:
    """Free what is unused and start measuring the peak of memory; the bytes in use now."""
    gc.collect()
    if device == "cpu":
        return 0
    torch.cuda.synchronize(device)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


def peak_gib(device: str, before: int = 0) -> float:
    """Peak memory beyond `before`: allocated on a GPU since `fresh`, resident on a CPU."""
    if device == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return (torch.cuda.max_memory_allocated(device) - before) / 2**30


def ms_in_turn(
    steps: Mapping[str, Step], device: str, seconds: float, n_rounds: int = 3
) -> dict[str, float]:
    """Milliseconds a step of each kind, which alternate; medians over the rounds.

    A round is a number of steps without waiting between them, as in training.

    Args:
        steps: ways to do a step, warmed up.
        device: where they run.
        seconds: about how long the rounds of one way take in all.
        n_rounds: of each way.
    """
    n_steps = {}
    for name, step in steps.items():
        once = _seconds_of(step, 1, device)
        n_steps[name] = max(1, min(20, round(seconds / n_rounds / once)))
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(n_rounds):
        for name, step in steps.items():
            times[name].append(1e3 * _seconds_of(step, n_steps[name], device) / n_steps[name])
    return {name: statistics.median(values) for name, values in times.items()}


def _seconds_of(step: Step, n_steps: int, device: str) -> float:
    synchronize(device)
    started = time.perf_counter()
    for _ in range(n_steps):
        step()
    synchronize(device)
    return time.perf_counter() - started


def matrix_rate(device: str, precision: str, size: int = 8192) -> float:
    """FLOP a second of a large matrix product in a precision: the best of some."""
    if device == "cpu":
        size = 512
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    a = torch.randn(size, size, device=device, dtype=dtype)
    b = torch.randn(size, size, device=device, dtype=dtype)
    torch.mm(a, b)
    seconds = [_seconds_of(lambda: torch.mm(a, b), 4, device) / 4 for _ in range(5)]
    return 2 * size**3 / min(seconds)


def step_flop(config: DecoderConfig, n_bins: Tensor, n_features: int, n_classes: int) -> float:
    """FLOP of the matrix products that a step of one run needs, forward and backward.

    They count valid bins and patches. Only the recurrent layers of a decoder with two directions
    need the padding, which they read.

    Args:
        config: of the run, with a GRU.
        n_bins: (B,) valid bins.
        n_features: F.
        n_classes: C.
    """
    model = config.model
    H, N = model.n_units, 1 + model.bidirectional
    valid = int(output_lengths(n_bins, model).sum())
    longest = int(n_patches(n_bins.max(), model.patch_size, model.patch_stride))
    patches = longest * len(n_bins) if model.bidirectional else valid
    day = int(n_bins.sum()) * n_features**2 if model.day_layer != "none" else 0
    inputs = [model.patch_size * n_features] + [N * H] * (model.n_layers - 1)
    recurrent = patches * sum(N * 3 * H * (width + H) for width in inputs)
    head = valid * N * H * n_classes
    # Backward has two products for each one forward, but no gradient of the features is needed.
    return 2.0 * (2 * day + 3 * (recurrent + head))


def activity(step: Step, device: str, n_steps: int = 2) -> Activity | None:
    """What the GPU does in a step, from the profiler; None on a CPU."""
    if device == "cpu":
        return None
    activities = [ProfilerActivity.CPU, ProfilerActivity.CUDA]
    with profile(activities=activities) as profiler:
        for _ in range(n_steps):
            step()
    kernels, launches, waits, busy_us = 0, 0, 0, 0.0
    for event in profiler.events() or ():
        if event.device_type == DeviceType.CUDA:
            if event.is_user_annotation or event.name.startswith(("Memcpy", "Memset")):
                continue
            kernels += 1
            busy_us += event.time_range.elapsed_us()
        elif event.name.startswith(_LAUNCHES):
            launches += 1
        elif event.name in _WAITS:
            waits += 1
    waits -= 1  # the profiler's own, at its end
    return Activity(*[n / n_steps for n in (kernels, launches, max(waits, 0), busy_us / 1e3)])


def print_profile(step: Step, device: str, n_steps: int = 3) -> None:
    """Print the twelve operations that take most time in some steps."""
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device != "cpu" else [])
    with profile(activities=activities) as profiler:
        for _ in range(n_steps):
            step()
        synchronize(device)
    key = "self_cpu_time_total" if device == "cpu" else "self_device_time_total"
    print(profiler.key_averages().table(sort_by=key, row_limit=12, max_name_column_width=60))
