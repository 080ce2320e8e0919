"""Validation of every run of a pack on all usable validation trials."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from decoder.breakdown import Breakdown
from decoder.config import DecoderConfig
from decoder.data.alignment import output_lengths
from decoder.data.batches import Batch
from decoder.metrics import MetricSums
from decoder.model.day import day_slices
from decoder.model.decoder import PackedDecoder
from decoder.model.precision import autocast
from decoder.smoothing import smooth_batch


class Evaluation(NamedTuple):
    """The metric sums of all runs; and row → breakdown, for the runs in `last`."""

    metrics: MetricSums
    breakdowns: dict[int, Breakdown]


@torch.no_grad()
def evaluate(
    model: PackedDecoder,
    configs: Sequence[DecoderConfig],
    batches: Iterable[Batch],
    device: torch.device,
    last: Sequence[int] = (),
) -> Evaluation:
    """PER and collapse metrics of every run, as sums over trials.

    Args:
        model: R decoders.
        configs: one for each run.
        batches: validation trials, each batch ordered by day.
        device: the device of the model.
        last: rows of the runs that get a breakdown: this is their last evaluation.
    """
    n_runs, shared = len(configs), configs[0]
    metrics = MetricSums.zeros(n_runs, device)
    breakdowns = {row: Breakdown(configs[row].evaluation) for row in last}
    for batch in batches:
        batch = batch.to(device)
        x = smooth_batch(batch.features, shared.augment)
        lengths = output_lengths(batch.n_bins, shared.model)
        with autocast(shared.train.precision, device):
            output = model(x.expand(n_runs, *x.shape), day_slices(batch.day), n_patches=lengths)
        emitted = metrics.add(
            output.logits,
            batch.labels,
            lengths,
            batch.n_labels,
            shared.loss.zero_infinity,
            batch.index,
        )
        for row, breakdown in breakdowns.items():
            _add(breakdown, batch, emitted[row], output.logits[row], lengths)
    return Evaluation(metrics, breakdowns)


def _add(
    breakdown: Breakdown, batch: Batch, emitted: list[list[int]], logits: Tensor, lengths: Tensor
) -> None:
    """Add a batch to one run's breakdown. logits: (P, B, C)."""
    log_probs = logits.float().log_softmax(-1).cpu().numpy()
    trials = zip(
        batch.labels.tolist(),
        batch.n_labels.tolist(),
        emitted,
        batch.day.tolist(),
        lengths.tolist(),
        strict=True,
    )
    for i, (labels, n_labels, sequence, day, length) in enumerate(trials):
        breakdown.add(labels[:n_labels], sequence, day, log_probs[:length, i])
