"""Training-time augmentation of a batch, for all runs of a pack at once.

Noise is linear in its strength, and smoothing is linear too. Each random component is therefore
drawn and smoothed once, at strength 1, and the input of a run is a weighted sum of the smoothed
trials and components. The order is that of the official T15 trainer (``transform_data`` of
nejm-brain-to-text): gain, white noise, constant offset, random walk, cut, smoothing. The time warp
comes before these steps, the masks after them.

On a CPU the smoothed components are stacked and multiplied by the strengths of the runs. On a GPU
the sum is written by `decoder.combining` in the number format of the decoder.

Dimensions: R runs, B batch, T bins, F features.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from decoder.combining import combine
from decoder.determinism import cumulative_sum
from decoder.masking import mask_input
from decoder.sections import AugmentConfig
from decoder.seeding import generator
from decoder.smoothing import smooth_batch
from decoder.time_warp import time_warp


def augment_batch(
    features: Tensor,
    n_bins: Tensor,
    configs: Sequence[AugmentConfig],
    seed: int,
    step: int,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, int]:
    """The training input of every run of a pack.

    Args:
        features: (B, T, F) float32 trials, padded with zeros.
        n_bins: (B,) int64 valid bins of each trial.
        configs: one section for each run; they may differ only in fields marked ``PER_RUN``.
        seed: the pack's seed.
        step: the optimizer step. Seed and step decide every draw.
        dtype: the format in which the decoder reads its input; on a CPU only float32 is written.

    Returns:
        (R, B, T - cut, F) of `dtype`, and the number of bins cut off the front of every trial.
    """
    shared = configs[0]
    device = features.device.type
    B, T, F = features.shape
    components: list[Tensor] = []
    strengths: list[list[float]] = []

    def normal(purpose: str, *shape: int) -> Tensor:
        source = generator(seed, purpose, step, device)
        return torch.randn(shape, generator=source, device=features.device)

    def add(component: Tensor, strength: list[float]) -> None:
        components.append(component)
        strengths.append(strength)

    gains = [c.static_gain_std for c in configs]
    gain = normal("static_gain", B, F, F) if any(gains) else None
    warps = [c.time_warp_bins for c in configs]
    for bins in sorted(set(warps)):
        warped = time_warp(features, n_bins, bins, seed, step) if bins else features
        add(warped, [float(own == bins) for own in warps])
        if gain is not None:
            of_run = zip(gains, warps, strict=True)
            add(warped @ gain, [std if own == bins else 0.0 for std, own in of_run])
    whites = [c.white_noise_std for c in configs]
    if any(whites):
        add(normal("white_noise", B, T, F), whites)
    offsets = [c.constant_offset_std for c in configs]
    if any(offsets):
        add(normal("constant_offset", B, 1, F).expand(B, T, F), offsets)
    walks = [c.random_walk_std for c in configs]
    if any(walks):
        axis = -1 if shared.random_walk_axis == "features" else -2
        add(cumulative_sum(normal("random_walk", B, T, F), axis), walks)

    cut = 0
    if shared.random_cut:
        source = generator(seed, "random_cut", step)
        cut = int(torch.randint(shared.random_cut, (), generator=source))
    if writes_once(features.device):
        x = combine(components, strengths, cut, shared, dtype)
        return mask_input(x, n_bins - cut, configs, seed, step, in_place=True), cut
    parts = torch.stack([component[:, cut:] for component in components])  # (N, B, T - cut, F)
    parts = smooth_batch(parts, shared)
    weights = torch.tensor(strengths, device=features.device).T  # (R, N)
    x = (weights @ parts.flatten(1)).view(len(configs), *parts.shape[1:])
    return mask_input(x, n_bins - cut, configs, seed, step), cut


def writes_once(device: torch.device) -> bool:
    """Whether the input is summed by `decoder.combining`, in the decoder's number format."""
    return device.type == "cuda"
