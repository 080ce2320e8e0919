"""Compiles the kernels at the official size for a GPU that need not be there, and prints JSON.

``compute capability → kernel → number format → instructions``; `test_gru_kernels` runs it without
Triton's interpreter.
"""

import json
import sys

import torch
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile

from decoder.model.fused import gru_kernels, triton_steps
from decoder.model.fused.triton_steps import Tiles

WIDE = {"b_hn", "carried", "d_h0", "bias", "factors_in", "factors_out"}
PLAIN = {"gates_in", "w_hh", "states", "saved", "grad", "d_gates", "x", "weight", "out"}
COUNTS = {"offsets", "n_active"}
H = 768


def instructions(kernel, dtype: str, tiles: Tiles, capability: int, **constants) -> list[str]:
    """Those of interest in the compiled kernel, whose machine code must exist."""
    constants |= {"WIDEN": False, "BM": tiles.rows, "BN": tiles.columns, "BK": tiles.inner}
    types = {name: f"*{dtype}" for name in PLAIN} | {name: "*i32" for name in COUNTS}
    types |= {name: "*fp32" for name in WIDE} | {name: "constexpr" for name in constants}
    signature = {name: types.get(name, "i32") for name in kernel.arg_names}
    where = {name: (i,) for i, name in enumerate(kernel.arg_names)}
    aligned = {where[n]: [["tt.divisibility", 16]] for n, t in signature.items() if t[0] == "*"}
    source = ASTSource(kernel, signature, {where[n]: v for n, v in constants.items()}, aligned)
    options = {"num_warps": tiles.n_warps, "num_stages": tiles.n_stages}
    compiled = compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    assert compiled.asm["cubin"]
    names = ("wgmma", "mma.sync", "tf32", "fma.rn.f32")
    return [name for name in names if name in compiled.asm["ptx"]]


def main() -> None:
    found: dict[str, dict[str, dict[str, list[str]]]] = {}
    for capability in map(int, sys.argv[1:]):
        kernels = found[str(capability)] = {"forward": {}, "backward": {}, "multiply": {}}
        for name, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
            tiles = triton_steps.step_tiles(64, 16, dtype)
            step = (name, tiles, capability)
            product = (name, triton_steps.product_tiles(dtype), capability)
            kernels["forward"][name] = instructions(gru_kernels.forward_step, *step, IN=4 * H, H=H)
            kernels["backward"][name] = instructions(gru_kernels.backward_step, *step, H=H)
            kernels["multiply"][name] = instructions(
                gru_kernels.multiply_rows, *product, K=H, N=3 * H, ADD=True, factors_out=None
            )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
