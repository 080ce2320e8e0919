"""The patch projection over packed rows: the patches of the valid rows are built and multiplied.

One product over dense patches is faster on a GPU than `decoder.model.patches.project_patches`,
which adds one product for each block of a patch and rereads its output each time. The patches are
several times as large as the bins, so they are built for a few runs at a time, and again in the
backward pass.

Dimensions: R runs, P patches, B batch, V rows, F features, S stride, N blocks, D inputs, O outputs.
"""

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor

from decoder.model.fused.rows import Rows
from decoder.model.inputs import LayerInput
from decoder.model.patches import build_patches, spans_of_patch
from decoder.model.precision import autocast_inputs

# Patches that may be built at once.
MAX_PATCH_BYTES = 2**30


class PatchKernels(Protocol):
    """An implementation of the copies, as functions of a module."""

    def gather_patches(self, blocks: Tensor, index: Tensor, patches: Tensor) -> None:
        """Build patches (R, V, D) from blocks (R, N, B, S F).

        index: (V,) int64, the position ``p * B + b`` of each row.
        """

    def spread_gradient(self, d_patches: Tensor, index: Tensor, d_blocks: Tensor) -> None:
        """Set d_blocks (R, N, B, S F) to the gradient of the blocks."""


def row_patch_input(
    blocks: Tensor,
    rows: Rows | None,
    patch_size: int,
    patch_stride: int,
    kernels: PatchKernels,
) -> LayerInput:
    """The input of a layer that reads the patches of valid rows.

    Args:
        blocks: (R, N, B, S F) from `decoder.model.patches.to_blocks`.
        rows: the valid patches; None means all.
        patch_size: bins a patch spans.
        patch_stride: bins from one patch to the next.
        kernels: the implementation of the copies.

    Returns:
        The input with axes (R, V, 1), or (R, P, B) without `rows`.
    """
    R, N, B, width = blocks.shape
    spans = spans_of_patch(width, patch_size, patch_stride)
    P = N - len(spans) + 1
    index = torch.arange(P * B, device=blocks.device) if rows is None else rows.index
    axes = (P, B) if rows is None else (len(index), 1)

    def dense() -> Tensor:
        if rows is None:
            return build_patches(blocks, patch_size, patch_stride)
        flat = blocks.flatten(1, 2)
        parts = [
            flat[..., : stop - start].index_select(1, index + j * B)
            for j, (start, stop) in enumerate(spans)
        ]
        return torch.cat(parts, dim=-1).unsqueeze(2)

    def project(weight: Tensor, bias: Tensor) -> Tensor:
        inputs = autocast_inputs(blocks, weight, bias)
        out: Tensor = _ProjectRows.apply(*inputs, index, kernels)  # type: ignore[no-untyped-call]
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
        kernels: PatchKernels,
    ) -> Tensor:
        blocks = blocks.contiguous()
        out = weight.new_empty(len(weight), len(index), weight.shape[1])
        for runs, patches in _some_runs(blocks, index, weight.shape[2]):
            kernels.gather_patches(blocks[runs], index, patches)
            torch.baddbmm(bias[runs, None], patches, weight[runs].mT, out=out[runs])
        ctx.kernels = kernels
        ctx.save_for_backward(blocks, weight, index)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        blocks, weight, index = ctx.saved_tensors
        kernels = ctx.kernels
        d_blocks = torch.empty_like(blocks) if ctx.needs_input_grad[0] else None
        d_weight = torch.empty_like(weight)
        for runs, patches in _some_runs(blocks, index, weight.shape[2]):
            kernels.gather_patches(blocks[runs], index, patches)
            torch.bmm(grad[runs].mT, patches, out=d_weight[runs])
            if d_blocks is not None:
                torch.bmm(grad[runs], weight[runs], out=patches)
                kernels.spread_gradient(patches, index, d_blocks[runs])
        return d_blocks, d_weight, grad.sum(1), None, None


def gather_patches(blocks: Tensor, index: Tensor, patches: Tensor) -> None:
    """See `PatchKernels.gather_patches`."""
    for here, span in _spans(blocks, index, patches):
        torch.index_select(blocks.flatten(1, 2)[..., : span.shape[-1]], 1, here, out=span)


def spread_gradient(d_patches: Tensor, index: Tensor, d_blocks: Tensor) -> None:
    """See `PatchKernels.spread_gradient`."""
    flat = d_blocks.zero_().flatten(1, 2)
    for here, span in _spans(d_blocks, index, d_patches):  # within a span no block comes twice
        flat[..., : span.shape[-1]].index_add_(1, here, span)


def _spans(blocks: Tensor, index: Tensor, patches: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """For each block of a patch, where it is and the columns (R, V, S F or fewer) it fills."""
    B, width = blocks.shape[2:]
    for j, span in enumerate(patches.split(width, dim=-1)):
        yield index + j * B, span


def _some_runs(blocks: Tensor, index: Tensor, width: int) -> Iterator[tuple[slice, Tensor]]:
    """A few runs at a time, and memory for their patches (r, V, D), which the next ones reuse."""
    R, V = len(blocks), len(index)
    n_runs = max(1, min(R, MAX_PATCH_BYTES // max(1, V * width * blocks.element_size())))
    memory = blocks.new_empty(n_runs, V, width)
    for first in range(0, R, n_runs):
        runs = slice(first, min(first + n_runs, R))
        yield runs, memory[: runs.stop - first]
