"""Triton kernels that copy blocks of bins to dense patches of valid rows, and gradients back.

A patch is a few neighbouring blocks, so the gradient of a block is the sum over the patches that
contain it. Each program sums one block, in float32 and always in the same order.

Dimensions: R runs, P patches, B batch, V rows, N blocks, W width of a block, D width of a patch.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator"

import torch
import triton
import triton.language as tl
from torch import Tensor

N_ROWS, N_COLUMNS = 4, 1024  # of the tile that a program copies; 16 bytes and more a thread


@triton.jit(do_not_specialize=["V", "n_blocks", "B"])
def gather(
    blocks,
    index,
    patches,
    V,
    n_blocks,
    B,
    W: tl.constexpr,
    D: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
):
    """Rows of `patches` (R, V, D) from `blocks` (R, N B, W), n_blocks = N B."""
    n_tiles: tl.constexpr = (W + BN - 1) // BN
    span = tl.program_id(1) // n_tiles
    col = tl.program_id(1) % n_tiles * BN + tl.arange(0, BN)
    row = tl.program_id(0) * BM + tl.arange(0, BM)
    run = tl.program_id(2).to(tl.int64)
    block = tl.load(index + row, mask=row < V, other=0).to(tl.int64) + span * B
    mask = (row < V)[:, None] & ((col < W) & (span * W + col < D))[None, :]
    source = blocks + (run * n_blocks + block[:, None]) * W + col[None, :]
    target = patches + (run * V + row[:, None]) * D + span * W + col[None, :]
    tl.store(target, tl.load(source, mask=mask, other=0.0), mask=mask)


@triton.jit(do_not_specialize=["V", "n_blocks", "B", "n_positions"])
def spread(
    d_patches,
    row_at,
    d_blocks,
    V,
    n_blocks,
    B,
    n_positions,
    W: tl.constexpr,
    D: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
):
    """Blocks of `d_blocks` (R, N B, W); row_at: (P B,) the row at each position, or -1."""
    block = tl.program_id(0) * BM + tl.arange(0, BM)
    col = tl.program_id(1) * BN + tl.arange(0, BN)
    run = tl.program_id(2).to(tl.int64)
    total = tl.zeros((BM, BN), tl.float32)
    for span in tl.static_range((D + W - 1) // W):
        at = block - span * B
        inside = (at >= 0) & (at < n_positions)
        row = tl.load(row_at + at, mask=inside, other=-1).to(tl.int64)
        mask = (row >= 0)[:, None] & ((col < W) & (span * W + col < D))[None, :]
        source = d_patches + (run * V + row[:, None]) * D + span * W + col[None, :]
        total += tl.load(source, mask=mask, other=0.0).to(tl.float32)
    mask = (block < n_blocks)[:, None] & (col < W)[None, :]
    target = d_blocks + (run * n_blocks + block[:, None]) * W + col[None, :]
    tl.store(target, total.to(d_blocks.dtype.element_ty), mask=mask)


def gather_patches(blocks: Tensor, index: Tensor, patches: Tensor) -> None:
    """See `decoder.model.fused.row_patches.PatchKernels.gather_patches`."""
    R, N, B, W = blocks.shape
    _, V, D = patches.shape
    assert blocks.is_contiguous() and patches.is_contiguous()
    if not V:
        return
    columns = min(N_COLUMNS, triton.next_power_of_2(W))
    grid = triton.cdiv(V, N_ROWS), triton.cdiv(D, W) * triton.cdiv(W, columns), R
    with torch.cuda.device_of(blocks):
        gather[grid](blocks, index, patches, V, N * B, B, W=W, D=D, BM=N_ROWS, BN=columns)


def spread_gradient(d_patches: Tensor, index: Tensor, d_blocks: Tensor) -> None:
    """See `decoder.model.fused.row_patches.PatchKernels.spread_gradient`."""
    R, N, B, W = d_blocks.shape
    _, V, D = d_patches.shape
    assert d_blocks.is_contiguous() and d_patches.is_contiguous()
    n_positions = (N - triton.cdiv(D, W) + 1) * B
    row_at = index.new_full((n_positions,), -1)
    row_at[index] = torch.arange(V, device=index.device)
    columns = min(N_COLUMNS, triton.next_power_of_2(W))
    grid = triton.cdiv(N * B, N_ROWS), triton.cdiv(W, columns), R
    with torch.cuda.device_of(d_blocks):
        spread[grid](
            d_patches, row_at, d_blocks, V, N * B, B, n_positions, W=W, D=D, BM=N_ROWS, BN=columns
        )
