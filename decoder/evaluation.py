"""Validation of every run of a pack on all usable validation trials.

Dimensions: R runs, B batch, P patches, C classes, L labels.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from decoder.breakdown import Breakdown
from decoder.config import DecoderConfig
from decoder.data.alignment import output_lengths
from decoder.data.batches import Batch
from decoder.host import event_after_now, to_host
from decoder.life import show_sign
from decoder.logits import half
from decoder.metrics import MetricSums
from decoder.model.day import day_slices
from decoder.model.decoder import PackedDecoder
from decoder.model.precision import autocast
from decoder.part_calls import PartMetrics
from decoder.smoothing import smooth_batch


class Evaluation(NamedTuple):
    """The metric sums of all runs; and row → breakdown, for the runs in `last`.

    `own` are the sums of the user's metrics, and `logits` row → trial of the split → (P, C) logits
    from `decoder.logits.half`, for the runs in `last` that keep them.
    """

    metrics: MetricSums
    breakdowns: dict[int, Breakdown]
    own: PartMetrics
    logits: dict[int, dict[int, NDArray[np.float16]]]


@dataclass(frozen=True, eq=False)
class Outputs:
    """What is decoded of a batch, on its way to the host.

    Attributes:
        best: (R, P, B) int64 class with the highest posterior at each patch.
        labels: (B, L) int64, padded.
        n_patches, n_labels, day, index: (B,) int64.
        log_probs: row → (P, B, C) log posteriors, for the runs with a beam search, kept logits or
            words.
        arrived: the event after which all of it is on the host, if it comes from a GPU.
    """

    best: Tensor
    labels: Tensor
    n_patches: Tensor
    n_labels: Tensor
    day: Tensor
    index: Tensor
    log_probs: dict[int, Tensor]
    arrived: torch.cuda.Event | None


class Evaluator:
    """One evaluation in two halves, so that another thread can decode while the GPU goes on.

    Args:
        model: R decoders.
        configs: one for each run.
        device: the device of the model.
        last: rows of the runs that get a breakdown: this is their last evaluation.
        to_words: rows of the runs whose log-posteriors are kept, to be decoded to words.
        keeps_logits: whether the result has the logits of the runs in `last` that keep them.

    Attributes:
        log_probs: row → trial of the split → (P, C) float32, for the runs in `to_words`; complete
            when every batch is decoded.
    """

    def __init__(
        self,
        model: PackedDecoder,
        configs: Sequence[DecoderConfig],
        device: torch.device,
        last: Sequence[int] = (),
        to_words: Sequence[int] = (),
        *,
        keeps_logits: bool = True,
    ) -> None:
        self._model, self._shared, self._device = model, configs[0], device
        self._n_runs = len(configs)
        self._metrics = MetricSums.zeros(self._n_runs, device)
        self._own = PartMetrics(model.used, self._n_runs, device)
        self._breakdowns = {row: Breakdown(configs[row].evaluation) for row in last}
        self._logits: dict[int, dict[int, NDArray[np.float16]]] = {
            row: {}
            for row in last
            if keeps_logits and "validation" in configs[row].train.kept_logits
        }
        self.log_probs: dict[int, dict[int, NDArray[np.float32]]] = {row: {} for row in to_words}
        self._all_summed: torch.cuda.Event | None = None

    @torch.no_grad()
    def forward(self, batch: Batch) -> Outputs:
        """Run the decoders on a batch, and sum its losses and posteriors.

        Args:
            batch: validation trials, ordered by day.
        """
        show_sign()
        shared = self._shared
        batch = batch.to(self._device)
        x = smooth_batch(batch.features, shared.augment)
        lengths = output_lengths(batch.n_bins, shared.model)
        sizes = batch.sizes
        on_host = output_lengths(sizes.n_bins, shared.model)
        given = lengths if shared.model.architecture == "transformer" else on_host
        with autocast(shared.train.precision, self._device):
            of_runs = x.expand(self._n_runs, *x.shape)
            days = day_slices(sizes.day)
            logits = self._model(of_runs, days, n_patches=given, n_bins=batch.n_bins).logits
        self._own.add(logits, batch.labels, lengths, batch.n_labels)
        best = self._metrics.add_posteriors(
            logits, batch.labels, lengths, batch.n_labels, shared.loss.zero_infinity
        )
        return Outputs(
            to_host(best),
            to_host(batch.labels),
            on_host,
            sizes.n_labels,
            sizes.day,
            batch.index,
            {
                row: to_host(logits[row].float().log_softmax(-1))
                for row in range(self._n_runs)
                if row in self.log_probs or row in self._logits or self._searches(row)
            },
            event_after_now(self._device),
        )

    def decode(self, outputs: Outputs) -> None:
        """Count the edits of a batch, on any thread, but on one at a time."""
        if outputs.arrived is not None:
            outputs.arrived.synchronize()
        emitted = self._metrics.add_sequences(
            outputs.best, outputs.labels, outputs.n_patches, outputs.n_labels, outputs.index
        )
        for row, breakdown in self._breakdowns.items():
            beamed = outputs.log_probs.get(row) if breakdown.config.use_beam_search else None
            _add(breakdown, outputs, emitted[row], beamed)
        lengths = outputs.n_patches.tolist()
        for row, kept in self._logits.items():
            for i, trial in enumerate(outputs.index.tolist()):
                kept[trial] = half(outputs.log_probs[row][: lengths[i], i].numpy())
        for row, of_words in self.log_probs.items():
            for i, trial in enumerate(outputs.index.tolist()):  # a copy, not a view of the batch
                of_words[trial] = outputs.log_probs[row][: lengths[i], i].numpy().copy()

    def _searches(self, row: int) -> bool:
        """Whether a run gets a prefix beam search now."""
        return row in self._breakdowns and self._breakdowns[row].config.use_beam_search

    def end_forward(self) -> None:
        """Send the sums to the host after the last batch."""
        self._metrics.send_to_host()
        self._own.send_to_host()
        self._all_summed = event_after_now(self._device)

    def result(self) -> Evaluation:
        """The evaluation, after `end_forward` and after every batch is decoded."""
        if self._all_summed is not None:
            self._all_summed.synchronize()
        return Evaluation(self._metrics, self._breakdowns, self._own, self._logits)


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
    evaluator = Evaluator(model, configs, device, last)
    for batch in batches:
        evaluator.decode(evaluator.forward(batch))
    evaluator.end_forward()
    return evaluator.result()


def _add(
    breakdown: Breakdown, outputs: Outputs, emitted: list[list[int]], log_probs: Tensor | None
) -> None:
    """Add a batch to one run's breakdown. log_probs: (P, B, C)."""
    trials = zip(
        outputs.labels.tolist(),
        outputs.n_labels.tolist(),
        emitted,
        outputs.day.tolist(),
        outputs.n_patches.tolist(),
        strict=True,
    )
    for i, (labels, n_labels, sequence, day, length) in enumerate(trials):
        show_sign()
        scores = None if log_probs is None else log_probs[:length, i].numpy()
        breakdown.add(labels[:n_labels], sequence, day, scores)
