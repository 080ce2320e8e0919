"""A real limit on memory, under which a pack of eight runs does not fit, but each run does."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BASE = {
    "data": {"path": "synthetic:tiny", "batch_size": 16, "days_per_batch": 2},
    "model": {"n_units": 384, "n_layers": 3},
    "optim": {"lr_warmup_steps": 1},
    "train": {"n_steps": 3, "eval_every_steps": 1},
}
RATES = [0.001 * (i + 1) for i in range(8)]
SPEC = {
    "name": "memory",
    "question": "Does it fit?",
    "base": "base.yaml",
    "factors": {"rate": {f"r{i}": {"optim.lr_max": rate} for i, rate in enumerate(RATES)}},
    "seeds": [0],
}
# One run of this size takes about 150 MiB by the estimate, and eight of them 1.2 GiB.
EXTRA_BYTES = 480 * 2**20
# Sets the limit like `ulimit -v`, but above what Python and the libraries take on this machine.
SCRIPT = """
import resource, sys
from pathlib import Path
import matplotlib.figure, pandas, scipy.stats, torch
import decoder.train, orchestrator.cli.run_view, orchestrator.driver.reporting
import orchestrator.driver.run, orchestrator.report.figures, orchestrator.report.view
from orchestrator.driver import room
from orchestrator.cli.app import app

extra, says_free, arguments = int(sys.argv[1]), sys.argv[2] == "free", sys.argv[4:]
torch.set_num_threads(1)
torch.randn(64, 64) @ torch.randn(64, 64)
pandas.DataFrame({"text": ["a", "b"]}).to_parquet(sys.argv[3])
pandas.read_parquet(sys.argv[3])
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
limit = int(status["VmSize"].split()[0]) * 1024 + extra
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
if not says_free:
    room.free_memory = lambda options: None
app(arguments)
"""


def run_under_a_limit(folder: Path, *, planned_by_memory: bool) -> tuple[int, str, dict[str, Any]]:
    """Exit code, what was said, and the answer."""
    (folder / "base.yaml").write_text(json.dumps(BASE))
    (folder / "memory.yaml").write_text(json.dumps(SPEC))
    options = ["--backend", "local", "--workers", "1", "--threads", "1", "--device", "cpu"]
    command = [sys.executable, "-c", SCRIPT, str(EXTRA_BYTES)]
    command += ["free" if planned_by_memory else "unknown", str(folder / "table.parquet")]
    command += [
        "run",
        str(folder / "memory.yaml"),
        "--results",
        str(folder / "results"),
        "--json",
        *options,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stderr, json.loads(done.stdout or "{}")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the limit is Linux's")
def test_a_pack_that_does_not_fit_is_split_until_it_does_and_every_run_is_recorded(
    tmp_path: Path,
) -> None:
    code, said, answer = run_under_a_limit(tmp_path, planned_by_memory=False)
    assert code == 0, said
    assert (answer["n_runs"], answer["n_recorded"], answer["n_trained"]) == (8, 8, 8)
    assert "4 and 4" in said and "--max-runs-per-pack 4" in said
    records = [json.loads(p.read_text()) for p in tmp_path.glob("results/runs/*/record.json")]
    assert len(records) == 8
    assert max(record["pack"]["n_runs"] for record in records) < 8
    assert len({record["pack"]["pack_id"] for record in records}) == 1
    assert not (tmp_path / "results" / "ablations" / "memory" / "checkpoints").exists()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the limit is Linux's")
def test_the_plan_cuts_packs_that_fit_so_that_none_is_split(tmp_path: Path) -> None:
    code, said, answer = run_under_a_limit(tmp_path, planned_by_memory=True)
    assert code == 0, said
    assert answer["n_recorded"] == 8
    assert "goes on from its last checkpoint" not in said
    plan = json.loads((tmp_path / "results" / "ablations" / "memory" / "plan.json").read_text())
    assert 1 < len(plan["packs"]) <= 8
