"""The steps of a GRU layer over packed rows by Triton's kernels.

Importing this module needs Triton; `decoder.model.fused.available` says whether it works.

Dimensions: R runs, P steps, B batch, V rows, K inputs, O outputs, H units.
"""

import functools
from typing import NamedTuple

import torch
import triton
from torch import Tensor

from decoder.model.fused import gru_kernels
from decoder.model.fused.available import COMPILE_OPTIONS

# A pack of this many runs fills the multiprocessors of a large GPU with wide tiles.
N_RUNS_FOR_WIDE_TILES = 12
# Compute capabilities of A100, H100, B200 and B300.
LARGE_MEMORY = {(8, 0), (9, 0), (10, 0), (10, 3)}


class Tiles(NamedTuple):
    """The work of one program: rows × columns, summed in pieces; its warps; its loads ahead."""

    rows: int
    columns: int
    inner: int
    n_warps: int
    n_stages: int


def step_tiles(n_trials: int, n_runs: int, dtype: torch.dtype) -> Tiles:
    """Tiles of a step; those of bfloat16 were the fastest of eleven on an H100 for 64 trials."""
    rows = max(16, triton.next_power_of_2(n_trials))
    if dtype == torch.float32:  # products without tensor cores keep their operands in registers
        return Tiles(min(rows, 32), 32, 16, 4, 2)
    if n_runs >= N_RUNS_FOR_WIDE_TILES:
        return Tiles(min(rows, 64), 64, 64, 4, 3)
    return Tiles(min(rows, 64), 32, 64, 4, 4)


def product_tiles(dtype: torch.dtype, is_large: bool) -> Tiles:
    """Tiles of the product of a chunk's rows with a weight, on a GPU of large shared memory or not.

    They are not measured yet.
    """
    if dtype == torch.float32:
        return Tiles(32, 32, 16, 4, 2)
    return Tiles(128, 128, 64, 8, 3) if is_large else Tiles(128, 64, 64, 4, 3)


@functools.cache
def has_large_memory(device: torch.device) -> bool:
    """Whether a multiprocessor has 160 KiB of shared memory or more, as in a data centre, or 99."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) in LARGE_MEMORY


def forward_steps(
    gates_in: Tensor,
    w_hh: Tensor,
    b_hn: Tensor,
    states: Tensor,
    saved: Tensor,
    offsets: Tensor,
    n_active: Tensor,
    start: int,
    stop: int,
) -> None:
    """See `decoder.model.fused.steps.StepKernels.forward_steps`."""
    R, V, H, B = _shape(saved, states)
    _check(w_hh, b_hn, states, saved, offsets, n_active)
    assert gates_in.stride(2) == 1 and gates_in.stride(0) == V * gates_in.stride(1)
    tiles = step_tiles(B, R, states.dtype)
    with torch.cuda.device_of(states):
        for step in range(start, stop):
            gru_kernels.forward_step[_grid(B, H, R, tiles)](
                gates_in,
                w_hh,
                b_hn,
                states,
                saved,
                offsets,
                n_active,
                step,
                V,
                B,
                IN=gates_in.stride(1),
                H=H,
                **launch_options(tiles),
            )


def backward_steps(
    grad: Tensor,
    w_hh: Tensor,
    states: Tensor,
    saved: Tensor,
    d_gates: Tensor,
    carried: Tensor,
    d_h0: Tensor,
    offsets: Tensor,
    n_active: Tensor,
    start: int,
    stop: int,
) -> None:
    """See `decoder.model.fused.steps.StepKernels.backward_steps`."""
    R, V, H, B = _shape(saved, states)
    _check(grad, w_hh, states, saved, d_gates, carried, d_h0, offsets, n_active)
    tiles = step_tiles(B, R, states.dtype)
    with torch.cuda.device_of(states):
        for step in range(stop - 1, start - 1 if start else -2, -1):
            gru_kernels.backward_step[_grid(B, H, R, tiles)](
                grad,
                w_hh,
                states,
                saved,
                d_gates,
                carried,
                d_h0,
                offsets,
                n_active,
                step,
                V,
                B,
                H=H,
                **launch_options(tiles),
            )


def multiply_rows(
    x: Tensor,
    weight: Tensor,
    out: Tensor,
    offsets: Tensor,
    start: int,
    stop: int,
    *,
    n_trials: int,
    bias: Tensor | None = None,
    factors_in: Tensor | None = None,
    factors_out: Tensor | None = None,
    add: bool = False,
) -> None:
    """See `decoder.model.fused.steps.StepKernels.multiply_rows`."""
    R, K, N = weight.shape
    tiles = product_tiles(x.dtype, has_large_memory(x.device))
    assert all(t is None or t.stride(-1) == 1 for t in (x, out, bias, factors_in, factors_out))
    with torch.cuda.device_of(x):
        gru_kernels.multiply_rows[_grid((stop - start) * n_trials, N, R, tiles)](
            x,
            weight,
            bias,
            factors_in,
            factors_out,
            out,
            offsets,
            start,
            stop,
            *x.stride()[:2],
            *weight.stride(),
            0 if bias is None else bias.stride(0),
            *_row_strides(factors_in),
            *_row_strides(factors_out),
            *out.stride()[:2],
            K=K,
            N=N,
            ADD=add,
            **launch_options(tiles),
        )


def _shape(saved: Tensor, states: Tensor) -> tuple[int, int, int, int]:
    """R, V, H, B."""
    R, V, width = saved.shape
    return R, V, width // 4, states.shape[1] - V


def _check(*tensors: Tensor) -> None:
    assert all(t.is_contiguous() for t in tensors), "the kernels read plain memory"


def _row_strides(factors: Tensor | None) -> tuple[int, int]:
    """Distances of runs and rows; runs that share their factors are at the same place."""
    if factors is None:
        return 0, 0
    return factors.stride(0) if len(factors) > 1 else 0, factors.stride(1)


def _grid(n_rows: int, n_columns: int, n_runs: int, tiles: Tiles) -> tuple[int, int, int]:
    return triton.cdiv(n_columns, tiles.columns), triton.cdiv(n_rows, tiles.rows), n_runs


def launch_options(tiles: Tiles) -> dict[str, int | bool]:
    """The arguments of every kernel that follow from its tiles, and how it is compiled."""
    return {
        "WIDEN": triton.knobs.runtime.interpret,
        "BM": tiles.rows,
        "BN": tiles.columns,
        "BK": tiles.inner,
        "num_warps": tiles.n_warps,
        "num_stages": tiles.n_stages,
        **COMPILE_OPTIONS,
    }
