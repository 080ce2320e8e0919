"""The training loss: CTC, plain or with label smoothing, focal weights or label priors.

Dimensions: R runs, B batch, P patches, C classes, L labels.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from decoder.ctc import ctc_losses, reduce_losses
from decoder.host import constant
from decoder.training_sections import LossConfig

# Decay of the running label prior per batch: it averages over about a hundred batches.
PRIOR_DECAY = 0.99
# Lowest prior, so that its logarithm is finite.
MIN_PRIOR = 1e-8


class LabelPrior:
    """The label prior of each run: a moving average of its mean posterior over batches.

    Args:
        n_runs: R.
        n_classes: C.
        device: the device of the posteriors.

    Attributes:
        mean: (R, C) float32, uniform at the start.
    """

    def __init__(self, n_runs: int, n_classes: int, device: torch.device) -> None:
        self.mean = torch.full((n_runs, n_classes), 1 / n_classes, device=device)

    def update(self, logits: Tensor, n_patches: Tensor) -> None:
        """Add the posteriors of one batch; a run whose posteriors are not finite is not changed.

        Args:
            logits: (R, P, B, C).
            n_patches: (B,) valid patches of each trial.
        """
        valid = _valid(logits, n_patches)[..., None]
        posterior = logits.detach().float().softmax(-1)
        mean = (posterior * valid).sum((1, 2)) / valid.sum().clamp(min=1)
        new = PRIOR_DECAY * self.mean + (1 - PRIOR_DECAY) * mean
        self.mean = torch.where(mean.isfinite().all(-1, keepdim=True), new, self.mean)

    def keep_runs(self, rows: Sequence[int]) -> None:
        """Keep only the runs at `rows`."""
        self.mean = self.mean[list(rows)]


def training_losses(
    logits: Tensor,
    labels: Tensor,
    n_patches: Tensor,
    n_labels: Tensor,
    configs: Sequence[LossConfig],
    prior: Tensor | None = None,
) -> Tensor:
    """The training loss of each run.

    Args:
        logits: (R, P, B, C).
        labels: (B, L) int64, padded.
        n_patches: (B,) int64 valid patches.
        n_labels: (B,) int64.
        configs: one for each run.
        prior: (R, C) mean of `LabelPrior`; None means that ``label_prior_weight`` has no effect.

    Returns:
        (R,) float32.
    """
    log_probs = logits.float().log_softmax(-1)
    zero_infinity = configs[0].zero_infinity
    if prior is None:
        losses = ctc_losses(log_probs, labels, n_patches, n_labels, zero_infinity)
    else:
        weights = _column([c.label_prior_weight for c in configs], logits)
        offset = weights * prior.clamp(min=MIN_PRIOR).log()  # (R, C)
        scores = log_probs - offset[:, None, None]
        losses = _score_losses(scores, labels, n_patches, n_labels, zero_infinity)
    if any(c.focal_gamma for c in configs):
        losses = losses * focal_factors(losses, n_labels, [c.focal_gamma for c in configs])
    if any(c.label_smoothing for c in configs):
        share = _column([c.label_smoothing for c in configs], logits)
        peaks = divergence_from_uniform(log_probs, n_patches)
        if zero_infinity:
            peaks = peaks * _alignable(labels, n_patches, n_labels)
        losses = (1 - share) * losses + share * peaks
    return reduce_losses(losses, n_labels, [c.ctc_reduction for c in configs])


def focal_factors(losses: Tensor, n_labels: Tensor, gammas: Sequence[float]) -> Tensor:
    """The weight of each trial, which is lower the better the trial is already recognised.

    Focal CTC (Feng, Yao and Zhang 2019) uses (1 - p) ** gamma with p = exp(-loss), the posterior
    of the whole target. For a sentence of 30 labels p is almost 0 until late in training, so the
    factor would be 1 for every gamma. Here p is the posterior per label, the geometric mean over
    the target: exp(-loss / n_labels). For targets of one label both are the same.

    Args:
        losses: (R, B) CTC losses in nats. Gradients also flow through the factor.
        n_labels: (B,).
        gammas: one for each run; 0 makes every factor 1.

    Returns:
        (R, B) in (0, 1].
    """
    missed = -torch.expm1(-losses.clamp(min=0) / n_labels.clamp(min=1))
    missed = missed.clamp(min=1e-6)  # a power below 1 has an infinite slope at 0
    return missed ** _column(gammas, losses)


def divergence_from_uniform(log_probs: Tensor, n_patches: Tensor) -> Tensor:
    """The peakiness of each trial's posteriors: KL(posterior ‖ uniform), summed over patches.

    This is the penalty of label smoothing for CTC (Kim, Seltzer, Li and Zhao 2018), over all
    classes including the blank. Like the CTC loss it is a sum over patches, in nats per trial.

    Args:
        log_probs: (R, P, B, C) log posteriors.
        n_patches: (B,) valid patches.

    Returns:
        (R, B).
    """
    most = math.log(log_probs.shape[-1])
    divergence = (log_probs.exp() * log_probs).sum(-1) + most  # (R, P, B)
    return (divergence * _valid(log_probs, n_patches)).sum(1)


def _score_losses(
    scores: Tensor, labels: Tensor, n_patches: Tensor, n_labels: Tensor, zero_infinity: bool
) -> Tensor:
    """CTC losses (R, B) of scores (R, P, B, C) that need not be log probabilities.

    torch's gradient is only right for normalised scores. Every alignment contains one score for
    each patch. So normalising subtracts the normalizers of all patches from the log likelihood of
    a trial, and they are added back here.
    """
    normalizer = scores.logsumexp(-1)  # (R, P, B)
    normalized = scores - normalizer[..., None]
    losses = ctc_losses(normalized, labels, n_patches, n_labels, zero_infinity)
    taken_off = (normalizer * _valid(scores, n_patches)).sum(1)
    if zero_infinity:
        taken_off = taken_off * _alignable(labels, n_patches, n_labels)
    return losses - taken_off


def _alignable(labels: Tensor, n_patches: Tensor, n_labels: Tensor) -> Tensor:
    """(B,) bool: whether a trial has a CTC alignment, with a blank between equal neighbours."""
    place = torch.arange(1, labels.shape[1], device=labels.device)
    repeats = (labels[:, 1:] == labels[:, :-1]) & (place < n_labels[:, None])
    return n_labels + repeats.sum(1) <= n_patches


def _valid(frames: Tensor, n_patches: Tensor) -> Tensor:
    """(P, B) bool, which of the frames (R, P, B, C) are valid."""
    return torch.arange(frames.shape[1], device=frames.device)[:, None] < n_patches


def _column(values: Sequence[float], like: Tensor) -> Tensor:
    """(R, 1)."""
    return constant(tuple(values), like.device)[:, None]
