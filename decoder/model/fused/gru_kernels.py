"""Triton kernels of a GRU layer over packed rows: one launch a time step, for all runs at once.

A step multiplies the states by the recurrent weights and applies the gates in the same kernel; a
step of backward multiplies the gates' gradients of the step after it, and turns the gradient of its
states into those of its gates. Row counts are read on the device, so one captured graph serves
every batch that fits its buffers, and programs without rows return at once.

Numbers are stored in bfloat16 or float32; sums and gates are float32. Products of float32 are exact
float32, not TF32. `decoder.model.fused.triton_steps` launches the kernels.

Dimensions: R runs, P steps, B batch, V rows, D inputs, H units.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator"

import triton
import triton.language as tl


@triton.jit
def dot(a, b, total, WIDEN: tl.constexpr):
    """``total + a @ b``. The interpreter cannot multiply bfloat16, so there `WIDEN` is true."""
    if WIDEN:
        a, b = a.to(tl.float32), b.to(tl.float32)
    return tl.dot(a, b, total, input_precision="ieee")


@triton.jit
def row_of_previous(offsets, step, B):
    """The first state that `step` reads, as a row of the states: B initial ones come first."""
    before = B + tl.load(offsets + tl.maximum(step - 1, 0))
    return tl.where(step == 0, 0, before).to(tl.int64)


@triton.jit(do_not_specialize=["step", "V", "B"])
def forward_step(
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
    IN: tl.constexpr,
    H: tl.constexpr,
    WIDEN: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
):
    """Rows of one step. IN: distance of two rows of `gates_in`, 3H or 4H."""
    n_rows = tl.load(n_active + step)
    if tl.program_id(1) * BM >= n_rows:
        return
    run = tl.program_id(2).to(tl.int64)
    row = tl.program_id(1) * BM + tl.arange(0, BM)
    col = tl.program_id(0) * BN + tl.arange(0, BN)
    here = tl.load(offsets + step).to(tl.int64)
    old_at = states + (run * (B + V) + row_of_previous(offsets, step, B)) * H + row[:, None] * H
    w_at = w_hh + run * 3 * H * H + col[None, :] * H
    is_row, is_col = row[:, None] < n_rows, col[None, :] < H
    r = tl.zeros((BM, BN), tl.float32)
    z = tl.zeros((BM, BN), tl.float32)
    hidden = tl.zeros((BM, BN), tl.float32)
    for k in range(0, H, BK):
        inner = k + tl.arange(0, BK)
        h = tl.load(old_at + inner[None, :], mask=is_row & (inner[None, :] < H), other=0.0)
        w_mask = is_col & (inner[:, None] < H)
        w = w_at + inner[:, None]
        r = dot(h, tl.load(w, mask=w_mask, other=0.0), r, WIDEN)
        z = dot(h, tl.load(w + H * H, mask=w_mask, other=0.0), z, WIDEN)
        hidden = dot(h, tl.load(w + 2 * H * H, mask=w_mask, other=0.0), hidden, WIDEN)
    mask = is_row & is_col
    g = gates_in + (run * V + here) * IN + row[:, None] * IN + col[None, :]
    hidden += tl.load(b_hn + run * H + col, mask=col < H, other=0.0).to(tl.float32)[None, :]
    n_in = tl.load(g, mask=mask, other=0.0).to(tl.float32)
    r = tl.sigmoid(tl.load(g + H, mask=mask, other=0.0).to(tl.float32) + r)
    z = tl.sigmoid(tl.load(g + 2 * H, mask=mask, other=0.0).to(tl.float32) + z)
    n = 2 * tl.sigmoid(2 * (n_in + r * hidden)) - 1  # tanh
    old = tl.load(old_at + col[None, :], mask=mask, other=0.0).to(tl.float32)
    dtype = states.dtype.element_ty
    new_at = states + (run * (B + V) + B + here) * H + row[:, None] * H + col[None, :]
    tl.store(new_at, (n + z * (old - n)).to(dtype), mask=mask)
    tl.debug_barrier()  # `saved` may be the memory of `gates_in`
    s = saved + (run * V + here) * 4 * H + row[:, None] * 4 * H + col[None, :]
    tl.store(s, n.to(dtype), mask=mask)
    tl.store(s + H, r.to(dtype), mask=mask)
    tl.store(s + 2 * H, z.to(dtype), mask=mask)
    tl.store(s + 3 * H, hidden.to(dtype), mask=mask)


@triton.jit(do_not_specialize=["step", "V", "B"])
def backward_step(
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
    H: tl.constexpr,
    WIDEN: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
):
    """Rows of one step; step -1 is the gradient of all B initial states."""
    n_rows = tl.where(step < 0, B, tl.load(n_active + tl.maximum(step, 0)))
    first = tl.program_id(1) * BM
    if first >= n_rows:
        return
    run = tl.program_id(2).to(tl.int64)
    row = first + tl.arange(0, BM)
    col = tl.program_id(0) * BN + tl.arange(0, BN)
    is_col = col[None, :] < H
    is_later = row[:, None] < tl.load(n_active + step + 1)
    later = tl.load(offsets + step + 1).to(tl.int64)
    total = tl.zeros((BM, BN), tl.float32)
    if first < tl.load(n_active + step + 1):
        d_at = d_gates + (run * V + later) * 4 * H + H + row[:, None] * 4 * H
        w_at = w_hh + run * 3 * H * H + col[None, :]
        for k in range(0, 3 * H, BK):
            inner = k + tl.arange(0, BK)
            d_mask = is_later & (inner[None, :] < 3 * H)
            w_mask = is_col & (inner[:, None] < 3 * H)
            d_later = tl.load(d_at + inner[None, :], mask=d_mask, other=0.0)
            w = tl.load(w_at + inner[:, None] * H, mask=w_mask, other=0.0)
            total = dot(d_later, w, total, WIDEN)
    at = run * B * H + row[:, None] * H + col[None, :]
    total += tl.load(carried + at, mask=is_later & is_col, other=0.0)
    mask = (row[:, None] < n_rows) & is_col
    if step < 0:
        tl.store(d_h0 + at, total, mask=mask)
    else:
        here = tl.load(offsets + step).to(tl.int64)
        tile = row[:, None] * H + col[None, :]
        old_at = states + (run * (B + V) + row_of_previous(offsets, step, B)) * H + tile
        old = tl.load(old_at, mask=mask, other=0.0).to(tl.float32)
        d = tl.load(grad + (run * V + here) * H + tile, mask=mask, other=0.0).to(tl.float32) + total
        s_tile = (run * V + here) * 4 * H + row[:, None] * 4 * H + col[None, :]
        s = saved + s_tile
        n = tl.load(s, mask=mask, other=0.0).to(tl.float32)
        r = tl.load(s + H, mask=mask, other=0.0).to(tl.float32)
        z = tl.load(s + 2 * H, mask=mask, other=0.0).to(tl.float32)
        hidden = tl.load(s + 3 * H, mask=mask, other=0.0).to(tl.float32)
        d_n = d * (1 - z) * (1 - n * n)
        tl.debug_barrier()  # `d_gates` may be the memory of `saved`
        dtype = states.dtype.element_ty
        out = d_gates + s_tile
        tl.store(out, d_n.to(dtype), mask=mask)
        tl.store(out + H, (d_n * hidden * r * (1 - r)).to(dtype), mask=mask)
        tl.store(out + 2 * H, (d * (old - n) * z * (1 - z)).to(dtype), mask=mask)
        tl.store(out + 3 * H, (d_n * r).to(dtype), mask=mask)
        tl.store(carried + at, d * z, mask=mask)


@triton.jit(do_not_specialize=["start", "stop"])
def multiply_rows(
    x,
    weight,
    bias,
    factors_in,
    factors_out,
    out,
    offsets,
    start,
    stop,
    x_run,
    x_row,
    w_run,
    w_in,
    w_out,
    bias_run,
    in_run,
    in_row,
    out_factor_run,
    out_factor_row,
    out_run,
    out_row,
    K: tl.constexpr,
    N: tl.constexpr,
    ADD: tl.constexpr,
    WIDEN: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BK: tl.constexpr,
):
    """A tile of ``out[row, :N] (+)= factors_out * ((factors_in * x[row, :K]) @ weight + bias)``."""
    base = tl.load(offsets + start).to(tl.int64)
    n_rows = (tl.load(offsets + stop) - base).to(tl.int32)
    if tl.program_id(1) * BM >= n_rows:
        return
    run = tl.program_id(2).to(tl.int64)
    row = tl.program_id(1) * BM + tl.arange(0, BM)
    col = tl.program_id(0) * BN + tl.arange(0, BN)
    is_row, is_col = row[:, None] < n_rows, col[None, :] < N
    x_at = x + run * x_run + base * x_row + row[:, None] * x_row
    w_at = weight + run * w_run + col[None, :] * w_out
    total = tl.zeros((BM, BN), tl.float32)
    for k in range(0, K, BK):
        inner = k + tl.arange(0, BK)
        x_mask = is_row & (inner[None, :] < K)
        a = tl.load(x_at + inner[None, :], mask=x_mask, other=0.0)
        if factors_in is not None:
            f = factors_in + run * in_run + base * in_row + row[:, None] * in_row + inner[None, :]
            factor = tl.load(f, mask=x_mask, other=0.0).to(tl.float32)
            a = (a.to(tl.float32) * factor).to(x.dtype.element_ty)
        w_mask = is_col & (inner[:, None] < K)
        total = dot(a, tl.load(w_at + inner[:, None] * w_in, mask=w_mask, other=0.0), total, WIDEN)
    mask = is_row & is_col
    if bias is not None:
        b = tl.load(bias + run * bias_run + col, mask=col < N, other=0.0)
        total += b.to(tl.float32)[None, :]
    if factors_out is not None:
        f = factors_out + run * out_factor_run + (base + row[:, None]) * out_factor_row
        total *= tl.load(f + col[None, :], mask=mask, other=0.0).to(tl.float32)
    out_at = out + run * out_run + base * out_row + row[:, None] * out_row + col[None, :]
    if ADD:
        total += tl.load(out_at, mask=mask, other=0.0).to(tl.float32)
    tl.store(out_at, total.to(out.dtype.element_ty), mask=mask)
