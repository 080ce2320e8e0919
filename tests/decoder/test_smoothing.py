"""Smoothing: both official kernels, compared with SciPy and torch, centred and causal."""

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve1d

from decoder.errors import ConfigError
from decoder.sections import AugmentConfig
from decoder.smoothing import all_gaussian_taps, gaussian_taps, smooth, smooth_batch


@pytest.fixture
def features() -> torch.Tensor:
    return torch.randn(3, 60, 6, generator=torch.Generator().manual_seed(0))


def test_official_t15_smoothing_keeps_nine_taps() -> None:
    """Taps of gauss_smooth (std 2, size 100) of nejm-brain-to-text, to float32."""
    expected = [0.027630551, 0.066282034, 0.123831525, 0.180173725, 0.204164162]
    taps = gaussian_taps(2.0, 100)
    assert taps == pytest.approx(expected + expected[-2::-1], abs=1e-6)
    assert sum(taps) == pytest.approx(1.0)


def test_official_t12_smoothing_keeps_all_twenty_taps() -> None:
    """Taps of GaussianSmoothing (std 2, size 20) of neural_seq_decoder, to float32."""
    tail = [2.5148e-06, 2.3859e-05, 1.7630e-04, 1.0145e-03, 4.5468e-03]
    half = [*tail, 1.5870e-02, 4.3139e-02, 9.1325e-02, 1.5057e-01, 1.9333e-01]
    taps = all_gaussian_taps(2.0, 20)
    assert len(taps) == 20
    assert taps == pytest.approx(half + half[::-1], rel=1e-4)
    assert sum(taps) == pytest.approx(1.0)


def test_smoothing_is_a_convolution_with_zeros_beyond_the_ends(features: torch.Tensor) -> None:
    taps = gaussian_taps(2.0, 100)
    expected = convolve1d(features.numpy(), np.array(taps), axis=1, mode="constant")
    np.testing.assert_allclose(smooth(features, taps).numpy(), expected, atol=1e-6)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_an_even_kernel_is_placed_as_in_torch_with_same_padding(features: torch.Tensor) -> None:
    taps = torch.tensor(all_gaussian_taps(2.0, 20)) * torch.arange(
        20
    )  # not symmetric, so that shifts are noticed
    expected = torch.nn.functional.conv1d(
        features.transpose(1, 2), taps.repeat(6, 1, 1), groups=6, padding="same"
    ).transpose(1, 2)
    torch.testing.assert_close(smooth(features, taps.tolist()), expected, atol=1e-5, rtol=1e-4)


def test_smoothing_by_hand() -> None:
    x = torch.tensor([[1.0], [0.0], [4.0]])
    assert smooth(x, [0.25, 0.5, 0.25]).flatten().tolist() == [0.5, 1.25, 2.0]
    assert smooth(x, [0.25, 0.75], causal=True).flatten().tolist() == [0.75, 0.25, 3.0]


@pytest.mark.parametrize("taps", ["above_0.01", "all"])
@pytest.mark.parametrize("size", [20, 100])
def test_causal_smoothing_reads_no_later_bin(taps: str, size: int, features: torch.Tensor) -> None:
    config = AugmentConfig.model_validate(
        {"smooth_taps": taps, "smooth_size_bins": size, "smooth_causal": True}
    )
    later = features.clone()
    later[:, 31:] = 9.0
    x, y = smooth_batch(features, config), smooth_batch(later, config)
    assert torch.equal(x[:, :31], y[:, :31])
    assert not torch.equal(x[:, 31], y[:, 31])
    steady = smooth_batch(torch.ones(1, 200, 1), config)
    assert steady[0, -1].item() == pytest.approx(1.0, abs=1e-5)


def test_the_causal_kernel_is_half_the_centred_one() -> None:
    centred, causal = gaussian_taps(2.0, 100), gaussian_taps(2.0, 100, causal=True)
    assert causal == pytest.approx([tap / sum(centred[:5]) for tap in centred[:5]], abs=1e-6)
    centred, causal = all_gaussian_taps(2.0, 39), all_gaussian_taps(2.0, 20, causal=True)
    assert causal == pytest.approx([tap / sum(centred[:20]) for tap in centred[:20]])


def test_a_kernel_without_taps_is_refused() -> None:
    with pytest.raises(ConfigError, match="smooth_std_bins"):
        gaussian_taps(60.0, 400)


def test_a_configuration_without_smoothing_changes_nothing(features: torch.Tensor) -> None:
    assert smooth_batch(features, AugmentConfig(smooth=False)) is features
    official = smooth_batch(features, AugmentConfig())
    assert torch.equal(official, smooth(features, gaussian_taps(2.0, 100)))
