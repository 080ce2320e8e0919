"""Augmentation: each component alone, and the order of the components."""

import pytest
import torch

from decoder.augment import augment_batch
from decoder.masking import mask_input
from decoder.sections import AugmentConfig
from decoder.smoothing import gaussian_taps, smooth
from decoder.time_warp import time_warp

QUIET = AugmentConfig(white_noise_std=0.0, constant_offset_std=0.0, random_cut=0, smooth=False)


def change(**fields: object) -> AugmentConfig:
    return AugmentConfig.model_validate({**QUIET.model_dump(), **fields})


def augment(
    features: torch.Tensor, configs: list[AugmentConfig], seed: int, step: int
) -> tuple[torch.Tensor, int]:
    """`augment_batch` of trials without padding."""
    n_bins = torch.full((len(features),), features.shape[1])
    return augment_batch(features, n_bins, configs, seed, step)


@pytest.fixture
def features() -> torch.Tensor:
    return torch.randn(3, 400, 6, generator=torch.Generator().manual_seed(0))


def test_without_augmentation_the_input_is_unchanged(features: torch.Tensor) -> None:
    x, cut = augment(features, [QUIET, QUIET], seed=0, step=0)
    assert cut == 0 and x.shape == (2, *features.shape)
    assert torch.equal(x[0], features) and torch.equal(x[1], features)


def test_white_noise_has_the_configured_strength_and_is_shared_by_runs(
    features: torch.Tensor,
) -> None:
    configs = [change(white_noise_std=s) for s in (1.0, 0.25)]
    x, _ = augment(features, configs, seed=0, step=0)
    noise = x - features
    assert noise[0].std().item() == pytest.approx(1.0, rel=0.03)
    torch.testing.assert_close(noise[1], 0.25 * noise[0], atol=1e-5, rtol=1e-4)


def test_an_offset_is_constant_in_time_and_differs_by_trial_and_feature(
    features: torch.Tensor,
) -> None:
    x, _ = augment(features, [change(constant_offset_std=0.2)], seed=0, step=0)
    offset = x[0] - features
    torch.testing.assert_close(offset, offset[:, :1].expand_as(offset), atol=1e-5, rtol=0)
    assert len(offset[:, 0].flatten().unique()) == 18


@pytest.mark.parametrize(("axis", "dim"), [("features", 2), ("time", 1)])
def test_a_random_walk_adds_up_along_its_axis(features: torch.Tensor, axis: str, dim: int) -> None:
    config = change(random_walk_std=0.1, random_walk_axis=axis)
    x, _ = augment(features, [config], seed=0, step=0)
    steps = (x[0] - features).diff(dim=dim)
    assert steps.std().item() == pytest.approx(0.1, rel=0.05)


def test_a_static_gain_mixes_features_by_one_matrix_per_trial(features: torch.Tensor) -> None:
    x, _ = augment(features, [change(static_gain_std=0.1)], seed=0, step=0)
    for trial in range(3):
        solution = torch.linalg.lstsq(features[trial], x[0, trial]).solution
        torch.testing.assert_close(features[trial] @ solution, x[0, trial], atol=1e-4, rtol=1e-4)
        assert (solution - torch.eye(6)).std().item() == pytest.approx(0.1, rel=0.5)


def test_cuts_take_zero_one_or_two_bins_off_the_front(features: torch.Tensor) -> None:
    cuts = set()
    for step in range(40):
        x, cut = augment(features, [change(random_cut=3)], seed=0, step=step)
        cuts.add(cut)
        assert torch.equal(x[0], features[:, cut:])
    assert cuts == {0, 1, 2}


def test_smoothing_comes_after_noise_and_cut(features: torch.Tensor) -> None:
    loud = {"white_noise_std": 1.0, "constant_offset_std": 0.2, "random_cut": 3}
    rough, cut = augment(features, [change(**loud)], seed=1, step=2)
    x, same_cut = augment(features, [change(**loud, smooth=True)], seed=1, step=2)
    assert cut == same_cut
    torch.testing.assert_close(x, smooth(rough, gaussian_taps(2.0, 100)), atol=1e-5, rtol=1e-4)


def test_switching_one_component_on_does_not_change_the_draws_of_another(
    features: torch.Tensor,
) -> None:
    white, _ = augment(features, [change(white_noise_std=1.0)], seed=0, step=0)
    both, _ = augment(
        features, [change(white_noise_std=1.0, random_walk_std=0.1, static_gain_std=0.1)], 0, 0
    )
    walk, _ = augment(features, [change(random_walk_std=0.1, static_gain_std=0.1)], 0, 0)
    torch.testing.assert_close(both - walk, white - features, atol=1e-4, rtol=1e-3)


def test_each_run_warps_time_by_its_own_distance_before_the_noise(features: torch.Tensor) -> None:
    loud = {"white_noise_std": 1.0, "static_gain_std": 0.1, "random_cut": 3, "smooth": True}
    configs = [change(**loud, time_warp_bins=bins) for bins in (0, 20, 20, 5)]
    configs[2] = change(**{**loud, "static_gain_std": 0.0}, time_warp_bins=20)
    n_bins = torch.tensor([400, 300, 200])
    together, cut = augment_batch(features, n_bins, configs, seed=3, step=1)
    for row, config in enumerate(configs):
        alone, _ = augment_batch(features, n_bins, [config], seed=3, step=1)
        torch.testing.assert_close(together[row], alone[0], atol=1e-5, rtol=1e-4)
    warped = time_warp(features, n_bins, 20, seed=3, step=1)
    calm = change(**loud)
    expected, _ = augment_batch(warped, n_bins, [calm], seed=3, step=1)
    torch.testing.assert_close(together[1], expected[0], atol=1e-5, rtol=1e-4)


def test_masks_act_on_the_smoothed_input_that_the_cut_leaves(
    features: torch.Tensor,
) -> None:
    loud = {"white_noise_std": 1.0, "random_cut": 3, "smooth": True}
    config = change(**loud, time_mask_probability=1.0, speckle_rate=0.2)
    n_bins = torch.tensor([400, 300, 30])
    plain, cut = augment_batch(features, n_bins, [change(**loud)], seed=1, step=2)
    x, _ = augment_batch(features, n_bins, [config], seed=1, step=2)
    assert cut == 2
    assert torch.equal(x, mask_input(plain, n_bins - cut, [config], seed=1, step=2))
    assert bool((x != plain).any())


def test_seed_and_step_decide_the_draws(features: torch.Tensor) -> None:
    config = [change(white_noise_std=1.0)]
    same = augment(features, config, 4, 7)[0]
    assert torch.equal(same, augment(features, config, 4, 7)[0])
    assert not torch.equal(same, augment(features, config, 4, 8)[0])
    assert not torch.equal(same, augment(features, config, 5, 7)[0])
