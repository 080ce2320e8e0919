"""The input of all runs on a GPU: kernel and plain path against the sum that a CPU takes."""

from pathlib import Path
from typing import Any

import pytest
import torch

from decoder import augment
from decoder.augment import augment_batch
from decoder.combining import combine_by_kernel, combine_plainly
from decoder.model.fused.available import why_not
from decoder.sections import AugmentConfig

from .compiling import compile_kernels

NO_KERNELS = why_not(torch.device("cpu"))
WAYS = [
    pytest.param(combine_plainly, id="plain"),
    pytest.param(
        combine_by_kernel,
        id="kernel",
        marks=pytest.mark.skipif(NO_KERNELS is not None, reason=str(NO_KERNELS)),
    ),
]
LOUD: dict[str, Any] = {"white_noise_std": 1.0, "constant_offset_std": 0.2, "random_cut": 3}
EVERYTHING = {**LOUD, "random_walk_std": 0.1, "static_gain_std": 0.1, "time_warp_bins": 5}


def make(*changes: dict[str, Any]) -> list[AugmentConfig]:
    return [AugmentConfig.model_validate({**LOUD, **fields}) for fields in changes]


PACKS = {
    "one run": make({}),
    "different strengths": make({}, {"white_noise_std": 0.3}, {"constant_offset_std": 0.0}),
    "every component": make({}, EVERYTHING, {**EVERYTHING, "time_warp_bins": 3}),
    "causal": make({"smooth_causal": True}, {"smooth_causal": True, "white_noise_std": 0.1}),
    "all taps": make({"smooth_taps": "all", "smooth_size_bins": 20}),
    "rough": make({"smooth": False}, {"smooth": False, "white_noise_std": 0.5}),
}
MASKED = make(
    {"time_mask_probability": 0.8, "time_mask_width_bins": 9, "speckle_rate": 0.3},
    {"feature_mask_probability": 0.8, "feature_mask_width": 3},
    {},
)


@pytest.fixture
def features() -> torch.Tensor:
    return torch.randn(2, 41, 5, generator=torch.Generator().manual_seed(0))


def inputs(
    monkeypatch: pytest.MonkeyPatch,
    features: torch.Tensor,
    configs: list[AugmentConfig],
    way: Any,
    dtype: torch.dtype,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The input as on a GPU, in a way and format, and the float32 input of a CPU."""
    n_bins = torch.tensor([41, 30])
    expected, cut = augment_batch(features, n_bins, configs, seed=1, step=2)
    assert cut == 2
    with monkeypatch.context() as patch:
        patch.setattr(augment, "writes_once", lambda device: True)
        patch.setattr(augment, "combine", way)
        got, same_cut = augment_batch(features, n_bins, configs, seed=1, step=2, dtype=dtype)
    assert same_cut == cut and got.dtype == dtype
    return got, expected


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("pack", list(PACKS))
def test_every_way_gives_the_sum_of_a_cpu(
    way: Any, pack: str, features: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    got, expected = inputs(monkeypatch, features, PACKS[pack], way, torch.float32)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("way", WAYS)
def test_masks_are_written_into_the_sum_and_hide_the_same_values(
    way: Any, features: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    got, expected = inputs(monkeypatch, features, MASKED, way, torch.float32)
    assert torch.equal(got == 0, expected == 0) and bool((got[:2] == 0).any())
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("way", WAYS)
def test_bfloat16_is_the_float32_sum_rounded_once(
    way: Any, features: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = PACKS["every component"]
    exact, _ = inputs(monkeypatch, features, configs, way, torch.float32)
    got, _ = inputs(monkeypatch, features, configs, way, torch.bfloat16)
    if way is combine_plainly:
        assert torch.equal(got, exact.bfloat16())
    else:  # Triton's interpreter cuts digits off where a GPU rounds
        torch.testing.assert_close(got.float(), exact, rtol=2**-7, atol=0)


@pytest.mark.skipif(NO_KERNELS is not None, reason=str(NO_KERNELS))
@pytest.mark.parametrize("tile", [16, 64])
def test_the_kernel_takes_more_runs_than_a_program_handles(
    tile: int, features: torch.Tensor
) -> None:
    strengths = [[1.0] * 19, [i / 10 for i in range(19)]]
    components = [features, features.flip(0)[:, :1].expand_as(features)]
    [config] = PACKS["one run"]
    options = (components, strengths, 1, config, torch.float32)
    got, expected = combine_by_kernel(*options, tile=tile), combine_plainly(*options)
    assert got.shape == (19, 2, 40, 5)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=2e-6)


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from decoder.input_kernels import combine
for value in ("fp32", "bf16"):
    fixed = {"F": 512, "RUNS": 16, "TILE": 512}
    pointers = {"table": "*i64", "strengths": "*fp32", "taps": "*fp32", "out": "*" + value}
    types = {n: "constexpr" if n in fixed else pointers.get(n, "i32") for n in combine.arg_names}
    places = {(combine.arg_names.index(n),): number for n, number in fixed.items()}
    for capability in (80, 90):
        target = GPUTarget("cuda", capability, 32)
        built = triton.compile(ASTSource(combine, types, places), target=target)
        assert built.asm["cubin"]
        print(value, capability)
"""


@pytest.mark.skipif(NO_KERNELS is not None, reason=str(NO_KERNELS))
def test_the_kernel_compiles_for_gpus(tmp_path: Path) -> None:
    printed = compile_kernels(COMPILE, tmp_path)
    assert printed.split() == ["fp32", "80", "fp32", "90", "bf16", "80", "bf16", "90"]
