"""A Triton kernel for the input of all runs: cuts, smooths and combines components in one pass.

Dimensions: R runs, N components, B batch, T bins after the cut, F features, K taps.
"""
# mypy: ignore-errors

import triton
import triton.language as tl


# Numbers that change from step to step would lead to a kernel of their own each time.
@triton.jit(
    do_not_specialize=["n_components", "n_runs", "n_taps", "before", "cut", "n_trials", "n_bins"]
)
def combine(
    table,  # (N, 3) int64: address, step to the next trial, step to the next bin
    n_components,
    strengths,  # (R, N) float32
    n_runs,
    taps,  # (K,) float32
    n_taps,
    before,  # taps ahead of the bin itself
    cut,
    out,  # (R, B, T, F)
    n_trials,
    n_bins,
    F: tl.constexpr,
    RUNS: tl.constexpr,
    TILE: tl.constexpr,
):
    """One tile of a trial in RUNS runs: every component is read once for all of them."""
    trial = tl.program_id(1).to(tl.int64)
    place = tl.program_id(0) * TILE + tl.arange(0, TILE)
    bins, feature = place // F, place % F
    run = tl.program_id(2) * RUNS + tl.arange(0, RUNS)
    total = tl.zeros((RUNS, TILE), tl.float32)
    for n in range(n_components):
        address = tl.load(table + n * 3).to(tl.pointer_type(tl.float32))
        address += trial * tl.load(table + n * 3 + 1)
        to_next_bin = tl.load(table + n * 3 + 2)
        smoothed = tl.zeros((TILE,), tl.float32)
        for k in range(n_taps):
            source = bins + (k - before)
            there = (source >= 0) & (source < n_bins) & (bins < n_bins)
            value = tl.load(address + (source + cut) * to_next_bin + feature, mask=there, other=0.0)
            smoothed += tl.load(taps + k) * value
        strength = tl.load(strengths + run * n_components + n, mask=run < n_runs, other=0.0)
        total += strength[:, None] * smoothed[None, :]
    size = n_bins * F
    start = (run.to(tl.int64) * n_trials + trial) * size
    there = (run < n_runs)[:, None] & (place < size)[None, :]
    tl.store(out + start[:, None] + place[None, :], total.to(out.dtype.element_ty), mask=there)
