import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def calibrate(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "benchmarks/verdict_calibration.py", *options],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_calibration_of_verdicts_runs_and_misses_no_untestable_design() -> None:
    done = calibrate("--quick")
    assert done.returncode == 0, done.stderr
    tables = done.stdout.split("### ")[1:]
    assert len(tables) == 9
    reach = next(table for table in tables if table.startswith("Reach"))
    n_claims, flagged, missed, wrongly = reach.strip().splitlines()[4].strip("| ").split(" | ")
    assert int(n_claims) > int(flagged) > 0
    assert (missed, wrongly) == ("0", "0")


def test_the_calibration_of_steps_agrees_with_the_whole_engine() -> None:
    """Its fast way asserts the words and looks of the first sweeps of every line."""
    done = calibrate("--quick", "--sequential", "errors")
    assert done.returncode == 0, done.stderr
    (table,) = done.stdout.split("### ")[1:]
    errors = [line.count("±") for line in table.splitlines() if line.startswith("| ")]
    errors = [n for n in errors if n]
    assert len(errors) == 16 and set(errors) == {2, 4}
