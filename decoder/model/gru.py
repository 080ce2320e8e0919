"""One GRU layer over the R runs of a pack, in one or two directions, in four implementations.

``torch`` calls PyTorch's own GRU kernels (cuDNN on a GPU) once for each run. ``batched`` multiplies
the states of all runs and directions in one product per time step, and has a hand-written backward:
the factors that do not depend on the incoming gradient are computed for all time steps before the
loop, the weight gradients in one product after it. ``fused`` has Triton kernels of whole steps, and
computes the valid patches alone; ``rows`` does the same in plain torch (`decoder.model.fused`). All
follow the equations and the gate order (r, z, n) of `torch.nn.GRU`.

Dimensions: R runs, P patches, B batch, D inputs, H units, N directions.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import _VF, Tensor

from decoder.model.cells import (
    CellWeights,
    Kernel,
    join_directions,
    part_directions,
    stack_directions,
)
from decoder.model.fused.graphs import GraphCache
from decoder.model.fused.layer import input_bias, packed_layer, step_kernels
from decoder.model.fused.rows import Rows
from decoder.model.inputs import LayerInput
from decoder.model.precision import autocast_inputs


def gru_layer(
    source: LayerInput,
    directions: Sequence[CellWeights],
    h0: Tensor,
    kernel: Kernel,
    rows: Rows | None = None,
    cache: GraphCache | None = None,
) -> Tensor:
    """Run one GRU layer for every run.

    Args:
        source: the layer's input.
        directions: the weights of the forward direction, and of the backward direction if there is
            one; gates r, z, n.
        h0: (R, B, H) initial state of each direction.
        kernel: the implementation.
        rows: the valid patches of the batch, if the input is (R, V, 1, D); needs ``rows`` or
            ``fused`` and one direction. None means that the input is (R, P, B, D).
        cache: buffers and graphs of this layer alone, for ``rows`` and ``fused``; None runs them
            without.

    Returns:
        (R, P, B, N H) states after each patch, forward units first; (R, V, 1, H) with `rows`.
    """
    if kernel == "rows" or kernel == "fused":
        return packed_layer(source, directions, h0, rows, step_kernels(kernel), cache)
    assert rows is None, f"the kernel {kernel} computes padded batches"
    if kernel == "torch":
        x, h0, *flat = autocast_inputs(source.dense(), h0, *[w for d in directions for w in d])
        return _torch_layer(x, flat, h0)
    H = h0.shape[-1]
    b_ih = [input_bias(d) for d in directions]
    gates_in = join_directions(source, [d.w_ih for d in directions], b_ih)  # (N R, P, B, 3H)
    w_hh = stack_directions([d.w_hh for d in directions])
    b_hn = stack_directions([d.b_hh[:, 2 * H :] for d in directions])
    h0 = stack_directions([h0 for _ in directions])
    inputs = autocast_inputs(gates_in, w_hh, b_hn, h0)
    out: Tensor = _BatchedGRU.apply(*inputs)  # type: ignore[no-untyped-call]
    return part_directions(out, len(directions))


def _torch_layer(x: Tensor, flat: Sequence[Tensor], h0: Tensor) -> Tensor:
    """x (R, P, B, D) → (R, P, B, N H), one kernel call per run; flat: all weights, (R, ...)."""
    n_directions = len(flat) // len(CellWeights._fields)
    outputs = []
    for r in range(x.shape[0]):
        h0_r = h0[r].expand(n_directions, -1, -1).contiguous()
        weights = [weight[r] for weight in flat]
        # has_biases, num_layers, dropout, train, bidirectional, batch_first
        out, _ = _VF.gru(x[r], h0_r, weights, True, 1, 0.0, True, n_directions == 2, False)
        outputs.append(out)
    return torch.stack(outputs)


class _BatchedGRU(torch.autograd.Function):
    """The recurrence: gates_in (R, P, B, 3H), w_hh (R, 3H, H), b_hn (R, H), h0 (R, B, H)."""

    @staticmethod
    def forward(ctx: Any, gates_in: Tensor, w_hh: Tensor, b_hn: Tensor, h0: Tensor) -> Tensor:
        R, P, B, _ = gates_in.shape
        H = h0.shape[-1]
        rz = gates_in.new_empty(R, P, B, 2 * H)
        n = gates_in.new_empty(R, P, B, H)
        n_hidden = gates_in.new_empty(R, P, B, H)  # the hidden side of n, before the reset gate
        h = gates_in.new_empty(R, P + 1, B, H)
        h[:, 0] = h0
        bias = torch.cat([b_hn.new_zeros(R, 2 * H), b_hn], 1)[:, None]  # (R, 1, 3H)
        w_t = w_hh.transpose(1, 2)
        for p in range(P):
            gates_h = torch.baddbmm(bias, h[:, p], w_t)  # (R, B, 3H)
            rz_p = torch.add(gates_in[:, p, :, : 2 * H], gates_h[:, :, : 2 * H], out=rz[:, p])
            rz_p.sigmoid_()
            hidden = n_hidden[:, p].copy_(gates_h[:, :, 2 * H :])
            reset, update = rz_p[:, :, :H], rz_p[:, :, H:]
            new = torch.addcmul(gates_in[:, p, :, 2 * H :], reset, hidden, out=n[:, p]).tanh_()
            torch.lerp(new, h[:, p], update, out=h[:, p + 1])
        ctx.save_for_backward(w_hh, rz, n, n_hidden, h)
        return h[:, 1:]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        w_hh, rz, n, n_hidden, h = ctx.saved_tensors
        R, P, B, H = n.shape
        r, z = rz[..., :H], rz[..., H:]
        # d gates / d h of each gate, without the incoming gradient.
        to_n = (1 - z).mul_(1 - n * n)  # (R, P, B, H), input side of n
        factors = n.new_empty(R, P, B, 3, H)
        torch.mul(h[:, :P] - n, z * (1 - z), out=factors[..., 1, :])
        torch.mul(to_n, r, out=factors[..., 2, :])
        torch.mul(factors[..., 2, :], (1 - r).mul_(n_hidden), out=factors[..., 0, :])

        d_gates = torch.empty_like(factors)
        d_h = torch.empty_like(n)
        carried = torch.zeros_like(h[:, 0])
        for p in range(P - 1, -1, -1):
            d = torch.add(grad[:, p], carried, out=d_h[:, p])
            torch.mul(d.unsqueeze(2), factors[:, p], out=d_gates[:, p])
            carried = torch.baddbmm(d * z[:, p], d_gates[:, p].flatten(2), w_hh)

        d_flat = d_gates.view(R, P * B, 3 * H)
        d_w = torch.bmm(d_flat.transpose(1, 2), h[:, :P].reshape(R, P * B, H))
        d_b = d_gates[..., 2, :].sum((1, 2))
        # On the input side the gate n is not multiplied by the reset gate; r and z are the same.
        torch.mul(d_h, to_n, out=d_gates[..., 2, :])
        return d_flat.view(R, P, B, 3 * H), d_w, d_b, carried
