"""The steps of a GRU layer over packed rows in plain torch, in any number format on any device.

They compute what `decoder.model.fused.gru_kernels` computes, and are its reference. They read the
row counts on the host, so on a GPU they wait for it.

Dimensions: R runs, B batch, V rows, H units.
"""

import torch
from torch import Tensor


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
    R, V, _ = saved.shape
    H = w_hh.shape[-1]
    B = states.shape[1] - V
    first, counts = offsets.tolist(), n_active.tolist()
    bias = torch.cat([b_hn.new_zeros(R, 2 * H), b_hn], 1)[:, None].to(states.dtype)
    w_t = w_hh.transpose(1, 2)
    for p in range(start, stop):
        here = slice(first[p], first[p] + counts[p])
        before = B + first[p - 1] if p else 0
        old = states[:, before : before + counts[p]]
        r, z, hidden = torch.baddbmm(bias, old, w_t).chunk(3, dim=-1)
        n_in, r_in, z_in = gates_in[:, here].chunk(3, dim=-1)
        r, z = torch.sigmoid(r_in + r), torch.sigmoid(z_in + z)
        n = torch.tanh(n_in + r * hidden)
        states[:, B + here.start : B + here.stop] = torch.lerp(n, old, z)
        saved[:, here] = torch.cat([n, r, z, hidden], dim=-1)


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
    _, V, H = grad.shape
    B = states.shape[1] - V
    first, counts = offsets.tolist(), n_active.tolist()
    for p in range(stop - 1, start - 1 if start else -2, -1):
        n_later = counts[p + 1]
        later = slice(first[p + 1], first[p + 1] + n_later)
        d = torch.bmm(d_gates[:, later, H:], w_hh).to(carried.dtype)
        d += carried[:, :n_later]
        if p < 0:
            d_h0.zero_()
            d_h0[:, :n_later] = d
            return
        here = slice(first[p], first[p] + counts[p])
        d_state = grad[:, here].to(carried.dtype, copy=True)
        d_state[:, :n_later] += d
        before = B + first[p - 1] if p else 0
        old = states[:, before : before + counts[p]]
        n, r, z, hidden = saved[:, here].to(carried.dtype).chunk(4, dim=-1)
        d_n = d_state * (1 - z) * (1 - n * n)
        parts = [d_n, d_n * hidden * r * (1 - r), d_state * (old - n) * z * (1 - z), d_n * r]
        carried[:, : counts[p]] = d_state * z
        d_gates[:, here] = torch.cat(parts, dim=-1).to(d_gates.dtype)  # may overwrite z


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
    here = slice(int(offsets[start]), int(offsets[stop]))
    left = x[:, here] if factors_in is None else x[:, here] * factors_in[:, here]
    product = torch.bmm(left.to(x.dtype), weight)
    if bias is not None:
        product = product + bias[:, None]
    if factors_out is not None:
        product = product * factors_out[:, here]
    out[:, here] = out[:, here] + product if add else product
