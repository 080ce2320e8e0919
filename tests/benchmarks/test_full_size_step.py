"""The benchmark of full-size steps runs at a small size on a CPU, and counts FLOP from shapes."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from decoder.config import DecoderConfig, override, resolve

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    output = tmp_path_factory.mktemp("benchmark") / "steps.json"
    options = ["--small", "--device", "cpu", "--kernel", "rows", "--runs", "2", "1"]
    done = subprocess.run(
        [sys.executable, "benchmarks/full_size_step.py", *options, "--output", str(output)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(output.read_text()), done.stdout


def test_every_table_of_the_benchmark_has_figures(measured: tuple[dict[str, Any], str]) -> None:
    rows = measured[0]["rows"]
    figures = [row for row in rows if row["error"] is None]
    assert {row["part"] for row in figures} == {"steps", "training", "switches", "kernels"}
    for row in figures:
        assert row["ms_step"] > 0 and row["gib_run"] > 0, row
        if row["part"] == "training":
            assert math.isfinite(row["validation_seconds"])
        else:
            assert 0 < row["matrix_share"] < 1
    assert {row["kernel"] for row in figures} == {"rows", "torch", "batched"}
    assert {row["n_runs"] for row in figures} == {1, 2}


def test_a_part_that_is_not_in_use_gives_no_figure(measured: tuple[dict[str, Any], str]) -> None:
    document, printed = measured
    switches = {row["without"]: row for row in document["rows"] if row["part"] == "switches"}
    assert switches["CUDA graphs"]["error"] is not None  # which only a GPU has
    assert switches["no work on padding"]["error"] is None
    before_after = printed.split("before → after")[1]
    assert "no work on padding" in before_after and "CUDA graphs" not in before_after


@pytest.mark.parametrize(("bidirectional", "expected"), [(False, 2304), (True, 5472)])
def test_flop_are_counted_from_shapes(
    bidirectional: bool, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trials of 5 and 3 bins: 8 bins; 4 and 2 valid patches, 8 with padding.

    Of the day layer 2 * 8 * 9, three products of a patch each for gates and head.
    """
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from gpu_timing import step_flop

    shape = {"model.n_units": 2, "model.n_layers": 1, "model.patch_size": 2}
    shape |= {"model.patch_stride": 1, "model.bidirectional": bidirectional}
    config = resolve(override(DecoderConfig(), shape))
    by_hand = 2 * (2 * 8 * 9 + 3 * (6 * 6 * (6 + 2) + 6 * 2 * 4))
    if bidirectional:
        by_hand = 2 * (2 * 8 * 9 + 3 * (8 * 2 * 6 * (6 + 2) + 6 * 4 * 4))
    assert by_hand == expected
    assert step_flop(config, torch.tensor([5, 3]), 3, 4) == expected
