"""SpecAugment's time warp: a point within each trial moves, and both sides stretch or shrink.

Dimensions: B batch, T bins, F features.
"""

import torch
from torch import Tensor

from decoder.seeding import generator


def time_warp(features: Tensor, n_bins: Tensor, max_bins: int, seed: int, step: int) -> Tensor:
    """Warp every trial along time, with linear interpolation.

    As in SpecAugment (Park et al. 2019), a point at least `max_bins` from both ends moves by a
    whole number of bins, uniform from -`max_bins` to `max_bins`; the first and the last valid bin
    do not move. In short trials the distance is limited so that a bin is left on either side.
    Padding does not change.

    Args:
        features: (B, T, F); not changed.
        n_bins: (B,) int64 valid bins.
        max_bins: largest distance; 0 is the identity.
        seed: the pack's seed.
        step: the optimizer step. Seed and step decide two uniform numbers for each trial, for any
            `max_bins`, so runs with different `max_bins` move similar points in the same direction.

    Returns:
        (B, T, F).
    """
    B, T, _ = features.shape
    source = generator(seed, "time_warp", step, features.device.type)
    draws = torch.rand(2, B, 1, generator=source, device=features.device, dtype=torch.float64)
    last = n_bins[:, None] - 1  # (B, 1)
    reach = ((last - 2) // 2).clip(min=0, max=max_bins)
    point = reach + 1 + (draws[0] * (last - 2 * reach - 1).clip(min=1)).long()
    moved = point + (draws[1] * (2 * reach + 1)).long() - reach
    bins = torch.arange(T, device=features.device, dtype=torch.float64)  # (T,)
    position = torch.where(
        bins <= moved,
        bins * point / moved,
        last - (last - bins) * (last - point) / (last - moved),
    )  # (B, T), the position that each bin is read from
    position = torch.where((bins < last) & (reach > 0), position, bins)
    before = position.long()
    after = (before + 1).clip(max=T - 1)
    share = (position - before).to(features.dtype)[..., None]
    trial = torch.arange(B, device=features.device)[:, None]
    return torch.lerp(features[trial, before], features[trial, after], share)
