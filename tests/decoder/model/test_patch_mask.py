"""Time masks: length and position, sharing between runs, hidden patches in both forms of input."""

import pytest
import torch

from decoder.model.inputs import patch_input, sequence_input
from decoder.model.patch_mask import draw_patch_mask, mask_patches
from decoder.model.patches import to_blocks
from decoder.sections import AugmentConfig


def kind(share: float, count: int = 1) -> AugmentConfig:
    return AugmentConfig(patch_mask_max_share=share, patch_mask_count=count)


def test_no_mask_is_drawn_if_no_run_masks() -> None:
    assert draw_patch_mask(torch.tensor([5]), 5, [kind(0.0), kind(0.0, 3)], 0, 0) is None


def test_a_mask_is_contiguous_within_the_trial_and_no_longer_than_its_share() -> None:
    n_patches = torch.tensor([40, 20, 9, 0])
    lengths, covered = set(), torch.zeros(40, 4)
    for step in range(300):
        hidden = draw_patch_mask(n_patches, 40, [kind(0.25)], 0, step)
        assert hidden is not None and hidden.shape == (1, 40, 4)
        covered += hidden[0]
        lengths |= {(row, int(n)) for row, n in enumerate(hidden[0].sum(0))}
        edges = hidden[0].float().diff(dim=0).abs().sum(0) + hidden[0, 0] + hidden[0, -1]
        assert (edges <= 2).all()
    assert {n for row, n in lengths if row == 0} == set(range(11))
    assert {n for row, n in lengths if row == 1} == set(range(6))
    assert {n for row, n in lengths if row == 2} == {0, 1, 2}
    assert covered[20:, 1].sum() == covered[9:, 2].sum() == covered[:, 3].sum() == 0
    assert (covered[:, 0] > 0).all()


def test_runs_share_draws_and_have_the_same_masks_alone() -> None:
    n_patches = torch.tensor([30, 17])
    kinds = [kind(0.1, 2), kind(0.1, 6), kind(0.0, 6), kind(0.3, 6)]
    together = draw_patch_mask(n_patches, 30, kinds, 4, 9)
    assert together is not None
    for run, one in enumerate(kinds):
        alone = draw_patch_mask(n_patches, 30, [one], 4, 9)
        assert torch.equal(together[run], torch.zeros(30, 2) > 0 if alone is None else alone[0])
    assert (together[1] | ~together[0]).all() and together[1].sum() > together[0].sum()
    assert together[3].sum() > together[1].sum()


@pytest.mark.parametrize("learned", [False, True])
def test_hidden_patches_are_the_token_in_both_forms_of_input(learned: bool) -> None:
    source = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 14, 4, generator=source)
    blocks = to_blocks(x, 5, 3)
    hidden = torch.rand(2, 4, 3, generator=source) < 0.4
    token = torch.randn(2, 20, generator=source) if learned else None
    weight, bias = torch.randn(2, 6, 20, generator=source), torch.randn(2, 6, generator=source)
    plain = patch_input(blocks, 5, 3)
    masked = mask_patches(plain, hidden, token)
    dense = masked.dense()
    for r, p, b in torch.cartesian_prod(*map(torch.arange, (2, 4, 3))).tolist():
        expected = plain.dense()[r, p, b]
        if hidden[r, p, b]:
            expected = torch.zeros(20) if token is None else token[r]
        assert torch.equal(dense[r, p, b], expected)
    expected = sequence_input(dense).project(weight, bias)
    torch.testing.assert_close(masked.project(weight, bias), expected, rtol=1e-5, atol=1e-5)
