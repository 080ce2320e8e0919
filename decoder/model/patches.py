"""Patches: `patch_size` bins every `patch_stride` bins, the time steps of the decoder.

Patches overlap, so at the official sizes all patches together are 3.5 times as large as the bins.
The projection avoids building them: it cuts time into blocks of one stride, so that a patch is a
few neighbouring blocks, and adds one product for each of these. On a GPU one product over whole
patches is faster (34 against 43 ms for 16 runs of full size on an H100), so that they are built
there if they fit.

Dimensions: R runs, B batch, T bins, P patches, F features, S stride, N blocks, O outputs.
"""

from typing import Any

import torch
from torch import Tensor

from decoder.data.alignment import n_patches
from decoder.model.precision import autocast_inputs

# The projection builds patches on a GPU if they take at most this share of its memory.
DENSE_SHARE = 1 / 8


def n_blocks(n_patch: int, patch_size: int, patch_stride: int) -> int:
    """Number of blocks of one stride that contain `n_patch` patches."""
    return n_patch - 1 + -(-patch_size // patch_stride)


def to_blocks(x: Tensor, patch_size: int, patch_stride: int) -> Tensor:
    """Cut time into blocks of one stride, time-major.

    Args:
        x: (R, B, T, F) with T at least `patch_size`.

    Returns:
        (R, N, B, S F): the blocks that the patches need, padded with zeros.
    """
    R, B, T, F = x.shape
    n = n_blocks(n_patches(T, patch_size, patch_stride), patch_size, patch_stride)
    missing = n * patch_stride - T
    if missing > 0:
        x = torch.nn.functional.pad(x, (0, 0, 0, missing))
    else:
        x = x[:, :, : n * patch_stride]
    x = x.unflatten(2, (n, patch_stride)).transpose(1, 2)  # (R, N, B, S, F)
    return x.reshape(R, n, B, patch_stride * F)


def build_patches(blocks: Tensor, patch_size: int, patch_stride: int) -> Tensor:
    """Build the patches, for layers that need them as plain input.

    Args:
        blocks: (R, N, B, S F) from `to_blocks`.

    Returns:
        (R, P, B, patch_size F), bins of a patch in order, features innermost.
    """
    return _join(blocks, spans_of_patch(blocks.shape[-1], patch_size, patch_stride))


def project_patches(
    blocks: Tensor, weight: Tensor, bias: Tensor, patch_size: int, patch_stride: int
) -> Tensor:
    """``build_patches(blocks) @ weight.T + bias``, without building the patches on a CPU.

    Args:
        blocks: (R, N, B, S F) from `to_blocks`.
        weight: (R, O, patch_size F).
        bias: (R, O).

    Returns:
        (R, P, B, O).
    """
    spans = spans_of_patch(blocks.shape[-1], patch_size, patch_stride)
    blocks, weight, bias = autocast_inputs(blocks, weight, bias)
    n_bytes = blocks.nbytes * weight.shape[2] // blocks.shape[3]  # of the patches
    dense = builds_patches(blocks.device, n_bytes)
    out: Tensor = _ProjectPatches.apply(blocks, weight, bias, spans, dense)  # type: ignore[no-untyped-call]
    return out


def builds_patches(device: torch.device, n_bytes: int) -> bool:
    """Whether the projection builds patches of this size."""
    if device.type != "cuda":
        return False
    return n_bytes <= DENSE_SHARE * torch.cuda.get_device_properties(device).total_memory


def _join(blocks: Tensor, spans: list[tuple[int, int]]) -> Tensor:
    """The patches (R, P, B, patch_size F) of blocks (R, N, B, S F)."""
    P = blocks.shape[1] - len(spans) + 1
    parts = [blocks[:, j : j + P, :, : stop - start] for j, (start, stop) in enumerate(spans)]
    return torch.cat(parts, dim=-1)


def spans_of_patch(block_width: int, patch_size: int, patch_stride: int) -> list[tuple[int, int]]:
    """For each block of a patch, the range of weight columns that it is multiplied with."""
    width = block_width // patch_stride * patch_size
    return [(start, min(start + block_width, width)) for start in range(0, width, block_width)]


class _ProjectPatches(torch.autograd.Function):
    """The projection, from patches if `dense`; the gradient of the blocks adds up spans anyway."""

    @staticmethod
    def forward(
        ctx: Any,
        blocks: Tensor,
        weight: Tensor,
        bias: Tensor,
        spans: list[tuple[int, int]],
        dense: bool,
    ) -> Tensor:
        R, N, B, _ = blocks.shape
        width, P = weight.shape[1], N - len(spans) + 1
        ctx.spans, ctx.dense, ctx.shape = spans, dense, blocks.shape
        out = bias[:, None, :].expand(R, P * B, width)
        if dense:
            patches = _join(blocks, spans)
            ctx.save_for_backward(patches, weight)
            out = torch.baddbmm(out, patches.flatten(1, 2), weight.transpose(1, 2))
            return out.view(R, P, B, width)
        rows = blocks.flatten(1, 2)  # (R, N B, S F): the next patch is B rows further
        for j, (start, stop) in enumerate(spans):
            part = rows[:, j * B : (j + P) * B, : stop - start]
            out = torch.baddbmm(out, part, weight[:, :, start:stop].transpose(1, 2))
        ctx.save_for_backward(blocks, weight)
        return out.view(R, P, B, width)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        source, weight = ctx.saved_tensors  # patches or blocks
        R, P, B, width = grad.shape
        rows = source.flatten(1, 2)
        d_out = grad.reshape(R, P * B, width)
        d_weight = torch.empty_like(weight)
        if ctx.dense:
            torch.bmm(d_out.transpose(1, 2), rows, out=d_weight)
        d_blocks = source.new_zeros(ctx.shape) if ctx.needs_input_grad[0] else None
        for j, (start, stop) in enumerate(ctx.spans):
            here = slice(j * B, (j + P) * B)
            if not ctx.dense:
                part = rows[:, here, : stop - start]
                d_weight[:, :, start:stop] = torch.bmm(d_out.transpose(1, 2), part)
            if d_blocks is not None:
                d_rows = d_blocks.view(R, -1, ctx.shape[3])
                d_rows[:, here, : stop - start].baddbmm_(d_out, weight[:, :, start:stop])
        return d_blocks, d_weight, d_out.sum(1), None, None
