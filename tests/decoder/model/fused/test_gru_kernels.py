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
    done = subprocess.run(
        [sys.executable, SCRIPT, "80", "90"], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    for capability, tensor_cores in (("80", "mma.sync"), ("90", "wgmma")):
        for kernel, formats in json.loads(done.stdout)[capability].items():
            assert tensor_cores in formats["bf16"], kernel
            assert formats["fp32"] == ["fma.rn.f32"], kernel
