"""Dropout masks of one step, drawn once for all runs of a pack."""

from collections.abc import Sequence

import torch
from torch import Tensor

from decoder.masking import drop_factors
from decoder.sections import ModelConfig


class DropoutPlan:
    """Dropout masks of one step, drawn once and shared by the runs of a pack.

    A run with a higher rate drops what a run with a lower rate drops, and more.

    Args:
        configs: one a run, each with the run's own rates.
        seed: the pack's seed.
        step: the optimizer step, which with the seed decides every draw.
        device: where the masks are wanted.
    """

    def __init__(
        self, configs: Sequence[ModelConfig], seed: int, step: int, device: torch.device
    ) -> None:
        self._rates = {
            "input_dropout": [c.input_dropout for c in configs],
            "rnn_dropout": [c.rnn_dropout for c in configs],
            "post_rnn_dropout": [c.post_rnn_dropout for c in configs],
            "transformer_dropout": [c.transformer_dropout for c in configs],
        }
        self._seed, self._step, self._device = seed, step, device

    def factors(self, rate: str, *shape: int, place: str = "") -> Tensor | None:
        """Factors 0 or 1 / (1 - rate), (R, *shape), or (1, *shape) where all rates are equal.

        None where every rate is 0.

        Args:
            rate: the field of `ModelConfig` that holds it.
            shape: of what is dropped, without the axis of runs.
            place: names the mask where one rate is used in several places.
        """
        rates = self._rates[rate]
        if not any(rates):
            return None
        purpose = f"{rate}/{place}" if place else rate
        return drop_factors(rates, shape, purpose, self._seed, self._step, self._device)
