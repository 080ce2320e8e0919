import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_calibration_of_verdicts_runs_and_misses_no_untestable_design() -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks/verdict_calibration.py", "--quick"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    tables = done.stdout.split("### ")[1:]
    assert len(tables) == 9
    reach = next(table for table in tables if table.startswith("Reach"))
    n_claims, flagged, missed, wrongly = reach.strip().splitlines()[4].strip("| ").split(" | ")
    assert int(n_claims) > int(flagged) > 0
    assert (missed, wrongly) == ("0", "0")
