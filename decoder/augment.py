"""Training-time augmentation and smoothing of a batch, for all runs of a pack at once.

Every augmentation but the cut is linear in its strength, and smoothing is linear too. So each
random component is drawn and smoothed once, at strength 1, and a run's input is a weighted sum
of the smoothed trials and components. Order as in the official T15 trainer
(nejm-brain-to-text, ``transform_data``): gain, white noise, constant offset, random walk, cut,
smoothing.

Dimensions: R runs, B batch, T bins, F features.
"""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from decoder.config import AugmentConfig
from decoder.errors import ConfigError
from decoder.seeding import generator

# Taps at or below this weight are dropped before the rest are normalised; the official code's
# constant, which makes 9 taps of a Gaussian with a standard deviation of 2 bins.
MIN_TAP = 0.01


def gaussian_taps(std_bins: float, size_bins: int) -> list[float]:
    """The smoothing kernel: a sampled Gaussian, small taps dropped, sum 1.

    Args:
        std_bins: standard deviation in bins.
        size_bins: bins the Gaussian is sampled on.

    Raises:
        ConfigError: no tap is left.

    Follows ``gauss_smooth`` of nejm-brain-to-text, in its float32.
    """
    impulse = np.zeros(size_bins, dtype=np.float32)
    impulse[size_bins // 2] = 1
    kernel = gaussian_filter1d(impulse, std_bins)
    kernel = kernel[kernel > MIN_TAP]
    if not kernel.size:
        raise ConfigError(
            f"augment.smooth_std_bins: {std_bins} spreads the Gaussian so wide that no tap is "
            f"above {MIN_TAP}; must be below 40"
        )
    return [float(tap) for tap in kernel / np.sum(kernel)]


def smooth(x: Tensor, taps: Sequence[float]) -> Tensor:
    """Convolve along time with zeros beyond both ends, keeping the length.

    Args:
        x: (..., T, F).
        taps: the kernel; with an even number, the extra tap looks ahead.

    Returns:
        (..., T, F).
    """
    n_bins = x.shape[-2]
    before = (len(taps) - 1) // 2
    padded = torch.nn.functional.pad(x, (0, 0, before, len(taps) - 1 - before))
    out = padded.narrow(-2, 0, n_bins) * taps[0]
    for k, tap in enumerate(taps[1:], start=1):
        out.add_(padded.narrow(-2, k, n_bins), alpha=tap)
    return out


def augment_batch(
    features: Tensor, configs: Sequence[AugmentConfig], seed: int, step: int
) -> tuple[Tensor, int]:
    """The training input of every run of a pack.

    Args:
        features: (B, T, F) zero padded trials.
        configs: one section a run; only the strengths may differ.
        seed: the pack's seed.
        step: the optimizer step, which with the seed decides every draw.

    Returns:
        (R, B, T - cut, F), and the number of bins cut off the front of every trial.
    """
    shared = configs[0]
    device = features.device.type
    B, T, F = features.shape
    components = [features]
    strengths = [[1.0] * len(configs)]

    def normal(purpose: str, *shape: int) -> Tensor:
        source = generator(seed, purpose, step, device)
        return torch.randn(shape, generator=source, device=features.device)

    def add(component: Tensor, strength: list[float]) -> None:
        components.append(component)
        strengths.append(strength)

    gains = [c.static_gain_std for c in configs]
    if any(gains):
        add(features @ normal("static_gain", B, F, F), gains)
    whites = [c.white_noise_std for c in configs]
    if any(whites):
        add(normal("white_noise", B, T, F), whites)
    offsets = [c.constant_offset_std for c in configs]
    if any(offsets):
        add(normal("constant_offset", B, 1, F).expand(B, T, F), offsets)
    walks = [c.random_walk_std for c in configs]
    if any(walks):
        axis = -1 if shared.random_walk_axis == "features" else -2
        add(normal("random_walk", B, T, F).cumsum(axis), walks)

    cut = 0
    if shared.random_cut:
        source = generator(seed, "random_cut", step)
        cut = int(torch.randint(shared.random_cut, (), generator=source))
    parts = torch.stack([component[:, cut:] for component in components])  # (N, B, T - cut, F)
    if shared.smooth:
        parts = smooth(parts, gaussian_taps(shared.smooth_std_bins, shared.smooth_size_bins))
    weights = torch.tensor(strengths, device=features.device).T  # (R, N)
    return (weights @ parts.flatten(1)).view(len(configs), *parts.shape[1:]), cut


def smooth_batch(features: Tensor, config: AugmentConfig) -> Tensor:
    """The evaluation input: smoothing alone. (B, T, F) → (B, T, F)."""
    if not config.smooth:
        return features
    return smooth(features, gaussian_taps(config.smooth_std_bins, config.smooth_size_bins))
