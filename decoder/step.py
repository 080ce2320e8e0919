"""One batch through every run of a pack: augment, forward, loss, backward.

Dimensions: R runs, B batch, T bins, P patches, F features.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from decoder import optim
from decoder.augment import augment_batch
from decoder.config import DecoderConfig
from decoder.data.alignment import n_patches, output_lengths
from decoder.data.batches import Batch
from decoder.model.day import day_slices
from decoder.model.decoder import PackedDecoder
from decoder.model.dropout import DropoutPlan
from decoder.model.patch_mask import draw_patch_mask
from decoder.model.precision import autocast
from decoder.objective import LabelPrior, training_losses


def forward_backward(
    model: PackedDecoder,
    configs: Sequence[DecoderConfig],
    batch: Batch,
    seed: int,
    step: int,
    label_prior: LabelPrior | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Training loss and gradients of every run for one batch.

    Args:
        model: R decoders; gradients they hold are forgotten.
        configs: one a run; fields that are not marked ``PER_RUN`` are the same in all.
        batch: ordered by day, on the model's device.
        seed: the pack's seed.
        step: the optimizer step, which with the seed decides every draw.
        label_prior: used, then updated with this batch's posteriors; None where no run has
            ``loss.label_prior_weight``.

    Returns:
        (R,) losses, and name → (R, ...) gradients of the parameters that got one.
    """
    model_config, device = configs[0].model, batch.features.device
    dropout = DropoutPlan([c.model for c in configs], seed, step, device)
    augment = [c.augment for c in configs]
    x, cut = augment_batch(batch.features, batch.n_bins, augment, seed, step)
    lengths = output_lengths(batch.n_bins - cut, model_config)
    longest = n_patches(x.shape[2], model_config.patch_size, model_config.patch_stride)
    hidden = draw_patch_mask(lengths, longest, augment, seed, step)
    with autocast(configs[0].train.precision, device):
        output = model(x, day_slices(batch.day), dropout, n_patches=lengths, hidden=hidden)

    targets = (batch.labels, lengths, batch.n_labels, [c.loss for c in configs])
    prior = None if label_prior is None else label_prior.mean
    per_run = training_losses(output.logits, *targets, prior)
    if output.intermediate:
        share = torch.tensor([c.loss.inter_ctc_weight for c in configs], device=device)
        intermediate = [training_losses(logits, *targets) for logits in output.intermediate]
        per_run = (1 - share) * per_run + share * torch.stack(intermediate).mean(0)
    if label_prior is not None:
        label_prior.update(output.logits, lengths)
    model.zero_grad(set_to_none=True)
    per_run.sum().backward()  # rows do not mix: each gets its own
    return per_run.detach(), optim.gradients_of(model)
