"""Patches: hand-worked lengths, and the projection compared with plain unfold."""

import pytest
import torch

from decoder.data.alignment import n_patches
from decoder.model.patches import build_patches, builds_patches, project_patches, to_blocks

SIZES = [(14, 4), (6, 4), (8, 4), (3, 5), (4, 4), (1, 1), (5, 1)]


def unfolded(x: torch.Tensor, size: int, stride: int) -> torch.Tensor:
    """(R, B, T, F) → (R, P, B, size F), bins in order, features innermost."""
    return x.unfold(2, size, stride).permute(0, 2, 1, 4, 3).flatten(3)


def test_number_of_patches_by_hand() -> None:
    assert n_patches(14, 14, 4) == 1
    assert n_patches(17, 14, 4) == 1
    assert n_patches(18, 14, 4) == 2
    assert n_patches(13, 14, 4) < 1
    assert n_patches(torch.tensor([14, 18, 527]), 14, 4).tolist() == [1, 2, 129]


@pytest.mark.parametrize(("size", "stride"), SIZES)
@pytest.mark.parametrize("n_bins", [20, 21, 22, 23])
def test_patches_equal_unfold(size: int, stride: int, n_bins: int) -> None:
    x = torch.randn(2, 3, n_bins, 4, generator=torch.Generator().manual_seed(0))
    patches = build_patches(to_blocks(x, size, stride), size, stride)
    assert patches.shape[1] == n_patches(n_bins, size, stride)
    assert torch.equal(patches, unfolded(x, size, stride))


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize(("size", "stride"), SIZES)
def test_the_projection_and_its_gradients_equal_the_plain_product(
    size: int, stride: int, dense: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def builds(device: torch.device, n_bytes: int) -> bool:
        asked.append(n_bytes)
        return dense

    monkeypatch.setattr("decoder.model.patches.builds_patches", builds)
    source = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 21, 4, generator=source, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 5, size * 4, generator=source, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(2, 5, generator=source, dtype=torch.float64, requires_grad=True)
    got = project_patches(to_blocks(x, size, stride), weight, bias, size, stride)
    expected = torch.einsum("rpbd,rod->rpbo", unfolded(x, size, stride), weight)
    expected = expected + bias[:, None, None]
    torch.testing.assert_close(got, expected)
    assert expected.shape[1] * 2 * 3 * size * 4 * 8 <= asked[0] < 2**16
    upstream = torch.randn(got.shape, generator=source, dtype=torch.float64)
    mine = torch.autograd.grad(got, (x, weight, bias), upstream)
    theirs = torch.autograd.grad(expected, (x, weight, bias), upstream)
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_patches_are_built_on_a_gpu_only_if_they_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    card = type("Card", (), {"total_memory": 80 * 2**30})
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda device: card)
    cuda = torch.device("cuda")
    assert builds_patches(cuda, 10 * 2**30)
    assert not builds_patches(cuda, 10 * 2**30 + 1)
    assert not builds_patches(torch.device("cpu"), 1)


def test_training_differentiates_blocks_only_if_it_must() -> None:
    blocks = to_blocks(torch.ones(1, 2, 8, 3), 4, 2)
    weight = torch.ones(1, 5, 12, requires_grad=True)
    project_patches(blocks, weight, torch.zeros(1, 5), 4, 2).sum().backward()
    assert weight.grad is not None and weight.grad.unique().tolist() == [6.0]  # 2 trials, 3 patches
