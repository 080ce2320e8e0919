"""`orchestrator.store.provenance`: what a record says of its origin."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from decoder import sources
from decoder.config import DecoderConfig, override
from decoder.pack import RunResult
from orchestrator.store import provenance


def test_the_environment_is_plain_json() -> None:
    environment = provenance.environment()
    assert json.loads(json.dumps(environment)) == environment
    assert environment["torch"].startswith("2.")
    assert len(environment["code"]["decoder_sha256"]) == 64
    assert len(environment["code"]["training_sha256"]) == 64


def test_what_a_run_was_computed_with_is_its_own() -> None:
    config = override(DecoderConfig(), {"train.precision": "bfloat16"}, "test")
    result = RunResult("r", "ok", (), 1, 1, 0, 1.0, 1, 1)
    assert provenance.of_run(config, result) == {"precision": "bfloat16"}
    on_gpu = replace(result, kernel="fused", driver="570.86.15, CUDA 12.8")
    assert provenance.of_run(config, on_gpu) == {
        "precision": "bfloat16",
        "kernel": "fused",
        "driver": "570.86.15, CUDA 12.8",
    }


def test_outside_a_checkout_there_is_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "package_folder", lambda: tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    code = provenance.environment()["code"]
    assert (code["git_commit"], code["git_dirty"]) == (None, None)


def test_provenance_needs_no_torch() -> None:
    code = (
        "import sys\n"
        "from orchestrator.store.provenance import environment\n"
        "environment()\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
