"""The patch projection over packed rows: the patches of the valid rows are built and multiplied.

One product over dense patches is faster on a GPU than `decoder.model.patches.project_patches`,
which adds one product for each block of a patch and rereads its output each time. The patches are
several times as large as the bins, so they are built for a few runs at a time, and again in the
backward pass.

Dimensions: R runs, P patches, B batch, V rows, F features, S stride, N blocks, O outputs.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from decoder.model.fused.rows import Rows
from decoder.model.inputs import LayerInput
from decoder.model.patches import spans_of_patch
from decoder.model.precision import autocast_inputs

# Patches that may be built at once.
MAX_PATCH_BYTES = 2**30


def row_patch_input(
    blocks: Tensor, rows: Rows | None, patch_size: int, patch_stride: int
) -> LayerInput:
    """The input of a layer that reads the patches of valid rows.

    Args:
        blocks: (R, N, B, S F) from `decoder.model.patches.to_blocks`.
        rows: the valid patches; None means all.
        patch_size: bins a patch spans.
        patch_stride: bins from one patch to the next.

    Returns:
        The input with axes (R, V, 1), or (R, P, B) without `rows`.
    """
    R, N, B, width = blocks.shape
    spans = spans_of_patch(width, patch_size, patch_stride)
    P = N - len(spans) + 1
    index = torch.arange(P * B, device=blocks.device) if rows is None else rows.index
    axes = (P, B) if rows is None else (len(index), 1)

    def dense() -> Tensor:
        flat = blocks.flatten(1, 2)
        parts = [
            flat[..., : stop - start].index_select(1, index + j * B)
            for j, (start, stop) in enumerate(spans)
        ]
        return torch.cat(parts, dim=-1).view(R, *axes, spans[-1][1])

    def project(weight: Tensor, bias: Tensor) -> Tensor:
        inputs = autocast_inputs(blocks, weight, bias)
        out: Tensor = _ProjectRows.apply(*inputs, index, spans)  # type: ignore[no-untyped-call]
        return out.view(R, *axes, weight.shape[1])

    return LayerInput(dense, project)


class _ProjectRows(torch.autograd.Function):
    """blocks (R, N, B, S F), weight (R, O, D), bias (R, O), index (V,) → (R, V, O)."""

    @staticmethod
    def forward(
        ctx: Any,
        blocks: Tensor,
        weight: Tensor,
        bias: Tensor,
        index: Tensor,
        spans: list[tuple[int, int]],
    ) -> Tensor:
        out = weight.new_empty(len(weight), len(index), weight.shape[1])
        for runs, patches in _patches(blocks, index, spans):
            torch.baddbmm(bias[runs, None], patches, weight[runs].mT, out=out[runs])
        ctx.spans = spans
        ctx.save_for_backward(blocks, weight, index)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        blocks, weight, index = ctx.saved_tensors
        B = blocks.shape[2]
        d_blocks = blocks.new_zeros(blocks.shape) if ctx.needs_input_grad[0] else None
        d_weight = torch.empty_like(weight)
        for runs, patches in _patches(blocks, index, ctx.spans):
            torch.bmm(grad[runs].mT, patches, out=d_weight[runs])
            if d_blocks is None:
                continue
            torch.bmm(grad[runs], weight[runs], out=patches)
            d_flat = d_blocks[runs].flatten(1, 2)
            for j, (start, stop) in enumerate(ctx.spans):  # within a span no block comes twice
                part = patches[..., start:stop]
                d_flat[..., : stop - start].index_add_(1, index + j * B, part)
        return d_blocks, d_weight, grad.sum(1), None, None


def _patches(
    blocks: Tensor, index: Tensor, spans: list[tuple[int, int]]
) -> Iterator[tuple[slice, Tensor]]:
    """Some runs, and their patches (r, V, D), in memory that the next runs use again."""
    R, _, B, _ = blocks.shape
    V, D = len(index), spans[-1][1]
    n_runs = max(1, min(R, MAX_PATCH_BYTES // max(1, V * D * blocks.element_size())))
    memory = blocks.new_empty(n_runs, V, D)
    flat = blocks.flatten(1, 2)
    for first in range(0, R, n_runs):
        runs = slice(first, min(first + n_runs, R))
        patches = memory[: runs.stop - first]
        for j, (start, stop) in enumerate(spans):
            part = flat[runs, :, : stop - start]
            torch.index_select(part, 1, index + j * B, out=patches[..., start:stop])
        yield runs, patches
