"""The projection of valid patches, in plain torch and by Triton's kernels, compared with all."""

import pytest
import torch
from torch import Tensor

from decoder.model.fused import row_patches
from decoder.model.fused.layer import RowKernel, patch_kernels
from decoder.model.fused.rows import pack_rows
from decoder.model.patches import build_patches, project_patches, to_blocks

LENGTHS = torch.tensor([2, 4, 0, 1])
SIZES = [(5, 2), (4, 2), (3, 3), (2, 3)]  # patch size and stride


@pytest.fixture(params=["rows", "fused"])
def kernel(request: pytest.FixtureRequest) -> RowKernel:
    if request.param == "fused":
        pytest.importorskip("triton")
    kernel: RowKernel = request.param
    return kernel


def device_of(kernel: RowKernel) -> torch.device:
    return torch.device("cuda" if kernel == "fused" and torch.cuda.is_available() else "cpu")


class Case:
    """Bins of three runs and four trials, and weights of a projection, in float64."""

    def __init__(self, size: int, stride: int, device: torch.device) -> None:
        source = torch.Generator().manual_seed(0)

        def draw(*shape: int) -> Tensor:
            x = torch.randn(shape, generator=source, dtype=torch.float64).to(device)
            return x.requires_grad_()

        self.x = draw(3, len(LENGTHS), size + 3 * stride, 2)
        self.weight, self.bias = draw(3, 5, 2 * size), draw(3, 5)
        self.rows = pack_rows(LENGTHS, 4, device)
        self.blocks = to_blocks(self.x, size, stride)
        self.upstream = draw(3, self.rows.n_rows, 5).detach()


@pytest.mark.parametrize("limit", [1, 2**30])
@pytest.mark.parametrize(("size", "stride"), SIZES)
def test_the_projection_of_valid_patches_equals_that_of_all(
    size: int, stride: int, limit: int, kernel: RowKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_patches, "MAX_PATCH_BYTES", limit)
    case = Case(size, stride, device_of(kernel))
    parts = (case.blocks, case.rows, size, stride, patch_kernels(kernel))
    got = row_patches.row_patch_input(*parts).project(case.weight, case.bias)[:, :, 0]
    dense = project_patches(case.blocks, case.weight, case.bias, size, stride)
    expected = case.rows.gather(dense)
    torch.testing.assert_close(got, expected)
    inputs = (case.x, case.weight, case.bias)
    for ours, theirs in zip(
        torch.autograd.grad(got, inputs, case.upstream),
        torch.autograd.grad(expected, inputs, case.upstream),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)  # Triton sums in float32


@pytest.mark.parametrize(("size", "stride"), SIZES)
def test_dense_patches_of_valid_rows_and_of_all(size: int, stride: int) -> None:
    case = Case(size, stride, torch.device("cpu"))
    patches = build_patches(case.blocks, size, stride)
    valid = row_patches.row_patch_input(case.blocks, case.rows, size, stride, row_patches)
    assert torch.equal(valid.dense()[:, :, 0], case.rows.gather(patches))
    every = row_patches.row_patch_input(case.blocks, None, size, stride, row_patches)
    assert torch.equal(every.dense(), patches)
    torch.testing.assert_close(
        every.project(case.weight, case.bias),
        project_patches(case.blocks, case.weight, case.bias, size, stride),
    )


def test_copies_by_triton_equal_those_of_torch_in_several_tiles() -> None:
    triton_kernels = pytest.importorskip("decoder.model.fused.patch_kernels")
    device = device_of("fused")
    source = torch.Generator().manual_seed(0)
    blocks = torch.randn(2, 5, 4, 1100, generator=source).bfloat16().to(device)
    index = pack_rows(LENGTHS, 4, device).index
    made = [torch.empty(2, len(index), 1900, dtype=torch.bfloat16, device=device) for _ in "ab"]
    for kernels, patches in zip((row_patches, triton_kernels), made, strict=True):
        kernels.gather_patches(blocks, index, patches)
    assert torch.equal(*made)
    summed = [torch.full_like(blocks, 7.0) for _ in "ab"]
    for kernels, d_blocks in zip((row_patches, triton_kernels), summed, strict=True):
        kernels.spread_gradient(made[0], index, d_blocks)
    assert torch.equal(*summed)
