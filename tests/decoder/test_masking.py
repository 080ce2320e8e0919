"""Masks and speckle: positions, probabilities, and sharing between the runs of a pack."""

from typing import Any

import pytest
import torch

from decoder.masking import Masks, draw_masks, mask_input
from decoder.sections import AugmentConfig

T, F = 50, 30


def change(**fields: Any) -> AugmentConfig:
    return AugmentConfig.model_validate(fields)


def hide(*configs: AugmentConfig, n_trials: int = 400, step: int = 0) -> torch.Tensor:
    """The masked input of a pack for trials of ones."""
    x = torch.ones(len(configs), n_trials, T, F)
    out = mask_input(x, torch.full((n_trials,), T), configs, seed=1, step=step)
    assert bool((x == 1).all()), "the input was changed"
    return out


def test_without_masks_the_input_itself_is_returned() -> None:
    x = torch.ones(1, 2, T, F)
    assert mask_input(x, torch.tensor([T, T]), [AugmentConfig()], 0, 0) is x


@pytest.mark.parametrize(
    ("kind", "width_field", "axis"), [("time", "width_bins", 1), ("feature", "width", 2)]
)
def test_a_mask_hides_consecutive_whole_bins_or_whole_features(
    kind: str, width_field: str, axis: int
) -> None:
    width = 8
    config = change(
        **{
            f"{kind}_mask_probability": 1.0,
            f"{kind}_mask_{width_field}": width,
            f"{kind}_mask_max_count": 1,
        }
    )
    hidden = hide(config)[0] == 0  # (B, T, F)
    line = hidden.all(3 - axis)  # (B, T or F)
    assert torch.equal(hidden.any(3 - axis), line)
    ends = torch.nn.functional.pad(line.int(), (1, 1)).diff(dim=1)
    assert int((ends == 1).sum(1).max()) == 1
    widths = line.sum(1)
    assert int(widths.max()) == width and int(widths.min()) == 0
    assert widths.float().mean().item() == pytest.approx(width / 2, abs=0.5)
    assert line[:, 0].any() and line[:, -1].any(), "masks reach both ends"


def test_each_mask_is_applied_with_its_probability() -> None:
    lengths = torch.full((2000,), 1000)
    one = draw_masks(lengths, 1000, [Masks(0.25, 9, 1)], "m", 0, 0)
    three = draw_masks(lengths, 1000, [Masks(0.25, 9, 3)], "m", 0, 0)
    assert one is not None and three is not None
    share = one.any(2).float().mean().item()
    assert share == pytest.approx(0.25 * 9 / 10, abs=0.03)  # a tenth has width 0
    assert three.sum().item() == pytest.approx(3 * 2000 * 0.25 * 4.5, rel=0.1)


def test_time_masks_stay_within_trials_that_are_shorter_than_a_mask() -> None:
    lengths = torch.tensor([3, 20, 50] * 200)
    config = change(time_mask_probability=1.0, time_mask_width_bins=40, time_mask_max_count=3)
    x = mask_input(torch.ones(1, 600, T, F), lengths, [config], 0, 0)
    padding = torch.arange(T) >= lengths[:, None]
    assert bool((x[0][padding] == 1).all())
    shortest = x[0, lengths == 3, :3, 0]
    assert 0 < shortest.mean().item() < 1


def test_a_run_with_more_masking_hides_everything_that_a_run_with_less_hides() -> None:
    base = {
        "time_mask_probability": 0.3,
        "time_mask_width_bins": 10,
        "time_mask_max_count": 1,
        "feature_mask_probability": 0.3,
        "feature_mask_width": 6,
        "feature_mask_max_count": 1,
        "speckle_rate": 0.1,
    }
    more = {name: value * 2 for name, value in base.items()}
    for name in base:
        x = hide(change(**base), change(**{**base, name: more[name]})) != 0
        assert bool((x[0] | ~x[1]).all()), name
        assert not torch.equal(x[0], x[1]), name


def test_a_run_has_the_same_masks_alone_and_in_a_pack() -> None:
    configs = [
        change(time_mask_probability=0.5, speckle_rate=0.2),
        change(feature_mask_probability=0.5, time_mask_probability=0.2, time_mask_max_count=4),
        AugmentConfig(),
    ]
    together = hide(*configs, n_trials=20)
    for row, config in enumerate(configs):
        assert torch.equal(together[row], hide(config, n_trials=20)[0])


def test_speckle_keeps_the_mean_and_drops_values_at_its_rate() -> None:
    x = hide(change(speckle_rate=0.2))
    assert (x == 0).float().mean().item() == pytest.approx(0.2, abs=0.005)
    assert x.mean().item() == pytest.approx(1.0, abs=0.01)
    assert x.max().item() == pytest.approx(1.25)


def test_step_decides_the_draws() -> None:
    config = change(time_mask_probability=0.5, speckle_rate=0.2)
    assert torch.equal(hide(config), hide(config))
    assert not torch.equal(hide(config), hide(config, step=1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_masks_in_place_hide_what_masks_of_a_copy_hide(dtype: torch.dtype) -> None:
    configs = [
        change(time_mask_probability=0.5, feature_mask_probability=0.5, speckle_rate=rate)
        for rate in (0.0, 0.2, 0.5)
    ]
    n_bins = torch.tensor([11, 20])
    x = torch.randn(3, 2, 20, 6, generator=torch.Generator().manual_seed(0)).to(dtype)
    expected = mask_input(x, n_bins, configs, 7, 2)
    changed = mask_input(x, n_bins, configs, 7, 2, in_place=True)
    assert changed is x
    torch.testing.assert_close(changed, expected.to(dtype), rtol=0, atol=0)
