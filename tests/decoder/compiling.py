"""Compiles Triton's kernels for GPUs on a machine without one, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path


def compile_kernels(code: str, cache: Path) -> str:
    """What `code` prints. It compiles kernels, which the interpreter must not replace."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, "TRITON_CACHE_DIR": str(cache)},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
