"""Masks of the training input: SpecAugment's time and feature masks, and speckle.

The runs of a pack share the draws. A run with a higher probability, more masks, wider masks or a
higher rate hides everything that a run with lower values hides, and more.

Dimensions: R runs, B batch, T bins, F features.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from decoder.host import constant
from decoder.sections import AugmentConfig
from decoder.seeding import generator

Value = TypeVar("Value")


class Masks(NamedTuple):
    """The masks of a run along one axis: up to `max_count`, each applied with `probability`."""

    probability: float
    width: int
    max_count: int


def mask_input(
    x: Tensor,
    n_bins: Tensor,
    configs: Sequence[AugmentConfig],
    seed: int,
    step: int,
    in_place: bool = False,
) -> Tensor:
    """Set masked values of the input to 0; speckle also scales up the values it keeps.

    Args:
        x: (R, B, T, F); not changed unless `in_place`.
        n_bins: (B,) int64 valid bins. Time masks lie within them. Feature masks also cover the
            padding, which a bidirectional decoder reads.
        configs: one for each run.
        seed: the pack's seed.
        step: the optimizer step. Seed and step decide every draw.
        in_place: whether to write into `x`, which saves memory. In bfloat16, speckle then rounds
            the values that it scales up a second time.

    Returns:
        (R, B, T, F) like `x`; `x` itself if no mask is on.
    """
    B, T, F = x.shape[1:]
    hide = Tensor.masked_fill_ if in_place else Tensor.masked_fill
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
        x = hide(x, time[..., None], 0.0)
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
        x = hide(x, feature[:, :, None], 0.0)
    rates = [c.speckle_rate for c in configs]
    if any(rates):
        draws = ((B, T, F), "speckle", seed, step, x.device)
        if in_place and len(set(rates)) > 1:  # the factors of all runs would be (R, B, T, F)
            for row, rate in enumerate(rates):
                x[row].mul_(drop_factors([rate], *draws)[0])
        else:
            factors = drop_factors(rates, *draws)
            x = x.mul_(factors) if in_place else x * factors
    return x


def drop_factors(
    rates: Sequence[float],
    shape: Sequence[int],
    purpose: str,
    seed: int,
    step: int,
    device: torch.device,
) -> Tensor:
    """Random factors that keep the mean: 0 with a probability of the rate, else 1 / (1 - rate).

    Args:
        rates: one for each run, below 1.
        shape: of the tensor they multiply, without the axis of runs.
        purpose: names the draws.
        seed: the pack's seed.
        step: the optimizer step.
        device: the device of the factors.

    Returns:
        (R, *shape) float32, or (1, *shape) if all rates are equal.
    """
    source = generator(seed, purpose, step, device.type)
    draws = torch.rand(*shape, generator=source, device=device)
    rate = constant(tuple(_distinct(rates)), device).view(-1, *[1] * len(shape))
    return (draws >= rate).to(draws.dtype).div_(1 - rate)


def draw_masks(
    lengths: Tensor, longest: int, masks: Sequence[Masks], purpose: str, seed: int, step: int
) -> Tensor | None:
    """Draw which positions along an axis are hidden, in each trial of each run.

    Follows SpecAugment (Park et al. 2019): the width of a mask is uniform from 0 to the largest
    width (or to the length of a shorter trial), its start is uniform over the positions where the
    whole mask fits, and masks may overlap. Unlike SpecAugment, each mask is only applied with a
    probability.

    Args:
        lengths: (B,) int64 number of positions that may be hidden, counted from the first.
        longest: L, length of the axis.
        masks: one for each run.
        purpose: names the draws.
        seed: the pack's seed.
        step: the optimizer step.

    Returns:
        (R, B, L) bool, or (1, B, L) if all runs have the same masks; None if nothing is hidden.
    """
    if not any(m.probability for m in masks):
        return None
    device = lengths.device
    kinds = _distinct(masks)
    probability = constant(tuple(m.probability for m in kinds), device)[:, None]  # (R or 1, 1)
    width = constant(tuple(m.width for m in kinds), device, torch.int64)[:, None]
    max_count = constant(tuple(m.max_count for m in kinds), device, torch.int64)[:, None]
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
    """The values, or just the first if all are equal, so that all runs share the computation."""
    return values[:1] if len(set(values)) == 1 else values
