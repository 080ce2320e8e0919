"""Dropout masks of one step, shared by the runs of a pack."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from decoder.masking import drop_factors
from decoder.model.fused.rows import Rows
from decoder.sections import ModelConfig
from decoder.seeding import generator


class DropoutPlan:
    """The dropout masks of one step, drawn on demand and shared by the runs of a pack.

    A run with a higher rate drops everything that a run with a lower rate drops, and more.

    Args:
        configs: one for each run, with its rates.
        seed: the pack's seed.
        step: the optimizer step. Seed and step decide every draw.
        device: the device of the masks.
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
        self._rows: Rows | None = None

    def of_rows(self, rows: Rows) -> "DropoutPlan":
        """The plan for packed rows: the draws of the padded batch, at its valid patches.

        Its factors are for tensors (R, V, 1, ...).
        """
        plan = copy.copy(self)
        plan._rows = rows
        return plan

    def generator(self, purpose: str) -> torch.Generator:
        """A fresh generator of this step, for draws of a part of the user's."""
        return generator(self._seed, purpose, self._step, self._device.type)

    def number(self, purpose: str) -> int:
        """A seed for global generators, for a part of the user's at this step."""
        return generator(self._seed, purpose, self._step).initial_seed()

    def factors(self, rate: str, *shape: int, place: str = "") -> Tensor | None:
        """The factors of one mask: 0 or 1 / (1 - rate).

        Args:
            rate: the field of `ModelConfig` that holds the rate.
            shape: of the tensor they multiply, without the axis of runs.
            place: names the mask if the rate is used in several places.

        Returns:
            (R, *shape) float32, or (1, *shape) if all rates are equal; None if all rates are 0.
        """
        rates = self._rates[rate]
        if not any(rates):
            return None
        purpose, rows = f"{rate}/{place}" if place else rate, self._rows
        if rows is not None:
            shape = rows.n_steps, rows.n_trials, *shape[2:]
        factors = drop_factors(rates, shape, purpose, self._seed, self._step, self._device)
        return factors if rows is None else rows.gather(factors).unsqueeze(2)
