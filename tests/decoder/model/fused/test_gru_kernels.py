"""The kernels compile for GPUs, with the products that their number format asks for.

`test_steps` has their results.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("compile_kernels.py")

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton")


def test_kernels_compile_for_ampere_and_hopper_and_float32_is_not_tf32(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "TRITON_INTERPRET": "0",
        "TRITON_CACHE_DIR": str(tmp_path),
        "PYTHONPATH": str(Path(__file__).parents[4]),
    }
    command = [sys.executable, "-W", "error", SCRIPT, "86", "90"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    for capability, tensor_cores in (("86", "mma.sync"), ("90", "wgmma")):
        kernels = json.loads(done.stdout)[capability]
        for name in ("forward", "backward", "multiply"):
            assert tensor_cores in kernels[name]["bf16"], name
            assert "fma.rn.f32" in kernels[name]["fp32"], name
            assert not {"tf32", tensor_cores} & set(kernels[name]["fp32"]), name
        for name in ("gather", "spread"):
            assert {"ld.global.v4", "st.global.v4"} <= set(kernels[name]["bf16"]), name
            assert "atom" not in kernels[name]["bf16"], name
