"""What training hides of its input: SpecAugment's time and feature masks, and speckle.

The runs of a pack share the draws. A run with a higher probability, more or wider masks, or a
higher rate, hides what a run with less of it hides, and more.

Dimensions: R runs, B batch, T bins, F features.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from decoder.sections import AugmentConfig
from decoder.seeding import generator

Value = TypeVar("Value")


class Masks(NamedTuple):
    """The masks of a run along one axis: at most `max_count`, each there with `probability`."""

    probability: float
    width: int
    max_count: int


def mask_input(
    x: Tensor, n_bins: Tensor, configs: Sequence[AugmentConfig], seed: int, step: int
) -> Tensor:
    """Hide parts of the network's input: masked values are 0, those that speckle keeps grow.

    Args:
        x: (R, B, T, F); not changed.
        n_bins: (B,) valid bins. Time masks lie within them. A masked feature is so in the padding
            too, which a bidirectional decoder reads.
        configs: one a run.
        seed: the pack's seed.
        step: the optimizer step, which with the seed decides every draw.

    Returns:
        (R, B, T, F); `x` itself where nothing is on.
    """
    B, T, F = x.shape[1:]
    time = draw_masks(
        n_bins,
        T,
        [
            Masks(c.time_mask_probability, c.time_mask_width_bins, c.time_mask_max_count)
            for c in configs
        ],
        "time_mask",
        seed,
        step,
    )
    if time is not None:
        x = x.masked_fill(time[..., None], 0.0)
    feature = draw_masks(
        torch.full_like(n_bins, F),
        F,
        [
            Masks(c.feature_mask_probability, c.feature_mask_width, c.feature_mask_max_count)
            for c in configs
        ],
        "feature_mask",
        seed,
        step,
    )
    if feature is not None:
        x = x.masked_fill(feature[:, :, None], 0.0)
    rates = [c.speckle_rate for c in configs]
    if any(rates):
        x = x * drop_factors(rates, (B, T, F), "speckle", seed, step, x.device)
    return x


def drop_factors(
    rates: Sequence[float],
    shape: Sequence[int],
    purpose: str,
    seed: int,
    step: int,
    device: torch.device,
) -> Tensor:
    """Factors 0, with a probability of the rate, or 1 / (1 - rate), so that the mean stays.

    Args:
        rates: one a run, below 1.
        shape: of what is dropped, without the axis of runs.
        purpose: names the draws.
        seed: the pack's seed.
        step: the optimizer step.
        device: where the factors are wanted.

    Returns:
        (R, *shape), or (1, *shape) where all rates are equal.
    """
    source = generator(seed, purpose, step, device.type)
    draws = torch.rand(*shape, generator=source, device=device)
    rate = torch.tensor(_distinct(rates), device=device).view(-1, *[1] * len(shape))
    return (draws >= rate).to(draws.dtype).div_(1 - rate)


def draw_masks(
    lengths: Tensor, longest: int, masks: Sequence[Masks], purpose: str, seed: int, step: int
) -> Tensor | None:
    """Which places of an axis are hidden, in each trial of each run.

    As in SpecAugment (Park et al. 2019) a mask's width is uniform from 0 to the largest, or to
    the trial's length where that is less, and its start uniform over what leaves it whole; masks
    may overlap. Unlike there, each mask is there only with a probability.

    Args:
        lengths: (B,) int64 places that may be hidden, from the first on.
        longest: L, length of the axis.
        masks: one a run.
        purpose: names the draws.
        seed: the pack's seed.
        step: the optimizer step.

    Returns:
        (R, B, L) bool, or (1, B, L) where all runs agree; None where nothing is hidden.
    """
    if not any(m.probability for m in masks):
        return None
    device = lengths.device
    probability, width, max_count = (
        torch.tensor(values, device=device)[:, None]
        for values in zip(*_distinct(masks), strict=True)
    )  # each (R or 1, 1)
    place = torch.arange(longest, device=device)
    hidden = torch.zeros(len(probability), len(lengths), longest, dtype=torch.bool, device=device)
    for i in range(max(m.max_count for m in masks)):
        source = generator(seed, f"{purpose}/{i}", step, device.type)
        draws = torch.rand(3, len(lengths), generator=source, device=device)
        there = (draws[0] < probability) & (i < max_count)  # (R or 1, B)
        size = (draws[1] * (torch.minimum(width, lengths) + 1)).long() * there
        start = (draws[2] * (lengths - size + 1)).long()
        hidden |= (place >= start[..., None]) & (place < (start + size)[..., None])
    return hidden


def _distinct(values: Sequence[Value]) -> Sequence[Value]:
    """One value where all agree: what is computed from it is then shared by all runs."""
    return values[:1] if len(set(values)) == 1 else values
