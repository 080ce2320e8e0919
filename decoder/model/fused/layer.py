"""GRU layers over packed rows, forward and backward, for any implementation of their steps.

One layer, or a stack of layers of one direction, from its input and its weights as in
`torch.nn.GRU`. With a cache, `decoder.model.fused.stack` runs them over static buffers.

Dimensions: R runs (N R with N directions), P steps, B batch, V rows, D inputs, H units.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from decoder.model.cells import (
    CellWeights,
    join_directions,
    part_directions,
    stack_directions,
)
from decoder.model.dropout import DropoutPlan
from decoder.model.fused import plain_steps, row_patches
from decoder.model.fused.graphs import GraphCache
from decoder.model.fused.row_patches import PatchKernels
from decoder.model.fused.rows import Rows, all_rows
from decoder.model.fused.stack import StackLayer, stack_states
from decoder.model.fused.steps import StepKernels, hidden_gradients
from decoder.model.inputs import LayerInput
from decoder.model.precision import autocast_inputs

RowKernel = Literal["rows", "fused"]


def step_kernels(kernel: RowKernel) -> StepKernels:
    """The implementation of the steps: plain torch for ``rows``, Triton for ``fused``."""
    if kernel == "rows":
        return plain_steps
    from decoder.model.fused import triton_steps  # needs Triton, which not every machine has

    return triton_steps


def patch_kernels(kernel: RowKernel) -> PatchKernels:
    """The implementation of the copies of patches, likewise."""
    if kernel == "rows":
        return row_patches
    from decoder.model.fused import patch_kernels  # needs Triton

    return patch_kernels


def n_first(gates: Tensor) -> Tensor:
    """(R, 3H, ...) in the order r, z, n → n, r, z, see `decoder.model.fused.steps`."""
    return gates.roll(gates.shape[1] // 3, 1)


def input_bias(weights: CellWeights) -> Tensor:
    """(R, 3H) what is added on the input side: b_ih, and the r and z parts of b_hh.

    The reset gate also multiplies the n part of b_hh, which therefore stays on the hidden side.
    """
    H = weights.w_hh.shape[-1]
    b_rz = torch.cat([weights.b_hh[:, : 2 * H], torch.zeros_like(weights.b_hh[:, 2 * H :])], 1)
    return weights.b_ih + b_rz


def packed_layer(
    source: LayerInput,
    directions: Sequence[CellWeights],
    h0: Tensor,
    rows: Rows | None,
    kernels: StepKernels,
    cache: GraphCache | None = None,
) -> Tensor:
    """Run one GRU layer over the rows of a batch, for every run.

    Args:
        source: the layer's input: (R, V, 1, D), or (R, P, B, D) without `rows`.
        directions: the weights of the forward direction, and of the backward direction if there is
            one, which needs the padding, that is, no `rows`.
        h0: (R, B, H) initial state of each direction.
        rows: the valid patches; None computes all patches, including the padding.
        kernels: the implementation of the steps.
        cache: buffers and graphs, which this layer shares with no other one; None runs the steps
            without.

    Returns:
        (R, V, 1, H), or (R, P, B, N H) without `rows`.
    """
    assert rows is None or len(directions) == 1, "a backward direction reads the padding"
    H = h0.shape[-1]
    w_ih, bias = [n_first(d.w_ih) for d in directions], [n_first(input_bias(d)) for d in directions]
    gates_in = join_directions(source, w_ih, bias)  # (N R, V, 1, 3H) or (N R, P, B, 3H)
    w_hh = stack_directions([d.w_hh for d in directions])
    b_hn = stack_directions([d.b_hh[:, 2 * H :] for d in directions])
    if rows is None:
        rows = all_rows(*gates_in.shape[1:3], gates_in.device)
    h0 = stack_directions([rows.sort_trials(h0) for _ in directions])
    packed, low_w_hh, low_h0 = autocast_inputs(gates_in.flatten(1, 2), w_hh, h0)
    if cache is None:
        out: Tensor = _PackedGRU.apply(packed, low_w_hh, b_hn, low_h0, rows, kernels)  # type: ignore[no-untyped-call]
    else:
        layer = StackLayer(w_hh, b_hn, None, None)
        [out] = stack_states(packed, [layer], h0, [], rows, kernels, cache)
    return part_directions(out.view(*gates_in.shape[:3], H), len(directions))


def packed_stack(
    source: LayerInput,
    weights: Sequence[CellWeights],
    h0: Tensor,
    dropout: DropoutPlan | None,
    rows: Rows | None,
    kernels: StepKernels,
    cache: GraphCache,
) -> list[Tensor]:
    """Run all layers of a GRU of one direction, for every run.

    Args:
        source: the input of the first layer: (R, V, 1, D), or (R, P, B, D) without `rows`.
        weights: of each layer, gates r, z, n.
        h0: (R, B, H) initial state of every layer.
        dropout: masks between the layers; None means no dropout.
        rows: the valid patches; None computes all patches, including the padding.
        kernels: the implementation of the steps.
        cache: holds buffers and graphs.

    Returns:
        For each layer (R, V, 1, H), or (R, P, B, H) without `rows`; see `stack_states`.
    """
    first, H = weights[0], h0.shape[-1]
    gates_in = source.project(n_first(first.w_ih), n_first(input_bias(first)))
    axes = gates_in.shape[1:3]
    if rows is None:
        rows = all_rows(*axes, gates_in.device)
    layers = [StackLayer(first.w_hh, first.b_hh[:, 2 * H :], None, None)]
    for w in weights[1:]:
        layers.append(StackLayer(w.w_hh, w.b_hh[:, 2 * H :], w.w_ih, n_first(input_bias(w))))
    factors = []
    for i in range(len(layers) - 1):
        f = dropout.factors("rnn_dropout", *axes, H, place=str(i)) if dropout else None
        factors.append(None if f is None else f.flatten(1, 2))
    [packed] = autocast_inputs(gates_in.flatten(1, 2))
    states = stack_states(
        packed,
        layers,
        rows.sort_trials(h0),
        factors,
        rows,
        kernels,
        cache,
    )
    return [state.unflatten(1, axes) for state in states]


class _PackedGRU(torch.autograd.Function):
    """gates_in (R, V, 3H) n, r, z; w_hh (R, 3H, H); b_hn (R, H); h0 (R, B, H) → (R, V, H)."""

    @staticmethod
    def forward(
        ctx: Any,
        gates_in: Tensor,
        w_hh: Tensor,
        b_hn: Tensor,
        h0: Tensor,
        rows: Rows,
        kernels: StepKernels,
    ) -> Tensor:
        R, V, _ = gates_in.shape
        B, H = rows.n_trials, w_hh.shape[-1]
        w_hh = w_hh.contiguous()
        states = gates_in.new_empty(R, B + V, H)
        states[:, :B] = h0
        saved = gates_in.new_empty(R, V, 4 * H)
        kernels.forward_steps(
            gates_in.contiguous(),
            w_hh,
            b_hn.contiguous(),
            states,
            saved,
            rows.offsets,
            rows.n_active,
            0,
            rows.n_steps,
        )
        ctx.rows, ctx.kernels = rows, kernels
        ctx.save_for_backward(w_hh, states, saved)
        return states[:, B:]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        w_hh, states, saved = ctx.saved_tensors
        rows, H = ctx.rows, w_hh.shape[-1]
        wide = torch.promote_types(states.dtype, torch.float32)
        d_gates = torch.empty_like(saved)
        carried = states.new_empty(len(states), rows.n_trials, H, dtype=wide)
        d_h0 = torch.empty_like(carried)
        ctx.kernels.backward_steps(
            grad.to(states.dtype).contiguous(),
            w_hh,
            states,
            saved,
            d_gates,
            carried,
            d_h0,
            rows.offsets,
            rows.n_active,
            0,
            rows.n_steps,
        )
        d_w_hh, d_b_hn = hidden_gradients(d_gates[..., H:], states, rows)
        return d_gates[..., : 3 * H], d_w_hh, d_b_hn, d_h0, None, None
