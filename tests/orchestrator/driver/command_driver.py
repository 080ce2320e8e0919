"""A driver in a process of its own that trains commands and writes no report."""

import io
import sys
from pathlib import Path

from rich.console import Console

from orchestrator.driver.run import run_ablation
from orchestrator.execute.machine import choose_options
from orchestrator.spec.load import load_spec
from orchestrator.store.paths import Results

if __name__ == "__main__":
    spec, results = map(Path, sys.argv[1:])
    outcome = run_ablation(
        load_spec(spec),
        Results(results),
        choose_options("local", n_workers=1, threads=1, device="cpu"),
        Console(file=io.StringIO()),
        rebuild=lambda *given: None,
    )
    sys.exit(outcome.exit_code)
