"""Triton kernels of the CTC loss and its gradient: one program for each trial of each run.

A state is a label or one of the blanks around it. Label i and the blank before it have place i, so
that a path goes from a place to itself or to the next one. Probabilities are logarithms, with NEVER
for 0. All sums have a fixed order.

Dimensions: R runs, P patches, B batch, C classes, L labels.
"""
# mypy: ignore-errors

import triton
import triton.language as tl

NEVER = tl.constexpr(-1e30)


@triton.jit
def _log_add(a, b):
    largest = tl.maximum(a, b)
    return largest + tl.log(tl.exp(a - largest) + tl.exp(b - largest))


@triton.jit
def _move(values, place, by: tl.constexpr, SIZE: tl.constexpr):
    """The value `by` places away, NEVER beyond both ends."""
    source = place + by
    inside = (source >= 0) & (source < SIZE)
    moved = tl.gather(values, tl.where(inside, source, 0), 0)
    return tl.where(inside, moved, NEVER)


@triton.jit(do_not_specialize=["n_trials", "n_places"])
def forward(
    log_probs,  # (R, P, B, C) float32
    labels,  # (B, L) int64
    n_patches,  # (B,) int64
    n_labels,  # (B,) int64
    alphas,  # (R, B, P, 2, L + 1) float32, out: labels, then the blanks before them
    losses,  # (R, B) float32, out
    longest,  # P
    n_trials,  # B
    n_classes,  # C
    n_places,  # L + 1
    BLANK: tl.constexpr,
    PLACES: tl.constexpr,
):
    trial, run = tl.program_id(0), tl.program_id(1).to(tl.int64)
    place = tl.arange(0, PLACES)
    n = tl.load(n_labels + trial).to(tl.int32)
    label = tl.load(labels + trial * (n_places - 1) + place, mask=place < n, other=BLANK)
    before = tl.load(
        labels + trial * (n_places - 1) + place - 1, mask=(place > 0) & (place <= n), other=BLANK
    )
    may_skip = (place > 0) & (label != before)  # the blank between two labels
    at_label = tl.full((PLACES,), NEVER, tl.float32)
    at_blank = tl.where(place == 0, 0.0, NEVER)
    own = alphas + (run * n_trials + trial) * longest * 2 * n_places
    frame = log_probs + (run * longest * n_trials + trial) * n_classes
    for _ in range(tl.load(n_patches + trial).to(tl.int32)):
        last = _move(at_label, place, -1, PLACES)
        stay = _log_add(at_label, at_blank)
        at_label = _log_add(stay, tl.where(may_skip, last, NEVER)) + tl.load(frame + label)
        at_blank = _log_add(at_blank, last) + tl.load(frame + BLANK)
        tl.store(own + place, at_label, mask=place < n_places)
        tl.store(own + n_places + place, at_blank, mask=place < n_places)
        own += 2 * n_places
        frame += n_trials * n_classes
    end = tl.where(place == n, at_blank, NEVER)
    end = _log_add(end, tl.where(place == n - 1, at_label, NEVER))
    largest = tl.max(end, 0)
    total = largest + tl.log(tl.sum(tl.exp(end - largest), 0))
    loss = tl.where(total < 0.5 * NEVER, float("inf"), -total)
    tl.store(losses + run * n_trials + trial, loss)


@triton.jit(do_not_specialize=["n_trials", "n_places"])
def backward(
    log_probs,  # (R, P, B, C) float32
    labels,  # (B, L) int64
    n_patches,  # (B,) int64
    n_labels,  # (B,) int64
    alphas,  # (R, B, P, 2, L + 1) float32
    losses,  # (R, B) float32
    upstream,  # (R, B) float32
    gradient,  # (R, P, B, C) float32, zeros; out
    longest,  # P
    n_trials,  # B
    n_classes,  # C
    n_places,  # L + 1
    BLANK: tl.constexpr,
    PLACES: tl.constexpr,
    CLASSES: tl.constexpr,
):
    trial, run = tl.program_id(0), tl.program_id(1).to(tl.int64)
    place, classes = tl.arange(0, PLACES), tl.arange(0, CLASSES)
    n, n_frames = (
        tl.load(n_labels + trial).to(tl.int32),
        tl.load(n_patches + trial).to(tl.int32),
    )
    label = tl.load(labels + trial * (n_places - 1) + place, mask=place < n, other=BLANK)
    after = tl.load(labels + trial * (n_places - 1) + place + 1, mask=place + 1 < n, other=BLANK)
    may_skip = (place + 1 < n) & (label != after)
    is_label = (classes[:, None] == label[None, :]) & (place < n)[None, :]
    at_label = tl.where(place == n - 1, 0.0, NEVER)
    at_blank = tl.where(place == n, 0.0, NEVER)
    loss = tl.load(losses + run * n_trials + trial)
    scale = tl.load(upstream + run * n_trials + trial)
    own = alphas + ((run * n_trials + trial) * longest + n_frames - 1) * 2 * n_places
    start = ((run * longest + n_frames - 1) * n_trials + trial) * n_classes
    for _ in range(n_frames):
        known = place < n_places
        seen_label = tl.exp(tl.load(own + place, mask=known, other=NEVER) + at_label + loss)
        seen_blank = tl.exp(
            tl.load(own + n_places + place, mask=known, other=NEVER) + at_blank + loss
        )
        frame = tl.load(log_probs + start + classes, mask=classes < n_classes, other=NEVER)
        seen = tl.sum(tl.where(is_label, seen_label[None, :], 0.0), 1)
        seen += tl.where(classes == BLANK, tl.sum(seen_blank, 0), 0.0)
        change = (tl.exp(frame) - seen) * scale
        tl.store(gradient + start + classes, change, mask=classes < n_classes)
        to_label = at_label + tl.load(log_probs + start + label)
        to_blank = at_blank + tl.load(log_probs + start + BLANK)
        next_label = tl.where(may_skip, _move(to_label, place, 1, PLACES), NEVER)
        onward = _log_add(_move(to_blank, place, 1, PLACES), next_label)
        at_blank = _log_add(to_blank, to_label)
        at_label = _log_add(to_label, onward)
        own -= 2 * n_places
        start -= n_trials * n_classes
