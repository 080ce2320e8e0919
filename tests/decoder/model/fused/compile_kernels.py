"""Compiles the kernels at the official size for a GPU that need not be there, and prints JSON.

``compute capability → kernel → number format → instructions``; `test_gru_kernels` runs it without
Triton's interpreter.
"""

import json
import sys

import torch
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile

from decoder.model.fused import gru_kernels, patch_kernels, triton_steps
from decoder.model.fused.triton_steps import launch_options

TYPES = {name: "*fp32" for name in ("b_hn", "carried", "d_h0", "bias")}
TYPES |= {name: "*fp32" for name in ("factors_in", "factors_out")}
TYPES |= {name: "*i32" for name in ("offsets", "n_active")}
TYPES |= {name: "*i64" for name in ("index", "row_at")}
SIZES = {"V", "B", "step", "start", "stop", "n_blocks", "n_positions"}
FORMATS = {"bf16": torch.bfloat16, "fp32": torch.float32}
SHARED_MEMORY = {80: 163 * 1024, 86: 99 * 1024, 89: 99 * 1024, 90: 227 * 1024, 120: 99 * 1024}
H = 768
SHOWN = ("wgmma", "mma.sync", "tf32", "fma.rn.f32", "ld.global.v4", "st.global.v4", "atom")


def instructions(kernel, dtype: str, capability: int, options, **constants) -> list[str]:
    """Those of interest in the compiled kernel, whose machine code must exist."""
    names = ("WIDEN", "BM", "BN", "BK")
    constants |= {name: options[name] for name in names if name in options}
    flags = {name: value for name, value in options.items() if name not in names}
    types: dict[str, str] = {}
    for name in kernel.arg_names:
        is_stride = "_" in name and name.rpartition("_")[2] in ("run", "row", "in", "out")
        is_number = name in SIZES or (is_stride and name not in (*TYPES, "gates_in"))
        types[name] = "i32" if is_number else TYPES.get(name, f"*{dtype}")
    types |= {name: "constexpr" for name in constants}
    where = {name: (i,) for i, name in enumerate(kernel.arg_names)}
    aligned = {where[n]: [["tt.divisibility", 16]] for n, kind in types.items() if kind[0] == "*"}
    source = ASTSource(kernel, types, {where[n]: v for n, v in constants.items()}, aligned)
    compiled = compile(source, target=GPUTarget("cuda", capability, 32), options=flags)
    assert compiled.asm["cubin"]
    assert compiled.metadata.shared <= SHARED_MEMORY[capability], (kernel, compiled.metadata.shared)
    return [name for name in SHOWN if name in compiled.asm["ptx"]]


def main() -> None:
    found: dict[int, dict[str, dict[str, list[str]]]] = {}
    tile = {"BM": patch_kernels.N_ROWS, "BN": patch_kernels.N_COLUMNS, "enable_fp_fusion": True}
    for capability in map(int, sys.argv[1:]):
        kernels = found[capability] = {
            name: {} for name in ("forward", "backward", "multiply", "gather", "spread")
        }
        for name, dtype in FORMATS.items():
            step = (name, capability, launch_options(triton_steps.step_tiles(64, 16, dtype)))
            tiles = triton_steps.product_tiles(dtype, is_large=capability in (80, 90))
            product = (name, capability, launch_options(tiles))
            of_patches = {"W": 2048, "D": 7168}
            copy = (name, capability, tile)
            kernels["forward"][name] = instructions(gru_kernels.forward_step, *step, IN=4 * H, H=H)
            kernels["backward"][name] = instructions(gru_kernels.backward_step, *step, H=H)
            kernels["multiply"][name] = instructions(
                gru_kernels.multiply_rows, *product, K=H, N=3 * H, ADD=True, factors_out=None
            )
            kernels["gather"][name] = instructions(patch_kernels.gather, *copy, **of_patches)
            kernels["spread"][name] = instructions(patch_kernels.spread, *copy, **of_patches)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
