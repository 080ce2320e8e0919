"""The input of every run as a weighted sum of components, on a GPU.

On a CPU one matrix product of all smoothed components is fastest, see `decoder.augment`. On a GPU,
where moving memory is what takes time, the sum is written once, in the number format that the
decoder computes in, and (R, B, T, F) values exist in no other format. A Triton kernel cuts, smooths
and adds up in one pass; without Triton there are one pass for each run and component, and one for
each run that rounds.

Dimensions: R runs, N components, B batch, T bins, F features.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from decoder.host import constant, send
from decoder.model.fused.available import COMPILE_OPTIONS, why_not
from decoder.sections import AugmentConfig
from decoder.smoothing import smooth_batch, taps_of

# Values of a trial that a program handles, and runs that it handles together.
TILE = 512
MAX_RUNS = 16


def combine(
    components: Sequence[Tensor],
    strengths: Sequence[Sequence[float]],
    cut: int,
    config: AugmentConfig,
    dtype: torch.dtype,
) -> Tensor:
    """Cut and smooth the components, and add them up for every run.

    The sum is computed in float32 and rounded once, at the end. The decoder's first product would
    round a float32 sum in the same way, so bfloat16 changes nothing there. The official T15 trainer
    also adds in float32, but rounds before smoothing, whose convolution is under autocast as well.

    Args:
        components: N times (B, T, F) float32, which may repeat a bin by a step of 0.
        strengths: for each component the factor of every run, N times R.
        cut: bins cut off the front.
        config: the fields ``smooth*`` are read.
        dtype: of the result.

    Returns:
        (R, B, T - cut, F).
    """
    if why_not(components[0].device) is None:
        return combine_by_kernel(components, strengths, cut, config, dtype)
    return combine_plainly(components, strengths, cut, config, dtype)


def combine_plainly(
    components: Sequence[Tensor],
    strengths: Sequence[Sequence[float]],
    cut: int,
    config: AugmentConfig,
    dtype: torch.dtype,
) -> Tensor:
    """`combine` by operations of torch."""
    parts = [smooth_batch(component[:, cut:], config) for component in components]
    x = parts[0].new_empty(len(strengths[0]), *parts[0].shape, dtype=dtype)
    for row, of_run in enumerate(zip(*strengths, strict=True)):
        total = x[row] if dtype == torch.float32 else torch.empty_like(parts[0])
        torch.mul(parts[0], of_run[0], out=total)
        for part, strength in zip(parts[1:], of_run[1:], strict=True):
            if strength:
                total.add_(part, alpha=strength)
        if total.dtype != dtype:
            x[row] = total
    return x


def combine_by_kernel(
    components: Sequence[Tensor],
    strengths: Sequence[Sequence[float]],
    cut: int,
    config: AugmentConfig,
    dtype: torch.dtype,
    tile: int = TILE,
) -> Tensor:
    """`combine` by the Triton kernel; `tile` is a power of two."""
    import triton

    from decoder.input_kernels import combine as kernel

    B, T, F = components[0].shape
    device, R = components[0].device, len(strengths[0])
    components = [c if c.stride(2) == 1 else c.contiguous() for c in components]
    rows = [[c.data_ptr(), c.stride(0), c.stride(1)] for c in components]
    taps = tuple(taps_of(config)) if config.smooth else (1.0,)
    before = len(taps) - 1 if config.smooth_causal else (len(taps) - 1) // 2
    of_runs = constant(tuple(s for of_run in zip(*strengths, strict=True) for s in of_run), device)
    x = torch.empty(R, B, T - cut, F, dtype=dtype, device=device)
    n_runs = min(MAX_RUNS, triton.next_power_of_2(R))
    with torch.cuda.device_of(x):
        kernel[(triton.cdiv((T - cut) * F, tile), B, triton.cdiv(R, n_runs))](
            send(rows, torch.empty(0, dtype=torch.int64, device=device)),
            len(components),
            of_runs,
            R,
            constant(taps, device),
            len(taps),
            before,
            cut,
            x,
            B,
            T - cut,
            F=F,
            RUNS=n_runs,
            TILE=tile,
            **COMPILE_OPTIONS,
        )
    return x
