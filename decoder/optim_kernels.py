"""Triton kernels over many stacked tensors in one launch: sums of squares, and the update.

The tensors of a launch are listed in a table of addresses, see `decoder.stacked_optim.Table`. Each
program handles one block of values of one run, and finds its tensor by the number of its block.
All addresses and numbers of values of a launch are multiples of UNIT values, which the compiler is
told, so that it moves four values by one instruction where it can.

Dimensions: R runs, N tensors in the table.
"""
# mypy: ignore-errors

import triton
import triton.language as tl


@triton.jit
def _find(table, n_tensors, block, N: tl.constexpr, COLUMNS: tl.constexpr):
    """The row of the table whose blocks include `block`."""
    rows = tl.arange(0, N)
    first = tl.load(table + rows * COLUMNS + 5, mask=rows < n_tensors, other=1 << 62)
    return table + (tl.sum((first <= block).to(tl.int32), 0) - 1) * COLUMNS


@triton.jit
def _values(address, offset, UNIT: tl.constexpr):
    """Pointers to consecutive float32 values at `offset` from an address."""
    pointers = address.to(tl.pointer_type(tl.float32)) + offset
    return tl.multiple_of(tl.max_contiguous(pointers, offset.shape[0]), 4 * UNIT)


@triton.jit
def _within(place, n_values, UNIT: tl.constexpr):
    """Which places are below the number of values."""
    return tl.max_constancy(place < n_values, UNIT)


@triton.jit(do_not_specialize=["n_tensors", "n_blocks"])
def square_sums(
    table,  # (N, COLUMNS) int64
    n_tensors,
    sums,  # (R, n_blocks) float32, out
    n_blocks,
    N: tl.constexpr,
    COLUMNS: tl.constexpr,
    BLOCK: tl.constexpr,
    UNIT: tl.constexpr,
):
    """The sum of squares of each block of the gradients."""
    block, run = tl.program_id(0), tl.program_id(1).to(tl.int64)
    entry = _find(table, n_tensors, block, N, COLUMNS)
    n_values = tl.load(entry + 4)
    place = (block - tl.load(entry + 5)) * BLOCK + tl.arange(0, BLOCK)
    gradient = _values(tl.load(entry + 1), run * n_values + place, UNIT)
    g = tl.load(gradient, mask=_within(place, n_values, UNIT), other=0.0)
    tl.store(sums + run * n_blocks + block, tl.sum(g * g, 0))


@triton.jit(do_not_specialize=["n_tensors", "n_parameters"])
def update(
    table,  # (N, COLUMNS) int64
    n_tensors,
    coefficients,  # (R, n_parameters, K) float32
    n_parameters,
    N: tl.constexpr,
    COLUMNS: tl.constexpr,
    K: tl.constexpr,
    BLOCK: tl.constexpr,
    UNIT: tl.constexpr,
):
    """One step of every run that takes it, in place; see `decoder.stacked_optim`."""
    block, run = tl.program_id(0), tl.program_id(1).to(tl.int64)
    entry = _find(table, n_tensors, block, N, COLUMNS)
    of = coefficients + (run * n_parameters + tl.load(entry + 6)) * K
    if tl.load(of) != 0:
        clip, shrink, step_size, root = (
            tl.load(of + 1),
            tl.load(of + 2),
            tl.load(of + 3),
            tl.load(of + 4),
        )
        l2, epsilon, keep1, add1 = (
            tl.load(of + 5),
            tl.load(of + 6),
            tl.load(of + 7),
            tl.load(of + 8),
        )
        keep2, add2, of_gradient, of_moment = (
            tl.load(of + 9),
            tl.load(of + 10),
            tl.load(of + 11),
            tl.load(of + 12),
        )
        n_values = tl.load(entry + 4)
        place = (block - tl.load(entry + 5)) * BLOCK + tl.arange(0, BLOCK)
        offset, there = run * n_values + place, _within(place, n_values, UNIT)
        weights = _values(tl.load(entry), offset, UNIT)
        p = tl.load(weights, mask=there, other=0.0)
        gradient = tl.load(entry + 1)
        n_known = tl.where(gradient != 0, n_values, 0)
        g = tl.load(_values(gradient, offset, UNIT), mask=_within(place, n_known, UNIT), other=0.0)
        g = g * clip + l2 * p
        first = _values(tl.load(entry + 2), offset, UNIT)
        m = keep1 * tl.load(first, mask=there, other=0.0) + add1 * g
        tl.store(first, m, mask=there)
        change = of_gradient * g + of_moment * m
        if add2 != 0:
            second = _values(tl.load(entry + 3), offset, UNIT)
            v = keep2 * tl.load(second, mask=there, other=0.0) + add2 * g * g
            tl.store(second, v, mask=there)
            change = change / (tl.sqrt(v) * root + epsilon)
        tl.store(weights, p * shrink - step_size * change, mask=there)
