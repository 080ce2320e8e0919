"""CTC: losses and their reductions, greedy decoding, edit distance.

Dimensions: R runs, B batch, P patches, C classes, L labels.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from rapidfuzz.distance import Levenshtein
from torch import Tensor

from decoder.ctc_on_gpu import CTC
from decoder.determinism import needs_cpu
from decoder.host import constant
from decoder.model.fused.available import why_not
from decoder.phonemes import BLANK

Reduction = Literal["none_then_mean", "mean"]


def ctc_losses(
    log_probs: Tensor, labels: Tensor, n_patches: Tensor, n_labels: Tensor, zero_infinity: bool
) -> Tensor:
    """Negative log likelihood of each trial's labels, in nats, in each run.

    On a GPU with Triton the host does not wait; PyTorch's own CTC would make it wait.

    Args:
        log_probs: (R, P, B, C) log posteriors, computed in float32.
        labels: (B, L) int64 class ids, padded; only the first ``n_labels`` of a row are read.
        n_patches: (B,) int64 valid patches of each trial.
        n_labels: (B,) int64.
        zero_infinity: whether a trial without an alignment counts zero instead of infinity.

    Returns:
        (R, B) float32.
    """
    R, P, B, C = log_probs.shape
    if log_probs.requires_grad and needs_cpu(log_probs):
        targets = (labels.cpu(), n_patches.cpu(), n_labels.cpu())
        return ctc_losses(log_probs.cpu(), *targets, zero_infinity).to(log_probs.device)
    if _has_kernels(log_probs.device):
        own: Tensor = CTC.apply(log_probs.float(), labels, n_patches, n_labels, zero_infinity)  # type: ignore[no-untyped-call]
        return own
    losses = torch.nn.functional.ctc_loss(
        log_probs.float().permute(1, 0, 2, 3).reshape(P, R * B, C),
        labels.repeat(R, 1),
        n_patches.repeat(R),
        n_labels.repeat(R),
        blank=BLANK,
        reduction="none",
        zero_infinity=zero_infinity,
    )
    return losses.view(R, B)


def _has_kernels(device: torch.device) -> bool:
    """Whether Triton computes the losses on `device`."""
    return device.type == "cuda" and why_not(device) is None


def reduce_losses(losses: Tensor, n_labels: Tensor, reductions: Sequence[Reduction]) -> Tensor:
    """The training loss of each run.

    ``mean`` follows `torch.nn.CTCLoss`: it divides the loss of each trial by its number of labels
    (at least 1) and averages over the batch. ``none_then_mean`` only averages over the batch.

    Args:
        losses: (R, B).
        n_labels: (B,).
        reductions: one for each run.

    Returns:
        (R,).
    """
    per_label = constant(tuple(r == "mean" for r in reductions), losses.device, torch.bool)
    divisor = n_labels.clamp(min=1)[None, :].masked_fill(~per_label[:, None], 1)  # (R, B)
    return (losses / divisor).mean(1)


def greedy_decode(best: Tensor, n_patches: Tensor) -> list[list[int]]:
    """Merge repeats, then drop blanks. Two equal labels survive if a blank separates them.

    Args:
        best: (N, P) int64 class with the highest posterior at each patch.
        n_patches: (N,) int64 valid patches.

    Returns:
        N sequences of class ids.
    """
    N, P = best.shape
    emits = best != BLANK
    emits[:, 1:] &= best[:, 1:] != best[:, :-1]
    emits &= torch.arange(P, device=best.device) < n_patches[:, None]
    emitted = best[emits].tolist()
    sequences, start = [], 0
    for count in emits.sum(1).tolist():
        sequences.append(emitted[start : start + count])
        start += count
    return sequences


def edit_distance(a: Sequence[int], b: Sequence[int]) -> int:
    """The smallest number of insertions, deletions and substitutions that turn `a` into `b`."""
    return Levenshtein.distance(a, b)
