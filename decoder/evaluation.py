"""Validation: every run of a pack over every usable validation trial."""

from collections.abc import Iterable

import torch

from decoder.config import DecoderConfig
from decoder.data.alignment import output_lengths
from decoder.data.batches import Batch
from decoder.metrics import MetricSums
from decoder.model.day import day_slices
from decoder.model.decoder import PackedDecoder
from decoder.model.precision import autocast
from decoder.smoothing import smooth_batch


@torch.no_grad()
def evaluate(
    model: PackedDecoder, config: DecoderConfig, batches: Iterable[Batch], device: torch.device
) -> MetricSums:
    """PER and collapse metrics of every run, as sums over trials.

    Args:
        model: R decoders.
        config: of any run of the pack; what evaluation reads is the same in all.
        batches: validation trials, each batch ordered by day.
        device: where the model is.
    """
    n_runs = next(model.parameters()).shape[0]
    metrics = MetricSums.zeros(n_runs, device)
    for batch in batches:
        batch = batch.to(device)
        x = smooth_batch(batch.features, config.augment)
        lengths = output_lengths(batch.n_bins, config.model)
        with autocast(config.train.precision, device):
            output = model(x.expand(n_runs, *x.shape), day_slices(batch.day), n_patches=lengths)
        metrics.add(output.logits, batch.labels, lengths, batch.n_labels, config.loss.zero_infinity)
    return metrics
