"""The time warp: identity at 0, fixed ends and padding, hand-worked values, NumPy."""

import numpy as np
import pytest
import torch

from decoder.time_warp import time_warp


def ramps(n_trials: int, n_bins: int) -> torch.Tensor:
    """Trials whose only feature is the bin's index, so that a warp shows where it reads."""
    return torch.arange(n_bins, dtype=torch.float32).repeat(n_trials, 1)[..., None]


def test_a_warp_of_zero_is_the_identity() -> None:
    x = torch.randn(4, 30, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(time_warp(x, torch.tensor([30, 20, 5, 1]), 0, 0, 0), x)


def test_first_and_last_valid_bin_and_the_padding_do_not_move() -> None:
    x = torch.randn(300, 40, 3, generator=torch.Generator().manual_seed(0))
    n_bins = torch.arange(300) % 40 + 1
    warped = time_warp(x, n_bins, 15, seed=0, step=0)
    trial = torch.arange(300)
    assert torch.equal(warped[:, 0], x[:, 0])
    assert torch.equal(warped[trial, n_bins - 1], x[trial, n_bins - 1])
    padding = torch.arange(40) >= n_bins[:, None]
    assert torch.equal(warped[padding], x[padding])
    assert not torch.equal(warped[-1], x[-1])


def test_time_runs_forward_and_is_stretched_in_two_parts() -> None:
    warped = time_warp(ramps(200, 50), torch.full((200,), 50), 10, seed=0, step=0)[..., 0]
    assert bool((warped.diff(dim=1) > 0).all())
    for positions in warped.numpy().astype(np.float64):
        kinks = np.flatnonzero(np.abs(np.diff(positions, 2)) > 1e-4) + 1
        assert len(kinks) <= 1
        if len(kinks):
            [moved] = kinks
            point = positions[moved]
            assert point == pytest.approx(round(point), abs=1e-4)
            assert 10 < round(point) < 49 - 10
            assert 0 < abs(moved - round(point)) <= 10
            expected = np.interp(np.arange(50), [0, moved, 49], [0, point, 49])
            np.testing.assert_allclose(positions, expected, atol=1e-4)


def test_every_distance_up_to_the_largest_is_equally_likely() -> None:
    warped = time_warp(ramps(4000, 50), torch.full((4000,), 50), 2, seed=0, step=0)[..., 0]
    largest = (warped - torch.arange(50)).abs().amax(1)
    moved = (largest * 2).round() / 2
    shares = [float((moved == d).float().mean()) for d in (0.0, 1.0, 2.0)]
    assert shares == pytest.approx([0.2, 0.4, 0.4], abs=0.03)


def test_values_between_bins_are_interpolated_by_hand() -> None:
    """Five bins, a warp of 1: only the middle bin can move, to either side."""
    seen = set()
    for seed in range(20):
        x = torch.tensor([[[0.0], [10.0], [20.0], [30.0], [40.0]]])
        [row] = time_warp(x, torch.tensor([5]), 1, seed, 0)[..., 0].tolist()
        seen.add(tuple(round(value, 3) for value in row))
    left = (0.0, 20.0, 26.667, 33.333, 40.0)
    right = (0.0, 6.667, 13.333, 20.0, 40.0)
    assert seen == {left, right, (0.0, 10.0, 20.0, 30.0, 40.0)}


def test_the_input_is_not_changed_and_step_decides_the_draws() -> None:
    x = ramps(5, 40)
    n_bins = torch.full((5,), 40)
    first = time_warp(x, n_bins, 8, 0, 0)
    assert torch.equal(x, ramps(5, 40))
    assert torch.equal(first, time_warp(x, n_bins, 8, 0, 0))
    assert not torch.equal(first, time_warp(x, n_bins, 8, 0, 1))
