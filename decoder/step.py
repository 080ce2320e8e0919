"""One batch through every run of a pack: augment, forward, loss, backward.

Dimensions: R runs, B batch, T bins, P patches, F features.
"""

from collections.abc import Sequence

from torch import Tensor

from decoder import optim
from decoder.augment import augment_batch
from decoder.config import DecoderConfig
from decoder.ctc import ctc_losses, reduce_losses
from decoder.data.alignment import output_lengths
from decoder.data.batches import Batch
from decoder.model.day import day_slices
from decoder.model.decoder import PackedDecoder
from decoder.model.dropout import DropoutPlan
from decoder.model.precision import autocast


def forward_backward(
    model: PackedDecoder, configs: Sequence[DecoderConfig], batch: Batch, seed: int, step: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """Training loss and gradients of every run for one batch.

    Args:
        model: R decoders; gradients they hold are forgotten.
        configs: one a run; fields that are not marked ``PER_RUN`` are the same in all.
        batch: ordered by day, on the model's device.
        seed: the pack's seed.
        step: the optimizer step, which with the seed decides every draw.

    Returns:
        (R,) losses, and name → (R, ...) gradients of the parameters that got one.
    """
    model_config, device = configs[0].model, batch.features.device
    dropout = DropoutPlan([c.model for c in configs], seed, step, device)
    x, cut = augment_batch(batch.features, [c.augment for c in configs], seed, step)
    with autocast(configs[0].train.precision, device):
        output = model(x, day_slices(batch.day), dropout)
    losses = ctc_losses(
        output.logits.float().log_softmax(-1),
        batch.labels,
        output_lengths(batch.n_bins - cut, model_config),
        batch.n_labels,
        configs[0].loss.zero_infinity,
    )
    per_run = reduce_losses(losses, batch.n_labels, [c.loss.ctc_reduction for c in configs])
    model.zero_grad(set_to_none=True)
    per_run.sum().backward()  # rows do not mix: each gets its own
    return per_run.detach(), optim.gradients_of(model)
