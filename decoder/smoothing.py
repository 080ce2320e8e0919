"""Gaussian smoothing along time: the kernels of both published decoders, centred or causal.

Dimensions: T bins, F features.
"""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from decoder.errors import ConfigError
from decoder.sections import AugmentConfig

# Taps at or below this weight are dropped, and the others are normalised. The constant is that of
# the official T15 code; a Gaussian with a standard deviation of 2 bins keeps 9 taps.
MIN_TAP = 0.01


def gaussian_taps(std_bins: float, size_bins: int, causal: bool = False) -> list[float]:
    """A sampled Gaussian without its small taps, with sum 1.

    Args:
        std_bins: standard deviation in bins.
        size_bins: number of bins on which the Gaussian is sampled.
        causal: whether to keep only the largest tap and the taps of earlier bins.

    Raises:
        ConfigError: no tap is left.

    Follows ``gauss_smooth`` of nejm-brain-to-text, in its float32.
    """
    impulse = np.zeros(size_bins, dtype=np.float32)
    impulse[size_bins // 2] = 1
    kernel = gaussian_filter1d(impulse, std_bins)
    if causal:
        kernel = kernel[: np.argmax(kernel) + 1]
    kernel = kernel[kernel > MIN_TAP]
    if not kernel.size:
        raise ConfigError(
            f"augment.smooth_std_bins: {std_bins} spreads the Gaussian so wide that no tap is "
            f"above {MIN_TAP}; must be below 40"
        )
    return [float(tap) for tap in kernel / np.sum(kernel)]


def all_gaussian_taps(std_bins: float, size_bins: int, causal: bool = False) -> list[float]:
    """A Gaussian sampled at `size_bins` bins around its peak, with all taps and sum 1.

    Args:
        std_bins: standard deviation in bins.
        size_bins: number of taps; an even number puts the peak between two bins.
        causal: whether to sample at 0 to `size_bins` - 1 bins before the peak instead.

    Follows ``GaussianSmoothing`` of neural_seq_decoder, where `size_bins` is 20.
    """
    peak = size_bins - 1.0 if causal else (size_bins - 1) / 2
    kernel = np.exp(-(((np.arange(size_bins) - peak) / std_bins) ** 2) / 2)
    return [float(tap) for tap in kernel / kernel.sum()]


def smooth(x: Tensor, taps: Sequence[float], causal: bool = False) -> Tensor:
    """Convolve along time, with zeros beyond both ends and the same length.

    Args:
        x: (..., T, F).
        taps: the kernel, earliest bin first. The middle tap is at the bin itself; with an even
            number of taps, the extra tap looks ahead.
        causal: whether the last tap is at the bin itself, so that no tap looks ahead.

    Returns:
        (..., T, F).
    """
    n_bins = x.shape[-2]
    before = len(taps) - 1 if causal else (len(taps) - 1) // 2
    padded = torch.nn.functional.pad(x, (0, 0, before, len(taps) - 1 - before))
    out = padded.narrow(-2, 0, n_bins) * taps[0]
    for k, tap in enumerate(taps[1:], start=1):
        out.add_(padded.narrow(-2, k, n_bins), alpha=tap)
    return out


def smooth_batch(x: Tensor, config: AugmentConfig) -> Tensor:
    """Smooth as configured. In evaluation this is the only change to the features.

    Args:
        x: (..., T, F).
        config: the fields ``smooth*`` are read.

    Returns:
        (..., T, F); `x` itself if smoothing is off.
    """
    if not config.smooth:
        return x
    return smooth(x, taps_of(config), config.smooth_causal)


def taps_of(config: AugmentConfig) -> list[float]:
    """The configured kernel, earliest bin first."""
    make_taps = gaussian_taps if config.smooth_taps == "above_0.01" else all_gaussian_taps
    return make_taps(config.smooth_std_bins, config.smooth_size_bins, config.smooth_causal)
